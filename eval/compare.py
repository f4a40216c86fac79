"""Which of two methods is better, task by task: difference, interval, p, and the problems that flipped.

`python -m eval.compare RUN_A RUN_B [...]` compares every further run with the first. Several seeds of one method are
one argument: `rlvr=RUN1,RUN2,RUN3 rlfr=RUN4,RUN5,RUN6` pairs them by position, problem by problem. What is compared is
the task's headline score on the problems that all runs answered; units that count as independent are its problems, or
groups of problems where the benchmark asks variants of one question.
"""

import argparse
import json
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from rlfr_mm import statistics as stats
from rlfr_mm.eval.engine import published, run_files
from rlfr_mm.eval.engine.records import RunError, SampleRow
from rlfr_mm.eval.score import RULES, aggregate_rows, problem_scores
from rlfr_mm.grading import RuleName
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.aggregate import Row, cluster_of
from rlfr_mm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Method:
    """The runs of one method, one for each seed: rows by task."""

    label: str
    runs: list[dict[str, list[SampleRow]]]


@dataclass(frozen=True)
class TaskComparison:
    """B against A on one task; scores are fractions. Problems that one of the runs lacks are left out."""

    task: str
    a: str
    b: str
    metric: str
    score_a: float
    score_b: float
    test: stats.PairedTest
    p: float
    p_method: str
    p_holm: float | None  # over the tasks of this pair of methods
    detectable: float | None  # true difference found with 80 % power at this size; None without any spread
    problems: int
    left_out: int
    gained: list[str]  # problems that mostly A got wrong and B right
    lost: list[str]
    notes: list[str]


def load_method(text: str) -> Method:
    """A method from `[label=]RUN[,RUN...]`.

    Raises:
        RunError: a folder is no run.
    """
    label, given, folders = text.partition("=")
    if not given:
        label, folders = Path(text.split(",")[0]).name, text
    return Method(label, [run_files.read_run(Path(folder)) for folder in folders.split(",")])


def compare(a: Method, b: Method, rule: RuleName = "strict") -> list[TaskComparison]:
    """B against A on every task that all their runs have, with Holm's correction over the tasks.

    Raises:
        RunError: the numbers of seeds differ, no task is shared, or problems of one id are not the same problems.
    """
    if len(a.runs) != len(b.runs):
        raise RunError(f"{a.label} has {len(a.runs)} runs and {b.label} has {len(b.runs)}; seeds are paired one to one")
    tasks = [task for task in a.runs[0] if all(run.get(task) for run in [*a.runs, *b.runs])]
    if not tasks:
        raise RunError(f"{a.label} and {b.label} share no task with answers")
    found = [_compare_task(registry.task(task), a, b, rule) for task in tasks]
    corrected = stats.holm([one.p for one in found])
    return [TaskComparison(**(vars(one) | {"p_holm": p})) for one, p in zip(found, corrected, strict=True)]


def _compare_task(spec: TaskSpec, a: Method, b: Method, rule: RuleName) -> TaskComparison:
    every = [[run[spec.name] for run in method.runs] for method in (a, b)]
    ids = [{row.problem_id for row in rows} for rows in (*every[0], *every[1])]
    common = set.intersection(*ids)
    if len(common) < 2:
        raise RunError(f"{spec.name}: {a.label} and {b.label} share {len(common)} problems; a test needs at least 2")
    notes = _check_same(spec, [row for runs in every for rows in runs for row in rows])
    kept = [[[row for row in rows if row.problem_id in common] for rows in runs] for runs in every]
    metric = _shared_metric(spec, [rows for runs in kept for rows in runs], rule)
    units = [[_unit_scores(spec, rows, metric, rule) for rows in runs] for runs in kept]
    usable = [unit for unit in units[0][0] if not any(np.isnan(seed[unit]) for runs in units for seed in runs)]
    scores_a, scores_b = (np.array([[seed[unit] for unit in usable] for seed in runs]) for runs in units)
    if scores_a.shape[1] < 2:
        raise RunError(f"{spec.name}: fewer than 2 independent units have a {metric} in both methods")
    gained, lost = _flips(kept[0], kept[1], rule)
    test = stats.paired_test(scores_a, scores_b)
    p, p_method = test.p, test.method
    if len(a.runs) == 1 and np.isin([scores_a, scores_b], [0.0, 1.0]).all():
        _, _, p = stats.mcnemar_exact(scores_a[0], scores_b[0])
        p_method = "McNemar exact"
    return TaskComparison(
        task=spec.name,
        a=a.label,
        b=b.label,
        metric=metric,
        score_a=float(scores_a.mean()),
        score_b=float(scores_b.mean()),
        test=test,
        p=p,
        p_method=p_method,
        p_holm=None,
        detectable=stats.minimal_detectable_difference(test.standard_error) if test.standard_error else None,
        problems=len(common),
        left_out=len(set.union(*ids)) - len(common),
        gained=gained,
        lost=lost,
        notes=notes,
    )


def _check_same(spec: TaskSpec, rows: Sequence[SampleRow]) -> list[str]:
    """What differs between the runs beside the model; an error where it is the problems."""
    golds: defaultdict[str, set[str]] = defaultdict(set)
    prompts: defaultdict[str, set[str]] = defaultdict(set)
    for row in rows:
        golds[row.problem_id].add(str(row.gold))
        if row.prompt_hash:
            prompts[row.problem_id].add(row.prompt_hash)
    other = [problem for problem, found in golds.items() if len(found) > 1]
    if other:
        raise RunError(f"{spec.name}: problem {other[0]} has different answers in these runs: not the same dataset")
    differing = {
        "prompts as rendered": sum(len(found) > 1 for found in prompts.values()),
        "generation settings": len({row.generation_hash for row in rows}) > 1,
        "scorer versions (python -m eval.score RUN grades again)": len({row.scorer_version for row in rows}) > 1,
    }
    return [f"{what} differ" for what, differs in differing.items() if differs]


