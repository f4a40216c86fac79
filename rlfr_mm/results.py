"""What experiments found: their records, tables and pictures. `python -m rlfr_mm.results` writes docs/results.md anew.

FOLDER/experiments/NAME/results.json holds the records of an experiment; notes.md beside it, where there is one, what
its authors make of them. FOLDER/score_ranking/NAME.json and FOLDER/latent_probe/NAME.json are written by the
benchmarks of these names. Every figure in a table comes from these records.
"""

import argparse
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, ValidationError

from rlfr_mm.config_file import one_line_errors

UNGRADED = "?"
AUCS = {
    "auc/flow_reward": "within-group AUC",
    "auc/deviation": "AUC of minus deviation",
    "auc/logprob": "AUC of log-probability",
}
RANKINGS = {  # the folders of the benchmarks' records: their heading and what the figures are
    "score_ranking": """## Which score ranks rollouts

Before any RL: does the mean score of a rollout's tokens rank the rollouts of a group, and does it say more
than the log-probability? AUC is P(a correct rollout scores above an incorrect one to the same prompt), ties one half;
the gain is that of both together over the log-probability alone, weighed on half of the prompts and ranked on the
other. Brackets are 95 % intervals over prompts. Of so many scores some intervals exclude 0 by chance.""",
    "latent_probe": """## What the latents know

The same ranking, by learners of graded rollouts that see a token's latents and those of the one before it: a
classifier, the field taught by preference (Diffusion-DPO, right against wrong rollouts of a prompt), and the log-ratio
of two fields taught by flow matching. Prompts learnt from come with eight rollouts each.""",
}
CURVES = ("accuracy", *AUCS, "flow/shaping_magnitude")  # of metrics.jsonl, one value a step


class CellRecord(BaseModel):
    """One finished training run."""

    model_config = ConfigDict(extra="forbid")

    condition: str
    method: str
    seed: int
    settings: dict[str, Any]  # what it lays over the base
    accuracy_before: float | None  # of the held-out problems that could be graded
    accuracy_after: float | None
    correct_before: str  # one character per held-out problem: 1 right, 0 wrong, ? not graded
    correct_after: str
    curves: dict[str, list[float | None]]
    auc_gain: float | None  # of reward and log-probability together over the latter; None: no rollouts recorded
    seconds: dict[str, float]  # by stage
    hardware: dict[str, Any]
    versions: dict[str, str]
    git_commit: str | None

    @property
    def key(self) -> tuple[str, str, int]:
        return self.condition, self.method, self.seed


class ExperimentRecord(BaseModel):
    """All finished runs of an experiment."""

    model_config = ConfigDict(extra="forbid")

    name: str
    about: str
    base: dict[str, Any]  # the settings that all cells start from
    compare_to: list[str]
    target_accuracy: float | None
    problems: dict[str, list[str]]  # by condition, the ids of the held-out problems
    cells: list[CellRecord]

    @property
    def conditions(self) -> list[str]:
        return list(dict.fromkeys(cell.condition for cell in self.cells))

    def of(self, condition: str) -> dict[str, dict[int, CellRecord]]:
        """The cells of a condition by method and seed."""
        found: dict[str, dict[int, CellRecord]] = {}
        for cell in self.cells:
            if cell.condition == condition:
                found.setdefault(cell.method, {})[cell.seed] = cell
        return found


@dataclass(frozen=True)
class Comparison:
    """A method against another on the seeds that both have; p is corrected for all comparisons of the experiment."""

    condition: str
    method: str
    against: str
    seeds: int
    gain: float  # of held-out accuracy
    low: float  # 95 % interval
    high: float
    p: float
    detectable: float  # the true gain that the test finds with probability 0.8 at p < 0.05
    steps_saved: float | None  # until the target accuracy, median over seeds; None without a target
    steps_p: float | None


