"""How many seeds, problems and answers per problem an experiment needs, from the record of a pilot."""

from dataclasses import astuple, dataclass

import numpy as np
from scipy.special import stdtr, stdtrit
from tabulate import tabulate

from rlfr_mm.experiments.comparison import FEW_SEEDS, compare
from rlfr_mm.experiments.records import CellRecord, ExperimentRecord
from rlfr_mm.statistics import MeanSquares, error_of_mean, mean_squares

POWER, LEVEL = 0.8, 0.05
MOST_SEEDS = 100
PROBLEMS, SAMPLES = (256, 512, 1024, 2048), (1, 4, 8)


@dataclass(frozen=True)
class Spread:
    """The variance components of the difference between two methods on one problem with one seed."""

    seeds: float  # a seed's effect on all problems
    problems: float  # a problem's effect with all seeds
    both: float  # that of a seed on a problem
    answers: float  # sampling noise of one answer by each method

    def error(self, seeds: int, problems: int, samples: int) -> tuple[float, float]:
        """The expected standard error of the gain and its degrees of freedom, as `paired_seeds` would find them."""
        rest = self.both + self.answers / samples
        squares = MeanSquares(problems * self.seeds + rest, seeds * self.problems + rest, rest)
        return error_of_mean(squares, seeds, problems)

    def power(self, gain: float, seeds: int, problems: int, samples: int, comparisons: int) -> float:
        """The probability that the test finds the gain at the 5 % level, corrected for so many comparisons."""
        error, freedom = self.error(seeds, problems, samples)
        return float(stdtr(freedom, gain / error - stdtrit(freedom, 1 - LEVEL / comparisons / 2)))

    def seeds_for(self, gain: float, problems: int, samples: int, comparisons: int) -> int | None:
        """The fewest seeds with 80 % power, at least FEW_SEEDS; None if `MOST_SEEDS` are too few."""
        counts = range(FEW_SEEDS, MOST_SEEDS + 1)
        return next((n for n in counts if self.power(gain, n, problems, samples, comparisons) >= POWER), None)


def spread(ours: list[CellRecord], theirs: list[CellRecord]) -> Spread:
    """The components between the cells of two methods, seed by seed, from the mean squares; none is below 0.

    With several answers per problem their noise is known from the answers themselves. With a single one it cannot be
    told from the effect of a seed on a problem, and all of that is taken for noise, of which more answers rid us.
    """
    a, b = (np.stack([cell.scores_after for cell in cells]) for cells in (theirs, ours))
    graded = ~np.isnan(a + b).any(0)
    a, b = a[:, graded], b[:, graded]
    squares, (seeds, problems) = mean_squares(b - a), a.shape
    noise, both = squares.rest, 0.0
    if (samples := min(cell.samples for cell in (*ours, *theirs))) > 1:
        noise = float(sum((score * (1 - score)).mean() for score in (a, b)) * samples / (samples - 1))
        both = max(0.0, squares.rest - noise / samples)
    return Spread(
        seeds=max(0.0, squares.seed - squares.rest) / problems,
        problems=max(0.0, squares.problem - squares.rest) / seeds,
        both=both,
        answers=noise,
    )


def plan(record: ExperimentRecord, gain: float) -> str:
    """Markdown: the seeds that a gain (in points) needs, for numbers of problems and answers, and one sentence.

    The components are averaged over the comparisons of each condition, and p is corrected for as many comparisons as
    the pilot has. A condition in which no two methods share two seeds is left out; ValueError if that leaves none.
    """
    comparisons = compare(record)
    parts = []
    for condition in record.conditions:
        methods = record.of(condition)
        pairs = [(each.method, each.against) for each in comparisons if each.condition == condition]
        found = []
        for method, against in pairs:
            shared = sorted(methods[method].keys() & methods[against].keys())
            if len(shared) > 1:
                found.append(spread(*([methods[name][seed] for seed in shared] for name in (method, against))))
        if found:
            mean = Spread(*(float(np.mean([getattr(each, name) for each in found])) for name in Spread.__annotations__))
            if not any(astuple(mean)):
                raise ValueError(f"{record.name}, {condition}: a plan needs a pilot whose answers vary; all are alike")
            parts.append(_table(condition, mean, gain, len(comparisons)))
    if not parts:
        raise ValueError(f"{record.name}: a plan needs a pilot in which two methods share two seeds")
    return "\n\n".join(parts)


def _table(condition: str, found: Spread, gain: float, comparisons: int) -> str:
    seeds = {
        (problems, samples): found.seeds_for(gain / 100, problems, samples, comparisons)
        for problems in PROBLEMS
        for samples in SAMPLES
    }
    rows = [[str(n), *(str(seeds[n, samples] or f"> {MOST_SEEDS}") for samples in SAMPLES)] for n in PROBLEMS]
    header = ["problems", *(f"seeds with {n} answer{'s' * (n > 1)}" for n in SAMPLES)]
    reached = [(number, *size) for size, number in seeds.items() if number]
    sentence = f"No design in this table finds a gain of {gain:g} points with 80 % power."
    if reached:
        number, problems, samples = min(reached, key=lambda each: (each[0], each[1] * each[2]))
        sentence = (
            f"To find a gain of {gain:g} points with 80 % power takes {number} seeds, {problems} problems and "
            f"{samples} answer{'s' * (samples > 1)} per problem, with p corrected for {comparisons} "
            f"comparison{'s' * (comparisons > 1)}. Fewer than {FEW_SEEDS} seeds prove nothing."
        )
    return f"### {condition}\n\n{tabulate(rows, header, tablefmt='github', disable_numparse=True)}\n\n{sentence}"
