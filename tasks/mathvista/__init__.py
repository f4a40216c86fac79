"""MathVista testmini: 1,000 problems over images, five tasks, seven skills; free answers and options."""

from rlfr_mm.data.prompts import with_instruction
from rlfr_mm.tasks.spec import Doc, TaskSpec


def categories(doc: Doc) -> dict[str, list[str]]:
    """The fields of the benchmark's score table."""
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
    modality="image",
    scorer="mathvista",
    problem_id=lambda doc: doc["pid"],
    # `query` holds the question, its choices and a hint at the answer's form; VLMEvalKit, which the paper used, too
    prompt=lambda doc: with_instruction(doc["query"], "think_answer"),
    gold=lambda doc: doc["answer"],
    choices=lambda doc: tuple(doc["choices"]) if doc["choices"] else None,
    meta=lambda doc: {key: doc[key] for key in ("question_type", "answer_type", "precision", "unit")},
    image="decoded_image",
    categories=categories,
    breakdown=(
        "question_type", "answer_type", "skill", "task", "context", "grade", "category", "language", "source",
    ),
    paper_column="MathVista",
)  # fmt: skip

TASKS = (_testmini, _testmini.official(lambda doc: doc["query"]))