def _shared_metric(spec: TaskSpec, runs: Sequence[Sequence[SampleRow]], rule: RuleName) -> str:
    """The task's headline, or the nearest to it that the smallest number of samples gives."""
    metrics = [spec.aggregate(aggregate_rows(rows, rule)) for rows in runs]
    samples = min(min(Counter(row.problem_id for row in rows).values()) for rows in runs)
    wanted = (spec.headline, f"pass@{samples}") if spec.headline.startswith("pass@") else (spec.headline,)
    return next((metric for metric in wanted if all(metric in found for found in metrics)), "accuracy")


def _unit_scores(spec: TaskSpec, rows: Sequence[SampleRow], metric: str, rule: RuleName) -> dict[str, float]:
    """The metric of each independent unit by itself; the task's score is their mean."""
    units: defaultdict[str, list[Row]] = defaultdict(list)
    for row in aggregate_rows(rows, rule):
        units[cluster_of(row, spec.cluster)].append(row)
    return {unit: spec.aggregate(group).get(metric, float("nan")) for unit, group in units.items()}


def _flips(
    a: Sequence[Sequence[SampleRow]], b: Sequence[Sequence[SampleRow]], rule: RuleName
) -> tuple[list[str], list[str]]:
    """Problems whose mean score over seeds and samples went from below one half to above it, and the other way."""
    before, after = ([problem_scores(rows, rule) for rows in runs] for runs in (a, b))

    def mean(runs: Sequence[Mapping[str, float]], problem: str) -> float:
        return sum(run[problem] for run in runs) / len(runs)

    gained = [problem for problem in before[0] if mean(before, problem) < 0.5 <= mean(after, problem)]
    lost = [problem for problem in before[0] if mean(after, problem) < 0.5 <= mean(before, problem)]
    return gained, lost


def comparison_table(found: Sequence[TaskComparison], references: Sequence[str], flips: int) -> str:
    """The comparisons of one pair of methods as text, scores in percent; published scores are marked as such."""
    first = found[0]
    seeds = f", {first.test.seeds} seeds each, paired" if first.test.seeds > 1 else ""
    head = ["task", "metric", "A", "B", "B - A", "95 % interval", "p", "p Holm", "detectable", "problems"]
    head += [f"published: {model}" for model in references]
    lines = [head]
    for one in found:
        interval = f"{100 * one.test.interval.low:+.1f} to {100 * one.test.interval.high:+.1f}"
        cells = [one.task, one.metric, f"{100 * one.score_a:.1f}", f"{100 * one.score_b:.1f}"]
        cells += [f"{100 * one.test.difference:+.1f}", interval, f"{one.p:.3g}", f"{one.p_holm:.3g}"]
        cells += ["-" if one.detectable is None else f"{100 * one.detectable:.1f}", str(one.problems)]
        lines.append(cells + [_reference(model, registry.task(one.task)) for model in references])
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [f"A = {first.a}, B = {first.b}{seeds}"]
    text += ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    methods = sorted({(one.p_method, one.test.interval.method) for one in found})
    text += [f"p: {p}; interval: {interval}" for p, interval in methods]
    text.append("detectable: true difference that is found with 80 % power, - where all problems show the same one")
    text.append("p Holm: corrected over these tasks")
    if first.test.seeds == 1:
        text.append("one run each: this speaks about these two checkpoints, not about training again with another seed")
    if references:
        text.append("published: printed in arXiv 2510.10201, not measured here; its prompts and judge may differ")
    for one in found:
        text += [f"note: {one.task}: {note}" for note in one.notes]
        if one.left_out:
            text.append(f"note: {one.task}: {one.left_out} problems that not all runs answered are left out")
        for name, problems in (("only B right", one.gained), ("only A right", one.lost)):
            shown = ", ".join(problems[:flips]) + (" ..." if len(problems) > flips else "")
            text.append(f"{one.task}: {name}: {len(problems)}{': ' + shown if shown else ''}")
    return "\n".join(text)


def _reference(model: str, spec: TaskSpec) -> str:
    if spec.paper_column is None:
        return "-"
    score = published.published_score(model, spec.paper_column, sampled=spec.headline.startswith("pass@"))
    return "-" if score is None else f"{100 * score:.1f}"


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.compare", description=__doc__.splitlines()[0])
    parser.add_argument("methods", nargs="+", metavar="[LABEL=]RUN[,RUN...]", help="the first is what the others meet")
    parser.add_argument("--rule", choices=RULES, default="strict", help="whose verdicts (default: strict)")
    parser.add_argument("--published", action="append", default=[], metavar="MODEL", help="a row of the paper's tables")
    parser.add_argument("--flips", type=int, default=10, help="how many flipped problems to name (default: 10)")
    parser.add_argument("--json", type=Path, help="write the comparisons there, all flipped problems included")
    args = parser.parse_args(argv)
    if len(args.methods) < 2:
        parser.error("give at least two runs")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0, or 2 where the runs cannot be compared."""
    args = parse_args(argv)
    try:
        for model in args.published:
            if model not in published.MODELS:
                raise RunError(f"--published {model!r}: the paper has {', '.join(published.MODELS)}")
        first, *others = [load_method(text) for text in args.methods]
        pairs = [compare(first, other, args.rule) for other in others]
        if args.json:
            entries = [asdict(one) for found in pairs for one in found]
            args.json.write_text(json.dumps(entries, indent=1, default=lambda value: value.model_dump()) + "\n")
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print("\n\n".join(comparison_table(found, args.published, args.flips) for found in pairs))
    return 0


if __name__ == "__main__":
    sys.exit(main())
