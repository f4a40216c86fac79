"""Intervals, paired tests, bootstrap and power for scores. Pure functions of numpy arrays; loads no torch.

The score of a problem is a number in [0, 1]: 0 or 1 for a single sample; the mean, pass@k or maj@n over several
samples. Samples of one problem are not independent, so every function takes one number per problem and treats problems
as the units that vary.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr, ndtri, stdtr, stdtrit  # scipy.stats has them too, but takes half a second to import

T = TypeVar("T")
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESAMPLES = 10_000
BOOTSTRAP_MINIMUM = 50  # with fewer units the percentile interval is too narrow (benchmarks/interval_coverage.py)
ROUNDING = 1e-12  # a difference or spread below this is zero


@dataclass(frozen=True)
class Interval:
    """A confidence interval, its level and the method that produced it."""

    low: float
    high: float
    level: float
    method: str


@dataclass(frozen=True)
class PairedTest:
    """The mean difference B - A of two methods on the same problems; `interval` and two-sided `p` are from one test."""

    difference: float
    standard_error: float
    interval: Interval
    p: float
    method: str
    problems: int
    seeds: int
    left_out: int = 0  # problems that could not be graded for at least one method and seed
    freedom: float | None = None  # degrees of freedom of a t test

    @property
    def detectable(self) -> float | None:
        """The true difference that a test of this size finds with 80 % power; None if the differences do not vary."""
        return self.detectable_among(1)

    def detectable_among(self, comparisons: int) -> float | None:
        """`detectable` with p corrected for so many comparisons: Holm's first step, which the smallest p must pass."""
        if not self.standard_error:
            return None
        return minimal_detectable_difference(self.standard_error, alpha=0.05 / comparisons, freedom=self.freedom)


# ------------------------------------------------------------------------------------------------- one method's score


def wilson_interval(mean: float, standard_error: float, units: int, level: float = 0.95) -> Interval:
    """Wilson's interval for a score in [0, 1], with the effective sample size m(1 - m) / se^2 (Dean and Pagano 2015).

    For one sample per problem this is exactly Wilson's interval (1927). Clusters of like problems have a smaller
    effective sample size than their problems, and scores that vary less than 0 and 1 do, such as shares of several
    samples, a larger one. The interval stays within [0, 1] and keeps a positive width when all problems are solved.

    Args:
        standard_error: standard error of the mean, with the small-sample factor units / (units - 1).
        units: number of independent problems, or of clusters of problems.
    """
    if not 0 <= (mean := round(float(mean), 12)) <= 1:
        raise ValueError(f"mean={mean} must lie in [0, 1]")
    variance = standard_error**2 * (units - 1) / units  # without that factor, so that 0/1 scores give exactly n
    effective = mean * (1 - mean) / variance if standard_error > ROUNDING and 0 < mean < 1 else units
    z2 = float(ndtri((1 + level) / 2)) ** 2
    centre = (mean + z2 / (2 * effective)) / (1 + z2 / effective)
    half = (z2 * (mean * (1 - mean) / effective + z2 / (4 * effective**2))) ** 0.5 / (1 + z2 / effective)
    return Interval(low=max(0.0, centre - half), high=min(1.0, centre + half), level=level, method="wilson")


def score_interval(scores: ArrayLike, clusters: Sequence[str] | None = None, level: float = 0.95) -> Interval:
    """Wilson's interval (`wilson_interval`) for the mean score.

    Args:
        scores: (problems,) in [0, 1].
        clusters: (problems,) labels; problems with the same label (variants of one question) are not independent.

    >>> interval = score_interval([1, 1, 0, 1])
    >>> round(interval.low, 2), round(interval.high, 2)
    (0.3, 0.95)
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1 or len(values) == 0:
        raise ValueError(f"scores have shape {values.shape}: need (problems,) with at least one problem")
    labels = [str(i) for i in range(len(values))] if clusters is None else list(clusters)
    return wilson_interval(values.mean(), clustered_stderr(values.tolist(), labels), len(set(labels)), level)


def clustered_stderr(values: Sequence[float], clusters: Sequence[str]) -> float:
    """The standard error of the mean when values in the same cluster are correlated (arXiv 2411.00640, eq. 4).

    Includes the small-sample factor G/(G-1) for G clusters, so one value per cluster gives the usual s/sqrt(n). NaN if
    there is only one cluster, because its error cannot be estimated.
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
    """The delete-a-group jackknife standard error of a statistic of rows, for scores that are not a plain mean.

    Args:
        groups: the rows of each independent problem or cluster; with fewer than two the result is NaN.
        blocks: how often the statistic is computed, each time without every `blocks`-th group.
    """
    blocks = min(blocks, len(groups))
    if blocks < 2:
        return float("nan")
    values = [
        statistic([row for i, group in enumerate(groups) if i % blocks != block for row in group])
        for block in range(blocks)
    ]
    return float(np.sqrt((blocks - 1) * np.var(values)))


