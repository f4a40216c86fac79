"""Intervals, paired tests and power for evaluation scores: pure functions of numpy arrays.

A score of a problem is a number in [0, 1]: right or wrong for one sample, the mean, pass@k or maj@n over its samples
otherwise (the estimators are in `rlfr_mm.tasks.aggregate`). Problems are the units that are resampled: samples of one
problem are not independent, so errors are clustered by problem by taking one number per problem.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats as distributions

T = TypeVar("T")
Floats = NDArray[np.float64]
RESAMPLES = 10_000
BOOTSTRAP_FROM = 50  # problems: of fewer, the percentile interval is too narrow (benchmarks/interval_coverage.py)
NOTHING = 1e-12  # what rounding leaves of a difference or spread that is zero


@dataclass(frozen=True)
class Interval:
    """The ends of an interval, its level and how it was made."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class PairedTest:
    """The difference B - A of two methods on the same problems, two-sided."""

    difference: float
    standard_error: float
    interval: Interval
    p: float
    method: str
    problems: int
    seeds: int


def wilson_interval(mean: float, standard_error: float, units: int, level: float = 0.95) -> Interval:
    """Wilson interval of a score in [0, 1], with the effective sample size m(1 - m) / se^2 (Dean and Pagano 2015).

    For one sample of each of n problems this is exactly Wilson's interval (1927). With a standard error that is
    clustered, the effective size lies between the clusters and the samples. The interval stays within [0, 1] and has a
    positive width when all problems are right.

    Args:
        standard_error: of the mean, with the small-sample factor units / (units - 1).
        units: the independent problems, or clusters of problems.
    """
    if not 0 <= mean <= 1:
        raise ValueError(f"mean={mean} must lie in [0, 1]")
    variance = standard_error**2 * (units - 1) / units  # without that factor: then 0/1 scores give back n itself
    effective = mean * (1 - mean) / variance if variance > 0 else units
    z2 = distributions.norm.ppf((1 + level) / 2) ** 2
    centre = (mean + z2 / (2 * effective)) / (1 + z2 / effective)
    half = np.sqrt(z2 * (mean * (1 - mean) / effective + z2 / (4 * effective**2))) / (1 + z2 / effective)
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half), level=level, method="wilson")


