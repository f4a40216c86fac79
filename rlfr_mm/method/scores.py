"""The scores that a flow reward can be made of: one class per value of `flow_reward.score`. Larger is worse.

The paper's score is the velocity deviation; the controls measure what the deviation is worth. A new score is a class
here and its name in `FlowRewardConfig.score`.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.flow_reward import reward_to_go
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
    outcomes: Float[Tensor, " all_rollouts"] | None = None  # global: 1 right, 0 wrong, NaN not graded
    experts: list[list[int]] = field(default_factory=list)  # token ids of the expert solutions
    expert_logps: Float[Tensor, "batch solution"] | None = None  # of their tokens, after the prompt; 0 at padding


class Score:
    """The velocity deviation, which is the paper's score; a subclass is another score, and says what else it needs."""

    uses_deviation: ClassVar[bool] = True  # so that it has the noise of the field's draws
    needs_logps: ClassVar[bool] = False  # then the pass that records latents runs the whole policy
    needs_outcomes: ClassVar[bool] = False  # which rollouts are right
    needs_experts: ClassVar[bool] = False  # the only correct solution of each problem
    needs_expert_logps: ClassVar[bool] = False  # and its log-probabilities, in a pass of their own
    compares_rollouts: ClassVar[bool] = False  # a rollout's score depends on other rollouts

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return rollouts.gather(rollouts.deviation)


class Logprob(Score):
    """Control without a field: minus the log-probability."""

    uses_deviation, needs_logps = False, True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return -rollouts.gather(rollouts.logps)


class Departure(Score):
    """Control that knows the solution: 1 at the token where a rollout first leaves it."""

    uses_deviation, needs_experts = False, True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        return rollouts.gather(first_departure(rollouts.completion_ids, rollouts.mask, rollouts.experts))


class ExpertValue(Score):
    """Control that knows the solution: what a token takes from the true value of its prefix (`expert_values`).

    Its differences are the advantages of least variance that any critic could give, also in groups without a right
    rollout. Alone, with `train.advantage_shaping: redistribute`, it is the ceiling of a reward that is only used as
    credit.

        flow_reward: {score: expert_value, normalisation: none, threshold: null, topk: null, gamma: 0, flow_coef: 2}
    """

    uses_deviation = False
    needs_experts = needs_expert_logps = needs_outcomes = True

    def __call__(self, rollouts: ScoredRollouts) -> Scores:
        assert rollouts.outcomes is not None  # needs_outcomes
        departs = rollouts.gather(first_departure(rollouts.completion_ids, rollouts.mask, rollouts.experts))
        start, values = expert_values(rollouts.gather(rollouts.expert_logps), departs)
        return -value_differences(values.to(rollouts.deviation), rollouts.outcomes, start, rollouts.scored)


SCORES: dict[str, Score] = {  # by the values of flow_reward.score
    "deviation": Score(),
    "logprob": Logprob(),
    "departure": Departure(),
    "expert_value": ExpertValue(),
}


def scores_of(rollouts: ScoredRollouts, config: FlowRewardConfig) -> Scores:
    """The scores of the rollouts, less the mean of each token if `token_baseline` asks for it."""
    score = SCORES[config.score](rollouts)
    if config.token_baseline:
        score = score - token_means(score, rollouts.scored, rollouts.gather(rollouts.completion_ids))
    return score


def value_differences(values: Tokens, outcomes: PerRollout, start: PerRollout, scored: TokenMask) -> Tokens:
    """The change of value at each scored token, from `start` before the first; 0 elsewhere.

    The last value of a rollout is replaced by its outcome, so that its changes add up to outcome minus start. A rollout
    that could not be graded ends where it started.

    >>> values = torch.tensor([[0.5, 0.75, 0.6]])
    >>> value_differences(values, torch.tensor([1.0]), torch.tensor([0.25]), values > 0)
    tensor([[0.2500, 0.2500, 0.2500]])
    """
    outcomes = torch.where(outcomes.isnan(), start, outcomes).to(values)
    place = torch.arange(values.shape[1], device=values.device).expand_as(values)
    last = torch.where(scored, place, -1).amax(-1, keepdim=True)
    values = torch.where(place == last, outcomes[:, None], values)
    latest = torch.where(scored, place, -1).cummax(-1).values
    before = torch.nn.functional.pad(latest[:, :-1], (1, 0), value=-1)  # the scored token before, -1 for the first
    previous = torch.where(before >= 0, values.gather(-1, before.clamp(min=0)), start[:, None].to(values))
    return torch.where(scored, values - previous, 0)


