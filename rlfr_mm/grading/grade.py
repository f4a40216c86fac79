"""From items to verdicts. Everything that reads a response runs in the workers of `pool`, under a deadline."""

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rlfr_mm.grading.item import Item, Problem, RuleName
from rlfr_mm.grading.pool import verdicts_on
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Verdict

DEADLINE_S = 5.0
LONGEST_RESPONSE = 200_000  # characters, some 50,000 tokens; of a longer response the end is read


def grade(item: Item, rule: RuleName = "strict", deadline_s: float = DEADLINE_S) -> Verdict:
    """The verdict on one response. Safe to call from any thread; never raises because of what a response contains.

    Finding and comparing the answer may take `deadline_s` seconds of CPU time; the verdict is `timeout` after that. Of
    a response of more than LONGEST_RESPONSE characters only the end is read.

    Raises ValueError for an unknown scorer or rule, and RuntimeError if the LaTeX parsers are broken (`self_test`).

    >>> grade(Item("So x = \\\\boxed{7}.", gold="8")).status
    'wrong'
    """
    return grade_all([item], rule, deadline_s)[0]


def grade_all(
    items: Sequence[Item], rule: RuleName = "strict", deadline_s: float = DEADLINE_S, workers: int | None = None
) -> list[Verdict]:
    """The verdicts on many responses, in order. Up to `workers` processes (default: one per core) grade at once."""
    requests = [_request(item, rule, item.response[-LONGEST_RESPONSE:]) for item in items]
    verdicts = verdicts_on(requests, deadline_s, workers)
    return [_in_whole(item.response, verdict) for item, verdict in zip(items, verdicts, strict=True)]


def grade_extracted(
    problem: Problem, extraction: str | None, rule: RuleName = "strict", deadline_s: float = DEADLINE_S
) -> Verdict:
    """The verdict on an answer that something else, such as a judge model, extracted; None means that it found none."""
    return grade_all_extracted([problem], [extraction], rule, deadline_s)[0]


def grade_all_extracted(
    problems: Sequence[Problem],
    extractions: Sequence[str | None],
    rule: RuleName = "strict",
    deadline_s: float = DEADLINE_S,
    workers: int | None = None,
) -> list[Verdict]:
    """`grade_extracted` for many problems, in order."""
    given = zip(problems, extractions, strict=True)
    return verdicts_on(
        [_request(problem, rule, extraction=extraction) for problem, extraction in given], deadline_s, workers
    )


def self_test() -> None:
    """Start a worker and let it compare. Raises RuntimeError with a one-line reason if the parsers are broken."""
    if not grade(Item("\\boxed{x+\\frac{1}{2}}", "\\frac{1}{2}+x")).correct:
        raise RuntimeError("the answer parsers are broken: they do not find x+\\frac{1}{2} equal to \\frac{1}{2}+x")


def _in_whole(response: str, verdict: Verdict) -> Verdict:
    """The verdict with its span counted from the beginning of the response, of which the end was read."""
    cut = max(0, len(response) - LONGEST_RESPONSE)
    return replace(verdict, span=(verdict.span[0] + cut, verdict.span[1] + cut)) if cut and verdict.span else verdict


def _request(problem: Problem, rule: RuleName, response: str = "", **extraction: str | None) -> bytes:
    """What a worker needs to grade this, as one line of JSON; equal lines get equal verdicts."""
    if problem.scorer not in SCORERS:
        raise ValueError(f"unknown scorer {problem.scorer!r}: use one of {', '.join(sorted(SCORERS))}")
    if rule not in ("strict", "official"):
        raise ValueError(f"unknown rule {rule!r}: use strict or official")
    scorer = SCORERS[problem.scorer]
    item: dict[str, Any] = {
        "response": response, "gold": problem.gold, "scorer": problem.scorer, "choices": problem.choices,
        "meta": dict(problem.meta),
    }  # fmt: skip
    request = {"item": item, "rule": "strict" if scorer.official == scorer.strict else rule, **extraction}
    return json.dumps(request, default=str).encode()
