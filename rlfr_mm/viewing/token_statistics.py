"""What the recorded tokens of a run say about its rewards: pure functions of flat arrays, without torch.

N rollouts of M tokens in all; a group is the rollouts of one prompt in one step. Intervals are 95 % percentile
bootstraps that resample prompts: rollouts of one prompt, in whatever step, are not independent.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from rlfr_mm.viewing.rollout_records import RolloutRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 1000
MIN_PROMPTS = 5  # with fewer a bootstrap interval is far too narrow, and none is given
BINS = 10


@dataclass(frozen=True)
class Rollouts:
    """All recorded rollouts of a run. `values` has deviation and flow_reward only where the flow was on."""

    step: Ints  # (N,)
    prompt: Ints  # (N,), from 0
    group: Ints  # (N,), from 0
    correct: Floats  # (N,) 1 or 0, NaN where it could not be graded
    length: Ints  # (N,), tokens
    owner: Ints  # (M,), each token's rollout
    position: Ints  # (M,), each token's place in its rollout, from 0
    token: Ints  # (M,), index into vocabulary
    vocabulary: list[str]
    values: dict[str, Floats]  # (M,) by name: logprob, entropy, advantage, shaping, deviation, flow_reward

    @property
    def has_flow(self) -> bool:
        return "deviation" in self.values

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(M,), the tokens that have a deviation: one whose context lies beyond the response has none, and shows 0."""
        return self.values["deviation"] != 0


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval; no interval where too few prompts carry it."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ranking:
    """How well a score of rollouts, larger for correct, ranks those of a group; None where no group is mixed."""

    score: str
    auc: Estimate | None
    gain: Estimate | None  # of the score and the log-probability together over the log-probability alone
    pairs: int
    prompts: int


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over tokens."""

    x: str
    y: str
    rho: Estimate | None
    tokens: int


@dataclass(frozen=True)
class Bin:
    """Rollouts or tokens of about equal x (its median), and the mean of y among them."""

    x: float
    count: int
    y: Estimate


@dataclass(frozen=True)
class TokenReward:
    """The flow reward of one token text: mean over its occurrences, and over those in each third of the run's steps."""

    token: str
    count: int
    flow_reward: float
    thirds: list[float | None]
    rewarded: float  # share of the occurrences whose reward is not 0
    deviation: float


def flatten(records: Sequence[RolloutRecord]) -> Rollouts:
    """The records as arrays; ValueError where there is none."""
    if not records:
        raise ValueError("no rollouts to flatten")
    prompts: dict[str, int] = {}
    groups: dict[tuple[int, str], int] = {}
    vocabulary: dict[str, int] = {}
    prompt = [prompts.setdefault(record.problem_id, len(prompts)) for record in records]
    group = [groups.setdefault((record.step, record.problem_id), len(groups)) for record in records]
    token = [vocabulary.setdefault(text, len(vocabulary)) for record in records for text in record.tokens]
    length = np.array([len(record.tokens) for record in records])
    owner = np.repeat(np.arange(len(records)), length)
    values = {
        "logprob": _joined([record.logprob for record in records]),
        "entropy": _joined([record.entropy for record in records]),
        "advantage": _joined([record.advantages for record in records]),
        "shaping": _joined([record.shaping for record in records]),
    }
    if all(record.deviation is not None and record.flow_reward is not None for record in records):
        values["deviation"] = _joined([record.deviation or [] for record in records])
        values["flow_reward"] = _joined([record.flow_reward or [] for record in records])
    return Rollouts(
        step=np.array([record.step for record in records]),
        prompt=np.array(prompt),
        group=np.array(group),
        correct=np.array([np.nan if record.correct is None else record.correct for record in records], dtype=float),
        length=length,
        owner=owner,
        position=np.arange(len(owner)) - np.repeat(length.cumsum() - length, length),
        token=np.array(token, dtype=np.int64),
        vocabulary=list(vocabulary),
        values=values,
    )


# ------------------------------------------------------------------------------- does a score rank rollouts rightly?


def rollout_scores(rollouts: Rollouts) -> dict[str, Floats]:
    """(N,) each: means over a rollout's tokens, of such sign that larger is hoped to mean correct."""
    tokens = np.maximum(rollouts.length, 1)
    mean = {
        name: np.bincount(rollouts.owner, values, minlength=len(tokens)) / tokens
        for name, values in rollouts.values.items()
    }
    scores = {"logprob": mean["logprob"], "entropy": -mean["entropy"], "length": -rollouts.length.astype(float)}
    if rollouts.has_flow:
        scores |= {"deviation": -mean["deviation"], "flow_reward": mean["flow_reward"]}
    return scores


