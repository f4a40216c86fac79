"""The packed path gives the numbers of the method written token by token: deviations, advantages and the update."""

import copy
import math

import pytest
import torch
from accelerate import Accelerator

from rlfr_mm.config import FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.path import sample_times
from rlfr_mm.method.update import FieldUpdater, acceptance_weights

LENGTHS = {
    "ragged": [9, 2, 7, 3],
    "empty and single tokens": [0, 1, 6, 1],
    "one rollout has tokens": [0, 0, 4, 0],
    "nothing": [0, 0, 0, 0],
}
CONFIG = FlowRewardConfig(threshold=0.2, topk=3, gamma=0.9, flow_coef=0.5)
LAYERS, DRAWS, SCORING, TRAINING = 3, 2, 0, 1


def naive_error(field: FlowField, hidden, seed: int, k: int, layer: int, kind: int, draw: int, t: float | None):
    """The squared error at response token k of one rollout; hidden (layer, position, channel)."""
    key = folded(torch.tensor([seed]), k, 2, kind, layer, draw)  # 1 + the shift of the following token
    x_0, x_1, context = normals(key, hidden.shape[-1])[0], hidden[layer, 1 + k].float(), hidden[layer, 2 + k].float()
    time = sample_times(key) if t is None else torch.tensor([t])
    depth = torch.tensor([field.layer_depths[layer]])
    velocity = field((time * x_1 + (1 - time) * x_0)[None], time, context[None], depth)[0]
    return (velocity - (x_1 - x_0)).square().mean()


def naive_deviations(field: FlowField, hidden, lengths: list[int], seeds: list[int]) -> list[list[float]]:
    """Per rollout, of all tokens but the last, which has no following one."""
    with torch.no_grad():
        return [
            [
                sum(naive_error(field, hidden[b], seeds[b], k, layer, SCORING, 0, 0.8).item() * 4 for layer in range(3))
                / LAYERS
                for k in range(length - 1)
            ]
            for b, length in enumerate(lengths)
        ]


def naive_advantages(deviations: list[float], length: int) -> list[float]:
    """Min-max to [-1, 1], threshold, top 3, and the discounted sum over the later tokens."""
    rewards = [0.0] * length
    if len(set(deviations)) > 1:
        low, high = min(deviations), max(deviations)
        scores = [2 * (value - low) / (high - low) - 1 for value in deviations]
        scores = [score if abs(score) > CONFIG.threshold else 0.0 for score in scores]
        for k in sorted(range(len(scores)), key=lambda k: -abs(scores[k]))[: CONFIG.topk]:
            rewards[k] = -CONFIG.flow_coef * scores[k]
    return [sum(CONFIG.gamma ** (s - k) * rewards[s] for s in range(k, length)) for k in range(length)]


def naive_update(field: FlowField, optimizer, hidden, lengths: list[int], seeds: list[int], accepted: list[bool]):
    """One step on the mean error of the accepted rollouts' tokens; the mean, NaN if there is none."""
    errors = [
        naive_error(field, hidden[b], seeds[b], k, layer, TRAINING, draw, None)
        for b, length in enumerate(lengths)
        if accepted[b]
        for k in range(length - 1)
        for layer in range(LAYERS)
        for draw in range(DRAWS)
    ]
    if not errors:
        return math.nan
    loss = torch.stack(errors).mean()
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(field.parameters(), 1.0)
    optimizer.step()
    return loss.item()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("accepted", [[True, False, True, True], [False] * 4])
@pytest.mark.parametrize("lengths", LENGTHS.values(), ids=LENGTHS)
def test_fast_and_naive_path_agree(make_field, lengths, accepted, dtype):
    longest, seeds = max(max(lengths), 1), torch.tensor([5, 6, 7, 8])
    mask = torch.arange(longest) < torch.tensor(lengths)[:, None]
    hidden = torch.randn(4, LAYERS, longest + 1, 8, generator=torch.Generator().manual_seed(1)).to(dtype)
    latents, accuracy = Latents.pack(hidden, mask), torch.tensor(accepted)
    fast = make_field(scale=0.2)
    naive = copy.deepcopy(fast)

    deviation = velocity_deviation(fast, latents, CONFIG, seeds)
    reward = flow_reward(deviation, scored_tokens(mask, [1]), CONFIG, num_generations=4)
    advantages = flow_advantages(reward, torch.zeros(4), mask, CONFIG, num_generations=4)
    expected = naive_deviations(naive, hidden, lengths, seeds.tolist())
    for b, length in enumerate(lengths):
        padding = [0.0] * (longest - length)
        last = [0.0] * min(length, 1)  # the last token's deviation
        torch.testing.assert_close(deviation[b], torch.tensor(expected[b] + last + padding), rtol=2e-5, atol=1e-6)
        wanted = naive_advantages(expected[b], length) + padding
        torch.testing.assert_close(advantages[b], torch.tensor(wanted), rtol=2e-4, atol=2e-5)

    update = OnlineUpdateConfig(learning_rate=1e-2, batch_multiplier=DRAWS)
    updater = FieldUpdater(fast, update, Accelerator(cpu=True))
    optimizer = torch.optim.AdamW(naive.parameters(), lr=1e-2, weight_decay=update.weight_decay, foreach=False)
    weights = acceptance_weights(mask, accuracy, torch.zeros(mask.shape), -math.inf, update)
    before = copy.deepcopy(fast.state_dict())
    for step in range(2):
        later = seeds + 100 * step
        result = updater.step([(latents.keep(mask & accuracy[:, None]), weights, later)])
        loss = naive_update(naive, optimizer, hidden, lengths, later.tolist(), accepted)
        assert result.loss == pytest.approx(loss, rel=1e-5, nan_ok=True)
    for name, value in naive.state_dict().items():
        torch.testing.assert_close(fast.state_dict()[name], value, rtol=1e-3, atol=1e-4, msg=name)
    learns = any(ok and length > 1 for ok, length in zip(accepted, lengths, strict=True))
    assert learns == any(not torch.equal(before[name], value) for name, value in fast.state_dict().items())
