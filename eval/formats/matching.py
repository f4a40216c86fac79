"""Finds the problem of a task that each response in another harness's file answers."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlfr_mm.eval.formats.base import Response
from rlfr_mm.tasks.spec import TaskSpec


def matched(responses: Sequence[Response], docs: Iterable[Mapping[str, Any]], spec: TaskSpec) -> list[int]:
    """Per response the position in `docs` of the record that it answers. ValueError naming a response without a record.

    Records are found by the ids in the file. If it has no ids, or ids that name other problems (VLMEvalKit leaves items
    out and numbers the others again), they are found by question and gold in the order of the file.
    """
    known = [{**doc} for doc in docs]
    by_id = {spec.problem_id(doc): position for position, doc in enumerate(known)}
    found: list[int] = []
    for response in responses:
        position = _by_id(response, by_id, len(known), spec)
        if position is None or not _same_question(response.fields, known[position]):
            break
        found.append(position)
    else:
        return found
    if not all("question" in response.fields for response in responses):
        raise ValueError(f"response {len(found) + 1} fits no record of {spec.name}: its id is missing or unknown")
    return _in_order(responses, known, spec)


def _by_id(response: Response, by_id: Mapping[str, int], size: int, spec: TaskSpec) -> int | None:
    if response.doc_id is not None:
        return response.doc_id if 0 <= response.doc_id < size else None
    try:
        return by_id.get(str(response.problem_id or spec.problem_id(response.fields)))
    except (KeyError, TypeError, AttributeError):  # missing, or of a type that no id has
        return None


def _in_order(responses: Sequence[Response], docs: Sequence[Mapping[str, Any]], spec: TaskSpec) -> list[int]:
    found, position = [], 0
    for number, response in enumerate(responses, start=1):
        while position < len(docs) and not (
            _same_question(response.fields, docs[position]) and _same_gold(response.fields, docs[position], spec)
        ):
            position += 1
        if position == len(docs):
            raise ValueError(
                f"response {number} fits no record of {spec.name}: no later record has the question "
                f"{_plain(response.fields['question'])[:60]!r} and this answer"
            )
        found.append(position)
        position += 1
    return found


def _same_question(fields: Mapping[str, Any], doc: Mapping[str, Any]) -> bool:
    """Whether the question in the file, if it has one, is that of the record; some files add a hint and the options."""
    if "question" not in fields or "question" not in doc:
        return True
    asked, stored = _plain(fields["question"]), _plain(doc["question"])
    return stored in asked or asked in stored


def _same_gold(fields: Mapping[str, Any], doc: Mapping[str, Any], spec: TaskSpec) -> bool:
    return "answer" not in fields or any(_same(fields["answer"], gold) for gold in (spec.gold(doc), doc.get("answer")))


def _plain(text: Any) -> str:
    return "".join(re.sub(r"<image\s*\d*>", "", str(text)).split())


def _same(left: Any, right: Any) -> bool:
    try:
        return float(left) == float(right)  # spreadsheets turn "1.20" into 1.2
    except (TypeError, ValueError):
        return str(left).strip() == str(right).strip()
