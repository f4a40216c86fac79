"""Field updates: which rollouts the field learns from, and one optimiser step on their latents over all processes.

Every process keeps a copy of the field, and its gradients are reduced here, not by DDP, FSDP or DeepSpeed. Each process
accumulates the gradient of its weighted loss sum; gradients and weights are summed over processes and divided. The
result is the gradient of the global mean, however the rollouts are distributed. In the public code the update has no
graph: the field's gradients stay None and the field never moves.
"""

import math
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from accelerate import Accelerator
from jaxtyping import Bool
from torch import Tensor

from rlfr_mm.config import OfflineConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import flow_matching_chunks
from rlfr_mm.method.noise import folded, normals
from rlfr_mm.method.shapes import Seeds, TokenMask, Tokens

_SHARE = 3  # the loss folds 1 + context shift, at most 2, at this place


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


def sample_seeds(generator: torch.Generator, first: int, size: int) -> Seeds:
    """Seeds for the samples first, ..., first + size - 1 of a batch, from one draw that all processes share."""
    return torch.randint(2**62, (1,), generator=generator) + torch.arange(first, first + size)


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


def drawn_tokens(seeds: Seeds, tokens: int, share: float) -> TokenMask:
    """Each token of each rollout with probability `share`; a function of the rollout's seed and the token."""
    keys = folded(seeds.repeat_interleave(tokens), torch.arange(tokens, device=seeds.device).repeat(len(seeds)), _SHARE)
    return (torch.special.ndtr(normals(keys, 1)) < share).view(len(seeds), tokens)


class FieldUpdater:
    """AdamW for a field of which every process keeps a copy."""

    def __init__(self, field: FlowField, config: OnlineUpdateConfig | OfflineConfig, accelerator: Accelerator):
        self.field = field
        self.accelerator = accelerator
        self.max_grad_norm = config.max_grad_norm
        self.batch_multiplier = config.batch_multiplier if isinstance(config, OnlineUpdateConfig) else None
        self.learning_rate = config.learning_rate
        self.warmup_steps = config.warmup_steps if isinstance(config, OnlineUpdateConfig) else 0
        parameters = list(field.parameters())
        matrices, vectors = ([p for p in parameters if (p.dim() > 1) == wanted] for wanted in (True, False))
        decaying = {"params": matrices, "weight_decay": config.weight_decay}
        kept = {"params": vectors, "weight_decay": 0.0}  # norms and biases: decay would pull them to 0
        self.optimizer = torch.optim.AdamW([decaying, kept], lr=config.learning_rate, fused=True)

    def step(self, parts: Iterable[tuple[Latents, Tokens, Seeds]]) -> UpdateResult:
        """One optimiser step on the flow-matching loss over the parts of all processes, all of which must call it.

        A part holds the latents of some rollouts, the weights of their tokens, and a seed per rollout. Nothing moves if
        all weights are zero, or if the loss or the gradient is not finite (`UpdateResult.is_bad`).
        """
        self.optimizer.zero_grad()
        self.field.forget_rounded()
        device = self.field.input_proj.weight.device
        totals = torch.zeros(2, dtype=torch.float64, device=device)
        with tf32_matmuls():
            for latents, weights, seeds in parts:
                latents, weights = latents.to(device), weights.to(device)
                for chunk in flow_matching_chunks(self.field, latents, weights, seeds, self.batch_multiplier):
                    chunk.loss.backward()
                    totals += torch.stack([chunk.loss.detach(), chunk.weight]).double()
        loss, weight = self.accelerator.reduce(totals, "sum").tolist()
        if weight == 0:
            return UpdateResult(float("nan"), 0.0, float("nan"))
        parameters = [parameter for parameter in self.field.parameters() if parameter.requires_grad]
        for parameter in parameters:  # one at a time, so that there is never a second copy of all gradients
            gradient = torch.zeros_like(parameter) if parameter.grad is None else parameter.grad
            if self.accelerator.num_processes > 1:
                gradient = self.accelerator.reduce(gradient, "sum")
            parameter.grad = gradient.div_(weight)
        grad_norm = torch.nn.utils.clip_grad_norm_(parameters, self.max_grad_norm).item()
        result = UpdateResult(loss / weight, weight, grad_norm)
        if not result.is_bad:
            self._warm_up()
            self.optimizer.step()
        self.optimizer.zero_grad()  # frees the gradients until the next update
        return result

    def _warm_up(self) -> None:
        """Raise the learning rate linearly over the first `warmup_steps` steps, also of a run that was resumed."""
        if self.warmup_steps:
            states = self.optimizer.state.values()
            taken = max((int(state["step"]) for state in states), default=0)
            for group in self.optimizer.param_groups:
                group["lr"] = self.learning_rate * min(1.0, (taken + 1) / self.warmup_steps)


@contextmanager
def tf32_matmuls() -> Iterator[None]:
    """Inside the body, GPUs multiply float32 matrices with TF32's inputs of 10 bits and float32's sums."""
    matmul = torch.backends.cuda.matmul
    before, matmul.fp32_precision = matmul.fp32_precision, "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before
