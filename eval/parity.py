"""Grade published responses again and compare with the published verdicts: `python -m eval.parity DIR`.

DIR holds sets as JSON Lines, plain or gzipped, one row a response with the benchmark's own verdict in
`official_correct`. Every set is graded by the `official` rule of its benchmark's scorer in two ways: from the published
extraction (or the prediction, where only that is published), and from the raw response. Exit status: 0 when every bar
is reached, 1 when one is missed or nothing could be compared, 2 when DIR cannot be read or a file not be written.
"""

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

from rlfr_mm.config_file import one_line_errors
from rlfr_mm.eval.engine.parity_sets import Row, older_integer_rule, problem_of, read_manifest, read_sets
from rlfr_mm.grading import SCORERS, Problem, Verdict, grade_all, grade_all_extracted, grade_extracted
from rlfr_mm.tasks.dynamath import worst_case

OFFICIAL_WRONG_LIMIT = 0.015
DEADLINE_S = 20.0  # more than graders get elsewhere: here a busy machine must not look like a disagreement


@dataclass(frozen=True)
class Bar:
    """The scorer of a benchmark and the least share of equal verdicts, from the official answer and the response."""

    scorer: str
    from_official: float
    from_response: float


# By the beginning of the field `benchmark`.
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
    """A row whose verdict is not the published one, with the class that explains it."""

    row_id: str
    reason: str
    gold: str
    official_answer: str | None
    ours: Verdict
    official_correct: bool


@dataclass
class Agreement:
    """How many verdicts equal the published ones: `n` rows compared, `agree` of them equal."""

    n: int = 0
    agree: int = 0
    disagreements: list[Disagreement] = field(default_factory=list)

    @property
    def share(self) -> float:
        return self.agree / self.n if self.n else float("nan")

    def reaches(self, bar: float) -> bool:
        return self.n == 0 or self.share >= bar  # a set need not publish both kinds of answers


@dataclass
class SetParity:
    """The result of one set. `from_response` counts the rows that the bar is about, `whole_set` all with a response."""

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
        """What keeps the set from its bar, in words; empty when it is reached."""
        measured = self.published_aggregates or self.from_official.n or self.whole_set.n or self.official_wrong
        reasons = [] if measured else ["not measured: neither answers nor aggregates are published"]
        for name, agreement, bar in (
            ("the official answer", self.from_official, self.bar.from_official),
            ("the response", self.from_response, self.bar.from_response),
        ):
            if not agreement.reaches(bar):
                reasons.append(f"from {name} {agreement.agree} of {agreement.n} agree, under {100 * bar:g} %")
        if len(self.official_wrong) > OFFICIAL_WRONG_LIMIT * self.rows:
            reasons.append(f"{len(self.official_wrong)} of {self.rows} official verdicts taken for wrong, over 1.5 %")
        for name, value in self.published_aggregates.items():
            if round(self.aggregates[name], 2) != round(value, 2):
                reasons.append(f"{name} is {self.aggregates[name]:.2f}, published {value:.2f}")
        return reasons

    def as_json(self) -> dict[str, Any]:
        numbers: dict[str, Any] = {
            "set": self.name,
            "rows": self.rows,
            "from_official": {"n": self.from_official.n, "agree": self.from_official.agree},
            "from_response": {"n": self.from_response.n, "agree": self.from_response.agree},
            "from_response_whole_set": {"n": self.whole_set.n, "agree": self.whole_set.agree},
            "official_wrong": len(self.official_wrong),
        }
        return numbers | ({"aggregates": self.aggregates} if self.aggregates else {}) | {"missed": self.missed}


def bar_of(name: str, rows: Sequence[Row]) -> Bar:
    """The bar of a set. Raises ValueError for a benchmark that no scorer here belongs to."""
    benchmark = str(rows[0]["benchmark"]) if rows else ""
    for beginning, bar in BARS.items():
        if benchmark.startswith(beginning):
            return bar
    raise ValueError(f"set {name}: unknown benchmark {benchmark!r}; known are {', '.join(BARS)}")


def compare_set(name: str, rows: Sequence[Row], published: Mapping[str, Any]) -> SetParity:
    """Grade one set both ways. `published` is its entry in the folder's manifest, empty where there is none."""
    parity = SetParity(name, bar_of(name, rows), len(rows))
    scorer = parity.bar.scorer
    if scorer == "dynamath":
        return _compare_flags(parity, rows, published)
    problems = [problem_of(row, scorer, older_integer_rule(rows)) for row in rows]
    source = next((key for key in ("extraction", "prediction") if any(row.get(key) is not None for row in rows)), None)
    if source is not None:
        answers = [None if row.get(source) is None else str(row[source]) for row in rows]
        verdicts = grade_all_extracted(problems, answers, "official", DEADLINE_S)
        for row, problem, verdict in zip(rows, problems, verdicts, strict=True):
            if verdict.correct and not row["official_correct"] and _provably_equal(row, problem, verdict):
                reason = "gold and prediction are the same number, the published verdict calls them different"
                parity.official_wrong.append(_disagreement(row, source, verdict, reason))
            else:
                reason = "timeout" if verdict.unscored else "same answer, other verdict"
                _count(parity.from_official, row, source, verdict, reason)
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


