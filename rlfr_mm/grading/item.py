"""What is graded and what a scorer is made of; the scorers themselves are in `scorers`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rlfr_mm.grading.pool import Job

RuleName = Literal["strict", "official"]


@dataclass(frozen=True)
class Item:
    """One response with what is needed to grade it.

    `gold` may be several answers of which any is right. `choices` are the option texts in order. `meta` holds what a
    scorer needs beyond that, under the benchmark's own names: question_type, answer_type, precision, unit.
    """

    response: str
    gold: str | tuple[str, ...]
    scorer: str = "math"
    choices: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def golds(self) -> tuple[str, ...]:
        return (self.gold,) if isinstance(self.gold, str) else self.gold


@dataclass(frozen=True)
class Found:
    """An answer in a response and the way it was found."""

    answer: str
    method: str


@dataclass(frozen=True)
class Comparison:
    """Whether an answer equals the gold: known at once, or where `equal` is None, if a worker says so of any job."""

    equal: bool | None
    method: str
    jobs: tuple[Job, ...] = ()


@dataclass(frozen=True)
class Rule:
    """How to find the answer in an item's response, and how to compare an answer with the item's gold."""

    find: Callable[[Item], Found | None]
    compare: Callable[[Item, Found], Comparison]


@dataclass(frozen=True)
class Scorer:
    """A benchmark's grader under two rules.

    `strict` never guesses; `official` is compatible with the benchmark's own scorer, bugs included.
    """

    name: str
    version: str
    strict: Rule
    official: Rule

    def rule(self, name: RuleName) -> Rule:
        return self.strict if name == "strict" else self.official
