"""Compare the flow with the public code's formulation, written anew: `python benchmarks/naive.py --json OUT`.

The naive formulation asks the field about every position of prompt, image and padding, embeds the time and the layer
for each of them, and masks the result; in RL it does so in the rollout pass and again in the training pass.

- scoring: time of its velocity deviations / time of ours, of 6 rollouts at one layer of width 2,048 with 4 blocks, and
  the largest relative difference of the two at the response tokens, with the same noise
- offline: time of its step of the offline start, which runs the whole policy with its loss / time of ours
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timing import in_turn, publish
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OfflineConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents, record_latents, stop_after_layer
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.path import likelihood_weight, sample_times
from rlfr_mm.method.update import FieldUpdater
from rlfr_mm.training.run_folder import environment

PROMPT = 200  # tokens of the prompts that are scored
EXPERT_PROMPT = 380  # tokens of an offline prompt: an image of 262,144 pixels, as in the paper, and a question
RESPONSES = (128, 64)  # tokens of the rollouts


def naive_errors(field: FlowField, hidden: Tensor, layer: int, t: Tensor, x_0: Tensor) -> Tensor:
    """The squared velocity errors (batch, position - 1) of all positions that have a following one."""
    x_1, context = hidden[:, layer, :-1].flatten(0, 1), hidden[:, layer, 1:].flatten(0, 1)
    x_t = t[:, None] * x_1 + (1 - t[:, None]) * x_0
    velocity = field(x_t, t, context, torch.full_like(t, field.layer_depths[layer]))
    return (velocity - (x_1 - x_0)).square().mean(-1).view(len(hidden), -1)


def naive_deviation(field: FlowField, hidden: Tensor, time: float, noise: list[Tensor]) -> Tensor:
    """The deviation (batch, position - 1) at all positions of `hidden` (batch, layer, position, hidden)."""
    t = torch.full((len(noise[0]),), time)
    errors = [naive_errors(field, hidden, layer, t, noise[layer]) for layer in range(hidden.shape[1])]
    return torch.stack(errors).mean(0) * likelihood_weight(torch.tensor(time))


def naive_loss(field: FlowField, hidden: Tensor, mask: Tensor) -> Tensor:
    """The flow-matching loss, masked after the field has seen all positions `batch_multiplier` times."""
    total, weight = torch.zeros(()), 0
    for layer in range(hidden.shape[1]):
        for _ in range(field.config.batch_multiplier):
            count = len(hidden) * (hidden.shape[2] - 1)
            t, x_0 = sample_times(torch.randint(2**62, (count,))), torch.randn(count, hidden.shape[3])
            total = total + (naive_errors(field, hidden, layer, t, x_0) * mask).sum()
            weight += int(mask.sum())
    return total / weight


def response_mask(lengths: tuple[int, ...]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


def scoring(rounds: int, width: int) -> dict[str, Any]:
    config = FlowConfig(hidden_size=width, num_policy_layers=36, rms_norm_eps=1e-6, flow_layers=[0.5])
    field, mask = FlowField(config), response_mask(3 * RESPONSES)
    seeds = torch.arange(len(mask))
    draws = torch.Generator().manual_seed(0)
    with torch.no_grad():  # a new field's velocity is 0
        for parameter in field.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draws)
    hidden = torch.randn(len(mask), 1, PROMPT + mask.shape[1], width, generator=draws)
    latents, rewarding = Latents.pack(hidden[:, :, PROMPT - 1 :], mask), FlowRewardConfig()
    token = torch.arange(hidden.shape[2] - 1).repeat(len(seeds)) - PROMPT
    keys = folded(seeds.repeat_interleave(hidden.shape[2] - 1), token, 2)  # 1 + the shift of the following token
    noise = [normals(folded(keys, 0, 0, 0), width)]

    def naive() -> Tensor:
        with torch.no_grad():
            naive_deviation(field, hidden, 0.8, noise)  # in the rollout pass
            return naive_deviation(field, hidden, 0.8, noise)  # in the training pass

    def ours() -> Tensor:
        return velocity_deviation(field, latents, rewarding, seeds)

    scored = scored_tokens(mask, config.context_shifts)
    there = torch.nn.functional.pad(naive()[:, PROMPT:], (0, 1))[scored]
    difference = ((ours()[scored] - there).abs() / there).max().item()
    return in_turn(naive, ours, rounds) | {"largest_relative_difference": difference, "width": width}


def offline(rounds: int, shape: dict[str, int]) -> dict[str, Any]:
    """One step of the offline start on two demonstrations, for a decoder of this shape with 32,000 words."""
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    config = AutoConfig.for_model("qwen2", vocab_size=32_000, **shape, **heads)
    policy = AutoModelForCausalLM.from_config(config).eval()
    mask, seeds = response_mask(RESPONSES), torch.arange(len(RESPONSES))
    ids = torch.randint(32_000, (len(mask), EXPERT_PROMPT + mask.shape[1]))
    everything = torch.nn.functional.pad(mask, (EXPERT_PROMPT - 1, 0))[:, : ids.shape[1] - 1]
    fields = [FlowField.for_policy(FlowConfig(), policy.config) for _ in range(2)]
    layers = fields[0].layer_indices
    optimizer = torch.optim.AdamW(fields[0].parameters(), lr=1e-4)
    updater = FieldUpdater(fields[1], OfflineConfig(), Accelerator(cpu=True))

    def naive() -> None:
        with torch.no_grad():
            states = policy(input_ids=ids, labels=ids, output_hidden_states=True, use_cache=False).hidden_states
        hidden = torch.stack([states[layer + 1] for layer in layers], dim=1)
        optimizer.zero_grad()
        naive_loss(fields[0], hidden, everything).backward()
        torch.nn.utils.clip_grad_norm_(fields[0].parameters(), 1.0)
        optimizer.step()

    def ours() -> None:
        recording = record_latents(policy, layers, mask)
        with torch.no_grad(), recording as recorder, stop_after_layer(policy, max(layers)):
            policy(input_ids=ids, use_cache=False)
        updater.step([(recorder.passes[0], mask.float(), seeds)])

    return in_turn(naive, ours, rounds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of times that each pair is measured")
    parser.add_argument("--small", action="store_true", help="tiny shapes: shows that the comparison runs")
    parser.add_argument("--json", type=Path, help="file for the figures; they are always printed")
    options = parser.parse_args()
    shape = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12}
    if options.small:
        shape = {"hidden_size": 64, "intermediate_size": 64, "num_hidden_layers": 4}
    figures = {
        "scoring": scoring(options.rounds, 64 if options.small else 2048),
        "offline": offline(options.rounds, shape),
    }
    figures |= {"prompt_tokens": [PROMPT, EXPERT_PROMPT], "response_tokens": RESPONSES, **environment()}
    publish(figures, options.json)


if __name__ == "__main__":
    main()
