"""The other end of `pool`: a process that compares answers until its input closes."""

import gc
import json
import logging
import os
import resource
import signal
import sys
from typing import Any

MEMORY_LIMIT = 3 * 2**30  # bytes of address space; sympy with its parsers takes about 0.3


def main() -> None:
    """Read one comparison a line, write one outcome a line. The process ends itself at an item's deadline."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a library prints must not land among the replies
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C goes to the whole terminal group; the parent closes the input when it stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    from rlfr_mm.grading.equivalence import COMPARISONS, self_test

    try:
        self_test()
    except RuntimeError as problem:
        reply({"error": str(problem)})
        return
    # Parsing makes many short-lived objects: look for cycles among them less often, and among the modules never.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    reply({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        compare = COMPARISONS[job["comparison"]]
        # SIGALRM keeps its default action, which ends the process even inside one long C call of a big power.
        signal.setitimer(signal.ITIMER_REAL, job["deadline_s"])
        try:
            outcome: dict[str, Any] = {"equal": bool(compare(job["gold"], job["answer"], tuple(job["tolerance"])))}
        except Exception as problem:
            outcome = {"error": f"{type(problem).__name__}: {str(problem)[:200]}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(outcome)
