"""What can be told of two answers from their text alone, without reading formulas.

Most answers are numbers, words or points, so this decides most verdicts, at a thousandth of a parser's cost. It decides
as math-verify would, but for units of length, mass, time and volume, which count here; the rest goes to a worker.
"""

import re

from rlfr_mm.grading.extract import constant, number, plain_text

_UNITS = frozenset(["mm", "cm", "dm", "m", "km", "mg", "g", "kg", "ms", "s", "min", "h", "ml", "l"])


def compare_text(gold: str, answer: str, tolerances: tuple[float, ...]) -> bool | None:
    """What can be told without reading formulas: words, numbers, percent, lists of numbers; None for all else."""
    if not answer:
        return False
    if gold.lower() == answer.lower():
        return True
    if _word_count(answer) > 8 and _word_count(gold) <= 8:
        return False
    if all(re.fullmatch(r"[A-Za-z]{4,}(?: [A-Za-z]+)*", text) for text in (gold, answer)):
        return False  # other words
    units = [re.fullmatch(r"[-\d.,]+ ?(\w{1,3})", text) for text in (gold, answer)]
    if all(units) and len({unit.group(1) for unit in units if unit} & _UNITS) == 2:
        return False  # math-verify drops units
    right, value = number(gold), number(answer)
    if right is not None and value is not None:
        return _close(value, right, tolerances)
    counted = re.fullmatch(r"(-?[\d.,]+) ?[A-Za-z ]{3,}", answer)  # "36 meters": a unit, or a product of letters
    if not tolerances and _differ(constant(gold), constant(counted.group(1) if counted else answer)):
        return False
    percent = number(answer.removesuffix("%").removesuffix("\\")) if answer.endswith("%") else None
    if right is not None and percent is not None and right in (percent, percent / 100):
        return True
    return None if tolerances else compare_lists(gold, answer)


def compare_lists(gold: str, answer: str) -> bool | None:
    """Points, intervals and lists of solutions: by brackets, length and the values that can be told apart."""
    gold_list, answer_list = _brackets_and_parts(gold), _brackets_and_parts(answer)
    if gold_list is None or answer_list is None:
        return None
    (gold_brackets, golds), (brackets, parts) = gold_list, answer_list
    if len(golds) != len(parts) or (gold_brackets and brackets and gold_brackets != brackets):
        return False
    if len(golds) == 1 or gold_brackets != brackets:
        return None
    rights, values = list(map(constant, golds)), list(map(constant, parts))
    if brackets and any(_differ(right, value) for right, value in zip(rights, values, strict=True)):
        return False
    known = [
        [(round(part.real, 9), round(part.imag, 9)) for part in side if part is not None] for side in (rights, values)
    ]
    if len(known[0]) < len(golds) or len(known[1]) < len(parts):
        return None
    # without brackets they are solutions rather than a point or an interval: in any order
    return known[0] == known[1] if brackets else set(known[0]) == set(known[1])


def _brackets_and_parts(text: str) -> tuple[str, list[str]] | None:
    """The outer brackets and what the commas between them part; None where there are more brackets or other signs."""
    match = re.fullmatch(r"([(\[]?)((?:(?!\\pm|\\cup|\\\{|\{,)[^()\[\]=<>&])*)([)\]]?)", text)
    if match is None or bool(match.group(1)) != bool(match.group(3)) or re.search(r"[A-Za-z]{2} | [A-Za-z]{2}", text):
        return None
    return match.group(1) + match.group(3), match.group(2).split(",")


def _differ(right: complex | None, value: complex | None) -> bool:
    return right is not None and value is not None and abs(right - value) > 1e-4 * max(1.0, abs(right))


def tidy(text: str) -> str:
    """Plain, without spaces that mean nothing, and with single backslashes where a response doubles them."""
    text = re.sub(r"\\displaystyle|(?<!\\)\\[,!; ]|(?<=\\)[dt](?=frac)", "", plain_text(text))
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = re.sub(r"\s+", " ", text).rstrip(". ").strip()
    return re.sub(r"(?<![A-Za-z]{2}) (?![A-Za-z]{2})", "", text)


def _word_count(text: str) -> int:
    return len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text))


def _close(value: float, gold: float, tolerances: tuple[float, ...]) -> bool:
    if tolerances:
        return abs(value - gold) <= tolerances[0] * 1.01
    return round(value, 6) == round(gold, 6)
