"""Results from rows: `eval.score RUN` grades a run again, `eval.score --from FORMAT FILE` another harness's output.

Neither needs the model. A run keeps its rows; only their verdicts, and results.json, are written anew.
"""

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import BenchmarkResult, RunError, SampleRow, TaskPlan
from rlfr_mm.grading import SCORERS, Item, RuleName, Status, Verdict, grade_all
from rlfr_mm.statistics import jackknife_stderr, wilson_interval
from rlfr_mm.tasks import aggregate, registry
from rlfr_mm.tasks.spec import TaskSpec

RULES: tuple[RuleName, ...] = get_args(RuleName)


def doc_fields(spec: TaskSpec, plan: TaskPlan, doc_id: int, doc: Mapping[str, Any], doc_hash: str) -> dict[str, Any]:
    """The fields of a SampleRow that come from the record, whatever answered it.

    Raises:
        ValueError: the record lacks a field, which is named.
    """
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
    """Rows from the fields of `doc_fields` and of a response, with their verdicts under both rules."""
    items = [_item(**{key: row[key] for key in ("response", "gold", "scorer", "choices", "meta")}) for row in rows]
    verdicts = zip(_grade(items, "strict"), _grade(items, "official"), strict=True)
    return [
        SampleRow(**row, verdict=strict, verdict_official=official)
        for row, (strict, official) in zip(rows, verdicts, strict=True)
    ]


def regrade(rows: Sequence[SampleRow]) -> list[SampleRow]:
    """The rows with verdicts by today's scorers."""
    fields = [row.model_dump(exclude={"verdict", "verdict_official"}) for row in rows]
    return graded_rows([row | {"scorer_version": SCORERS[row["scorer"]].version} for row in fields])


def _item(response: str, gold: str | list[str], scorer: str, choices: list[str] | None, meta: Mapping) -> Item:
    golds = gold if isinstance(gold, str) else tuple(gold)
    return Item(response, golds, scorer, None if choices is None else tuple(choices), meta)


def _grade(items: Sequence[Item], rule: RuleName) -> list[Verdict]:
    try:
        return grade_all(items, rule)
    except Exception as error:  # a scorer's bug must cost the item it trips over, not a run that took hours
        if len(items) == 1:
            return [Verdict("error", 0.0, None, "none", f"{type(error).__name__}: {error}")]
        return [verdict for item in items for verdict in _grade([item], rule)]


def aggregate_rows(rows: Sequence[SampleRow], rule: RuleName = "strict") -> list[aggregate.Row]:
    """The rows as the tasks' aggregations take them."""
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


def result(
    spec: TaskSpec, plan: TaskPlan, model: str, rows: Sequence[SampleRow], rule: RuleName = "strict"
) -> BenchmarkResult:
    """The BenchmarkResult of one task's rows; without rows its metrics are empty.

    Raises:
        ValueError: the benchmark's own aggregation does not take these rows.
    """
    graded = aggregate_rows(rows, rule)
    metrics = spec.aggregate(graded) if graded else {}
    # `pass@32` of fewer samples, or a benchmark's own score without a complete group, is not there.
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
        dataset=plan.dataset,
        config=plan.config,
        splits=plan.splits,
        revision=plan.revision,
        scorer=plan.scorer,
        scorer_version=plan.scorer_version,
        rule=rule,
        problems_expected=plan.rows_expected,
        problems=problems,
        samples=plan.samples,
        rows=len(rows),
        missing=missing,
        counts=dict.fromkeys(get_args(Status), 0) | Counter(row.judged(rule).status for row in rows),
        empty_responses=sum(not row.response.strip() for row in rows),
        truncated=known.count("length") if known else None,
        headline=headline,
        metrics=metrics,
        standard_error=error,
        interval=interval,
        partial=problems != plan.rows_expected or missing != 0,
        changed_data=plan.changed_data,
    )


