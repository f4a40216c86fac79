"""Reading and writing a run folder.

    RUN/manifest.json             Manifest: the model, the tasks and the settings
    RUN/<task>/samples.jsonl      SampleRow, one per line, appended as the model answers; results need nothing else
    RUN/<task>/samples.bad.jsonl  unreadable lines that were moved aside, with their line number
    RUN/results.json              BenchmarkResult, one per task; computed from the rows, so it may be deleted
    RUN/<task>/samples.I-of-N.jsonl   the rows of process I while N processes answer; `collect_rows` merges them

A row is one line of UTF-8 JSON. The rows of a batch are appended in one write followed by fsync: a killed process
leaves at most one torn line at the end, and a failed write leaves none.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rlfr_mm import files
from rlfr_mm.eval.engine import records
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, RowKey, RunError, SampleRow
from rlfr_mm.eval.engine.shards import WHOLE, Shard
from rlfr_mm.files import warn

SAMPLES, BAD_SAMPLES = "samples.jsonl", "samples.bad.jsonl"
MANIFEST, RESULTS, LOCK = "manifest.json", "results.json", ".lock"


Fault = Callable[[SampleRow], str]  # why a row does not belong where it was found; empty if it does


@dataclass(frozen=True)
class BadLine:
    """A line of a samples file that is not a row of its task."""

    path: Path
    number: int  # counted from 1
    text: bytes
    reason: str


def samples_path(run: Path, task: str, shard: Shard = WHOLE) -> Path:
    """The file that a process appends its rows of a task to."""
    return run / task / (SAMPLES if shard.count == 1 else f"samples.{shard.index}-of-{shard.count}.jsonl")


def samples_paths(run: Path, task: str) -> list[Path]:
    """The files that hold rows of a task: samples.jsonl, then those of shards that are not merged yet."""
    return [
        path for path in (run / task / SAMPLES, *sorted((run / task).glob("samples.*-of-*.jsonl"))) if path.exists()
    ]


def fault_of(task: str) -> Fault:
    """A check that a row says it is of this task, and that its hash is that of its record.

    Only a record without images and missing values can be hashed again, since a row does not hold the images.
    """

    def fault(row: SampleRow) -> str:
        if row.task != task:
            return f"it is a row of the task {row.task}, in the folder of {task}"
        complete = "null" not in json.dumps(row.doc)  # null stands for an image, and for a number that is not finite
        if row.doc and complete and records.doc_hash(row.doc) != row.doc_hash:
            return f"the hash of problem {row.problem_id} is not {row.doc_hash}: the row was edited"
        return ""

    return fault


def read_rows(*paths: Path, fault: Fault = lambda row: "") -> tuple[list[SampleRow], list[BadLine]]:
    """The rows of samples files by problem and sample, each key only once; and the lines that cannot be used."""
    rows: dict[RowKey, SampleRow] = {}
    bad = []
    for path in paths:
        for number, line in files.read_lines(path):
            try:
                row = SampleRow.model_validate_json(line)
            except ValidationError as error:
                reason = invalid(error)
            else:
                reason = fault(row)
                if not reason and rows.setdefault(row.key, row) != row:
                    where = f"problem {row.problem_id}, sample {row.sample_index}"
                    reason = f"another row for {where}; the first one counts"
            if reason:
                bad.append(BadLine(path, number, line, reason))
    return sorted(rows.values(), key=lambda row: (row.doc_id, row.sample_index)), bad


def invalid(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: `field: message`."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def repair_rows(path: Path, fault: Fault = lambda row: "") -> list[SampleRow]:
    """The rows of a samples file, after which it holds nothing else; [] if there is no such file.

    Lines that are not rows are moved to samples.bad.jsonl, and a warning names each. Only the process that holds the
    run, or the shard that writes this file, may call this.
    """
    return _repair([path] if path.exists() else [], path, fault)


def collect_rows(run: Path, task: str, fault: Fault | None = None) -> list[SampleRow]:
    """The rows of a task, after which samples.jsonl holds all of them, and nothing else holds any.

    Like `repair_rows` for all files of the task; only the process that holds the run may call this.
    """
    return _repair(samples_paths(run, task), samples_path(run, task), fault or fault_of(task))


def _repair(paths: Sequence[Path], target: Path, fault: Fault) -> list[SampleRow]:
    rows, bad = read_rows(*paths, fault=fault)
    if bad:
        with contextlib.closing(files.Journal(target.with_name(BAD_SAMPLES))) as aside:
            aside.append(
                json.dumps({"line": line.number, "reason": line.reason, "text": line.text.decode("utf-8", "replace")})
                for line in bad
            )
        _warn_of(bad, f"; moved to {BAD_SAMPLES}")
    if bad or list(paths) not in ([], [target]) or any(_is_torn(path) for path in paths):
        write_rows(target, rows)
        for path in paths:
            if path != target:
                path.unlink()
    return rows


def _is_torn(path: Path) -> bool:
    text = path.read_bytes()
    return bool(text) and not text.endswith(b"\n")


def write_rows(path: Path, rows: Iterable[SampleRow]) -> None:
    """Replace a samples.jsonl as a whole: a kill leaves either the old file or the new one."""
    write_text(path, "".join(row.model_dump_json() + "\n" for row in rows))


class Journal(files.Journal):
    """A samples.jsonl open for appending rows. The file must end with a newline, so call `repair_rows` first."""

    def append_rows(self, rows: Iterable[SampleRow]) -> None:
        """Append the rows and wait until they are on the disk.

        Raises:
            RunError: the disk refused the write (full, quota), and the file then ends where it did before; or the file
                is no longer there.
        """
        try:
            self.append(row.model_dump_json() for row in rows)
        except FileNotFoundError as error:
            raise RunError(f"cannot write {self.path}: {error.strerror}; run the same command again") from error
        except OSError as error:
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; all rows before this batch are safe: "
                "make room and run the same command again"
            ) from error


def write_text(path: Path, text: str) -> None:
    """Write a file whole. RunError naming the file if the disk refuses."""
    try:
        files.write_whole(path, text)
    except OSError as error:
        raise RunError(f"cannot write {path}: {error.strerror}; the file is as it was before") from error


def write_manifest(run: Path, manifest: Manifest) -> None:
    """Write the manifest of a run folder."""
    write_text(run / MANIFEST, manifest.model_dump_json(indent=1) + "\n")


def check_folder(run: Path) -> None:
    """ValueError unless this is a run folder, or can be made one: a folder with other files in it cannot."""
    files.check_folder(run, f"--output_dir {run}")
    # What a run that was killed early leaves, or one whose manifest is lost, is not in the way.
    ours = (MANIFEST, RESULTS, LOCK)
    foreign = run.is_dir() and any(not entry.name.startswith(ours) for entry in run.iterdir())
    if foreign and not (run / MANIFEST).exists() and not any(run.glob("*/samples*.jsonl")):
        raise RunError(f"--output_dir {run} is not empty and is not a run folder of eval.run: choose another one")


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        RunError: there is no manifest, or it was not written by this project.
    """
    try:
        return Manifest.model_validate_json((run / MANIFEST).read_bytes())
    except (FileNotFoundError, NotADirectoryError):
        trained = "; rlfr_mm.inspect shows runs of training" if (run / "config.yaml").is_file() else ""
        raise RunError(
            f"{run} is not a run folder: it has no {MANIFEST}; give the --output_dir of eval.run{trained}"
        ) from None
    except ValidationError as error:
        raise RunError(f"{run / MANIFEST} cannot be read: {invalid(error)}") from None


