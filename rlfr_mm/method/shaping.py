"""What is added to GRPO's advantages: one class per value of `train.advantage_shaping`.

A new shaping is a class here and its name in `RLFRArguments.advantage_shaping`.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from rlfr_mm.config import RLFRArguments
from rlfr_mm.method.shapes import PerRollout, Tokens


class Shaping:
    """No shaping: GRPO's advantages, one per rollout; RLVR if `negative_weight` is 1. Subclasses change them."""

    def __init__(self, args: RLFRArguments):
        self.args = args

    def of_outcomes(self, outcome: PerRollout) -> PerRollout:
        """GRPO's advantages with the weight of blame, which the other methods start from."""
        return torch.where(outcome < 0, outcome * self.args.negative_weight, outcome)

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        """Advantages of rollouts that a flow field has scored; `flow()` computes what the flow reward adds."""
        return outcome

    def in_loss(self, advantages: Float[Tensor, "..."], entropies: Tokens) -> Tensor:
        """Advantages that the loss uses, given the entropies that it has just computed."""
        return advantages


class FlowShaping(Shaping):
    """The paper's shaping: the outcome's advantage plus the reward-to-go of the flow reward."""

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        return outcome + flow()


class Redistribution(Shaping):
    """The reward-to-go of the flow reward alone: with `expert_value`, whose rewards add up to the outcome less the
    chance of it, it distributes the outcome over the tokens instead of adding to it.
    """

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        return flow()


class ScaleShaping(Shaping):
    """The outcome's advantage times a weight from the flow (`scaled_advantage`): its size changes, never its sign."""

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        return scaled_advantage(outcome, flow())

    def in_loss(self, advantages: Tokens, entropies: Tokens) -> Tensor:
        return entropy_average(advantages, entropies) if self.args.scale_average == "entropy" else advantages


class EntropyShaping(Shaping):
    """A rival: the outcome's advantage plus a clipped entropy term (`entropy_advantage`)."""

    def in_loss(self, advantages: PerRollout, entropies: Tokens) -> Tensor:
        outcome = advantages.unsqueeze(1).expand_as(entropies)
        return entropy_advantage(outcome, entropies, self.args.entropy_alpha, self.args.entropy_kappa)


SHAPINGS: dict[str, type[Shaping]] = {  # by the values of train.advantage_shaping
    "flow": FlowShaping,
    "redistribute": Redistribution,
    "scale": ScaleShaping,
    "entropy": EntropyShaping,
    "none": Shaping,
}


def scaled_advantage(outcome: Tokens, flow: Tokens) -> Tokens:
    """A w with weights w > 0 whose mean over the tokens of each rollout is one: exp(sign(A) f), divided by its mean.

    `outcome` is GRPO's advantage A at each token and 0 at padding; `flow` is f, what the flow reward would add. A right
    rollout gives the tokens with a high f more of the praise, a wrong one those with a low f more of the blame.

    >>> scaled_advantage(torch.tensor([[-2.0, -2.0]]), torch.tensor([[0.0, -1.0986123]]))  # weights 1/2 and 3/2
    tensor([[-1.0000, -3.0000]])
    """
    inside = outcome != 0
    weights = (outcome.sign() * flow).masked_fill(~inside, -torch.inf).softmax(-1) * inside.sum(-1, keepdim=True)
    return torch.where(inside, outcome * weights, 0)


def entropy_average(advantages: Tokens, entropies: Tokens) -> Tokens:
    """Advantages times a factor per rollout, so that their mean weighted by entropy is now what their mean was.

    Tokens with an advantage of 0, such as padding, do not count. The factor is kept within 1/10 and 10: a rollout whose
    choices have next to no weight does not become huge. `entropies` are in nats and get no gradient.

    >>> entropy_average(torch.tensor([[-1.0, -3.0]]), torch.tensor([[0.0, 0.5]]))  # the mean of both, where it chooses
    tensor([[-0.6667, -2.0000]])
    """
    entropies = entropies.detach() * (advantages != 0)
    mean = advantages.sum(-1, keepdim=True) / (advantages != 0).sum(-1, keepdim=True).clamp(min=1)
    weighted = (advantages * entropies).sum(-1, keepdim=True)
    factor = torch.where(weighted != 0, mean * entropies.sum(-1, keepdim=True) / weighted, 1)
    return advantages * factor.clamp(0.1, 10)


def entropy_advantage(advantages: Tokens, entropy: Tokens, alpha: float, kappa: float) -> Tokens:
    """A + min(alpha H, |A| / kappa): uncertain tokens count more (arXiv 2506.14758, equation 4).

    `entropy` is in nats and gets no gradient. With kappa > 1 no advantage changes its sign.
    """
    return advantages + torch.minimum(alpha * entropy.detach(), advantages.abs() / kappa)
