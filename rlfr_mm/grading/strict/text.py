r"""Compares two answers by their text, without parsing formulas.

Most answers are numbers, words or points, so this decides most verdicts, at a thousandth of the cost of a parser.

- Numbers are equal up to a relative difference of 1e-9.
- A unit counts only if both sides name a known one.
- Whatever stays undecided goes to a worker, as LaTeX without the unit.
"""

import cmath
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlfr_mm.grading.item import LONGEST_ANSWER
from rlfr_mm.grading.strict.extract import plain_text, trimmed
from rlfr_mm.grading.strict.units import Letter, agree, measured
from rlfr_mm.grading.strict.values import constant, number, same_number, words_to_number

_SIGNS = {
    "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ", "π": "\\pi ", "∞": "\\infty ",
    "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "°": "^\\circ ", "º": "^\\circ ", "∠": "\\angle ",
    "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "±": "\\pm ", "²": "^2", "³": "^3", "⁴": "^4", "½": "\\frac{1}{2}",
    "⟨": "(", "⟩": ")", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "掳": "^\\circ ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
}  # fmt: skip
_SIGN_TABLE = str.maketrans(_SIGNS)
_NAMED = re.compile(  # matches "area = "
    r"^(?![^=]*\b(?:not|if|unless|or|than)\b)(?:\\text\s*\{)?\s*(?=[A-Za-z][A-Za-z. ]*[a-z][A-Za-z. ]{2})[A-Za-z. ]++"
    r"\}?\s*+=\s*+(?=\S)"
)
# inequalities in one unknown: "0<x<1" and "x<1"
_BETWEEN = re.compile(r"([^<>=]+?)(<|\\leq?(?![a-z]))\s*([a-z])(<|\\leq?(?![a-z]))([^<>=]+)")
_BEYOND = re.compile(r"([a-z])(<|>|\\[lg]eq?(?![a-z]))([^<>=]+)")


def latex(text: str) -> str:
    r"""The text with LaTeX commands for typographic signs, in one spelling each: ``2√3`` becomes ``2\sqrt{3}``."""
    text = re.sub(r"√\s*|(?<![A-Za-z\\])sqrt(?=[({])", r"\\sqrt", text.translate(_SIGN_TABLE))
    text = re.sub(r"\\sqrt\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[A-Za-z]))", lambda m: f"\\sqrt{{{m[1] or m[2]}}}", text)
    text = re.sub(r"\\degree\b", r"^\\circ", re.sub(r"(?<=\\)[dtc](?=frac)", "", text))
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = text.replace("\\langle", "(").replace("\\rangle", ")").replace("\\mathbb{R}", "(-\\infty,\\infty)")
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\w.])", r"\1\\times10^{\2}", text)
    text = re.sub(r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi ", text)
    return re.sub(r"(?<=\d)\s*(?:\\text\s*\{\s*)?\bpercent\b\}?", "%", text)


def tidy(text: str) -> str:
    """The `plain_text`, with signs as `latex` writes them, without meaningless spaces and doubled backslashes."""
    text = re.sub(r"\\displaystyle|(?<!\\)\\[,!; ]|~", "", plain_text(text))
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = re.sub(r"\s+", " ", latex(text)).rstrip(". ").strip()
    return re.sub(r"(?<![A-Za-z]{2})(?:(?<!\d) | (?!\d))(?![A-Za-z]{2})", "", text)


@dataclass(frozen=True)
class Quantity:
    """An answer in the form in which it is compared: as a whole, and split into value and unit."""

    whole: str
    value: str
    unit: str


@lru_cache(maxsize=4096)
def read(text: str, is_gold: bool = False) -> Quantity:
    """An answer or gold in the form that `compare_text` takes.

    In a gold, the m of "5m" and "$5 m$" is a variable, and the m of "5 m" is a unit.
    """
    lone_letter: Letter = "unit"
    if is_gold:
        lone_letter = "variable" if "$" in text else "unit after a space"
    whole, text = tidy(text), trimmed(text)
    if len(text) > LONGEST_ANSWER:
        return Quantity(whole, text, "")
    if "\n" in text and "\\begin" not in text:  # one answer per line
        text = ", ".join(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    text = re.sub(r"\\?\$|\*\*|\\(?:left|right)\b|(?<!\\)\\[()\[\]]", "", text)
    value, unit = measured(_NAMED.sub("", text), lone_letter)
    value = re.sub(r"\s*(?:\\pmod\s*\{[^{}]*\}|\(?\\?mod\b[^()]*\)?)$", "", value)
    value = re.sub(r"^\](.*)\[$", r"(\1)", tidy(value))  # ]0,1[ for (0,1)
    return Quantity(whole, value, unit)


def interval(text: str) -> str | None:
    r"""The interval that an inequality in one unknown describes, ``(-\infty,2]`` for ``x\le2``; None for other text."""
    between = _BETWEEN.fullmatch(text)
    if between:
        low, first, _, second, high = (part.strip() for part in between.groups())
        return f"{'(' if first == '<' else '['}{low},{high}{')' if second == '<' else ']'}"
    beyond = _BEYOND.fullmatch(text)
    if beyond is None:
        return None
    _, sign, bound = (part.strip() for part in beyond.groups())
    if sign == "<" or sign.startswith("\\l"):
        return f"(-\\infty,{bound}{')' if sign == '<' else ']'}"
    return f"{'(' if sign == '>' else '['}{bound},\\infty)"


def aligned(gold: Quantity, answer: Quantity) -> tuple[str, str]:
    """The two values in one notation: commas for "and" and "or", and intervals for inequalities if one side is one."""
    gold_text, answer_text = (re.sub(r",? (?:and|or) ", ",", side.value) for side in (gold, answer))
    if gold_text[:1] in ("(", "["):
        answer_text = interval(answer_text) or answer_text
    elif answer_text[:1] in ("(", "["):
        gold_text = interval(gold_text) or gold_text
    return gold_text, answer_text


def compare_text(gold: Quantity, answer: Quantity, tolerances: tuple[float, ...] = ()) -> bool | None:
    """Whether two words, numbers, percentages or lists of numbers are equal; None if that takes a parser.

    `tolerances` are absolute. With one, numbers that differ by no more are equal.

    >>> compare_text(read("0.5", is_gold=True), read("1/2"))
    True
    """
    if not answer.whole:
        return False
    if _same(gold.whole, answer.whole):
        return True
    gold_text, answer_text = aligned(gold, answer)
    if not agree(gold.unit, answer.unit) or _differ_in_kind(gold_text, answer_text):
        return False
    if _same(gold_text, answer_text):
        return True
    based = [re.fullmatch(r"(\w+)_\{?(\d+)\}?", text) for text in (gold_text, answer_text)]
    if based[0] and based[1]:
        return based[0].groups() == based[1].groups()
    gold_number, answer_number = number(gold_text), number(answer_text)
    if gold_number is not None and answer_number is None and (spelled := words_to_number(answer_text)) is not None:
        answer_number = Fraction(spelled)
    if gold_number is not None and answer_number is not None:
        if tolerances:
            return abs(answer_number - gold_number) <= tolerances[0] * 1.01
        return same_number(gold_number, answer_number)
    percents = [number(re.sub(r"\\?%$", "", text)) if text.endswith("%") else None for text in (gold_text, answer_text)]
    for percent, other in ((percents[0], answer_number), (percents[1], gold_number), tuple(percents)):
        if percent is not None and other is not None:
            return other == percent or (None in percents and other == percent / 100)
    names = [re.match(r"[A-Za-z](?==)", text) for text in (gold_text, answer_text)]
    if names[0] and names[1] and names[0].group() != names[1].group():
        return None
    if len(tolerances) < 2 and (near := _near(constant(gold_text), constant(answer_text), *tolerances)) is not None:
        return near
    return None if tolerances else compare_lists(gold_text, answer_text)


def _same(gold: str, answer: str) -> bool:
    """Whether two texts are the same. Case does not matter in words, but it does in variables."""
    if gold == answer:
        return True
    return gold.lower() == answer.lower() and re.search(r"(?<![A-Za-z\\])[A-Za-z]{1,2}(?![A-Za-z])", gold) is None


def _differ_in_kind(gold: str, answer: str) -> bool:
    """Whether two texts can only be different: two words, a date or ratio and a number, a set and a tuple, ..."""
    gold_words, answer_words = (len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text)) for text in (gold, answer))
    if answer_words > 8 >= gold_words:
        return True
    if all(re.fullmatch(r"[A-Za-z]{4,}(?: [A-Za-z]+)*|[A-Za-z]", text) for text in (gold, answer)):
        return gold.lower() != answer.lower() or (len(gold) == 1 and gold != answer)
    if any(re.fullmatch(r"\d{4}-\d\d?-\d\d?", text) for text in (gold, answer)):
        return gold != answer
    if any(one.startswith("\\{") and other.startswith(("(", "[")) for one, other in ((gold, answer), (answer, gold))):
        return True
    return re.fullmatch(r"\d+:\d+", answer) is not None and re.fullmatch(r"-?\d+", gold) is not None


