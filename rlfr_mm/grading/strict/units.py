"""Splits an answer into value and unit, so that a right answer need not repeat the unit."""

import re
import string
from functools import lru_cache
from typing import Literal

from rlfr_mm.grading.strict.values import constant, number

# The spellings of each unit; the first is its name.
_NAMES = """
    mm millimeter millimetre; cm centimeter centimetre; dm decimeter decimetre; m meter metre; km kilometer
    kilometre; in inch inches; ft foot feet; yd yard; mi mile; mg milligram; g gram; kg kilogram; lb lbs pound; oz
    ounce; t ton tonne; ms millisecond; s sec second; min minute; h hr hour; day; week; month; yr year; ml mL
    milliliter millilitre; l L liter litre; gal gallon; deg degree; rad radian; dollar USD; cent; N newton; J joule;
    kJ kilojoule; W watt; kW kilowatt; V volt; A ampere amp; Hz hertz; Pa pascal; K kelvin; C celsius; F fahrenheit;
    mol mole; eV; erg; am AM a.m.; pm PM p.m.; mph; unit; person people; child children; man men; woman women
"""
_UNITS = {spelling: names.split()[0] for names in _NAMES.split(";") for spelling in names.split()}
_UNITS |= {f"{spelling}s": name for spelling, name in _UNITS.items() if len(spelling) > 2}
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3}
# After a number, these words change its value or say that it is not the answer.
_NO_UNIT_WORDS = """
    is are was be not no or and to if when where for than more less least most at by from with plus minus over
    hundred thousand million billion trillion dozen half halves third quarter percent wrong incorrect impossible
    correct right root mod modulo base factorial negative positive fewer greater false true fourth fifth sixth
    seventh eighth ninth tenth twelfth hundredth thousandth ten pi theta alpha beta gamma delta lambda omega phi
    sigma rho tau epsilon infinity
"""
_NO_UNITS = frozenset(_NO_UNIT_WORDS.split())
_ATTACHED = frozenset(["m", "s", "g", "h", "cm", "mm", "km", "kg", "ft", "in", "min", "dm", "ml", "deg"])  # as in 5cm

Letter = Literal["unit", "unit after a space", "variable"]

_SPACE = r"(?:\s|~|\\[,;:! ]|\\quad|\{\})*"
_ATOM = re.compile(
    rf"(?P<gap>{_SPACE})(?P<per>(?:/|\\cdot|\*)?){_SPACE}(?:\\(?:text|textrm|mathrm|mbox|operatorname|rm)\s*"
    r"\{(?P<text>[^{}]*(?:\{[^{}]*\}[^{}]*)*)\}|(?P<degree>\^?\{?\\circ\}?|\\degree|°)"
    rf"|(?<![A-Za-z\\])(?P<word>[A-Za-z]+\.?)){_SPACE}(?P<power>\^\{{?-?\d\}}?|[²³])?$"
)
_WORD = re.compile(r"([A-Za-z.]*[A-Za-z]\.?|°)\s*(\^\{?-?\d\}?|[²³])?")


@lru_cache(maxsize=4096)
def measured(text: str, lone_letter: Letter = "unit") -> tuple[str, str]:
    r"""(value, unit) of an answer. An unknown unit is "?", no unit is "".

    Words in ``\text{}`` after a value are a unit, and so are plain words after a number, unless they change its
    meaning ("million", "or", "is wrong"). `lone_letter` says when a single letter, such as the m of "5m", is a unit.

    >>> measured(r"9.4\text{ cm}^2")
    ('9.4', 'cm2')
    """
    text = re.sub(r"\\text\s*\{\s*(-?[\d.,]*\d)\s+([^{}]+)\}", r"\1\\text{ \2}", text.strip())
    if len(text) > 300:
        return text, ""
    value, words, wrapped, divided = text, list[tuple[str, str]](), True, False
    while (atom := _ATOM.search(value)) and atom.start() > 0:
        power = (atom["power"] or "").translate({ord("²"): "2", ord("³"): "3"}).strip("^{}")
        if atom["degree"]:
            found = [("deg", power)]
        elif atom["text"] is not None:
            inside = atom["text"].replace("\\", " ").replace("~", " ")
            found = [(name, exponent.strip("^{}")) for name, exponent in _WORD.findall(inside)]
            if _WORD.sub("", inside).strip(" /*·,-{}") or not found:
                break
            found[-1] = (found[-1][0], power or found[-1][1])
        else:
            before = value[: atom.start()] + (atom["per"] or "")
            if not _plain_unit(atom["word"], bool(atom["gap"]), lone_letter, before):
                break
            found, wrapped = [(atom["word"], power)], False
        words, value, divided = [*found, *words], value[: atom.start()], bool(atom["per"])
    names = [name.lower() for name, _ in words]
    if _NO_UNITS.intersection([*names, *(name.removesuffix("s") for name in names)]) or len(names) > 6:
        return text, ""
    if divided or all(name in _POWERS for name in names):  # "2/m" is not a number of metres
        return text, ""
    known = [name for name, _ in words if _known(name)]
    if len(known) < len(words) and not wrapped and number(value) is None:
        return text, ""
    return (value, _canonical(words)) if value else (text, "")


def _known(name: str) -> bool:
    return name in _UNITS or name.lower() in _UNITS or name.lower() in _POWERS or name in ("per", "°")


def _plain_unit(word: str, apart: bool, lone_letter: Letter, before: str) -> bool:
    """Whether a word outside LaTeX's \\text may be part of a unit: a single letter only after a number."""
    word = word if word in _UNITS else word.removesuffix(".")
    if not _known(word):
        return len(word) > 2
    if len(word) > 2:
        return True
    if before.endswith(("/", "*", "\\cdot", "°", "\\circ", "\\circ}")):
        return True
    if len(word) == 1 and (lone_letter == "variable" or constant(before.strip()) is None):
        return False
    return apart or (lone_letter == "unit" and word in _ATTACHED)


def _canonical(words: list[tuple[str, str]]) -> str:
    power, parts = 0, list[str]()
    for name, exponent in words:
        name = name if name in _UNITS else name.lower().rstrip(".")
        if name in _POWERS:
            if parts and name in ("squared", "cubed"):
                parts[-1] = parts[-1].rstrip("0123456789") + str(_POWERS[name])
            else:
                power = _POWERS[name]
        elif name != "per":
            if name not in _UNITS:
                return "?"
            size = exponent.lstrip("-") or str(power or 1)
            if parts == ["deg"] and _UNITS[name] in ("C", "F"):
                parts = []
            parts.append(_UNITS[name] + (size if size != "1" else ""))
            power = 0
    return " ".join(parts) or "?"


def agree(one: str, other: str) -> bool:
    """Whether two units may be the same. A missing or unknown one agrees with any, "units" with any of its power."""
    if "?" in (one, other) or not one or not other or one == other or {one, other} in ({"deg", "C"}, {"deg", "F"}):
        return True
    if "unit" not in (one[:4], other[:4]):
        return False
    return one.lstrip(string.ascii_letters) == other.lstrip(string.ascii_letters)
