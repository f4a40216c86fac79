"""Verdicts on answers: extraction, equivalence, the benchmarks' own scorers. Loads no torch.

`grade` and `grade_all` are what rewards, tasks and records use.
"""

from rlfr_mm.grading.grade import grade, grade_all, grade_all_extracted, grade_extracted, self_test
from rlfr_mm.grading.item import Item, RuleName, Scorer
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Status, Verdict

__all__ = [
    "SCORERS",
    "Item",
    "RuleName",
    "Scorer",
    "Status",
    "Verdict",
    "grade",
    "grade_all",
    "grade_all_extracted",
    "grade_extracted",
    "self_test",
]
