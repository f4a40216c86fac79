"""The engine of `eval.export`: writes the tasks of a run in a format, unless a slice would pass for a benchmark."""

import difflib
from collections.abc import Sequence
from pathlib import Path

from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.records import RunError, clean_text, complete_rows
from rlfr_mm.eval.engine.scoring import result
from rlfr_mm.eval.formats import FORMATS, EvaluatedRun, EvaluatedTask, Format, checks
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
    """Write a run in the named format; returns the files.

    Args:
        tasks: the tasks to write; None for all that the format fits.
        rule: verdicts to export, strict or those of the benchmark's own scorer.
        model: name of the model in the files; None for that of the run.
        allow_partial: write slices even in formats that leaderboards read, marked as partial.

    Raises:
        ValueError: there is no such format or run, no task fits, or a slice would go to a leaderboard.

    >>> export(Path("runs/eval"), "markdown", Path("out"))
    [PosixPath('out/scores.md')]
    """
    chosen, evaluated = _chosen(run, name, tasks, rule, model, allow_partial)
    try:
        with complete_rows(f"{run} as {name}"):
            return chosen.write(evaluated, out)  # type: ignore[misc]
    except OSError as error:
        raise RunError(f"cannot write to {out}: {error.strerror}") from error


def check(
    run: Path,
    name: str,
    out: Path,
    tasks: Sequence[str] | None = None,
    rule: RuleName = "strict",
    model: str | None = None,
) -> tuple[list[str], str]:
    """What keeps the files that `export` wrote from being submitted, one line each; and how they are submitted.

    Slices are refused, whatever the format. ValueError as for `export`, or if nobody takes submissions in this format.
    """
    found = checks.problems(name, *_chosen(run, name, tasks, rule, model, False), out)
    return found, checks.BOARDS[name].submit


def _chosen(
    run: Path, name: str, tasks: Sequence[str] | None, rule: RuleName, model: str | None, allow_partial: bool
) -> tuple[Format, EvaluatedRun]:
    """The format, and the part of the run that it fits. RunError as `export` says."""
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
    return chosen, EvaluatedRun(evaluated.manifest, fitting)


def format_named(name: str) -> Format:
    """The format of this name that can be written. RunError with the nearest names if there is none."""
    writable = {key: one for key, one in FORMATS.items() if one.write is not None}
    if name not in writable:
        nearest = difflib.get_close_matches(name, writable, n=3, cutoff=0.4)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else f"the formats are {', '.join(writable)}"
        raise RunError(f"unknown format {name!r}: {hint}")
    return writable[name]


def evaluate_rows(run: Path, rule: RuleName, model: str | None = None) -> EvaluatedRun:
    """The tasks of a run that have rows, with their results by `rule`. RunError if no task has rows."""
    manifest = run_files.read_manifest(run)
    if model:
        manifest = manifest.model_copy(update={"model": manifest.model.model_copy(update={"name": clean_text(model)})})
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
        raise RunError(f"{run} has no rows to export: first answer tasks with eval.run or eval.score --from")
    return EvaluatedRun(manifest, tasks)


def _check(chosen: Format, name: str, tasks: Sequence[EvaluatedTask], allow_partial: bool) -> None:
    for task in tasks:
        if chosen.one_sample and task.plan.samples > 1:
            raise RunError(
                f"{name} holds one response to each problem, {task.spec.name} has {task.plan.samples}; "
                "every-eval-ever and lmms-eval hold several"
            )
        if chosen.leaderboard and task.note and not allow_partial:
            raise RunError(
                f"{task.spec.name} is not the whole benchmark ({task.note}); --allow-partial writes it, marked as such"
            )
