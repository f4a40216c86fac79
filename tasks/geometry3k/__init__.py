"""Geometry3K: 601 test problems with a diagram. The rlfr protocol asks for the value, the official one for a choice."""

from rlfr_mm.data.prompts import with_options
from rlfr_mm.tasks.records import without_image_markers
from rlfr_mm.tasks.spec import Doc, TaskSpec


def official_prompt(doc: Doc) -> str:
    """The question with its four choices, of which arXiv 2105.04165 scores the chosen letter."""
    question = with_options(without_image_markers(doc["problem"]), doc["choices"])
    return f"{question}\nAnswer with the letter of the right choice."


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
