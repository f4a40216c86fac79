"""The record file of an experiment, results.json: one record per finished training run."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from rlfr_mm.files import write_whole
from rlfr_mm.viewing.smoothing import smoothed, window_for

UNGRADED = "?"
# The columns of metrics.jsonl that a record keeps, one value per step.
CURVES = (
    "accuracy",
    "auc/flow_reward",
    "auc/deviation",
    "auc/logprob",
    "flow/shaping_magnitude",
    "shaping/praise",
    "shaping/blame",
)


class CellRecord(BaseModel):
    """One finished training run."""

    model_config = ConfigDict(extra="forbid")

    condition: str
    method: str
    seed: int
    settings: dict[str, Any]  # that differ from the base
    accuracy_before: float | None  # over the held-out problems that could be graded
    accuracy_after: float | None
    samples: int = 1  # answers per held-out problem
    correct_before: str  # one character per held-out problem: how many of its answers are right, ? not all graded
    correct_after: str
    curves: dict[str, list[float | None]]
    auc_gain: float | None  # what the flow reward adds to the log-probability's AUC; None: no rollouts recorded
    seconds: dict[str, float]  # by stage
    hardware: dict[str, Any]
    versions: dict[str, str]
    git_commit: str | None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.condition, self.method, self.seed

    @property
    def scores_after(self) -> np.ndarray:
        """(problems,) the share of right answers after training; NaN where one could not be graded."""
        return np.array([np.nan if mark == UNGRADED else int(mark) / self.samples for mark in self.correct_after])

    @property
    def smoothed_accuracy(self) -> np.ndarray:
        """(steps,) the moving average of the rollouts' accuracy, as the picture of a run shows it."""
        values = self.curves["accuracy"]
        return smoothed(values, window_for(len(values)))

    def steps_to(self, target: float) -> int:
        """The first step whose smoothed accuracy reaches the target; the number of steps plus one if none does."""
        reached = np.flatnonzero(self.smoothed_accuracy >= target)
        return int(reached[0]) + 1 if len(reached) else len(self.curves["accuracy"]) + 1


class ExperimentRecord(BaseModel):
    """All finished runs of an experiment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    about: str
    base: dict[str, Any]  # the settings that all cells start from
    compare_to: list[str]
    target_accuracy: float | None
    problems: dict[str, list[str]]  # by condition, the ids of the held-out problems
    cells: list[CellRecord]

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(cell.condition for cell in self.cells))

    def of(self, condition: str) -> dict[str, dict[int, CellRecord]]:
        """The cells of a condition, by method and then by seed."""
        found: dict[str, dict[int, CellRecord]] = {}
        for cell in self.cells:
            if cell.condition == condition:
                found.setdefault(cell.method, {})[cell.seed] = cell
        return found


def mean_over_steps(cell: CellRecord, metric: str) -> float | None:
    """The mean of a run's curve over the steps that have a value; None if none has."""
    values = [value for value in cell.curves.get(metric, []) if value is not None]
    return sum(values) / len(values) if values else None


def how_many_seeds(counts: Sequence[int]) -> str:
    """What a title says of methods with these numbers of seeds.

    >>> how_many_seeds([14, 14, 3])
    '3 to 14 seeds'
    """
    fewest, most = min(counts), max(counts)
    return f"{fewest} to {most} seeds" if fewest < most else f"{most} seed{'s' * (most > 1)}"


def read_results(path: Path) -> ExperimentRecord:
    """The record of an experiment; ValueError in one line if the file does not hold one."""
    try:
        return ExperimentRecord.model_validate_json(path.read_text())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = f"{'.'.join(map(str, first['loc']))}: " if first["loc"] else ""
        raise ValueError(f"{path} is not the record of an experiment: {where}{first['msg']}") from None


def write_results(record: ExperimentRecord, path: Path) -> None:
    """Write the record file with one line per cell, so that a diff shows which cells are new."""
    head = record.model_dump_json(exclude={"cells"}).removesuffix("}")
    cells = ",\n".join(cell.model_dump_json() for cell in record.cells)
    write_whole(path, f'{head},"cells":[\n{cells}\n]}}\n')
