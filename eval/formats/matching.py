"""Finds the problem of a task that each response in another harness's file answers."""

import contextlib
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rlfr_mm.eval.formats.base import Response
from rlfr_mm.tasks.spec import TaskSpec


def matched(responses: Sequence[Response], docs: Iterable[Mapping[str, Any]], spec: TaskSpec) -> list[int]:
    """Per response the position in `docs` of the record that it answers.

    Records are found by the ids in the file. If its records have no ids, or ids that name other problems (VLMEvalKit
    leaves items out and numbers the others again), they are found by question and gold in the order of the file.

    ValueError naming a response without a record, or one whose `doc_id`, `problem_id` and record contradict each other.
    """
    known = [{**doc} for doc in docs]
    ids = [spec.problem_id(doc) for doc in known]
    places = {problem: position for position, problem in enumerate(ids)}
    found: list[int] = []
    for number, response in enumerate(responses, start=1):
        named = _named(response, ids, places, spec)
        if None in named.values():
            unknown = next(how for how, problem in named.items() if problem is None)
            raise ValueError(f"response {number} fits no record of {spec.name}: its {unknown} is unknown")
        told = ", ".join(f"its {how} is that of {problem}" for how, problem in named.items())
        if len(set(named.values())) > 1:
            raise ValueError(f"response {number} names two problems of {spec.name}: {told}; leave out what is wrong")
        if not named:
            break
        position = places[next(iter(named.values()))]
        if not _same_question(response.fields, known[position]):
            if response.doc_id is None and not response.problem_id:
                break
            raise ValueError(f"response {number} has the question of another problem of {spec.name}: {told}")
        found.append(position)
    else:
        return found
    if not all("question" in response.fields for response in responses):
        raise ValueError(f"response {len(found) + 1} fits no record of {spec.name}: its id is missing or unknown")
    return _in_order(responses, known, spec)


def _named(response: Response, ids: Sequence[str], places: Mapping[str, int], spec: TaskSpec) -> dict[str, str | None]:
    """The problem that each id of a response names: its doc_id and its problem_id (None if unknown), and its record."""
    named: dict[str, str | None] = {}
    if (doc_id := response.doc_id) is not None:
        named[f"doc_id {doc_id}"] = ids[doc_id] if doc_id < len(ids) else None
    if response.problem_id:
        named[f"problem_id {response.problem_id!r:.80}"] = (
            response.problem_id if response.problem_id in places else None
        )
    with contextlib.suppress(KeyError, TypeError, AttributeError):  # missing, or of a type that no id has
        own = str(spec.problem_id(response.fields))
        if own in places:
            named["record"] = own
    return named


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
