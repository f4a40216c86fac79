"""The records of an evaluation run: rows (one per problem and sample), manifest and results; hashes of dataset records.

`run_files` says where in a run folder they are, and reads and writes them.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlfr_mm.grading.verdict import Status, Verdict
from rlfr_mm.secrets import hide_secrets, is_secret, without_secrets
from rlfr_mm.statistics import Interval

SCHEMA_VERSION: Literal[1] = 1


class RunError(ValueError):
    """A run folder or an input cannot be used. The message is one line and says what would work."""


def one_line(error: BaseException) -> str:
    """The first line of an error's message, or the name of its type if the message is empty."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)


@contextlib.contextmanager
def complete_rows(what: str) -> Iterator[None]:
    """Turn what the body raises on a row that lacks something its task needs into a RunError; usable as a decorator.

    Rows of earlier versions and edited ones may do so: each field is checked, but not which categories there are.
    """
    try:
        yield
    except (LookupError, TypeError, AttributeError) as error:
        kind = type(error).__name__
        raise RunError(f"{what}: a row lacks what its task needs, or was edited: {kind} {one_line(error)}") from error


class RowKey(NamedTuple):
    """Identifies a row: within a run no key is generated twice."""

    task: str
    doc_hash: str
    sample_index: int
    generation_hash: str


class Record(BaseModel):
    """Base class of everything on disk. Unknown keys are an error, so that a misspelt field is not lost silently."""

    model_config = ConfigDict(extra="forbid", protected_namespaces=())


class SampleRow(Record):
    """One response to one problem, with everything needed to grade it again without the model or the dataset."""

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    doc_id: int = Field(description="position of the record in the dataset split")
    problem_id: str = Field(description="the benchmark's own id; comparisons pair runs by it")
    doc_hash: str = Field(description="hash of the record itself, images included")
    sample_index: int = 0
    dataset: str
    config: str | None = None
    split: str | None = None
    revision: str | None = None
    prompt: str | None = Field(None, description="the prompt as the back end rendered it; null in imported rows")
    prompt_hash: str | None = None
    image_hashes: list[str] = []
    generation: dict[str, Any] = Field({}, description="effective settings, with those inherited from the checkpoint")
    generation_hash: str
    seed: int | None = Field(None, description="seed of this sample, or of its batch if the batch shares one")
    batch: int | None = Field(None, description="number of the batch in which the row was generated")
    response: str = Field(description="raw text; lone surrogates are escaped")
    finish_reason: Literal["stop", "length"] | None = Field(None, description="null if the back end cannot tell")
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    gold: str | list[str]
    choices: list[str] | None = None
    meta: dict[str, Any] = Field({}, description="further input of the scorer, such as the answer type")
    categories: dict[str, list[str]] = Field(
        {}, description="the values that scores are broken down by, such as the skill"
    )
    doc: dict[str, Any] = Field({}, description="the dataset record without its images; exports read it")
    scorer: str
    scorer_version: str
    verdict: Verdict = Field(description="by the rule `strict`, which never guesses; results use it by default")
    verdict_official: Verdict = Field(
        description="by the rule `official`: the benchmark's own scorer, bugs included; strict if that is a judge model"
    )

    @property
    def key(self) -> RowKey:
        return RowKey(self.task, self.doc_hash, self.sample_index, self.generation_hash)

    def judged(self, rule: str) -> Verdict:
        """The verdict by the rule `strict` or `official`."""
        return self.verdict_official if rule == "official" else self.verdict


class TaskSource(Record):
    """The data and the scorer of a task, and the requested samples per problem."""

    dataset: str
    config: str | None
    splits: list[str]
    revision: str | None
    samples: int
    scorer: str
    scorer_version: str
    changed_data: bool = Field(
        False, description="the data differ from what the registry expects (--allow-changed-data)"
    )


class TaskPlan(TaskSource):
    """What a run was asked to do for one task."""

    data_hash: str = Field(description="hash over the hashes of all records")
    rows: int = Field(description="records in the data that was loaded")
    rows_expected: int = Field(description="records the registry expects; any other number makes the results partial")
    problems: int = Field(description="number of records to answer, after --limit")
    generation: dict[str, Any]


