r"""What can be told of two answers from their text alone, without reading formulas.

Most answers are numbers, words or points, so this decides most verdicts, at a thousandth of a parser's cost. Numbers
are compared by their value, which a relative 1e-9 may not change; a unit counts where both sides name one that is
known; what is left goes to a worker, as LaTeX without the unit.
"""

import cmath
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlfr_mm.grading.extract import plain_text, trimmed, words_to_number
from rlfr_mm.grading.units import Letter, agree, measured
from rlfr_mm.grading.values import constant, number, same_number

_SIGNS = {
    "−": "-", "–": "-", "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "÷": "\\div ", "π": "\\pi ", "∞": "\\infty ",
    "≤": "\\le ", "≥": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "°": "^\\circ ", "º": "^\\circ ", "∠": "\\angle ",
    "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "±": "\\pm ", "²": "^2", "³": "^3", "⁴": "^4", "½": "\\frac{1}{2}",
    "⟨": "(", "⟩": ")", "\u00a0": " ", "\u202f": " ", "\u2009": " ", "掳": "^\\circ ",
    "θ": "\\theta ", "α": "\\alpha ", "β": "\\beta ",
}  # fmt: skip
_SIGN_TABLE = str.maketrans(_SIGNS)

LONGEST_ANSWER = 2000  # characters; nothing longer is an answer, and no parser gets it


def latex(text: str) -> str:
    r"""Typographic signs as LaTeX's commands, and one spelling for each of them: ``2√3`` as ``2\sqrt{3}``."""
    text = re.sub(r"√\s*|(?<![A-Za-z\\])sqrt(?=[({])", r"\\sqrt", text.translate(_SIGN_TABLE))
    text = re.sub(r"\\sqrt\s*(?:\(([^()]*)\)|(\d+(?:\.\d+)?|[A-Za-z]))", lambda m: f"\\sqrt{{{m[1] or m[2]}}}", text)
    text = re.sub(r"\\degree\b", r"^\\circ", re.sub(r"(?<=\\)[dtc](?=frac)", "", text))
    text = re.sub(r"\\frac(\d)(\d)", r"\\frac{\1}{\2}", text)
    text = text.replace("\\langle", "(").replace("\\rangle", ")").replace("\\mathbb{R}", "(-\\infty,\\infty)")
    text = re.sub(r"(?<![\w.])(\d+(?:\.\d+)?)[eE]([-+]?\d{1,3})(?![\w.])", r"\1\\times10^{\2}", text)
    text = re.sub(r"(?<![A-Za-z\\])pi(?![A-Za-z])", r"\\pi ", text)
    return re.sub(r"(?<=\d)\s*(?:\\text\s*\{\s*)?\bpercent\b\}?", "%", text)


def tidy(text: str) -> str:
    """Plain, without spaces that mean nothing, and with single backslashes where a response doubles them."""
    text = re.sub(r"\\displaystyle|(?<!\\)\\[,!; ]|~", "", plain_text(text))
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = re.sub(r"\s+", " ", latex(text)).rstrip(". ").strip()
    return re.sub(r"(?<![A-Za-z]{2})(?:(?<!\d) | (?!\d))(?![A-Za-z]{2})", "", text)


@dataclass(frozen=True)
class Quantity:
    """An answer as it is compared: the whole of it, and its value and unit apart."""

    whole: str
    value: str
    unit: str


_NAMED = re.compile(  # "area = "
    r"^(?![^=]*\b(?:not|if|unless|or|than)\b)(?:\\text\s*\{)?\s*(?=[A-Za-z][A-Za-z. ]*[a-z][A-Za-z. ]{2})[A-Za-z. ]++"
    r"\}?\s*+=\s*+(?=\S)"
)


