"""Minerva Math: 272 undergraduate problems of MIT OpenCourseWare; answers are numbers and formulas.

Its authors prompt with worked examples; the `official` protocol here is the bare problem.
"""

from rlfr_mm.data.prompts import with_instruction
from rlfr_mm.tasks.records import as_published, text_digest
from rlfr_mm.tasks.spec import TaskSpec

_minerva_math = TaskSpec(
    name="rlfr_minerva_math",
    benchmark="Minerva Math",
    dataset="math-ai/minervamath",
    revision="ee46ddc498933b1977577953250ca5c66be64f96",
    splits=("test",),
    rows=272,
    modality="text",
    scorer="minerva_math",
    problem_id=lambda doc: text_digest(doc["question"]),
    prompt=lambda doc: with_instruction(doc["question"], "boxed"),
    gold=lambda doc: doc["answer"],
)

TASKS = (_minerva_math, _minerva_math.pass32(), _minerva_math.official(as_published("question")))
