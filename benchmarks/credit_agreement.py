"""How a score agrees with true advantages, token by token: the figures of token_credit.py and their intervals."""

from typing import Any

import numpy as np
import torch
from scipy.stats import rankdata
from score_ranking import GROUP
from torch import Tensor

from rlfr_mm.statistics import bootstrap_interval

SAME_ODDS = 0.1  # log-odds within which two probabilities are about equal
FALL = 0.3  # more than two standard errors of the difference of two values


def agreement(score: Tensor, advantage: Tensor, scored: Tensor, uncertain: Tensor) -> dict[str, Any]:
    """How a score (N, T) agrees with the advantages: two AUCs and a rank correlation, with intervals over prompts."""

    def auc(tokens: Tensor) -> dict[str, float]:
        fall, other = tokens & (advantage < -FALL), tokens & (advantage >= -FALL)
        difference = score[:, None, :] - score[:, :, None]  # [i, j, k]: token k minus token j
        pairs = fall[:, :, None] & other[:, None, :]
        wins = ((difference > 0).double() + 0.5 * (difference == 0).double()) * pairs
        totals = torch.stack([wins.sum((1, 2)), pairs.double().sum((1, 2))], dim=1)
        return estimate(totals, lambda sums: sums[..., 0] / sums[..., 1])

    chosen = scored & uncertain
    x, y = (rankdata(values[chosen].double().numpy()) for values in (score, advantage))
    x, y = x - x.mean(), y - y.mean()
    moments = np.zeros((*chosen.shape, 3))
    moments[chosen.numpy()] = np.stack([x * y, x * x, y * y], axis=1)
    totals = torch.tensor(moments.sum(1))
    correlation = estimate(totals, lambda sums: sums[..., 0] / np.sqrt(np.maximum(sums[..., 1] * sums[..., 2], 1e-9)))
    return {"auc": auc(scored), "auc_uncertain": auc(chosen), "correlation": correlation}


def matched_auc(score: Tensor, p: Tensor, fall: Tensor, other: Tensor) -> dict[str, float]:
    """P(a token of `fall` scores lower than one of `other` of about the same probability p), with its interval.

    All are (N, T). Each token of `fall` that has others counts once. The interval is over prompts, of both sides.
    """
    ours, theirs = score[fall], score[other]
    odds = torch.logit(p.double(), eps=1e-6)
    near = ((odds[fall][:, None] - odds[other][None, :]).abs() < SAME_ODDS).double()
    wins = ((theirs[None, :] > ours[:, None]).double() + 0.5 * (theirs[None, :] == ours[:, None]).double()) * near
    prompts = torch.eye(len(fall) // GROUP, dtype=torch.double).repeat_interleave(GROUP, 0)  # (N, prompt)
    own, others = prompts[fall.nonzero()[:, 0]], prompts[other.nonzero()[:, 0]]
    totals = torch.cat([(wins @ others).T, (near @ others).T, own.T], dim=1).numpy()  # per prompt, of each of `fall`

    def statistic(sums: np.ndarray) -> np.ndarray:
        won, met, counted = np.split(sums, 3, axis=-1)
        counted = counted * (met > 0)
        with np.errstate(invalid="ignore"):  # without any pair it is NaN
            return (counted * won / np.maximum(met, 1)).sum(-1) / counted.sum(-1)

    return over_prompts(totals, statistic)


def estimate(totals: Tensor, statistic: Any) -> dict[str, float]:
    """A statistic of the sums of (N, columns), with its interval over prompts."""
    return over_prompts(totals.view(-1, GROUP, totals.shape[1]).sum(1).numpy(), statistic)


def over_prompts(by_prompt: np.ndarray, statistic: Any) -> dict[str, float]:
    """A statistic of the sums of (prompt, columns), with its interval over prompts."""
    interval = bootstrap_interval(by_prompt, statistic)
    assert interval is not None
    return {"value": float(statistic(by_prompt.sum(0))), "low": interval.low, "high": interval.high}
