"""Verdicts on answers: our own strict rule, and each benchmark's official scorer. Loads neither torch nor sympy.

>>> grade(Item("The answer is 1/2.", gold="0.5")).status
'correct'

- `strict/`: our own rule. It reads an answer only where the response states one, and never guesses.
- `official/`: the benchmarks' own scorers, one per file.
- `scorers.py`: the registry of scorer names and versions.
- `grade.py` turns items into verdicts; `pool.py` and `worker.py` run the comparisons that need a LaTeX parser.
"""

from rlfr_mm.grading.grade import grade, grade_all, grade_all_extracted, grade_extracted, self_test
from rlfr_mm.grading.item import Item, Problem, RuleName, Scorer
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Status, Verdict

__all__ = [
    "SCORERS", "Item", "Problem", "RuleName", "Scorer", "Status", "Verdict",
    "grade", "grade_all", "grade_all_extracted", "grade_extracted", "self_test",
]  # fmt: skip