def write_results(run: Path, results: Iterable[BenchmarkResult]) -> None:
    """Write the results of a run folder."""
    write_text(run / RESULTS, json.dumps([result.model_dump(mode="json") for result in results], indent=1) + "\n")


def read_results(run: Path) -> list[BenchmarkResult]:
    """The results of a run folder. RunError if there are none; `eval.score RUN` computes them from the rows."""
    try:
        return [BenchmarkResult.model_validate(entry) for entry in files.read_json(run / RESULTS)]
    except FileNotFoundError:
        raise RunError(f"{run} has no {RESULTS}: run `python -m rlfr_mm.eval.score {run}`") from None


def read_run(run: Path) -> dict[str, list[SampleRow]]:
    """All rows of a run by task, in the manifest's order, for commands that only read.

    Warnings name unreadable lines, which are left out; `eval.run` and `eval.score` move them aside.
    """
    found = {}
    for task in read_manifest(run).tasks:
        if paths := samples_paths(run, task):
            found[task], bad = read_rows(*paths, fault=fault_of(task))
            _warn_of(bad)
    return found


def _warn_of(bad: Iterable[BadLine], done: str = "") -> None:
    for line in bad:
        warn(f"{line.path}, line {line.number} cannot be used ({line.reason}){done}")


# ---------------------------------------------------------------------------------------------------- locks


@contextlib.contextmanager
def locked(run: Path, shard: Shard = WHOLE) -> Iterator[None]:
    """Hold the run folder for this process while the body runs, or one shard of it.

    Different shards hold the folder together. ValueError if another process holds the folder or the same shard, or if
    processes answer shards of another number.
    """
    if shard.count == 1:
        with files.locked(run / LOCK, what=str(run)):
            yield
        return
    with contextlib.ExitStack() as held:
        with changing(run):  # waits while a process that has finished merges the rows
            held.enter_context(files.locked(run / LOCK, what=str(run), shared=True))
        held.enter_context(files.locked(_shard_lock(run, shard), what=f"shard {shard} of {run}"))
        for path in run.glob(f"{LOCK}-*-of-*"):
            if not path.name.endswith(f"-of-{shard.count}"):
                other = f"{run}, split in another number of shards ({path.name.removeprefix(f'{LOCK}-')}),"
                with files.locked(path, what=other, shared=True):
                    pass
        yield


def _shard_lock(run: Path, shard: Shard) -> Path:
    return run / f"{LOCK}-{shard.index}-of-{shard.count}"


def changing(run: Path) -> contextlib.AbstractContextManager[None]:
    """Wait for the right to change what the shards of a run share, such as its manifest."""
    return files.locked(run / f"{LOCK}-change", what=str(run), wait=True)


@contextlib.contextmanager
def held_by_last(run: Path) -> Iterator[bool]:
    """Whether no shard is at work any more; if so, the run folder is held for this process while the body runs."""
    with changing(run):
        lock = files.try_lock(run / LOCK)
        with lock or contextlib.nullcontext():
            yield lock is not None
