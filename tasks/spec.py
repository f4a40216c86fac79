"""The type of a task: where its records are, how a record becomes a prompt and a graded row, and its metrics."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, TypeVar

from rlfr_mm.data.prompts import InstructionName, with_instruction
from rlfr_mm.grading import Item, Problem, Verdict

if TYPE_CHECKING:
    from datasets import Dataset
    from PIL.Image import Image

Doc = Mapping[str, Any]  # one record of a dataset
T = TypeVar("T")


class Row(TypedDict):
    """One graded response. `categories` lists the values of each field: `{"skill": ["algebra"], "grade": ["8"]}`."""

    problem_id: str
    sample_index: int
    status: str  # of the verdict: correct, wrong, no_answer, timeout, error
    score: float
    extracted: str | None
    categories: Mapping[str, Sequence[str]]


@dataclass(frozen=True)
class Generation:
    """lmms-eval's generation_kwargs. All of them are set, because back ends have different defaults."""

    max_new_tokens: int = 4096
    temperature: float = 0.0
    top_p: float = 1.0
    do_sample: bool = False
    until: tuple[str, ...] = ()  # no stop strings: only the model's end-of-turn token ends a response


GREEDY = Generation()
# The setting of the public pass@k studies (arXiv 2504.13837); the paper does not state its own.
SAMPLED = Generation(temperature=0.6, top_p=0.95, do_sample=True)


