"""AIME 2024 and 2025: 30 problems each, whose answers are integers from 0 to 999."""

from rlfr_mm.tasks.records import integer_answer, text_digest
from rlfr_mm.tasks.spec import TaskSpec

_aime24 = TaskSpec(
    name="rlfr_aime24",
    benchmark="AIME24",
    dataset="HuggingFaceH4/aime_2024",
    revision="2fe88a2f1091d5048c0f36abc874fb997b3dd99a",
    splits=("train",),
    rows=30,
    problem_id=lambda doc: str(doc["id"]),
    question=lambda doc: doc["problem"],
    gold=integer_answer,
    paper_column="AIME24",
)
_aime25 = TaskSpec(
    name="rlfr_aime25",
    benchmark="AIME25",
    dataset="math-ai/aime25",
    revision="563bb8404243c5f09de6ec262f2db674fe5bce9b",
    rows=30,
    problem_id=lambda doc: text_digest(doc["problem"]),
    question=lambda doc: doc["problem"],
    gold=integer_answer,
    paper_column="AIME25",
)

TASKS = tuple(task for spec in (_aime24, _aime25) for task in (spec, spec.pass32(), spec.official()))
