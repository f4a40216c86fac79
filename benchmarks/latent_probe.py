"""What do the latents know about correctness that the log-probability does not, and can a field learn to tell it?

    python benchmarks/latent_probe.py --level 3 --json docs/results/latent_probe/level3.json

Three learners are trained on graded rollouts. Each sees the latents of a token and of the token before it at the flow's
layers. They are compared on the rollouts of the last quarter of the prompts, as in score_ranking.py.

- probe: a small classifier, trained to rank the rollouts of a group. It shows what information there is to find.
- field by preference: the field, trained to deviate less on right than on wrong rollouts of the same prompt, relative
  to its own offline start. This is the loss of Diffusion-DPO (arXiv 2311.12908) over groups.
- log-ratio: two fields, trained by flow matching on the right and on the wrong rollouts.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from score_ranking import GROUP, Sampled, Setting, contrast, deviations, parse, ranked, sample, write
from torch import Tensor, nn
from torch.nn.functional import softplus
from tqdm import tqdm

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import velocity_deviation

LEARNT = (128, 512, 1536)  # prompts whose rollouts the probe is trained on; the fields are trained on the last number
EPOCHS = 6
GROUPS_PER_STEP = 16
LEARNING_RATE = 1e-3
BETA = 0.01  # of the preference loss: log-odds per unit of the deviation, summed over channels and layers
REWARD = FlowRewardConfig(times=[0.9], context_shifts=[-1], debias=False)


def learn(rollouts: Sampled, parameters: Any, score: Callable[[Tensor, int], Tensor], name: str) -> None:
    """Train `score(rows, step)`, one number per rollout, to rank right above wrong rollouts within each group."""
    correct = rollouts.correct.view(-1, GROUP)
    mixed = (correct.any(1) & ~correct.all(1)).nonzero()[:, 0]
    order = torch.Generator().manual_seed(0)
    epochs = [mixed[torch.randperm(len(mixed), generator=order)] for _ in range(EPOCHS)]
    steps = [groups for epoch in epochs for groups in epoch.split(GROUPS_PER_STEP)]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    for step, groups in enumerate(tqdm(steps, desc=name, unit="step")):
        rows = (groups[:, None] * GROUP + torch.arange(GROUP)).flatten()
        scores = score(rows, step).view(-1, GROUP)
        pair = correct[groups][:, :, None] & ~correct[groups][:, None, :]
        loss = softplus(scores[:, None, :] - scores[:, :, None])[pair].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def probe(learnt: Sampled, rollouts: Sampled, layers: list[int]) -> Tensor:
    """(N, T) scores of the rollouts to rank, from a classifier of token latents that was trained on `learnt`."""
    sample_of = learnt.latents[:, layers, 1:].transpose(1, 2)[learnt.mask]  # (token, layer, hidden)
    mean, std = sample_of.mean(0), sample_of.std(0) + 1e-6

    def features(latents: Tensor) -> Tensor:
        positions = ((latents[:, layers].transpose(1, 2) - mean) / std).flatten(2)
        return torch.cat([positions[:, :-1], positions[:, 1:]], dim=-1)

    torch.manual_seed(0)
    width = 2 * mean.numel()
    network = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 1))

    def score(rows: Tensor, step: int) -> Tensor:
        return (network(features(learnt.latents[rows]))[..., 0] * learnt.mask[rows]).sum(1)

    learn(learnt, list(network.parameters()), score, f"probe of {len(learnt.mask)} rollouts")
    with torch.no_grad():
        return torch.cat([network(features(latents))[..., 0] for latents in rollouts.latents.split(256)])


def by_preference(learnt: Sampled, rollouts: Sampled, start: FlowField) -> Tensor:
    """(N, T) by how much the deviation in a field trained by preference is below that in its offline start."""
    field, layers = copy.deepcopy(start), start.layer_indices

    def score(rows: Tensor, step: int) -> Tensor:
        latents = Latents.pack(learnt.latents[rows][:, layers], learnt.mask[rows])
        seeds = 2**32 + step * GROUPS_PER_STEP + torch.arange(len(rows)) // GROUP  # a group shares its noise
        before = velocity_deviation(start, latents, REWARD, seeds)
        after = velocity_deviation(field, latents, REWARD, seeds, keep_graph=True)
        return BETA * latents.values[0].numel() * (before - after).sum(1)

    learn(learnt, list(field.parameters()), score, "field by preference")
    return deviations(start, rollouts, REWARD) - deviations(field, rollouts, REWARD)


def main() -> None:
    options = parse(__doc__ or "", prompts=LEARNT[-1] * 4 // 3)
    setting = Setting.of(options)
    everything = sample(setting.policy, setting.processor, setting.problems)
    learnt = everything[slice(0, GROUP * LEARNT[-1])]
    rollouts = everything[slice(GROUP * LEARNT[-1], None)]
    start = setting.field(context_shifts=[-1])
    baseline = ranked(rollouts, rollouts.logps, rollouts.mask)
    rows: list[dict[str, Any]] = [{"learner": "log-probability", "prompts learnt": 0, **baseline}]

    def add(learner: str, prompts: int, values: Tensor) -> None:
        total = values * rollouts.mask.sum(1, keepdim=True)  # `ranked` divides by it
        rows.append({"learner": learner, "prompts learnt": prompts, **ranked(rollouts, total, rollouts.mask)})

    for prompts in LEARNT:
        add("probe", prompts, probe(learnt[slice(0, GROUP * prompts)], rollouts, start.layer_indices))
    add("field by preference", LEARNT[-1], by_preference(learnt, rollouts, start))
    right, wrong = (
        contrast(start, learnt, learns, setting.accelerator) for learns in (learnt.correct, ~learnt.correct)
    )
    add("log-ratio", LEARNT[-1], deviations(wrong, rollouts, REWARD) - deviations(right, rollouts, REWARD))
    write(options, everything, rollouts, rows)


if __name__ == "__main__":
    main()