@dataclass(frozen=True)
class TaskSpec:
    """A task `rlfr_*`.

    The functions take one record. If a record lacks a field that they read, the methods below raise a ValueError that
    names the record and the field.
    """

    name: str
    benchmark: str
    dataset: str  # hub id, also the folder's name in a local mirror; "json" for a file of this package
    rows: int  # records of the complete task
    problem_id: Callable[[Doc], str]
    question: Callable[[Doc], str] = field(default=lambda doc: doc["question"])  # text of the prompt, less instruction
    instruction: InstructionName | None = None  # None: the paper's, boxed for text and think_answer for images
    gold: Callable[[Doc], str] = field(default=lambda doc: doc["answer"])
    splits: tuple[str, ...] = ("test",)  # concatenated in this order
    scorer: str = "math"  # a name in rlfr_mm.grading.SCORERS
    protocol: Literal["rlfr", "official"] = "rlfr"
    config: str | None = None
    data_files: str | None = None  # for a repository that also holds other files
    revision: str | None = None  # commit of the dataset repository
    data_hash: str | None = None  # over all records, as in eval's manifest; None if we never had the complete data
    choices: Callable[[Doc], tuple[str, ...] | None] = field(default=lambda doc: None)
    meta: Callable[[Doc], dict[str, Any]] = field(default=lambda doc: {})
    image: str | None = None  # column with an image or a list of images
    categories: Callable[[Doc], dict[str, list[str]]] = field(default=lambda doc: {})
    breakdown: tuple[str, ...] = ()  # categories that are reported with their own means
    cluster: str | None = None  # category shared by problems that are not independent
    prepare: Callable[["Dataset", Path], "Dataset"] | None = None  # adds columns that the other functions need
    generation: Generation = GREEDY
    samples: int = 1
    extra: Callable[[Sequence[Row]], dict[str, float]] = field(default=lambda rows: {})  # the benchmark's own metrics
    headline: str = "accuracy"  # the metric that represents the task
    paper_column: str | None = None  # its column in the tables of arXiv 2510.10201

    @property
    def modality(self) -> Literal["text", "image"]:
        """Whether the prompts have images."""
        return "text" if self.image is None else "image"

    def official(self, prompt: Callable[[Doc], str] | None = None, **changes: Any) -> "TaskSpec":
        """The task with the benchmark's own prompt (None: the bare question). The paper reports no numbers for it."""
        changes |= {"question": prompt or self.question, "instruction": "none", "paper_column": None}
        return replace(self, name=f"{self.name}_official", protocol="official", **changes)

    def pass32(self) -> "TaskSpec":
        """The task with 32 sampled responses per problem and pass@32 as its headline."""
        sampled = replace(SAMPLED, max_new_tokens=self.generation.max_new_tokens)
        return replace(self, name=f"{self.name}_pass32", generation=sampled, samples=32, headline="pass@32")

    def text(self, doc: Doc) -> str:
        """The text of the prompt, which follows the images of `images`."""
        instruction = self.instruction or ("boxed" if self.image is None else "think_answer")
        return with_instruction(self._read(self.question, doc), instruction)

    def images(self, doc: Doc) -> list["Image"]:
        """The record's images as RGB; ValueError for a record of an image task that has none."""
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
        """`images` and `text` as one user turn in lmms-eval's chat format."""
        content: list[dict[str, Any]] = [{"type": "image", "url": image} for image in self.images(doc)]
        return [{"role": "user", "content": [*content, {"type": "text", "text": self.text(doc)}]}]

    def problem(self, doc: Doc) -> Problem:
        """What the grader needs to grade responses to this record."""
        return self._read(
            lambda record: Problem(
                self.gold(record), self.scorer, self.choices(record), self.meta(record), self.problem_id(record)
            ),
            doc,
        )

    def item(self, doc: Doc, response: str) -> Item:
        """The record's problem with a response to it, for the grader.

        >>> grade(spec.item(doc, "So the answer is \\boxed{48}.")).correct
        True
        """
        return self.problem(doc).answered(response)

    def categories_of(self, doc: Doc) -> dict[str, list[str]]:
        """The record's categories, for example {"subject": ["Algebra"]}."""
        return self._read(self.categories, doc)

    def row(self, doc: Doc, sample_index: int, verdict: Verdict) -> Row:
        """The graded response in the form that `aggregate` takes."""
        return {
            "problem_id": self._read(self.problem_id, doc),
            "sample_index": sample_index,
            "status": verdict.status,
            "score": verdict.score,
            "extracted": verdict.extracted,
            "categories": self.categories_of(doc),
        }

    def check(self, doc: Doc) -> str:
        """The record's problem id, after reading every field that the task needs except the images."""
        problem = self.problem(doc)
        texts = {"question": self._read(self.question, doc), "problem_id": problem.id, "gold": problem.gold}
        lists: dict[str, Any] = {"choices": problem.choices or ()}
        lists |= {f"categories[{name!r}]": values for name, values in self.categories_of(doc).items()}
        wrong: dict[str, Any] = {name: (value, "text") for name, value in texts.items() if not isinstance(value, str)}
        for name, values in lists.items():
            if not isinstance(values, list | tuple) or not all(isinstance(value, str) for value in values):
                wrong[name] = values, "a list of texts"
        for name, (value, wanted) in wrong.items():
            raise ValueError(f"{self.name}: record {self._label(doc)}: {name} must be {wanted}, and is {value!r}")
        return problem.id

    def aggregate(self, rows: Sequence[Row]) -> dict[str, float]:
        """All metrics of the task, as fractions of 1; a metric that is undefined for these rows is left out.

        Raises ValueError if there are no rows.
        """
        from rlfr_mm.tasks.aggregate import summarise  # imports scipy, which listing the tasks does not need

        numbers = summarise(rows, self.breakdown, self.cluster) | self.extra(rows)
        return {name: number for name, number in numbers.items() if not math.isnan(number)}

    def _read(self, reader: Callable[[Doc], T], doc: Doc) -> T:
        try:
            return reader(doc)
        except KeyError as missing:
            raise ValueError(
                f"{self.name}: record {self._label(doc)} lacks the field {missing}; it has {', '.join(doc)}"
            ) from None
        except (TypeError, AttributeError, IndexError) as error:
            raise ValueError(f"{self.name}: record {self._label(doc)} is not as the task expects: {error}") from error

    def _label(self, doc: Doc) -> str:
        try:
            return str(self.problem_id(doc))
        except (KeyError, TypeError, AttributeError, IndexError):
            return "without an id"
