"""What a training run does after a step, besides training."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from rlfr_mm.files import Journal
from rlfr_mm.training.run_folder import metrics_row


class MetricsWriter(TrainerCallback):
    """Appends the metrics of each policy step to `metrics.jsonl`, one row per step, on the main process.

    If a batch of rollouts serves several steps, TRL's metrics of the batch are in the row of its first step and ours in
    the row of its last.
    """

    def __init__(self, run_dir: str | Path):
        self.path = Path(run_dir) / "metrics.jsonl"
        self.journal: Journal | None = None

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step == state.max_steps:  # whatever has been gathered since the last row
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        if logs and "loss" in logs and state.is_world_process_zero:
            self.journal = self.journal or Journal(self.path)
            self.journal.append([json.dumps(metrics_row(state.global_step, logs))])


class KeepBest(TrainerCallback):
    """Measures the held-out accuracy every `steps` policy steps and after the last one, and saves each new best.

    `measure(step)` logs it with the metrics of the step, which get a row, and returns whether it is the best so far.
    """

    def __init__(self, steps: int, measure: Callable[[int], bool]):
        self.steps, self.measure = steps, measure

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if state.global_step % self.steps == 0 or state.global_step == state.max_steps:
            is_best = self.measure(state.global_step)
            control.should_log = True
            control.should_save |= is_best and args.save_strategy != "no"


class EverySoManySteps(TrainerCallback):
    """Calls `work(step)` every `steps` policy steps and after the last one; with None only after the last."""

    def __init__(self, steps: int | None, work: Callable[[int], None]):
        self.steps, self.work = steps, work

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        due = self.steps is not None and state.global_step % self.steps == 0
        if due or state.global_step == state.max_steps:
            self.work(state.global_step)