def first_departure(completion_ids: TokenIds, mask: TokenMask, experts: list[list[int]]) -> Tokens:
    """1 at the first token that differs from the expert's token ids (end of turn included), 0 elsewhere.

    If a problem has only one correct solution, that token is the first wrong step. No reward that is computed from the
    policy's own states can know it, so this control shows that there is something to gain; rewards of another form, or
    with another coefficient, could gain more.
    """
    wanted = torch.full_like(completion_ids, -1)
    for row, ids in zip(wanted, experts, strict=True):
        row[: len(ids)] = torch.tensor(ids[: len(row)])
    departs = (completion_ids != wanted) & mask
    return (departs & (departs.cumsum(1) == 1)).float()


def expert_values(expert_logps: Float[Tensor, "batch solution"], departs: Tokens) -> tuple[PerRollout, Tokens]:
    """The chance that the policy goes on to the right answer: at the start of each rollout, and after each token.

    If a problem has only one correct solution, it is the product of the probabilities of the solution's tokens that are
    still to come, and 0 once a rollout has left the solution.

    Args:
        expert_logps: log-probabilities of the solution's tokens; 0 at padding.
        departs: 1 at the token where a rollout leaves the solution (`first_departure`).

    >>> expert_values(torch.tensor([[0.5, 0.8], [0.5, 0.8]]).log(), torch.tensor([[0.0, 0.0], [0.0, 1.0]]))
    (tensor([0.4000, 0.4000]), tensor([[0.8000, 1.0000],
            [0.8000, 0.0000]]))
    """
    length, solution = departs.shape[1], expert_logps.shape[1]
    ahead = torch.nn.functional.pad(expert_logps, (0, max(0, length + 1 - solution)))
    chance = reward_to_go(ahead, torch.ones_like(ahead, dtype=torch.bool), gamma=1.0).exp()
    return chance[:, 0], chance[:, 1 : 1 + length] * (departs.cumsum(1) == 0)


def token_means(score: Tokens, scored: TokenMask, ids: TokenIds) -> Tokens:
    """The mean score of the same token of the vocabulary over the scored tokens; 0 elsewhere.

    >>> token_means(torch.tensor([[1.0, 2.0, 5.0]]), torch.ones(1, 3, dtype=torch.bool), torch.tensor([[7, 7, 8]]))
    tensor([[1.5000, 1.5000, 5.0000]])
    """
    tokens, token, counts = ids[scored].unique(return_inverse=True, return_counts=True)
    # In float64, so that the order in which a GPU adds does not show.
    means = counts.new_zeros(len(tokens), dtype=torch.float64).index_add(0, token, score[scored].double()) / counts
    return torch.zeros_like(score).masked_scatter(scored, means[token].to(score))


def shuffled(reward: Tokens, scored: TokenMask, among: TokenIds, generator: torch.Generator) -> Tokens:
    """The placebo: the same rewards, randomly permuted among the scored tokens that have the same number in `among`.

    With the numbers of the sequences it keeps what the rewards say about whole rollouts and removes what they say about
    tokens; with those of the groups it removes both. With token ids it keeps what they say about each token of the
    vocabulary, and removes what they say about its context. `generator` is a CPU generator.

    >>> one_row = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[True, True, True]]), torch.tensor([[7, 7, 8]])
    >>> shuffled(*one_row, torch.Generator().manual_seed(1))[0, 2]  # the only token with the number 8
    tensor(3.)
    """
    values, number = reward[scored], among[scored]
    mixed = torch.randperm(len(values), generator=generator).to(reward.device)
    source = mixed[number[mixed].argsort(stable=True)]  # number by number, in random order
    target = number.argsort(stable=True)  # number by number, in their order
    permuted = torch.empty_like(values).index_copy(0, target, values[source])
    return torch.zeros_like(reward).masked_scatter(scored, permuted)


def placebo(reward: Tokens, rollouts: ScoredRollouts, shuffle: str, generator: torch.Generator) -> Tokens:
    """The rewards of all rollouts after `flow_reward.shuffle`."""
    if shuffle == "none":
        return reward
    among = torch.arange(len(reward), device=reward.device)[:, None].expand_as(rollouts.scored)
    if shuffle == "group":
        among = among // rollouts.num_generations
    elif shuffle == "token_id":
        among = rollouts.gather(rollouts.completion_ids)
    return shuffled(reward, rollouts.scored, among, generator)