@lru_cache(maxsize=4096)
def read(text: str, is_gold: bool = False) -> Quantity:
    """The answer or gold as `compare_text` takes it. The m of a gold "5m" or "$5 m$" is a variable, of "5 m" a unit."""
    lone_letter: Letter = "unit"
    if is_gold:
        lone_letter = "variable" if "$" in text else "unit behind a space"
    whole, text = tidy(text), trimmed(text)
    if len(text) > LONGEST_ANSWER:
        return Quantity(whole, text, "")
    if "\n" in text and "\\begin" not in text:  # one answer a line
        text = ", ".join(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    text = re.sub(r"\\?\$|\*\*|\\(?:left|right)\b|(?<!\\)\\[()\[\]]", "", text)
    value, unit = measured(_NAMED.sub("", text), lone_letter)
    value = re.sub(r"\s*(?:\\pmod\s*\{[^{}]*\}|\(?\\?mod\b[^()]*\)?)$", "", value)
    value = re.sub(r"^\](.*)\[$", r"(\1)", tidy(value))  # ]0,1[ for (0,1)
    return Quantity(whole, value, unit)


_BETWEEN = re.compile(r"([^<>=]+?)(<|\\leq?(?![a-z]))\s*([a-z])(<|\\leq?(?![a-z]))([^<>=]+)")
_BEYOND = re.compile(r"([a-z])(<|>|\\[lg]eq?(?![a-z]))([^<>=]+)")


def interval(text: str) -> str | None:
    r"""The interval that an inequality in one unknown describes: ``(-\infty,2]`` for ``x\le2``; None for all else."""
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
    """The two values, an inequality as the interval that the other side gives, and lists with commas for "and"."""
    right, said = (re.sub(r",? (?:and|or) ", ",", side.value) for side in (gold, answer))
    if right[:1] in ("(", "["):
        said = interval(said) or said
    elif said[:1] in ("(", "["):
        right = interval(right) or right
    return right, said


def compare_text(gold: Quantity, answer: Quantity, tolerances: tuple[float, ...] = ()) -> bool | None:
    """What can be told without reading formulas: words, numbers, percent, lists of numbers; None for all else."""
    if not answer.whole:
        return False
    if _same(gold.whole, answer.whole):
        return True
    right, said = aligned(gold, answer)
    if not agree(gold.unit, answer.unit) or _differ_in_kind(right, said):
        return False
    if _same(right, said):
        return True
    based = [re.fullmatch(r"(\w+)_\{?(\d+)\}?", text) for text in (right, said)]
    if based[0] and based[1]:
        return based[0].groups() == based[1].groups()
    wanted, value = number(right), number(said)
    if wanted is not None and value is None and (spelled := words_to_number(said)) is not None:
        value = Fraction(spelled)
    if wanted is not None and value is not None:
        return abs(value - wanted) <= tolerances[0] * 1.01 if tolerances else same_number(wanted, value)
    percents = [number(re.sub(r"\\?%$", "", text)) if text.endswith("%") else None for text in (right, said)]
    for percent, other in ((percents[0], value), (percents[1], wanted), tuple(percents)):
        if percent is not None and other is not None:
            return other == percent or (None in percents and other == percent / 100)
    names = [re.match(r"[A-Za-z](?==)", text) for text in (right, said)]
    if names[0] and names[1] and names[0].group() != names[1].group():
        return None
    if len(tolerances) < 2 and (near := _near(constant(right), constant(said), *tolerances)) is not None:
        return near
    return None if tolerances else compare_lists(right, said)


def _same(right: str, said: str) -> bool:
    """The same text; the case of words does not count, that of variables does."""
    if right == said:
        return True
    return right.lower() == said.lower() and re.search(r"(?<![A-Za-z\\])[A-Za-z]{1,2}(?![A-Za-z])", right) is None


def _differ_in_kind(right: str, said: str) -> bool:
    """Are these a date and something else, a set and a tuple, a ratio and a whole number, two words, two letters?"""
    if _word_count(said) > 8 and _word_count(right) <= 8:
        return True
    if all(re.fullmatch(r"[A-Za-z]{4,}(?: [A-Za-z]+)*|[A-Za-z]", text) for text in (right, said)):
        return right.lower() != said.lower() or (len(right) == 1 and right != said)
    if any(re.fullmatch(r"\d{4}-\d\d?-\d\d?", text) for text in (right, said)):
        return right != said
    if any(one.startswith("\\{") and other.startswith(("(", "[")) for one, other in ((right, said), (said, right))):
        return True
    return re.fullmatch(r"\d+:\d+", said) is not None and re.fullmatch(r"-?\d+", right) is not None


def compare_lists(gold: str, answer: str) -> bool | None:
    """Points, intervals and lists of solutions: by brackets, length and the values that can be told apart."""
    gold_list, answer_list = _brackets_and_parts(gold), _brackets_and_parts(answer)
    if gold_list is None or answer_list is None:
        return None
    (gold_brackets, golds), (brackets, parts) = gold_list, answer_list
    if len(golds) != len(parts) or (gold_brackets and gold_brackets != brackets and len(golds) > 1):
        return False
    if len(golds) == 1 or gold_brackets != brackets:
        return None
    rights, values = list(map(constant, golds)), list(map(constant, parts))
    if brackets:
        near = [_near(right, value) for right, value in zip(rights, values, strict=True)]
        return False if False in near else None if None in near else True
    if None in rights or None in values:
        return None
    # without brackets they are solutions rather than a point or an interval: in any order
    return all(any(_near(right, value) for value in values) for right in rights) and all(
        any(_near(right, value) for right in rights) for value in values
    )


def _brackets_and_parts(text: str) -> tuple[str, list[str]] | None:
    """The outer brackets and what the commas between them part, solutions without brackets each once; None where there
    are more brackets or other signs."""
    match = re.fullmatch(r"([(\[]?)((?:(?!\\pm|\\cup|\\\{|\{,)[^()\[\]=<>&])*)([)\]]?)", text)
    if match is None or bool(match.group(1)) != bool(match.group(3)) or re.search(r"[A-Za-z]{2} | [A-Za-z]{2}", text):
        return None
    parts = match.group(2).split(",")
    return match.group(1) + match.group(3), parts if match.group(1) else list(dict.fromkeys(parts))


def _near(right: complex | None, value: complex | None, tolerance: float | None = None) -> bool | None:
    if right is None or value is None:
        return None
    return cmath.isclose(right, value, rel_tol=1e-9) if tolerance is None else abs(right - value) <= tolerance * 1.01


def _word_count(text: str) -> int:
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text))
