"""The flow-matching loss as one graph, which the tests compare with its chunks."""

import torch
from torch import Tensor

from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import LossSum, flow_matching_chunks


def flow_matching_loss(field: FlowField, latents: Latents, weights: Tensor, seeds: Tensor) -> LossSum:
    """The sum of all chunks."""
    zero = torch.zeros((), dtype=field.dtype)
    total = LossSum(zero, zero)
    for chunk in flow_matching_chunks(field, latents, weights, seeds):
        total = LossSum(total.loss + chunk.loss, total.weight + chunk.weight)
    return total
