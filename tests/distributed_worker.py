"""The program of each process in tests/test_distributed.py: field updates on fixed rollouts, then two RLFR steps."""

import copy
import sys
from pathlib import Path

import torch
from accelerate import Accelerator

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from tests.tiny_trainer import make_trainer

ROLLOUTS, TOKENS = 8, 5


def update(out: Path) -> None:
    """Three field updates on given rollouts; in the second, only the first half of them is accepted.

    In float64: Adam divides by the gradient's own size, so that float32 rounding, which differs between CPUs, would
    show in the weights.
    """
    accelerator = Accelerator(cpu=True)
    generator = torch.Generator().manual_seed(0)
    latents = torch.randn(ROLLOUTS, 2, TOKENS + 1, 16, generator=generator, dtype=torch.float64)
    mask = torch.arange(TOKENS) < torch.tensor([5, 4, 3, 2, 1, 5, 4, 3])[:, None]
    field = FlowField(
        FlowConfig(flow_layers=[0.25, 0.5], num_blocks=2, hidden_size=16, num_policy_layers=4, rms_norm_eps=1e-6)
    ).double()
    updater = FieldUpdater(field, OnlineUpdateConfig(learning_rate=1e-2), accelerator)
    share = ROLLOUTS // accelerator.num_processes
    mine = slice(share * accelerator.process_index, share * (accelerator.process_index + 1))
    losses = []
    for step in range(3):
        weights = mask.double()
        if step == 1:
            weights[ROLLOUTS // 2 :] = 0  # the second process has no accepted rollout
        seeds = sample_seeds(generator, share * accelerator.process_index, share)
        losses.append(updater.step([(Latents.pack(latents[mine], mask[mine]), weights[mine], seeds)]).loss)
    torch.save(
        {"field": field.state_dict(), "losses": losses},
        out / f"update-{accelerator.num_processes}-{accelerator.process_index}.pt",
    )


def train(policy: Path, out: Path) -> None:
    """Two steps of RLFR, with a group that is spread over both processes and normalised as one."""
    trainer = make_trainer(
        policy,
        out / "run",
        per_device_train_batch_size=2,
        reward_config=FlowRewardConfig(normalisation="group", flow_coef=0.5),
        max_steps=2,
        save_strategy="steps",
        save_steps=1,
    )
    batches = []
    finish = trainer._finish
    trainer._finish = lambda batch: (batches.append(copy.copy(batch)), finish(batch))
    trainer.train()
    torch.save(
        {
            "field": trainer.flow.field.state_dict(),
            "deviation": batches[0].flow.deviation,
            "mask": batches[0].mask,
            "flow_reward": batches[0].flow.reward,
        },
        out / f"train-{trainer.accelerator.process_index}.pt",
    )


if __name__ == "__main__":
    torch.set_num_threads(1)
    update(Path(sys.argv[2]))
    train(Path(sys.argv[1]), Path(sys.argv[2]))
