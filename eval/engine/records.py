"""What a run is made of: rows (one per problem and sample), a manifest, results; and the hashes that identify records.

`run_files` says where they lie and reads and writes them.
"""

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from rlfr_mm.grading.verdict import Status, Verdict
from rlfr_mm.statistics import Interval

SCHEMA_VERSION: Literal[1] = 1
_SECRET = r"(?:key|token|secret|passw(?:or)?d)"  # how the name of an option ends whose value must not be kept


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
    verdict_official: Verdict = Field(
        description="rule `official`: the benchmark's own scorer, bugs included; strict where that is a judge model"
    )

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

    @field_validator("args")
    @classmethod
    def _without_secrets(cls, args: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in args.items() if not re.search(f"{_SECRET}$", name, re.IGNORECASE)}


class Session(Record):
    """One start of the command on this run folder."""

    started: str = Field(description="UTC, ISO 8601")
    command: str
    git_commit: str | None
    libraries: dict[str, str]
    hardware: dict[str, Any]

    @field_validator("command")
    @classmethod
    def _redacted(cls, command: str) -> str:
        return re.sub(rf"(?i)({_SECRET}[= ]['\"]?)[^\s,'\"]+", r"\1***", command)


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
