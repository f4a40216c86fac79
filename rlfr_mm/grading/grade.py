"""From an item to its verdict: find, compare, and ask the workers for what text alone cannot decide."""

from collections.abc import Sequence

from rlfr_mm.grading.item import Comparison, Found, Item, Rule, RuleName
from rlfr_mm.grading.pool import Job, JobTimeout, decide, decide_all
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Status, Verdict

DEADLINE_S = 5.0


def grade(item: Item, rule: RuleName = "strict", deadline_s: float = DEADLINE_S) -> Verdict:
    """The verdict on one response. Safe from any thread; never raises for what a response contains.

    Raises ValueError for an unknown scorer or rule, RuntimeError where the LaTeX parsers are broken (`self_test`).
    """
    return grade_all([item], rule, deadline_s)[0]


def grade_all(
    items: Sequence[Item], rule: RuleName = "strict", deadline_s: float = DEADLINE_S, workers: int | None = None
) -> list[Verdict]:
    """The verdicts on many responses, in their order, with up to `workers` (default: one a core) comparing at once."""
    return _verdicts([(item, _rule(item, rule).find(item)) for item in items], rule, deadline_s, workers)


def grade_extracted(
    item: Item, extraction: str | None, rule: RuleName = "strict", deadline_s: float = DEADLINE_S
) -> Verdict:
    """The verdict on an answer that somebody else, such as a benchmark's judge model, has found; None for none."""
    return grade_all_extracted([item], [extraction], rule, deadline_s)[0]


def grade_all_extracted(
    items: Sequence[Item],
    extractions: Sequence[str | None],
    rule: RuleName = "strict",
    deadline_s: float = DEADLINE_S,
    workers: int | None = None,
) -> list[Verdict]:
    """`grade_extracted` for many items, in their order."""
    given = [None if extraction is None else Found(extraction, "given") for extraction in extractions]
    return _verdicts(list(zip(items, given, strict=True)), rule, deadline_s, workers)


def self_test() -> None:
    """Start a worker and compare in it. Raises RuntimeError with a one-line reason when the parsers are broken."""
    if not decide(Job("symbolic", "\\frac{1}{2}", "0.5"), DEADLINE_S):
        raise RuntimeError("the answer parsers are broken: 0.5 is not taken for \\frac{1}{2}")


def _rule(item: Item, rule: RuleName) -> Rule:
    if item.scorer not in SCORERS:
        raise ValueError(f"unknown scorer {item.scorer!r}: use one of {', '.join(sorted(SCORERS))}")
    if rule not in ("strict", "official"):
        raise ValueError(f"unknown rule {rule!r}: use strict or official")
    return SCORERS[item.scorer].rule(rule)


def _verdicts(
    answers: Sequence[tuple[Item, Found | None]], rule: RuleName, deadline_s: float, workers: int | None
) -> list[Verdict]:
    compared = [None if found is None else _rule(item, rule).compare(item, found) for item, found in answers]
    jobs = [job for comparison in compared if comparison is not None for job in comparison.jobs]
    decisions = decide_all(jobs, deadline_s, workers) if jobs else {}
    return [
        Verdict("no_answer", 0.0, None, "nothing found")
        if found is None or comparison is None
        else _verdict(found, comparison, decisions)
        for (_, found), comparison in zip(answers, compared, strict=True)
    ]


def _verdict(found: Found, comparison: Comparison, decisions: dict[Job, bool | Exception]) -> Verdict:
    method = f"{found.method}+{comparison.method}"
    outcomes = [decisions[job] for job in comparison.jobs]
    if comparison.equal or True in outcomes:
        return Verdict("correct", 1.0, found.answer, method)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if not failures:
        return Verdict("wrong", 0.0, found.answer, method)
    status: Status = "timeout" if isinstance(failures[0], JobTimeout) else "error"
    return Verdict(status, 0.0, found.answer, method, detail=str(failures[0]))
