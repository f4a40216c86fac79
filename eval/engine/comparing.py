"""The engine of `eval.compare`: the difference of two methods on each task, by the one test of `rlfr_mm.statistics`.

The units of the test are problems, or groups of problems if a benchmark asks variants of one question.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from tabulate import tabulate

from rlfr_mm.eval.engine import published, run_files
from rlfr_mm.eval.engine.records import RunError, SampleRow, complete_rows
from rlfr_mm.eval.engine.scoring import aggregate_rows, problem_scores
from rlfr_mm.grading import RuleName
from rlfr_mm.statistics import Floats, PairedTest, holm, paired_test
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.aggregate import Row, cluster_of, group_by_problem
from rlfr_mm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class Method:
    """The runs of one method, one per seed, each with its rows by task."""

    label: str
    runs: list[dict[str, list[SampleRow]]]


@dataclass(frozen=True)
class TaskComparison:
    """Method B compared with method A on one task. Scores are fractions of 1, over the problems that were compared."""

    task: str
    a: str
    b: str
    metric: str
    score_a: float
    score_b: float
    test: PairedTest
    p: float  # of the test
    p_holm: float  # p corrected for everything that was compared in the same call
    detectable: float | None  # the true difference found with 80 % power at this size; None if differences do not vary
    problems: int
    left_out: int  # problems that not all runs answered
    ungraded: int  # problems left out because a response could not be graded
    gained: list[str]  # problems that mostly B and not A solved
    lost: list[str]  # problems that mostly A and not B solved
    notes: list[str]


def load_method(text: str) -> Method:
    """The method in `[label=]RUN[,RUN...]`. RunError if a folder is not a run.

    What is before "=" is a part of the path if it has a "/", or if the first path exists with it.

    >>> method = load_method("rlfr=runs/seed0,runs/seed1")
    """
    label, given, folders = text.partition("=")
    first = Path(text.split(",")[0])
    if not given or "/" in label or first.exists():
        label, folders = first.name, text
    return Method(label, [run_files.read_run(Path(folder)) for folder in folders.split(",")])


def load_methods(texts: Sequence[str]) -> list[Method]:
    """The methods in `load_method`'s texts; those with the same label get their whole text as one."""
    methods = [load_method(text) for text in texts]
    labels = [method.label for method in methods]
    return [
        replace(method, label=text) if labels.count(method.label) > 1 else method
        for method, text in zip(methods, texts, strict=True)
    ]


@complete_rows("the runs cannot be compared")
def compare(first: Method, others: Sequence[Method], rule: RuleName = "strict") -> list[list[TaskComparison]]:
    """Per other method its comparison with the first on every shared task. Holm's correction is over all of them.

    Raises:
        RunError: the numbers of seeds differ, no task is shared, or a problem id stands for different problems.
    """
    found = [
        [_compare_task(registry.task(task), first, other, rule) for task in _tasks(first, other)] for other in others
    ]
    corrected = iter(holm([one.p for tasks in found for one in tasks]))
    return [[replace(one, p_holm=next(corrected)) for one in tasks] for tasks in found]


def _tasks(a: Method, b: Method) -> list[str]:
    if len(a.runs) != len(b.runs):
        raise RunError(f"{a.label} has {len(a.runs)} runs and {b.label} has {len(b.runs)}; seeds are paired one to one")
    tasks = [task for task in a.runs[0] if all(run.get(task) for run in [*a.runs, *b.runs])]
    if not tasks:
        raise RunError(f"{a.label} and {b.label} have no task in common that both answered")
    return tasks


