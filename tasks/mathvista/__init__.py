"""MathVista testmini: 1,000 problems with images over five tasks and seven skills, free-form and multiple-choice."""

from rlfr_mm.tasks.spec import Doc, TaskSpec


def categories(doc: Doc) -> dict[str, list[str]]:
    """The fields by which the benchmark breaks down its scores."""
    metadata = doc["metadata"]
    return {
        "question_type": [doc["question_type"]],
        "answer_type": [doc["answer_type"]],
        "skill": list(metadata["skills"]),
        **{key: [metadata[key]] for key in ("task", "context", "grade", "category", "language", "source")},
    }


_testmini = TaskSpec(
    name="rlfr_mathvista_testmini",
    benchmark="MathVista",
    dataset="AI4Math/MathVista",
    revision="2b6ad69445fbb5695c9b165475e8decdbeb97747",
    splits=("testmini",),
    rows=1000,
    scorer="mathvista",
    problem_id=lambda doc: doc["pid"],
    # `query` is the question with its choices and a hint at the answer's form, as in VLMEvalKit, which the paper used.
    question=lambda doc: doc["query"],
    choices=lambda doc: tuple(doc["choices"]) if doc["choices"] else None,
    meta=lambda doc: {key: doc[key] for key in ("question_type", "answer_type", "precision", "unit")},
    image="decoded_image",
    categories=categories,
    breakdown=(
        "question_type", "answer_type", "skill", "task", "context", "grade", "category", "language", "source",
    ),
    paper_column="MathVista",
)  # fmt: skip

TASKS = (_testmini, _testmini.official())
