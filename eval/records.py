"""What a run leaves on disk: rows (one per problem and sample), a manifest, results; and how they are read and written.

    RUN/manifest.json             Manifest: what was run, on what, with what
    RUN/<task>/samples.jsonl      SampleRow, one per line, appended as the model answers; the only thing results need
    RUN/<task>/samples.bad.jsonl  lines that could not be read, moved aside with their line number
    RUN/results.json              BenchmarkResult, one per task; derived from the rows, may be deleted

A row is a line of UTF-8 JSON that ends with a newline. Rows of one append go to the file in one write that is followed
by fsync: a killed process leaves at most one torn line at the end, a failed write leaves none.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rlfr_mm.grading.verdict import Status, Verdict

SCHEMA_VERSION: Literal[1] = 1
SAMPLES, BAD_SAMPLES, MANIFEST, RESULTS, LOCK = (
    "samples.jsonl",
    "samples.bad.jsonl",
    "manifest.json",
    "results.json",
    ".lock",
)


class RunError(Exception):
    """A run folder or an input that cannot be used; the message is one line and says what would work."""


class RowKey(NamedTuple):
    """What makes a row unique: the same key is never generated twice within a run."""

    task: str
    doc_hash: str
    sample_index: int
    generation_hash: str


class Record(BaseModel):
    """Base of everything on disk: unknown keys are an error, so that a misspelt field cannot vanish."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class SampleRow(Record):
    """One response to one problem, with all that is needed to grade it again without model or dataset."""

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    doc_id: int = Field(description="position of the record in the dataset split")
    problem_id: str = Field(description="the benchmark's own id; what runs are paired by")
    doc_hash: str = Field(description="hash of the record itself, images included")
    sample_index: int = 0
    dataset: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    prompt: str | None = Field(None, description="the prompt as rendered for the back end; null in imported rows")
    prompt_hash: str | None = None
    image_hashes: list[str] = []
    generation: dict[str, Any] = Field({}, description="effective settings, those inherited from the checkpoint too")
    generation_hash: str
    seed: int | None = Field(None, description="seed of this sample; where the batch shares one, the batch's")
    batch: int | None = Field(None, description="journal unit the row was generated in")
    response: str = Field(description="raw text; lone surrogates are written as escapes")
    finish_reason: Literal["stop", "length"] | None = Field(None, description="null where the back end cannot tell")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    gold: str | list[str]
    choices: list[str] | None = None
    meta: dict[str, Any] = Field({}, description="what else the scorer needs, such as the answer type")
    categories: dict[str, list[str]] = Field({}, description="what scores are broken down by, such as the skill")
    doc: dict[str, Any] = Field({}, description="the record without its images: what exports read")
    scorer: str
    scorer_version: str
    verdict: Verdict = Field(description="rule `strict`: never guesses; what results are made of")
    verdict_official: Verdict = Field(description="rule `official`: the benchmark's own scorer, its bugs included")

    @property
    def key(self) -> RowKey:
        return RowKey(self.task, self.doc_hash, self.sample_index, self.generation_hash)

    def judged(self, rule: str) -> Verdict:
        return self.verdict_official if rule == "official" else self.verdict


class TaskPlan(Record):
    """What a run set out to do for one task."""

    dataset: str
    config: str | None
    splits: list[str]
    revision: str | None
    data_hash: str = Field(description="hash over the hashes of all records")
    rows: int = Field(description="records in the data that was loaded")
    rows_expected: int = Field(description="records the registry expects; fewer or more make the results partial")
    changed_data: bool = Field(description="the data differ from what the registry expects; --allow-changed-data")
    problems: int = Field(description="records asked for, after --limit")
    samples: int
    generation: dict[str, Any]
    scorer: str
    scorer_version: str


class ModelInfo(Record):
    backend: str
    args: dict[str, Any] = {}
    name: str
    revision: str | None = None
    weights_sha256: str | None = None


class Session(Record):
    """One start of the command on this run folder."""

    started: str = Field(description="UTC, ISO 8601")
    command: str
    git_commit: str | None
    libraries: dict[str, str]
    hardware: dict[str, Any]