def _compare_task(spec: TaskSpec, a: Method, b: Method, rule: RuleName) -> TaskComparison:
    every = [[run[spec.name] for run in method.runs] for method in (a, b)]
    all_rows = [row for runs in every for rows in runs for row in rows]
    answered = [{row.problem_id for row in rows} for runs in every for rows in runs]
    common = set.intersection(*answered)
    ungraded = common & {row.problem_id for row in all_rows if row.judged(rule).unscored}
    compared = common - ungraded
    if len(compared) < 2:
        raise RunError(
            f"{spec.name}: {a.label} and {b.label} share {len(compared)} graded problems; a test needs at least 2"
        )
    notes = _check_same(spec, all_rows)
    kept = [[[row for row in rows if row.problem_id in compared] for rows in runs] for runs in every]
    metrics = [[spec.aggregate(aggregate_rows(rows, rule)) for rows in runs] for runs in kept]
    metric = _shared_metric(spec, kept, metrics)
    units = [[_unit_scores(spec, rows, metric, rule) for rows in runs] for runs in kept]
    # A unit may leave the metric undefined (NaN), such as an incomplete group; the test then leaves it out.
    of_a, of_b = (np.array([[seed[unit] for unit in units[0][0]] for seed in runs]) for runs in units)
    defined = ~np.isnan(of_a + of_b).any(axis=0)
    if defined.sum() < 2:
        raise RunError(f"{spec.name}: fewer than 2 independent units have a {metric} for both methods")
    weights = np.where(defined, _weights(spec, kept[0][0], metric, rule), np.nan)
    scores_a, scores_b = (np.array([found[metric] for found in runs]) for runs in metrics)
    test = paired_test(_linearised(of_a, scores_a, weights), _linearised(of_b, scores_b, weights))
    gained, lost = _flips(kept[0], kept[1], rule)
    return TaskComparison(
        task=spec.name,
        a=a.label,
        b=b.label,
        metric=metric,
        score_a=float(scores_a.mean()),
        score_b=float(scores_b.mean()),
        test=test,
        p=test.p,
        p_holm=test.p,
        detectable=test.detectable,
        problems=len(compared),
        left_out=len(set.union(*answered)) - len(common),
        ungraded=len(ungraded),
        gained=gained,
        lost=lost,
        notes=notes,
    )


def _check_same(spec: TaskSpec, rows: Sequence[SampleRow]) -> list[str]:
    """What else differs between the runs apart from the model. RunError if the problems differ."""
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
        "the rendered prompts": any(len(found) > 1 for found in prompts.values()),
        "the generation settings": len({row.generation_hash for row in rows}) > 1,
        "the scorer versions (rlfr_mm.eval.score RUN grades again)": len({row.scorer_version for row in rows}) > 1,
    }
    return [f"{what} differ" for what, differs in differing.items() if differs]


def _shared_metric(
    spec: TaskSpec, kept: Sequence[Sequence[Sequence[SampleRow]]], metrics: Sequence[Sequence[Mapping[str, float]]]
) -> str:
    """The headline of the task, or the nearest metric that the smallest number of samples allows."""
    samples = min(min(Counter(row.problem_id for row in rows).values()) for runs in kept for rows in runs)
    wanted = (spec.headline, f"pass@{samples}") if spec.headline.startswith("pass@") else (spec.headline,)
    return next((metric for metric in wanted if all(metric in found for runs in metrics for found in runs)), "accuracy")


def _unit_scores(spec: TaskSpec, rows: Sequence[SampleRow], metric: str, rule: RuleName) -> dict[str, float]:
    """The metric of each independent unit by itself, NaN if it is undefined."""
    units = _units(spec, rows, rule)
    return {unit: spec.aggregate(group).get(metric, float("nan")) for unit, group in units.items()}


def _weights(spec: TaskSpec, rows: Sequence[SampleRow], metric: str, rule: RuleName) -> list[int]:
    """How much each unit counts: by its number of problems, but equally in a benchmark's own metric, such as We-Math's.

    The other metrics are means over problems.
    """
    own = metric in spec.extra(aggregate_rows(rows, rule))
    return [1 if own else len(group_by_problem(unit)) for unit in _units(spec, rows, rule).values()]


def _units(spec: TaskSpec, rows: Sequence[SampleRow], rule: RuleName) -> dict[str, list[Row]]:
    units: defaultdict[str, list[Row]] = defaultdict(list)
    for row in aggregate_rows(rows, rule):
        units[cluster_of(row, spec.cluster)].append(row)
    return units


def _linearised(units: Floats, scores: Floats, weights: Floats) -> Floats:
    """Values of the units whose mean is the score of each run and whose spread is that of the score.

    A weighted mean of units is a ratio of two sums. This is its first-order expansion, which leaves units of equal
    weight as they are. The standard error of its mean is that of `clustered_stderr`.

    Args:
        units: (seeds, units) the metric of each unit by itself.
        scores: (seeds,) the metric of each run.
        weights: (units,) NaN for a unit that is left out.
    """
    weights = weights / np.nanmean(weights)
    means = np.nanmean(weights * units, axis=1, keepdims=True)
    return units + (scores[:, None] - means) + (weights - 1) * (units - means)