class ModelInfo(Record):
    """The model that answered. `args` never holds secrets."""

    backend: str
    args: dict[str, Any] = {}
    name: str
    revision: str | None = None
    weights_sha256: str | None = None

    @field_validator("args")
    @classmethod
    def _without_secrets(cls, args: dict[str, Any]) -> dict[str, Any]:
        return without_secrets({name: value for name, value in args.items() if not is_secret(name)})


class Session(Record):
    """One start of the command in this run folder."""

    started: str = Field(description="UTC, ISO 8601")
    command: str
    shard: str | None = Field(None, description="I/N for process I of N; null for a single process")
    git_commit: str | None
    libraries: dict[str, str]
    hardware: dict[str, Any]

    @field_validator("command")
    @classmethod
    def _redacted(cls, command: str) -> str:
        return hide_secrets(command)


class Manifest(Record):
    """How the rows were produced. A later session may add tasks, but settings never change within a run."""

    schema_version: Literal[1] = SCHEMA_VERSION
    source: str = Field("rlfr_mm.eval.run", description="the command, or `import:FORMAT`")
    model: ModelInfo
    seed: int | None = None
    batch_size: int | None = None
    data_root: str | None = None
    tasks: dict[str, TaskPlan] = {}
    sessions: list[Session] = []

    @field_validator("tasks")
    @classmethod
    def _named_like_folders(cls, tasks: dict[str, TaskPlan]) -> dict[str, TaskPlan]:
        for name in tasks:
            if not re.fullmatch(r"\w[\w.-]*", name):
                raise ValueError(f"{name!r} is not the name of a task: it cannot be a folder of the run")
        return tasks


class BenchmarkResult(TaskSource):
    """The score of one task.

    Invariants: `rows` is the sum of `counts`; `partial` is False only if the whole task was answered. `counts`
    separates wrong answers from responses without an answer and from failures of the grader (timeout, error).
    """

    schema_version: Literal[1] = SCHEMA_VERSION
    task: str
    benchmark: str
    protocol: str
    model: str
    rule: Literal["strict", "official"]
    problems_expected: int
    problems: int
    rows: int
    missing: int = Field(description="requested responses that are missing")
    counts: dict[Status, int]
    empty_responses: int
    identical_samples: int = Field(0, description="problems whose samples, of which there are several, are all equal")
    truncated: int | None = Field(description="responses cut at max_new_tokens; null if the back end cannot tell")
    headline: str = Field(description="the key in `metrics` by which the benchmark is quoted")
    metrics: dict[str, float]
    standard_error: float | None = Field(description="of the headline, clustered by problem")
    interval: Interval | None = Field(description="of the headline")
    partial: bool = Field(description="only a slice of the task, or responses are missing")

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
    """The first 16 hex digits of the SHA-256 of a JSON value (with sorted keys), of bytes or of text.

    >>> digest({"temperature": 0.0, "top_p": 1.0}) == digest({"top_p": 1.0, "temperature": 0.0})
    True
    """
    if not isinstance(value, bytes):
        value = value if isinstance(value, str) else json.dumps(value, sort_keys=True, ensure_ascii=True, default=str)
        value = value.encode("utf-8", "backslashreplace")
    return hashlib.sha256(value).hexdigest()[:16]


def plain_doc(doc: Mapping[str, Any]) -> dict[str, Any]:
    """A dataset record as plain JSON, with images replaced by null."""
    return {key: _plain(value, lambda image: None) for key, value in doc.items()}


def doc_hash(doc: Mapping[str, Any]) -> str:
    """The hash of a dataset record with all its fields and images (see `image_hash`)."""
    return digest({key: _plain(value, image_hash) for key, value in doc.items()})


def image_hash(image: Any) -> str:
    """The hash of an image: of its encoded bytes if `datasets` has not decoded it, else of mode, size and pixels."""
    if isinstance(image, Mapping):
        return digest(image["bytes"] or str(image["path"]))
    return digest(f"{image.mode}{image.size}".encode() + image.tobytes())


def _plain(value: Any, of_image: Callable[[Any], str | None]) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if hasattr(value, "tobytes") and hasattr(value, "mode"):  # a PIL image; checked without importing PIL
        return of_image(value)
    if isinstance(value, Mapping):
        undecoded = set(value) == {"bytes", "path"}
        return of_image(value) if undecoded else {str(k): _plain(v, of_image) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v, of_image) for v in value]
    return str(value)


def clean_text(text: str) -> str:
    """The text with lone surrogates, which UTF-8 cannot encode, written as escapes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
