"""The engine of `eval.parity`: grade published responses again and count how many verdicts equal the published ones."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from rlfr_mm.eval.engine.parity_sets import Row, older_integer_rule, problem_of, read_manifest, read_sets
from rlfr_mm.grading import Problem, Verdict, grade_all, grade_all_extracted, grade_extracted
from rlfr_mm.tasks.dynamath import worst_case

OFFICIAL_WRONG_LIMIT = 0.015
DEADLINE_S = 20.0  # longer than elsewhere, so that a busy machine does not look like a disagreement


@dataclass(frozen=True)
class Bar:
    """The scorer of a benchmark, and the required share of equal verdicts from the official answer and the response."""

    scorer: str
    from_official: float
    from_response: float


# By the first characters of the field `benchmark`.
BARS: dict[str, Bar] = {
    "MathVista": Bar("mathvista", 0.999, 0.97),
    "MATH-V": Bar("mathvision", 0.995, 0.995),
    "MATH500": Bar("math500", 0.995, 0.99),
    "GSM8K": Bar("gsm8k", 0.999, 0.995),
    "LogicVista": Bar("logicvista", 0.999, 0.97),
    "OlympiadBench": Bar("olympiadbench", 0.999, 0.999),
    "DynaMath": Bar("dynamath", 1.0, 1.0),
}


@dataclass(frozen=True)
class Disagreement:
    """A row whose verdict differs from the published one, and the reason."""

    row_id: str
    reason: str
    gold: str
    official_answer: str | None
    ours: Verdict
    official_correct: bool


@dataclass
class Agreement:
    """Of `n` verdicts that were compared with the published ones, `agree` are equal."""

    n: int = 0
    agree: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.agree / self.n if self.n else float("nan")

    def reaches(self, bar: float) -> bool:
        return self.n == 0 or self.share >= bar  # not every set publishes both kinds of answers


@dataclass
class SetParity:
    """The result of one set. `from_response` counts rows that its bar covers, `whole_set` all rows with a response."""

    name: str
    bar: Bar
    rows: int
    from_official: Agreement = field(default_factory=Agreement)
    from_response: Agreement = field(default_factory=Agreement)
    whole_set: Agreement = field(default_factory=Agreement)
    official_wrong: list[Disagreement] = field(default_factory=list)
    aggregates: dict[str, float] = field(default_factory=dict)
    published_aggregates: dict[str, float] = field(default_factory=dict)

    @property
    def missed(self) -> list[str]:
        """The reasons why the set misses its bar; empty if it reaches it."""
        measured = self.published_aggregates or self.from_official.n or self.whole_set.n or self.official_wrong
        reasons = [] if measured else ["not measured: neither answers nor aggregates are published"]
        for name, agreement, bar in (
            ("the official answer", self.from_official, self.bar.from_official),
            ("the response", self.from_response, self.bar.from_response),
        ):
            if not agreement.reaches(bar):
                reasons.append(f"from {name} {agreement.agree} of {agreement.n} agree, under {100 * bar:g} %")
        if len(self.official_wrong) > OFFICIAL_WRONG_LIMIT * self.rows:
            reasons.append(
                f"{len(self.official_wrong)} of {self.rows} official verdicts are held to be wrong, over 1.5 %"
            )
        for name, value in self.published_aggregates.items():
            if round(self.aggregates[name], 2) != round(value, 2):
                reasons.append(f"{name} is {self.aggregates[name]:.2f}, published {value:.2f}")
        return reasons


def compare_folder(folder: Path) -> list[SetParity]:
    """The parity of every set in a folder of published verdicts. ValueError if the folder or a file cannot be used."""
    if not folder.is_dir():
        raise ValueError(f"{folder} is not a folder: give a folder of published verdicts")
    sets = read_sets(folder)
    for name, rows in sets.items():
        bar_of(name, rows)  # fails on an unknown benchmark before the grading, which takes minutes
    published = read_manifest(folder / "manifest.json")
    return [compare_set(name, rows, published.get(name, {})) for name, rows in sets.items()]


def bar_of(name: str, rows: Sequence[Row]) -> Bar:
    """The bar of a set. ValueError for a benchmark that has no scorer here."""
    benchmark = str(rows[0]["benchmark"]) if rows else ""
    for beginning, bar in BARS.items():
        if benchmark.startswith(beginning):
            return bar
    raise ValueError(f"set {name}: unknown benchmark {benchmark!r}; known are {', '.join(BARS)}")


def compare_set(name: str, rows: Sequence[Row], published: Mapping[str, Any]) -> SetParity:
    """The parity of one set, graded from its published answers and from its responses.

    Args:
        published: the entry of the set in the manifest of the folder; empty if it has none.
    """
    parity = SetParity(name, bar_of(name, rows), len(rows))
    scorer = parity.bar.scorer
    if scorer == "dynamath":
        return _compare_flags(parity, rows, published)
    problems = [problem_of(row, scorer, older_integer_rule(rows)) for row in rows]
    source = next((key for key in ("extraction", "prediction") if any(row.get(key) is not None for row in rows)), None)
    if source is not None:
        _compare_answers(parity, rows, problems, source)
    pairs = zip(rows, problems, strict=True)
    answered = [(row, problem.answered(row["response"])) for row, problem in pairs if row.get("response") is not None]
    verdicts = grade_all([item for _, item in answered], "official", DEADLINE_S)
    for (row, _), verdict in zip(answered, verdicts, strict=True):
        reason = _reading(row, source, verdict)
        _count(parity.whole_set, row, source, verdict, reason)
        extraction = str(row.get("extraction") or "")
        if scorer != "mathvista" or (extraction and extraction in row["response"]):
            _count(parity.from_response, row, source, verdict, reason)
    return parity


def _compare_answers(parity: SetParity, rows: Sequence[Row], problems: Sequence[Problem], source: str) -> None:
    """Grade the published answers, which are in the field `source`."""
    answers = [None if row.get(source) is None else str(row[source]) for row in rows]
    verdicts = grade_all_extracted(problems, answers, "official", DEADLINE_S)
    for row, problem, verdict in zip(rows, problems, verdicts, strict=True):
        if verdict.correct and not row["official_correct"] and _provably_equal(row, problem, verdict):
            reason = "gold and prediction are the same number, the published verdict calls them different"
            parity.official_wrong.append(_disagreement(row, source, verdict, reason))
        else:
            reason = "timeout" if verdict.unscored else "same answer, other verdict"
            _count(parity.from_official, row, source, verdict, reason)


def _compare_flags(parity: SetParity, rows: Sequence[Row], published: Mapping[str, Any]) -> SetParity:
    """The averages of DynaMath, which publishes only flags: over all rows, and of questions with all variants right."""
    graded = [
        {
            "problem_id": row["id"],
            "sample_index": 0,
            "status": "correct" if row["official_correct"] else "wrong",
            "score": float(row["official_correct"]),
            "categories": {"seed": [str(row["group"])]},
        }
        for row in rows
    ]
    aggregates = worst_case(graded)
    parity.aggregates = {"average": 100 * aggregates["average"], "worst": 100 * aggregates["worst"]}
    checks = published.get("checks", {})
    for name, key in (("average", "average_accuracy"), ("worst", "worst_case_accuracy")):
        if key in checks:
            parity.published_aggregates[name] = float(checks[key])
    return parity


def _provably_equal(row: Row, problem: Problem, official: Verdict) -> bool:
    """Whether the strict rule agrees, and prediction and gold are exactly the same number."""
    answer = official.extracted or ""
    numbers = [_fraction(gold) for gold in (str(row["gold"]), str(row.get("gold_value") or ""))]
    return _fraction(answer) in [number for number in numbers if number is not None] and (
        grade_extracted(problem, answer, "strict").correct
    )


def _fraction(text: str) -> Fraction | None:
    r"""The exact value of "3", "0.5", "4/3" and "\frac{4}{3}"."""
    text = text.strip("$ ")
    if text.startswith("\\frac{") and text.endswith("}"):
        text = text.removeprefix("\\frac{").removesuffix("}").replace("}{", "/")
    try:
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        return None


def _count(agreement: Agreement, row: Row, source: str | None, verdict: Verdict, reason: str) -> None:
    agreement.n += 1
    if verdict.correct == bool(row["official_correct"]) and not verdict.unscored:
        agreement.agree += 1
    else:
        agreement.disagreements.append(_disagreement(row, source, verdict, reason))


def _disagreement(row: Row, source: str | None, verdict: Verdict, reason: str) -> Disagreement:
    answer = None if source is None or row.get(source) is None else str(row[source])
    return Disagreement(str(row["id"]), reason, str(row["gold"]), answer, verdict, bool(row["official_correct"]))


_NO_ANSWER = ("", "z", "n/a", "none", "null")


def _reading(row: Row, source: str | None, verdict: Verdict) -> str:
    """The reason for a disagreement about a raw response: what the judge and the rules took for the answer."""
    if verdict.unscored:
        return verdict.status
    answer = "" if source is None or row.get(source) is None else str(row[source])
    theirs = answer.strip().lower() not in _NO_ANSWER
    ours = (verdict.extracted or "").strip().lower() not in _NO_ANSWER
    if source == "prediction" or source is None:
        same = verdict.extracted == answer
        return "same answer, other verdict" if same or source is None else "other answer than the published prediction"
    if ours != theirs:
        return "the judge infers an answer that is not stated" if theirs else "the judge takes a named answer for none"
    if not ours:
        return "neither finds an answer"
    if answer not in str(row.get("response")):
        return "the judge's answer does not occur in the response"
    if "mentioned" in verdict.method or "sentence" in verdict.method or "polarity" in verdict.method:
        return "no statement of the answer; the judge and the rules choose different mentions"
    return "the judge does not take the answer that the response states"
