"""The scores that a flow reward can be made of: one class per value of `flow_reward.score`. Larger is worse.

The paper's score is the velocity deviation; the rivals and controls measure what the deviation is worth. A new score is
a class here and its name in `FlowRewardConfig.score`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlfr_mm.method.flow_reward import by_group, by_scope
from rlfr_mm.method.shapes import PerRollout, TokenIds, TokenMask, Tokens

Scores = Float[Tensor, "all_rollouts longest"]  # of all processes, padded to the longest response


@dataclass
class ScoredRollouts:
    """What a score is computed from: this process's rollouts, and what is marked as global.

    The last four are filled in only for the scores that need them.
    """

    deviation: Tokens
    completion_ids: TokenIds
    mask: TokenMask
    scored: Bool[Tensor, "all_rollouts longest"]  # global: the tokens that have a velocity deviation
    num_generations: int
    gather: Callable[[Any], Tensor]  # (batch, token) of this process -> (all_rollouts, longest)
    logps: Tokens | None = None  # log-probabilities under the policy that sampled
    rejected_deviation: Tokens | None = None  # under the field of rejected rollouts
    answers: list[str | None] = field(default_factory=list)  # global: one per rollout
    experts: list[list[int]] = field(default_factory=list)  # token ids of the expert solutions


class Score:
    """The velocity deviation, which is the paper's score; a subclass is another score, and says what else it needs."""

    uses_deviation: ClassVar[bool] = True  # so that it has the noise of the field's draws
    needs_logps: ClassVar[bool] = False  # then the pass that records latents runs the whole policy
    needs_rejected_field: ClassVar[bool] = False  # a second field, which learns the rejected rollouts
    needs_answers: ClassVar[bool] = False  # the answer in each completion
    needs_experts: ClassVar[bool] = False  # the only correct solution of each problem
    compares_rollouts: ClassVar[bool] = False  # a rollout's score depends on other rollouts

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return rollouts.gather(rollouts.deviation)


class Residual(Score):
    """What the deviation says beyond the policy's own log-probability."""

    needs_logps = compares_rollouts = True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return residual(rollouts.gather(rollouts.deviation), rollouts.gather(rollouts.logps), rollouts.scored)


class LogRatio(Score):
    """The deviation minus that of a second field, which learns the rejected rollouts."""

    needs_rejected_field = True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return rollouts.gather(rollouts.deviation) - rollouts.gather(rollouts.rejected_deviation)


class Logprob(Score):
    """Control without a field: minus the log-probability."""

    uses_deviation, needs_logps = False, True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return -rollouts.gather(rollouts.logps)


class Majority(Score):
    """Control without token information: the share of the group that gives another answer."""

    uses_deviation = False
    needs_answers = compares_rollouts = True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        shares = majority_disagreement(rollouts.answers, rollouts.num_generations).to(rollouts.deviation)
        return shares[:, None].expand(rollouts.scored.shape)


class Departure(Score):
    """Control that knows the solution: 1 at the token where a rollout first leaves it."""

    uses_deviation, needs_experts = False, True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return rollouts.gather(first_departure(rollouts.completion_ids, rollouts.mask, rollouts.experts))


SCORES: dict[str, Score] = {  # by the values of flow_reward.score
    "deviation": Score(),
    "residual": Residual(),
    "log_ratio": LogRatio(),
    "logprob": Logprob(),
    "majority": Majority(),
    "departure": Departure(),
}


def residual(deviation: Tokens, logps: Tokens, scored: TokenMask) -> Tokens:
    """The deviation minus its least-squares fit on the log-probability over the scored tokens; 0 elsewhere."""
    y, x = deviation[scored], logps[scored].to(deviation)
    x = x - x.mean()
    slope = (x * y).sum() / x.square().sum().clamp(min=torch.finfo(x.dtype).tiny)
    result = torch.zeros_like(deviation)
    result[scored] = y - y.mean() - slope * x
    return result


def majority_disagreement(answers: list[str | None], num_generations: int) -> PerRollout:
    """The share of each rollout's group, itself included, whose answer differs. A missing answer agrees with none.

    Answers are compared as strings, because this control must not know which answer is correct.

    >>> majority_disagreement(["7", "7", "8", None], num_generations=4)
    tensor([0.5000, 0.5000, 0.7500, 1.0000])
    """
    kinds = {answer: kind for kind, answer in enumerate(dict.fromkeys(answers))}
    groups = by_group(torch.tensor([kinds[answer] for answer in answers]), num_generations)
    answered = by_group(torch.tensor([answer is not None for answer in answers]), num_generations)
    agrees = (groups[:, :, None] == groups[:, None, :]) & answered[:, :, None]
    return (1 - agrees.float().mean(-1)).flatten()


def first_departure(completion_ids: TokenIds, mask: TokenMask, experts: list[list[int]]) -> Tokens:
    """1 at the first token that differs from the expert's token ids (end of turn included), 0 elsewhere.

    If a problem has only one correct solution, that token is the first wrong step. No reward that is computed from the
    policy's own states can know it, so this control bounds what any dense reward could gain.
    """
    wanted = torch.full_like(completion_ids, -1)
    for row, ids in zip(wanted, experts, strict=True):
        row[: len(ids)] = torch.tensor(ids[: len(row)])
    departs = (completion_ids != wanted) & mask
    return (departs & (departs.cumsum(1) == 1)).float()


def shuffled(reward: Tokens, scored: TokenMask, scope: str, num_generations: int, generator: torch.Generator) -> Tokens:
    """The placebo: the same rewards, randomly permuted among the scored tokens of each sequence or group.

    "sequence" keeps what the rewards say about whole rollouts and removes what they say about tokens; "group" removes
    both. `generator` is a CPU generator.
    """
    values, inside = by_scope(reward, scored, scope, num_generations)
    draws = torch.rand(values.shape, generator=generator).to(reward.device)
    source = draws.masked_fill(~inside, 2).argsort(-1)  # the scored tokens in random order, then the others
    target = (~inside).int().argsort(dim=-1, stable=True)  # the scored tokens in their order, then the others
    return torch.zeros_like(values).scatter(-1, target, values.gather(-1, source)).view_as(reward)
