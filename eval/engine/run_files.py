"""What a run folder holds and how it is read and written: rows as they come, manifest, results, a lock.

    RUN/manifest.json             Manifest: what was run, on what, with what
    RUN/<task>/samples.jsonl      SampleRow, one per line, appended as the model answers; the only thing results need
    RUN/<task>/samples.bad.jsonl  lines that could not be read, moved aside with their line number
    RUN/results.json              BenchmarkResult, one per task; derived from the rows, may be deleted

A row is a line of UTF-8 JSON that ends with a newline. Rows of one append go to the file in one write that is followed
by fsync: a killed process leaves at most one torn line at the end, a failed write leaves none.
"""

import contextlib
import fcntl
import json
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, RowKey, RunError, SampleRow

SAMPLES, BAD_SAMPLES, MANIFEST, RESULTS, LOCK = (
    "samples.jsonl",
    "samples.bad.jsonl",
    "manifest.json",
    "results.json",
    ".lock",
)


@dataclass(frozen=True)
class BadLine:
    number: int  # counted from 1
    text: bytes
    reason: str


def read_rows(path: Path) -> tuple[list[SampleRow], list[BadLine]]:
    """The rows of a samples.jsonl in file order, a repeated key only once, and the lines that are no rows."""
    rows: dict[RowKey, SampleRow] = {}
    bad = []
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = SampleRow.model_validate_json(line)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            bad.append(BadLine(number, line, f"{where + ': ' if where else ''}{first['msg']}"))
        else:
            rows.setdefault(row.key, row)
    return list(rows.values()), bad


def repair_rows(path: Path) -> tuple[list[SampleRow], list[BadLine]]:
    """As `read_rows`, and afterwards the file holds these rows only: bad lines are moved to samples.bad.jsonl.

    Only for the owner of the run's lock.
    """
    if not path.exists():
        return [], []
    rows, bad = read_rows(path)
    text = path.read_bytes()
    if bad or (text and not text.endswith(b"\n")):
        with path.with_name(BAD_SAMPLES).open("ab") as aside:
            for line in bad:
                entry = {"line": line.number, "reason": line.reason, "text": line.text.decode("utf-8", "replace")}
                aside.write(json.dumps(entry).encode() + b"\n")
            aside.flush()
            os.fsync(aside.fileno())
        write_rows(path, rows)
    return rows, bad


def write_rows(path: Path, rows: Iterable[SampleRow]) -> None:
    """Replaces a samples.jsonl as a whole: either the old or the new file is there, never a part."""
    _replace(path, b"".join(_line(row) for row in rows))


class Journal:
    """A samples.jsonl opened for appending. The file must end with a newline: call `repair_rows` first."""

    def __init__(self, path: Path):
        path.parent.mkdir(parents=True, exist_ok=True)
        self.path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def append(self, rows: Iterable[SampleRow]) -> None:
        """Writes the rows and waits until they are on the disk.

        Raises:
            RunError: nothing could be written (disk full, quota); the file then ends where it ended before.
        """
        data = b"".join(_line(row) for row in rows)
        end = os.fstat(self._fd).st_size
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            os.ftruncate(self._fd, end)
            raise RunError(
                f"cannot write {self.path}: {error.strerror}; all rows before this batch are safe: "
                "make room and run the same command again"
            ) from error

    def close(self) -> None:
        os.close(self._fd)


def _line(row: SampleRow) -> bytes:
    return row.model_dump_json().encode() + b"\n"


def _replace(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise RunError(f"cannot write {path}: {error.strerror}; the file is as it was before") from error


def write_manifest(run: Path, manifest: Manifest) -> None:
    _replace(run / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        RunError: there is none, or it is not one of ours.
    """
    try:
        return Manifest.model_validate_json((run / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise RunError(f"{run} is no run folder: it has no {MANIFEST}; give the --output_dir of eval.run") from None
    except ValidationError as error:
        raise RunError(f"{run / MANIFEST} cannot be read: {error.errors()[0]['msg']}") from None


def write_results(run: Path, results: Iterable[BenchmarkResult]) -> None:
    data = [result.model_dump(mode="json") for result in results]
    _replace(run / RESULTS, json.dumps(data, indent=1).encode() + b"\n")


def read_results(run: Path) -> list[BenchmarkResult]:
    """The results of a run folder; `python -m eval.score RUN` writes them anew from the rows."""
    try:
        return [BenchmarkResult.model_validate(entry) for entry in json.loads((run / RESULTS).read_bytes())]
    except FileNotFoundError:
        raise RunError(f"{run} has no {RESULTS}: run `python -m eval.score {run}`") from None


def read_run(run: Path) -> dict[str, list[SampleRow]]:
    """All rows of a run by task, in the manifest's order, for commands that only read.

    Unreadable lines are named on stderr and left out; `eval.run` and `eval.score` move them aside.
    """
    found = {}
    for task in read_manifest(run).tasks:
        path = run / task / SAMPLES
        if path.exists():
            rows, bad = read_rows(path)
            for warning in describe_bad(path, bad):
                warn(warning)
            found[task] = rows
    return found


def describe_bad(path: Path, bad: list[BadLine], moved: bool = False) -> list[str]:
    """One line of text per unreadable line."""
    aside = f"; moved to {BAD_SAMPLES}" if moved else ""
    return [f"{path}, line {line.number} cannot be read ({line.reason}){aside}" for line in bad]


def warn(message: str) -> None:
    print(f"warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Holds the run folder for this process; the kernel lets go when the process ends, however it ends.

    Raises:
        RunError: another process holds it.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            owner = file.read().strip() or "unknown"
            raise RunError(f"{run} is in use by process {owner}; wait for it or give another folder") from None
        file.truncate(0)
        file.write(str(os.getpid()))
        file.flush()
        yield
