import torch

from rlfr_mm.method.path import likelihood_weight, linear_path, sample_times


def test_linear_path_by_hand():
    x_0 = torch.tensor([[0.0, 2.0, -1.0], [1.0, 1.0, 1.0]])
    x_1 = torch.tensor([[4.0, 2.0, 1.0], [0.0, 3.0, 1.0]])
    point = linear_path(x_0, x_1, torch.tensor([0.25, 1.0]))
    assert point.x_t.tolist() == [[1.0, 2.0, -0.5], [0.0, 3.0, 1.0]]
    assert point.dx_t.tolist() == [[4.0, 0.0, 2.0], [-1.0, 2.0, 0.0]]


def test_dx_t_is_the_derivative_of_x_t():
    x_0, x_1 = torch.randn(2, 5, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    t = torch.linspace(0.1, 0.8, 5, dtype=torch.float64)
    later, now = linear_path(x_0, x_1, t + 0.1), linear_path(x_0, x_1, t)
    torch.testing.assert_close((later.x_t - now.x_t) / 0.1, now.dx_t)


def test_sampled_times_are_logit_normal():
    times = sample_times(torch.arange(20_000), mean=0.5, std=2.0)
    logits = torch.logit(times.double())
    assert times.min() > 0 and times.max() < 1
    assert abs(logits.mean() - 0.5) < 0.05 and abs(logits.std() - 2.0) < 0.05
    assert abs((logits < 0.5).double().mean() - 0.5) < 0.02


def test_likelihood_weight_of_the_papers_time_is_four():
    torch.testing.assert_close(likelihood_weight(torch.tensor([0.8, 0.5])), torch.tensor([4.0, 1.0]))
