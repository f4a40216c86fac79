"""Moving averages for learning curves."""

from collections.abc import Sequence

import numpy as np


def window_for(steps: int) -> int:
    """The number of steps over which a learning curve of this many steps is averaged.

    >>> window_for(60)
    11
    """
    return max(1, min(11, steps // 5))


def smoothed(values: Sequence[float | None], window: int) -> np.ndarray:
    """Centred moving average of the values that are not missing; NaN where a whole window is missing.

    >>> smoothed([0.0, None, 1.0], window=3).tolist()
    [0.0, 0.5, 1.0]
    """
    if len(values) == 0:  # no step has been logged yet
        return np.zeros(0)
    array = np.array([np.nan if value is None else value for value in values], dtype=float)
    present = np.isfinite(array)
    ones = np.ones(window)
    total = np.convolve(np.where(present, array, 0), ones, "same")
    count = np.convolve(present.astype(float), ones, "same")
    return np.divide(total, count, out=np.full(len(array), np.nan), where=count > 0)
