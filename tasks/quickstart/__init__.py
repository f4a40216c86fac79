"""The drawn world of the training quickstart as a task: 200 test problems, drawn on the spot instead of downloaded.

The dataset that `datasets` loads is `world.json` in this folder. Its one record says what to draw.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from rlfr_mm.quickstart import world
from rlfr_mm.tasks.spec import Generation, TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset


def drawn(dataset: "Dataset", root: Path) -> "Dataset":
    """The problems that the record of world.json asks for."""
    wanted = dataset[0]
    problems = world.problems(wanted["problems"], "test", list(wanted["levels"]), wanted["seed"])
    records = [
        {"id": p.problem_id, "level": p.level, "question": p.question, "solution": p.solution, "image": p.image}
        for p in problems
    ]
    return type(dataset).from_list(records)


_quickstart = TaskSpec(
    name="rlfr_quickstart",
    benchmark="Quickstart",
    dataset="json",
    data_files=str(Path(__file__).with_name("world.json")),
    splits=("train",),
    rows=200,
    problem_id=lambda doc: doc["id"],
    instruction="none",  # the tiny policy was trained on bare questions
    gold=lambda doc: doc["solution"],
    image="image",
    categories=lambda doc: {"level": [str(doc["level"])]},
    breakdown=("level",),
    prepare=drawn,
    generation=Generation(max_new_tokens=128),
)

TASKS = (_quickstart, _quickstart.pass32())
