"""A real RLFRTrainer on the drawn world that is small enough for tests, and what it does as it trains."""

import copy
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig, RLFRConfig
from rlfr_mm.config_file import build
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import velocity_deviation
from rlfr_mm.quickstart import world
from rlfr_mm.training.trainer import RLFRTrainer

CPU = {
    "use_cpu": True,
    "bf16": False,
    "gradient_checkpointing": False,
    "dataloader_pin_memory": False,
    "report_to": "none",
    "disable_tqdm": True,
    "save_strategy": "no",
}


def every_third(completions: list[Any], **kwargs: Any) -> list[float]:
    """A reward that accepts some rollouts of every group, whatever they say."""
    return [float(index % 3 == 0) for index in range(len(completions))]


def none_accepted(completions: list[Any], **kwargs: Any) -> list[float]:
    return [0.1 * (index % 2) for index in range(len(completions))]


def make_trainer(
    policy_dir: Path,
    output_dir: Path,
    *,
    reward: Any = every_third,
    reward_config: FlowRewardConfig | None = None,
    update_config: OnlineUpdateConfig | None = None,
    flow_config: FlowConfig | None = None,
    evaluates: bool = False,
    trainer_class: type[RLFRTrainer] = RLFRTrainer,
    **settings: Any,
) -> RLFRTrainer:
    """Two groups of four rollouts per step; `settings` override those of the RLFRConfig.

    With `evaluates` the trainer has problems for TRL's evaluation, too.
    """
    torch.manual_seed(0)
    model = AutoModelForImageTextToText.from_pretrained(policy_dir, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(policy_dir, padding_side="left")
    rows = [
        {key: row[key] for key in ("prompt", "images", "solution", "problem_id")} | {"expert": row["completion"]}
        for row in world.rows(8, "train", [2])
    ]
    defaults = {
        "output_dir": str(output_dir),
        "per_device_train_batch_size": 8,
        "num_generations": 4,
        "max_completion_length": 10,
        "max_steps": 3,
        "logging_steps": 1,
        "learning_rate": 1e-3,
    }
    args = build(RLFRConfig, CPU | defaults | settings)
    field = None
    if args.uses_field:
        field = FlowField.for_policy(flow_config or FlowConfig(num_blocks=2), model.config)
    return trainer_class(
        model=model,
        reward_funcs=reward,
        args=args,
        train_dataset=Dataset.from_list(rows),
        eval_dataset=Dataset.from_list(rows[:2]) if evaluates else None,
        processing_class=processor,
        field=field,
        flow_reward_config=reward_config,
        update_config=update_config,
    )


def loss_inputs(trainer) -> list[dict]:
    """The inputs of every micro-batch as TRL's loss reads them."""
    caught = []
    observe = trainer._observe

    def spy(batch, inputs, logps, entropies):
        observe(batch, inputs, logps, entropies)
        caught.append({**inputs, "entropies": entropies})

    trainer._observe = spy
    return caught


def measured_parts(trainer) -> list:
    """(step, rollouts, latents) of each micro-batch whose deviations are measured."""
    parts = []
    measure = trainer.flow.measure

    def spy(batch, record, index, latents, learns_now=False):
        parts.append((batch.step, index, latents))
        measure(batch, record, index, latents, learns_now)

    trainer.flow.measure = spy
    return parts


def deviation_of(field, batch, config, parts) -> torch.Tensor:
    """(B, T) the deviations of a batch under a field, from its `measured_parts`."""
    deviation = torch.zeros(batch.mask.shape)
    for step, index, latents in parts:
        if step == batch.step:
            deviation[index] = velocity_deviation(field, latents, config, batch.flow.seeds[index])
    return deviation


def finished_batches(trainer) -> list:
    """The rollout batches of a run, as they are after their last micro-batch."""
    batches = []
    finish = trainer._finish
    trainer._finish = lambda batch: (batches.append(copy.copy(batch)), finish(batch))
    return batches
