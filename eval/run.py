"""Answers our tasks with a model: `python -m eval.run --model NAME,key=value --tasks rlfr_math500 --output_dir RUN`.

Responses are journalled in fixed, seeded batches as they are produced. The same command again resumes a run that was
stopped, and ends with the same rows as if it had not been. Everything after generation is redone from the rows.
"""

import argparse
import contextlib
import datetime
import shlex
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, ModelInfo, RowKey, RunError, SampleRow, Session
from rlfr_mm.eval.engine.run_files import Journal

if TYPE_CHECKING:
    from rlfr_mm.eval.engine.backends import Backend
    from rlfr_mm.eval.engine.plan import PlannedTask, RunSettings, Sample
    from rlfr_mm.tasks.spec import TaskSpec

WHERE_NOT_WHAT = {"base_url", "device", "device_map", "pretrained", "checkpoint", "timeout", "max_retries"}
GIVE_UP_AFTER = 3  # batches in a row without a response; the task is then left incomplete and the next one begins


def evaluate(
    backend: "Backend", specs: Sequence["TaskSpec"], run: Path, settings: "RunSettings", progress: bool = True
) -> tuple[list[BenchmarkResult], list[str]]:
    """Answers what the run folder does not answer yet; returns the results of all its tasks, and what is missing.

    Raises:
        RunError: folder, data or settings cannot be used, or the disk is full. What was written stays.
    """
    from tqdm import tqdm

    from rlfr_mm import grading
    from rlfr_mm.eval.engine.plan import one_line, plan_task
    from rlfr_mm.eval.score import score_run

    with run_files.locked(run), ThreadPoolExecutor(1) as aside:
        parsers = aside.submit(grading.self_test)  # it starts a worker: not while a model waits
        tasks = [plan_task(spec, backend, settings) for spec in specs]
        try:
            parsers.result()
        except RuntimeError as error:
            raise RunError(one_line(error)) from error
        run_files.write_manifest(run, _manifest(run, backend, tasks, settings))
        answered = {task.spec.name: _answered(run / task.spec.name / run_files.SAMPLES) for task in tasks}
        total = sum(len(task.samples) for task in tasks)
        initial = sum(sample.key in answered[task.spec.name] for task in tasks for sample in task.samples)
        failures: list[str] = []
        with tqdm(total=total, initial=initial, unit="response", disable=not progress) as bar:
            for task in tasks:
                bar.set_description(task.spec.name)
                failures += _answer(backend, task, run, answered[task.spec.name], bar.update)
        results, incomplete = score_run(run)
    return results, [*incomplete, *failures]


def _answered(path: Path) -> set[RowKey]:
    rows, bad = run_files.repair_rows(path)
    for line in run_files.describe_bad(path, bad, moved=True):
        run_files.warn(line)
    return {row.key for row in rows}


def _answer(backend: "Backend", task: "PlannedTask", run: Path, answered: set[RowKey], advance) -> list[str]:
    """Generates, grades and journals what is missing of one task; returns what went wrong, each kind once."""
    failures: dict[str, None] = {}
    silent = 0
    with contextlib.closing(Journal(run / task.spec.name / run_files.SAMPLES)) as journal:
        for number, seed, batch in task.batches(backend.batch_size):
            missing = [sample for sample in batch if sample.key not in answered]
            if not missing:
                continue
            # Where a batch shares one random state (and its padding), a part of it would answer differently.
            asked = batch if backend.seeding == "batch" else missing
            rows, failed = _answer_batch(backend, task, asked, number, seed)
            rows = [row for row in rows if row.key not in answered]
            journal.append(rows)
            advance(len(rows))
            failures |= dict.fromkeys(failed)
            silent = 0 if rows else silent + 1
            if silent == GIVE_UP_AFTER:
                return [*failures, f"{task.spec.name}: gave up after {silent} batches in a row without a response"]
    return list(failures)


