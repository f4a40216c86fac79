"""The engine of `eval.report`: one HTML page of evaluation runs, with every figure computed from the rows."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from rlfr_mm.eval.engine import report_cards, run_files
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, RunError, SampleRow, complete_rows
from rlfr_mm.eval.engine.scoring import aggregate_rows, result
from rlfr_mm.grading import SCORERS
from rlfr_mm.statistics import Interval, score_interval
from rlfr_mm.tasks import aggregate, registry
from rlfr_mm.tasks.spec import TaskSpec
from rlfr_mm.viewing.page import charts
from rlfr_mm.viewing.page.html import render_page

TEMPLATE = Path(__file__).parents[1] / "templates" / "report.html"
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
    """A run folder in memory."""

    label: str
    colour: str  # a class in the style sheet of the page
    manifest: Manifest
    rows: dict[str, list[SampleRow]]  # by task


@dataclass(frozen=True)
class TaskRun:
    """One task of one run, scored by both rules."""

    run: Run
    spec: TaskSpec
    rows: list[SampleRow]
    strict: BenchmarkResult
    official: BenchmarkResult

    @property
    def has_official_rule(self) -> bool:
        """Whether the benchmark has a scorer of its own that can be reproduced."""
        return SCORERS[self.spec.scorer].reproduces_benchmark

    @property
    def headline(self) -> charts.Bar | None:
        """The headline score as a bar; None if it has no interval, as for a single problem."""
        interval = self.strict.interval
        return _bar(self.run, self.strict.score, interval) if interval else None


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs, labelled by the names of their folders, or by their paths if two folders have the same name.

    Raises:
        RunError: a folder is not a run, has no rows, or is given twice.
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
    """Per task its scored runs in the order of the command line; and one line for each that cannot be scored."""
    scored: dict[str, list[TaskRun]] = {}
    complaints = []
    for run in runs:
        for task, rows in run.rows.items():
            try:
                spec = registry.task(task)
                plan, model = run.manifest.tasks[task], run.manifest.model.name
                strict, official = (result(spec, plan, model, rows, rule) for rule in ("strict", "official"))
            except Exception as error:  # costs the scores of one task; its responses are still shown
                complaints.append(f"{run.label}, {task}: no scores: {error}")
            else:
                scored.setdefault(task, []).append(TaskRun(run, spec, rows, strict, official))
    return scored, complaints


def pass_at_k(member: TaskRun) -> list[charts.Bar]:
    """pass@1 ... pass@n with intervals over problems, for the n samples that every problem has."""
    groups = list(aggregate.group_by_problem(aggregate_rows(member.rows)).values())
    clusters = [aggregate.cluster_of(group[0], member.spec.cluster) for group in groups]
    n = min(len(group) for group in groups)
    correct = [sum(row["status"] == "correct" for row in group[:n]) for group in groups]
    curve = []
    for k in range(1, n + 1):
        values = [aggregate.pass_at_k(n, right, k) for right in correct]
        curve.append(_bar(member.run, sum(values) / len(values), score_interval(values, clusters)))
    return curve


def category_scores(member: TaskRun, field: str) -> dict[str, tuple[int, charts.Bar]]:
    """Per value of a category the number of problems, and their mean score with its interval."""
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


def _bar(run: Run, value: float, interval: Interval) -> charts.Bar:
    return charts.Bar(run.label, run.colour, value, (interval.low, interval.high))


# ---------------------------------------------------------------------------------------------------- charts


def category_charts(members: Sequence[TaskRun]) -> list[tuple[str, Markup]]:
    """One chart per category in the breakdown of the task that its rows have."""
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
            drawn.append((field.replace("_", " "), charts.interval_bars(f"Score by {field}", groups)))
    return drawn


def pass_chart(members: Sequence[TaskRun]) -> Markup | None:
    """pass@k over k with its band, for runs with several samples per problem; None if there are no such runs."""
    lines = []
    for member in members:
        curve = pass_at_k(member)
        if len(curve) > 1:
            y, low, high = zip(*((bar.value, *bar.interval) for bar in curve), strict=True)
            lines.append(charts.Line(member.run.label, member.run.colour, range(1, len(curve) + 1), y, low, high))
    return charts.line_chart("pass@k", lines, "k", log2_x=True, shares=True) if lines else None


def outcome_chart(members: Sequence[TaskRun]) -> Markup:
    """The numbers of responses that are correct, wrong, without an answer, or could not be graded."""
    rows = []
    for member in members:
        counts = member.strict.counts
        rows.append(
            (member.run.label, [charts.Part(name, status, counts[status]) for status, name in STATUS_NAMES.items()])
        )
    return charts.stacked_bars("Outcomes", rows)


def length_chart(members: Sequence[TaskRun]) -> tuple[str, Markup]:
    """The unit (tokens if every row has them, else characters) and the spread of lengths by run and outcome."""

    known = all(row.completion_tokens is not None for member in members for row in member.rows)
    spreads = []
    for member in members:
        for status, name in STATUS_NAMES.items():
            rows = [row for row in member.rows if row.verdict.status == status]
            lengths = [row.completion_tokens if known else len(row.response) for row in rows]
            if lengths:
                p5, p25, p50, p75, p95 = np.quantile(lengths, [0.05, 0.25, 0.5, 0.75, 0.95]).tolist()
                label = f"{member.run.label}: {name}"
                spreads.append(charts.Spread(label, status, len(lengths), (p5, p25, p50, p75, p95)))
    unit = "tokens" if known else "characters"
    return unit, charts.spread_bars(f"Response length in {unit}", spreads, unit)


# ---------------------------------------------------------------------------------------------------- the page


def report_page(runs: Sequence[Run], data_root: Path | None = None) -> tuple[str, list[str]]:
    """The page of the runs, and one line for everything that it leaves out (which the page also shows).

    Args:
        data_root: local mirror of the datasets to read images from; None for the mirrors that the runs used.
    """
    scored, notes = score_tasks(runs)
    cards, prompts = report_cards.cards([run.rows for run in runs])
    total = sum(len(rows) for run in runs for rows in run.rows.values())
    kept = sum(len(card["answers"]) for card in cards)
    if kept < total:
        notes.append(f"the responses below are {kept:,} of {total:,}, the first of each problem; the scores count all")
    manifests = [run.manifest for run in runs]
    roots = {card["task"]: report_cards.data_roots(data_root, manifests, card["task"]) for card in cards}
    images, missing = report_cards.add_images(cards, roots)
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
            "prompts": prompts,
            "official": [task for task, members in scored.items() if members[0].has_official_rule],
            "images": images,
        },
        runs=runs,
        scored=scored,
        notes=notes,
        strip=charts.interval_strip,
        categories={task: drawn for task, members in scored.items() if (drawn := category_charts(members))},
        passes={task: chart for task, members in scored.items() if (chart := pass_chart(members))},
        outcomes={task: outcome_chart(members) for task, members in scored.items()},
        lengths={task: length_chart(members) for task, members in scored.items()},
        statuses=STATUS_NAMES,
        shown=kept,
        official=any(members[0].has_official_rule for members in scored.values()),
    )
    return page, notes


def write_report(folders: Sequence[Path], out: Path, data_root: Path | None = None) -> int:
    """Write the page of these run folders and warn about what it leaves out. Returns its size in bytes."""
    if data_root is not None and not data_root.is_dir():
        raise RunError(f"--data_root {data_root} is not a folder")
    with complete_rows(", ".join(map(str, folders))):
        page, notes = report_page(read_runs(folders), data_root)
    run_files.write_text(out, page)
    for note in notes:
        run_files.warn(note)
    return len(page.encode())
