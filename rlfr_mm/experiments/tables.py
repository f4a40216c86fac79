"""Markdown made from record files: tables of experiments, of the rankings of benchmarks, and of single runs.

Every figure on these pages comes from a record file. Under the folder of results:

    notes.md                        the first page, a template that takes its figures from the records
    experiments/NAME/results.json   the record of an experiment; notes.md beside it, if present, is its discussion
    score_ranking/NAME.json         written by the benchmark of this name, also with notes.md
    latent_probe/NAME.json          the same
    token_credit/NAME.json          written by the benchmark of this name
    step_gain/NAME.json             the same; step_gain/NAME/*.json: of several policies, shown together
    pretrained_signal/NAME.json     the same; NAME.md beside it is its page
    again/NAME.json                 benchmarks/answer_again.py: an experiment's policies, asked again in another way
    quickstart/NAME/summary.json    the summary of a training run
"""

import re
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tabulate import tabulate

from rlfr_mm.experiments.comparison import Comparison, compare
from rlfr_mm.experiments.curves import plot_experiment
from rlfr_mm.experiments.first_page import first_page
from rlfr_mm.experiments.records import ExperimentRecord, mean_over_steps, read_results
from rlfr_mm.files import read_json, write_whole

AUCS = {
    "auc/flow_reward": "within-group AUC",
    "auc/deviation": "AUC of minus deviation",
    "auc/logprob": "AUC of log-probability",
}
RANKINGS = {"score_ranking": "Which score ranks rollouts", "latent_probe": "What the latents know"}  # folder: heading
TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).parent / "templates"),
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
    keep_trailing_newline=True,
)


def write_report(folder: Path) -> None:
    """Write table.md and curves.png of the experiment whose results.json is in the folder."""
    record = read_results(folder / "results.json")
    if record.cells:
        write_whole(folder / "table.md", f"# {record.name}\n\n{record.about}\n\n{experiment_table(record)}")
        plot_experiment(record, compare(record), folder / "curves.png")


def write_results_page(folder: Path) -> None:
    """Write everything that is made from the record files of a folder of results.

    - FOLDER.md: the page with all experiments and rankings
    - FOLDER/experiments/NAME/table.md and curves.png
    - FOLDER/quickstart/README.md: the table of the runs whose summaries are there

    ValueError if the folder has no record files.
    """
    experiments = sorted(folder.glob("experiments/*/results.json"))
    rankings = {name: sorted(folder.glob(f"{name}/*.json")) for name in RANKINGS}
    summaries = {path.parent.name: read_json(path) for path in sorted(folder.glob("quickstart/*/summary.json"))}
    if not experiments and not any(rankings.values()) and not summaries:
        names = ", ".join(["experiments/NAME/results.json", *(f"{name}/NAME.json" for name in RANKINGS)])
        raise ValueError(f"{folder} has no record files; it should hold {names} or quickstart/NAME/summary.json")
    if summaries:
        template = TEMPLATES.get_template("quickstart.md.j2")
        text = template.render(folder=folder, summaries=summaries, table=summary_table(summaries))
        write_whole(folder / "quickstart" / "README.md", text)
    parts, read = [], [read_results(path) for path in experiments]
    for path, record in zip(experiments, read, strict=True):
        write_report(path.parent)
        if record.cells:
            picture = f"![learning curves]({path.parent.relative_to(folder.parent)}/curves.png)"
            table = experiment_table(record).strip()
            parts += [f"## {record.name}", record.about, table, picture, *_notes(path.parent)]
    for name, records in rankings.items():
        if records:
            parts += [f"## {RANKINGS[name]}", *_notes(folder / name), *map(ranking_table, records)]
    if parts:
        about = f"# Results\n\nWritten by `python -m rlfr_mm.results {folder}` from the record files under it."
        front = [first_page(folder, read)] if (folder / "notes.md").exists() else []
        write_whole(folder.with_suffix(".md"), "\n\n".join([about, *front, *parts]) + "\n")


def _notes(folder: Path) -> list[str]:
    notes = folder / "notes.md"
    return [notes.read_text().strip()] if notes.exists() else []


