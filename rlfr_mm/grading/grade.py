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
    return _verdicts([_read(item, rule) for item in items], deadline_s, workers)


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
    compared = [_compared(item, rule, found) for item, found in zip(items, given, strict=True)]
    return _verdicts(compared, deadline_s, workers)


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


def _read(item: Item, rule: RuleName) -> Verdict | tuple[Found, Comparison]:
    find = _rule(item, rule).find
    try:
        found = find(item)
    except Exception as problem:  # a text that a rule did not foresee costs its item, not the run
        return Verdict("error", 0.0, None, "not found", f"{type(problem).__name__}: {problem}"[:200])
    return _compared(item, rule, found)


def _compared(item: Item, rule: RuleName, found: Found | None) -> Verdict | tuple[Found, Comparison]:
    compare = _rule(item, rule).compare
    if rule == "strict" and not any(gold.strip() for gold in item.golds):
        return Verdict("error", 0.0, found.answer if found else None, "no gold", "the record has no answer to grade by")
    if found is None:
        return Verdict("no_answer", 0.0, None, "nothing found")
    try:
        return found, compare(item, found)
    except Exception as problem:
        return Verdict("error", 0.0, found.answer, found.method, f"{type(problem).__name__}: {problem}"[:200])


def _verdicts(
    read: Sequence[Verdict | tuple[Found, Comparison]], deadline_s: float, workers: int | None
) -> list[Verdict]:
    jobs = [job for result in read if not isinstance(result, Verdict) for job in result[1].jobs]
    decisions = decide_all(jobs, deadline_s, workers) if jobs else {}
    return [result if isinstance(result, Verdict) else _verdict(*result, decisions) for result in read]


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
