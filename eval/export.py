"""Write a run in the format of a leaderboard or another harness: `python -m eval.export RUN --to FORMAT --out DIR`.

Everything comes from the rows and the manifest of the run. Formats for leaderboards refuse a slice of a benchmark.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.config_file import one_line_errors
from rlfr_mm.eval import RULES

# The names in eval/formats that have a writer, listed here so that `--help` loads none of them.
FORMATS = (
    "hf-eval-results", "model-index", "every-eval-ever", "lmms-eval", "vlmevalkit", "openvlm", "mathvista", "math-v",
    "mathverse", "we-math", "logicvista", "visulogic", "csv", "markdown", "latex",
)  # fmt: skip


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.export", description=__doc__)
    parser.add_argument("run", type=Path, help="run folder of eval.run or eval.score --from")
    parser.add_argument("--to", required=True, metavar="FORMAT", help=", ".join(FORMATS))
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--tasks", help="separated by commas (default: all tasks that the format fits)")
    parser.add_argument(
        "--rule",
        choices=RULES,
        default="strict",
        help="verdicts to export: strict (default), or official for those of the benchmark's own scorer, if it has one",
    )
    parser.add_argument("--model", help="name of the model in the files (default: that of the run)")
    parser.add_argument(
        "--allow-partial", action="store_true", help="write slices in leaderboard formats, too, marked as partial"
    )
    parser.add_argument(
        "--check",
        action="store_true",
        help="check the files in DIR against the rules of the board, and say where they are submitted; writes nothing",
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: the files are written, or may be submitted; 1: they may not; 2: the input cannot be used."""
    args = parse_args(argv)
    tasks = [name.strip() for name in args.tasks.split(",") if name.strip()] if args.tasks else None
    with one_line_errors():
        from rlfr_mm.eval.engine.exporting import check, export

        if args.check:
            problems, submit = check(args.run, args.to, args.out, tasks, args.rule, args.model)
            print("\n".join(problems) or f"{args.out} keeps to the rules. To submit it: {submit}")
            return 1 if problems else 0
        for path in export(args.run, args.to, args.out, tasks, args.rule, args.model, args.allow_partial):
            print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
