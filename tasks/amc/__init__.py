"""AMC 12: the 40 problems of 2023 that most papers use, and the 83 of 2022 and 2023 that the RLFR paper uses."""

from rlfr_mm.tasks.records import integer_answer, text_digest
from rlfr_mm.tasks.spec import TaskSpec

_amc23 = TaskSpec(
    name="rlfr_amc23",
    benchmark="AMC23",
    dataset="math-ai/amc23",
    revision="80815d37005feb82cd7f8fbc6901d5d3eff43057",
    rows=40,
    problem_id=lambda doc: text_digest(doc["question"]),
    gold=integer_answer,
)
_amc83 = TaskSpec(
    name="rlfr_amc83",
    benchmark="AMC83",
    dataset="AI-MO/aimo-validation-amc",
    revision="69d78a4a2c840e82d69af6bc742bda09005f6316",
    splits=("train",),
    rows=83,
    problem_id=lambda doc: text_digest(doc["problem"]),
    question=lambda doc: doc["problem"],
    gold=integer_answer,
    paper_column="AMC23",  # the paper calls it AMC23, but its scores are multiples of 1/83
)

TASKS = tuple(task for spec in (_amc23, _amc83) for task in (spec, spec.pass32(), spec.official()))