def _compare_flags(parity: SetParity, rows: Sequence[Row], published: Mapping[str, Any]) -> SetParity:
    """DynaMath publishes flags only: the average over all and the share of questions right in every variant."""
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
    """The strict rule agrees, and prediction and gold are the same exact number."""
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
    """The class of a disagreement about a raw response: who read what."""
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


def bars_markdown(results: Sequence[SetParity]) -> str:
    """docs/parity.md: one table of figures, then every class of disagreement with its rows."""
    lines = [
        "# Parity with published verdicts",
        "",
        "Written by `python -m eval.parity DIR --docs docs/parity.md`; do not edit. Each set is graded twice by our",
        "`official` rule, and the table shows how many verdicts equal the published ones:",
        "",
        "- `official answer`: graded from the published extraction, or the prediction if only that is published.",
        "- `response`: graded from the raw response. On MathVista this covers only the rows whose published",
        "  extraction occurs in the response; in the other rows the answer is the judge model's own.",
        "- `whole set`: graded from the raw response, all rows.",
        "",
        "Scorers: " + ", ".join(f"{name} {scorer.version}" for name, scorer in sorted(SCORERS.items())) + ".",
        "",
        "| set | rows | official answer | bar | response | bar | whole set | official wrong | reached |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for result in results:
        if result.aggregates:
            numbers = ", ".join(f"{name} {value:.2f}" for name, value in result.aggregates.items())
            cells = [f"{numbers} (flags only)", "exact", "-", "-", "-"]
        else:
            cells = [
                _share(result.from_official), f"{100 * result.bar.from_official:g}", _share(result.from_response),
                f"{100 * result.bar.from_response:g}", _share(result.whole_set),
            ]  # fmt: skip
        reached = "no: " + "; ".join(result.missed) if result.missed else "yes"
        lines.append(
            f"| {' | '.join([result.name, str(result.rows), *cells, str(len(result.official_wrong)), reached])} |"
        )
    for result in results:
        lines += _explained(result)
    return "\n".join(lines) + "\n"


def _share(agreement: Agreement) -> str:
    return f"{agreement.agree}/{agreement.n} = {100 * agreement.share:.2f} %" if agreement.n else "-"


def _explained(result: SetParity) -> list[str]:
    groups = (
        ("official verdict wrong", result.official_wrong),
        ("from the official answer", result.from_official.disagreements),
        ("from the response", result.whole_set.disagreements),
    )
    if not any(rows for _, rows in groups):
        return []
    lines = ["", f"## {result.name}"]
    for title, rows in groups:
        for reason, count in Counter(row.reason for row in rows).most_common():
            lines += ["", f"{title}, {count} rows: {reason}", ""]
            lines += [f"- {_line(row)}" for row in rows if row.reason == reason]
    return lines


def _line(row: Disagreement) -> str:
    def short(text: str | None) -> str:
        flat = " ".join((text or "").split()).replace("`", "'")
        return "nothing" if not flat else f"`{flat[:57]}...`" if len(flat) > 60 else f"`{flat}`"

    published = "right" if row.official_correct else "wrong"
    return (
        f"{row.row_id}: gold {short(row.gold)}, official {short(row.official_answer)} ({published}), ours "
        f"{short(row.ours.extracted)} ({row.ours.status}, {row.ours.method})"
    )


def _table(results: Sequence[SetParity]) -> Iterable[str]:
    width = max(len(result.name) for result in results)
    yield f"{'set':{width}}  rows   from official answer     from response            whole set"
    for result in results:
        if result.aggregates:
            figures = "  ".join(f"{name} {value:.2f}" for name, value in result.aggregates.items())
        else:
            figures = "".join(
                f"{_share(agreement):25}"
                for agreement in (result.from_official, result.from_response, result.whole_set)
            )
        wrong = f"official wrong: {len(result.official_wrong)}" if result.official_wrong else ""
        yield f"{result.name:{width}}  {result.rows:<5}  {figures}{wrong}"
        yield from (f"{'':{width}}  MISSED {reason}" for reason in result.missed)
        for agreement in (result.from_official, result.whole_set):
            for reason, count in Counter(row.reason for row in agreement.disagreements).most_common():
                yield f"{'':{width}}  {count:4} {reason}"


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as problem:
        raise ValueError(f"cannot write {path}: {problem.strerror}") from None


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eval.parity", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="folder of published verdicts, *.jsonl or *.jsonl.gz")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures of every set")
    parser.add_argument(
        "--docs", type=Path, metavar="OUT", help="write the report with every disagreement, as Markdown"
    )
    options = parser.parse_args(arguments)
    with one_line_errors():
        if not options.folder.is_dir():
            raise ValueError(f"{options.folder} is no folder: give a folder of published verdicts")
        sets = read_sets(options.folder)
        for name, rows in sets.items():
            bar_of(name, rows)
        published = read_manifest(options.folder / "manifest.json")
        results = [compare_set(name, rows, published.get(name, {})) for name, rows in sets.items()]
        figures = json.dumps({"sets": [result.as_json() for result in results]}, indent=1) + "\n"
        for path, text in ((options.json, figures), (options.docs, bars_markdown(results))):
            if path is not None:
                _write(path, text)
    print("\n".join(_table(results)))
    return 1 if any(result.missed for result in results) else 0


if __name__ == "__main__":
    sys.exit(main())
