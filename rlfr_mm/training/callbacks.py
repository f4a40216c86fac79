"""What a training run does after a step besides training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback


class MetricsWriter(TrainerCallback):
    """Appends what is logged of a step to `metrics.jsonl`: one row a step, on the main process.

    Where a batch of rollouts serves several steps, the first has TRL's figures of it and the last has ours.
    """

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / "metrics.jsonl"

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs and state.is_world_process_zero:
            with self.path.open("a") as file:
                file.write(json.dumps({"step": state.global_step, **logs}) + "\n")


class EverySoManySteps(TrainerCallback):
    """Calls `work` with the step, every `steps` optimiser steps (None: not) and after the last."""

    def __init__(self, steps: int | None, work: Callable[[int], None]):
        self.steps, self.work = steps, work

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = self.steps is not None and state.global_step % self.steps == 0
        if due or state.global_step == state.max_steps:
            self.work(state.global_step)
