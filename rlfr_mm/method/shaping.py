"""Advantage shapings other than the flow reward. Pure functions of (batch, token) tensors."""

import torch
from jaxtyping import Float
from torch import Tensor


def entropy_advantage(
    advantages: Float[Tensor, "batch token"], entropy: Float[Tensor, "batch token"], alpha: float, kappa: float
) -> Float[Tensor, "batch token"]:
    """A + min(alpha H, |A| / kappa): uncertain tokens of a rollout count more (arXiv 2506.14758, equation 4).

    `entropy` in nats, without gradient. For kappa > 1 no advantage changes its sign.
    """
    return advantages + torch.minimum(alpha * entropy.detach(), advantages.abs() / kappa)
