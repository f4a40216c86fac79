"""The first page of the results: notes.md, a Jinja template that takes every figure from the record files."""

from collections.abc import Container
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined

from rlfr_mm.experiments.comparison import Comparison, compare
from rlfr_mm.experiments.first_step import agreement, difference, over_policies, plot_steps, step_table, taken_table
from rlfr_mm.experiments.overview import credit_table, plot_gains, room_table
from rlfr_mm.experiments.records import ExperimentRecord, mean_over_steps, read_results
from rlfr_mm.files import read_json


def first_page(folder: Path, records: list[ExperimentRecord]) -> str:
    """The text of notes.md with the figures that it asks for; writes pictures of gains and of steps, too."""
    plot_gains(records, folder)
    named = {record.name: record for record in records}
    named |= {f"again/{path.stem}": read_results(path) for path in sorted(folder.glob("again/*.json"))}
    steps = read_steps(folder / "step_gain")
    # What training gained belongs beside the steps of the policy that it began with.
    trained = {name: None if each["run"] else named.get(each["experiment"]) for name, each in steps.items()}
    for name, record in trained.items():
        if record:
            plot_steps(steps[name], record, folder / "step_gain" / f"{name}.png")
    figures = Figures(folder, named, steps, trained)
    pictures = {name: folder / f"{name}.png" for name in ("gains", "searches")}
    shown = {
        name: f"![gains over RLVR]({folder.name}/{path.name})" if path.exists() else ""
        for name, path in pictures.items()
    }
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    template = environment.from_string((folder / "notes.md").read_text().strip())
    asked = {name: getattr(figures, name) for name in dir(figures) if not name.startswith("_")}
    return template.render(room=room_table(records), credit_table=credit_table, **shown, **asked)