def _headline_error(
    spec: TaskSpec, graded: Sequence[aggregate.Row], headline: str, known: float | None
) -> tuple[float | None, int]:
    """The headline's standard error, None for a single unit, and how many independent units it stands on.

    Units are problems, or the clusters of those that are not independent. A score that is no mean over problems
    (We-Math's, of whole groups) stands on the clusters that define it by themselves; its error comes from leaving
    them out.
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
    """Results of all tasks of a run from the rows on disk, written to results.json, and what stands in their way.

    An aggregation that fails costs its own task's metrics and no other's.
    """
    manifest = run_files.read_manifest(run)
    found = run_files.read_run(run)
    results, complaints = [], []
    for name, plan in manifest.tasks.items():
        rows = found.get(name, [])
        try:
            results.append(result(registry.task(name), plan, manifest.model.name, rows, rule))
        except Exception as error:
            complaints.append(f"{name}: cannot be aggregated: {error}")
            continue
        if results[-1].missing:
            wanted = plan.problems * plan.samples
            complaints.append(f"{name}: {results[-1].missing} of {wanted} responses are missing")
    run_files.write_results(run, results)
    return results, complaints


def result_table(results: Sequence[BenchmarkResult]) -> str:
    """The results as text, one line per task: headline with interval, in percent, and what could not be scored."""
    head = f"{'task':<34} {'metric':<12} {'score':>6}  {'95 % interval':<15} {'problems':>14} {'no answer':>9}"
    lines = [f"{head} {'unscored':>8}"]
    for one in results:
        score = f"{100 * one.score:.1f}" if one.metrics else "-"
        spread = f"{100 * one.interval.low:.1f} - {100 * one.interval.high:.1f}" if one.interval else ""
        problems = f"{one.problems}/{one.problems_expected}" + (f" x {one.samples}" if one.samples > 1 else "")
        unscored = one.counts["timeout"] + one.counts["error"]
        marks = " partial" * one.partial + " changed data" * one.changed_data
        lines.append(
            f"{one.task:<34} {one.headline:<12} {score:>6}  {spread:<15} {problems:>14} {one.counts['no_answer']:>9} "
            f"{unscored:>8}{marks}"
        )
    whole = {one.task: one.score for one in results if one.metrics and not one.partial}
    means = {name: mean for group in registry.GROUPS for name, mean in registry.averages(group, whole).items()}
    lines += [f"{name:<34} {'mean':<12} {100 * mean:>6.1f}" for name, mean in means.items()]
    lines += [
        f"note: {one.task}: the model returned nothing: all {one.rows} responses are empty"
        for one in results
        if one.rows and one.empty_responses == one.rows
    ]
    return "\n".join(lines)


def rescore(run: Path) -> list[str]:
    """Grades all rows of a run again and writes them; returns what changed, one line per verdict.

    Raises:
        RunError: another process holds the run, or it cannot be written.
    """
    changes = []
    run_files.read_manifest(run)  # locking would make the folder
    with run_files.locked(run):
        manifest = run_files.read_manifest(run)
        for task, plan in manifest.tasks.items():
            plan.scorer_version = SCORERS[plan.scorer].version
            path = run / task / run_files.SAMPLES
            rows, bad = run_files.repair_rows(path)
            for line in run_files.describe_bad(path, bad, moved=True):
                run_files.warn(line)
            judged = regrade(rows)
            if judged != rows:
                run_files.write_rows(path, judged)
            for old, new in zip(rows, judged, strict=True):
                for rule in RULES:
                    before, after = old.judged(rule).status, new.judged(rule).status
                    if before != after:
                        changes.append(f"{task} {old.problem_id}#{old.sample_index} {rule}: {before} -> {after}")
        run_files.write_manifest(run, manifest)
    return changes


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.score", description=__doc__)
    parser.add_argument("run", nargs="?", type=Path, help="run folder to grade again")
    parser.add_argument(
        "--rule", choices=RULES, default="strict", help="what results.json is made of (default: strict)"
    )
    parser.add_argument("--from", nargs=2, metavar=("FORMAT", "FILE"), dest="source", help="another harness's output")
    parser.add_argument("--task", help="with --from: the task that was answered")
    parser.add_argument("--output_dir", type=Path, help="with --from: run folder to make")
    parser.add_argument("--data_root", help="with --from: local mirror with the task's problems")
    parser.add_argument("--model", help="with --from: name of the model (default: the file's name)")
    args = parser.parse_args(argv)
    if (args.run is None) == (args.source is None):
        parser.error("give a run folder, or --from FORMAT FILE")
    if args.source and not (args.task and args.output_dir):
        parser.error("--from needs --task and --output_dir")
    return args


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all results are there; 1: responses are missing; 2: the input cannot be used."""
    args = parse_args(argv)
    try:
        if args.source:
            from rlfr_mm.eval.engine.importing import import_file

            run = args.output_dir
            import_file(*args.source, args.task, run, args.data_root, args.model)
        else:
            run = args.run
            changes = rescore(run)
            print(f"{len(changes)} verdicts changed")
            for change in changes:
                print(f"  {change}")
        results, complaints = score_run(run, args.rule)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(result_table(results))
    for complaint in complaints:
        print(f"incomplete: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