def experiment_table(record: ExperimentRecord) -> str:
    """Markdown: a table per condition with one row per method, then how to read its columns."""
    comparisons = compare(record)
    found = {(each.condition, each.method, each.against): each for each in comparisons}
    header = ["method", "seeds", "before", "after"]
    for against in record.compare_to:
        header += [f"gain over {against}", "corrected p"]
        header += ["steps saved", "corrected p"] if record.target_accuracy is not None else []
    header += [*AUCS.values(), "AUC gain", "minutes"]
    tables = {}
    for condition in record.conditions:
        rows = []
        for method, by_seed in record.of(condition).items():
            cells = list(by_seed.values())
            row = [method, str(len(cells))]
            row += [_mean([cell.accuracy_before for cell in cells], 1, 100)]
            row += [_mean([cell.accuracy_after for cell in cells], 1, 100)]
            for against in record.compare_to:
                row += _compared(found.get((condition, method, against)), record.target_accuracy is not None)
            row += [_mean([mean_over_steps(cell, key) for cell in cells], 3) for key in AUCS]
            row += [_mean([cell.auc_gain for cell in cells], 3)]
            row += [_mean([cell.seconds["training"] for cell in cells], 1, 1 / 60)]
            rows.append(row)
        tables[condition] = _markdown(header, rows)
    return TEMPLATES.get_template("experiment.md.j2").render(
        record=record,
        tables=tables,
        comparisons=comparisons,
        detectable=[100 * each.detectable for each in comparisons if each.detectable and not each.has_few_seeds],
        commits={re.sub(r"^(\w{10})\w*", r"\1", cell.git_commit or "unknown") for cell in record.cells},
    )


def _compared(comparison: Comparison | None, with_steps: bool) -> list[str]:
    if comparison is None:
        return [""] * (4 if with_steps else 2)
    gain, low, high = comparison.points
    p = "–" if comparison.has_few_seeds else f"{comparison.p:.3g}"
    cells = [f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]", p]
    return cells + ([f"{comparison.steps_saved:+g}", f"{comparison.steps_p:.3g}"] if with_steps else [])


def _mean(values: list[float | None], digits: int, factor: float = 1) -> str:
    """The mean ± its standard error over seeds; a dash unless every seed has a value."""
    present = [factor * value for value in values if value is not None]
    if len(present) < len(values):
        return "–"
    mean = f"{np.mean(present):.{digits}f}"
    return f"{mean} ± {np.std(present, ddof=1) / len(present) ** 0.5:.{digits}f}" if len(present) > 1 else mean


def ranking_table(path: Path) -> str:
    """Markdown: the rows of a record of one of the `RANKINGS`, largest gain over the log-probability first."""
    record = read_json(path)
    columns = [name for name in record["rows"][0] if name not in ("auc", "gain")]
    rows = []
    for row in sorted(record["rows"], key=lambda row: -row["gain"]["value"]):
        auc, gain = (_with_interval(row[key], sign) for key, sign in (("auc", ""), ("gain", "+")))
        rows.append(["" if row[name] is None else str(row[name]) for name in columns] + [auc, gain])
    about = (
        f"{record['rollouts']} rollouts of {record['prompts']} prompts. The policy answers {record['accuracy']:.1%} "
        f"correctly; {record['groups_all_wrong']:.1%} of its groups are all wrong and "
        f"{record['groups_all_right']:.1%} all right."
    )
    table = _markdown([*columns, "within-group AUC", "gain over log-probability"], rows)
    return f"### Level {record['level']}\n\n{about}\n\n{table}"


def _with_interval(estimate: dict[str, Any], sign: str) -> str:
    """The value and, unless there were too few prompts for one, its interval."""
    value = f"{estimate['value']:{sign}.3f}"
    return value if estimate["low"] is None else f"{value} [{estimate['low']:{sign}.3f}, {estimate['high']:{sign}.3f}]"


def summary_table(summaries: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per run with its held-out accuracy before and after.

    Args:
        summaries: by name, what the summary.json of a run holds.
    """
    rows = []
    for name, summary in summaries.items():
        before, after = summary["accuracy_before"], summary["accuracy_after"]
        accuracies = [f"{100 * each['accuracy']:.1f} ± {100 * each['standard_error']:.1f}" for each in (before, after)]
        gain = f"{100 * (after['accuracy'] - before['accuracy']):+.1f}"
        minutes = f"{sum(summary['seconds'].values()) / 60:.1f}"
        rows.append([name, summary["method"], summary["seed"], summary["steps"], *accuracies, gain, minutes])
    return _markdown(["run", "method", "seed", "steps", "before", "after", "gain", "minutes"], rows)


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; cells are text already, so tabulate must not reformat what looks like a number."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)
