"""The engine of `eval.run`: answers what a run folder lacks, grades each response and journals it.

Responses are generated in fixed, seeded batches, so that a stopped run resumes to the same rows.
"""

import contextlib
import datetime
import itertools
import shlex
import sys
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tqdm import tqdm

from rlfr_mm import grading
from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.backends import Backend, Output, Request, check_modality
from rlfr_mm.eval.engine.plan import PlannedTask, RunSettings, Sample, plan_task, read_record
from rlfr_mm.eval.engine.records import BenchmarkResult, RowKey, RunError, SampleRow, one_line
from rlfr_mm.eval.engine.run_files import Journal
from rlfr_mm.eval.engine.scoring import doc_fields, graded_rows, score_run
from rlfr_mm.eval.engine.shards import WHOLE, Shard
from rlfr_mm.tasks.spec import TaskSpec
from rlfr_mm.training.run_folder import environment

Batch = tuple[int, int, Sequence[Sample]]  # its number, its seed, and what a process answers of it
Prompt = tuple[Sample, Request, dict[str, Any]]  # with the fields of its row that the dataset record decides

# Arguments of a model that say where it is and how it is asked, and not what it is.
LOCATION = {
    "base_url", "device", "device_map", "pretrained", "checkpoint", "timeout", "max_retries", "retry_backoff_s",
    "num_concurrent", "num_cpus", "adaptive_concurrency", "adaptive_max_concurrency",
}  # fmt: skip
NAMES = {"name", "argument model", "argument model_version"}  # what a model is called, often after its folder
GIVE_UP_AFTER = (
    3  # batches in a row without a response; the run then leaves the task incomplete and starts the next one
)
LISTED_FAILURES = 20  # the most reasons listed per task


@dataclass(frozen=True)
class Evaluation:
    """How a run stands when a process has answered its share."""

    results: list[BenchmarkResult] | None  # of all tasks of the run; None while other shards are still at work
    incomplete: list[str]  # one line for each task that lacks responses or cannot be aggregated
    failures: list[str]  # why responses of this process's share are missing, each reason once


def evaluate(
    backend: Backend,
    specs: Sequence[TaskSpec],
    run: Path,
    settings: RunSettings,
    shard: Shard = WHOLE,
    progress: bool = True,
) -> Evaluation:
    """Answer what the run folder lacks of this process's share; the last process to finish merges and scores all rows.

    Raises:
        RunError: the folder, the data or the settings cannot be used, or the disk is full. Written rows are kept.

    >>> backend = build_backend("rlfr=runs/quickstart/final", batch_size=8)
    >>> evaluation = evaluate(backend, registry.expand(["rlfr_quickstart"]), Path("runs/eval"), RunSettings())
    """
    with run_files.locked(run, shard):
        tasks = _plan(backend, specs, run, settings, shard)
        failures = _answer_tasks(backend, tasks, run, shard, progress)
        if shard.count == 1:
            results, incomplete = score_run(run)
            return Evaluation(results, incomplete, failures)
    with run_files.held_by_last(run) as last:
        manifest = run_files.read_manifest(run)  # fails if the folder is gone
        # Another process that was last at the same time may have merged this one's rows already.
        if not last or not any(run_files.samples_path(run, task.spec.name, shard).exists() for task in tasks):
            return Evaluation(None, [], failures)
        for task in tasks:
            # Another process may have been asked for more problems or samples meanwhile; its rows are not in our plan.
            ours = manifest.tasks[task.spec.name] == task.plan
            run_files.collect_rows(run, task.spec.name, task.fault if ours else None)
        results, incomplete = score_run(run)
        return Evaluation(results, incomplete, failures)


def _plan(
    backend: Backend, specs: Sequence[TaskSpec], run: Path, settings: RunSettings, shard: Shard
) -> list[PlannedTask]:
    """The planned tasks, which the manifest records."""
    check_modality(backend.info.name, backend.text_only, specs)
    with ThreadPoolExecutor(1) as aside:
        parsers = aside.submit(grading.self_test)  # it starts a worker process, which should not keep the model waiting
        tasks = [plan_task(spec, backend, settings) for spec in specs]
        try:
            parsers.result()
        except RuntimeError as error:
            raise RunError(one_line(error)) from error
    with run_files.changing(run):
        run_files.write_manifest(run, _manifest(run, backend, tasks, settings, shard))
    return tasks


