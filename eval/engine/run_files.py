"""Reading and writing a run folder.

    RUN/manifest.json             Manifest: the model, the tasks and the settings
    RUN/<task>/samples.jsonl      SampleRow, one per line, appended as the model answers; results need nothing else
    RUN/<task>/samples.bad.jsonl  unreadable lines that were moved aside, with their line number
    RUN/results.json              BenchmarkResult, one per task; computed from the rows, so it may be deleted

A row is one line of UTF-8 JSON. The rows of a batch are appended in one write followed by fsync: a killed process
leaves at most one torn line at the end, and a failed write leaves none.
"""

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from rlfr_mm import files
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, RowKey, RunError, SampleRow
from rlfr_mm.files import warn

SAMPLES, BAD_SAMPLES = "samples.jsonl", "samples.bad.jsonl"
MANIFEST, RESULTS, LOCK = "manifest.json", "results.json", ".lock"


@dataclass(frozen=True)
class BadLine:
    """A line of a samples.jsonl that is not a row."""

    number: int  # counted from 1
    text: bytes
    reason: str


def read_rows(path: Path) -> tuple[list[SampleRow], list[BadLine]]:
    """The rows of a samples.jsonl in file order, each key only once, and the lines that are not rows."""
    rows: dict[RowKey, SampleRow] = {}
    bad = []
    for number, line in files.read_lines(path):
        try:
            row = SampleRow.model_validate_json(line)
        except ValidationError as error:
            bad.append(BadLine(number, line, invalid(error)))
        else:
            rows.setdefault(row.key, row)
    return list(rows.values()), bad


def invalid(error: ValidationError) -> str:
    """The first problem of a pydantic error in one line: `field: message`."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def repair_rows(path: Path) -> list[SampleRow]:
    """The rows of a samples.jsonl, after which the file holds nothing else; [] if there is no such file.

    Unreadable lines are moved to samples.bad.jsonl, and a warning names each. Only the process that holds the run's
    lock may call this.
    """
    if not path.exists():
        return []
    rows, bad = read_rows(path)
    text = path.read_bytes()
    if bad:
        with contextlib.closing(files.Journal(path.with_name(BAD_SAMPLES))) as aside:
            aside.append(
                json.dumps({"line": line.number, "reason": line.reason, "text": line.text.decode("utf-8", "replace")})
                for line in bad
            )
        _warn_of(path, bad, f"; moved to {BAD_SAMPLES}")
    if bad or (text and not text.endswith(b"\n")):
        write_rows(path, rows)
    return rows


def write_rows(path: Path, rows: Iterable[SampleRow]) -> None:
    """Replace a samples.jsonl as a whole: a kill leaves either the old file or the new one."""
    write_text(path, "".join(row.model_dump_json() + "\n" for row in rows))


class Journal(files.Journal):
    """A samples.jsonl open for appending rows. The file must end with a newline, so call `repair_rows` first."""

    def append_rows(self, rows: Iterable[SampleRow]) -> None:
        """Append the rows and wait until they are on the disk.

        Raises:
            RunError: the disk refused the write (full, quota); the file then ends where it did before.
        """
        try:
            self.append(row.model_dump_json() for row in rows)
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


def read_manifest(run: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        RunError: there is no manifest, or it was not written by this project.
    """
    try:
        return Manifest.model_validate_json((run / MANIFEST).read_bytes())
    except FileNotFoundError:
        raise RunError(f"{run} is not a run folder: it has no {MANIFEST}; give the --output_dir of eval.run") from None
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
        raise RunError(f"{run} has no {RESULTS}: run `python -m eval.score {run}`") from None


def read_run(run: Path) -> dict[str, list[SampleRow]]:
    """All rows of a run by task, in the manifest's order, for commands that only read.

    Warnings name unreadable lines, which are left out; `eval.run` and `eval.score` move them aside.
    """
    found = {}
    for task in read_manifest(run).tasks:
        path = run / task / SAMPLES
        if path.exists():
            found[task], bad = read_rows(path)
            _warn_of(path, bad)
    return found


def _warn_of(path: Path, bad: Iterable[BadLine], done: str = "") -> None:
    for line in bad:
        warn(f"{path}, line {line.number} cannot be read ({line.reason}){done}")


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder for this process while the body runs. ValueError if another process holds it."""
    with files.locked(run / LOCK, what=str(run)):
        yield
