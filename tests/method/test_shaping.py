import pytest
import torch

from rlfr_mm.method.shaping import entropy_advantage

ADVANTAGES = torch.tensor([[1.0, 1.0, 1.0], [-1.0, -1.0, 0.0]])
ENTROPY = torch.tensor([[0.0, 0.5, 4.0], [0.5, 4.0, 4.0]])


def test_entropy_advantage_by_hand():
    """The smaller of alpha H and |A| / kappa is added, which is nothing if the advantage is 0."""
    shaped = entropy_advantage(ADVANTAGES, ENTROPY, alpha=0.4, kappa=2.0)
    torch.testing.assert_close(shaped, torch.tensor([[1.0, 1.2, 1.5], [-0.8, -0.5, 0.0]]))


def test_entropy_advantage_passes_no_gradient_to_the_entropy():
    entropy = ENTROPY.clone().requires_grad_()
    assert not entropy_advantage(ADVANTAGES, entropy, alpha=0.4, kappa=2.0).requires_grad


def test_shapes_are_checked_under_pytest():
    with pytest.raises(Exception, match="entropy"):
        entropy_advantage(ADVANTAGES, ENTROPY[:, :1], alpha=0.4, kappa=2.0)
