"""Two estimates of the value of a prefix, the chance that it ends right, that token_credit.py measures.

Both were scores of a flow reward once. The fields' estimate says little of a token that the log-probability does not,
and a step with the group's gains no more than one with half the blame, within errors (docs/results.md).
"""

import torch

from rlfr_mm.method.flow_reward import by_group
from rlfr_mm.method.scores import value_differences
from rlfr_mm.method.shapes import PerRollout, TokenIds, TokenMask, Tokens


def changes_seen_by_fields(
    right: Tokens, wrong: Tokens, channels: int, outcomes: PerRollout, scored: TokenMask, num_generations: int
) -> Tokens:
    """What each token adds to the value that the fields of right and of wrong rollouts see in its prefix.

    By Bayes, log P(right | a) - log P(wrong | a) is the log-ratio of the two densities of the latent a plus the prior's
    log-odds, and the log-ratio is the difference of two squared errors under common noise, summed over channels and
    weighted by t / (1 - t) (`FlowRewardConfig.debias`; tests/method/test_theory.py). The prior is the group's share of
    right rollouts. The changes of a rollout add up to its outcome minus that share.

    Args:
        right, wrong: deviations under the field of right and of wrong rollouts, means over the channels of a latent.
        outcomes: 1 right, 0 wrong.
    """
    prior = torch.logit(group_share(outcomes, num_generations, shrink=1.0))
    values = torch.sigmoid(channels * (wrong - right) + prior[:, None])
    return value_differences(values, outcomes, group_share(outcomes, num_generations), scored)


def changes_seen_by_group(
    ids: TokenIds, mask: TokenMask, outcomes: PerRollout, scored: TokenMask, num_generations: int
) -> Tokens:
    """What each token adds to the value of its prefix, which is the outcome of the group's rollouts that share it.

    Nothing is learnt: see `shared_prefix_values`. The changes are GRPO's advantage before the division by the standard
    deviation, distributed over the tokens.
    """
    values = shared_prefix_values(ids, mask, outcomes, num_generations)
    return value_differences(values, outcomes, group_share(outcomes, num_generations), scored)


def group_share(outcomes: PerRollout, num_generations: int, shrink: float = 0.0) -> PerRollout:
    """Each rollout's group's share of right ones among its graded ones, with `shrink` right and wrong ones added.

    One half for a group without a graded rollout.

    >>> group_share(torch.tensor([1.0, 0.0, 0.0, torch.nan]), num_generations=4)
    tensor([0.3333, 0.3333, 0.3333, 0.3333])
    """
    grouped = by_group(outcomes, num_generations)
    graded = (~grouped.isnan()).sum(-1) + 2 * shrink
    share = torch.where(graded > 0, (grouped.nansum(-1) + shrink) / graded.clamp(min=1), 0.5)
    return share.repeat_interleave(num_generations)


def shared_prefix_values(ids: TokenIds, mask: TokenMask, outcomes: PerRollout, num_generations: int) -> Tokens:
    """The share of right ones among the rollouts of the group that begin with the same tokens, up to each token.

    It is shrunk to the group's share, which counts as one more rollout, so that a prefix that only one rollout has says
    little. Rollouts that could not be graded do not count.

    >>> ids = torch.tensor([[5, 6], [5, 6], [5, 7], [8, 6]])
    >>> shared_prefix_values(ids, ids > 0, torch.tensor([1.0, 0.0, 0.0, 1.0]), num_generations=4)[0]
    tensor([0.3750, 0.5000])
    """
    tokens, inside = by_group(ids, num_generations), by_group(mask, num_generations)
    equal = (tokens[:, :, None] == tokens[:, None]) & inside[:, :, None] & inside[:, None]
    same = equal.int().cumprod(-1).float()  # (group, rollout, other rollout, token)
    right = by_group(outcomes, num_generations).float()
    graded = (~right.isnan()).float()
    share = by_group(group_share(outcomes, num_generations), num_generations).float()
    total = (same * right.nan_to_num()[:, None, :, None]).sum(2)
    count = (same * graded[:, None, :, None]).sum(2)
    return ((total + share[:, :, None]) / (count + 1)).flatten(0, 1) * mask
