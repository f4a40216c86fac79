"""Markdown made of record files: the tables of experiments, of the benchmarks' rankings and of single runs.

Every figure on these pages comes from a record file. Under the folder of results:

    experiments/NAME/results.json   the record of an experiment; notes.md beside it, if present, is its discussion
    score_ranking/NAME.json         written by the benchmark of this name, also with notes.md
    latent_probe/NAME.json          the same
    quickstart/NAME/summary.json    the summary of a training run
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from tabulate import tabulate

from rlfr_mm.experiments.comparison import Comparison, compare
from rlfr_mm.experiments.curves import plot_experiment
from rlfr_mm.experiments.records import CellRecord, ExperimentRecord, read_results
from rlfr_mm.files import read_json, write_whole

AUCS = {
    "auc/flow_reward": "within-group AUC",
    "auc/deviation": "AUC of minus deviation",
    "auc/logprob": "AUC of log-probability",
}
RANKINGS = {"score_ranking": "Which score ranks rollouts", "latent_probe": "What the latents know"}  # folder: heading


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
    summaries = sorted(folder.glob("quickstart/*/summary.json"))
    if not experiments and not any(rankings.values()) and not summaries:
        names = ", ".join(["experiments/NAME/results.json", *(f"{name}/NAME.json" for name in RANKINGS)])
        raise ValueError(f"{folder} has no record files; it should hold {names} or quickstart/NAME/summary.json")
    made_by = f"Written by `python -m rlfr_mm.results {folder}` from the record files"
    if summaries:
        table = summary_table({path.parent.name: read_json(path) for path in summaries})
        write_whole(folder / "quickstart" / "README.md", f"# quickstart\n\n{made_by} beside it.\n\n{table}")
    parts = ["# Results", f"{made_by} under it."]
    for path in experiments:
        write_report(path.parent)
        record = read_results(path)
        if record.cells:
            picture = f"![learning curves]({path.parent.relative_to(folder.parent)}/curves.png)"
            table = experiment_table(record).strip()
            parts += [f"## {record.name}", record.about, table, picture, *_notes(path.parent)]
    for name, records in rankings.items():
        if records:
            parts += [f"## {RANKINGS[name]}", *_notes(folder / name), *map(ranking_table, records)]
    if len(parts) > 2:
        write_whole(folder.with_suffix(".md"), "\n\n".join(parts) + "\n")


def _notes(folder: Path) -> list[str]:
    notes = folder / "notes.md"
    return [notes.read_text().strip()] if notes.exists() else []


def experiment_table(record: ExperimentRecord) -> str:
    """Markdown: a table per condition with one row per method, then how to read its columns."""
    comparisons = compare(record)
    found = {(each.condition, each.method, each.against): each for each in comparisons}
    with_steps = record.target_accuracy is not None
    header = ["method", "seeds", "before", "after"]
    for against in record.compare_to:
        header += [f"gain over {against}", "corrected p", *(["steps saved", "corrected p"] if with_steps else [])]
    header += [*AUCS.values(), "AUC gain", "minutes"]
    parts = []
    for condition in record.conditions:
        rows = []
        for method, by_seed in record.of(condition).items():
            cells = list(by_seed.values())
            row = [method, str(len(cells))]
            row += [_mean([cell.accuracy_before for cell in cells], 1, 100)]
            row += [_mean([cell.accuracy_after for cell in cells], 1, 100)]
            for against in record.compare_to:
                row += _compared(found.get((condition, method, against)), with_steps)
            row += [_mean([_auc(cell, key) for cell in cells], 3) for key in AUCS]
            row += [_mean([cell.auc_gain for cell in cells], 3)]
            row += [_mean([cell.seconds["training"] for cell in cells], 1, 1 / 60)]
            rows.append(row)
        parts.append(f"### {condition}\n\n{_markdown(header, rows)}")
    return "\n\n".join([*parts, _legend(record, comparisons)]) + "\n"


def _compared(comparison: Comparison | None, with_steps: bool) -> list[str]:
    if comparison is None:
        return [""] * (4 if with_steps else 2)
    gain, low, high = comparison.points
    cells = [f"{gain:+.1f} [{low:+.1f}, {high:+.1f}]", f"{comparison.p:.3g}"]
    return cells + ([f"{comparison.steps_saved:+g}", f"{comparison.steps_p:.3g}"] if with_steps else [])


def _legend(record: ExperimentRecord, comparisons: Sequence[Comparison]) -> str:
    problems = ", ".join(f"{len(ids)} ({condition})" for condition, ids in record.problems.items())
    gains = [100 * each.gain.detectable for each in comparisons if each.gain.detectable]
    power = f" True gains of {min(gains):.1f} to {max(gains):.1f} points are found with 80 % power." if gains else ""
    lines = [
        f"Held-out accuracy in percent over {problems} problems, ± one standard error over seeds.",
        f"Gains are paired by seed and problem, with 95 % intervals; p is corrected (Holm) for the {len(comparisons)} "
        f"comparisons here.{power}",
    ]
    if record.target_accuracy is not None:
        lines.append(
            f"Steps saved until {100 * record.target_accuracy:g} % of the training rollouts are right: median over "
            "seeds. Its p is that of Wilcoxon's signed-rank test, corrected in the same way."
        )
    hardware = {f"{cell.hardware['gpu'] or 'no GPU'}, {cell.hardware['cpu_cores']} CPU cores" for cell in record.cells}
    commits = {_short(cell.git_commit) for cell in record.cells}
    versions = ", ".join(f"{name} {number}" for name, number in record.cells[0].versions.items())
    lines += [
        "Within-group AUC: P(the mean reward of a correct rollout is above that of an incorrect one to the same "
        "prompt), averaged over steps. Beside it are the AUCs of minus the deviation and of the log-probability.",
        "AUC gain: what the mean reward adds to the log-probability over the whole run. It is the AUC of a logistic "
        "regression on both, two-fold cross-fitted over prompts, minus the AUC of the log-probability alone.",
        "Minutes are those of RL.",
        f"{len(record.cells)} runs on {'; '.join(sorted(hardware))}; commits {', '.join(sorted(commits))}; {versions}.",
    ]
    return "\n".join(f"- {line}" for line in lines)


def _short(commit: str | None) -> str:
    number, _, dirty = (commit or "unknown").partition("-")
    return f"{number[:10]}-{dirty}" if dirty else number[:10]


def _auc(cell: CellRecord, key: str) -> float | None:
    values = [value for value in cell.curves.get(key, []) if value is not None]
    return sum(values) / len(values) if values else None


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
        auc, gain = (
            f"{row[key]['value']:{sign}.3f} [{row[key]['low']:{sign}.3f}, {row[key]['high']:{sign}.3f}]"
            for key, sign in (("auc", ""), ("gain", "+"))
        )
        rows.append(["" if row[name] is None else str(row[name]) for name in columns] + [auc, gain])
    about = (
        f"{record['rollouts']} rollouts of {record['prompts']} prompts. The policy answers {record['accuracy']:.1%} "
        f"correctly; {record['groups_all_wrong']:.1%} of its groups are all wrong and "
        f"{record['groups_all_right']:.1%} all right."
    )
    table = _markdown([*columns, "within-group AUC", "gain over log-probability"], rows)
    return f"### Level {record['level']}\n\n{about}\n\n{table}"


def summary_table(summaries: dict[str, dict[str, Any]]) -> str:
    """Markdown: one row per run with its held-out accuracy before and after, then the commands that made the runs.

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
    first = next(iter(summaries.values()))
    n, cores = first["accuracy_after"]["n"], first["hardware"]["cpu_cores"]
    versions = ", ".join(f"{name} {number}" for name, number in first["versions"].items())
    commands = "\n".join(f"- {name}: `{summary['command']}`" for name, summary in summaries.items())
    return (
        f"{_markdown(['run', 'method', 'seed', 'steps', 'before', 'after', 'gain', 'minutes'], rows)}\n\n"
        f"Accuracy in percent ± one standard error over {n} held-out problems, on {cores} CPU cores.\n\n"
        f"Made by:\n\n{commands}\n\nWith {versions}.\n"
    )


def _markdown(header: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table; cells are text already, so tabulate must not reformat what looks like a number."""
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)