class Figures:
    """What notes.md can ask for: each method below is a function of the template.

    An `experiment` is the name of one, or again/NAME for what its policies answered when they were asked again.
    """

    def __init__(
        self,
        folder: Path,
        records: dict[str, ExperimentRecord],
        steps: dict[str, dict[str, Any]],
        trained: dict[str, ExperimentRecord | None],
    ):
        self._folder, self._records, self._steps, self._trained = folder, records, steps, trained

    def comparison(
        self,
        experiment: str,
        condition: str,
        method: str,
        against: str | None = None,
        seeds: Container[int] | None = None,
    ) -> Comparison:
        """A method and what it is compared with, RLVR unless said otherwise; `seeds` leaves out all others."""
        record = self._records[experiment]
        wanted = (condition, method, against or record.compare_to[0])
        chosen = [cell for cell in record.cells if seeds is None or cell.seed in seeds]
        for each in compare(record.model_copy(update={"cells": chosen})):
            if (each.condition, each.method, each.against) == wanted:
                return each
        raise ValueError(f"notes.md asks {experiment} for {wanted}, which it does not compare")

    def gain(self, *of: Any, **options: Any) -> str:
        """The gain of a `comparison`, with its interval."""
        return "{:+.1f} points [{:+.1f}, {:+.1f}]".format(*self.comparison(*of, **options).points)

    def p(self, *of: Any, **options: Any) -> str:
        """The corrected p of a `comparison`: "0.052" or "<0.001", below which it depends on the shape of the tails."""
        p = self.comparison(*of, **options).p
        return "<0.001" if p is not None and p < 0.001 else f"{p:.2g}"

    def p_is(self, *of: Any, **options: Any) -> str:
        """The same in a sentence: "p = 0.052" or "p < 0.001"."""
        found = self.p(*of, **options)
        return f"p < {found[1:]}" if found.startswith("<") else f"p = {found}"

    def ahead(self, experiment: str, condition: str, method: str, against: str) -> str:
        """On how many of the seeds of both methods the first one has a higher accuracy after training: "9 of 10"."""
        ours, theirs = (self._records[experiment].of(condition)[name] for name in (method, against))
        shared = ours.keys() & theirs.keys()
        wins = sum(np.nanmean(ours[seed].scores_after - theirs[seed].scores_after) > 0 for seed in shared)
        return f"{wins} of {len(shared)}"

    def rollout_gain(self, experiment: str, condition: str, method: str, against: str, first: int, last: int) -> str:
        """What a method's training rollouts gain from step `first` to `last`, in points: mean ± standard error."""
        ours, theirs = (self._records[experiment].of(condition)[name] for name in (method, against))
        gains = []
        for seed in ours.keys() & theirs.keys():
            a, b = (np.array(each[seed].curves["accuracy"][first - 1 : last], dtype=float) for each in (theirs, ours))
            gains.append(100 * np.nanmean(b - a))
        return f"{np.mean(gains):+.1f} ± {np.std(gains, ddof=1) / len(gains) ** 0.5:.1f}"

    def training(self, experiment: str, condition: str) -> str:
        """How long the runs of a condition are: "60 steps at a learning rate of 1e-4"."""
        record = self._records[experiment]
        settings = next(cell.settings for cell in record.cells if cell.condition == condition)
        steps, rate = (
            settings.get(f"train.{name}", record.base["train"].get(name)) for name in ("max_steps", "learning_rate")
        )
        return f"{steps} steps at a learning rate of {np.format_float_scientific(rate, trim='-', exp_digits=1)}"

    def training_auc(self, experiment: str, condition: str, method: str, key: str) -> str:
        """A method's within-group AUC of what `key` names, averaged over steps and seeds."""
        cells = self._records[experiment].of(condition)[method].values()
        return f"{np.mean([mean_over_steps(cell, key) for cell in cells]):.2f}"

    def problems(self, experiment: str, condition: str) -> int:
        """The number of held-out problems."""
        return len(self._records[experiment].problems[condition])

    def accuracy(self, experiment: str, condition: str, method: str, stage: str) -> str:
        """A method's accuracy "before" or "after" training, averaged over seeds."""
        return f"{self._accuracy(experiment, condition, method, stage):.1f} %"

    def accuracy_gain(self, experiment: str, condition: str, method: str) -> str:
        """What training with a method adds to the accuracy before it, averaged over seeds."""
        before, after = (self._accuracy(experiment, condition, method, stage) for stage in ("before", "after"))
        return f"{after - before:.1f} points"

    def _accuracy(self, experiment: str, condition: str, method: str, stage: str) -> float:
        cells = self._records[experiment].of(condition)[method].values()
        return float(100 * np.mean([getattr(cell, f"accuracy_{stage}") for cell in cells]))

    def record(self, path: str) -> Any:
        """What a record file under the folder holds."""
        return read_json(self._folder / path)

    def step_record(self, name: str) -> dict[str, Any]:
        """A record of benchmarks/step_gain.py, or that of several policies."""
        return self._steps[name]

    def step_table(self, name: str) -> str:
        """What one step of each method gains, beside what training gained."""
        return step_table(self._steps[name], self._trained[name])

    def taken_table(self, name: str) -> str:
        """What steps of several lengths gained when they were taken."""
        return taken_table(self._steps[name])

    def step_difference(self, name: str, method: str, against: str) -> dict[str, Any]:
        """What a step gains over that of another method, of a record of several policies."""
        return difference(self._steps[name], method, against)

    def step_agreement(self, name: str, seeds: int) -> float:
        """The rank correlation of single steps and training, over the methods with at least so many seeds."""
        return agreement(self._steps[name], self._records[self._steps[name]["experiment"]], seeds)


def read_steps(folder: Path) -> dict[str, dict[str, Any]]:
    """The records of benchmarks/step_gain.py by name, those of a folder of policies as one (`over_policies`)."""
    steps = {path.stem: read_json(path) for path in sorted(folder.glob("*.json"))}
    for policies in (path for path in sorted(folder.glob("*")) if path.is_dir()):
        if policies.name in steps:
            raise ValueError(f"{policies} and {policies}.json have the same name: rename one")
        try:
            steps[policies.name] = over_policies([read_json(each) for each in sorted(policies.glob("*.json"))])
        except ValueError as error:
            raise ValueError(f"{policies}: {error}") from None
    return steps
