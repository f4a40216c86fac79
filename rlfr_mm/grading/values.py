"""The values of texts that are numbers, exactly where they can be. Pure text functions; no parser."""

import math
import re
from fractions import Fraction

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
_REPEATING = re.compile(r"(-?\d{1,9})\.(\d{0,9})\\overline\{(\d{1,9})\}", re.ASCII)


def number(text: str) -> Fraction | None:
    r"""The exact value of a text that is one number, with a currency or degree sign at most; None for all else.

    Decimals, fractions and mixed numbers, ``4.5 \times 10^{33}``, 4.5e33, ``0.\overline{3}``, "5 million".
    """
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
    power = int(re.sub(r"^[eE]|.*10\^", "", match.group("exponent") or "0")) + (_SCALES[scale.group()] if scale else 0)
    value = Fraction((match.group("mantissa") or "1").replace(",", "")) * Fraction(10) ** power
    return value if abs(value) < 10**300 else None


_SURD = re.compile(r"(-?)(\d*)(?:\\sqrt\{?(\d{1,9})\}?|(\\pi))", re.ASCII)
_COMPLEX = re.compile(r"-?\d{1,9}[+-]\d{0,9}i", re.ASCII)


def constant(text: str) -> complex | None:
    r"""The value of a `number`, of "x=5", of the forms ``2\sqrt{3}`` and ``2\pi``, and of "3-2i"; None for all else."""
    text = re.sub(r"^[A-Za-z]=", "", re.sub(r"(?<!\d) | (?!\d)", "", text))
    surd = _SURD.fullmatch(text)
    if surd:
        factor = float(surd.group(2)[:300] or 1) * (math.sqrt(int(surd.group(3))) if surd.group(3) else math.pi)
        return -factor if surd.group(1) else factor
    if _COMPLEX.fullmatch(text):
        return complex(re.sub(r"(?<=[+-])i", "1i", text).replace("i", "j"))
    value = number(text)
    return None if value is None else float(value)


def same_number(one: Fraction, other: Fraction) -> bool:
    """Equal, but for what floating point loses in a decimal."""
    whole = one.denominator == other.denominator == 1
    return one == other or (not whole and math.isclose(one, other, rel_tol=1e-9))
