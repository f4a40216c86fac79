"""LogicVista in VLMEvalKit: a judge model extracts the letters, which are then compared as a set."""

from rlfr_mm.grading.item import Found, Item
from rlfr_mm.grading.official.judge import find_or_guess


def find(item: Item) -> Found | None:
    """The letters. Raises ValueError for v1_382, the item without an answer, which VLMEvalKit leaves out."""
    if not item.golds[0].strip():
        raise ValueError("the record has no answer to grade by")
    return find_or_guess(item, several=True)
