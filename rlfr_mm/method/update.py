"""Steps of the field: which rollouts it learns from, and one optimiser step on their latents, over all processes.

The field is replicated and small, so its gradients are reduced here and not by DDP, FSDP or DeepSpeed: each process
adds up the gradients of its weighted loss SUM, sums and weights are reduced, and the quotient is the gradient of the
mean over all processes, whoever holds which rollout. The public code's update runs on latents without a graph: its
field gradients stay None and the field never moves.
"""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Bool, Float
from torch import Tensor

from rlfr_mm.config import OfflineConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import flow_matching_chunks


@dataclass(frozen=True)
class UpdateResult:
    """Mean loss and gradient norm over all processes; NaN where no token had a weight and no step was taken."""

    loss: float
    weight: float  # total weight of the (token, layer, context, draw) terms
    grad_norm: float


def sample_seeds(generator: torch.Generator, first: int, size: int) -> list[int]:
    """Seeds of the samples first ... first + size - 1 of a batch, from one draw, which is the same on all processes."""
    base = int(torch.randint(2**62, (1,), generator=generator))
    return [base + first + i for i in range(size)]


def acceptance_weights(
    mask: Bool[Tensor, "batch token"],
    correct: Bool[Tensor, " batch"],
    entropies: Float[Tensor, "batch token"],
    entropy_threshold: float,
    config: OnlineUpdateConfig,
) -> Float[Tensor, "batch token"]:
    """Weights of the response tokens: 1 where accepted, `rejected_weight` where not, 0 at padding.

    `correct` accepts rollouts, `entropy` the tokens of higher entropy than the threshold; both: the latter in the
    former (rejection sampling, arXiv 2510.10201, section 4).
    """
    accepted = mask
    if "correct" in config.accept:
        accepted = accepted & correct[:, None]
    if "entropy" in config.accept:
        accepted = accepted & (entropies > entropy_threshold)
    weights = torch.where(accepted, 1.0, config.rejected_weight)
    return weights * mask


class FieldUpdater:
    """AdamW for a field that every process holds a copy of."""

    def __init__(self, field: FlowField, config: OnlineUpdateConfig | OfflineConfig, accelerator: Accelerator):
        self.field = field
        self.accelerator = accelerator
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            field.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(
        self,
        latents: Float[Tensor, "batch layer position hidden"],
        mask: Bool[Tensor, "batch token"],
        weights: Float[Tensor, "batch token"],
        seeds: list[int],
    ) -> UpdateResult:
        """One step on the flow-matching loss of this process's latents together with those of all others.

        Every process must call it. Where the weights are zero on all of them, nothing moves.
        """
        self.optimizer.zero_grad()
        totals = torch.zeros(2, dtype=torch.float64, device=latents.device)
        for part in flow_matching_chunks(self.field, latents.detach(), mask, weights, seeds):
            part.loss.backward()
            totals += torch.stack([part.loss.detach(), part.weight]).double()
        loss, weight = self.accelerator.reduce(totals, "sum").tolist()
        if weight == 0:
            return UpdateResult(float("nan"), 0.0, float("nan"))
        parameters = [parameter for parameter in self.field.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
        flat = torch.nn.utils.parameters_to_vector(gradients)
        torch.nn.utils.vector_to_parameters(self.accelerator.reduce(flat, "sum") / weight, gradients)
        for parameter, gradient in zip(parameters, gradients, strict=True):
            parameter.grad = gradient
        grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm).item()
        self.optimizer.step()
        return UpdateResult(loss / weight, weight, grad_norm)
