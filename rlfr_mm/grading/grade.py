"""From an item to its verdict: find the answer, compare it, and ask the workers what text alone cannot decide."""

from collections.abc import Sequence
from dataclasses import replace

from rlfr_mm.grading.item import Comparison, Found, Item, Problem, Rule, RuleName
from rlfr_mm.grading.pool import Job, JobTimeout, decide, decide_all
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Status, Verdict

DEADLINE_S = 5.0


def grade(item: Item, rule: RuleName = "strict", deadline_s: float = DEADLINE_S) -> Verdict:
    """The verdict on one response. Safe to call from any thread; never raises because of what a response contains.

    Raises ValueError for an unknown scorer or rule, and RuntimeError if the LaTeX parsers are broken (`self_test`).

    >>> grade(Item("So x = \\\\boxed{7}.", gold="8")).status
    'wrong'
    """
    return grade_all([item], rule, deadline_s)[0]


def grade_all(
    items: Sequence[Item], rule: RuleName = "strict", deadline_s: float = DEADLINE_S, workers: int | None = None
) -> list[Verdict]:
    """The verdicts on many responses, in order. Up to `workers` processes (default: one per core) compare at once."""
    return _verdicts([_found_and_compared(item, rule) for item in items], deadline_s, workers)


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
    given = [None if extraction is None else Found(extraction, "given") for extraction in extractions]
    compared = [_compared(problem, rule, found) for problem, found in zip(problems, given, strict=True)]
    return _verdicts(compared, deadline_s, workers)


def self_test() -> None:
    """Start a worker and let it compare. Raises RuntimeError with a one-line reason if the parsers are broken."""
    if not decide(Job("symbolic", "\\frac{1}{2}", "0.5"), DEADLINE_S):
        raise RuntimeError("the answer parsers are broken: they do not find 0.5 equal to \\frac{1}{2}")


def _rule(problem: Problem, rule: RuleName) -> Rule:
    if problem.scorer not in SCORERS:
        raise ValueError(f"unknown scorer {problem.scorer!r}: use one of {', '.join(sorted(SCORERS))}")
    if rule not in ("strict", "official"):
        raise ValueError(f"unknown rule {rule!r}: use strict or official")
    return SCORERS[problem.scorer].rule(rule)


def _found_and_compared(item: Item, rule: RuleName) -> Verdict | tuple[Found, Comparison]:
    find = _rule(item, rule).find
    try:
        found = find(item)
    except Exception as error:  # text that a rule did not foresee must cost its item, not the run
        return _failed(error, None, "not found")
    return _compared(item, rule, found)


def _compared(problem: Problem, rule: RuleName, found: Found | None) -> Verdict | tuple[Found, Comparison]:
    compare = _rule(problem, rule).compare
    if rule == "strict" and not problem.known_golds:
        detail = f"the record has no answer to grade by: its gold is {problem.gold!r:.80}"
        return Verdict("error", 0.0, found.answer if found else None, "no gold", detail)
    if found is None:
        return Verdict("no_answer", 0.0, None, "nothing found")
    try:
        return found, compare(problem, found)
    except Exception as error:
        return replace(_failed(error, found.answer, found.method), span=found.span)


def _failed(error: Exception, answer: str | None, method: str) -> Verdict:
    return Verdict("error", 0.0, answer, method, f"{type(error).__name__}: {error}"[:200])


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
        return Verdict("correct", 1.0, found.answer, method, span=found.span)
    failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    if not failures:
        return Verdict("wrong", 0.0, found.answer, method, span=found.span)
    status: Status = "timeout" if isinstance(failures[0], JobTimeout) else "error"
    return Verdict(status, 0.0, found.answer, method, str(failures[0]), found.span)
