"""Held-out accuracies in words, the same on the page of a run and in its model card."""

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
    interval = wilson_interval(found["accuracy"], found.get("standard_error", 0.0), count)
    low, high = 100 * interval.low, 100 * interval.high
    return f"{100 * found['accuracy']:.1f} % (95 % interval {low:.1f} to {high:.1f}, n = {count:,})"
