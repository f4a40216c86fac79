"""Wrong answers made from every gold of the mirror: strict accepts none.

Hypothesis draws some of them. RLFR_PROBE=all tries each kind of wrong answer on every gold.
"""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from zlib import crc32

import hypothesis.strategies as st
import pytest
from hypothesis import HealthCheck, given, settings

from rlfr_mm.grading import Problem, grade_all
from rlfr_mm.grading.strict.choices import letter_of
from rlfr_mm.grading.strict.notation import tidy
from rlfr_mm.grading.strict.units import conversion, measured
from rlfr_mm.grading.strict.values import number
from rlfr_mm.tasks.registry import TASKS, load

FORMS = ("So $\\boxed{{{}}}$.", "<think>\nThe answer is 7? No.\n</think>\n<answer>{}</answer>")
# what a response may say of a text without stating it as its answer
QUOTES = (
    "The question asks whether the answer is {}.",
    "The question mentions {}. I cannot tell more.",
    "Given: {}. Wanted: the rest.",
    "If the answer is {}, what is n?",
    'It says "the answer is {}" in the picture.',
    "A student claims that the answer is {}. Is that so?",
    "We are told that it is {}.\nWe have to find out more.",
    "So the answer is not {}.",
)
# what a formula or a phrase may do to the number in a box
AROUND = (
    "So $2\\cdot\\boxed{{{}}}$.", "So $\\boxed{{{}}} + 1$.", "So it is $\\boxed{{{}}}$ + 7.",
    "Hence $f(\\boxed{{{}}})$.",
    "So it is twice $\\boxed{{{}}}$.", "Thus $|\\boxed{{{}}}|+1$.", "So $(\\boxed{{{}}}, 7)$.",
    "Hence $\\boxed{{{}}} \\pmod{{97}}$.",
    "So it is $\\frac{{\\boxed{{{}}}}}{{7}}$.", "Thus $\\boxed{{{}}}\\pi$.", "So $x < \\boxed{{{}}}$.",
    "So \\boxed{{{}}} million.",
)  # fmt: skip
BATCH, BATCHES = 60, 10
VARIABLE = re.compile(r"(?<![A-Za-z\\_{])([a-df-hj-z])(?![A-Za-z'])")


def other_number(gold: str) -> str | None:
    """Another number in the same notation, outside any benchmark's tolerance; None if the gold is not a number."""
    value = number(gold)
    return None if value is None else str(int(3 * value + (7 if value >= 0 else -7)))


def other_sign(problem: Problem, gold: str) -> str | None:
    return (gold[1:] if gold.startswith("-") else f"-{gold}") if number(gold) else None


def other_unit(problem: Problem, gold: str) -> str | None:
    value, unit = measured(gold, "unit after a space")
    wrong = next((name for name in ("km", "ms", "apples") if unit and conversion(unit, name) != 1), None)
    return None if number(value) in (None, 0) or wrong is None else f"{value}\\text{{ {wrong}}}"


def other_letter(problem: Problem, gold: str) -> str | None:
    found = VARIABLE.search(gold) if formula(gold) and not problem.choices else None
    unused = next((letter for letter in "qwzv" if letter not in gold), "")
    return VARIABLE.sub(lambda m: unused if m[0] == found[0] else m[0], gold) if found and unused else None


def other_case(problem: Problem, gold: str) -> str | None:
    found = VARIABLE.search(gold) if formula(gold) and not problem.choices else None
    capital = found[0].upper() if found else ""
    return None if not found or capital in gold else VARIABLE.sub(lambda m: capital if m[0] == found[0] else m[0], gold)


def formula(gold: str) -> bool:
    """Whether the letters of a gold are variables: it has no words, units or options, and is not only a letter."""
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", gold))
    return not words and "text" not in gold and re.search(r"[-+=^\d]", gold) is not None and not measured(gold)[1]


def one_more(problem: Problem, gold: str) -> str | None:
    return None if problem.choices or "\n" in gold or not plain(gold) else f"{gold}, {other_number(gold) or 9713}"


def one_fewer(problem: Problem, gold: str) -> str | None:
    parts = [part.strip() for part in gold.split(",")]
    separate = not re.search(r"[()\[\]{}\\]|\d,\d{3}(?!\d)", gold) and len(set(parts)) == len(parts) > 1
    return ", ".join(parts[1:]) if separate and not problem.choices else None


def other_end(problem: Problem, gold: str) -> str | None:
    interval = re.fullmatch(r"\$?([(\[])([^()\[\],]+,[^()\[\],]+)([)\]])\$?", gold)
    if interval is None or problem.choices:
        return None
    return f"{'[' if interval[1] == '(' else '('}{interval[2]}{interval[3]}"


def scaled(problem: Problem, gold: str) -> str | None:
    value = number(gold)
    return None if not value or problem.choices else f"10^{{3}}\\cdot {gold}"


def plus_tiny(problem: Problem, gold: str) -> str | None:
    whole = re.fullmatch(r"-?\d{1,15}", gold) and not problem.choices and problem.scorer in ("math", "math500")
    return f"{gold}+10^{{-30}}" if whole else None


def hedged(problem: Problem, gold: str) -> str | None:
    wrong = wrong_option(problem, gold) or other_number(gold)
    return f"{gold} or maybe {wrong}" if wrong else None


def listed(problem: Problem, gold: str) -> str | None:
    wrong = wrong_option(problem, gold)
    return f"{gold}, {wrong}" if wrong else None


