"""The benchmarks' scorers by name: how each finds an answer and what it takes for equal, under two rules."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rlfr_mm.grading.extract import last_answer_tag, last_boxed
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
    compare: Callable[[Item, str], Comparison]


@dataclass(frozen=True)
class Scorer:
    """A benchmark's grader. `strict` never guesses; `official` is compatible with the benchmark's scorer, bugs included."""

    name: str
    version: str
    strict: Rule
    official: Rule

    def rule(self, name: RuleName) -> Rule:
        return self.strict if name == "strict" else self.official


def find_final_answer(item: Item) -> Found | None:
    """The last `<answer>`, in it or else anywhere the last box. Nothing else is taken for an answer."""
    tagged = last_answer_tag(item.response)
    boxed = last_boxed(item.response if tagged is None else tagged)
    if boxed is not None:
        return Found(boxed, "boxed" if tagged is None else "answer tag+boxed")
    return None if tagged is None else Found(tagged, "answer tag")


def compare_maths(item: Item, answer: str) -> Comparison:
    """Equal text at once, everything else by math-verify."""
    if answer in item.golds:
        return Comparison(True, "exact")
    return Comparison(None, "symbolic", tuple(Job("symbolic", gold, answer) for gold in item.golds))


_math = Rule(find_final_answer, compare_maths)
SCORERS: dict[str, Scorer] = {
    name: Scorer(name, "1", _math, _math)
    for name in (
        "math", "math500", "gsm8k", "olympiadbench", "minerva_math", "mathvista", "mathvision", "mathverse", "wemath",
        "logicvista", "visulogic", "dynamath", "geometry3k", "choice",
    )
}  # fmt: skip