def mixed_pairs(rollouts: Rollouts) -> Ints:
    """(pairs, 2): every correct rollout with every incorrect one of its group."""
    order = np.argsort(rollouts.group, kind="stable")
    members = np.split(order, np.flatnonzero(np.diff(rollouts.group[order])) + 1)
    found = [np.zeros((0, 2), dtype=np.int64)]
    for group in members:
        right, wrong = group[rollouts.correct[group] == 1], group[rollouts.correct[group] == 0]
        found.append(np.stack(np.meshgrid(right, wrong, indexing="ij"), axis=-1).reshape(-1, 2))
    return np.concatenate(found)


def rank_rollouts(rollouts: Rollouts) -> list[Ranking]:
    """Within-group AUC of each score, P(correct scores above incorrect), ties one half, and what it adds."""
    pairs = mixed_pairs(rollouts)
    prompt = rollouts.prompt[pairs[:, 0]]
    scores = rollout_scores(rollouts)
    difference = {name: score[pairs[:, 0]] - score[pairs[:, 1]] for name, score in scores.items()}
    ones, logprob_wins = np.ones(len(pairs)), _wins(difference["logprob"])
    rankings = []
    for name, values in difference.items():
        gain = None
        if name != "logprob":
            together = _wins(combine(np.stack([difference["logprob"], values], axis=1), prompt))
            gain = estimate(_sums(prompt, together - logprob_wins, ones), _ratio)
        auc = estimate(_sums(prompt, _wins(values), ones), _ratio)
        rankings.append(Ranking(name, auc, gain, len(pairs), len(np.unique(prompt))))
    return rankings


def combine(differences: Floats, prompt: Ints) -> Floats:
    """Differences of the best weighted sum of scores, fitted for each half of the prompts on the other half.

    The weights are those of a logistic regression on pairs, P(the first is the correct one), with a slight ridge.
    An interval of what follows takes these weights as given.

    Args:
        differences: (pairs, scores) of correct minus incorrect rollout.
        prompt: (pairs,) of each pair.
    """
    combined = np.zeros(len(differences))
    shuffled = np.random.default_rng(0).permutation(prompt.max(initial=0) + 1)
    half = shuffled[prompt] % 2
    for part in (0, 1):
        scale = np.sqrt((differences[half != part] ** 2).mean(axis=0)) if (half != part).any() else 1.0
        features = differences / np.where(scale > 0, scale, 1)
        combined[half == part] = features[half == part] @ _pair_weights(features[half != part])
    return combined


def accuracy_by_score(score: Floats, rollouts: Rollouts, bins: int = BINS) -> list[Bin]:
    """The share of correct rollouts by quantile of a score, measured from its group's mean, in groups of both outcomes.

    Prompts differ in both accuracy and score; within mixed groups that difference is gone. Fewer bins where there are
    fewer than ten rollouts for each.

    Args:
        score: (N,).
    """
    inside = np.unique(mixed_pairs(rollouts))
    group, values = rollouts.group[inside], score[inside]
    mean = np.bincount(group, values) / np.maximum(np.bincount(group), 1)
    return binned(values - mean[group], rollouts.correct[inside], rollouts.prompt[inside], bins)


# -------------------------------------------------------------------------------------- what goes with a token's value?


def correlate_tokens(rollouts: Rollouts) -> list[Correlation]:
    """Rank correlations of deviation and flow reward with entropy, log-probability and position, over scored tokens."""
    names = [("entropy", "logprob")]
    kept = np.ones(len(rollouts.owner), dtype=bool)
    if rollouts.has_flow:
        kept = rollouts.scored
        names = [(x, y) for x in ("deviation", "flow_reward") for y in ("entropy", "logprob", "position")] + names
    columns = rollouts.values | {"position": rollouts.position.astype(float)}
    prompt = rollouts.prompt[rollouts.owner[kept]]
    ranks = {name: _centred_ranks(columns[name][kept]) for name in {name for pair in names for name in pair}}
    return [Correlation(x, y, correlation(ranks[x], ranks[y], prompt), int(kept.sum())) for x, y in names]


