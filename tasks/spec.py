"""One task, typed: where its records are, how a record becomes a prompt and a graded row, how rows become numbers."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from rlfr_mm.grading import Item, Problem, Verdict
from rlfr_mm.tasks.aggregate import Row, summarise

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

Doc = Mapping[str, Any]  # one record of a dataset
T = TypeVar("T")


@dataclass(frozen=True)
class Generation:
    """What lmms-eval calls generation_kwargs, all of it set: an unset one means something else in every back end."""

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    do_sample: bool = False
    until: tuple[str, ...] = ()  # nothing cuts a response but the model's own end


GREEDY = Generation()
# The public pass@k studies' setting (arXiv 2504.13837); the paper prints none.
SAMPLED = Generation(temperature=0.6, top_p=0.95, do_sample=True)


@dataclass(frozen=True)
class TaskSpec:
    """A task `rlfr_*`. The functions take one record; fields they read and miss are named in the error."""

    name: str
    benchmark: str
    dataset: str  # hub id, or the folder of that name in a local mirror; "json" for a file of this package
    splits: tuple[str, ...]  # read one after the other as one
    rows: int  # of the whole task; fewer is a slice
    modality: Literal["text", "image"]
    scorer: str  # a name in rlfr_mm.grading.SCORERS
    problem_id: Callable[[Doc], str]
    prompt: Callable[[Doc], str]
    gold: Callable[[Doc], str]
    protocol: Literal["rlfr", "official"] = "rlfr"
    config: str | None = None
    data_files: str | None = None  # where the repository holds other files too
    revision: str | None = None  # a commit of the dataset repository
    data_hash: str | None = None  # of all records, as eval's manifest gives it, where the hub's are at hand whole
    choices: Callable[[Doc], tuple[str, ...] | None] = field(default=lambda doc: None)
    meta: Callable[[Doc], dict[str, Any]] = field(default=lambda doc: {})
    image: str | None = None  # the column with the image, or with a list of images
    categories: Callable[[Doc], dict[str, list[str]]] = field(default=lambda doc: {})
    breakdown: tuple[str, ...] = ()  # categories with a mean of their own
    cluster: str | None = None  # the category whose problems are not independent
    prepare: Callable[["Dataset", Path], "Dataset"] | None = None  # the records as the functions need them
    generation: Generation = GREEDY
    samples: int = 1
    extra: Callable[[Sequence[Row]], dict[str, float]] = field(default=lambda rows: {})  # the benchmark's own numbers
    headline: str = "accuracy"  # the number that stands for the task
    paper_column: str | None = None  # of the tables in arXiv 2510.10201

    def official(self, prompt: Callable[[Doc], str], **changes: Any) -> "TaskSpec":
        """The same task with the benchmark's own prompt; the paper's tables say nothing about it."""
        return replace(
            self, name=f"{self.name}_official", protocol="official", prompt=prompt, paper_column=None, **changes
        )

    def pass32(self) -> "TaskSpec":
        """The same task with 32 sampled responses to each problem; pass@32 stands for it."""
        sampled = replace(SAMPLED, max_new_tokens=self.generation.max_new_tokens)
        return replace(self, name=f"{self.name}_pass32", generation=sampled, samples=32, headline="pass@32")

    def text(self, doc: Doc) -> str:
        """The prompt's text; the images of `images` stand before it. Errors: ValueError naming record and field."""
        return self._read(self.prompt, doc)

    def images(self, doc: Doc) -> list["Image"]:
        """The record's images as RGB. Errors: ValueError naming a record without an image."""
        if self.image is None:
            return []
        column = self.image
        value = self._read(lambda record: record[column], doc)
        images = [image for image in (value if isinstance(value, list) else [value]) if image is not None]
        if not images:
            raise ValueError(
                f"{self.name}: record {self._label(doc)} has no image in its field {self.image!r}; "
                "use a copy of the dataset that has its images"
            )
        return [image.convert("RGB") for image in images]

    def messages(self, doc: Doc) -> list[dict[str, Any]]:
        """`images` and `text` as one user turn in lmms-eval's chat format. Errors: as theirs."""
        content: list[dict[str, Any]] = [{"type": "image", "url": image} for image in self.images(doc)]
        content.append({"type": "text", "text": self.text(doc)})
        return [{"role": "user", "content": content}]

    def problem(self, doc: Doc) -> Problem:
        """What the grader needs to judge responses to this record. Errors: ValueError naming record and field."""
        return self._read(
            lambda record: Problem(
                self.gold(record), self.scorer, self.choices(record), self.meta(record), self.problem_id(record)
            ),
            doc,
        )

    def item(self, doc: Doc, response: str) -> Item:
        """The record's problem together with a response to it. Errors: as `problem`."""
        return self.problem(doc).answered(response)

    def categories_of(self, doc: Doc) -> dict[str, list[str]]:
        """The record's categories. Errors: ValueError naming record and field."""
        return self._read(self.categories, doc)

    def row(self, doc: Doc, sample_index: int, verdict: Verdict) -> Row:
        """The graded response as `aggregate` takes it. Errors: ValueError naming record and field."""
        return {
            "problem_id": self._read(self.problem_id, doc),
            "sample_index": sample_index,
            "status": verdict.status,
            "score": verdict.score,
            "extracted": verdict.extracted,
            "categories": self.categories_of(doc),
        }

    def check(self, doc: Doc) -> str:
        """The record's problem id, if all but its images can be read. Errors: ValueError naming record and field."""
        self.text(doc)
        problem = self.problem(doc)
        if not isinstance(problem.gold, str):
            raise ValueError(f"{self.name}: record {self._label(doc)} has no answer to grade against")
        self.categories_of(doc)
        return problem.id

    def aggregate(self, rows: Sequence[Row]) -> dict[str, float]:
        """All numbers of the task, as fractions of 1; one that these rows leave undefined is left out.

        Errors: ValueError without rows.
        """
        numbers = summarise(rows, self.breakdown, self.cluster) | self.extra(rows)
        return {name: number for name, number in numbers.items() if not math.isnan(number)}

    def _read(self, reader: Callable[[Doc], T], doc: Doc) -> T:
        try:
            return reader(doc)
        except KeyError as missing:
            raise ValueError(
                f"{self.name}: record {self._label(doc)} lacks the field {missing}; it has {', '.join(doc)}"
            ) from None

    def _label(self, doc: Doc) -> str:
        try:
            return self.problem_id(doc)
        except KeyError:
            return "without an id"
