"""One HTML page of one or more evaluation runs: `python -m eval.report RUN [RUN...] --out page.html`.

Scores with intervals, scores by category, pass@k, outcomes, response lengths, and every response beside its problem.
All figures come from the rows; the page is a single file that loads nothing. It holds at most 20,000 responses (of
more, the first of each problem), 20,000 characters of each, and 40 MB of pictures, 400 pixels at their longer side.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, RunError, SampleRow

if TYPE_CHECKING:
    from markupsafe import Markup

    from rlfr_mm.tasks.spec import TaskSpec
    from rlfr_mm.viewing.page import charts

TEMPLATE = Path(__file__).parent / "templates" / "report.html"
STATUS_NAMES = {
    "correct": "correct",
    "wrong": "wrong",
    "no_answer": "no answer",
    "timeout": "grader timeout",
    "error": "grader error",
}
RUN_COLOURS = 6


@dataclass(frozen=True)
class Run:
    """A run folder as it is read."""

    label: str
    colour: str  # a class of the page's style
    manifest: Manifest
    rows: dict[str, list[SampleRow]]  # by task


@dataclass(frozen=True)
class TaskRun:
    """One task in one run, scored under both rules."""

    run: Run
    spec: "TaskSpec"
    rows: list[SampleRow]
    strict: BenchmarkResult
    official: BenchmarkResult

    @property
    def headline(self) -> "charts.Bar | None":
        """The score that the benchmark is quoted by; None where it has no interval, as that of a single problem."""
        interval = self.strict.interval
        return _bar(self.run, self.strict.score, interval) if interval else None


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs, labelled by their folders' names, or by whole paths where two have one name.

    Raises:
        RunError: a folder holds no run, or a run without any row; or a folder is given twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise RunError(f"a run folder is given twice: {' '.join(map(str, folders))}")
    names = [folder.resolve().name for folder in folders]
    runs = []
    for number, (folder, name) in enumerate(zip(folders, names, strict=True)):
        manifest = run_files.read_manifest(folder)
        rows = {task: found for task, found in run_files.read_run(folder).items() if found}
        if not rows:
            raise RunError(f"{folder} has no responses yet: finish it with eval.run, or leave it out")
        label = name if names.count(name) == 1 else str(folder)
        runs.append(Run(label, f"run{number % RUN_COLOURS}", manifest, rows))
    return runs


def score_tasks(runs: Sequence[Run]) -> tuple[dict[str, list[TaskRun]], list[str]]:
    """The scored runs of each task in the order of the command line, and what could not be scored."""
    from rlfr_mm.eval.score import result
    from rlfr_mm.tasks import registry

    scored: dict[str, list[TaskRun]] = {}
    complaints = []
    for run in runs:
        for task, rows in run.rows.items():
            try:
                spec = registry.task(task)
                plan, model = run.manifest.tasks[task], run.manifest.model.name
                strict, official = (result(spec, plan, model, rows, rule) for rule in ("strict", "official"))
            except Exception as error:  # of one task; its responses are shown all the same
                complaints.append(f"{run.label}, {task}: no scores: {error}")
            else:
                scored.setdefault(task, []).append(TaskRun(run, spec, rows, strict, official))
    return scored, complaints


def pass_at_k(member: TaskRun) -> list["charts.Bar"]:
    """pass@1 ... pass@n with intervals over problems, n the samples that every problem has."""
    from rlfr_mm.eval.score import aggregate_rows
    from rlfr_mm.statistics import score_interval
    from rlfr_mm.tasks import aggregate

    groups = list(aggregate.group_by_problem(aggregate_rows(member.rows)).values())
    clusters = [aggregate.cluster_of(group[0], member.spec.cluster) for group in groups]
    n = min(len(group) for group in groups)
    correct = [sum(row["status"] == "correct" for row in group[:n]) for group in groups]
    curve = []
    for k in range(1, n + 1):
        values = [aggregate.pass_at_k(n, right, k) for right in correct]
        curve.append(_bar(member.run, sum(values) / len(values), score_interval(values, clusters)))
    return curve


def category_scores(member: TaskRun, field: str) -> dict[str, tuple[int, "charts.Bar"]]:
    """By value of a category: the number of problems, and their mean score with its interval."""
    from rlfr_mm.eval.score import aggregate_rows
    from rlfr_mm.statistics import score_interval
    from rlfr_mm.tasks import aggregate

    means: dict[str, list[float]] = {}
    clusters: dict[str, list[str]] = {}
    for group in aggregate.group_by_problem(aggregate_rows(member.rows)).values():
        for value in group[0]["categories"].get(field, ()):
            means.setdefault(value, []).append(sum(row["score"] for row in group) / len(group))
            clusters.setdefault(value, []).append(aggregate.cluster_of(group[0], member.spec.cluster))
    return {
        value: (len(scores), _bar(member.run, sum(scores) / len(scores), score_interval(scores, clusters[value])))
        for value, scores in sorted(means.items())
    }


def _bar(run: Run, value: float, interval: records.Interval) -> "charts.Bar":
    from rlfr_mm.viewing.page.charts import Bar

    return Bar(run.label, run.colour, value, (interval.low, interval.high))


# ---------------------------------------------------------------------------------------------------- charts


def category_charts(members: Sequence[TaskRun]) -> list[tuple[str, "Markup"]]:
    """A chart for each category of the task's breakdown that its rows have."""
    from rlfr_mm.viewing.page.charts import interval_bars

    drawn = []
    for field in members[0].spec.breakdown:
        by_run = [category_scores(member, field) for member in members]
        values = sorted(set().union(*by_run))
        groups = []
        for value in values:
            found = [scores[value] for scores in by_run if value in scores]
            counts = sorted({n for n, _ in found})
            groups.append((value, "n = " + "–".join(f"{n:,}" for n in counts), [bar for _, bar in found]))
        if groups:
            drawn.append((field.replace("_", " "), interval_bars(f"Score by {field}", groups)))
    return drawn


