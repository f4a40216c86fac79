"""The theory behind the flow reward, in float64, on data whose densities are known in closed form.

Data are mixtures of isotropic Gaussians: components with weights w, means mu (component, channel) and variances s
(component,). At time t the marginal is a mixture with means t mu and variances t^2 s + (1 - t)^2.
"""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from torch import Tensor

from rlfr_mm.config import FlowConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.path import likelihood_weight, linear_path, velocity_to_score
from tests.whole_loss import flow_matching_loss


@dataclass
class Mixture:
    weight: Tensor
    mean: Tensor
    variance: Tensor

    def log_density(self, x: Tensor, t: float = 1.0) -> Tensor:
        """log p_t(x) of x (n, channel)."""
        variance = t**2 * self.variance + (1 - t) ** 2
        square = (x[:, None] - t * self.mean).square().sum(-1)
        log_normal = -0.5 * (square / variance + x.shape[-1] * torch.log(2 * math.pi * variance))
        return torch.logsumexp(self.weight.log() + log_normal, dim=-1)

    def score(self, x: Tensor, t: float) -> Tensor:
        x = x.detach().requires_grad_()
        return torch.autograd.grad(self.log_density(x, t).sum(), x)[0]

    def velocity(self, x: Tensor, t: float) -> Tensor:
        """E[x_1 - x_0 | x_t = x], from the conditional means of each component."""
        variance = t**2 * self.variance + (1 - t) ** 2
        square = (x[:, None] - t * self.mean).square().sum(-1)
        log_joint = self.weight.log() - 0.5 * (square / variance + x.shape[-1] * torch.log(variance))
        gain = ((t * self.variance - (1 - t)) / variance)[:, None]
        component = self.mean + gain * (x[:, None] - t * self.mean)
        return (log_joint.softmax(-1)[..., None] * component).sum(1)


def double(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


def times(n: int, t: float) -> Tensor:
    return torch.full((n,), t, dtype=torch.float64)


STANDARD = Mixture(double([1.0]), double([[0.0, 0.0]]), double([1.0]))
GAUSSIAN = Mixture(double([1.0]), double([[1.0, -2.0]]), double([0.49]))
MIXTURE = Mixture(double([0.3, 0.7]), double([[1.5, 0.0], [-1.0, 0.5]]), double([0.25, 0.64]))
POINTS = torch.randn(64, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 2


@pytest.mark.parametrize("data", [STANDARD, GAUSSIAN, MIXTURE], ids=["standard", "gaussian", "mixture"])
@pytest.mark.parametrize("t", [0.05, 0.5, 0.8, 0.95])
def test_velocity_gives_the_score_exactly(data, t):
    score = velocity_to_score(data.velocity(POINTS, t), POINTS, times(64, t))
    torch.testing.assert_close(score, data.score(POINTS, t), rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("t", [0.2, 0.8])
def test_score_difference_is_the_velocity_difference_times_the_likelihood_weight(t):
    v, u = MIXTURE.velocity(POINTS, t), GAUSSIAN.velocity(POINTS, t)
    scores = [velocity_to_score(velocity, POINTS, times(64, t)) for velocity in (v, u)]
    expected = likelihood_weight(double(t)) * (v - u).norm(dim=-1)
    torch.testing.assert_close((scores[0] - scores[1]).norm(dim=-1), expected, rtol=1e-10, atol=1e-10)


def test_closed_form_velocity_is_the_conditional_mean_of_dx_t():
    """By quadrature over the data, one channel: p(x_1 | x_t) is proportional to p(x_1) N(x_t; t x_1, (1 - t)^2)."""
    data = Mixture(MIXTURE.weight, MIXTURE.mean[:, :1], MIXTURE.variance)
    t = 0.6
    x_1 = torch.linspace(-8, 8, 4001, dtype=torch.float64)[:, None]
    for x_t in (-1.0, 0.2, 1.7):
        x_0 = (x_t - t * x_1) / (1 - t)
        point = linear_path(x_0, x_1, times(len(x_1), t))
        torch.testing.assert_close(point.x_t, torch.full_like(x_1, x_t))
        posterior = (data.log_density(x_1) - 0.5 * x_0[:, 0].square()).softmax(0)
        expected = (posterior[:, None] * point.dx_t).sum(0)
        torch.testing.assert_close(data.velocity(double([[x_t]]), t)[0], expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("data", [GAUSSIAN, MIXTURE], ids=["gaussian", "mixture"])
@pytest.mark.parametrize("a", [[0.5, -0.3], [-1.2, 1.0], [2.0, -2.0]])
def test_weighted_deviation_integrates_to_the_log_likelihood(data, a):
    """log p(a) - log N(a; 0, I) = integral of t/(1-t) E[ |v_N - u|^2 - |v - u|^2 ] dt, by Gauss quadrature."""
    nodes, node_weights = np.polynomial.hermite_e.hermegauss(48)
    noise = torch.cartesian_prod(double(nodes), double(nodes))
    noise_weights = torch.cartesian_prod(double(node_weights), double(node_weights)).prod(-1) / (2 * math.pi)
    steps, step_weights = np.polynomial.legendre.leggauss(96)
    a = double([a])
    total = double(0.0)
    for t, dt in zip((steps + 1) / 2, step_weights / 2, strict=True):
        point = linear_path(noise, a.expand_as(noise), times(len(noise), t))
        deviation = (data.velocity(point.x_t, t) - point.dx_t).square().sum(-1)
        reference = (STANDARD.velocity(point.x_t, t) - point.dx_t).square().sum(-1)
        total += dt * likelihood_weight(double(t)) * (noise_weights * (reference - deviation)).sum()
    expected = (data.log_density(a) - STANDARD.log_density(a))[0]
    torch.testing.assert_close(total, expected, rtol=1e-8, atol=1e-8)


def test_training_finds_the_optimal_velocity():
    """The mean of the latents depends on the context, their spread on the layer: training reaches the optimum."""
    config = FlowConfig(
        flow_layers=[0.25, 0.75], num_blocks=2, width=64, hidden_size=2, num_policy_layers=4, rms_norm_eps=1e-6
    )
    field = FlowField(config, seed=0)
    optimizer = torch.optim.Adam(field.parameters(), lr=5e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 150)
    generator = torch.Generator().manual_seed(0)
    spread = torch.tensor([0.3, 1.0])[:, None, None]
    mask = torch.ones(1, 256, dtype=torch.bool)
    for step in range(150):
        # position k holds the context of token k - 1 (shift +1): even positions are contexts, odd ones targets
        latents = torch.randn(1, 2, 257, 2, generator=generator)
        latents[:, :, 1:-1:2] = latents[:, :, 2::2] + spread * latents[:, :, 1:-1:2]
        weights = torch.zeros(1, 256)
        weights[:, 0::2] = 1
        loss = flow_matching_loss(field, Latents.pack(latents, mask), weights, torch.tensor([step]))
        optimizer.zero_grad()
        (loss.loss / loss.weight).backward()
        optimizer.step()
        schedule.step()
    for depth, std in ((0.25, 0.3), (0.75, 1.0)):
        context, x_1, x_0 = torch.randn(3, 500, 2, generator=generator)
        point = linear_path(x_0, context + std * x_1, torch.full((500,), 0.6))
        got = field(point.x_t, torch.full((500,), 0.6), context, torch.full((500,), depth))
        gain = (0.6 * std**2 - 0.4) / (0.6**2 * std**2 + 0.4**2)
        wanted = context + gain * (point.x_t - 0.6 * context)
        assert (got - wanted).square().mean() < 0.05 * wanted.square().mean()