# -------------------------------------------------------------------------------------------- two methods, paired


def paired_test(a: ArrayLike, b: ArrayLike, level: float = 0.95) -> PairedTest:
    """The mean difference B - A with an interval and a p value from the same test. The one comparison of this project.

    - Several seeds: `paired_seeds`, a t test over seeds and problems.
    - One seed: `paired_bootstrap` from BOOTSTRAP_MINIMUM problems on; with fewer problems, or if all differences are
      equal, `paired_seeds`.

    A problem that is NaN (could not be graded) for either method in any seed is left out and counted in `left_out`.

    Args:
        a, b: (seeds, problems) or (problems,) scores, the same problems in the same order.

    Raises:
        ValueError: the shapes differ, or fewer than two problems remain.

    >>> paired_test([0, 0, 1, 0], [1, 0, 1, 1]).difference
    0.5
    """
    first, second = _paired_scores(a, b)
    graded = ~np.isnan(first + second).any(axis=0)
    left_out = int((~graded).sum())
    if left_out:
        first, second = first[:, graded], second[:, graded]
    seeds, problems = first.shape
    if seeds == 1 and problems >= BOOTSTRAP_MINIMUM and np.ptp(second - first) > ROUNDING:
        return replace(paired_bootstrap(first[0], second[0], level), left_out=left_out)
    return replace(paired_seeds(first, second, level), left_out=left_out)


def paired_bootstrap(a: ArrayLike, b: ArrayLike, level: float = 0.95, seed: int = 0) -> PairedTest:
    """The mean difference B - A with the percentile interval and p value of the bootstrap over problems.

    p is twice the share of resampled differences beyond 0, with one resample added so that it is never 0. The result
    holds for these two models on problems like these; training with another seed gives another model. With few
    problems, or without any spread, the bootstrap is overconfident: call `paired_test`, which then uses another test.

    Args:
        a, b: (problems,) scores, the same problems in the same order.
    """
    first, second = _paired_scores(a, b)
    differences = (second - first)[0]
    n = len(differences)
    means = bootstrap(differences[:, None], lambda sums: sums[..., 0] / n, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2]).tolist()
    tail = min((means <= 0).sum(), (means >= 0).sum())
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
    """The mean difference B - A with a t interval and p value, seeds and problems being crossed random effects.

    Seed i of A is paired with seed i of B, problem by problem. For D = B - A of shape (seeds, problems) the variance of
    the mean is (MS_seed + MS_problem - MS_rest) / (seeds * problems), from the expected mean squares of a two-way
    layout without replication and with Satterthwaite's degrees of freedom. It is never taken to be smaller than the
    larger of its two main terms. With one seed this is the paired t test over problems.

    With two or three seeds whose effects differ much, p is too small: 13 % and 8 % false positives were measured at the
    5 % level (benchmarks/results/interval_coverage.json). Use five seeds or more.

    Args:
        a, b: (seeds, problems) scores, the same problems in the same order.
    """
    first, second = _paired_scores(a, b)
    delta = second - first
    seeds, problems = delta.shape
    if problems < 2:
        raise ValueError(f"problems={problems}: a paired test needs at least 2 problems that both methods answered")
    mean = delta.mean()
    error, freedom = error_of_mean(mean_squares(delta), seeds, problems)
    if error <= ROUNDING:
        return _without_spread(float(mean), seeds, problems, level)
    half = stdtrit(freedom, (1 + level) / 2) * error
    method = "paired t by problem" if seeds == 1 else "paired t by seed and problem"
    return PairedTest(
        difference=float(mean),
        standard_error=error,
        interval=Interval(low=float(mean - half), high=float(mean + half), level=level, method=method),
        p=float(2 * stdtr(freedom, -abs(mean) / error)),
        method=method,
        problems=problems,
        seeds=seeds,
        freedom=freedom,
    )


