"""MATH500: 500 problems from the MATH test set."""

from rlfr_mm.tasks.spec import TaskSpec

_math500 = TaskSpec(
    name="rlfr_math500",
    benchmark="MATH500",
    dataset="HuggingFaceH4/MATH-500",
    revision="6e4ed1a2a79af7d8630a6b768ec859cb5af4d3be",
    rows=500,
    data_hash="376c9464aa811c21",
    scorer="math500",
    problem_id=lambda doc: doc["unique_id"],
    question=lambda doc: doc["problem"],
    categories=lambda doc: {"subject": [doc["subject"]], "level": [str(doc["level"])]},
    breakdown=("subject", "level"),
    paper_column="MATH500",
)

TASKS = (_math500, _math500.pass32(), _math500.official())