def read_results(path: Path) -> ExperimentRecord:
    """The record file of an experiment; ValueError in one line where it is none."""
    try:
        return ExperimentRecord.model_validate_json(path.read_text())
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise ValueError(f"{path} is no record of an experiment: {first['loc']}: {first['msg']}") from None


def write_results(record: ExperimentRecord, path: Path) -> None:
    """Write the record file, one line per cell, so that a diff shows which cells are new."""
    from rlfr_mm.files import write_whole

    head = record.model_dump_json(exclude={"cells"}).removesuffix("}")
    cells = ",\n".join(cell.model_dump_json() for cell in record.cells)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, f'{head},"cells":[\n{cells}\n]}}\n')


def compare(record: ExperimentRecord) -> list[Comparison]:
    """Every method against those of `compare_to`, paired by seed and problem, with Holm's correction.

    Accuracies: t over seeds and problems, both random. Steps: Wilcoxon's signed ranks over seeds; a run that does not
    reach the target counts as one step more than it has. The two are corrected apart.
    """
    from rlfr_mm.statistics import holm, minimal_detectable_difference, paired_seeds

    found: list[Comparison] = []
    for condition in record.conditions:
        methods = record.of(condition)
        pairs = [
            (method, against)
            for index, against in enumerate(record.compare_to)
            for method in methods
            if against in methods and method != against and method not in record.compare_to[:index]
        ]
        for method, against in pairs:
            seeds = sorted(methods[method].keys() & methods[against].keys())
            if not seeds:
                continue
            ours, theirs = ([methods[name][seed] for seed in seeds] for name in (method, against))
            a, b = (np.array([[*cell.correct_after] for cell in cells]) for cells in (theirs, ours))
            graded = ((a != UNGRADED) & (b != UNGRADED)).all(0)
            if graded.sum() < 2:
                continue
            test = paired_seeds((a == "1")[:, graded], (b == "1")[:, graded])
            saved = steps_p = None
            if record.target_accuracy is not None:
                target = record.target_accuracy
                until = [np.array([steps_to(cell, target) for cell in cells]) for cells in (theirs, ours)]
                saved, steps_p = _signed_ranks(until[0] - until[1])
            found.append(
                Comparison(
                    condition=condition,
                    method=method,
                    against=against,
                    seeds=len(seeds),
                    gain=test.difference,
                    low=test.interval.low,
                    high=test.interval.high,
                    p=test.p,
                    detectable=minimal_detectable_difference(test.standard_error),
                    steps_saved=saved,
                    steps_p=steps_p,
                )
            )
    corrected = holm([each.p for each in found])
    corrected_steps = holm([each.steps_p for each in found if each.steps_p is not None])
    return [
        Comparison(**{**vars(each), "p": p, "steps_p": corrected_steps[i] if corrected_steps else None})
        for i, (each, p) in enumerate(zip(found, corrected, strict=True))
    ]


def _signed_ranks(differences: np.ndarray) -> tuple[float, float]:
    from scipy.stats import wilcoxon

    p = float(wilcoxon(differences).pvalue) if differences.any() else 1.0
    return float(np.median(differences)), p


def steps_to(cell: CellRecord, target: float) -> int:
    """The first step whose smoothed accuracy of rollouts reaches the target; one more than there are if none does."""
    reached = np.flatnonzero(smoothed_accuracy(cell) >= target)
    return int(reached[0]) + 1 if len(reached) else len(cell.curves["accuracy"]) + 1


def smoothed_accuracy(cell: CellRecord) -> np.ndarray:
    """The learning curve as run pictures show it."""
    from rlfr_mm.experiments.curves import smoothed, window_for

    values = cell.curves["accuracy"]
    return smoothed(values, window_for(len(values)))