def _answer_batch(
    backend: "Backend", task: "PlannedTask", batch: Sequence["Sample"], number: int, seed: int
) -> tuple[list[SampleRow], list[str]]:
    """The graded rows of one batch, and why some are not there."""
    from rlfr_mm.eval.engine.backends import Request
    from rlfr_mm.eval.engine.plan import one_line
    from rlfr_mm.eval.score import doc_fields, graded_rows

    asked: list[tuple[Sample, Request]] = []
    failures: list[str] = []
    fields: dict[int, dict[str, Any]] = {}  # of the rows, as far as the record decides them
    prompts: dict[int, tuple[str, list[dict[str, Any]]]] = {}
    for sample in batch:
        try:
            if sample.doc_id not in prompts:
                doc = task.docs[sample.doc_id]
                messages = task.spec.messages(doc)
                fields[sample.doc_id] = doc_fields(task.spec, task.plan, sample.doc_id, doc, sample.key.doc_hash)
                fields[sample.doc_id] |= _prompt_fields(backend, messages)
                prompts[sample.doc_id] = task.spec.text(doc), messages
        except (ValueError, OSError) as error:  # a record without its image, an image that cannot be decoded
            failures.append(one_line(error))
        else:
            asked.append((sample, Request(sample.doc_id, *prompts[sample.doc_id], sample.seed)))
    if not asked:
        return [], failures
    try:
        outputs = backend.generate(task.spec.name, [request for _, request in asked], task.generation, seed)
    except RunError:
        raise
    except Exception as error:  # out of memory, a server that is gone: the next batch may fare better
        return [], [*failures, f"{task.spec.name}, batch {number}: {type(error).__name__}: {one_line(error)}"]
    failures += [f"{task.spec.name}: {output.failure}" for output in outputs if output.text is None]
    rows = [
        {
            **fields[sample.doc_id],
            "sample_index": sample.key.sample_index,
            "generation": task.plan.generation,
            "generation_hash": sample.key.generation_hash,
            "seed": {"request": sample.seed, "batch": seed, "none": None}[backend.seeding],
            "batch": number,
            "response": records.clean_text(output.text),
            "finish_reason": output.finish_reason,
            "prompt_tokens": output.prompt_tokens,
            "completion_tokens": output.completion_tokens,
        }
        for (sample, _), output in zip(asked, outputs, strict=True)
        if output.text is not None
    ]
    return graded_rows(rows), failures


