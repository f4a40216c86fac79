"""The linear probability path between noise x_0 and latents x_1: x_t = t x_1 + (1 - t) x_0, t = 1 is data.

On this path the marginal velocity v and the score determine each other exactly, so a difference of velocities is a
difference of scores times (1 - t) / t, and the squared velocity error, weighted by t / (1 - t) and integrated over t,
is a log-likelihood ratio (theory section of arXiv 2510.10201; tests/flow/test_theory.py checks both in closed form).
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass(frozen=True)
class PathSample:
    """A point on the path and the velocity the field is asked for there."""

    x_t: Float[Tensor, "n channel"]
    dx_t: Float[Tensor, "n channel"]


def linear_path(x_0: Float[Tensor, "n channel"], x_1: Float[Tensor, "n channel"], t: Float[Tensor, "n"]) -> PathSample:
    """x_t = t x_1 + (1 - t) x_0 and its derivative dx_t = x_1 - x_0, for times t in [0, 1]."""
    t = t[:, None]
    return PathSample(x_t=t * x_1 + (1 - t) * x_0, dx_t=x_1 - x_0)


def sample_times(n: int, generator: torch.Generator, mean: float = 0.0, std: float = 1.0) -> Float[Tensor, "n"]:
    """`n` logit-normal times, sigmoid(N(mean, std)), in float32 on the generator's device."""
    return torch.sigmoid(mean + std * torch.randn(n, generator=generator, device=generator.device))


def velocity_to_score(
    velocity: Float[Tensor, "n channel"], x_t: Float[Tensor, "n channel"], t: Float[Tensor, "n"]
) -> Float[Tensor, "n channel"]:
    """The score of the marginal at time t < 1, (t v - x_t) / (1 - t), from the marginal velocity v."""
    t = t[:, None]
    return (t * velocity - x_t) / (1 - t)


def score_to_velocity(
    score: Float[Tensor, "n channel"], x_t: Float[Tensor, "n channel"], t: Float[Tensor, "n"]
) -> Float[Tensor, "n channel"]:
    """The marginal velocity at time t > 0, ((1 - t) score + x_t) / t: the inverse of `velocity_to_score`."""
    t = t[:, None]
    return ((1 - t) * score + x_t) / t


def likelihood_weight(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """t / (1 - t): turns a velocity difference into a score difference, and debiases the squared deviation."""
    return t / (1 - t)
