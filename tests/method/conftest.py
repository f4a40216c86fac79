import pytest
import torch

from rlfr_mm.config import FlowConfig
from rlfr_mm.method.field import FlowField


@pytest.fixture
def make_field():
    """A small field in which all weights are random; a new field predicts velocity 0 everywhere."""

    def make(seed: int = 0, scale: float = 0.4, **settings) -> FlowField:
        shape = {"num_blocks": 2, "width": 6, "hidden_size": 8, "num_policy_layers": 8, "rms_norm_eps": 1e-5}
        field = FlowField(FlowConfig(**{**shape, **settings}))
        generator = torch.Generator().manual_seed(seed)
        for parameter in field.parameters():
            parameter.data.normal_(std=scale, generator=generator)
        return field

    return make
