"""What may stand in for the velocity deviation in a search or as a control, and the placebo. Larger scores are worse.

Pure functions, over the rollouts of all processes. `scored` marks the tokens that have a velocity deviation; values
elsewhere never matter.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from rlfr_mm.method.flow_reward import by_group, by_scope


def residual(
    deviation: Float[Tensor, "batch token"], logps: Float[Tensor, "batch token"], scored: Bool[Tensor, "batch token"]
) -> Float[Tensor, "batch token"]:
    """The deviation minus its least-squares fit on the log-probability over the scored tokens: what is new in it."""
    y, x = deviation[scored], logps[scored].to(deviation)
    x = x - x.mean()
    slope = (x * y).sum() / x.square().sum().clamp(min=torch.finfo(x.dtype).tiny)
    result = torch.zeros_like(deviation)
    result[scored] = y - y.mean() - slope * x
    return result


def majority_disagreement(answers: list[str | None], num_generations: int) -> Float[Tensor, "batch"]:
    """The share of each rollout's group, itself included, that gives another answer; no answer agrees with none.

    Answers are compared as texts: this control asks nobody what is right.
    """
    kinds = {answer: kind for kind, answer in enumerate(dict.fromkeys(answers))}
    groups = by_group(torch.tensor([kinds[answer] for answer in answers]), num_generations)
    answered = by_group(torch.tensor([answer is not None for answer in answers]), num_generations)
    agrees = (groups[:, :, None] == groups[:, None, :]) & answered[:, :, None]
    return (1 - agrees.float().mean(-1)).flatten()


def first_departure(
    completion_ids: Int[Tensor, "batch token"], mask: Bool[Tensor, "batch token"], experts: list[list[int]]
) -> Float[Tensor, "batch token"]:
    """1 at the first token at which a rollout leaves the expert's token ids, end of turn included; 0 elsewhere.

    Where a problem has one right solution that is the first wrong step, which no reward made of the policy's own
    states can know: with it an experiment finds out what any dense reward could bring at most.
    """
    wanted = torch.full_like(completion_ids, -1)
    for row, ids in zip(wanted, experts, strict=True):
        row[: len(ids)] = torch.tensor(ids[: len(row)])
    departs = (completion_ids != wanted) & mask
    return (departs & (departs.cumsum(1) == 1)).float()


def shuffled(
    reward: Float[Tensor, "batch token"],
    scored: Bool[Tensor, "batch token"],
    scope: str,
    num_generations: int,
    generator: torch.Generator,
) -> Float[Tensor, "batch token"]:
    """The placebo: the same rewards, permuted at random among the scored tokens of each sequence or group.

    'sequence' keeps what the reward says about whole rollouts and takes away what it says about tokens; 'group' takes
    away both. `generator` is one of the CPU.
    """
    values, inside = by_scope(reward, scored, scope, num_generations)
    draws = torch.rand(values.shape, generator=generator).to(reward.device)
    source = draws.masked_fill(~inside, 2).argsort(-1)  # the scored tokens in random order, then the others
    target = (~inside).int().argsort(dim=-1, stable=True)  # the scored tokens in their order, then the others
    return torch.zeros_like(values).scatter(-1, target, values.gather(-1, source)).view_as(reward)
