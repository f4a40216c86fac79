"""Splits an answer into value and unit, so that a right answer need not repeat the unit, and converts units."""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Literal

from rlfr_mm.grading.strict.values import constant, number

# Each unit: its size in other units, then its spellings. A name that defines itself has a dimension of its own.
_DEFINED = """
    m: m meter metre 米; g: g gram gramme gm 克; s: s sec second 秒; A: A amp ampere; K: K kelvin; mol: mol mole
    deg: deg degree ° 度; rad: rad radian; C: C celsius; F: F fahrenheit; bit: bit; eV: eV
    dollar: dollar USD 美元; euro: euro EUR; £: £ GBP 英镑
    yuan: yuan RMB CNY 元; rupee: rupee Rs INR; yen: yen JPY 日元
    am: am AM; pm: pm PM; person: person people 人; man: man men; woman: woman women; child: child children; unit: unit
    piece: piece pcs; point: point pts; rpm: rpm; bpm: bpm; fps: fps
    60 s: min minute 分钟; 3600 s: h hr hour 小时; 86400 s: day 天; 604800 s: week wk 周
    month: month 个月; yr: yr year 年
    1/100 dollar: cent ¢; penny: penny pence pennies; 1/10 yuan: 角; 1000 kg: t ton tonne 吨
    2.54 cm: in in. inch inches; 12 in: ft foot feet; 3 ft: yd yard; 5280 ft: mi mile; 5280 ft h-1: mph
    1000 m h-1: kph kmph kmh; 453.59237 g: lb lbs pound; 1/16 lb: oz ounce; 1/1000 m3: l L liter litre 升
    1/1000000 m3: cc; 231 in3: gal gallon; 1/4 gal: qt quart; 1/8 gal: pt pint; 1/16 gal: cup
    1/256 gal: tbsp tablespoon; 1/768 gal: tsp teaspoon; 10000 m2: ha hectare 公顷; 43560 ft2: ac acre
    8 bit: byte B; 1000 m: 公里; 500 g: 斤; 1000 g: 公斤; s-1: Hz hertz; kg m s-2: N newton; N m: J joule
    J s-1: W watt; N m-2: Pa pascal
    A s: coulomb; W A-1: V volt; V A-1: ohm Ω Omega; 1/10000000 J: erg; 1/10 nm: Å angstrom
"""
_PREFIXES = {
    "n": (-9, "nano", "纳"), "u": (-6, "micro", "微"), "m": (-3, "milli", "毫"), "c": (-2, "centi", "厘"),
    "d": (-1, "deci", "分"), "k": (3, "kilo", "千"), "M": (6, "mega", "兆"), "G": (9, "giga", "吉"),
    "T": (12, "tera", "太"),
}  # fmt: skip
_PREFIXED = """
    m meter metre 米 g gram gramme 克 s second 秒 A ampere V volt W watt J joule Pa pascal Hz hertz N newton l L liter
    litre 升 mol mole eV bit byte B ohm Ω
"""
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "squared": 2, "cubic": 3, "cu": 3, "cubed": 3, "平方": 2, "立方": 3}
# After a number, these words make another number of it
_CHANGING_WORDS = """
    half halves third quarter percent percentage pct st nd rd th repeating recurring minus plus over
    hundred thousand dozen doz gross score lakh lac crore arab myriad grand mil mio
    double triple treble quadruple quintuple twice thrice mille permille permil promille basis
    base binary ternary quaternary quinary octal decimal duodecimal hex hexadecimal
    root mod modulo modulus factorial inverse reciprocal recip conjugate opposite transpose choose power sin tan sec
    cot exp log arcsin arccos arctan pi theta alpha beta gamma delta lambda omega phi sigma rho tau epsilon infinity
"""
# and these say that it is not the answer, or not the whole answer
_NO_UNIT_WORDS = """
    is are was be not no or and to if when where for than more less least most at by from with
    wrong incorrect impossible correct right negative positive fewer greater false true ten bc bce b.c. maybe perhaps
    possibly probably but except unless either neither nor though otherwise guess etc none nothing unknown invalid
    extraneous missing absent fail void ish onward upward against versus short below above beyond under
"""
_CHANGING, _NO_UNITS = frozenset(_CHANGING_WORDS.split()), frozenset(_NO_UNIT_WORDS.split())
_CHANGING_FORMS = re.compile(  # ordinals and powers of a thousand
    r"(?:[a-z]*teen|[a-z]+tie|four|fif|six|seven|eigh|nin|ten|eleven|twelf|hundred|thousand|[a-z]+illion)ths?"
    r"|[a-z]{1,9}illi(?:on|ard)s?"
)
_ABBREVIATED, _PARTICIPLE = re.compile("[b-df-hj-np-tv-z]{2,9}"), re.compile("[a-z]{2,12}(?<!e)ed")
_HARMLESS = frozenset(["needed", "required", "used", "rounded", "combined", "moped", "biped", "quadruped"])
# the same in Chinese: particles and verbs, which the name of a thing does not have, and "factorial", "plus", "possible"
_NO_UNIT_SIGNS = re.compile(
    "[成打不非无没错或和与及以约多余半倍几十百千万亿分之上下左右至到折第误除减吗呢吧啊么了是为但而也还就却且若如该]"
    "|^的.|平方|立方|次方|进制|阶乘|乘以|加上|可能|正确"
)
_FILLER_WORDS = "of the a an total altogether different possible exactly only such 的"
FILLERS = frozenset(_FILLER_WORDS.split())
COUNTERS = frozenset("个只条本张名次块件位")  # 个 counts anything, the others only what they stand for
_COUNTED = frozenset(["person", "man", "woman", "child", "unit"])
_OF_ANGLE = re.compile(r"(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_ATTACHED = frozenset(["m", "s", "g", "h", "cm", "mm", "km", "kg", "ft", "in", "min", "dm", "ml", "deg"])  # as in 5cm
_CURRENCIES = {"\\$": "dollar", "€": "euro", "£": "£", "¥": "¥", "₹": "rupee", "￥": "¥"}
_CURRENCIES |= {"USD": "dollar", "EUR": "euro", "GBP": "£", "INR": "rupee", "Rs": "rupee", "Rs.": "rupee"}

Letter = Literal["unit", "unit after a space", "variable"]

_SPACE = r"(?:\s|~|\\[,;:! ]|\\quad|\{\}){0,4}"
_HAN = "\u4e00-\u9fff"
_ATOM = re.compile(
    rf"(?P<gap>{_SPACE})(?P<per>(?:/|\\cdot|\*)?){_SPACE}(?:\\(?:text|textrm|mathrm|mbox|operatorname|rm)\s?"
    r"\{(?P<text>[^{}]{0,200}(?:\{[^{}]{0,9}\}[^{}]{0,99}){0,3})\}|(?P<degree>\^?\{?\\circ\}?|\\degree|°)"
    rf"|(?P<micro>\\mu\s?[A-Za-z]{{1,3}})"
    rf"|(?<![A-Za-z\\{_HAN}])(?P<word>[A-Za-z]{{1,40}}\.?|[{_HAN}]{{1,12}})){_SPACE}(?P<power>\^\{{?-?\d\}}?|[²³])?$"
)
_WORD = re.compile(rf"(/|\bper\b)?\s?([A-Za-zµΩ£$€¢.]{{0,40}}[A-Za-zΩ]\.?|°|[{_HAN}]{{1,12}})\s?(\^\{{?-?\d\}}?|[²³])?")
_UPRIGHT = r"\\(?:text|mathrm)\s?\{"
_OHM = re.compile(rf"(?<=\d)(?:\s|{_UPRIGHT}\s?\}}){{1,4}}(?:{_UPRIGHT})?\s?([kMGm]?)\s?\}}?\s?\\Omega\s?$")
_PART = rf"\{{\s?{_UPRIGHT}([^{{}}]{{1,20}})\}}(\^\{{?\d\}}?)?\s?\}}"
_FRACTION_OF_UNITS = re.compile(rf"\\[dtc]?frac\s?{_PART}\s?{_PART}\s?$")
_UNIT_AND = re.compile(r"\\text\s?\{\s?([A-Za-z]{1,12}) (?:and|or)\s?\}")
_BETWEEN = re.compile(r",(?!\d{3}(?!\d))|\s(?:and|or)\s|\\text\s?\{\s?(?:and|or)\s?\}")

_TWO_UNITS = re.compile(
    rf"(\d{{1,15}})\s?([A-Za-z]{{1,12}}|[{_HAN}]{{1,4}}),?\s{{0,2}}(?:and\s)?(\d{{1,15}}(?:\.\d{{1,9}})?)\s?([A-Za-z]{{1,12}}|[{_HAN}]{{1,4}})"
)

_TWICE = re.compile(r"([^()]{1,60}?)(?: \((?!ie\b)([^()]{1,60})\)|,? \(?(?:ie|that is),? ([^()]{1,60})\)?)")


@dataclass(frozen=True)
class Unit:
    """A unit: its size as a multiple of base units, their powers, and words that are no known unit."""

    size: Fraction
    powers: tuple[tuple[str, int], ...]
    words: frozenset[str]


def _table() -> dict[str, tuple[str, str]]:
    """(definition, name) of each spelling of a unit."""
    table: dict[str, tuple[str, str]] = {}
    for entry in re.split(r";|\n", _DEFINED):
        definition, _, names = entry.strip().partition(":")
        for spelling in names.split():
            table[spelling] = definition, names.split()[0]
    for spelling in _PREFIXED.split():
        for prefix, (power, name, sign) in _PREFIXES.items():
            before = sign if re.match(f"[{_HAN}]", spelling) else name if len(spelling) > 3 else prefix
            size = Fraction(10) ** power
            table.setdefault(before + spelling, (f"{size} {spelling}", before + spelling))
    for spelling in list(table):
        if len(spelling) > 1 and spelling.isascii():
            table.setdefault(f"{spelling}s", table[spelling])
    return table


UNITS = _table()


@lru_cache(maxsize=1024)
def _unit(text: str) -> Unit:
    """The unit that names with powers, such as "km h-1", multiply to; numbers among them are factors."""
    size, powers, words = Fraction(1), dict[str, int](), set[str]()
    for token in text.split():
        if re.fullmatch(r"[\d./]+", token):
            top, _, bottom = token.partition("/")
            size *= Fraction(top) / Fraction(bottom or 1)
            continue
        name, power = re.fullmatch(r"(.*?)(-?\d)?", token).groups()  # type: ignore[union-attr]
        exponent = int(power or 1)
        known = UNITS.get(name)
        if known is None:
            words.add(name)
        elif known[0] == name:
            powers[name] = powers.get(name, 0) + exponent
        else:
            part = _unit(known[0])
            size *= part.size**exponent
            for base, inner in part.powers:
                powers[base] = powers.get(base, 0) + inner * exponent
    return Unit(size, tuple(sorted((base, power) for base, power in powers.items() if power)), frozenset(words))


@lru_cache(maxsize=4096)
def measured(text: str, lone_letter: Letter = "unit") -> tuple[str, str]:
    r"""(value, unit) of an answer; no unit is "". The unit is its names with their powers, with spaces between.

    Words in ``\text{}`` after a value are a unit, and so are plain words after a number, unless they change its
    meaning ("million", "or", "is wrong"). `lone_letter` says when a single letter, such as the m of "5m", is a unit.

    >>> measured(r"9.4\text{ cm}^2")
    ('9.4', 'cm2')
    """
    text = re.sub(
        rf"\\text\s?\{{\s?(-?[\d.,:]{{0,99}}\d)\s?(?=[\s{_HAN}])([^{{}}]{{1,99}})\}}", r"\1\\text{ \2}", text.strip()
    )
    if len(text) > 300:
        return text, ""
    text = _FRACTION_OF_UNITS.sub(r"\\text{ \1\2/\3\4}", _OHM.sub(r"\\text{ \1Ω}", text))
    currency = re.match(r"-?(\\\$|[€£¥￥₹]|USD|EUR|GBP|INR|Rs\.?)\s?(?=[-\d.])", text)
    if currency and len(re.findall(r"\\\$|[€£¥￥₹]", text)) < 2:
        amount, currency_name = text.replace(currency[1], "", 1).strip(), _CURRENCIES[currency[1]]
        value, per = measured(amount)
        return (value, f"{currency_name} {per}") if per.endswith("-1") else (amount, currency_name)
    value, words, wrapped = text, list[tuple[str, int]](), True
    while (atom := _ATOM.search(value)) and atom.start() > 0:
        found = [] if atom["degree"] and _OF_ANGLE.search(value) else _names_of(atom)
        before = value[: atom.start()] + atom["per"]
        if atom["word"] and not _plain_unit(atom["word"], bool(atom["gap"]), lone_letter, before):
            break
        if not found:
            break
        wrapped = wrapped and not atom["word"]
        if atom["per"] == "/":
            found[0] = found[0][0], -found[0][1]
        words, value = [*found, *words], value[: atom.start()]
    if (
        not words
        or not value
        or value[-1] == ","
        or words[0][1] < 0
        or len(words) > 6
        or _changes_meaning([name for name, _ in words])
    ):
        return text, ""  # "2/m" is not a number of metres
    if not wrapped and any(name not in UNITS and name not in _POWERS for name, _ in words) and number(value) is None:
        return text, ""
    return value, _canonical(words)


def measured_list(text: str, lone_letter: Letter = "unit") -> tuple[str, str]:
    """`measured`, also for a list or point of numbers in one unit.

    >>> measured_list("(3 cm, 4 cm)")
    ('(3, 4)', 'cm')
    """
    opened = re.fullmatch(r"([(\[]?)([^()\[\]]{1,200})([)\]]?)", _UNIT_AND.sub(r"\\text{ \1}, ", text.strip()))
    parts = [measured(part, lone_letter) for part in _BETWEEN.split(opened[2])] if opened else []
    units = {unit for _, unit in parts}
    if opened is None or len(parts) < 2 or "" in units or None in [number(value) for value, _ in parts]:
        return measured(text, lone_letter)
    if len(units) > 1:
        return text, ""
    return opened[1] + ", ".join(value.strip() for value, _ in parts) + opened[3], units.pop()


def said_once(text: str) -> str:
    """The text, or "90 minutes" for "90 minutes (1.5 hours)" and 3/4 for "3/4, i.e. 75%", which say the same twice.

    >>> said_once("90 minutes (1.5 hours)"), said_once("90 minutes (2 hours)")
    ('90 minutes', '90 minutes (2 hours)')
    """
    twice = _TWICE.fullmatch(text)
    if twice is None:
        return text
    (value, unit), (again, other) = map(measured, (twice[1], twice[2] or twice[3]))
    size, one, two = conversion(unit, other), _share(value), _share(again)
    if size is None or one is None or two is None or one != two * size:
        return text
    return twice[1] if unit or twice[3] else text


def _share(text: str) -> Fraction | None:
    """The number that a text is, or for a percentage the part of one; None for other text."""
    value = number(re.sub(r"\s?\\?%$", "", text))
    return value / 100 if value is not None and text.endswith("%") else value


def in_one_unit(text: str) -> str:
    """The text, or "90 min" for "1 hour 30 minutes": a quantity in two units as one in the smaller unit.

    >>> in_one_unit("1 hour and 30 minutes")
    '90 min'
    """
    parts = _TWO_UNITS.fullmatch(re.sub(r"\s?\\(?:text|mathrm)\s?\{([^{}]{1,20})\}\s?", r"\1", text))
    if parts is None:
        return text
    large, small = _spelling(parts[2]), _spelling(parts[4])
    factor = conversion(small, large) if large in UNITS and small in UNITS and large != small else None
    if factor is None or factor <= 1:
        return text
    value = Fraction(parts[1]) * factor + Fraction(parts[3])
    return f"{value} {small}"


def _names_of(atom: re.Match[str]) -> list[tuple[str, int]]:
    """(name, power) of each word of a unit; empty if the text is not one."""
    power = _exponent(atom["power"])
    if atom["degree"]:
        return [("deg", power)]
    if atom["micro"]:
        return [("u" + atom["micro"][3:].strip(), power)]
    if atom["text"] is None:
        return _split(atom["word"], power)
    inside = atom["text"].replace("\\Omega", "Ω").replace("\\", " ").replace("~", " ")
    if _WORD.sub("", inside).strip(" /*·,-{}()"):
        return []
    found = [
        (unit, -exponent if per else exponent)
        for per, name, raised in _WORD.findall(inside)
        for unit, exponent in _split(name, _exponent(raised))
    ]
    if any(re.fullmatch("[A-Za-z]", name) and name not in UNITS and name not in FILLERS for name, _ in found):
        return []  # an upright variable or constant
    return [*found[:-1], (found[-1][0], found[-1][1] * power)] if found else []


def _exponent(raised: str | None) -> int:
    return int((raised or "1").replace("²", "2").replace("³", "3").strip("^{}"))


def _split(name: str, power: int) -> list[tuple[str, int]]:
    """A name as it is known; a Chinese one may begin with "square" or "cubic", or with a counter."""
    if name[:2] in _POWERS and name[2:] in UNITS:
        return [(name[2:], power * _POWERS[name[:2]])]
    if len(name) > 1 and name[0] in COUNTERS and name not in UNITS:
        return [(name[1:], power)]
    return [(name.replace("µ", "u"), power)]


def _changes_meaning(names: list[str]) -> bool:
    unknown = [name for name in names if name not in UNITS and name.lower() not in _POWERS]
    return (
        any(map(_is_no_unit, unknown))
        or all(name.lower() in _POWERS for name in names)
        or any(map(_NO_UNIT_SIGNS.search, unknown))
        or (_PARTICIPLE.fullmatch(names[-1]) is not None and names[-1] not in _POWERS and names[-1] not in _HARMLESS)
    )


def makes_another(word: str) -> bool:
    """Whether a word after a number makes another number of it.

    >>> makes_another("sixteenths"), makes_another("binary"), makes_another("months")
    (True, True, False)
    """
    lowered = word.lower()
    listed = not _CHANGING.isdisjoint((lowered, lowered.removesuffix("s")))
    return listed or _CHANGING_FORMS.fullmatch(lowered) is not None


def _is_no_unit(word: str) -> bool:
    lowered = word.lower()
    if makes_another(word) or not _NO_UNITS.isdisjoint((lowered, lowered.removesuffix("s"))):
        return True
    return _ABBREVIATED.fullmatch(word) is not None


def _plain_unit(word: str, apart: bool, lone_letter: Letter, before: str) -> bool:
    """Whether a word outside LaTeX's \\text may be part of a unit: a single letter only after a number."""
    if re.match(f"[{_HAN}]", word):
        return True
    word = word if word in UNITS else word.removesuffix(".")
    if len(word) > 2 or not (word in UNITS or word.lower() in _POWERS):
        return len(word) > 2
    if before.endswith(("/", "*", "\\cdot", "°", "\\circ", "\\circ}")):
        return True
    if len(word) == 1 and (lone_letter == "variable" or constant(before.strip()) is None):
        return False
    return apart or (lone_letter == "unit" and word in _ATTACHED)


def _canonical(words: list[tuple[str, int]]) -> str:
    """The names of a unit, each with its power: "square metres per s" is "m2 s-1"."""
    power, parts = 1, list[tuple[str, int]]()
    for place, (name, exponent) in enumerate(words):
        known = _spelling(name)
        if place and words[place - 1][0] == "per":
            exponent = -exponent
        if name.lower() in _POWERS:
            if parts and name in ("squared", "cubed"):
                parts[-1] = parts[-1][0], parts[-1][1] * _POWERS[name]
            else:
                power = _POWERS[name.lower()]
        elif known not in FILLERS and known != "per":
            if parts and parts[-1][0] == "deg" and known in ("C", "F", "celsius", "fahrenheit"):
                parts.pop()
            parts.append((known[0].upper() if known in ("celsius", "fahrenheit") else known, exponent * power))
            power = 1
    return " ".join(name + (str(exponent) if exponent != 1 else "") for name, exponent in parts)


def _spelling(name: str) -> str:
    """The first spelling of a known unit; any other name in lower case and in the singular."""
    for spelling in (name, name.rstrip("."), name.lower().rstrip(".")):
        if spelling in UNITS:
            return UNITS[spelling][1]
    lowered = name.lower().rstrip(".")
    return lowered[:-1] if lowered.endswith("s") and len(lowered) > 3 else lowered


@lru_cache(maxsize=4096)
def conversion(one: str, other: str) -> Fraction | None:
    """How many of the unit `one` are one of the unit `other`; None if they measure different things.

    A missing unit is any unit, "units" any of its power, and "red apples" may be called "apples". A Chinese
    counter counts things: 5个 may be 5 apples or 5只, but not 5 metres.

    >>> conversion("m", "cm")
    Fraction(1, 100)
    """
    if not one or not other or one == other or {one, other} in ({"deg", "C"}, {"deg", "F"}):
        return Fraction(1)
    first, second = _unit(one), _unit(other)
    if COUNTERS & {one, other}:
        things = second if one in COUNTERS else first
        counted = not things.powers or {base for base, _ in things.powers} <= _COUNTED
        return Fraction(1) if counted and ("个" in (one, other) or not COUNTERS.issuperset((one, other))) else None
    if not (first.words <= second.words or second.words <= first.words):
        return None
    if first.powers == second.powers:
        return second.size / first.size
    for unit, rest in ((first, second), (second, first)):
        if [base for base, _ in unit.powers] == ["unit"] and sum(power for _, power in rest.powers) == unit.powers[0][
            1
        ]:
            return Fraction(1)
    return None


def agree(one: str, other: str) -> bool:
    """Whether two units may be the same. A missing one agrees with any, "units" with any of its power."""
    return conversion(one, other) == 1
