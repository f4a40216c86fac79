"""The flow-matching loss as one graph, which the tests compare with its chunks."""

from torch import Tensor

from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import LossSum, flow_matching_chunks


def flow_matching_loss(field: FlowField, latents: Tensor, mask: Tensor, weights: Tensor, seeds: list[int]) -> LossSum:
    """The sum of all chunks."""
    total = LossSum(latents.new_zeros((), dtype=field.dtype), latents.new_zeros((), dtype=field.dtype))
    for chunk in flow_matching_chunks(field, latents, mask, weights, seeds):
        total = LossSum(total.loss + chunk.loss, total.weight + chunk.weight)
    return total
