"""The flow reward (arXiv 2510.10201, section 4): from each token's velocity deviation to its advantage. Start here.

    deviation -> normalise -> power -> threshold -> top-k -> times -flow_coef     = flow reward r_k (`flow_reward`)
    r_k -> sum over s >= k of gamma^(s-k) r_s -> optionally centred per group     = added to GRPO's advantage
                                                                                    (`flow_advantages`)

Other scores can replace the deviation (`rlfr_mm.method.scores`); larger is always worse. All functions are pure. Rows
are rollouts, and the `num_generations` rollouts of a prompt are consecutive, as TRL orders them. There are two masks:

- `mask` marks all response tokens;
- `scored` marks those that have a deviation (`rlfr_mm.method.loss.scored_tokens`). The last token, for example, has
  none if the context is the following token.

Values outside the masks never matter.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.shapes import PerRollout, TokenMask, Tokens

ROUNDING = 1e-3  # advantages that differ by less are equal: TRL divides the rounding errors of rewards by 1e-4


def flow_reward(score: Tokens, scored: TokenMask, config: FlowRewardConfig, num_generations: int) -> Tokens:
    """The reward of each token: -flow_coef times its normalised score, if that passes the threshold and top-k, else 0.

    It is also 0 outside `scored`. ValueError if a score is not finite, which means that the field has diverged.

    >>> deviation = torch.tensor([[0.0, 10.0, 5.0]])
    >>> flow_reward(deviation, deviation >= 0, FlowRewardConfig(), num_generations=1)
    tensor([[ 0.0100, -0.0100, -0.0000]])
    """
    if not score[scored].isfinite().all():
        raise ValueError(f"the {config.score} of a token is not finite: the flow field or the policy has diverged")
    score = normalise(score, scored, config, num_generations)
    if config.power is not None:
        score = score.sign() * score.abs() ** config.power
    if config.threshold is not None:
        score = torch.where(score.abs() > config.threshold, score, 0)
    if config.topk is not None:
        score = keep_topk(score, config.topk) if config.topk_sides == "magnitude" else keep_ends(score, config.topk)
    return -config.flow_coef * score


def flow_advantages(
    reward: Tokens, outcome: PerRollout, mask: TokenMask, config: FlowRewardConfig, num_generations: int
) -> Tokens:
    """What is added to the outcome's advantage `outcome` at each token: the reward-to-go; 0 at padding.

    Who gets the credit: the deviation of token k depends on the tokens up to k, and with the following token as its
    context, as in the paper, on token k + 1 too. The paper credits token k and those before it ("same_token"): the
    reward-to-go of token k + 1 begins at its own reward and leaves out that of token k, which it has decided. With
    `config.credit` "next_token" the reward of token k counts from token k + 1 on. The reward of the last token is then
    dropped; with the following token as context it has none.

    `config.centre` subtracts the group's mean reward-to-go over its tokens. The group's flow advantages then sum to
    zero, and no token is favoured for its position, as the reward-to-go of a constant would. (Centring the rewards
    themselves would not achieve the latter.) The sum in the loss is zero only if the loss weights all tokens equally
    (dapo, bnpo, dr_grpo); grpo gives the tokens of long rollouts less weight.
    """
    if config.credit == "next_token":
        reward = torch.nn.functional.pad(reward[:, :-1], (1, 0))
    advantages = reward_to_go(reward, mask, config.gamma)
    if config.centre:
        grouped, group_mask = by_scope(advantages, mask, "group", num_generations)
        mean = grouped.sum(-1, keepdim=True) / group_mask.sum(-1, keepdim=True).clamp(min=1)
        advantages = torch.where(group_mask, grouped - mean, 0).view_as(advantages)
    if config.groups == "unanimous":
        low, high = by_group(outcome, num_generations).aminmax(dim=-1)
        unanimous = high - low < ROUNDING  # and not near 0: of equal rewards, all have the rounding error of their mean
        advantages = advantages * unanimous.repeat_interleave(num_generations)[:, None]
    return advantages


def normalise(score: Tokens, scored: TokenMask, config: FlowRewardConfig, num_generations: int) -> Tokens:
    """Scores on a common scale within each sequence, group or batch: min-max to `config.range`, or z-scores.

    0 if all values are equal, which includes a single token. With "none" the scores are unchanged; "batch" means all
    rows given here. The public code takes the second smallest value of a row as its minimum, to avoid the zeros of
    padding; here the mask decides.
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


def keep_topk(score: Tokens, k: int) -> Tokens:
    """The k tokens of largest magnitude in each row, others 0. Ties go to the earlier token."""
    return torch.where(_rank(score.abs()) < k, score, 0)


