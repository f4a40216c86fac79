"""Compare what the flow costs per response token at 4,096 tokens and at 512: `python benchmarks/response_length.py`.

The work on two rollouts of that length at width 256: scores, flow reward, advantages and the field's update. `time` is
the ratio of CPU seconds per token, `memory` that of the peak bytes of tensors made meanwhile.
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from flow_memory import LiveBytes
from timing import in_turn, publish

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.update import FieldUpdater
from rlfr_mm.training.run_folder import environment

SHORT, LONG, ROLLOUTS, WIDTH = 512, 4096, 2, 256


class Work:
    """The flow's work on `ROLLOUTS` rollouts of `tokens` tokens."""

    def __init__(self, tokens: int) -> None:
        self.field = FlowField(FlowConfig(hidden_size=WIDTH, num_policy_layers=36, rms_norm_eps=1e-6))
        self.updater = FieldUpdater(self.field, OnlineUpdateConfig(batch_multiplier=1), Accelerator(cpu=True))
        self.mask, self.seeds = torch.ones(ROLLOUTS, tokens, dtype=torch.bool), torch.arange(ROLLOUTS)
        self.latents = Latents.pack(torch.randn(ROLLOUTS, 3, tokens + 1, WIDTH), self.mask)

    def __call__(self) -> None:
        config = FlowRewardConfig()
        deviation = velocity_deviation(self.field, self.latents, config, self.seeds)
        reward = flow_reward(deviation, scored_tokens(self.mask, [1]), config, ROLLOUTS)
        flow_advantages(reward, torch.zeros(ROLLOUTS), self.mask, config, ROLLOUTS)
        self.updater.step([(self.latents, self.mask.float(), self.seeds)])

    def peak(self) -> int:
        with LiveBytes() as live:
            self()
        return live.peak


def measure(rounds: int) -> dict[str, Any]:
    long, short = Work(LONG), Work(SHORT)
    time = in_turn(long, short, rounds)  # and the optimisers have their state
    figures = {"time": time["ratio"] * SHORT / LONG, "memory": long.peak() / short.peak() * SHORT / LONG}
    return figures | {"tokens": [LONG, SHORT], "seconds": time["seconds"], "rounds": rounds, **environment()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="number of times that the pair is measured")
    parser.add_argument("--json", type=Path, help="file for the figures; they are always printed")
    options = parser.parse_args()
    figures = measure(options.rounds)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
