"""The flow reward (arXiv 2510.10201, section 4): from each token's velocity deviation to its advantage. Start here.

    deviation -> normalise -> power -> threshold -> top-k -> times -flow_coef      = flow reward r_k   (`flow_reward`)
    r_k -> sum over s >= k of gamma^(s-k) r_s -> optionally centred in the group   = what is added to GRPO's advantage
                                                                                     (`flow_advantages`)

In place of the deviation another score may stand (`rlfr_mm.method.scores`): larger is worse. All functions are pure.
Rows are rollouts; the `num_generations` rollouts of one prompt are consecutive (TRL's order).
Two masks are told apart: `scored` marks the tokens that have a deviation (`rlfr_mm.method.loss.scored_tokens`: the last
token has none when its context is the following one), `mask` all real tokens. Values outside the mask never matter.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig

ROUNDING = 1e-3  # an advantage below is the rounding of equal rewards, divided by TRL's 1e-4


def flow_reward(
    score: Float[Tensor, "batch token"],
    scored: Bool[Tensor, "batch token"],
    config: FlowRewardConfig,
    num_generations: int,
) -> Float[Tensor, "batch token"]:
    """The reward of each token: minus `flow_coef` times its normalised score, kept where that is largest.

    0 outside `scored` and for every token that the threshold or top-k drops. ValueError where a score is not finite,
    which means that the field has diverged.
    """
    if not score[scored].isfinite().all():
        raise ValueError(f"a token's {config.score} is not finite: the flow field, or the policy, has diverged")
    score = normalise(score, scored, config, num_generations)
    if config.power is not None:
        score = score.sign() * score.abs() ** config.power
    if config.threshold is not None:
        score = torch.where(score.abs() > config.threshold, score, 0)
    if config.topk is not None:
        score = keep_topk(score, config.topk) if config.topk_sides == "magnitude" else keep_ends(score, config.topk)
    return -config.flow_coef * score


def flow_advantages(
    reward: Float[Tensor, "batch token"],
    outcome: Float[Tensor, "batch"],
    mask: Bool[Tensor, "batch token"],
    config: FlowRewardConfig,
    num_generations: int,
) -> Float[Tensor, "batch token"]:
    """The reward-to-go of each real token, which joins the outcome's advantage `outcome`; 0 at padding.

    With `config.centre` the mean over the real tokens of the group is subtracted from the reward-to-go itself, not
    from the rewards: then the group's tokens together are pushed neither up nor down, and no token is favoured for
    its position, as it would be by the reward-to-go of a constant. That is exact where the loss weighs tokens equally
    (dapo, bnpo, dr_grpo); loss type grpo weighs each rollout equally, and a long one's tokens less.
    """
    advantages = reward_to_go(reward, mask, config.gamma)
    if config.centre:
        grouped, group_mask = by_scope(advantages, mask, "group", num_generations)
        mean = grouped.sum(-1, keepdim=True) / group_mask.sum(-1, keepdim=True).clamp(min=1)
        advantages = torch.where(group_mask, grouped - mean, 0).view_as(advantages)
    if config.groups == "unanimous":
        unanimous = (by_group(outcome, num_generations).abs() < ROUNDING).all(-1)
        advantages = advantages * unanimous.repeat_interleave(num_generations)[:, None]
    if config.scale_by_outcome:
        advantages = advantages * outcome.abs()[:, None]
    return advantages


def normalise(
    score: Float[Tensor, "batch token"],
    scored: Bool[Tensor, "batch token"],
    config: FlowRewardConfig,
    num_generations: int,
) -> Float[Tensor, "batch token"]:
    """Scores on a common scale within each sequence, group or batch: min-max to `config.range`, or z-scores.

    Where all values are equal (a single token, too) nothing stands out and the result is 0. 'none' leaves scores as
    they are. 'batch' means the rows given here.
    The public code takes the second smallest value of a row as its minimum, to dodge the zeros of padding; here the
    mask decides.
    """
    values, inside = by_scope(torch.where(scored, score, 0), scored, config.normalisation, num_generations)
    if config.normalisation == "none":
        return values.view_as(score)
    low = values.masked_fill(~inside, math.inf).amin(-1, keepdim=True)
    high = values.masked_fill(~inside, -math.inf).amax(-1, keepdim=True)
    varies = inside & (high > low)
    if config.scale == "minmax":
        to_low, to_high = config.range
        unit = (values - low) / torch.where(high > low, high - low, 1)
        result = to_low + (to_high - to_low) * unit
    else:
        count = inside.sum(-1, keepdim=True).clamp(min=1)
        centred = torch.where(inside, values - values.sum(-1, keepdim=True) / count, 0)
        std = (centred.square().sum(-1, keepdim=True) / count).sqrt()
        result = centred / torch.where(high > low, std, 1)
    return torch.where(varies, result, 0).view_as(score)


def keep_topk(score: Float[Tensor, "batch token"], k: int) -> Float[Tensor, "batch token"]:
    """The k tokens of largest magnitude in each row, others 0; among equals the earlier token wins."""
    return torch.where(_rank(score.abs()) < k, score, 0)


def keep_ends(score: Float[Tensor, "batch token"], k: int) -> Float[Tensor, "batch token"]:
    """floor(k/2) most positive and floor(k/2) most negative tokens, in rows with at least k that are not 0.

    The public scripts' `minmax-bil`: rows with fewer stay whole; a side with fewer than floor(k/2) tokens is kept
    whole and the other side does not fill in. Among equals the earlier token wins.
    """
    half = k // 2
    ends = ((_rank(score) < half) & (score > 0)) | ((_rank(-score) < half) & (score < 0))
    enough = (score != 0).sum(-1, keepdim=True) >= k
    return torch.where(ends | ~enough, score, 0)


def reward_to_go(
    reward: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], gamma: float
) -> Float[Tensor, "batch token"]:
    """The sum over s >= k of gamma^(s-k) r_s over a row's real tokens; 0 at padding."""
    total = torch.where(mask, reward, 0)
    if gamma == 1:
        total = total.flip(-1).cumsum(-1).flip(-1)
    elif gamma > 0:
        columns = list(total.unbind(-1))
        for k in range(len(columns) - 2, -1, -1):
            columns[k] = columns[k] + gamma * columns[k + 1]
        total = torch.stack(columns, dim=-1) if columns else total
    return torch.where(mask, total, 0)