def table(record: ExperimentRecord) -> str:
    """Markdown: per condition a row for each method, then what the columns mean and how the figures were made."""
    comparisons = {(each.condition, each.method, each.against): each for each in compare(record)}
    parts = []
    for condition in record.conditions:
        methods = record.of(condition)
        header = ["method", "seeds", "before", "after"]
        for against in record.compare_to:
            header += [f"gain over {against}", "corrected p"]
            header += ["steps saved", "corrected p"] if record.target_accuracy is not None else []
        header += [*AUCS.values(), "AUC gain", "minutes"]
        lines = [f"### {condition}", "", _row(header), _row(["---"] * len(header))]
        for method, by_seed in methods.items():
            cells = list(by_seed.values())
            row = [method, str(len(cells))]
            row += [_mean([cell.accuracy_before for cell in cells], 1, 100)]
            row += [_mean([cell.accuracy_after for cell in cells], 1, 100)]
            for against in record.compare_to:
                row += _compared(comparisons.get((condition, method, against)), record.target_accuracy is not None)
            row += [_mean([_auc(cell, key) for cell in cells], 3) for key in AUCS]
            row += [_mean([cell.auc_gain for cell in cells], 3)]
            row += [_mean([cell.seconds["training"] for cell in cells], 1, 1 / 60)]
            lines.append(_row(row))
        parts.append("\n".join(lines))
    return "\n\n".join([*parts, _legend(record, list(comparisons.values()))]) + "\n"


def _compared(comparison: Comparison | None, with_steps: bool) -> list[str]:
    if comparison is None:
        return ["", ""] + ["", ""] * with_steps
    low, high = 100 * comparison.low, 100 * comparison.high
    cells = [f"{100 * comparison.gain:+.1f} [{low:+.1f}, {high:+.1f}]", f"{comparison.p:.3g}"]
    if with_steps and comparison.steps_saved is not None and comparison.steps_p is not None:
        cells += [f"{comparison.steps_saved:+g}", f"{comparison.steps_p:.3g}"]
    return cells


def _legend(record: ExperimentRecord, comparisons: list[Comparison]) -> str:
    first = record.cells[0]
    problems = ", ".join(f"{len(ids)} ({condition})" for condition, ids in record.problems.items())
    lines = [
        f"Held-out accuracy in percent over {problems} problems, ± one standard error over seeds. Gains are paired by "
        f"seed and problem, with 95 % intervals; p is corrected (Holm) for the {len(comparisons)} comparisons here.",
    ]
    gains = [100 * each.detectable for each in comparisons if each.detectable]  # 0: no difference varied
    if gains:
        lines[0] += f" A true gain of {min(gains):.1f} to {max(gains):.1f} points would be found in four cases of five."
    if record.target_accuracy is not None:
        lines.append(
            f"Steps saved until {100 * record.target_accuracy:g} % of the training rollouts are right: median over "
            "seeds, p by Wilcoxon's signed ranks, corrected in the same way."
        )
    lines.append(
        "Within-group AUC: P(a correct rollout's mean reward is above that of an incorrect one to the same prompt), "
        "mean over steps; beside it what minus the deviation and the log-probability reach. AUC gain: what the reward "
        "adds to the log-probability, the two weighed on half of the prompts and ranked on the other, over the whole "
        "run. Minutes are those of RL."
    )
    hardware = "; ".join(
        sorted({f"{cell.hardware['gpu'] or 'no GPU'}, {cell.hardware['cpu_cores']} CPU cores" for cell in record.cells})
    )
    versions = ", ".join(f"{name} {number}" for name, number in first.versions.items())
    commits = ", ".join(sorted({_short(cell.git_commit) for cell in record.cells}))
    lines.append(f"{len(record.cells)} runs on {hardware}; commits {commits}; {versions}.")
    return "\n".join(lines)


def _short(commit: str | None) -> str:
    number, _, dirty = (commit or "unknown").partition("-")
    return f"{number[:10]}-{dirty}" if dirty else number[:10]


def _auc(cell: CellRecord, key: str) -> float | None:
    values = [value for value in cell.curves.get(key, []) if value is not None]
    return sum(values) / len(values) if values else None


