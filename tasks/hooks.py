"""The functions that the YAML files name for lmms-eval. The work is TaskSpec's; these find the task of a record.

`process_docs: !function rlfr_mm.tasks.hooks.rlfr_math500` names the task once, as an attribute of this module; it
writes the name into every record, where the other hooks find it.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rlfr_mm.grading import RuleName, grade_all
from rlfr_mm.tasks.registry import TASK_COLUMN, TASKS, Doc, TaskSpec, prepare

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image


def __getattr__(name: str) -> Callable[["Dataset"], "Dataset"]:
    """`process_docs` of the task of that name."""
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
    """Grade the responses to one record under both rules; called from several of lmms-eval's threads at once."""
    spec = _task(doc)
    items = [spec.item(doc, response) for response in responses]
    metrics = {}
    rules: tuple[tuple[str, RuleName], ...] = (("score", "strict"), ("score_official_rule", "official"))
    for metric, rule in rules:
        rows = [spec.row(doc, i, verdict) for i, verdict in enumerate(grade_all(items, rule))]
        metrics[metric] = {"task": spec.name, "rows": rows}
        if spec.headline == "accuracy":  # what lmms-eval's standard errors and --baseline are about
            cluster = rows[0]["categories"][spec.cluster][0] if spec.cluster else rows[0]["problem_id"]
            metrics[metric] |= {"score": sum(row["score"] for row in rows) / len(rows), "cluster": cluster}
    return metrics | {"details": metrics["score"]}


def headline(items: Sequence[dict[str, Any]]) -> float:
    """The number that stands for the task; NaN where the records leave it undefined, as an incomplete We-Math does."""
    return details(items).get(TASKS[items[0]["task"]].headline, float("nan"))


class Numbers(dict[str, float]):
    """Many numbers: whole in lmms-eval's results file, but "N/A" in the table it prints, which they would burst."""

    def __eq__(self, other: object) -> bool:
        return other == "" or super().__eq__(other)  # what equals "" is not printed

    __hash__ = None  # type: ignore[assignment]


def details(items: Sequence[dict[str, Any]]) -> Numbers:
    """All numbers of the task."""
    return Numbers(TASKS[items[0]["task"]].aggregate([row for item in items for row in item["rows"]]))


def _task(doc: Doc) -> TaskSpec:
    return TASKS[doc[TASK_COLUMN]]
