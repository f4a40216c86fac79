"""The linear probability path from noise x_0 to latents x_1: x_t = t x_1 + (1 - t) x_0, so t = 1 is data.

On this path the marginal velocity and the score (the gradient of the log-density) determine each other, so that
- a difference of velocities is a difference of scores times (1 - t) / t;
- the squared velocity error, weighted by t / (1 - t) and integrated over t, is a log-likelihood ratio.
The theory is in arXiv 2510.10201; tests/method/test_theory.py checks both in closed form.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.shapes import Keys, PerPoint, PerPointOrOne, Points


@dataclass(frozen=True)
class PathSample:
    """Points on the path and the target velocities of the field there."""

    x_t: Points
    dx_t: Points


def linear_path(x_0: Points, x_1: Points, t: PerPointOrOne) -> PathSample:
    """x_t = t x_1 + (1 - t) x_0 and its time derivative dx_t = x_1 - x_0, for times t in [0, 1]."""
    return PathSample(x_t=torch.lerp(x_0, x_1, t[:, None]), dx_t=x_1 - x_0)


def sample_times(keys: Keys, mean: float = 0.0, std: float = 1.0) -> PerPoint:
    """A logit-normal time per key, sigmoid(N(mean, std^2)), in float32; the key's noise is independent of it."""
    return torch.sigmoid(mean + std * normals(folded(keys, 0), 1)[:, 0])


def velocity_to_score(velocity: Points, x_t: Points, t: PerPoint) -> Points:
    """The score of the marginal at time t < 1, given its velocity v: (t v - x_t) / (1 - t)."""
    t = t[:, None]
    return (t * velocity - x_t) / (1 - t)


def likelihood_weight(t: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """t / (1 - t): turns a velocity difference into a score difference, and debiases the squared velocity error.

    >>> likelihood_weight(torch.tensor(0.8))
    tensor(4.0000)
    """
    return t / (1 - t)
