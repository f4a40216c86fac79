"""Which method of an experiment is better, with a test for every pair that the experiment asks for."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import wilcoxon

from rlfr_mm.experiments.records import CellRecord, ExperimentRecord
from rlfr_mm.statistics import PairedTest, holm, paired_test

FEW_SEEDS = 5  # with two to four, `paired_test` has far too wide or, by chance, too narrow intervals


@dataclass(frozen=True)
class Comparison:
    """A method against another one, on the seeds that both have."""

    condition: str
    method: str
    against: str
    gain: PairedTest  # of held-out accuracy; its own p is not corrected
    p: float
    detectable: float | None  # the true gain that this correction finds with 80 % power
    steps_saved: float | None  # until the target accuracy, median over seeds; None without a target
    steps_p: float | None

    @property
    def has_few_seeds(self) -> bool:
        """Whether p proves nothing. That of a single seed is shown: it is a statement on one run and its problems."""
        return 1 < self.gain.seeds < FEW_SEEDS

    @property
    def points(self) -> tuple[float, float, float]:
        """The gain and the ends of its 95 % interval in percentage points."""
        return 100 * self.gain.difference, 100 * self.gain.interval.low, 100 * self.gain.interval.high


def compare(record: ExperimentRecord) -> list[Comparison]:
    """Every method against those of `compare_to`; p values are corrected (Holm) over the whole experiment.

    - Held-out accuracy: `paired_test`, seeds and problems both random, on the problems that all runs of the two methods
      could grade.
    - Steps to the target accuracy: Wilcoxon's signed-rank test over seeds. A run that never reaches the target counts
      as one step more than it has. These p values are corrected as a family of their own.
    """
    found = [each for condition, *pair in _pairs(record) if (each := _comparison(record, condition, *pair))]
    p_values = holm([each.p for each in found])
    steps_p = holm([each.steps_p for each in found if each.steps_p is not None])
    return [
        replace(each, p=p, detectable=each.gain.detectable_among(len(found)), steps_p=steps_p[i] if steps_p else None)
        for i, (each, p) in enumerate(zip(found, p_values, strict=True))
    ]


def _pairs(record: ExperimentRecord) -> Iterator[tuple[str, str, str]]:
    """(condition, method, against) for every pair of methods to compare, each pair once."""
    for condition in record.conditions:
        methods = record.of(condition)
        for index, against in enumerate(record.compare_to):
            for method in methods:
                if against in methods and method != against and method not in record.compare_to[:index]:
                    yield condition, method, against


def _comparison(record: ExperimentRecord, condition: str, method: str, against: str) -> Comparison | None:
    """The comparison with p values that are not corrected yet; None if too little was run or graded to compare."""
    methods = record.of(condition)
    seeds = sorted(methods[method].keys() & methods[against].keys())
    if not seeds:
        return None
    ours, theirs = ([methods[name][seed] for seed in seeds] for name in (method, against))
    a, b = (np.stack([cell.scores_after for cell in cells]) for cells in (theirs, ours))
    if (~np.isnan(a + b).any(0)).sum() < 2:
        return None
    gain = paired_test(a, b)
    steps = _steps_saved(ours, theirs, record.target_accuracy) if record.target_accuracy is not None else (None, None)
    return Comparison(condition, method, against, gain, gain.p, None, *steps)


def _steps_saved(ours: list[CellRecord], theirs: list[CellRecord], target: float) -> tuple[float, float]:
    """The median number of steps saved until the target accuracy, and its p."""
    saved = np.array([b.steps_to(target) - a.steps_to(target) for a, b in zip(ours, theirs, strict=True)])
    return float(np.median(saved)), float(wilcoxon(saved).pvalue) if saved.any() else 1.0
