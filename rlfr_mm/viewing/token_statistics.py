"""What the recorded tokens of a run say about its rewards: pure functions of flat arrays, without torch.

Shapes: N rollouts with M tokens in all. A group is the rollouts of one prompt in one step. Intervals are 95 % bootstrap
intervals that resample prompts, because rollouts of the same prompt are not independent, even in different steps.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from rlfr_mm.statistics import bootstrap_interval, wins, within_group_pairs
from rlfr_mm.viewing.rollout_records import RolloutRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

RESAMPLES = 1000  # enough for the two or three digits of a page, which has about fifty intervals
BINS = 10


@dataclass(frozen=True)
class Rollouts:
    """All recorded rollouts of a run. `values` has deviation and flow_reward only if the flow was on."""

    step: Ints  # (N,)
    prompt: Ints  # (N,), from 0
    group: Ints  # (N,), from 0
    correct: Floats  # (N,) 1 or 0, NaN if it could not be graded
    length: Ints  # (N,), in tokens
    owner: Ints  # (M,), the rollout of each token
    position: Ints  # (M,), of each token in its rollout, from 0
    token: Ints  # (M,), index into vocabulary
    vocabulary: list[str]
    values: dict[str, Floats]  # (M,) by name: logprob, entropy, advantage, shaping, deviation, flow_reward

    @property
    def has_flow(self) -> bool:
        return "deviation" in self.values

    @property
    def scored(self) -> NDArray[np.bool_]:
        """(M,) True for tokens with a deviation; those without their context in the response show 0."""
        return self.values["deviation"] != 0


@dataclass(frozen=True)
class Estimate:
    """A figure and its 95 % interval, which is None if there are too few prompts for one."""

    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Ranking:
    """How well a score ranks correct above incorrect rollouts of a group; None if no group has both."""

    score: str
    auc: Estimate | None
    gain: Estimate | None  # AUC of the score combined with the log-probability minus that of the log-probability alone
    pairs: int
    prompts: int


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation over tokens; None if one of the two does not vary."""

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
    """The flow reward of one token text: its mean over all occurrences, and in each third of the run's steps."""

    token: str
    count: int
    flow_reward: float
    thirds: list[float | None]
    rewarded: float  # fraction of the occurrences whose reward is not 0
    deviation: float


def flatten(records: Sequence[RolloutRecord]) -> Rollouts:
    """The records as arrays; ValueError if there are none."""
    if not records:
        raise ValueError("there are no rollouts to flatten; record some with train.rollouts_per_step")
    prompts: dict[str, int] = {}
    groups: dict[tuple[int, str], int] = {}
    vocabulary: dict[str, int] = {}
    prompt = [prompts.setdefault(record.problem_id, len(prompts)) for record in records]
    group = [groups.setdefault((record.step, record.problem_id), len(groups)) for record in records]
    token = [vocabulary.setdefault(text, len(vocabulary)) for record in records for text in record.tokens]
    length = np.array([len(record.tokens) for record in records])
    owner = np.repeat(np.arange(len(records)), length)
    columns = {"logprob": "logprob", "entropy": "entropy", "advantage": "advantages", "shaping": "shaping"}
    if all(record.deviation is not None and record.flow_reward is not None for record in records):
        columns |= {"deviation": "deviation", "flow_reward": "flow_reward"}
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
        values={
            name: np.concatenate([np.asarray(getattr(record, column), dtype=float) for record in records])
            for name, column in columns.items()
        },
    )


def rollout_scores(rollouts: Rollouts) -> dict[str, Floats]:
    """(N,) by name: means over the tokens of a rollout that have the score, with larger for what should be correct.

    NaN for a rollout without such tokens.
    """

    def mean(name: str, tokens: NDArray[np.bool_] | slice = slice(None)) -> Floats:
        owner, values = rollouts.owner[tokens], rollouts.values[name][tokens]
        total, count = (np.bincount(owner, each, minlength=len(rollouts.length)) for each in (values, None))
        return np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)

    scores = {"logprob": mean("logprob"), "entropy": -mean("entropy"), "length": -rollouts.length.astype(float)}
    if rollouts.has_flow:
        scores |= {"deviation": -mean("deviation", rollouts.scored), "flow_reward": mean("flow_reward")}
    return scores


def rank_rollouts(rollouts: Rollouts) -> list[Ranking]:
    """`rank_scores` for the scores of a run, over the rollouts that have all of them."""
    scores = rollout_scores(rollouts)
    lacks_one = np.isnan(np.stack(list(scores.values()))).any(0)
    return rank_scores(scores, np.where(lacks_one, np.nan, rollouts.correct), rollouts.group, rollouts.prompt)


def rank_scores(scores: Mapping[str, Floats], correct: Floats, group: Ints, prompt: Ints) -> list[Ranking]:
    """Within-group AUC of each score, P(correct scores above incorrect) with ties one half, and its gain.

    Args:
        scores: (N,) by name; one of them must be logprob.
        correct, group, prompt: (N,), as in `Rollouts`.
    """
    pairs = within_group_pairs(correct, group)
    prompt = prompt[pairs[:, 0]]
    difference = {name: score[pairs[:, 0]] - score[pairs[:, 1]] for name, score in scores.items()}
    logprob_wins = wins(difference["logprob"])
    rankings = []
    for name, values in difference.items():
        gain = None
        if name != "logprob":
            together = wins(combine(np.stack([difference["logprob"], values], axis=1), prompt))
            gain = _mean_by_prompt(together - logprob_wins, prompt)
        auc = _mean_by_prompt(wins(values), prompt)
        rankings.append(Ranking(name, auc, gain, len(pairs), len(np.unique(prompt))))
    return rankings


