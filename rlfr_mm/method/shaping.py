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
    """No shaping: GRPO's advantages as they are, one per rollout (RLVR). Subclasses change them."""

    def __init__(self, args: RLFRArguments):
        self.args = args

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
    """The reward-to-go of the flow reward alone: with scores whose rewards add up to the outcome, such as `flow_value`
    and `group_value`, it distributes the outcome over the tokens instead of adding to it.
    """

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        return flow()


class ScaleShaping(Shaping):
    """The outcome's advantage times a weight from the flow (`scaled_advantage`): its size changes, never its sign."""

    def of_rollouts(self, outcome: Tokens, flow: Callable[[], Tokens]) -> Tokens:
        return scaled_advantage(outcome, flow())


class EntropyShaping(Shaping):
    """A rival: the outcome's advantage plus a clipped entropy term (`entropy_advantage`)."""

    def in_loss(self, advantages: PerRollout, entropies: Tokens) -> Tensor:
        outcome = advantages.unsqueeze(1).expand_as(entropies)
        return entropy_advantage(outcome, entropies, self.args.entropy_alpha, self.args.entropy_kappa)


class AsymmetricShaping(Shaping):
    """A rival without a field: the outcome's advantage, with less blame (or more) than praise.

    `scale` does that on average: where a policy chooses, its tokens deviate less than those that follow by rule.
    """

    def in_loss(self, advantages: Float[Tensor, "..."], entropies: Tokens) -> Tensor:
        return torch.where(advantages < 0, advantages * self.args.negative_weight, advantages)


SHAPINGS: dict[str, type[Shaping]] = {  # by the values of train.advantage_shaping
    "flow": FlowShaping,
    "redistribute": Redistribution,
    "scale": ScaleShaping,
    "entropy": EntropyShaping,
    "asymmetric": AsymmetricShaping,
    "none": Shaping,
}


def scaled_advantage(outcome: Tokens, flow: Tokens) -> Tokens:
    """A w with weights w > 0 whose mean over the tokens of each rollout is one: exp(sign(A) f), divided by its mean.

    `outcome` is GRPO's advantage A at each token and 0 at padding; `flow` is f, what the flow reward would add. A right
    rollout gives the tokens with a high f more of the praise, a wrong one those with a low f more of the blame.

    >>> scaled_advantage(torch.tensor([[-2.0, -2.0]]), torch.tensor([[0.0, -1.0986123]]))  # weights 1/2 and 3/2
    tensor([[-1., -3.]])
    """
    inside = outcome != 0
    weights = (outcome.sign() * flow).masked_fill(~inside, -torch.inf).softmax(-1) * inside.sum(-1, keepdim=True)
    return torch.where(inside, outcome * weights, 0)


def entropy_advantage(advantages: Tokens, entropy: Tokens, alpha: float, kappa: float) -> Tokens:
    """A + min(alpha H, |A| / kappa): uncertain tokens count more (arXiv 2506.14758, equation 4).

    `entropy` is in nats and gets no gradient. With kappa > 1 no advantage changes its sign.
    """
    return advantages + torch.minimum(alpha * entropy.detach(), advantages.abs() / kappa)
