"""The functions that the YAML files name for lmms-eval; each finds the record's TaskSpec and calls it.

`process_docs: !function rlfr_mm.tasks.hooks.rlfr_math500` names the task as an attribute of this module. That function
writes the task's name into every record, where the other hooks read it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rlfr_mm.grading import RuleName, grade_all
from rlfr_mm.tasks.aggregate import cluster_of
from rlfr_mm.tasks.registry import TASK_COLUMN, TASKS, Doc, TaskSpec, prepare

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

RULES: dict[str, RuleName] = {"score": "strict", "score_official_rule": "official"}  # by the metric's name


def __getattr__(name: str) -> Callable[["Dataset"], "Dataset"]:
    """The `process_docs` function of the task of that name."""
    if name not in TASKS:
        raise AttributeError(f"no task {name!r} in rlfr_mm.tasks.registry")
    return lambda records: prepare(TASKS[name], records)


def text(doc: Doc) -> str:
    return _task(doc).text(doc)


def images(doc: Doc) -> list["Image"]:
    return _task(doc).images(doc)


def messages(doc: Doc) -> list[dict[str, Any]]:
    return _task(doc).messages(doc)


def target(doc: Doc) -> str:
    return _task(doc).gold(doc)


def process_results(doc: Doc, responses: Sequence[str]) -> dict[str, Any]:
    """The responses to one record, graded under both rules. lmms-eval calls this from several threads at once."""
    spec = _task(doc)
    items = [spec.item(doc, response) for response in responses]
    metrics = {}
    for metric, rule in RULES.items():
        rows = [spec.row(doc, i, verdict) for i, verdict in enumerate(grade_all(items, rule))]
        metrics[metric] = {"task": spec.name, "rows": rows}
        if spec.headline == "accuracy":  # lmms-eval computes its standard errors and --baseline from these two
            score = sum(row["score"] for row in rows) / len(rows)
            metrics[metric] |= {"score": score, "cluster": cluster_of(rows[0], spec.cluster)}
    return metrics | {"details": metrics["score"]}


def headline(items: Sequence[dict[str, Any]]) -> float:
    """The task's headline metric; NaN if the records leave it undefined, for example an incomplete We-Math."""
    return details(items).get(TASKS[items[0]["task"]].headline, float("nan"))


class Numbers(dict[str, float]):
    """A dictionary that lmms-eval writes to its results file but shows as "N/A" in its printed table.

    lmms-eval skips values that equal "". Printed in full, the dictionary would make the table unreadable.
    """

    def __eq__(self, other: object) -> bool:
        return other == "" or super().__eq__(other)

    __hash__ = None  # type: ignore[assignment]


def details(items: Sequence[dict[str, Any]]) -> Numbers:
    """All metrics of the task."""
    return Numbers(TASKS[items[0]["task"]].aggregate([row for item in items for row in item["rows"]]))


def _task(doc: Doc) -> TaskSpec:
    return TASKS[doc[TASK_COLUMN]]
