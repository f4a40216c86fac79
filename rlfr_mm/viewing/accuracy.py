"""Held-out accuracies in words, the same on the page of a run and in its model card."""

import math
from collections.abc import Mapping
from typing import Any

from rlfr_mm.statistics import wilson_interval


def accuracy_text(found: Mapping[str, Any]) -> str:
    """An accuracy in percent with its 95 % interval and the number of its problems; it is not measured if that is 0.

    >>> accuracy_text({"accuracy": 0.62, "standard_error": 0.0215, "n": 512})
    '62.0 % (95 % interval 57.7 to 66.1, n = 512)'
    """
    if not found["n"]:
        return "not measured"
    count = found["n"]
    # As `training.held_out` computes it, over problems; of one answer per problem, it says no more than n does.
    error = found.get("standard_error", 0.0) * math.sqrt(count / max(count - 1, 1))
    interval = wilson_interval(found["accuracy"], error, count)
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * found['accuracy']:.1f} % (95 % interval {low:.1f} to {high:.1f}, n = {count:,})"