def keep_ends(score: Tokens, k: int) -> Tokens:
    """The floor(k/2) most positive and the floor(k/2) most negative tokens of each row, others 0.

    This is the public scripts' `minmax-bil`. A row with fewer than k tokens that are not 0 stays unchanged. If a sign
    has fewer than floor(k/2) tokens, all of them are kept, and no more of the other sign. Ties go to the earlier token.
    """
    half = k // 2
    ends = ((_rank(score) < half) & (score > 0)) | ((_rank(-score) < half) & (score < 0))
    enough = (score != 0).sum(-1, keepdim=True) >= k
    return torch.where(ends | ~enough, score, 0)


def reward_to_go(reward: Tokens, mask: TokenMask, gamma: float) -> Tokens:
    """The sum over s >= k of gamma^(s-k) r_s over a row's response tokens; 0 at padding."""
    total = torch.where(mask, reward, 0)
    if gamma == 1:
        total = total.flip(-1).cumsum(-1).flip(-1)
    elif gamma > 0:
        columns = list(total.unbind(-1))
        for k in range(len(columns) - 2, -1, -1):
            columns[k] = columns[k] + gamma * columns[k + 1]
        total = torch.stack(columns, dim=-1) if columns else total
    return torch.where(mask, total, 0)


def agreement(first: Tokens, second: Tokens, scored: TokenMask) -> Float[Tensor, "batch 3"]:
    """The sums over each sequence of xy, xx and yy, with x and y the rewards minus their mean in the sequence.

    Added up over sequences, xy / sqrt(xx yy) is the correlation within sequences.

    >>> agreement(torch.tensor([[1.0, 3.0]]), torch.tensor([[4.0, 2.0]]), torch.tensor([[True, True]]))
    tensor([[-2.,  2.,  2.]])
    """
    count = scored.sum(-1, keepdim=True).clamp(min=1)
    x, y = (torch.where(scored, each, 0) for each in (first, second))
    x, y = (torch.where(scored, each - each.sum(-1, keepdim=True) / count, 0) for each in (x, y))
    return torch.stack([(x * y).sum(-1), x.square().sum(-1), y.square().sum(-1)], dim=-1)


def reliability(sums: Float[Tensor, "3"], halves: bool) -> float:
    """The test-retest correlation of a reward within sequences, from the sum of `agreement`; NaN if it never varies.

    If the two rewards were each made of one half of the noise, Spearman and Brown's formula 2 r / (1 + r) says how well
    the reward of all of it would agree with another one like it. That is exact for a score, which is a mean over the
    noise; for a reward with a threshold and top-k it is a little too high (0.87 for a measured 0.84 with eight draws).

    >>> round(reliability(torch.tensor([8.5, 10.0, 10.0]), halves=True), 4)
    0.9189
    """
    product, first, second = sums.double().tolist()
    if min(first, second) <= 0:
        return math.nan
    r = product / math.sqrt(first * second)
    return 2 * r / (1 + r) if halves and r > -1 else r


def within_group_auc(score: PerRollout, correct: Bool[Tensor, "batch"], num_generations: int) -> float:
    """P(a correct rollout scores higher than a wrong one of the same prompt) over all such pairs; ties count one half.

    Rollouts with a NaN score are left out. NaN if there is no pair.
    """
    score, correct = (by_group(values, num_generations) for values in (score, correct))
    difference = score[:, :, None] - score[:, None, :]
    pair = correct[:, :, None] & ~correct[:, None, :] & ~difference.isnan()
    wins = (difference > 0).double() + 0.5 * (difference == 0).double()
    return (wins[pair].sum() / pair.sum()).item()


def _rank(values: Tokens) -> Tensor:
    """Each token's rank in its row by descending value, from 0. Ties go to the earlier token."""
    return values.argsort(dim=-1, descending=True, stable=True).argsort(dim=-1, stable=True)


def by_group(values: Tensor, num_generations: int) -> Tensor:
    """(batch, ...) -> (group, num_generations, ...)."""
    if num_generations < 1 or len(values) % num_generations:
        raise ValueError(f"{len(values)} rollouts are not whole groups of num_generations={num_generations}")
    return values.unflatten(0, (-1, num_generations))


def by_scope(
    values: Tokens, mask: TokenMask, scope: str, num_generations: int
) -> tuple[Float[Tensor, "scope element"], Bool[Tensor, "scope element"]]:
    """Values and mask with one row per sequence, group or batch."""
    if scope == "group":
        return by_group(values, num_generations).flatten(1), by_group(mask, num_generations).flatten(1)
    if scope == "batch":
        return values.reshape(1, -1), mask.reshape(1, -1)
    return values, mask
