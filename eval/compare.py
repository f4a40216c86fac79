"""Compare methods task by task: `python -m eval.compare RUN_A RUN_B [RUN_C ...]` compares every run with the first.

Several seeds of one method are one argument: `rlvr=RUN1,RUN2,RUN3 rlfr=RUN4,RUN5,RUN6` pairs the runs by position. The
headline score of each task is compared, on the problems that all runs answered and graded.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.config_file import one_line_errors
from rlfr_mm.eval import RULES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description=__doc__)
    parser.add_argument(
        "methods",
        nargs="+",
        metavar="[LABEL=]RUN[,RUN...]",
        help="run folders of each method; the first is the baseline",
    )
    parser.add_argument("--rule", choices=RULES, default="strict", help="verdicts to compare (default: strict)")
    parser.add_argument(
        "--published", action="append", default=[], metavar="MODEL", help="also show the paper's scores of this model"
    )
    parser.add_argument("--flips", type=int, default=10, help="how many flipped problems to name (default: 10)")
    parser.add_argument("--json", type=Path, help="write the comparisons to this file, with all flipped problems")
    args = parser.parse_args(argv)
    if len(args.methods) < 2:
        parser.error("give at least two runs")
    if args.flips < 0:
        parser.error(f"--flips {args.flips} must be >= 0")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 if the runs cannot be compared."""
    args = parse_args(argv)
    with one_line_errors():
        from rlfr_mm.eval.engine import comparing, run_files

        first, *others = comparing.load_methods(args.methods)
        found = comparing.compare(first, others, args.rule)
        text = comparing.comparison_report(found, args.published, args.flips)
        if args.json:
            run_files.write_text(args.json, comparing.comparisons_json(found))
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
