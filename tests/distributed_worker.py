"""The program of each process in tests/test_distributed.py: updates on given rollouts, then two RLFR steps."""

import copy
import sys
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator, PartialState

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.training.trainer import RLFRTrainer
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


class GivenRollouts(RLFRTrainer):
    """The trainer with completions of fixed tokens, the same ones for any number of processes, and a fixed reward."""

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple[list, None]:
        draws = torch.Generator().manual_seed(self.state.global_step)
        lengths = torch.randint(1, 10, (ROLLOUTS,), generator=draws).tolist()
        first_word = len(self._tokenizer.all_special_ids)
        ids = [torch.randint(first_word, len(self._tokenizer), (n,), generator=draws).tolist() for n in lengths]
        first = self.accelerator.process_index * len(prompt_ids)
        return ids[first : first + len(prompt_ids)], None


def some_accepted(prompts: list[Any], **kwargs: Any) -> list[float]:
    """Accepts rollouts of the first process of two only."""
    return [float(PartialState().process_index == 0 and index in (1, 2)) for index in range(len(prompts))]


def train_on_given_rollouts(policy: Path, out: Path) -> None:
    """Two policy steps and their field updates on given rollouts, in float64 for the reason in `update`.

    The flow rewards are compared with those of equal tokens of the batch, which are tokens of both processes, and
    change places with them.
    """
    processes = PartialState(cpu=True).num_processes
    config = FlowRewardConfig(normalisation="batch", flow_coef=0.5, shuffle="token_id", token_baseline=True)
    trainer = make_trainer(
        policy,
        out / f"given-{processes}",
        trainer_class=GivenRollouts,
        reward=some_accepted,
        per_device_train_batch_size=ROLLOUTS // processes,
        reward_config=config,
        max_steps=2,
    )
    trainer.model.double()
    trainer.flow.field.double()
    trainer.train()
    state = {"policy": trainer.model.state_dict(), "field": trainer.flow.field.state_dict()}
    torch.save(state, out / f"given-{processes}-{trainer.accelerator.process_index}.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    update(Path(sys.argv[2]))
    train_on_given_rollouts(Path(sys.argv[1]), Path(sys.argv[2]))
    train(Path(sys.argv[1]), Path(sys.argv[2]))