def combine(differences: Floats, prompt: Ints) -> Floats:
    """(pairs,) differences in the best weighted sum of the scores, two-fold cross-fitted over prompts.

    The weights of each half of the prompts come from a slightly ridged logistic regression on the pairs of the other
    half. An interval computed from the result treats these weights as given.

    Args:
        differences: (pairs, scores), correct minus incorrect rollout.
        prompt: (pairs,).
    """
    combined = np.zeros(len(differences))
    shuffled = np.random.default_rng(0).permutation(prompt.max(initial=0) + 1)
    half = shuffled[prompt] % 2
    for part in (0, 1):
        scale = np.sqrt((differences[half != part] ** 2).mean(axis=0)) if (half != part).any() else 1.0
        features = differences / np.where(scale > 0, scale, 1)
        combined[half == part] = features[half == part] @ _pair_weights(features[half != part])
    return combined


def _pair_weights(features: Floats, ridge: float = 1e-3) -> Floats:
    """(scores,) weights that maximise the mean log-likelihood of P(the first rollout of a pair is the correct one)."""
    weights = np.zeros(features.shape[1])
    for _ in range(25 if len(features) else 0):  # Newton's method
        missed = 1 / (1 + np.exp(np.clip(features @ weights, -30, 30)))
        gradient = features.T @ missed / len(features) - ridge * weights
        spread = (features * (missed * (1 - missed))[:, None]).T @ features / len(features)
        weights = weights + np.linalg.solve(spread + ridge * np.eye(len(weights)), gradient)
    return weights


def accuracy_by_score(score: Floats, rollouts: Rollouts) -> list[Bin]:
    """The fraction of correct rollouts by quantile of a score relative to the mean of its group.

    Only groups with both outcomes count: prompts differ in both accuracy and score, and this removes that difference.

    Args:
        score: (N,).
    """
    inside = np.unique(within_group_pairs(rollouts.correct, rollouts.group))
    group, values = rollouts.group[inside], score[inside]
    mean = np.bincount(group, values) / np.maximum(np.bincount(group), 1)
    return binned(values - mean[group], rollouts.correct[inside], rollouts.prompt[inside])


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
    return [Correlation(x, y, _pearson(ranks[x], ranks[y], prompt), int(kept.sum())) for x, y in names]


def _pearson(x: Floats, y: Floats, prompt: Ints) -> Estimate | None:
    """Pearson's correlation of (values,) x and y; None if x or y does not vary."""

    def pearson(sums: Floats) -> Floats:
        n, sx, sy, sxx, syy, sxy = np.moveaxis(sums, -1, 0)
        variance = np.maximum(n * sxx - sx**2, 0) * np.maximum(n * syy - sy**2, 0)
        return _divide(n * sxy - sx * sy, np.sqrt(variance))

    return estimate(_sums(prompt, np.ones(len(x)), x, y, x * x, y * y, x * y), pearson)


def _centred_ranks(values: Floats) -> Floats:
    """Ranks from -1/2 to 1/2; ties get their average."""
    return rankdata(values) / max(len(values), 1) - 0.5


def token_bins(x: str, y: str, rollouts: Rollouts) -> list[Bin]:
    """The mean of y by quantile of x over the scored tokens; x and y are names in `Rollouts.values`."""
    kept = rollouts.scored
    prompt = rollouts.prompt[rollouts.owner[kept]]
    return binned(rollouts.values[x][kept], rollouts.values[y][kept], prompt)


def binned(x: Floats, y: Floats, prompt: Ints) -> list[Bin]:
    """Means of y in `BINS` bins of equal size along x; in fewer if there are fewer than ten values per bin.

    Args:
        x, y, prompt: (values,).
    """
    bins = min(BINS, len(x) // 10)
    return [
        Bin(float(np.median(x[part])), len(part), mean)
        for part in (np.array_split(np.argsort(x, kind="stable"), bins) if bins else [])
        if (mean := _mean_by_prompt(y[part], prompt[part]))
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


def estimate(totals: Floats, statistic: Callable[[Floats], Floats]) -> Estimate | None:
    """The statistic of the summed totals with its bootstrap interval; None where it is undefined.

    Args:
        totals: (prompts, columns), the contribution of each prompt to the sums.
        statistic: maps (..., columns) of sums to (...), NaN where it is undefined.
    """
    value = float(statistic(totals.sum(axis=0)))
    if np.isnan(value):
        return None
    interval = bootstrap_interval(totals, statistic, resamples=RESAMPLES)
    return Estimate(value, interval.low, interval.high) if interval else Estimate(value, None, None)


def _mean_by_prompt(values: Floats, prompt: Ints) -> Estimate | None:
    """The mean of (values,) with an interval over prompts; None if there are no values."""
    return estimate(_sums(prompt, values, np.ones(len(values))), lambda sums: _divide(sums[..., 0], sums[..., 1]))


def _sums(prompt: Ints, *columns: Floats) -> Floats:
    """(prompts, columns): the sums of (values,) columns by prompt, for the prompts that occur."""
    _, index = np.unique(prompt, return_inverse=True)
    return np.stack([np.bincount(index, column) for column in columns], axis=1)


def _divide(numerator: NDArray[Any], denominator: NDArray[Any]) -> Floats:
    """NaN where the denominator is 0."""
    return np.divide(numerator, denominator, out=np.full(np.shape(denominator), np.nan), where=denominator > 0)