def within_group_auc(score: Float[Tensor, "batch"], correct: Bool[Tensor, "batch"], num_generations: int) -> float:
    """P(a correct rollout scores higher than an incorrect one of the same prompt), ties one half.

    Over all such pairs of all groups; a rollout without a score (NaN) is in no pair, and NaN where there is no pair.
    """
    score, correct = (by_group(values, num_generations) for values in (score, correct))
    difference = score[:, :, None] - score[:, None, :]
    pair = correct[:, :, None] & ~correct[:, None, :] & ~difference.isnan()
    wins = (difference > 0).double() + 0.5 * (difference == 0).double()
    return (wins[pair].sum() / pair.sum()).item()


def _rank(values: Float[Tensor, "batch token"]) -> Tensor:
    """Each token's place in its row by falling value, from 0; equal values in their order of position."""
    return values.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1, stable=True)


def by_group(values: Tensor, num_generations: int) -> Tensor:
    """(batch, ...) -> (group, num_generations, ...)."""
    if num_generations < 1 or len(values) % num_generations:
        raise ValueError(f"{len(values)} rollouts are not whole groups of num_generations={num_generations}")
    return values.unflatten(0, (-1, num_generations))


def by_scope(
    values: Float[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], scope: str, num_generations: int
) -> tuple[Float[Tensor, "scope element"], Bool[Tensor, "scope element"]]:
    """Values and mask with one row per sequence, group or batch."""
    if scope == "group":
        return by_group(values, num_generations).flatten(1), by_group(mask, num_generations).flatten(1)
    if scope == "batch":
        return values.reshape(1, -1), mask.reshape(1, -1)
    return values, mask