def correlation(x: Floats, y: Floats, prompt: Ints) -> Estimate | None:
    """Pearson's correlation with an interval over prompts; None where x or y does not vary."""

    def pearson(sums: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = np.moveaxis(sums, -1, 0)
        variance = np.maximum(n * sxx - sx**2, 0) * np.maximum(n * syy - sy**2, 0)
        return _divide(n * sxy - sx * sy, np.sqrt(variance))

    return estimate(_sums(prompt, np.ones(len(x)), x, y, x * x, y * y, x * y), pearson)


def token_bins(x: str, y: str, rollouts: Rollouts, bins: int = BINS) -> list[Bin]:
    """The mean of y by quantile of x over the scored tokens; x and y are names of `Rollouts.values`."""
    kept = rollouts.scored
    prompt = rollouts.prompt[rollouts.owner[kept]]
    return binned(rollouts.values[x][kept], rollouts.values[y][kept], prompt, bins)


def binned(x: Floats, y: Floats, prompt: Ints, bins: int = BINS) -> list[Bin]:
    """Means of y in bins of equal size along x; none where not even one bin has ten values.

    Args:
        x, y, prompt: (values,).
    """
    bins = min(bins, len(x) // 10)
    return [
        Bin(float(np.median(x[part])), len(part), mean)
        for part in (np.array_split(np.argsort(x, kind="stable"), bins) if bins else [])
        if (mean := estimate(_sums(prompt[part], y[part], np.ones(len(part))), _ratio))
    ]


def reward_tokens(rollouts: Rollouts) -> list[TokenReward]:
    """Every token text with its flow reward, most rewarded first (arXiv 2510.10201 lists such tokens)."""
    reward, deviation = rollouts.values["flow_reward"], rollouts.values["deviation"]
    size = len(rollouts.vocabulary)
    count = np.bincount(rollouts.token, minlength=size)
    mean = np.bincount(rollouts.token, reward, size) / count
    rewarded = np.bincount(rollouts.token, reward != 0, size) / count
    scored = np.bincount(rollouts.token, rollouts.scored, size)
    deviations = _divide(np.bincount(rollouts.token, deviation, size), scored)
    by_third = []
    for steps in np.array_split(np.unique(rollouts.step), 3):
        inside = np.isin(rollouts.step, steps)[rollouts.owner]
        tokens = rollouts.token[inside]
        by_third.append(_divide(np.bincount(tokens, reward[inside], size), np.bincount(tokens, minlength=size)))
    return [
        TokenReward(
            token=rollouts.vocabulary[i],
            count=int(count[i]),
            flow_reward=float(mean[i]),
            thirds=[None if np.isnan(third[i]) else float(third[i]) for third in by_third],
            rewarded=float(rewarded[i]),
            deviation=float(deviations[i]),
        )
        for i in np.argsort(-mean, kind="stable")
    ]


# ------------------------------------------------------------------------------------------------------------ intervals


def estimate(totals: Floats, statistic: Callable[[Floats], Floats]) -> Estimate | None:
    """The statistic of the summed totals with its bootstrap interval; None where it is not defined.

    Args:
        totals: (prompts, columns): what each prompt contributes.
        statistic: (..., columns) of sums -> (...), NaN where it is not defined.
    """
    value = float(statistic(totals.sum(axis=0)))
    if np.isnan(value):
        return None
    prompts = len(totals)
    if prompts < MIN_PROMPTS:
        return Estimate(value, None, None)
    generator = np.random.default_rng(0)
    block = max(1, 2_000_000 // prompts)  # resamples at once, in a few MB
    resampled = []
    for start in range(0, RESAMPLES, block):
        size = min(block, RESAMPLES - start)
        drawn = generator.integers(prompts, size=(size, prompts)) + prompts * np.arange(size)[:, None]
        times = np.bincount(drawn.ravel(), minlength=size * prompts).reshape(size, prompts)
        resampled.append(statistic(times @ totals))
    low, high = np.nanquantile(np.concatenate(resampled), [0.025, 0.975]).tolist()
    return Estimate(value, low, high)


def _sums(prompt: Ints, *columns: Floats) -> Floats:
    """(prompts, columns): sums by prompt, of the prompts that occur."""
    _, index = np.unique(prompt, return_inverse=True)
    return np.stack([np.bincount(index, column) for column in columns], axis=1)


def _ratio(sums: Floats) -> Floats:
    return _divide(sums[..., 0], sums[..., 1])


def _divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)


def _wins(difference: Floats) -> Floats:
    return (difference > 0) + 0.5 * (difference == 0)


def _pair_weights(features: Floats, ridge: float = 1e-3) -> Floats:
    """Weights (scores,) that maximise the mean log-likelihood of the first rollout of each pair, by Newton's method."""
    weights = np.zeros(features.shape[1])
    for _ in range(25 if len(features) else 0):
        missed = 1 / (1 + np.exp(np.clip(features @ weights, -30, 30)))
        gradient = features.T @ missed / len(features) - ridge * weights
        spread = (features * (missed * (1 - missed))[:, None]).T @ features / len(features)
        weights = weights + np.linalg.solve(spread + ridge * np.eye(len(weights)), gradient)
    return weights


def _centred_ranks(values: Floats) -> Floats:
    """Ranks from -1/2 to 1/2, ties averaged."""
    return rankdata(values) / max(len(values), 1) - 0.5


def _joined(lists: Sequence[Sequence[float]]) -> Floats:
    return np.concatenate([np.asarray(values, dtype=float) for values in lists])
