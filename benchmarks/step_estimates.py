"""What step_gain.py estimates from its parts: means and their errors, and the least noisy weight of blame."""

import math
from collections.abc import Callable

import torch
from torch import Tensor


def best_weight(moments: Tensor) -> float:
    """The w with which p + w q has most signal for its size: of p u + w q u over the root of the mean of (p + w q)^2.

    Over independent rollouts of a problem that is solved with probability a, the expected gradients of praise and of
    blame point the same way, and that of blame is a / (1 - a) as long: the gradients of the log-probabilities of right
    and of wrong rollouts average to zero. So a weight of blame changes how noisy a step is and how much each problem
    counts, but not where a problem pulls.

    >>> best_weight(torch.tensor([1.0, 1.0, 2.0, 4.0, 0.0]))  # with as much signal, blame is noisier
    0.5
    """
    praised, blamed, praise, blame, both = moments.double().tolist()
    return (blamed * praise - praised * both) / (praised * blame - blamed * both)


def off_diagonal(values: Tensor, left_out: int | None = None) -> Tensor:
    """The mean of (part, part) values off the diagonal, without the row and the column of one part."""
    kept = ~torch.eye(len(values), dtype=torch.bool)
    if left_out is not None:
        kept[left_out] = kept[:, left_out] = False
    return values[kept].mean()


def jackknife(statistic: Callable[[int | None], float], parts: int) -> dict[str, float]:
    """The statistic of all parts, and its standard error from leaving out one part at a time."""
    without = torch.tensor([statistic(part) for part in range(parts)])
    error = without.std(correction=0) * math.sqrt(parts - 1)
    return {"value": round(float(statistic(None)), 4), "error": round(error.item(), 4)}