class Manifest(Record):
    """What produced the rows. `tasks` grows when a later session adds some; settings never change within a run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str = Field("rlfr_mm.eval.run", description="the command, or `import:FORMAT`")
    model: ModelInfo
    seed: int | None = None
    batch_size: int | None = None
    data_root: str | None = None
    tasks: dict[str, TaskPlan] = {}
    sessions: list[Session] = []


class Interval(Record):
    low: float
    high: float
    level: float = 0.95
    method: str


class BenchmarkResult(Record):
    """The score of one task. Invariants: `rows` is the sum of `counts`; `partial` says whether it is the whole task.

    `counts` tells wrong answers from responses without an answer and from failures of the grader (timeout, error).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    benchmark: str
    protocol: str
    model: str
    dataset: str
    config: str | None
    splits: list[str]
    revision: str | None
    scorer: str
    scorer_version: str
    rule: Literal["strict", "official"]
    problems_expected: int
    problems: int
    samples: int = Field(description="samples per problem that were asked for")
    rows: int
    missing: int = Field(description="responses that were asked for and are not there")
    counts: dict[Status, int]
    empty_responses: int
    truncated: int | None = Field(description="responses cut at max_new_tokens; null where the back end cannot tell")
    headline: str = Field(description="the key in `metrics` that the benchmark is quoted by")
    metrics: dict[str, float]
    standard_error: float | None = Field(description="of the headline, clustered by problem")
    interval: Interval | None = Field(description="of the headline")
    partial: bool = Field(description="a slice of the task, or responses are missing")
    changed_data: bool = False

    @model_validator(mode="after")
    def _invariants(self) -> "BenchmarkResult":
        if sum(self.counts.values()) != self.rows:
            raise ValueError(f"{self.task}: counts sum to {sum(self.counts.values())}, rows={self.rows}")
        if self.metrics and self.headline not in self.metrics:
            raise ValueError(f"{self.task}: headline={self.headline!r} is not one of {sorted(self.metrics)}")
        whole = self.problems == self.problems_expected and self.missing == 0
        if self.partial == whole:
            raise ValueError(
                f"{self.task}: partial={self.partial} with {self.problems} of {self.problems_expected} problems"
            )
        return self

    @property
    def score(self) -> float:
        return self.metrics[self.headline]


# ---------------------------------------------------------------------------------------------------- hashes


def digest(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of a JSON value (keys sorted), of bytes or of text."""
    if not isinstance(value, bytes):
        value = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
        value = value.encode("utf-8", "backslashreplace")
    return hashlib.sha256(value).hexdigest()[:16]


def plain_doc(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset record as plain JSON without images, which are replaced by null."""
    return {key: _plain(value, lambda image: None) for key, value in doc.items()}


def doc_hash(doc: Mapping[str, Any]) -> str:
    """Hash of a record, all fields and its images: encoded bytes where the record holds those, else the pixels."""
    return digest({key: _plain(value, image_hash) for key, value in doc.items()})


def image_hash(image: Any) -> str:
    """Hash of an image: encoded bytes where `datasets` has not decoded it, else a PIL image's mode, size and pixels."""
    if isinstance(image, Mapping):
        return digest(image["bytes"] or str(image["path"]))
    return digest(f"{image.mode}{image.size}".encode() + image.tobytes())


def _plain(value: Any, of_image: Callable[[Any], str | None]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # a PIL image, without importing PIL
        return of_image(value)
    if isinstance(value, Mapping):
        undecoded = set(value) == {"bytes", "path"}
        return of_image(value) if undecoded else {str(k): _plain(v, of_image) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, of_image) for v in value]
    return str(value)


def clean_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot hold, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


# ---------------------------------------------------------------------------------------------------- rows


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


# ---------------------------------------------------------------------------------------------------- run folders


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


def count_statuses(verdicts: Iterable[Verdict]) -> dict[Status, int]:
    """How many verdicts there are of each status; every status has an entry."""
    found = Counter(verdict.status for verdict in verdicts)
    statuses: tuple[Status, ...] = ("correct", "wrong", "no_answer", "timeout", "error")
    return {status: found[status] for status in statuses}
