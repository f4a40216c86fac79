"""The worker process of `pool`: it compares answers until its input closes."""

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
    """Read one comparison per line and write one outcome per line. The process ends if an item passes its deadline."""
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints must not end up among the replies
    logging.disable(logging.CRITICAL)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # Ctrl-C reaches the whole terminal group; the parent closes the input when it stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def reply(message: dict[str, Any]) -> None:
        replies.write(json.dumps(message) + "\n")
        replies.flush()

    from rlfr_mm.grading.comparisons import COMPARISONS, self_test  # only now that prints go elsewhere

    try:
        self_test()
    except RuntimeError as error:
        reply({"error": str(error)})
        return
    # Parsing makes many short-lived objects: collect cycles less often, and never look through the modules.
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    reply({"ready": True})
    for line in sys.stdin:
        job = json.loads(line)
        compare = COMPARISONS[job["comparison"]]
        # SIGALRM keeps its default action, which ends the process even inside one long C call such as a big power.
        signal.setitimer(signal.ITIMER_REAL, job["deadline_s"])
        try:
            outcome: dict[str, Any] = {"equal": bool(compare(job["gold"], job["answer"], tuple(job["tolerance"])))}
        except Exception as error:
            outcome = {"error": f"{type(error).__name__}: {str(error)[:200]}"}
        signal.setitimer(signal.ITIMER_REAL, 0)
        reply(outcome)