@dataclass(frozen=True)
class MeanSquares:
    """The mean squares of a two-way layout of differences, one per seed and problem; `rest` is 0 for one seed."""

    seed: float
    problem: float
    rest: float


def mean_squares(delta: Floats) -> MeanSquares:
    """The mean squares of the differences `delta` (seeds, problems)."""
    seeds, problems = delta.shape
    mean = delta.mean()
    by_seed, by_problem = delta.mean(axis=1, keepdims=True), delta.mean(axis=0, keepdims=True)
    ms_problem = seeds * ((by_problem - mean) ** 2).sum() / (problems - 1)
    if seeds == 1:
        return MeanSquares(0.0, float(ms_problem), 0.0)
    ms_seed = problems * ((by_seed - mean) ** 2).sum() / (seeds - 1)
    ms_rest = ((delta - by_seed - by_problem + mean) ** 2).sum() / ((seeds - 1) * (problems - 1))
    return MeanSquares(float(ms_seed), float(ms_problem), float(ms_rest))


def error_of_mean(squares: MeanSquares, seeds: int, problems: int) -> tuple[float, float]:
    """The standard error of the mean difference and its degrees of freedom (see `paired_seeds`)."""
    ms_seed, ms_problem, ms_rest = squares.seed, squares.problem, squares.rest
    scaled = ms_seed + ms_problem - ms_rest
    if scaled <= max(ms_seed, ms_problem):  # also with one seed
        scaled, freedom = max(ms_seed, ms_problem), float(seeds - 1 if ms_seed >= ms_problem else problems - 1)
    else:
        parts = ms_seed**2 / (seeds - 1) + ms_problem**2 / (problems - 1)
        freedom = scaled**2 / (parts + ms_rest**2 / ((seeds - 1) * (problems - 1)))
    return float(np.sqrt(scaled / (seeds * problems))), freedom


def _without_spread(difference: float, seeds: int, problems: int, level: float) -> PairedTest:
    """The test for problems that all show the same difference, which does not prove that the next problem would.

    The interval allows for a fraction u = z^2 / (n + z^2) of unseen problems with a difference of -1 or 1, the upper
    end of Wilson's interval for a fraction that was seen in 0 of n problems. For two equal runs it is Tango's score
    interval (1998). p is one minus the level at which the interval just touches 0, which is at z^2 = n |difference|.
    """
    z2 = ndtri((1 + level) / 2) ** 2
    unseen = z2 / (problems + z2)
    centre = (1 - unseen) * difference
    method = "score, no spread"
    return PairedTest(
        difference=difference,
        standard_error=0.0,
        interval=Interval(low=centre - unseen, high=centre + unseen, level=level, method=method),
        p=1.0 if abs(difference) <= ROUNDING else float(2 * ndtr(-np.sqrt(problems * abs(difference)))),
        method=method,
        problems=problems,
        seeds=seeds,
    )


def _paired_scores(a: ArrayLike, b: ArrayLike) -> tuple[Floats, Floats]:
    """Both scores as (seeds, problems); ValueError if their shapes differ."""
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(
            f"scores have shapes {first.shape} and {second.shape}: pass the same problems (and seeds) for both methods"
        )
    return np.atleast_2d(first), np.atleast_2d(second)


def holm(p_values: Sequence[float]) -> list[float]:
    """The p values corrected for multiple comparisons (Holm 1979), in the same order: reject those <= alpha.

    >>> holm([0.01, 0.04])
    [0.02, 0.04]
    """
    p = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(p, kind="stable")
    scaled = p[order] * np.arange(len(p), 0, -1)
    corrected = np.empty_like(p)
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(scaled))
    return corrected.tolist()