def compare_lists(gold: str, answer: str) -> bool | None:
    """Whether two points, intervals or lists of solutions are equal; None if that takes a parser."""
    gold_parts, answer_parts = _brackets_and_parts(gold), _brackets_and_parts(answer)
    if gold_parts is None or answer_parts is None:
        return None
    (gold_brackets, golds), (brackets, parts) = gold_parts, answer_parts
    if len(golds) != len(parts) or (gold_brackets and gold_brackets != brackets and len(golds) > 1):
        return False
    if len(golds) == 1 or gold_brackets != brackets:
        return None
    gold_values, values = list(map(constant, golds)), list(map(constant, parts))
    if brackets:
        near = [_near(gold_value, value) for gold_value, value in zip(gold_values, values, strict=True)]
        return False if False in near else None if None in near else True
    if None in gold_values or None in values:
        return None
    # without brackets these are solutions, whose order does not matter
    return all(any(_near(gold_value, value) for value in values) for gold_value in gold_values) and all(
        any(_near(gold_value, value) for gold_value in gold_values) for value in values
    )


def _brackets_and_parts(text: str) -> tuple[str, list[str]] | None:
    """The outer brackets, and the parts between commas; None if the text has further brackets or other signs.

    Without brackets the parts are solutions, and repeated ones are dropped.
    """
    match = re.fullmatch(r"([(\[]?)((?:(?!\\pm|\\cup|\\\{|\{,)[^()\[\]=<>&])*)([)\]]?)", text)
    if match is None or bool(match.group(1)) != bool(match.group(3)) or re.search(r"[A-Za-z]{2} | [A-Za-z]{2}", text):
        return None
    parts = match.group(2).split(",")
    return match.group(1) + match.group(3), parts if match.group(1) else list(dict.fromkeys(parts))


def _near(gold: complex | None, answer: complex | None, tolerance: float | None = None) -> bool | None:
    if gold is None or answer is None:
        return None
    return cmath.isclose(gold, answer, rel_tol=1e-9) if tolerance is None else abs(gold - answer) <= tolerance * 1.01
