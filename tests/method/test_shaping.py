import pytest
import torch

from rlfr_mm.method.shaping import entropy_advantage, entropy_average, scaled_advantage

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


def test_scaling_moves_weight_between_tokens_and_keeps_sign_and_mean():
    generator = torch.Generator().manual_seed(0)
    flow = torch.randn(3, 5, generator=generator)
    outcome = torch.tensor([[1.5] * 5, [-0.5] * 3 + [0.0] * 2, [0.0] * 5])
    scaled = scaled_advantage(outcome, flow)
    assert torch.equal(scaled.sign(), outcome.sign())
    torch.testing.assert_close(scaled.sum(1), outcome.sum(1))
    assert scaled[0].argmax() == flow[0].argmax()  # praise goes to the best token
    assert scaled[1, :3].argmin() == flow[1, :3].argmin()  # blame to the worst
    torch.testing.assert_close(scaled_advantage(outcome, torch.zeros(3, 5)), outcome)


def test_the_average_by_entropy_moves_nothing_between_choices_and_the_rest():
    scaled = torch.tensor([[0.5, 1.0, 1.5], [-1.5, -0.5, 0.0], [0.0, 0.0, 0.0], [2.0, 1.0, 0.0]])
    entropies = torch.tensor([[0.1, 0.0, 0.3], [0.4, 0.1, 9.0], [1.0, 1.0, 1.0], [0.0, 0.0, 9.0]])
    found = entropy_average(scaled, entropies)
    means = torch.tensor([1.0, -1.0])
    torch.testing.assert_close((found * entropies)[:2, :].sum(1) / torch.tensor([0.4, 0.5]), means)
    torch.testing.assert_close(found[:2, 0] / found[:2, 1], scaled[:2, 0] / scaled[:2, 1])
    assert torch.equal(found[2:], scaled[2:])  # no advantage, or no entropy where there is one
    lone = entropy_average(torch.tensor([[2e-5, 2.0]]), torch.tensor([[1.0, 0.0]]))
    assert lone.tolist() == [[pytest.approx(2e-4), 20.0]]  # and not 1e5
