"""Points, intervals, systems of inequalities, ratios and lists of numbers, compared as text."""

import math
import re
from itertools import pairwise

from rlfr_mm.grading.strict.values import Constant, constant, number

_COMPARED = re.compile(r"(<|>|\\[lg]e(?![A-Za-z]))")
_RATIO = re.compile(r"[1-9]\d{0,9}:(?!\d\d:\d\d)[1-9]\d{0,9}(?::[1-9]\d{0,9}){1,6}")
BRACKETS = {**dict.fromkeys("([{", 1), **dict.fromkeys(")]}", -1)}  # what each adds to the depth
_NAME = re.compile(r"[A-Za-z]|[A-Za-z]{2,20}(?: [A-Za-z]{1,20}){0,4}")
_UNKNOWN = re.compile(r"[A-Za-z](?:_\{?\w\}?|\([a-z]\))?")


def interval(text: str) -> str | None:
    r"""The interval that an inequality in one unknown describes, ``(-\infty,2]`` for ``x\le2``; None for other text."""
    parts = [part.strip() for part in _COMPARED.split(text)]
    if len(parts) == 3:
        open_end = "<" if _upwards(parts[1]) else ">"
        parts = [*parts, open_end, ""] if _UNKNOWN.fullmatch(parts[2]) else ["", open_end, *parts]
    if len(parts) != 5 or not _UNKNOWN.fullmatch(parts[2]) or re.search(r"[,=]", text):
        return None
    if _upwards(parts[1]) != _upwards(parts[3]):
        return None
    low, first, _, second, high = parts if _upwards(parts[1]) else parts[::-1]
    low, high = low or "-\\infty", high or "\\infty"
    return f"{'[' if 'e' in first else '('}{low},{high}{']' if 'e' in second else ')'}"


def _upwards(sign: str) -> bool:
    return sign == "<" or "l" in sign


def as_set(text: str) -> str:
    r"""The text, or the set that inequalities in one unknown describe: ``(1,\infty)\cap(-\infty,3)`` for "x>1 and x<3".

    A comma means "and" between inequalities that some number satisfies, as in "x>1, x<3", and else "or".
    """
    parts = re.split(r",? (?:and|or) |,", text)
    intervals = [described for part in parts if (described := interval(part)) is not None]
    unknowns = {next(filter(_UNKNOWN.fullmatch, map(str.strip, _COMPARED.split(part))), "") for part in parts}
    if len(intervals) < len(parts) or len(unknowns) > 1 or (" and " in text and " or " in text):
        return text
    if " or " in text:
        return "\\cup".join(intervals)
    satisfied = " and " in text or len(parts) == 1 or _overlap(intervals)
    return text if satisfied is None else ("\\cap" if satisfied else "\\cup").join(intervals)


def _overlap(intervals: list[str]) -> bool | None:
    """Whether some number lies in all intervals; None if that takes a parser."""
    lows, highs = zip(*(map(_end, described[1:-1].split(",")) for described in intervals), strict=True)
    ends = [end for end in (*lows, *highs) if end is not None]
    return max(ends[: len(lows)]) < min(ends[len(lows) :]) if len(ends) == 2 * len(lows) else None


def _end(text: str) -> float | None:
    """The end of an interval, for a comparison with other ends; None if it takes a parser."""
    if text in ("\\infty", "-\\infty"):
        return -math.inf if text.startswith("-") else math.inf
    value = constant(text)
    return None if value is None else value.approximate.real


def between_commas(text: str) -> list[str]:
    """The parts of a text between the commas that are in no bracket.

    >>> between_commas("f(x,y),z")
    ['f(x,y)', 'z']
    """
    parts, depth = [""], 0
    for character in text:
        depth += BRACKETS.get(character, 0)
        if character == "," and depth == 0:
            parts.append("")
        else:
            parts[-1] += character
    return parts


def named_values(text: str) -> list[tuple[str, str]]:
    """(name, value) of each part of "x=1, y=2" or "(x=1, y=2)"; empty for other text, and if a name occurs twice."""
    inside = re.sub(r"^\\?[({]([^()]*?)\\?[)}]$", r"\1", re.sub(r",? and ", ",", text))
    parts = [part.strip().partition("=") for part in inside.split(",")]
    named_all = all(sign and _NAME.fullmatch(name.strip()) and "=" not in value for name, sign, value in parts)
    values = {name.strip(): value for name, _, value in parts}
    return list(values.items()) if named_all and len(values) == len(parts) else []


def as_point(values: list[tuple[str, str]]) -> str | None:
    """The point (1, 2) for "x = 1, y = 2", and for "y = 2, x = 1": x and y are neighbours in the alphabet.

    None if the names are in no order that a point would have.
    """
    ordered = sorted(values)
    if any(len(name) > 1 for name, _ in values):
        return None
    neighbours = all(ord(two) - ord(one) == 1 for (one, _), (two, _) in pairwise(ordered))
    return f"({','.join(value for _, value in ordered)})" if neighbours or values == ordered else None


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
        equal = [near(gold_value, value) for gold_value, value in zip(gold_values, values, strict=True)]
        return False if False in equal else None if None in equal else True
    if None in gold_values or None in values:
        return None
    for gold_value in gold_values:  # without brackets these are solutions, whose order does not matter
        match = next((value for value in values if near(gold_value, value)), None)
        if match is None:
            return False
        values.remove(match)
    return True


def _brackets_and_parts(text: str) -> tuple[str, list[str]] | None:
    """The outer brackets, and the parts between commas; None if the text has further brackets or other signs."""
    if number(text) is not None:  # the comma of 1,000 separates no parts
        return "", [text]
    match = re.fullmatch(r"([(\[]?)((?:(?!\\pm|\\cup|\\[lgn]e|\\\{|\{,)[^()\[\]=<>&])*)([)\]]?)", text)
    if match is None or bool(match.group(1)) != bool(match.group(3)) or re.search(r"[A-Za-z]{2} | [A-Za-z]{2}", text):
        return None
    return match.group(1) + match.group(3), match.group(2).split(",")


def same_ratio(gold: str, answer: str) -> bool | None:
    """Whether two ratios of three or more numbers are equal, as 1:2:3 and 2:4:6; None for other text and for times."""
    ratios = [list(map(int, text.split(":"))) if _RATIO.fullmatch(text) else [] for text in (gold, answer)]
    if not ratios[0] or not ratios[1]:
        return None
    return [n // math.gcd(*ratios[0]) for n in ratios[0]] == [n // math.gcd(*ratios[1]) for n in ratios[1]]


def near(gold: Constant | None, answer: Constant | None, tolerance: float | None = None) -> bool | None:
    """Whether two numbers are equal, or differ by no more than a tolerance; None if one of them is no number."""
    if gold is None or answer is None:
        return None
    if tolerance is None:
        return gold.equals(answer)
    return abs(gold.approximate - answer.approximate) <= tolerance * 1.01
