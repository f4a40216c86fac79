"""Makes a run of the responses in another harness's file: `eval.score --from FORMAT FILE`."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.plan import load_docs, one_line, undecoded
from rlfr_mm.eval.engine.records import Manifest, ModelInfo, RunError, TaskPlan
from rlfr_mm.eval.formats import FORMATS, Response
from rlfr_mm.eval.formats.matching import matched
from rlfr_mm.eval.score import doc_fields, graded_rows
from rlfr_mm.grading import SCORERS, Problem
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import TaskSpec


def import_file(name: str, file: str, task: str, run: Path, data_root: str | None, model: str | None = None) -> None:
    """Makes a run folder of a file in the format of that name, its model called like the file by default.

    Raises:
        RunError: no such format or task, a file that cannot be read, and as `import_responses`.
    """
    path = Path(file)
    readers = {name: one.read for name, one in FORMATS.items() if one.read is not None}
    if name not in readers:
        raise RunError(f"--from {name}: no such format to read; there are {', '.join(sorted(readers))}")
    try:
        spec = registry.task(task)
        responses = readers[name](path, spec)
    except (ValueError, OSError) as error:
        raise RunError(one_line(error)) from error
    if not responses:
        raise RunError(f"{path} holds no responses")
    import_responses(responses, spec, name, model or path.stem, run, data_root)


def import_responses(
    responses: Sequence[Response], spec: TaskSpec, source: str, model: str, run: Path, data_root: str | None
) -> None:
    """Makes a run folder of another harness's responses, graded by our rules.

    The problems come from the dataset under `data_root`; without one from the file, where it carries whole records
    (problems are then numbered as in the file), and else from the hub.

    Raises:
        RunError: the folder holds a run already, or a response fits no problem of the task or one twice.
    """
    if (run / run_files.MANIFEST).exists():
        raise RunError(f"{run} holds a run already; give another --output_dir")
    docs, positions = _answered_docs(responses, spec, data_root)
    generation = {"imported": source}
    plan = TaskPlan(
        dataset=spec.dataset,
        config=spec.config,
        splits=list(spec.splits),
        revision=spec.revision,
        data_hash="",
        rows=len(docs),
        rows_expected=spec.rows,
        changed_data=False,
        problems=0,
        samples=1 + max(response.sample_index for response in responses),
        generation=generation,
        scorer=spec.scorer,
        scorer_version=SCORERS[spec.scorer].version,
    )
    known = {
        position: doc_fields(spec, plan, position, docs[position], records.doc_hash(docs[position]))
        for position in dict.fromkeys(positions)
    }
    fields = [
        known[position]
        | {"sample_index": response.sample_index, "response": records.clean_text(response.text)}
        | {"generation": generation, "generation_hash": records.digest(generation)}
        for response, position in zip(responses, positions, strict=True)
    ]
    try:
        rows = graded_rows(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise RunError(f"{spec.name}: a record's {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    keys = Counter(row.key for row in rows)
    twice = next((row for row in rows if keys[row.key] > 1), None)
    if twice:
        raise RunError(
            f"problem {twice.problem_id} is answered twice with sample_index {twice.sample_index}; number its samples"
        )
    hashes = sorted(one["doc_hash"] for one in known.values())
    plan = plan.model_copy(update={"problems": len(known), "data_hash": records.digest(hashes)})
    info = ModelInfo(backend="import", name=model)
    with run_files.locked(run):
        run_files.write_rows(run / spec.name / run_files.SAMPLES, rows)
        run_files.write_manifest(run, Manifest(source=f"import:{source}", model=info, tasks={spec.name: plan}))


def _answered_docs(
    responses: Sequence[Response], spec: TaskSpec, data_root: str | None
) -> tuple[Sequence[Mapping[str, Any]], list[int]]:
    """The task's records, and for each response the position of the one it answers."""
    if data_root is None and _is_whole(responses[0].fields, spec):
        return _docs_of_file(responses, spec)
    docs = list(undecoded(load_docs(spec, data_root)))
    try:
        return docs, matched(responses, docs, spec)
    except ValueError as error:
        raise RunError(one_line(error)) from None


def _docs_of_file(responses: Sequence[Response], spec: TaskSpec) -> tuple[list[Mapping[str, Any]], list[int]]:
    """The records that stand beside the responses: of each problem the first, which all its samples answer."""
    places: dict[str, int] = {}
    docs: list[Mapping[str, Any]] = []
    problems: list[Problem] = []
    positions = []
    for response in responses:
        try:
            problem = _problem(response.fields, spec)
        except ValueError as error:
            raise RunError(f"{one_line(error)}; --data_root DIR takes the problems from the dataset") from None
        if problem.id not in places:
            places[problem.id] = len(docs)
            docs.append(response.fields)
            problems.append(problem)
        elif problem != problems[places[problem.id]]:
            raise RunError(f"{spec.name}: the file has different records of problem {problem.id}")
        positions.append(places[problem.id])
    return docs, positions


def _is_whole(fields: Mapping[str, Any], spec: TaskSpec) -> bool:
    try:
        _problem(fields, spec)
    except ValueError:
        return False
    return True


def _problem(fields: Mapping[str, Any], spec: TaskSpec) -> Problem:
    """The problem of a record, checked.

    Raises:
        ValueError: the record lacks a field, which is named.
        RunError: a field is of a kind that the task cannot read.
    """
    try:
        problem = spec.problem(fields)
        spec.categories_of(fields)
    except (TypeError, AttributeError, LookupError) as error:
        raise RunError(f"{spec.name}: a record of the file cannot be read: {one_line(error)}") from None
    if not isinstance(problem.gold, str):
        raise RunError(
            f"{spec.name}: the answer of problem {problem.id} must be text, not a {type(problem.gold).__name__}"
        )
    return problem