def _mean(values: list[float | None], digits: int, factor: float = 1) -> str:
    """Mean ± its standard error over seeds, where every seed has a value."""
    present = [factor * value for value in values if value is not None]
    if len(present) < len(values):
        return "–"
    mean = f"{np.mean(present):.{digits}f}"
    return f"{mean} ± {np.std(present, ddof=1) / len(present) ** 0.5:.{digits}f}" if len(present) > 1 else mean


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def write_report(folder: Path) -> None:
    """table.md and curves.png of the experiment whose results.json is in the folder."""
    from rlfr_mm.experiments.curves import plot_experiment

    record = read_results(folder / "results.json")
    if not record.cells:
        return
    (folder / "table.md").write_text(f"# {record.name}\n\n{record.about}\n\n{table(record)}")
    curves = {
        condition: {
            method: [smoothed_accuracy(cell) for cell in by_seed.values()]
            for method, by_seed in record.of(condition).items()
        }
        for condition in record.conditions
    }
    gains = {
        condition: {
            each.method: (each.gain, each.low, each.high)
            for each in compare(record)
            if each.condition == condition and each.against == record.compare_to[0]
        }
        for condition in record.conditions
    }
    plot_experiment(curves, gains, record.compare_to[0], folder / "curves.png")


def ranking_table(path: Path) -> str:
    """Markdown: every row of a record of `RANKINGS`, the best gain over log-probability first."""
    record = json.loads(path.read_text())
    columns = [name for name in record["rows"][0] if name not in ("auc", "gain")]
    header = [*columns, "within-group AUC", "gain over log-probability"]
    lines = [
        f"### Level {record['level']}",
        f"{record['rollouts']} rollouts of {record['prompts']} prompts. The policy is right in "
        f"{record['accuracy']:.1%}; {record['groups_all_wrong']:.1%} of its groups are all wrong and "
        f"{record['groups_all_right']:.1%} all right.",
        "\n".join([_row(header), _row(["---"] * len(header))]),
    ]
    for row in sorted(record["rows"], key=lambda row: -row["gain"]["value"]):
        auc, gain = (
            f"{row[key]['value']:{sign}.3f} [{row[key]['low']:{sign}.3f}, {row[key]['high']:{sign}.3f}]"
            for key, sign in (("auc", ""), ("gain", "+"))
        )
        lines[-1] += "\n" + _row([*("" if row[name] is None else str(row[name]) for name in columns), auc, gain])
    return "\n\n".join(lines)


def page(folder: Path) -> str:
    """docs/results.md: every experiment with its purpose, its table, its picture and its authors' notes."""
    parts = ["# Results", f"Written by `python -m rlfr_mm.results {folder}` from the record files under it."]
    for path in sorted(folder.glob("experiments/*/results.json")):
        record = read_results(path)
        if not record.cells:
            continue
        where = path.parent.relative_to(folder.parent)
        parts += [f"## {record.name}", record.about, table(record).strip(), f"![learning curves]({where}/curves.png)"]
        parts += _notes(path.parent)
    for name, about in RANKINGS.items():
        if records := sorted(folder.glob(f"{name}/*.json")):
            parts += [about, *_notes(folder / name), *map(ranking_table, records)]
    return "\n\n".join(parts) + "\n"


def _notes(folder: Path) -> list[str]:
    notes = folder / "notes.md"
    return [notes.read_text().strip()] if notes.exists() else []


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m rlfr_mm.results", description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", default=Path("docs/results"), help="where the records are")
    folder = parser.parse_args(argv).folder
    with one_line_errors():
        patterns = ["experiments/*/results.json", *(f"{name}/*.json" for name in RANKINGS)]
        if not any(path for pattern in patterns for path in folder.glob(pattern)):
            raise ValueError(f"no {' and no '.join(patterns).replace('*', 'NAME')} under {folder}")
        text = page(folder)
    folder.with_suffix(".md").write_text(text)


if __name__ == "__main__":
    main()
