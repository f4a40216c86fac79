"""Score tables for people: CSV with every number, Markdown and LaTeX with the headline scores and their intervals."""

from collections.abc import Sequence
from pathlib import Path

from tabulate import tabulate

from rlfr_mm.eval.formats.base import EvaluatedRun, EvaluatedTask, Format, scores, write_csv, write_text
from rlfr_mm.tasks.registry import GROUPS, averages

_COLUMNS = ("Task", "Metric", "Score", "95 % interval", "Problems", "No answer", "Unscored", "Remarks")


def write_scores_csv(run: EvaluatedRun, out: Path) -> list[Path]:
    """scores.csv with one line per task and metric, as fractions of 1. Only the headline has an interval."""
    lines = []
    for task in run.tasks:
        result = task.result
        for metric, value in scores(result).items():
            interval = result.interval if metric == result.headline else None
            lines.append(
                {
                    "model": run.model,
                    "task": result.task,
                    "benchmark": result.benchmark,
                    "protocol": task.protocol,
                    "metric": metric,
                    "headline": metric == result.headline,
                    "value": value,
                    "standard_error": result.metrics.get(f"{metric}_stderr", ""),
                    "interval_low": interval.low if interval else "",
                    "interval_high": interval.high if interval else "",
                    "problems": result.problems,
                    "problems_expected": result.problems_expected,
                    "samples": result.samples,
                    **result.counts,
                    "rule": result.rule,
                    "scorer": f"{result.scorer} v{result.scorer_version}",
                    "dataset": result.dataset,
                    "config": result.config or "",
                    "splits": "+".join(result.splits),
                    "revision": result.revision or "",
                    "remarks": task.note or "",
                }
            )
    return [write_csv(out / "scores.csv", lines)]


def write_markdown(run: EvaluatedRun, out: Path) -> list[Path]:
    return [write_text(out / "scores.md", f"# {run.model}\n\n{markdown_table(run)}\n")]


def markdown_table(run: EvaluatedRun) -> str:
    """The headline scores in percent, and the averages of the groups whose tasks are all whole."""
    cells = [[cell.replace("|", "\\|").replace("\n", " ") for cell in line] for line in _lines(run)]
    return tabulate(cells, _COLUMNS, tablefmt="pipe", disable_numparse=True)


def write_latex(run: EvaluatedRun, out: Path) -> list[Path]:
    """A booktabs table."""
    align = ("left", "left", "right", "left", "right", "right", "right", "left")
    cells = [[cell.replace("\n", " ") for cell in line] for line in _lines(run)]
    table = tabulate(cells, _COLUMNS, tablefmt="latex_booktabs", colalign=align, disable_numparse=True)
    return [write_text(out / "scores.tex", f"% {escaped_latex(run.model)}\n{table}\n")]


def _lines(run: EvaluatedRun) -> list[Sequence[str]]:
    headlines = {task.spec.name: task.result.score for task in run.tasks if not task.note}
    means = {name: value for group in GROUPS for name, value in averages(group, headlines).items()}
    return [_line(task) for task in run.tasks] + [
        (name, "mean of tasks", f"{100 * value:.1f}", "", "", "", "", "") for name, value in means.items()
    ]


def _line(task: EvaluatedTask) -> Sequence[str]:
    result = task.result
    interval = result.interval
    return (
        result.task,
        result.headline,
        f"{100 * result.score:.1f}",
        f"{100 * interval.low:.1f} - {100 * interval.high:.1f}" if interval else "",
        f"{result.problems}" + (f" x {result.samples}" if result.samples > 1 else ""),
        str(result.counts["no_answer"]),
        str(result.counts["timeout"] + result.counts["error"]),
        task.note or "",
    )


_LATEX = {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"} | {
    sign: f"\\{sign}" for sign in "&%$#_{}"
}


def escaped_latex(text: str) -> str:
    """The text on one line, with the characters escaped that LaTeX takes for commands."""
    return "".join(_LATEX.get(letter, letter) for letter in text.replace("\n", " "))


FORMATS = {"csv": Format(write_scores_csv), "markdown": Format(write_markdown), "latex": Format(write_latex)}