def _prompt_fields(backend: "Backend", messages: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    prompt = backend.render(messages)
    images = [part["url"] for turn in messages for part in turn["content"] if part["type"] == "image"]
    return {
        "prompt": records.clean_text(prompt),
        "prompt_hash": records.digest(prompt),
        "image_hashes": [records.image_hash(image) for image in images],
    }


def _manifest(run: Path, backend: "Backend", tasks: Sequence["PlannedTask"], settings: "RunSettings") -> Manifest:
    """The run's manifest with this session added.

    Raises:
        RunError: the folder holds a run with other settings; its rows would not fit together with new ones.
    """
    plans = {task.spec.name: task.plan for task in tasks}
    now = Manifest(
        model=backend.info,
        seed=settings.seed,
        batch_size=backend.batch_size,
        data_root=settings.data_root,
        tasks=plans,
        sessions=[_session()],
    )
    if not (run / run_files.MANIFEST).exists():
        return now
    before = run_files.read_manifest(run)
    grown = {"problems", "samples"}
    pairs: list[tuple[str, Any, Any]] = [
        ("the model", _identity(before.model), _identity(now.model)),
        ("--seed", before.seed, now.seed),
        ("--batch_size", before.batch_size, now.batch_size),
    ]
    for name in plans.keys() & before.tasks.keys():
        old, new = before.tasks[name], plans[name]
        pairs += [
            (f"{name}: {key}", getattr(old, key), getattr(new, key)) for key in type(old).model_fields.keys() - grown
        ]
        pairs += [
            (f"{name}: {key} (which may only grow)", getattr(old, key), getattr(new, key))
            for key in grown
            if getattr(new, key) < getattr(old, key)
        ]
    for what, old, new in pairs:
        if old != new:
            raise RunError(
                f"{run} holds a run with other settings: {what} was {old}, now {new}; "
                + (f"python -m eval.score {run} grades it again" if "scorer_v" in what else "use another --output_dir")
            )
    return now.model_copy(update={"tasks": before.tasks | plans, "sessions": before.sessions + now.sessions})


def _identity(model: ModelInfo) -> dict[str, Any]:
    """What the model is, without where it runs: a server may come back at another port, a folder may have moved."""
    args = {key: value for key, value in model.args.items() if key not in WHERE_NOT_WHAT}
    return model.model_dump() | {"args": args}


def _session() -> Session:
    from rlfr_mm.training.run_folder import environment

    made = environment()
    return Session(
        started=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=shlex.join(sys.orig_argv),
        git_commit=made["git_commit"],
        libraries=made["versions"] | {name: version(name) for name in ("lmms-eval", "math-verify", "pillow")},
        hardware=made["hardware"],
    )


# ---------------------------------------------------------------------------------------------------- the command


def parse_args(argv: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m eval.run", description=__doc__.splitlines()[0])
    parser.add_argument("--config", help="YAML file with any of the options below; the command line wins")
    parser.add_argument(
        "--model", help="lmms-eval back end as NAME[,key=value...], or rlfr=CHECKPOINT of rlfr_mm.train"
    )
    parser.add_argument("--tasks", help="tasks and groups, comma separated; python -m tasks.list prints them")
    parser.add_argument("--output_dir", type=Path, help="run folder; the same command on it again resumes")
    parser.add_argument("--data_root", help="local mirror of the dataset repositories instead of the hub")
    parser.add_argument("--samples", type=_positive, help="responses to each problem (default: the task's)")
    parser.add_argument("--limit", type=_positive, help="the first N problems of each task only")
    parser.add_argument("--seed", type=int, default=0, help="what all sample seeds derive from (default: 0)")
    parser.add_argument("--batch_size", type=_positive, default=8, help="requests that are one unit of the journal")
    parser.add_argument("--gen_kwargs", default="", help="key=value,... in place of the tasks' generation settings")
    parser.add_argument("--allow-changed-data", action="store_true", help="run a slice or changed data, marked as such")
    config = parser.parse_known_args(argv)[0].config
    if config:
        parser.set_defaults(**_read_config(Path(config), {action.dest for action in parser._actions}))
    args = parser.parse_args(argv)
    for name in ("model", "tasks", "output_dir"):
        if getattr(args, name) is None:
            parser.error(f"--{name} is needed")
    return args


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} must be at least 1")
    return value


def _read_config(path: Path, known: set[str]) -> dict[str, Any]:
    import yaml

    try:
        values = yaml.safe_load(path.read_text()) or {}
    except (OSError, yaml.YAMLError) as error:
        raise RunError(f"--config {path} cannot be read: {str(error).splitlines()[0]}") from error
    if not isinstance(values, dict):
        raise RunError(f"--config {path} must hold `option: value` lines")
    unknown = values.keys() - known
    if unknown:
        raise RunError(f"--config {path}: unknown {', '.join(sorted(unknown))}; options are {', '.join(sorted(known))}")
    texts = {key: ",".join(map(str, value)) if isinstance(value, list) else value for key, value in values.items()}
    # Text goes through the option's own type, as on the command line.
    return {key: value if isinstance(value, bool | None) else str(value) for key, value in texts.items()}


def main(argv: Sequence[str] | None = None) -> int:
    """Exit status 0: all results are there; 1: some are not, with what is missing; 2: the input cannot be used."""
    try:
        args = parse_args(argv)
        from rlfr_mm.eval.engine.plan import RunSettings
        from rlfr_mm.tasks import registry

        try:
            specs = registry.expand(name.strip() for name in args.tasks.split(",") if name.strip())
        except ValueError as error:
            raise RunError(str(error)) from None
        if not specs:
            raise RunError("--tasks names no task")
        from lmms_eval.utils import simple_parse_args_string

        from rlfr_mm.eval.engine.backends import build_backend
        from rlfr_mm.eval.score import result_table

        try:
            generation = simple_parse_args_string(args.gen_kwargs)
        except ValueError:
            raise RunError(f"--gen_kwargs {args.gen_kwargs}: write key=value,key=value") from None
        settings = RunSettings(
            samples=args.samples,
            limit=args.limit,
            seed=args.seed,
            generation=generation,
            data_root=args.data_root,
            allow_changed_data=args.allow_changed_data,
        )
        results, complaints = evaluate(build_backend(args.model, args.batch_size), specs, args.output_dir, settings)
    except (RunError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command resumes the run", file=sys.stderr)
        return 130
    print(result_table(results))
    for complaint in complaints:
        print(f"incomplete: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
