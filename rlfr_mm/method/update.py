"""Field updates: which rollouts the field learns from, and one optimiser step on their latents over all processes.

Every process keeps a copy of the field, and its gradients are reduced here, not by DDP, FSDP or DeepSpeed. Each process
accumulates the gradient of its weighted loss sum; gradients and weights are summed over processes and divided. The
result is the gradient of the global mean, however the rollouts are distributed. In the public code the update has no
graph: the field's gradients stay None and the field never moves.
"""

import math
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Bool
from torch import Tensor

from rlfr_mm.config import OfflineConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import flow_matching_chunks
from rlfr_mm.method.shapes import Latents, TokenMask, Tokens


@dataclass(frozen=True)
class UpdateResult:
    """Mean loss and gradient norm over all processes; NaN if no token had any weight, so that no step was taken."""

    loss: float
    weight: float  # sum of the weights of the (token, layer, context, draw) terms
    grad_norm: float

    @property
    def is_bad(self) -> bool:
        """Whether the loss or the gradient was not finite, so that no step was taken."""
        return self.weight != 0 and not (math.isfinite(self.loss) and math.isfinite(self.grad_norm))


def sample_seeds(generator: torch.Generator, first: int, size: int) -> list[int]:
    """Seeds for the samples first, ..., first + size - 1 of a batch, from one draw that all processes share."""
    base = int(torch.randint(2**62, (1,), generator=generator))
    return [base + first + i for i in range(size)]


def acceptance_weights(
    mask: TokenMask,
    correct: Bool[Tensor, " batch"],
    entropies: Tokens,
    entropy_threshold: float,
    config: OnlineUpdateConfig,
) -> Tokens:
    """Rejection sampling (arXiv 2510.10201, section 4): the weight of each token in the field's loss.

    1 for accepted tokens, `config.rejected_weight` for rejected ones, 0 at padding. If `config.accept` has "correct",
    tokens must be in a `correct` rollout; if it has "entropy", their entropy must be above the threshold.
    """
    accepted = mask
    if "correct" in config.accept:
        accepted = accepted & correct[:, None]
    if "entropy" in config.accept:
        accepted = accepted & (entropies > entropy_threshold)
    weights = torch.where(accepted, 1.0, config.rejected_weight)
    return weights * mask


class FieldUpdater:
    """AdamW for a field of which every process keeps a copy."""

    def __init__(self, field: FlowField, config: OnlineUpdateConfig | OfflineConfig, accelerator: Accelerator):
        self.field = field
        self.accelerator = accelerator
        self.max_grad_norm = config.max_grad_norm
        self.optimizer = torch.optim.AdamW(
            field.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay
        )

    def step(self, latents: Latents, mask: TokenMask, weights: Tokens, seeds: list[int]) -> UpdateResult:
        """One optimiser step on the flow-matching loss over the latents of all processes, all of which must call it.

        Nothing moves if all weights are zero, or if the loss or the gradient is not finite (`UpdateResult.is_bad`).
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
        result = UpdateResult(loss / weight, weight, grad_norm)
        if not result.is_bad:
            self.optimizer.step()
        return result
