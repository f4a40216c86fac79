"""Steps whose numbers are not finite: they move nothing, are counted, and are kept for inspection.

A step is bad if the latents or the field's scores of its rollouts, its loss, its gradients or the field's update hold
NaN or infinity on any process. After `max_bad_steps` of them in a row the run stops (`Diverged`).
"""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from transformers import Trainer

from rlfr_mm.data.prompts import conversation_text
from rlfr_mm.policy import NotFinite
from rlfr_mm.training.rollout_batch import RolloutBatch, problem_id_of
from rlfr_mm.training.run_folder import bad_step_files

KEPT_BATCHES = 20  # the tensors of further batches are not kept


class Diverged(NotFinite):
    """Training cannot go on, because its numbers are not finite. The message is one line."""


def not_finite(module: nn.Module) -> str | None:
    """The name of the first parameter that holds NaN or infinity in this process's part of it; None if none does."""
    for name, parameter in module.named_parameters():
        local = parameter.to_local() if isinstance(parameter, DTensor) else parameter
        if not local.isfinite().all():
            return name
    return None


class BadSteps:
    """The folder RUN/bad_steps: STEP-PROCESS.json says what was not finite, and which rollouts the step had.

    STEP-PROCESS.safetensors has their token ids, masks, rewards, advantages, log-probabilities and entropies.
    """

    def __init__(self, run_dir: str | Path):
        self.files = bad_step_files(run_dir)

    @property
    def count(self) -> int:
        """How many steps were bad."""
        return len(self.files.steps)

    def keep(self, step: int, process: int, reason: str, batch: RolloutBatch | None, decode: Any) -> None:
        """Record a bad step; `decode` turns token ids into text."""
        name = f"{step:06d}-{process}"
        kept: dict[str, bytes] = {}
        rollouts: list[dict[str, Any]] = []
        if batch is not None:
            for row, ids, mask in zip(batch.inputs, batch.completion_ids, batch.mask, strict=True):
                completion = str(decode(ids[mask].tolist()))
                prompt = conversation_text(row.get("prompt") or "")
                rollouts.append({"problem_id": problem_id_of(row), "prompt": prompt, "completion": completion})
            if self.count < KEPT_BATCHES:
                tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in batch.tensors().items()}
                kept = {f"{name}.safetensors": save(tensors)}
        record = {"step": step, "reason": reason, "rollouts": rollouts}
        self.files.write(kept | {f"{name}.json": json.dumps(record, indent=2).encode()})


class SkipBadSteps(Trainer):
    """A mix-in that must precede the Trainer in the list of base classes; it skips the policy's part of a bad step.

    DeepSpeed steps inside its backward pass, so that under it a bad step is counted, but not skipped.
    """

    args: Any
    bad_in_a_row = 0
    batch: RolloutBatch | None
    processing_class: Any
    _log_means: Callable[[dict[str, float]], None]
    _step_is_bad: str | None = None  # what this process found not to be finite in the current step

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        if not loss.isfinite().all():
            self._step_is_bad = self._step_is_bad or "the loss is not finite"
        return loss

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> Any:
        """The norm, after which the optimiser steps; if anything is not finite, it finds no gradients."""
        norm = super()._get_grad_norm(model, grad_norm)
        reason, self._step_is_bad = self._step_is_bad, None
        if self.batch is not None and self.batch.not_finite:
            reason = self.batch.not_finite
        # DeepSpeed may give no norm, and the scaler of fp16 skips infinite gradients itself.
        if norm is not None and self.accelerator.scaler is None and not math.isfinite(float(norm)):
            reason = reason or "the gradients are not finite"
        bad = torch.tensor(float(reason is not None), device=self.accelerator.device)
        is_bad = self.accelerator.reduce(bad, "sum").item() > 0
        self._log_means({"bad_steps": float(is_bad)})
        if is_bad:
            model.zero_grad(set_to_none=True)
            self._count_bad_step(reason or "numbers of another process are not finite")
        else:
            self.bad_in_a_row = 0
        return norm

    def _count_bad_step(self, reason: str) -> None:
        self.bad_in_a_row += 1
        step, folder = self.state.global_step + 1, BadSteps(self.args.output_dir)
        decode = self.processing_class.decode
        folder.keep(step, self.accelerator.process_index, reason, self.batch, decode)
        limit, row = self.args.max_bad_steps, self.bad_in_a_row
        self.accelerator.print(f"warning: step {step} is skipped: {reason} (see {folder.files.folder})")
        if row >= limit:
            raise Diverged(
                f"{row} steps in a row, up to step {step}, were skipped: {reason}; lower train.learning_rate or "
                f"update.learning_rate, or raise train.max_bad_steps={limit}; the batches are in {folder.files.folder}"
            )
