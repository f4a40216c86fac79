"""What is graded (`Problem`, `Item`) and what a scorer is made of (`Rule`, `Scorer`)."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

RuleName = Literal["strict", "official"]
Span = tuple[int, int]  # start and end, in characters of a text
LONGEST_ANSWER = 2000  # characters; anything longer is not an answer, and no parser gets it
# how files and libraries write a missing value, or a structure that should have been unpacked, as text
_MISSING = re.compile(
    r"nan|none|null|nil|n/?a|n\.a\.|<na>|nat|\?+|-+|\{\s*['\"].*|\[\s*(?:['\"{].*|\])", re.IGNORECASE | re.DOTALL
)


@dataclass(frozen=True)
class Problem:
    """What a scorer knows about a problem, whatever answers it.

    - `gold`: the reference answer. Of several, given as a tuple, any is right.
    - `choices`: the option texts in order.
    - `meta`: further fields that the scorer needs, under the benchmark's own names: question, question_type,
      answer_type, precision, unit.
    - `id`: the problem's stable id; scorers ignore it.

    >>> item = Problem("B", "choice", ("3", "5")).answered("The answer is 5.")
    """

    gold: str | tuple[str, ...]
    scorer: str = "math"
    choices: tuple[str, ...] | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)
    id: str = ""

    @property
    def golds(self) -> tuple[str, ...]:
        return (self.gold,) if isinstance(self.gold, str) else self.gold

    @property
    def known_golds(self) -> tuple[str, ...]:
        """The golds that are answers: a `missing` value counts only if it is the text of an option, such as "None"."""
        return tuple(
            gold for gold in self.golds if not missing(gold) or (gold.strip() and gold in (self.choices or ()))
        )

    def answered(self, response: str) -> "Item":
        """This problem together with a response to it."""
        return Item(response, self.gold, self.scorer, self.choices, self.meta, self.id)


def missing(gold: str) -> bool:
    """Whether a reference answer is empty or stands for a missing value, such as "nan" or "{'value': '2'}".

    >>> missing("N/A"), missing("No solution")
    (True, False)
    """
    return not gold.strip() or _MISSING.fullmatch(gold.strip()) is not None


@dataclass(frozen=True)
class _Response:
    response: str


@dataclass(frozen=True)
class Item(Problem, _Response):  # in this order, dataclass puts the response first
    """A problem and one response to it: `Item(response, gold, scorer, choices, meta, id)`."""


@dataclass(frozen=True)
class Found:
    """An answer in a response, how it was found, and where: None if it is not a part of the response."""

    answer: str
    method: str
    span: Span | None = None


@dataclass(frozen=True)
class Job:
    """A comparison that needs a LaTeX parser: a name in `comparisons.COMPARISONS`, the gold and the answer found."""

    comparison: str
    gold: str
    answer: str
    tolerance: tuple[float, ...] = ()


@dataclass(frozen=True)
class Comparison:
    """Whether an answer equals the gold. If `equal` is None, it does if any of `jobs` is confirmed."""

    equal: bool | None
    method: str
    jobs: tuple[Job, ...] = ()

    @classmethod
    def by_worker(
        cls, comparison: str, golds: Sequence[str], answer: str, tolerances: tuple[float, ...] = ()
    ) -> "Comparison":
        """Equal if the texts are; otherwise if `comparison` confirms any of the golds."""
        if answer in golds:
            return cls(True, "exact")
        if len(answer) > LONGEST_ANSWER:
            return cls(False, "too long")
        return cls(None, comparison, tuple(Job(comparison, gold, answer, tolerances) for gold in golds))


@dataclass(frozen=True)
class Rule:
    """How to find the answer in a response (None if there is none), and how to compare it with the gold."""

    find: Callable[[Item], Found | None]
    compare: Callable[[Problem, Found], Comparison]


@dataclass(frozen=True)
class Scorer:
    """A benchmark's scorer under two rules.

    `strict` never guesses. `official` reproduces the benchmark's own scorer, bugs included.
    """

    name: str
    version: str
    strict: Rule
    official: Rule

    @property
    def reproduces_benchmark(self) -> bool:
        """Whether the official rule is one of its own; else the benchmark is scored by a judge model, or not at all."""
        return self.official != self.strict

    def rule(self, name: RuleName) -> Rule:
        return self.strict if name == "strict" else self.official