def negated(problem: Problem, gold: str) -> str | None:
    return f"not {gold}" if wrong_option(problem, gold) or other_number(gold) else None


def another_value(problem: Problem, gold: str) -> str | None:
    return wrong_option(problem, gold) or (None if problem.choices else other_number(gold))


def quoted(problem: Problem, gold: str) -> str | None:
    """A whole response that quotes the gold, or all options, from the question and states no answer."""
    if problem.choices:
        return "The options are " + " ".join(f"({letter_of(i)}) {text}" for i, text in enumerate(problem.choices))
    return None if "\n" in gold or gold.endswith("?") else QUOTES[crc32(gold.encode()) % len(QUOTES)].format(gold)


def around(problem: Problem, gold: str) -> str | None:
    """A whole response with the gold in a box, where what stands around the box makes another answer of it."""
    number_only = not problem.choices and re.fullmatch(r"-?\d{1,9}", gold) is not None and int(gold) != 0
    return AROUND[crc32(repr(problem).encode()) % len(AROUND)].format(gold) if number_only else None


def from_question(problem: Problem, gold: str) -> str | None:
    """A number that the question mentions but that is not the gold, or the text of another option."""
    wrong = wrong_option(problem, gold)
    if wrong:
        texts = [tidy(text).lower() for text in problem.choices or ()]
        own, other = (texts[ord(letter) - ord("A")] for letter in (gold, wrong))
        return (problem.choices or ())[ord(wrong) - ord("A")] if other and texts.count(other) == 1 and own else None
    value = None if problem.choices else number(gold)
    mentioned = re.findall(r"(?<![\w.])\d{1,9}(?:\.\d{1,9})?(?![\w.%])", problem.meta["asked"])
    far = (text for text in mentioned if value is not None and abs(Fraction(text) - value) > 2 + abs(value) / 10)
    return next((text for text in far if Fraction(text) not in (100 * value, value / 100)), None)  # a percentage


def wrong_option(problem: Problem, gold: str) -> str | None:
    """Another option letter if the gold is a letter of an option."""
    options = [letter_of(i) for i in range(len(problem.choices or ()))]
    return next((letter for letter in options if letter != gold), None) if gold in options else None


def plain(gold: str) -> bool:
    """Whether the gold is a number, a formula or a list of such, to which a further element can be added."""
    return number(gold) is not None or (formula(gold) and re.fullmatch(r"[-\d., +*/^{}a-z\\]+", gold) is not None)


KINDS: tuple[Callable[[Problem, str], str | None], ...] = (
    other_sign, other_unit, other_letter, other_case, one_more, one_fewer, other_end, scaled, plus_tiny, hedged, listed,
    negated, another_value, quoted, around, from_question,
)  # fmt: skip


@pytest.fixture(scope="module")
def problems(shared: Path) -> list[Problem]:
    """The distinct problems of all tasks in the mirror, as the grader sees them."""
    found = {}
    for spec in TASKS.values():
        mirrored = spec.dataset == "json" or (shared / "hub" / spec.dataset).is_dir()
        if not mirrored or spec.samples > 1 or (spec.protocol != "rlfr" and spec.scorer != "geometry3k"):
            continue
        docs = load(spec, shared / "hub")
        for doc in docs.remove_columns([spec.image] if spec.image else []):
            asked = next((str(doc[name]) for name in ("question", "problem", "query") if doc.get(name)), "")
            problem = replace(spec.problem(doc), meta={**spec.problem(doc).meta, "asked": asked})
            if len(problem.golds) == 1 and problem.golds[0].strip():
                found[problem.golds[0], problem.choices, problem.scorer, str(problem.meta)] = problem
    return list(found.values())


def accepted(problems: list[Problem], drawn: list[tuple[int, int, int]]) -> list[tuple[str, str, str]]:
    """(kind, gold, response) of the wrong answers among the drawn (problem, kind, form) that strict accepts."""
    tried = []
    for index, kind, form in drawn:
        problem = problems[index % len(problems)]
        wrong = KINDS[kind](problem, problem.golds[0].strip())
        if wrong is not None:
            response = wrong if KINDS[kind] in (quoted, around) else FORMS[form].format(wrong)
            tried.append((KINDS[kind].__name__, problem, response))
    verdicts = grade_all([problem.answered(response) for _, problem, response in tried])
    return [
        (kind, problem.golds[0], response)
        for (kind, problem, response), verdict in zip(tried, verdicts, strict=True)
        if verdict.correct
    ]


@settings(max_examples=BATCHES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(data=st.data())
def test_strict_accepts_no_wrong_answer(problems: list[Problem], data: st.DataObject) -> None:
    draw = st.tuples(st.integers(0, len(problems) - 1), st.integers(0, len(KINDS) - 1), st.integers(0, len(FORMS) - 1))
    assert accepted(problems, data.draw(st.lists(draw, min_size=BATCH, max_size=BATCH))) == []


@pytest.mark.skipif(os.environ.get("RLFR_PROBE") != "all", reason="RLFR_PROBE=all tries every gold")
@pytest.mark.parametrize("kind", range(len(KINDS)), ids=[kind.__name__ for kind in KINDS])
def test_strict_accepts_no_wrong_answer_of_any_gold(problems: list[Problem], kind: int) -> None:
    assert accepted(problems, [(index, kind, index % len(FORMS)) for index in range(len(problems))]) == []


def test_each_kind_of_wrong_answer_is_made_for_some_gold(problems: list[Problem]) -> None:
    for kind in KINDS:
        assert any(kind(problem, problem.golds[0].strip()) for problem in problems), kind.__name__
