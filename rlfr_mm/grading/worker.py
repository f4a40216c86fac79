"""The worker process of `pool`: it turns items into verdicts until its input closes."""

import gc
import json
import logging
import os
import resource
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import cache, lru_cache
from typing import Any

from rlfr_mm.grading.item import Comparison, Found, Item, Job, RuleName, Span
from rlfr_mm.grading.scorers import SCORERS
from rlfr_mm.grading.verdict import Verdict

MEMORY_LIMIT = 3 * 2**30  # bytes of address space; sympy with its parsers takes about 0.3
Compare = Callable[[str, str, tuple[float, ...]], bool]


class BrokenParsers(Exception):
    """The LaTeX parsers do not work; the message is the reason, in one line."""


def main() -> None:
    """Read one request per line and write its verdict. The process ends if an item passes its deadline of CPU time."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the replies
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C reaches the whole terminal group; the parent closes the input when it stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # SIGPROF ends the process even inside one long C call such as a big power, unless the parent handed down otherwise.
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGPROF])
    # Parsing makes many short-lived objects: collect cycles less often.
    gc.set_threshold(100_000, 50, 50)

    def reply(kind: str, content: Any) -> None:
        replies.write(json.dumps((kind, content)) + "\n")
        replies.flush()

    reply("ready", None)
    for line in sys.stdin:
        deadline_s, _, request = line.partition(" ")
        signal.setitimer(signal.ITIMER_PROF, float(deadline_s))
        try:
            verdict = verdict_on(request, lambda pending: reply("pending", asdict(pending)))
        except BrokenParsers as error:
            return reply("broken", str(error))
        signal.setitimer(signal.ITIMER_PROF, 0)
        reply("verdict", asdict(verdict))


def verdict_on(request: str, announce: Callable[[Verdict], None]) -> Verdict:
    """The verdict on a request as `grade` writes it. Never raises because of a response; BrokenParsers if they are.

    Before a comparison that may hang, `announce` gets the verdict to give if it does.
    """
    fields: dict[str, Any] = json.loads(request)
    given: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in fields["item"].items()
    }
    item = Item(**given)
    rule: RuleName = fields["rule"]
    try:
        if "extraction" in fields:
            extraction = fields["extraction"]
            found = None if extraction is None else Found(extraction, "given")
        else:
            found = SCORERS[item.scorer].rule(rule).find(item)
    except Exception as error:  # text that a rule did not foresee must cost its item, not the run
        return _failed(error, None, "not found")
    if rule == "strict" and not item.known_golds:
        detail = f"the record has no answer to grade by: its gold is {item.gold!r:.80}"
        answer, span = (found.answer, found.span) if found else (None, None)
        return Verdict("error", 0.0, answer, "no gold", detail, span)
    if found is None:
        return Verdict("no_answer", 0.0, None, "nothing found")
    try:
        comparison = SCORERS[item.scorer].rule(rule).compare(item, found)
    except Exception as error:
        return _failed(error, found.answer, found.method, found.span)
    method = f"{found.method}+{comparison.method}"
    if comparison.jobs and not comparison.equal:
        announce(Verdict("timeout", 0.0, found.answer, method, span=found.span))
        outcomes = [_outcome(job) for job in comparison.jobs]
        failures = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
        if failures and True not in outcomes:
            return _failed(failures[0], found.answer, method, found.span)
        comparison = Comparison(True in outcomes, comparison.method)
    if comparison.equal:
        return Verdict("correct", 1.0, found.answer, method, span=found.span)
    return Verdict("wrong", 0.0, found.answer, method, span=found.span)


def _failed(error: Exception, answer: str | None, method: str, span: Span | None = None) -> Verdict:
    return Verdict("error", 0.0, answer, method, f"{type(error).__name__}: {error}"[:200], span)


def _outcome(job: Job) -> bool | Exception:
    _comparisons()  # outside the try: broken parsers are no item's error
    try:
        return _decided(job)
    except Exception as error:
        return error


@lru_cache(maxsize=4096)  # answers repeat within a group of rollouts and between the two rules
def _decided(job: Job) -> bool:
    return bool(_comparisons()[job.comparison](job.gold, job.answer, job.tolerance))


@cache
def _comparisons() -> dict[str, Compare]:
    """The comparisons, imported when first needed; the second that this takes is not counted as the item's."""
    left, _ = signal.setitimer(signal.ITIMER_PROF, 0)
    try:
        from rlfr_mm.grading import comparisons

        comparisons.self_test()
    except Exception as error:
        raise BrokenParsers(" ".join(str(error).split())) from error
    gc.freeze()  # never look through the modules
    signal.setitimer(signal.ITIMER_PROF, left)
    return comparisons.COMPARISONS