def pass_chart(members: Sequence[TaskRun]) -> "Markup | None":
    """pass@k over k with its band, of the runs with several samples of every problem; None where there is none."""
    from rlfr_mm.viewing.page.charts import Line, line_chart

    lines = []
    for member in members:
        curve = pass_at_k(member)
        if len(curve) > 1:
            y, low, high = zip(*((bar.value, *bar.interval) for bar in curve), strict=True)
            lines.append(Line(member.run.label, member.run.colour, range(1, len(curve) + 1), y, low, high))
    return line_chart("pass@k", lines, "k", log2_x=True, shares=True) if lines else None


def outcome_chart(members: Sequence[TaskRun]) -> "Markup":
    """How many responses were correct, wrong, without an answer, or not graded."""
    from rlfr_mm.viewing.page.charts import Part, stacked_bars

    rows = []
    for member in members:
        counts = member.strict.counts
        rows.append((member.run.label, [Part(name, status, counts[status]) for status, name in STATUS_NAMES.items()]))
    return stacked_bars("Outcomes", rows)


def length_chart(members: Sequence[TaskRun]) -> tuple[str, "Markup"]:
    """The unit (tokens where every row knows them, else characters) and the spread of lengths by run and outcome."""
    import numpy as np

    from rlfr_mm.viewing.page.charts import Spread, spread_bars

    known = all(row.completion_tokens is not None for member in members for row in member.rows)
    spreads = []
    for member in members:
        for status, name in STATUS_NAMES.items():
            rows = [row for row in member.rows if row.verdict.status == status]
            lengths = [row.completion_tokens if known else len(row.response) for row in rows]
            if lengths:
                p5, p25, p50, p75, p95 = np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
                label = f"{member.run.label}: {name}"
                spreads.append(Spread(label, status, len(lengths), (p5, p25, p50, p75, p95)))
    unit = "tokens" if known else "characters"
    return unit, spread_bars(f"Response length in {unit}", spreads, unit)


# ---------------------------------------------------------------------------------------------------- the page


def report_page(runs: Sequence[Run], data_root: Path | None = None) -> tuple[str, list[str]]:
    """The page of the runs, and what it had to leave out, one line each (the page says so too).

    Args:
        data_root: mirror of the datasets that images are read from; None for the ones that the runs read.
    """
    from rlfr_mm.eval.engine import report_samples
    from rlfr_mm.viewing.page.charts import interval_strip
    from rlfr_mm.viewing.page.html import render_page

    scored, notes = score_tasks(runs)
    cards, texts = report_samples.cards([run.rows for run in runs])
    total = sum(len(rows) for run in runs for rows in run.rows.values())
    kept = sum(len(card["answers"]) for card in cards)
    if kept < total:
        notes.append(f"the responses below are {kept:,} of {total:,}, the first of each problem; the scores count all")
    manifests = [run.manifest for run in runs]
    roots = {card["task"]: report_samples.data_roots(data_root, manifests, card["task"]) for card in cards}
    images, missing = report_samples.add_images(cards, roots)
    if missing:
        notes.append(missing)
    page = render_page(
        TEMPLATE,
        TEMPLATE.with_suffix(".js"),
        "Evaluation: " + ", ".join(run.label for run in runs),
        {
            "runs": [{"label": run.label, "colour": run.colour} for run in runs],
            "statuses": STATUS_NAMES,
            "cards": cards,
            "texts": texts,
            "images": images,
        },
        runs=runs,
        scored=scored,
        notes=notes,
        strip=interval_strip,
        categories={task: drawn for task, members in scored.items() if (drawn := category_charts(members))},
        passes={task: chart for task, members in scored.items() if (chart := pass_chart(members))},
        outcomes={task: outcome_chart(members) for task, members in scored.items()},
        lengths={task: length_chart(members) for task, members in scored.items()},
        statuses=STATUS_NAMES,
        shown=kept,
    )
    return page, notes


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: the page is written; 2: the input cannot be used."""
    parser = argparse.ArgumentParser(prog="python -m eval.report", description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="run folder of eval.run or eval.score --from")
    parser.add_argument("--out", required=True, type=Path, help="the HTML file to write")
    parser.add_argument("--data_root", type=Path, help="local mirror to read the images from (default: the runs' own)")
    args = parser.parse_args(argv)
    try:
        page, notes = report_page(read_runs(args.runs), args.data_root)
        try:
            args.out.write_text(page, encoding="utf-8")
        except OSError as error:
            raise RunError(f"cannot write --out {args.out}: {error.strerror}") from error
    except RunError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for note in notes:
        run_files.warn(note)
    print(f"{args.out}: {len(page.encode()) / 1e6:.1f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