def score_interval(scores: ArrayLike, clusters: Sequence[str] | None = None, level: float = 0.95) -> Interval:
    """`wilson_interval` of the mean score.

    Args:
        scores: (problems,) in [0, 1].
        clusters: (problems,) labels; problems of one label (variants of one question) are not independent.
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores have shape {values.shape}: need (problems,) with at least one problem")
    labels = [str(i) for i in range(len(values))] if clusters is None else list(clusters)
    return wilson_interval(values.mean(), clustered_stderr(values.tolist(), labels), len(set(labels)), level)


def clustered_stderr(values: Sequence[float], clusters: Sequence[str]) -> float:
    """The standard error of the mean when values of one cluster are correlated (arXiv 2411.00640, eq. 4).

    With the small-sample factor G/(G-1) for G clusters: with one value a cluster it is the usual s/sqrt(n). NaN where
    there is a single cluster, whose error cannot be known.
    """
    residuals: defaultdict[str, float] = defaultdict(float)
    mean = float(np.mean(values))
    for value, cluster in zip(values, clusters, strict=True):
        residuals[cluster] += value - mean
    if len(residuals) < 2:
        return float("nan")
    spread = sum(residual**2 for residual in residuals.values())
    return float(np.sqrt(spread * len(residuals) / (len(residuals) - 1)) / len(values))


def jackknife_stderr(statistic: Callable[[list[T]], float], groups: Sequence[Sequence[T]], blocks: int = 50) -> float:
    """Standard error of any statistic of rows by the delete-a-group jackknife, for scores that are no plain mean.

    Args:
        groups: the rows of each independent problem or cluster; NaN for fewer than two.
        blocks: how many times the statistic is computed, each time without every `blocks`-th group.
    """
    blocks = min(blocks, len(groups))
    if blocks < 2:
        return float("nan")
    values = [
        statistic([row for i, group in enumerate(groups) if i % blocks != block for row in group])
        for block in range(blocks)
    ]
    return float(np.sqrt((blocks - 1) * np.var(values)))


def mcnemar_exact(a: ArrayLike, b: ArrayLike) -> tuple[int, int, float]:
    """Problems only A solves, problems only B solves, and the exact two-sided p of McNemar's test.

    Args:
        a, b: (problems,) booleans or 0/1, the same problems in the same order.
    """
    right_a, right_b = np.asarray(a, dtype=bool), np.asarray(b, dtype=bool)
    _same_shape(right_a, right_b)
    only_a, only_b = int((right_a & ~right_b).sum()), int((right_b & ~right_a).sum())
    if only_a + only_b == 0:
        return 0, 0, 1.0
    return only_a, only_b, float(distributions.binomtest(only_a, only_a + only_b, 0.5).pvalue)


def paired_test(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> PairedTest:
    """The mean difference B - A by the test that fits the size: what `eval.compare` prints.

    Several seeds: `paired_seeds`. One seed: `paired_bootstrap` from BOOTSTRAP_FROM problems on, the paired t test of
    `paired_seeds` below that and where the bootstrap would draw the same number over and over.

    Args:
        a, b: (seeds, problems) scores, or (problems,), the same problems in the same order.
    """
    first, second = np.atleast_2d(np.asarray(a, dtype=np.float64)), np.atleast_2d(np.asarray(b, dtype=np.float64))
    _same_shape(first, second)
    seeds, problems = first.shape
    if seeds == 1 and problems >= BOOTSTRAP_FROM and np.ptp(second - first) > NOTHING:
        return paired_bootstrap(first[0], second[0], level)
    return paired_seeds(first, second, level)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0) -> PairedTest:
    """The mean difference B - A with the percentile interval and p of the bootstrap over problems.

    p is twice the smaller tail of the resampled differences at 0, counted with one resample added so that it is never
    0. It speaks about these two models on problems like these; another training seed is another model. For few problems
    or differences without spread it claims too much: `paired_test` knows.

    Args:
        a, b: (problems,) scores, the same problems in the same order.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    _same_shape(first, second)
    differences = second - first
    means = _bootstrap_means(differences, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    tail = min((means <= 0).sum(), (means >= 0).sum())
    n = len(differences)
    return PairedTest(
        difference=float(differences.mean()),
        standard_error=float(differences.std(ddof=1) / np.sqrt(n)) if n > 1 else float("nan"),
        interval=Interval(low=low, high=high, level=level, method="paired bootstrap"),
        p=float(min(1.0, 2 * (tail + 1) / (len(means) + 1))),
        method="paired bootstrap",
        problems=n,
        seeds=1,
    )


def paired_seeds(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> PairedTest:
    """The mean difference B - A over seeds and problems, both random and crossed, with a t interval and p.

    Seed i of A is paired with seed i of B, problem by problem. With D = B - A of shape (seeds, problems) the variance
    of the mean of D is (MS_seed + MS_problem - MS_rest) / (seeds * problems), the expected mean squares of a two-way
    layout without replication, with Satterthwaite's degrees of freedom; it is never taken below its larger main part.
    With one seed it is the paired t test over problems; without any spread, see `_without_spread`. With two or three
    seeds whose effects differ much, p is too small (false alarms measured at 13 % and 8 % instead of 5 %,
    benchmarks/results/interval_coverage.json): take five or more.

    Args:
        a, b: (seeds, problems) scores, the same problems in the same order.
    """
    first, second = np.atleast_2d(np.asarray(a, dtype=np.float64)), np.atleast_2d(np.asarray(b, dtype=np.float64))
    _same_shape(first, second)
    delta = second - first
    seeds, problems = delta.shape
    if problems < 2:
        raise ValueError(f"problems={problems}: a paired test needs at least 2 problems that both methods answered")
    mean = delta.mean()
    by_seed, by_problem = delta.mean(axis=1, keepdims=True), delta.mean(axis=0, keepdims=True)
    ms_problem = seeds * ((by_problem - mean) ** 2).sum() / (problems - 1)
    if seeds == 1:
        scaled, freedom = ms_problem, float(problems - 1)
    else:
        rest = (seeds - 1) * (problems - 1)
        ms_seed = problems * ((by_seed - mean) ** 2).sum() / (seeds - 1)
        ms_rest = ((delta - by_seed - by_problem + mean) ** 2).sum() / rest
        scaled = ms_seed + ms_problem - ms_rest
        if scaled <= max(ms_seed, ms_problem):
            scaled = max(ms_seed, ms_problem)
            freedom = float(seeds - 1 if ms_seed >= ms_problem else problems - 1)
        else:
            parts = ms_seed**2 / (seeds - 1) + ms_problem**2 / (problems - 1) + ms_rest**2 / rest
            freedom = scaled**2 / parts
    error = float(np.sqrt(scaled / (seeds * problems)))
    if error <= NOTHING:
        return _without_spread(float(mean), seeds, problems, level)
    half = distributions.t.ppf((1 + level) / 2, freedom) * error
    p = float(2 * distributions.t.sf(abs(mean) / error, freedom))
    method = "paired t by problem" if seeds == 1 else "paired t by seed and problem"
    return PairedTest(
        difference=float(mean),
        standard_error=error,
        interval=Interval(low=float(mean - half), high=float(mean + half), level=level, method=method),
        p=p,
        method=method,
        problems=problems,
        seeds=seeds,
    )


def _without_spread(difference: float, seeds: int, problems: int, level: float) -> PairedTest:
    """The test where every problem shows the same difference, which is no proof that the next one would.

    The interval grants a share of unseen problems a difference of -1 or 1: the upper end of Wilson's interval for a
    share of which none of n was seen. For two equal runs it is Tango's score interval (1998). p is the exact one of
    the sign-flip test.
    """
    z2 = distributions.norm.ppf((1 + level) / 2) ** 2
    unseen = z2 / (problems + z2)
    centre = (1 - unseen) * difference
    return PairedTest(
        difference=difference,
        standard_error=0.0,
        interval=Interval(low=centre - unseen, high=centre + unseen, level=level, method="score, no spread"),
        p=1.0 if abs(difference) <= NOTHING else 2.0 ** (1 - problems),
        method="sign flip",
        problems=problems,
        seeds=seeds,
    )


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for their number (Holm 1979), in the same order: reject those <= alpha."""
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()


def minimal_detectable_difference(standard_error: float, alpha: float = 0.05, power: float = 0.8) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`, by the normal approximation.

    Args:
        standard_error: of the difference; for n paired problems the deviation of the differences / sqrt(n).
    """
    return float(standard_error * (distributions.norm.ppf(1 - alpha / 2) + distributions.norm.ppf(power)))


def _bootstrap_means(values: Floats, seed: int) -> Floats:
    """(RESAMPLES,) means of values drawn with replacement, in blocks that need a few MB."""
    generator = np.random.default_rng(seed)
    block = max(1, min(RESAMPLES, 1_000_000 // len(values)))
    sizes = [min(block, RESAMPLES - start) for start in range(0, RESAMPLES, block)]
    return np.concatenate([values[generator.integers(len(values), size=(k, len(values)))].mean(axis=1) for k in sizes])


def _same_shape(a: NDArray, b: NDArray) -> None:
    if a.shape != b.shape:
        raise ValueError(f"scores have shapes {a.shape} and {b.shape}: pair the same problems (and seeds) first")