def _answer_tasks(backend: Backend, tasks: Sequence[PlannedTask], run: Path, shard: Shard, progress: bool) -> list[str]:
    """Answer what the tasks lack of a shard. Returns what went wrong, each message once."""
    answered = {task.spec.name: {row.key for row in _written_rows(run, task, shard)} for task in tasks}
    shares: dict[str, list[Batch]] = {}
    turn = itertools.count()  # goes on from task to task, since a task may have fewer batches than there are processes
    for task in tasks:
        shares[task.spec.name] = [
            (number, seed, shard.share(next(turn), batch, backend.seeding == "batch"))
            for number, seed, batch in task.batches(backend.batch_size)
        ]
    keys = [sample.key for share in shares.values() for _, _, batch in share for sample in batch]
    initial = sum(key in answered[key.task] for key in keys)
    failures: list[str] = []
    with tqdm(total=len(keys), initial=initial, unit="response", disable=not progress) as bar:
        for task in tasks:
            bar.set_description(task.spec.name)
            name = task.spec.name
            with contextlib.closing(Journal(run_files.samples_path(run, name, shard))) as journal:
                failures += _answer(backend, task, shares[name], journal, answered[name], bar.update)
    return failures


def _written_rows(run: Path, task: PlannedTask, shard: Shard) -> list[SampleRow]:
    """The rows of a task that the folder holds; the file that this process appends to is repaired."""
    name = task.spec.name
    if shard.count == 1:
        return run_files.collect_rows(run, name, task.fault)
    run_files.repair_rows(run_files.samples_path(run, name, shard), task.fault)
    return run_files.read_rows(*run_files.samples_paths(run, name), fault=task.fault)[0]


def _answer(
    backend: Backend,
    task: PlannedTask,
    share: Sequence[Batch],
    journal: Journal,
    answered: set[RowKey],
    advance: Callable[[int], Any],
) -> list[str]:
    """Generate, grade and journal what a task lacks of these batches. Returns what went wrong, each message once.

    Batches in a row without a response are counted as in a run that was never stopped: a batch of which a part was
    answered earlier is not one of them, nor is a batch of records that cannot be asked.
    """
    failures: dict[str, None] = {}
    silent = 0
    for number, seed, batch in share:
        missing = [sample for sample in batch if sample.key not in answered]
        if len(missing) < len(batch):
            silent = 0
        if not missing:
            continue
        # If a batch shares one random state (and its padding), a part of the batch would be answered differently.
        prompts, unusable = _prompts(backend, task, batch if backend.seeding == "batch" else missing)
        failures |= dict.fromkeys(unusable)
        if all(sample.key in answered for sample, _, _ in prompts):
            continue
        rows, failed = _answer_batch(backend, task, prompts, number, seed)
        rows = [row for row in rows if row.key not in answered]
        journal.append_rows(rows)
        advance(len(rows))
        failures |= dict.fromkeys(failed)
        silent = 0 if rows or len(missing) < len(batch) else silent + 1
        if silent == GIVE_UP_AFTER:
            failures[f"{task.spec.name}: gave up after {silent} batches in a row without a response"] = None
            break
    return _shortened(task.spec.name, list(failures))


def _shortened(task: str, failures: list[str]) -> list[str]:
    """The first reasons and the last one, with the number of those between, if there are many."""
    left_out = len(failures) - LISTED_FAILURES
    if left_out < 2:
        return failures
    return [*failures[: LISTED_FAILURES - 1], f"{task}: {left_out} more reasons like these", failures[-1]]


def _prompts(backend: Backend, task: PlannedTask, batch: Sequence[Sample]) -> tuple[list[Prompt], list[str]]:
    """The prompts of the samples, and why samples cannot be asked."""
    prompts: list[Prompt] = []
    failures: list[str] = []
    of_record: dict[int, tuple[str, list[dict[str, Any]], dict[str, Any]]] = {}  # by doc_id
    for sample in batch:
        try:
            if sample.doc_id not in of_record:
                doc = read_record(task.spec, task.docs, sample.doc_id)
                messages = task.spec.messages(doc)
                fields = doc_fields(task.spec, task.plan, sample.doc_id, doc, sample.key.doc_hash)
                of_record[sample.doc_id] = task.spec.text(doc), messages, fields | _prompt_fields(backend, messages)
        except ValueError as error:  # a record without its image, or an image that cannot be decoded
            failures.append(one_line(error))
        else:
            text, messages, fields = of_record[sample.doc_id]
            prompts.append((sample, Request(sample.doc_id, text, messages, sample.seed), fields))
    return prompts, failures


