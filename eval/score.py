"""Grade a run again, `python -m eval.score RUN`, or the responses of another harness, `... --from FORMAT FILE`.

Neither needs the model. The rows of a run are kept; only their verdicts and results.json are written again.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.config_file import one_line_errors
from rlfr_mm.eval import RULES


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.score", description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="run folder to grade again")
    parser.add_argument(
        "--rule", choices=RULES, default="strict", help="verdicts used for results.json (default: strict)"
    )
    parser.add_argument("--from", nargs=2, metavar=("FORMAT", "FILE"), dest="source", help="output of another harness")
    parser.add_argument("--task", help="with --from: the task that was answered")
    parser.add_argument("--output_dir", type=Path, help="with --from: run folder to write")
    parser.add_argument("--data_root", help="with --from: local mirror with the problems of the task")
    parser.add_argument("--model", help="with --from: name of the model (default: name of the file)")
    args = parser.parse_args(argv)
    if (args.run is None) == (args.source is None):
        parser.error("give a run folder, or --from FORMAT FILE")
    if args.source and not (args.task and args.output_dir):
        parser.error("--from needs --task and --output_dir")
    for name in ("task", "output_dir", "data_root", "model"):
        if args.run and getattr(args, name) is not None:
            parser.error(f"--{name} goes with --from only; grading {args.run} again takes --rule")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all results are there; 1: responses are missing; 2: the input cannot be used."""
    args = parse_args(argv)
    with one_line_errors():
        from rlfr_mm.eval.engine import importing, scoring

        run = args.run
        if args.source:
            run = args.output_dir
            importing.import_file(*args.source, args.task, run, args.data_root, args.model)
        else:
            changes = scoring.rescore(run)
            print(f"{len(changes)} verdicts changed")
            for change in changes:
                print(f"  {change}")
        return scoring.print_results(*scoring.score_run(run, args.rule))


if __name__ == "__main__":
    sys.exit(main())
