"""Writes a run in the format of a leaderboard or of another harness: `python -m eval.export RUN --to FORMAT --out DIR`.

Everything comes from the run's rows and manifest. Scores of a slice are refused where a leaderboard would take them for
the benchmark's.
"""

import argparse
import difflib
import sys
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.formats import FORMATS, EvaluatedRun, EvaluatedTask, Format
from rlfr_mm.eval.score import RULES, result
from rlfr_mm.grading import RuleName
from rlfr_mm.tasks import registry


def export(
    run: Path,
    name: str,
    out: Path,
    tasks: Sequence[str] | None = None,
    rule: RuleName = "strict",
    model: str | None = None,
    allow_partial: bool = False,
) -> list[Path]:
    """Writes the run's tasks that the format fits, or those named; returns the files.

    Raises:
        RunError: no such format, no such run, nothing that fits, or a slice for a leaderboard.
    """
    chosen = format_named(name)
    evaluated = evaluate_rows(run, rule, model)
    names = [task.spec.name for task in evaluated.tasks]
    for task in tasks or ():
        if task not in names:
            raise RunError(f"{run} has no rows of {task!r}; it has rows of {', '.join(names)}")
    wanted = [task for task in evaluated.tasks if tasks is None or task.spec.name in tasks]
    fitting = [task for task in wanted if chosen.fits(task.spec)]
    if not fitting or (tasks is not None and len(fitting) < len(wanted)):
        others = ", ".join(task.spec.name for task in wanted if not chosen.fits(task.spec))
        raise RunError(f"{name} is for {chosen.scope}, not for {others}")
    _check(chosen, name, fitting, allow_partial)
    try:
        return chosen.write(EvaluatedRun(evaluated.manifest, fitting), out)  # type: ignore[misc]
    except ValueError as error:
        raise RunError(str(error)) from error
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror}") from error


def format_named(name: str) -> Format:
    """The format that can be written. Raises RunError with the nearest names."""
    writable = {key: one for key, one in FORMATS.items() if one.write is not None}
    if name not in writable:
        nearest = difflib.get_close_matches(name, writable, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else f"there are {', '.join(writable)}"
        raise RunError(f"unknown format {name!r}: {hint}")
    return writable[name]


def evaluate_rows(run: Path, rule: RuleName, model: str | None = None) -> EvaluatedRun:
    """The tasks of a run that have rows, with their results by `rule`. Raises RunError where none has."""
    manifest = run_files.read_manifest(run)
    if model:
        manifest = manifest.model_copy(update={"model": manifest.model.model_copy(update={"name": model})})
    tasks = []
    for name, rows in run_files.read_run(run).items():
        if not rows:
            continue
        plan = manifest.tasks[name]
        try:
            spec = registry.task(name)
            tasks.append(EvaluatedTask(spec, plan, rows, result(spec, plan, manifest.model.name, rows, rule)))
        except ValueError as error:
            raise RunError(f"{name}: {error}") from error
    if not tasks:
        raise RunError(f"{run} has no rows to export: run eval.run, or eval.score --from, on it first")
    return EvaluatedRun(manifest, tasks)


def _check(chosen: Format, name: str, tasks: Sequence[EvaluatedTask], allow_partial: bool) -> None:
    for task in tasks:
        if chosen.one_sample and task.plan.samples > 1:
            raise RunError(
                f"{name} holds one response to each problem, {task.spec.name} has {task.plan.samples}; "
                "every-eval-ever and lmms-eval hold more"
            )
        if chosen.leaderboard and task.note and not allow_partial:
            raise RunError(
                f"{task.spec.name} is not the whole benchmark ({task.note}); --allow-partial writes it, marked as such"
            )


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.export", description=__doc__.splitlines()[0])
    parser.add_argument("run", type=Path, help="run folder of eval.run or eval.score --from")
    parser.add_argument(
        "--to",
        required=True,
        metavar="FORMAT",
        help=", ".join(name for name, one in FORMATS.items() if one.write is not None),
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write into")
    parser.add_argument("--tasks", help="comma separated (default: all that the format fits)")
    parser.add_argument(
        "--rule",
        choices=RULES,
        default="strict",
        help="verdicts to export: strict (default), or official, the benchmark's own scorer where it is no judge model",
    )
    parser.add_argument("--model", help="name of the model in the files (default: the run's)")
    parser.add_argument(
        "--allow-partial", action="store_true", help="write slices in leaderboard formats, marked as partial"
    )
    return parser.parse_args(argv)


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: written; 2: the input cannot be used."""
    args = parse_args(argv)
    tasks = [name.strip() for name in args.tasks.split(",") if name.strip()] if args.tasks else None
    try:
        written = export(args.run, args.to, args.out, tasks, args.rule, args.model, args.allow_partial)
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for path in written:
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