def _flips(
    a: Sequence[Sequence[SampleRow]], b: Sequence[Sequence[SampleRow]], rule: RuleName
) -> tuple[list[str], list[str]]:
    """The problems that B mostly solves and A does not, and the reverse, by mean score over seeds and samples."""
    before, after = ([problem_scores(rows, rule) for rows in runs] for runs in (a, b))

    def mean(runs: Sequence[Mapping[str, float]], problem: str) -> float:
        return sum(run[problem] for run in runs) / len(runs)

    gained = [problem for problem in before[0] if mean(before, problem) < 0.5 <= mean(after, problem)]
    lost = [problem for problem in before[0] if mean(after, problem) < 0.5 <= mean(before, problem)]
    return gained, lost


# ---------------------------------------------------------------------------------------------------- the report


def comparison_report(pairs: Sequence[Sequence[TaskComparison]], references: Sequence[str], flips: int) -> str:
    """The comparisons of `compare` as text, with scores in percent.

    Args:
        references: models whose published scores are shown beside the measured ones.
        flips: how many flipped problems to name per task.
    """
    for model in references:
        if model not in published.MODELS:
            raise RunError(f"--published {model!r}: the paper has {', '.join(published.MODELS)}")
    parts = ["\n".join([_table(tasks, references), *_remarks(tasks, flips)]) for tasks in pairs]
    notes = [
        f"interval and p: of the test named; p Holm: corrected for all comparisons above ({sum(map(len, pairs))})",
        "detectable: true difference that is found with 80 % power; - if all problems show the same difference",
    ]
    if pairs[0][0].test.seeds == 1:
        notes.append("one run each: this holds for these two checkpoints, not for training again with another seed")
    if references:
        notes.append("published: printed in arXiv 2510.10201, not measured here; its prompts and judge may differ")
    return "\n\n".join([*parts, "\n".join(notes)])


def _table(tasks: Sequence[TaskComparison], references: Sequence[str]) -> str:
    first = tasks[0]
    seeds = f", {first.test.seeds} seeds each, paired" if first.test.seeds > 1 else ""
    lines = [
        {
            "task": one.task,
            "metric": one.metric,
            "A": f"{100 * one.score_a:.1f}",
            "B": f"{100 * one.score_b:.1f}",
            "B - A": f"{100 * one.test.difference:+.1f}",
            "95 % interval": f"{100 * one.test.interval.low:+.1f} to {100 * one.test.interval.high:+.1f}",
            "p": f"{one.p:.3g}",
            "p Holm": f"{one.p_holm:.3g}",
            "detectable": "-" if one.detectable is None else f"{100 * one.detectable:.1f}",
            "problems": str(one.problems),
        }
        | {f"published: {model}": _reference(model, registry.task(one.task)) for model in references}
        for one in tasks
    ]
    return f"A = {first.a}, B = {first.b}{seeds}\n" + tabulate(
        lines, headers="keys", tablefmt="plain", disable_numparse=True
    )


def _remarks(tasks: Sequence[TaskComparison], flips: int) -> list[str]:
    found = [f"test: {method}" for method in sorted({one.test.method for one in tasks})]
    for one in tasks:
        found += [f"note: {one.task}: {note}" for note in one.notes]
        for count, reason in ((one.left_out, "not all runs answered"), (one.ungraded, "could not be graded")):
            if count:
                found.append(f"note: {one.task}: {count} problems that {reason} are left out")
        for name, problems in (("only B right", one.gained), ("only A right", one.lost)):
            shown = ", ".join(problems[:flips]) + (" ..." if len(problems) > flips else "")
            found.append(f"{one.task}: {name}: {len(problems)}{': ' + shown if shown else ''}")
    return found


def _reference(model: str, spec: TaskSpec) -> str:
    if spec.paper_column is None:
        return "-"
    score = published.published_score(model, spec.paper_column, sampled=spec.headline.startswith("pass@"))
    return "-" if score is None else f"{100 * score:.1f}"


def comparisons_json(pairs: Sequence[Sequence[TaskComparison]]) -> str:
    """The comparisons as one JSON list, with all flipped problems."""
    return json.dumps([asdict(one) for tasks in pairs for one in tasks], indent=1) + "\n"
