"""The values of numbers written as text, exact where possible. Pure text functions that need no parser."""

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

_DECIMAL = r"[-+]?(?:[1-9]\d{0,2}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d*)?"
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
_SURD = re.compile(r"(-?)(\d{0,15})(?:\\sqrt\{?(\d{1,9})\}?|(\\pi))", re.ASCII)
_COMPLEX = re.compile(r"(-?\d{1,9})([+-]\d{0,9})i", re.ASCII)
_PI = Fraction("3.14159265358979323846264338327950288419716939937511")
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


@dataclass(frozen=True)
class Constant:
    r"""An exact number: the root of a square, which is negative for a negative number, times pi, plus a multiple of i.

    So ``-2\\sqrt{3}`` is `Constant(Fraction(-12))`.
    """

    signed_square: Fraction
    of_pi: bool = False
    imaginary: int = 0

    @property
    def approximate(self) -> complex:
        """The number in floating point."""
        root = _rational_root(self.signed_square)
        real = math.copysign(math.sqrt(abs(self.signed_square)), self.signed_square) if root is None else float(root)
        return complex(real * (math.pi if self.of_pi else 1), self.imaginary)

    def equals(self, other: "Constant") -> bool:
        """Whether two numbers are equal, or one is a long decimal that shows the digits of the other."""
        return self == other or self._shows(other) or other._shows(self)

    def _shows(self, exact: "Constant") -> bool:
        value = _rational_root(self.signed_square)
        unit = None if value is None or self.of_pi or self.imaginary or exact.imaginary else shown_unit(value)
        if value is None or unit is None or not (exact.of_pi or _is_endless(exact.signed_square)):
            return False
        square = exact.signed_square * (_PI**2 if exact.of_pi else 1)
        return _signed_square(value - unit) < square < _signed_square(value + unit)


def _signed_square(value: Fraction) -> Fraction:
    return value * abs(value)


def _rational_root(signed_square: Fraction) -> Fraction | None:
    """The rational number with that signed square, if there is one."""
    top, bottom = math.isqrt(abs(signed_square.numerator)), math.isqrt(signed_square.denominator)
    root = Fraction(top if signed_square >= 0 else -top, bottom)
    return root if _signed_square(root) == signed_square else None


def _is_endless(signed_square: Fraction) -> bool:
    """Whether the decimals of the number with that signed square go on for ever."""
    root = _rational_root(signed_square)
    return root is None or _decimals(root) is None


def constant(text: str) -> Constant | None:
    r"""The value of a `number`, of "x=5", ``2\sqrt{3}``, ``2\pi`` or "3-2i"; None for other text."""
    if re.search(r"\d,\s", text):
        return None
    text = re.sub(r"^[A-Za-z]=", "", re.sub(r"(?<!\d) | (?!\d)", "", text))
    surd = _SURD.fullmatch(text)
    if surd:
        square = Fraction(int(surd[2] or 1) ** 2 * int(surd[3] or 1))
        return Constant(-square if surd[1] else square, of_pi=surd[3] is None)
    if (parts := _COMPLEX.fullmatch(text)) is not None:
        imaginary = parts[2] if len(parts[2]) > 1 else f"{parts[2]}1"
        return Constant(_signed_square(Fraction(parts[1])), imaginary=int(imaginary))
    value = number(text)
    return None if value is None else Constant(_signed_square(value))


def matrix(text: str) -> list[list[Fraction | None]]:
    """The rows of a matrix of numbers; empty for other text."""
    found = _MATRIX.fullmatch(text)
    rows = re.split(r"\\\\", found[1].removesuffix("\\\\")) if found else []
    values = [[number(cell) for cell in row.split("&")] for row in rows]
    return [] if any(None in row for row in values) else values


def same_number(one: Fraction, other: Fraction) -> bool:
    """Whether two values are equal, or one is a long decimal that shows the digits of the other, which has no end."""
    if one == other or one.denominator == other.denominator == 1:
        return one == other
    return Constant(_signed_square(one)).equals(Constant(_signed_square(other)))


def shown_unit(decimal: Fraction) -> Fraction | None:
    """What one more in the last digit adds to a decimal that is long enough to stand for a number without an end.

    None for a number that is no such decimal: it needs more than twelve digits, and some of them behind the point. The
    seventeenth digit, which floating point gets wrong, does not count.
    """
    places = _decimals(decimal)
    digits = 0 if places is None else len(str(abs(decimal.numerator) * 10**places // decimal.denominator))
    return Fraction(1, 10 ** (places - max(0, digits - 16))) if places and digits > 12 else None


def _decimals(value: Fraction) -> int | None:
    """The number of digits behind the decimal point; None if they go on for ever."""
    rest, twos, fives = value.denominator, 0, 0
    while rest % 2 == 0:
        rest, twos = rest // 2, twos + 1
    while rest % 5 == 0:
        rest, fives = rest // 5, fives + 1
    return max(twos, fives) if rest == 1 else None


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