def _answer_batch(
    backend: Backend, task: PlannedTask, prompts: Sequence[Prompt], number: int, seed: int
) -> tuple[list[SampleRow], list[str]]:
    """The graded rows of one batch, and why rows are missing."""
    name = task.spec.name
    try:
        outputs = backend.generate(name, [request for _, request, _ in prompts], task.generation, seed)
    except RunError:
        raise
    except Exception as error:  # out of memory, or a server that went away: the next batch may succeed
        return [], [f"{name}, batch {number}: {type(error).__name__}: {one_line(error)}"]
    rows = [
        fields
        | _response_fields(sample, output, task)
        | {"batch": number, "seed": {"request": sample.seed, "batch": seed, "none": None}[backend.seeding]}
        for (sample, _, fields), output in zip(prompts, outputs, strict=True)
        if output.text is not None
    ]
    return graded_rows(rows), [f"{name}: {output.failure}" for output in outputs if output.text is None]


def _prompt_fields(backend: Backend, messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    prompt = backend.render(messages)
    images = [part["url"] for turn in messages for part in turn["content"] if part["type"] == "image"]
    return {
        "prompt": records.clean_text(prompt),
        "prompt_hash": records.digest(prompt),
        "image_hashes": [records.image_hash(image) for image in images],
    }


def _response_fields(sample: Sample, output: Output, task: PlannedTask) -> dict[str, Any]:
    return {
        "sample_index": sample.key.sample_index,
        "generation": task.plan.generation,
        "generation_hash": sample.key.generation_hash,
        "response": records.clean_text(output.text or ""),
        "finish_reason": output.finish_reason,
        "prompt_tokens": output.prompt_tokens,
        "completion_tokens": output.completion_tokens,
    }


def _manifest(
    run: Path, backend: Backend, tasks: Sequence[PlannedTask], settings: RunSettings, shard: Shard
) -> records.Manifest:
    """The manifest of the run with this session added.

    Raises:
        RunError: the folder holds a run with other settings, to which new rows would not belong.
    """
    plans = {task.spec.name: task.plan for task in tasks}
    now = records.Manifest(
        model=backend.info,
        seed=settings.seed,
        batch_size=backend.batch_size,
        data_root=settings.data_root,
        tasks=plans,
        sessions=[_session(shard)],
    )
    if not (run / run_files.MANIFEST).exists():
        return now
    before = run_files.read_manifest(run)
    for what, old, new in _settings(before, now):
        if old != new:
            raise RunError(
                f"{run} holds a run with other settings: {what} was {old}, now {new}; "
                + (f"rlfr_mm.eval.score {run} grades it again" if "scorer_v" in what else "use another --output_dir")
            )
    return now.model_copy(update={"tasks": before.tasks | plans, "sessions": before.sessions + now.sessions})


def _settings(before: records.Manifest, now: records.Manifest) -> list[tuple[str, Any, Any]]:
    """(name, old value, new value) of all settings that must be equal for a run to be resumed."""
    earlier, later = _identity(before.model), _identity(now.model)
    known = before.model.weights_sha256 is not None and now.model.weights_sha256 is not None
    pairs: list[tuple[str, Any, Any]] = [
        *(
            (f"the model's {key}", earlier.get(key), later.get(key))
            for key in earlier | later
            if not (known and key in NAMES)
        ),
        ("--seed", before.seed, now.seed),
        ("--batch_size", before.batch_size, now.batch_size),
    ]
    for name in now.tasks.keys() & before.tasks.keys():
        old, new = before.tasks[name], now.tasks[name]
        for key in type(old).model_fields:
            values = getattr(old, key), getattr(new, key)
            if key not in ("problems", "samples"):
                pairs.append((f"{name}: {key}", *values))
            elif values[1] < values[0]:
                pairs.append((f"{name}: {key} (which may only grow)", *values))
    return pairs


def _identity(model: records.ModelInfo) -> dict[str, Any]:
    """What the model is, without where it runs: a server may come back at another port, a folder may have moved."""
    args = {f"argument {key}": value for key, value in model.args.items() if key not in LOCATION}
    return model.model_dump(exclude={"args"}) | args


def _session(shard: Shard) -> records.Session:
    made = environment()
    return records.Session(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=shlex.join(sys.orig_argv),
        shard=str(shard) if shard.count > 1 else None,
        git_commit=made["git_commit"],
        libraries=made["versions"] | {name: version(name) for name in ("lmms-eval", "math-verify", "pillow")},
        hardware=made["hardware"],
    )
