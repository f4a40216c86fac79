"""The engine of `eval.score`: verdicts and results from rows, without the model."""

import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from tabulate import tabulate

from rlfr_mm.eval import RULES
from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import (
    BenchmarkResult,
    RunError,
    SampleRow,
    TaskPlan,
    TaskSource,
    complete_rows,
)
from rlfr_mm.grading import SCORERS, Item, RuleName, Status, Verdict, grade_all
from rlfr_mm.statistics import jackknife_stderr, wilson_interval
from rlfr_mm.tasks import aggregate, registry
from rlfr_mm.tasks.spec import TaskSpec


def doc_fields(spec: TaskSpec, plan: TaskPlan, doc_id: int, doc: Mapping[str, Any], doc_hash: str) -> dict[str, Any]:
    """The fields of a SampleRow that come from the dataset record. ValueError naming a field that the record lacks."""
    problem = spec.problem(doc)
    return {
        "task": spec.name,
        "doc_id": doc_id,
        "problem_id": problem.id,
        "doc_hash": doc_hash,
        "dataset": plan.dataset,
        "config": plan.config,
        "split": "+".join(plan.splits),
        "revision": plan.revision,
        "gold": problem.gold if isinstance(problem.gold, str) else list(problem.gold),
        "choices": None if problem.choices is None else list(problem.choices),
        "meta": records.plain_doc(problem.meta),
        "categories": {key: list(values) for key, values in spec.categories_of(doc).items()},
        "doc": records.plain_doc(doc),
        "scorer": spec.scorer,
        "scorer_version": plan.scorer_version,
    }


def graded_rows(rows: Sequence[Mapping[str, Any]]) -> list[SampleRow]:
    """Rows with verdicts by both rules, from the fields of dataset record (`doc_fields`) and response."""
    items = [_item(**{key: row[key] for key in ("response", "gold", "scorer", "choices", "meta")}) for row in rows]
    verdicts = zip(_grade(items, "strict"), _grade(items, "official"), strict=True)
    return [
        SampleRow(**row, verdict=strict, verdict_official=official)
        for row, (strict, official) in zip(rows, verdicts, strict=True)
    ]


