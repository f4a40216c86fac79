"""We-Math: evaluation/four_dimensional_metrics.py of We-Math/We-Math."""

import re

from rlfr_mm.grading.item import Found, Item
from rlfr_mm.grading.official.shared import untagged


def find(item: Item) -> Found | None:
    """The first letter after the last "Answer"; None if it is not one of A to H."""
    tail = re.sub(r"[<>:.]", "", untagged(item).split("Answer")[-1].strip()).strip()
    return Found(tail[0], "behind Answer") if tail and tail[0] in "ABCDEFGH" else None
