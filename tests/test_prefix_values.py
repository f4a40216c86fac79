"""Estimates of the value of a prefix (benchmarks/prefix_values.py), by hand and in closed form."""

import math
from types import ModuleType

import pytest
import torch

from tests.conftest import ROOT


@pytest.fixture
def estimates(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import prefix_values

    return prefix_values


def test_values_of_prefixes_by_hand(estimates: ModuleType):
    """A group of four: all begin with 5, the first two go on alike, one of them ends there; one is not graded."""
    ids = torch.tensor([[5, 6, 7], [5, 6, 0], [5, 7, 7], [5, 6, 7]])
    mask = ids > 0
    values = estimates.shared_prefix_values(ids, mask, torch.tensor([1.0, 0.0, 0.0, math.nan]), 4)
    share = 1 / 3
    first, second, third = (1 + share) / 4, (1 + share) / 3, (1 + share) / 2
    expected = [[first, second, third], [first, second, 0], [first, share / 2, share / 2], [first, second, third]]
    torch.testing.assert_close(values, torch.tensor(expected))


def test_a_group_knows_nothing_of_another(estimates: ModuleType):
    ids = torch.tensor([[5, 6], [5, 7], [5, 6], [5, 7]])
    values = estimates.shared_prefix_values(ids, ids > 0, torch.tensor([1.0, 0.0, 0.0, 0.0]), 2)
    torch.testing.assert_close(values[:2], torch.tensor([[0.5, 0.75], [0.5, 0.25]]))
    assert not values[2:].any()
    assert estimates.group_share(torch.tensor([1.0, 0.0, math.nan, math.nan]), 2).tolist() == [0.5, 0.5, 0.5, 0.5]


def test_the_value_seen_by_two_fields_is_the_chance_of_success_by_bayes(estimates: ModuleType):
    """Latents of two normal classes of unit variance in 6 channels, means m and -m: P(right | a) = sigmoid(2 a m)."""
    generator = torch.Generator().manual_seed(0)
    mean, latents = 0.4, torch.randn(4, 3, 6, generator=generator)
    ratio = 2 * mean * latents.sum(-1)  # log p(a | right) - log p(a | wrong)
    deviation = torch.rand(4, 3, generator=generator)
    scored, outcomes = torch.ones(4, 3, dtype=torch.bool), torch.tensor([1.0, 1.0, 0.0, 0.0])  # even odds
    found = estimates.changes_seen_by_fields(deviation, deviation + ratio / 6, 6, outcomes, scored, 4)
    chance = torch.sigmoid(ratio)
    torch.testing.assert_close(found[:, 0], chance[:, 0] - 0.5)
    torch.testing.assert_close(found[:, 1], chance[:, 1] - chance[:, 0])
    torch.testing.assert_close(found.sum(1), outcomes - 0.5)
