"""Geometry3K: 601 test problems with a diagram. The rlfr protocol asks for the value, the official one for a choice."""

from rlfr_mm.tasks.records import without_image_markers
from rlfr_mm.tasks.spec import Doc, TaskSpec


def official_prompt(doc: Doc) -> str:
    """The question with its four choices, of which arXiv 2105.04165 scores the chosen letter."""
    lines = "".join(f"({letter}) {text}\n" for letter, text in zip("ABCD", doc["choices"], strict=True))
    return f"{without_image_markers(doc['problem'])}\nChoices:\n{lines}Answer with the letter of the right choice."


_geometry3k = TaskSpec(
    name="rlfr_geometry3k",
    benchmark="Geometry3K",
    dataset="hiyouga/geometry3k",
    rows=601,
    scorer="geometry3k",
    problem_id=lambda doc: str(doc["id"]),
    question=lambda doc: without_image_markers(doc["problem"]),
    image="images",
)

TASKS = (
    _geometry3k,
    _geometry3k.official(
        official_prompt,
        scorer="choice",
        gold=lambda doc: doc["ground_truth"],
        choices=lambda doc: tuple(doc["choices"]),
    ),
)
