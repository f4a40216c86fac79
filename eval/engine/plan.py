"""The plan of a run: the samples of each task in a fixed order, with keys, seeds and batches. Nothing is random."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from datasets import Dataset, Image

from rlfr_mm.data.images import refuse_truncated_files
from rlfr_mm.eval.engine import records
from rlfr_mm.eval.engine.records import RowKey, RunError, SampleRow, TaskPlan, one_line
from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import SAMPLED, Doc, TaskSpec

if TYPE_CHECKING:
    from rlfr_mm.eval.engine.backends import Backend

# What --gen_kwargs may set, and to which values.
REPLACEABLE: dict[str, tuple[Callable[[float], bool], str]] = {
    "max_new_tokens": (lambda value: value >= 1 and value == int(value), "a whole number >= 1"),
    "temperature": (lambda value: value >= 0, ">= 0"),
    "top_p": (lambda value: 0 < value <= 1, "in (0, 1]"),
    "top_k": (lambda value: value >= 0 and value == int(value), "a whole number >= 0"),
}


@dataclass(frozen=True)
class RunSettings:
    """Everything that decides the rows of a run, apart from the model, the tasks and the data."""

    samples: int | None = None  # responses per problem; None: as many as the task says
    limit: int | None = None  # only the first N problems of each task; None: all
    seed: int = 0
    generation: Mapping[str, Any] = field(default_factory=dict)  # replaces generation settings of the tasks
    data_root: str | None = None
    allow_changed_data: bool = False


@dataclass(frozen=True)
class Sample:
    """One response that the run needs."""

    key: RowKey
    doc_id: int
    seed: int


@dataclass(frozen=True)
class PlannedTask:
    """A task with its dataset records and everything that is decided before the model answers."""

    spec: TaskSpec
    docs: Dataset
    generation: dict[str, Any]  # the settings passed to the back end
    plan: TaskPlan
    samples: list[Sample]  # ordered by problem, then by sample index

    @cached_property
    def by_place(self) -> dict[tuple[int, int], RowKey]:
        """The key of each sample by record and sample index."""
        return {(sample.doc_id, sample.key.sample_index): sample.key for sample in self.samples}

    def fault(self, row: SampleRow) -> str:
        """Why a row is not one of this plan; empty if it is."""
        planned = self.by_place.get((row.doc_id, row.sample_index))
        if planned is None:
            return f"sample {row.sample_index} of record {row.doc_id} is not planned"
        for name in ("task", "doc_hash", "generation_hash"):
            found, wanted = getattr(row, name), getattr(planned, name)
            if found != wanted:
                return f"its {name} is {found}, but that of record {row.doc_id} is {wanted}"
        return ""

    def batches(self, size: int) -> Iterator[tuple[int, int, list[Sample]]]:
        """Yield (number, seed, samples) per batch. Batches depend only on the plan, not on what is already answered."""
        for number, start in enumerate(range(0, len(self.samples), size)):
            batch = self.samples[start : start + size]
            yield number, derive_seed(*(sample.seed for sample in batch)), batch


def plan_task(spec: TaskSpec, backend: "Backend", settings: RunSettings) -> PlannedTask:
    """The task with its records and samples.

    Raises:
        RunError: the data cannot be read, or their size or hash differs from what the registry expects.
    """
    docs = load_docs(spec, settings.data_root)
    hashes = [records.doc_hash(doc) for doc in undecoded(docs)]
    data_hash = records.digest(hashes)
    changed = changed_data(spec, len(docs), data_hash)
    if changed and not settings.allow_changed_data:
        raise RunError(f"{spec.name}: {changed}; --allow-changed-data runs it and marks the results")
    count = settings.samples or spec.samples
    asked = generation_settings(spec, count, settings.generation)
    plan = task_plan(
        spec,
        data_hash=data_hash,
        rows=len(docs),
        changed_data=bool(changed),
        problems=min(len(docs), settings.limit or len(docs)),
        samples=count,
        generation=backend.effective(asked),
    )
    generation_hash = records.digest(plan.generation)
    keys = [
        (doc_id, RowKey(spec.name, hashes[doc_id], index, generation_hash))
        for doc_id in range(plan.problems)
        for index in range(count)
    ]
    samples = [Sample(key, doc_id, derive_seed(settings.seed, *key)) for doc_id, key in keys]
    if len({sample.key for sample in samples}) < len(samples):
        raise RunError(f"{spec.name}: the dataset holds a record twice; remove the copy and pass --allow-changed-data")
    return PlannedTask(spec, docs, asked, plan, samples)


def task_plan(spec: TaskSpec, **fields: Any) -> TaskPlan:
    """The TaskPlan of a task: the given fields, and those that the registry and the scorer decide."""
    return TaskPlan(
        dataset=spec.dataset,
        config=spec.config,
        splits=list(spec.splits),
        revision=spec.revision,
        rows_expected=spec.rows,
        scorer=spec.scorer,
        scorer_version=SCORERS[spec.scorer].version,
        **fields,
    )


def load_docs(spec: TaskSpec, data_root: str | None) -> Dataset:
    """The dataset records of a task, as published. RunError if they cannot be read."""
    try:
        return registry.load(spec, data_root).remove_columns(registry.TASK_COLUMN)
    except (OSError, ValueError) as error:
        raise RunError(f"{spec.name}: its data cannot be read: {one_line(error)}") from error


def read_record(spec: TaskSpec, docs: Dataset, doc_id: int) -> Doc:
    """A record with its images decoded. ValueError naming the record if one of them is damaged or not there."""
    try:
        with refuse_truncated_files():
            return docs[doc_id]
    except Exception as error:  # Pillow's readers raise all kinds on damaged files
        raise ValueError(f"{spec.name}: record {doc_id} cannot be read: {one_line(error)}") from error


def changed_data(spec: TaskSpec, rows: int, data_hash: str) -> str:
    """How the data differ from what the registry expects; empty if they do not."""
    if rows != spec.rows:
        return f"{rows} records where the registry expects {spec.rows}: a slice or a changed dataset"
    if spec.data_hash not in (None, data_hash):
        return f"the records have the hash {data_hash} where the registry expects {spec.data_hash}"
    return ""


def generation_settings(spec: TaskSpec, samples: int, replaced: Mapping[str, Any]) -> dict[str, Any]:
    """The generation settings of a task. A greedy task of which several samples are wanted is sampled.

    Raises:
        RunError: a replaced setting is unknown or has a value that it cannot have, or all samples would be identical.
    """
    for key, value in replaced.items():
        if key not in REPLACEABLE:
            raise RunError(f"--gen_kwargs has no setting {key}; it takes {', '.join(REPLACEABLE)}")
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise RunError(f"--gen_kwargs {key}={value}: must be a number")
        allowed, what = REPLACEABLE[key]
        if not (math.isfinite(value) and allowed(value)):
            raise RunError(f"--gen_kwargs {key}={value}: must be {what}")
    settings = asdict(spec.generation) | {"until": list(spec.generation.until)}
    if samples > 1 and not spec.generation.do_sample:
        settings |= {"temperature": SAMPLED.temperature, "top_p": SAMPLED.top_p}
    settings |= replaced
    settings["do_sample"] = settings["temperature"] > 0
    if samples > 1 and not settings["do_sample"]:
        raise RunError(
            f"{spec.name}: at temperature 0 all {samples} samples would be one sample; set a temperature above 0"
        )
    return settings


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2^31) that depends on the parts and on nothing else."""
    return int(records.digest([str(part) for part in parts]), 16) % 2**31


def undecoded(docs: Dataset) -> Iterable[Mapping[str, Any]]:
    """The records with their images still encoded, since hashing does not need the pixels."""
    for name, feature in docs.features.items():
        if isinstance(feature, Image):
            docs = docs.cast_column(name, Image(decode=False))
    return docs
