"""The values of numbers written as text, exact where possible. Pure text functions that need no parser."""

import math
import re
from fractions import Fraction
from functools import lru_cache

_DECIMAL = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d*)?"
_PURE_NUMBER = re.compile(
    rf"(?P<mantissa>{_DECIMAL})?"
    r"(?P<exponent>(?(mantissa)(?:[eE]|(?:\\times|\\cdot|[*×·])10\^)|10\^)[-+]?\d{1,3})?",
    re.ASCII,
)
_FRACTION = re.compile(
    r"([-+]?)(\d{1,15}(?=\\)|\d{1,15} (?=\d))?"
    r"(?:\\[dt]?frac(?:\{(\d{1,15})\}\{(\d{1,15})\}|(\d)(\d))|(\d{1,15})/(\d{1,15}))",
    re.ASCII,
)
_SCALES = {"thousand": 3, "million": 6, "billion": 9, "trillion": 12}
_REPEATING = re.compile(r"(-?\d{1,15})\.(\d{0,30})\\overline\{(\d{1,30})\}", re.ASCII)
_MATRIX = re.compile(r"\\begin\{[pb]matrix\}(.{1,500})\\end\{[pb]matrix\}", re.DOTALL)
_SURD = re.compile(r"(-?)(\d*)(?:\\sqrt\{?(\d{1,9})\}?|(\\pi))", re.ASCII)
_COMPLEX = re.compile(r"-?\d{1,9}[+-]\d{0,9}i", re.ASCII)
_SMALL = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {word: value for value, word in enumerate(_SMALL.split())}
_NUMBER_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_SCALE_WORDS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}


@lru_cache(maxsize=512)  # a comparison asks several times
def number(text: str) -> Fraction | None:
    r"""The exact value of a text that is one number, apart from a currency or degree sign; None for any other text.

    Reads decimals, fractions, mixed numbers, ``4.5 \times 10^{33}``, 4.5e33, ``0.\overline{3}`` and "5 million". A
    comma before a space separates two numbers.

    >>> number("1 1/2")
    Fraction(3, 2)
    """
    if re.search(r"\d,\s", text):
        return None
    text = re.sub(r"\^?\{?\\circ\}?|°|\\?[$£€]|\\[,!; ]|(?<!\d)\s|\s(?!\d)", "", text).replace("−", "-")
    repeating = _REPEATING.fullmatch(text)
    if repeating:
        whole, fixed, period = repeating.groups()
        value = Fraction(int(period), 10 ** len(fixed) * (10 ** len(period) - 1)) + Fraction(f"0.{fixed or 0}")
        return Fraction(whole) + (-value if whole.startswith("-") else value)
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        sign, whole, *parts = fraction.groups()
        top, bottom = (int(part) for part in parts if part is not None)
        return (-1 if sign == "-" else 1) * (int(whole or 0) + Fraction(top, bottom)) if bottom else None
    scale = re.search(rf"(?:{'|'.join(_SCALES)})$", text)
    match = _PURE_NUMBER.fullmatch(re.sub(r"[{}]", "", text[: scale.start()] if scale else text))
    if match is None or not match.group() or len(text) > 1000:
        return None
    power = int(re.sub(r"^(?:[eE]|.*10\^)", "", match.group("exponent") or "0")) + (
        _SCALES[scale.group()] if scale else 0
    )
    value = Fraction((match.group("mantissa") or "1").replace(",", "")) * Fraction(10) ** power
    return value if abs(value) < 10**300 else None


def constant(text: str) -> complex | None:
    r"""The value of a `number`, of "x=5", ``2\sqrt{3}``, ``2\pi`` or "3-2i"; None for other text and tiny numbers."""
    if re.search(r"\d,\s", text):
        return None
    text = re.sub(r"^[A-Za-z]=", "", re.sub(r"(?<!\d) | (?!\d)", "", text))
    surd = _SURD.fullmatch(text)
    if surd:
        factor = float(surd.group(2)[:300] or 1) * (math.sqrt(int(surd.group(3))) if surd.group(3) else math.pi)
        return -factor if surd.group(1) else factor
    if _COMPLEX.fullmatch(text):
        return complex(re.sub(r"(?<=[+-])i", "1i", text).replace("i", "j"))
    value = number(text)
    # floating point cannot tell tiny numbers apart
    return None if value is None or 0 < abs(value) < Fraction(10) ** -300 else float(value)


def matrix(text: str) -> list[list[Fraction | None]]:
    """The rows of a matrix of numbers; empty for other text."""
    found = _MATRIX.fullmatch(text)
    rows = re.split(r"\\\\", found[1].removesuffix("\\\\")) if found else []
    values = [[number(cell) for cell in row.split("&")] for row in rows]
    return [] if any(None in row for row in values) else values


def same_number(one: Fraction, other: Fraction) -> bool:
    """Whether two values are equal, up to what floating point loses in a decimal."""
    whole = one.denominator == other.denominator == 1
    return one == other or (not whole and abs(one - other) <= max(abs(one), abs(other)) / 10**9)


def words_to_number(text: str, among_others: bool = False) -> int | None:
    """The whole number that a text spells out, such as "twenty-five", or writes in digits alone.

    None if the text says anything else, unless `among_others` is set: then all other words are skipped.

    >>> words_to_number("two hundred and five")
    205
    """
    if text.isdecimal():
        return int(text) if len(text) <= 1000 else None
    words = text.lower().replace("-", " ").split()
    known = [word for word in words if word in _NUMBER_WORDS or word in _SCALE_WORDS]
    if not known or not (among_others or len(known) == len(words) - words.count("and")):
        return None
    total = current = 0
    for word in known:
        if word in _NUMBER_WORDS:
            current += _NUMBER_WORDS[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        else:
            total, current = total + max(current, 1) * _SCALE_WORDS[word], 0
    return total + current
