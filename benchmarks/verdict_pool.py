"""Verdicts per second: our worker pool against math-verify alone, and against lmms-eval's scoring.

    python benchmarks/verdict_pool.py ../shared/parity --json OUT

All grade the raw responses of the MATH500 sets, after a warm-up that loads the parsers and starts the workers.
math-verify grades one answer after the other in this process, with its own time-outs, and so does the scoring of
lmms-eval's reasoning tasks, which compares strings before it asks math-verify.

- `same`: equal verdicts.
- `other_answer_read`, `other_comparison`: why the others differ. If math-verify agrees with our verdict once it gets
  the answer that we extracted, the two read different answers; otherwise they compare differently.
"""

import argparse
import json
import logging
import sys
import time
from pathlib import Path

from rlfr_mm.eval.engine.parity_sets import Row, read_sets
from rlfr_mm.files import write_whole
from rlfr_mm.grading import Item, Verdict, grade_all
from rlfr_mm.grading.pool import available_cores


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of published verdicts; needs MATH500 sets")
    parser.add_argument("--json", type=Path, metavar="OUT", help="also write the figures to this file")
    options = parser.parse_args()
    sets = read_sets(options.folder).values()
    rows = [row for rows in sets for row in rows if row["benchmark"] == "MATH500"]
    if not rows:
        sys.exit(f"error: {options.folder} has no MATH500 sets: give a folder of published verdicts with some")

    # imported here, so that no figure includes their start-up
    from lmms_eval.tasks._task_utils.reasoning_utils import compute_score
    from math_verify import parse, verify

    logging.disable(logging.CRITICAL)

    def one_by_one(rows: list[Row]) -> list[bool]:
        return [bool(verify(parse(f"${row['gold']}$"), parse(row["response"]))) for row in rows]

    def lmms_eval(rows: list[Row]) -> list[bool]:
        return [bool(compute_score("", row["response"], row["gold"])["acc_score"]) for row in rows]

    def pooled(rows: list[Row]) -> list[Verdict]:
        return grade_all([Item(row["response"], row["gold"], "math500") for row in rows])

    warm_up = [{"response": f"\\boxed{{{i}+\\frac{{x}}{{2}}}}", "gold": "\\sqrt{x}"} for i in range(64)]
    for grade in (one_by_one, lmms_eval, pooled):
        grade(warm_up)
    start = time.perf_counter()
    alone = one_by_one(rows)
    middle = time.perf_counter()
    verdicts = pooled(rows)
    end = time.perf_counter()
    lmms_eval(rows)
    last = time.perf_counter()

    seconds = {"math_verify_alone": middle - start, "lmms_eval": last - end, "pool": end - middle}
    pairs = zip(rows, alone, verdicts, strict=True)
    differing = [(row, verdict) for row, one, verdict in pairs if one != verdict.correct]
    boxed = [{**row, "response": f"\\boxed{{{verdict.extracted or ''}}}"} for row, verdict in differing]
    same_answer = one_by_one(boxed)
    other_comparison = [
        [row["id"], row["gold"], verdict.extracted, verdict.status]
        for (row, verdict), one in zip(differing, same_answer, strict=True)
        if one != verdict.correct
    ]
    count = len(rows)
    result = {
        "rows": count,
        "cores": available_cores(),
        "seconds": {name: round(value, 2) for name, value in seconds.items()},
        "per_second": {name: round(count / value, 1) for name, value in seconds.items()},
        "speed_up": round(seconds["math_verify_alone"] / seconds["pool"], 2),
        "speed_up_over_lmms_eval": round(seconds["lmms_eval"] / seconds["pool"], 2),
        "same": count - len(differing),
        "other_answer_read": len(differing) - len(other_comparison),
        "other_comparison": other_comparison,
    }
    text = json.dumps(result, indent=1)
    print(text)
    if options.json:
        write_whole(options.json, text + "\n")


if __name__ == "__main__":
    main()