def regrade(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows with verdicts by the present version of the scorers. RunError for a scorer that does not exist."""
    for row in rows:
        _check_scorer(row.scorer, f"problem {row.problem_id} of {row.task}")
    fields = [row.model_dump(exclude={"verdict", "verdict_official"}) for row in rows]
    return graded_rows([row | {"scorer_version": SCORERS[row["scorer"]].version} for row in fields])


def _check_scorer(name: str, what: str) -> None:
    if name not in SCORERS:
        raise RunError(f"{what} asks for the scorer {name!r}, which does not exist; there are {', '.join(SCORERS)}")


def _item(response: str, gold: str | list[str], scorer: str, choices: list[str] | None, meta: Mapping) -> Item:
    golds = gold if isinstance(gold, str) else tuple(gold)
    return Item(response, golds, scorer, None if choices is None else tuple(choices), meta)


def _grade(items: Sequence[Item], rule: RuleName) -> list[Verdict]:
    try:
        return grade_all(items, rule)
    except Exception as error:  # a bug in a scorer may cost one item, but not a run that took hours
        if len(items) == 1:
            return [Verdict("error", 0.0, None, "none", f"{type(error).__name__}: {error}")]
        return [verdict for item in items for verdict in _grade([item], rule)]


def aggregate_rows(rows: Sequence[SampleRow], rule: RuleName = "strict") -> list[aggregate.Row]:
    """The rows in the form that the aggregations of the tasks take."""
    return [
        {
            "problem_id": row.problem_id,
            "sample_index": row.sample_index,
            "status": row.judged(rule).status,
            "score": row.judged(rule).score,
            "extracted": row.judged(rule).extracted,
            "categories": row.categories,
        }
        for row in rows
    ]


def problem_scores(rows: Sequence[SampleRow], rule: RuleName = "strict") -> dict[str, float]:
    """The mean score over the samples of each problem, by problem_id in order of appearance."""
    groups = aggregate.group_by_problem(aggregate_rows(rows, rule))
    return {problem: sum(row["score"] for row in group) / len(group) for problem, group in groups.items()}


def identical_samples(rows: Sequence[SampleRow]) -> int:
    """The number of problems that were sampled several times with one and the same response."""
    responses: defaultdict[str, list[str]] = defaultdict(list)
    for row in rows:
        responses[row.problem_id].append(row.response)
    return sum(len(texts) > 1 and len(set(texts)) == 1 for texts in responses.values())


def result(
    spec: TaskSpec, plan: TaskPlan, model: str, rows: Sequence[SampleRow], rule: RuleName = "strict"
) -> BenchmarkResult:
    """The BenchmarkResult of the rows of one task; its metrics are empty if there are no rows.

    Raises:
        ValueError: the aggregation of the benchmark does not accept these rows.
    """
    graded = aggregate_rows(rows, rule)
    with complete_rows(spec.name):
        metrics = spec.aggregate(graded) if graded else {}
    # There is no pass@32 with fewer samples, and no score of a benchmark with groups without a complete group.
    headline = next((k for k in (spec.headline, f"pass@{plan.samples}") if k in metrics), "accuracy")
    error, interval = None, None
    if metrics:
        error, units = _headline_error(spec, graded, headline, metrics.get(f"{headline}_stderr"))
    if error is not None:
        metrics[f"{headline}_stderr"] = error
        interval = wilson_interval(metrics[headline], error, units)
    known = [row.finish_reason for row in rows if row.finish_reason is not None]
    missing = plan.problems * plan.samples - len(rows)
    problems = len({row.problem_id for row in rows})
    return BenchmarkResult(
        task=spec.name,
        benchmark=spec.benchmark,
        protocol=spec.protocol,
        model=model,
        rule=rule,
        **plan.model_dump(include=set(TaskSource.model_fields)),
        problems_expected=plan.rows_expected,
        problems=problems,
        rows=len(rows),
        missing=missing,
        counts=dict.fromkeys(get_args(Status), 0) | Counter(row.judged(rule).status for row in rows),
        identical_samples=identical_samples(rows) if plan.samples > 1 else 0,
        empty_responses=sum(not row.response.strip() for row in rows),
        truncated=known.count("length") if known else None,
        headline=headline,
        metrics=metrics,
        standard_error=error,
        interval=interval,
        partial=problems != plan.rows_expected or missing != 0,
    )


def _headline_error(
    spec: TaskSpec, graded: Sequence[aggregate.Row], headline: str, known: float | None
) -> tuple[float | None, int]:
    """The standard error of the headline (None for a single unit) and the number of independent units behind it.

    Units are problems, or clusters of problems that are not independent. A score that is not a mean over problems (that
    of We-Math, over whole groups) has as its units the clusters that define it by themselves; its error is a jackknife
    over them.
    """
    groups: defaultdict[str, list[aggregate.Row]] = defaultdict(list)
    for row in graded:
        groups[aggregate.cluster_of(row, spec.cluster)].append(row)
    units = list(groups.values())
    error = known
    if known is None and len(units) > 1:
        units = [unit for unit in units if headline in spec.aggregate(unit)]
        error = jackknife_stderr(lambda kept: spec.aggregate(kept)[headline], units)
    return None if error is None or math.isnan(error) else error, len(units)


def score_run(run: Path, rule: RuleName = "strict") -> tuple[list[BenchmarkResult], list[str]]:
    """Compute the results of all tasks of a run from its rows and write results.json.

    Returns the results, and one line for every task that is incomplete or whose rows cannot be aggregated. The latter,
    such as a task that this process does not know, keep their entries in results.json.
    """
    manifest = run_files.read_manifest(run)
    found = run_files.read_run(run)
    written = _earlier_results(run)
    results, complaints = [], []
    for name, plan in manifest.tasks.items():
        rows = found.get(name, [])
        try:
            results.append(result(registry.task(name), plan, manifest.model.name, rows, rule))
        except Exception as error:
            kept = f"; {run_files.RESULTS} keeps its earlier score" if name in written else ""
            complaints.append(f"{name}: cannot be aggregated: {error}{kept}")
            continue
        written[name] = results[-1]
        if results[-1].missing:
            wanted = plan.problems * plan.samples
            complaints.append(f"{name}: {results[-1].missing} of {wanted} responses are missing")
    run_files.write_results(run, [written[name] for name in manifest.tasks if name in written])
    return results, complaints


def _earlier_results(run: Path) -> dict[str, BenchmarkResult]:
    """The entries of results.json by task. There are none without a file, or with one of another version."""
    try:
        return {one.task: one for one in run_files.read_results(run)}
    except (ValueError, TypeError):
        return {}


def result_table(results: Sequence[BenchmarkResult]) -> str:
    """The results as text: per task the headline with its interval in percent, and the counts of unusable responses."""
    cells = []
    for one in results:
        cells.append(
            {
                "task": one.task,
                "metric": one.headline,
                "score": f"{100 * one.score:.1f}" if one.metrics else "-",
                "95 % interval": f"{100 * one.interval.low:.1f} - {100 * one.interval.high:.1f}"
                if one.interval
                else "",
                "problems": f"{one.problems}/{one.problems_expected}" + f" x {one.samples}" * (one.samples > 1),
                "no answer": one.counts["no_answer"],
                "unscored": one.counts["timeout"] + one.counts["error"],
                "": " ".join(["partial"] * one.partial + ["changed data"] * one.changed_data),
            }
        )
    whole = {one.task: one.score for one in results if one.metrics and not one.partial}
    means = {name: mean for group in registry.GROUPS for name, mean in registry.averages(group, whole).items()}
    cells += [{"task": name, "metric": "mean", "score": f"{100 * mean:.1f}"} for name, mean in means.items()]
    right = {"score", "problems", "no answer", "unscored"}
    align = ["right" if column in right else "left" for column in cells[0]] if cells else None
    lines = [tabulate(cells, headers="keys", tablefmt="plain", disable_numparse=True, colalign=align)]
    lines += [
        f"note: {one.task}: the model returned nothing: all {one.rows} responses are empty"
        for one in results
        if one.rows and one.empty_responses == one.rows
    ]
    lines += [
        f"note: {one.task}: all samples are identical for {one.identical_samples} of {one.problems} problems: "
        "is the model really sampled?"
        for one in results
        if one.identical_samples and one.empty_responses < one.rows
    ]
    return "\n".join(lines)


def print_results(results: Sequence[BenchmarkResult], complaints: Sequence[str]) -> int:
    """Print the table, and what is missing to stderr. Returns the exit status: 1 if anything is missing, else 0."""
    print(result_table(results))
    print_missing(complaints)
    return 1 if complaints else 0


def print_missing(complaints: Sequence[str]) -> None:
    """Print what is missing to stderr, one line each."""
    for complaint in complaints:
        print(f"incomplete: {complaint}", file=sys.stderr)


def rescore(run: Path) -> list[str]:
    """Grade all rows of a run again and write them, those of its shards merged. One line per verdict that changed.

    Raises:
        ValueError: another process holds the run, or it cannot be written.
    """
    changes = []
    run_files.read_manifest(run)  # fails if this is not a run; locking would create the folder
    with run_files.locked(run):
        manifest = run_files.read_manifest(run)
        for task, plan in manifest.tasks.items():
            _check_scorer(plan.scorer, f"{run}: {task}")
            plan.scorer_version = SCORERS[plan.scorer].version
            rows = run_files.collect_rows(run, task)
            judged = regrade(rows)
            if judged != rows:
                run_files.write_rows(run_files.samples_path(run, task), judged)
            for old, new in zip(rows, judged, strict=True):
                for rule in RULES:
                    before, after = old.judged(rule).status, new.judged(rule).status
                    if before != after:
                        changes.append(f"{task} {old.problem_id}#{old.sample_index} {rule}: {before} -> {after}")
        run_files.write_manifest(run, manifest)
    return changes
