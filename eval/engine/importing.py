"""The engine of `eval.score --from FORMAT FILE`: makes a run of the responses in another harness's file."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.plan import changed_data, load_docs, task_plan, undecoded
from rlfr_mm.eval.engine.records import Manifest, ModelInfo, RunError, one_line
from rlfr_mm.eval.engine.scoring import doc_fields, graded_rows
from rlfr_mm.eval.formats import FORMATS, Response
from rlfr_mm.eval.formats.matching import matched
from rlfr_mm.files import warn
from rlfr_mm.grading import Problem
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import TaskSpec


def import_file(name: str, file: str, task: str, run: Path, data_root: str | None, model: str | None = None) -> None:
    """Make a run folder of a file in the named format. The model is called like the file by default.

    Raises:
        ValueError, OSError: there is no such format or task, the file cannot be read, or as in `import_responses`.
    """
    path = Path(file)
    readers = {name: one.read for name, one in FORMATS.items() if one.read is not None}
    if name not in readers:
        raise RunError(f"--from {name}: no such format to read; the formats are {', '.join(sorted(readers))}")
    spec = registry.task(task)
    if not path.is_file():
        raise RunError(f"--from {name} {path}: there is no such file")
    responses = readers[name](path, spec)
    if not responses:
        raise RunError(f"{path} holds no responses")
    import_responses(responses, spec, name, records.clean_text(model or path.stem), run, data_root)


def import_responses(
    responses: Sequence[Response], spec: TaskSpec, source: str, model: str, run: Path, data_root: str | None
) -> None:
    """Make a run folder of another harness's responses, graded by our rules.

    The problems come from the dataset under `data_root`. Without it they come from the file if it holds whole dataset
    records (problems are then numbered as in the file), and else from the hub. If they are not what the registry
    expects, the run is marked as one of changed data.

    Raises:
        RunError: the folder already holds rows, a response fits no problem, or a problem is answered twice.
    """
    run_files.check_folder(run)
    if (run / run_files.MANIFEST).exists() or any(run.glob("*/samples*.jsonl")):
        raise RunError(f"{run} already holds a run; give another --output_dir")
    docs, positions = _answered_docs(responses, spec, data_root)
    hashes = [records.doc_hash(doc) for doc in docs]
    data_hash = records.digest(hashes)
    changed = changed_data(spec, len(docs), data_hash)
    generation = {"imported": source}
    plan = task_plan(
        spec,
        data_hash=data_hash,
        rows=len(docs),
        changed_data=bool(changed),
        problems=len(set(positions)),
        samples=1 + max(response.sample_index for response in responses),
        generation=generation,
    )
    known = {
        position: doc_fields(spec, plan, position, docs[position], hashes[position])
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
        raise RunError(f"{spec.name}: a record's {run_files.invalid(error)}") from None
    keys = Counter(row.key for row in rows)
    twice = next((row for row in rows if keys[row.key] > 1), None)
    if twice:
        raise RunError(
            f"problem {twice.problem_id} is answered twice with sample_index {twice.sample_index}; "
            "give each of its samples another sample_index"
        )
    if changed and len(docs) == spec.rows:  # results of another number of records say so themselves
        hint = "" if data_root else "; --data_root DIR takes the problems from a mirror of the dataset"
        warn(f"{spec.name}: {changed}. Its results are marked as of changed data{hint}")
    info = ModelInfo(backend="import", name=model)
    with run_files.locked(run):
        run_files.write_rows(run / spec.name / run_files.SAMPLES, rows)
        run_files.write_manifest(run, Manifest(source=f"import:{source}", model=info, tasks={spec.name: plan}))


def _answered_docs(
    responses: Sequence[Response], spec: TaskSpec, data_root: str | None
) -> tuple[Sequence[Mapping[str, Any]], list[int]]:
    """The dataset records of the task, and per response the position of the record that it answers."""
    if data_root is None and _is_whole(responses[0].fields, spec):
        return _docs_of_file(responses, spec)
    docs = list(undecoded(load_docs(spec, data_root)))
    return docs, matched(responses, docs, spec)


def _docs_of_file(responses: Sequence[Response], spec: TaskSpec) -> tuple[list[Mapping[str, Any]], list[int]]:
    """The dataset records in the file, one per problem, and per response the position of the record it answers."""
    places: dict[str, int] = {}
    docs: list[Mapping[str, Any]] = []
    known: list[tuple[Problem, Mapping[str, Any]]] = []
    positions = []
    for number, response in enumerate(responses, start=1):
        try:
            problem = _problem(response.fields, spec)
        except IncompleteRecord as error:
            raise RunError(f"{one_line(error)}; give --data_root DIR to read the problems from the dataset") from None
        if response.problem_id and response.problem_id != problem.id:
            raise RunError(
                f"{spec.name}: response {number} has the problem_id {response.problem_id!r:.80}, but the record of "
                f"problem {problem.id}; leave out what is wrong"
            )
        read = problem, spec.categories_of(response.fields)
        if problem.id not in places:
            places[problem.id] = len(docs)
            docs.append(response.fields)
            known.append(read)
        elif read != known[places[problem.id]]:
            raise RunError(f"{spec.name}: the file has different records for problem {problem.id}")
        positions.append(places[problem.id])
    return docs, positions


class IncompleteRecord(RunError):
    """A record of the file lacks a field that grading needs."""


def _is_whole(fields: Mapping[str, Any], spec: TaskSpec) -> bool:
    try:
        _problem(fields, spec)
    except IncompleteRecord:
        return False
    return True


def _problem(fields: Mapping[str, Any], spec: TaskSpec) -> Problem:
    """The problem of a record, checked.

    Raises:
        IncompleteRecord: the record lacks a field, which the message names.
        RunError: a field has a type that the task cannot read.
    """
    try:
        problem = spec.problem(fields)
        spec.categories_of(fields)
    except ValueError as error:
        if error.__cause__ is None:  # otherwise a field is there, but of another type
            raise IncompleteRecord(one_line(error)) from None
        raise RunError(one_line(error)) from None
    except (TypeError, AttributeError, LookupError) as error:
        raise RunError(f"{spec.name}: a record of the file cannot be read: {one_line(error)}") from None
    for what, value in (("id of a problem", problem.id), (f"answer of problem {problem.id!r:.80}", problem.gold)):
        if not isinstance(value, str):
            raise RunError(f"{spec.name}: the {what} must be text, not a {type(value).__name__}")
    return problem
