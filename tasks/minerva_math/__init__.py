"""Minerva Math: 272 undergraduate problems of MIT OpenCourseWare, whose answers are numbers and formulas.

The `official` protocol here is the bare problem, without the worked examples of the authors' prompt.
"""

from rlfr_mm.tasks.records import text_digest
from rlfr_mm.tasks.spec import TaskSpec

_minerva_math = TaskSpec(
    name="rlfr_minerva_math",
    benchmark="Minerva Math",
    dataset="math-ai/minervamath",
    revision="ee46ddc498933b1977577953250ca5c66be64f96",
    rows=272,
    scorer="minerva_math",
    problem_id=lambda doc: text_digest(doc["question"]),
)

TASKS = (_minerva_math, _minerva_math.pass32(), _minerva_math.official())