def minimal_detectable_difference(
    standard_error: float, alpha: float = 0.05, power: float = 0.8, freedom: float | None = None
) -> float:
    """The true difference that a two-sided test at `alpha` finds with probability `power`.

    Args:
        standard_error: of the difference; for n paired problems the deviation of the differences / sqrt(n).
        alpha: the level; 0.05 / m if the smallest of m p values is corrected for the others (Holm, Bonferroni).
        freedom: degrees of freedom of a t test; None for the normal approximation.
    """
    quantile = ndtri if freedom is None else lambda p: stdtrit(freedom, p)
    return float(standard_error * (quantile(1 - alpha / 2) + quantile(power)))


# ---------------------------------------------------------------------------------------------------------- bootstrap


def bootstrap_interval(
    totals: Floats,
    statistic: Callable[[Floats], Floats],
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval | None:
    """The percentile bootstrap interval of a statistic of sums; None with fewer than BOOTSTRAP_MINIMUM units.

    Args:
        totals: (units, columns), the contribution of each independent unit (problem, prompt) to the sums.
        statistic: maps (..., columns) of sums to (...); resamples for which it is NaN are ignored.

    >>> totals = np.stack([np.arange(100.0), np.ones(100)], axis=1)
    >>> interval = bootstrap_interval(totals, lambda sums: sums[..., 0] / sums[..., 1])  # of a mean
    """
    if len(totals) < BOOTSTRAP_MINIMUM:
        return None
    resampled = bootstrap(totals, statistic, resamples, seed)
    low, high = np.nanquantile(resampled, [(1 - level) / 2, (1 + level) / 2]).tolist()
    return Interval(low=low, high=high, level=level, method="bootstrap")


def bootstrap(
    totals: Floats, statistic: Callable[[Floats], Floats], resamples: int = RESAMPLES, seed: int = 0
) -> Floats:
    """(resamples,) values of a statistic of sums, with units drawn with replacement; see `bootstrap_interval`."""
    units = len(totals)
    generator = np.random.default_rng(seed)
    block = max(1, min(resamples, 1_000_000 // units))  # resamples per block, so that memory stays at a few MB
    found = []
    for start in range(0, resamples, block):
        size = min(block, resamples - start)
        drawn = generator.integers(units, size=(size, units)) + units * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * units).reshape(size, units)
        found.append(statistic(times @ totals))
    return np.concatenate(found)


# ------------------------------------------------------------------------------------------------- within-group AUC

# The trainer logs the same AUC at each step with `method.flow_reward.within_group_auc`. The two are kept apart because
# that one works on the device and on groups of equal size. These work on records, whose groups have any size, and their
# caller needs the pairs themselves, for a fit and for intervals over prompts.


def within_group_pairs(correct: ArrayLike, group: ArrayLike) -> Ints:
    """(pairs, 2) indices: every correct rollout with every incorrect one of its group. NaN is in no pair.

    Args:
        correct: (rollouts,) 1, 0 or NaN (could not be graded).
        group: (rollouts,) labels; a group is the rollouts of one prompt in one step.

    >>> within_group_pairs([1, 0, 0, 1], [0, 0, 0, 1]).tolist()
    [[0, 1], [0, 2]]
    """
    outcome, label = np.asarray(correct, dtype=np.float64), np.asarray(group)
    order = np.argsort(label, kind="stable")
    found = [np.zeros((0, 2), dtype=np.int64)]
    for members in np.split(order, np.flatnonzero(np.diff(label[order])) + 1):
        right, wrong = members[outcome[members] == 1], members[outcome[members] == 0]
        found.append(np.stack(np.meshgrid(right, wrong, indexing="ij"), axis=-1).reshape(-1, 2))
    return np.concatenate(found)


def wins(difference: Floats) -> Floats:
    """(pairs,) 1 where the correct rollout scores higher, 0.5 for a tie, else 0. Their mean is the within-group AUC.

    Args:
        difference: (pairs,) score of the correct rollout minus that of the incorrect one.
    """
    return (difference > 0) + 0.5 * (difference == 0)
