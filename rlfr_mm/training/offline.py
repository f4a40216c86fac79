"""Offline start: the field learns the latents of expert solutions while the policy is frozen (arXiv 2510.10201)."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor
from tqdm import tqdm
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from rlfr_mm.config import FlowConfig, OfflineConfig
from rlfr_mm.config_file import as_dict
from rlfr_mm.method.field import FlowField, latent_statistics
from rlfr_mm.method.latents import record_latents, stop_after_layer
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import Processor, encode_demonstrations

STATISTICS_ROWS = 512  # rows whose latents give the mean and deviation of a standardised field


def demonstration_latents(
    policy: PreTrainedModel,
    processor: Processor,
    rows: list[dict[str, Any]],
    layer_indices: list[int],
    max_response_tokens: int,
) -> tuple[Tensor, Tensor]:
    """Latents (B, layer, 1 + T, hidden) and mask (B, T) of expert responses; no layer after the deepest, no lm_head."""
    inputs, mask = encode_demonstrations(rows, processor, max_response_tokens)
    inputs = {key: value.to(policy.device) for key, value in inputs.items()}
    recording = record_latents(policy, layer_indices, mask.shape[1] + 1)
    with torch.no_grad(), recording as recorder, stop_after_layer(policy, max(layer_indices)):
        policy(**inputs, use_cache=False)
    return recorder.latents, mask.to(policy.device)


def check_start(folder: str | Path, policy: PreTrainedModel, flow: FlowConfig, config: OfflineConfig) -> dict[str, Any]:
    """What the field of an offline start depends on; ValueError where the folder holds that of another."""
    settings = {"policy": policy.config.name_or_path, "flow": as_dict(flow), "offline": as_dict(config)}
    stored = Path(folder) / "settings.json"
    if stored.exists() and json.loads(stored.read_text()) != settings:
        raise ValueError(f"{folder} holds an offline start with other settings: remove it or name another folder")
    return settings


def train_field(
    policy: PreTrainedModel,
    processor: Processor,
    demonstrations: Dataset,
    flow: FlowConfig,
    config: OfflineConfig,
    folder: str | Path,
    accelerator: Accelerator,
) -> FlowField:
    """The field after its offline start, saved in `folder`; read from there where it is finished.

    `log.jsonl` has one row a step. A killed start goes on from `checkpoint-N`, which appears whole or not at all:
    order, times and noise depend on the seed and the step alone. Each process takes its part of every batch.
    """
    folder = Path(folder)
    settings = check_start(folder, policy, flow, config)
    if (folder / "flow_config.json").exists():
        return FlowField.from_pretrained(folder).to(policy.device)
    policy.eval()
    field = FlowField.for_policy(flow, policy.config, seed=config.seed).to(policy.device)
    updater = FieldUpdater(field, config, accelerator)
    steps_per_epoch = math.ceil(len(demonstrations) / config.batch_size)
    total = config.max_steps if config.max_steps > 0 else math.ceil(steps_per_epoch * config.num_train_epochs)
    schedule = get_cosine_schedule_with_warmup(updater.optimizer, round(config.warmup_ratio * total), total)
    noise = torch.Generator().manual_seed(config.seed)

    def latents_of(indices: list[int]) -> tuple[Tensor, Tensor]:
        rows = [demonstrations[i] for i in indices]
        return demonstration_latents(policy, processor, rows, field.layer_indices, config.max_response_tokens)

    step = 0
    checkpoints = sorted(folder.glob("checkpoint-*"), key=lambda path: int(path.name.removeprefix("checkpoint-")))
    if checkpoints:
        state = torch.load(checkpoints[-1] / "state.pt", weights_only=True)
        field.load_state_dict(FlowField.from_pretrained(checkpoints[-1]).state_dict())
        updater.optimizer.load_state_dict(state["optimizer"])
        schedule.load_state_dict(state["schedule"])
        noise.set_state(state["noise"])
        step = state["step"]
    elif flow.standardise:
        starts = range(0, min(STATISTICS_ROWS, len(demonstrations)), config.batch_size)
        parts = [
            latent_statistics(*latents_of(list(range(i, min(i + config.batch_size, len(demonstrations))))))
            for i in tqdm(starts, desc="latent statistics", unit="batch", disable=not accelerator.is_main_process)
        ]
        field.set_statistics(sum(parts[1:], parts[0]))

    if accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n")
        log_path = folder / "log.jsonl"
        kept = log_path.read_text().splitlines()[:step] if log_path.exists() else []
        log_path.write_text("".join(line + "\n" for line in kept))
    with tqdm(total=total, initial=step, desc="flow field", disable=not accelerator.is_main_process) as progress:
        while step < total:
            batch = _batch(step, len(demonstrations), config)
            seeds = sample_seeds(noise, 0, len(batch))
            mine = slice(accelerator.process_index, None, accelerator.num_processes)
            # All processes take part in a step: one without a row of a short batch brings one of weight 0.
            latents, mask = latents_of(batch[mine] or batch[:1])
            weights = mask.float() * bool(batch[mine])
            result = updater.step(latents, mask, weights, seeds[mine] or seeds[:1])
            schedule.step()
            step += 1
            progress.update()
            progress.set_postfix(loss=f"{result.loss:.4f}")
            if accelerator.is_main_process:
                row = {"step": step, "loss": result.loss, "grad_norm": result.grad_norm}
                with log_path.open("a") as log:
                    log.write(json.dumps({**row, "learning_rate": schedule.get_last_lr()[0]}) + "\n")
                if step % config.save_steps == 0 and step < total:
                    _save(folder, step, field, updater, schedule, noise)
    if accelerator.is_main_process:
        field.save_pretrained(folder)
        for checkpoint in folder.glob("checkpoint-*"):
            shutil.rmtree(checkpoint)
    accelerator.wait_for_everyone()
    return field


def _batch(step: int, size: int, config: OfflineConfig) -> list[int]:
    """The rows of one step: each epoch is a permutation of its own."""
    epoch, position = divmod(step, math.ceil(size / config.batch_size))
    shuffle = torch.Generator().manual_seed(config.seed * 1_000_003 + epoch)
    order = torch.randperm(size, generator=shuffle)
    return order[position * config.batch_size : (position + 1) * config.batch_size].tolist()


def _save(
    folder: Path, step: int, field: FlowField, updater: FieldUpdater, schedule: Any, noise: torch.Generator
) -> None:
    """Write a checkpoint aside, rename it, and only then remove the one before."""
    partial, before = folder / ".saving", list(folder.glob("checkpoint-*"))
    shutil.rmtree(partial, ignore_errors=True)
    field.save_pretrained(partial)
    state = {
        "step": step,
        "optimizer": updater.optimizer.state_dict(),
        "schedule": schedule.state_dict(),
        "noise": noise.get_state(),
    }
    torch.save(state, partial / "state.pt")
    partial.rename(folder / f"checkpoint-{step}")
    for checkpoint in before:
        shutil.rmtree(checkpoint)
