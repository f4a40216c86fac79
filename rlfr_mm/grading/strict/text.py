r"""Compares two answers by their text, without parsing formulas.

Most answers are numbers, words or points, so this decides most verdicts, at a thousandth of the cost of a parser.

- Numbers are equal exactly. A decimal of more than twelve digits may stand for a number without an end.
- A unit counts only if both sides name one, and so does a condition such as "for integers n".
- Whatever stays undecided goes to a worker, as LaTeX without the unit.
"""

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlfr_mm.grading.item import LONGEST_ANSWER
from rlfr_mm.grading.strict.extract import displayed, trimmed
from rlfr_mm.grading.strict.lists import as_point, as_set, compare_lists, named_values, near, same_ratio
from rlfr_mm.grading.strict.names import named, same_relation, with_letters_of
from rlfr_mm.grading.strict.notation import combinations, signs, styled, tidy
from rlfr_mm.grading.strict.prose import marked, same_words, sides, spoken, without_name, worded
from rlfr_mm.grading.strict.units import Letter, conversion, in_one_unit, measured_list, said_once
from rlfr_mm.grading.strict.values import constant, matrix, number, same_number

_MAPPED = re.compile(
    r"^(?:[A-Za-z]\s?(?::|\\colon)\s?)?\(?[A-Za-z](?:\s?,\s?[A-Za-z]){0,3}\)?\s?\\mapsto(?![A-Za-z])\s?"
)
_CONDITION = re.compile(  # "for all n" and "where x is real", or ", n \\in ..."
    r"(?:[,;(]|\s|\\text\s?\{|\\quad){1,4}"
    r"(?:(?:for|where|with|\\forall)(?![A-Za-z])"
    r"|(?=[A-Za-z](?:,\s?[A-Za-z]){0,3}\s?(?:[<>]|\\(?:in|geq?|leq?|neq?|geqslant|leqslant)(?![A-Za-z]))))"
)
_KINDS = frozenset(["real", "integer", "natural", "positive", "negative", "nonnegative", "nonzero"])
_FILLERS = "all any every each some constant arbitrary number is are an a the and in such that"
_CONDITION_WORDS = _KINDS.union(_FILLERS.split())
_WORDS = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,40}")
_DOMAINS = {"Z": " integer ", "R": " real ", "N": " natural "}
_SETS = re.compile(r"^[(\[]|[<>].{0,200}(?:,| (?:and|or) )|\\[lg]e(?![a-z]).{0,200}(?:,| (?:and|or) )")
_PLAIN_LIST = re.compile(r"[^=<>()\[\]{}]{1,200}(?:,| (?:and|or) )[^=<>()\[\]]{1,200}")
_JOINED = re.compile(r"\s?\\(wedge|vee)(?![A-Za-z])\s?")
_MEMBER = re.compile(r"^[A-Za-z](?:_\{?\w\}?)?\s?\\in(?![A-Za-z])\s?")
_SCIENTIFIC = re.compile(r"(?<![\w.])(\d{1,30}(?:\.\d{1,30})?)[eE]([-+]?\d{1,3})(?![\w.])")
_ASSIGNED = re.compile(r"^(?:[A-Za-z](?:_\{?\w{1,3}\}?)?(?:\([a-z]\))?|\\frac\{d[a-z]\}\{d[a-z]\})=(?!.*=)")
_SET_OF = re.compile(r"^\\?\{\s?([A-Za-z])\s?(?:\\in[^|:]{1,30})?(?:\\mid|:|\|)(.{1,300}?)\\?\}$")
_POINT = re.compile(r"^\(([A-Za-z](?:,[A-Za-z]){1,5})\)=\(([^()\[\]]{1,200})\)$")
_CASES = re.compile(r"^\\begin\{cases\}([^&]{1,300})\\end\{cases\}$")
_MODULUS = re.compile(
    r"(?:\\pmod\s?(?:\{[^{}]{0,40}\}|\w{1,9})|\((?:\\text\s?\{\s?)?\\?(?:mod|bmod)\b[^()]{0,40}\)|\\?(?:b?mod)\b[^()]{0,40})$"
)
_CONGRUENT = re.compile(r"^.{1,40}\\equiv(?![A-Za-z])")
_DOTS = ("...", "\\ldots", "\\cdots", "\\dots")
_BINDING = "needed "  # 12 mod 13 and 12... are not 12, though 2n for integers n is 2n
_POINT_LABEL = re.compile(r"^[A-Z](?:'|_\{?\d\}?)?(?=\([^(),]*,[^()]*\)$)")
_GENERIC = re.compile(
    r"^(?:the )?(?:(?:ordered )?(?:pair|triple)|point|interval|set|vector|matrix|ratio|value|number|year|expression)s? "
    r"(?=[-\\($\[{\d])",
    re.IGNORECASE,
)
_BOTH = re.compile(r"^(?:both )?([^\s&]{1,40}) (?:and|as well as|\\?&) ([^\s&]{1,40})$")
_ANGLES = {("deg", "rad"): "\\frac{180}{\\pi}", ("rad", "deg"): "\\frac{\\pi}{180}"}
# a point, an interval, a set or an inequality
_NO_NUMBER = re.compile(
    r"^[(\[][^()\[\],]*,[^()\[\]]*[)\]]$|\\cup(?![A-Za-z])|^(?=[^=]*$).*(?:[<>]|\\[lgn]e(?![A-Za-z]))"
)
_CALCULATION = re.compile(r"(?:[-+*/(){}^.\d =]|\\(?:frac|times|cdot|div|sqrt|binom)(?![A-Za-z])){1,300}=[^=]{1,100}")
_DECIMAL_COMMA = re.compile(r"-?(?:\d{1,15},(?:\d\d|\d{4,15})|0,\d{1,15})")
_COMMAND = re.compile(r"\\[A-Za-z]{1,20}")
_APPROXIMATED = re.compile(r"(.*[\d})i])\\approx(-?\d{0,40}(?:\.(\d{1,40}))?)")
_UPRIGHT_LETTER = re.compile(r"\\(?:mathrm|text|operatorname)\s?\{\s?([A-Za-z])\s?\}")
_ROWS = re.compile(r"\s*\\begin\s?\{(?:aligned|align|gathered|gather|split)\*?\}")
_LIST_OF_NUMBERS = re.compile(r"-?\d{1,15}(?:, -?\d{1,15})+|\\\{-?\d{1,15}(?:, ?-?\d{1,15})+\\\}")
_INTERVAL = re.compile(  # ]0,1[ is (0,1); the brackets of a root are others
    r"(?:^|(?<=[\s,=])|(?<=\\c[ua]p)|(?<=\\in))([\[\]])([^\[\](),;]{1,100}[,;][^\[\](),;]{1,100})(?<!\\sqrt)([\[\]])"
)
_BASE_TEN = re.compile(r"^(\d{1,40})_\{?10\}?$")
_BASED = re.compile(r"([0-9][0-9A-F]{0,40})_\{?(\d{1,2})\}?")


@dataclass(frozen=True)
class Quantity:
    """An answer in the form in which it is compared: as a whole, and split into value, unit and condition."""

    whole: str
    value: str
    unit: str
    condition: str = ""  # "integer" for "2n, where n is an integer"
    attached: bool = False  # whether the unit is a letter directly behind the number, as in "5g"
    name: frozenset[str] = frozenset()  # the words of "area of ABC" in "area of ABC = 5"
    integer: str = ""  # the letter that stands for any integer
    spoken: bool = False  # whether LaTeX sets a part of the value as words

    @property
    def number(self) -> Fraction | None:
        """The value if it is a number with nothing but a unit: not of 3 (mod 7) or "5g"."""
        return None if self.condition or self.attached else number(self.value)


@lru_cache(maxsize=4096)
def read(text: str, is_gold: bool = False) -> Quantity:
    """An answer or gold in the form that `compare_text` takes.

    In a gold, the m of "5m" and "$5 m$" is a variable, and the m of "5 m" is a unit.
    """
    lone_letter: Letter = "unit"
    if is_gold:
        lone_letter = "variable" if "$" in text.replace("\\$", "") else "unit after a space"
    if len(text) > LONGEST_ANSWER:
        return Quantity(text, text, "")
    text = displayed(text) if _ROWS.match(text) else text
    whole, text = tidy(text), styled(signs(text))
    if re.match(r"-?\$ ?\d[^$]*$", text):  # a price: the sign opens no formula
        text = text.replace("$", "\\$")
    if not text.startswith(("'", '"', "`")):  # primes, which are no quotation marks
        text = re.sub(r"(?<=[A-Za-z\d}])'{1,4}(?![a-z])", lambda match: "^{" + len(match[0]) * "\\prime" + "}", text)
    goes_on = text.rstrip("$ \n").endswith(_DOTS)
    text, condition, integer = _without_condition(text)
    text = re.sub(
        r"^([\d.,/]{1,30}) ?(?:\\text\s?\{)? ?\(\1\)\}?$", r"\1", _GENERIC.sub("", trimmed(text))
    )  # 12 (twelve)
    text = _BOTH.sub(r"\1 and \2", text)
    text = re.sub(r"^([^,\s]{1,40})(?:, \1)+$", r"\1", text)  # a double root; 5,5 is something else
    if "\n" in text and "\\begin" not in text:  # one answer per line
        text = ", ".join(dict.fromkeys(line.strip() for line in text.split("\n") if line.strip()))
    text = re.sub(r"(?<!\\)\$|\*\*|(?<!\\)\\[()\[\]]", "", text)
    name, text = without_name(in_one_unit(text.strip()))
    text = said_once(text)
    value, unit = measured_list(_MAPPED.sub("", text), lone_letter)
    attached = len(unit) == 1 and re.search(r"\d[a-z]$", text.strip()) is not None
    modulus = _MODULUS.search(value)
    if modulus:
        value = _CONGRUENT.sub("", value[: modulus.start()])
        condition = "mod" + "".join(re.findall(r"\d+|(?<![A-Za-z])[a-z](?![A-Za-z])", modulus[0]))
    elif goes_on:
        condition = "goes on"
    if not is_gold and (modulus or goes_on):
        condition = _BINDING + condition
    in_words, value = spoken(value), _UPRIGHT_LETTER.sub(r"\1", value)
    value = _INTERVAL.sub(lambda ends: "[("[ends[1] == "]"] + ends[2] + "])"[ends[3] == "["], tidy(value))
    value = re.sub(r"^(?:minus|negative) (?=[\d\\])", "-", value)
    value = _SET_OF.sub(r"\2", value).strip()
    value = _CASES.sub(lambda match: re.sub(r"\s?\\\\\s?", ",", match[1].strip().removesuffix("\\\\")), value)
    value = "(-\\infty,\\infty)" if value.lower() in ("all real numbers", "all reals", "real numbers") else value
    value = re.sub(r"^([-\d./]{1,40}|\\frac\{\d{1,9}\}\{\d{1,9}\})=([A-Za-z])$", r"\2=\1", value)
    return Quantity(whole, value, unit, condition, attached, name, integer, in_words)


def _without_condition(text: str) -> tuple[str, str, str]:
    r"""The text without a condition on its variables, the condition, and the letter of any integer.

    These are 2n, "integer" and n of "2n for integers n".
    """
    match = _CONDITION.search(text)
    value = text[: match.start()] if match else ""
    if match is None or not value or re.search(r"[<>]|\\(?:in|le|ge)", value) or value.count("{") != value.count("}"):
        return text, "", ""
    domain = re.compile(r"\\in\s?(?:\\math(?:bb|bf)\s?\{?)?([ZRN])\}?")
    condition = domain.sub(lambda match: _DOMAINS[match[1]], text[match.end() :])
    found = [word.lower() for word in _WORDS.findall(condition)]
    words = [word.removesuffix("s") if len(word) > 3 else word for word in found]
    letters = set(re.findall(r"(?<![A-Za-z\\])[A-Za-z](?![A-Za-z])", condition))
    if re.match(r"[A-Za-z]\s?=", value) and value[0] in letters:
        return text, "", ""  # "x = 2, x > 1" says two things of x
    if not _CONDITION_WORDS.issuperset(words) or not letters.intersection(re.sub(r"\\[A-Za-z]{1,30}", "", value)):
        return text, "", ""
    relation = re.sub(r"\\text|[{}\s,;.()$]", "", _WORDS.sub("", condition))
    has_relation = re.search(r"[<>=\d]|\\[lgn]e|\\in", relation) is not None
    kinds = sorted(_KINDS.intersection(words))
    integer = letters.pop() if kinds == ["integer"] and len(letters) == 1 and not has_relation else ""
    return value, " ".join([*kinds, *([relation] if has_relation else [])]), integer


def aligned(gold: Quantity, answer: Quantity) -> tuple[str, str]:
    r"""The two values in one notation and the gold's unit, with ``\text{...}`` around their words.

    Commas stand for "and" and "or", intervals for inequalities if one side is one, and each name is one symbol.
    """
    ours, theirs = _pieces(gold, answer, _in_one_notation(gold, answer))
    return marked(ours), marked(theirs)


def _pieces(gold: Quantity, answer: Quantity, texts: tuple[str, str]) -> tuple[list[str], list[str]]:
    return worded(*texts, gold.spoken or answer.spoken)


def _in_one_notation(gold: Quantity, answer: Quantity) -> tuple[str, str]:
    converted = with_letters_of(gold.value, _converted(gold, answer), gold.integer, answer.integer)
    texts = [_joined(_spread(text)) for text in (gold.value, converted)]
    texts = [text if "," in text else re.sub(r" ?; ?", ",", text) for text in texts]
    for one, other in ((0, 1), (1, 0)):
        if "=" not in texts[other]:
            texts[one] = _ASSIGNED.sub("", texts[one])
        values = named_values(texts[one])
        if texts[other].startswith("("):
            texts[one] = (as_point(values) if values else None) or _POINT_LABEL.sub("", texts[one])
        elif len(values) > 1 and _PLAIN_LIST.fullmatch(texts[other]):  # both in the order in which they are written
            texts[one], texts[other] = f"({','.join(value for _, value in values)})", f"({texts[other]})"
    heads = [match.group().replace(" ", "") for match in map(_MEMBER.match, texts) if match]
    # "x \\in" says nothing beside a set without it, but x is not q
    members = texts if len(set(heads)) > 1 else [_MEMBER.sub("", text) for text in texts]
    if texts[0] != members[0] or texts[1] != members[1] or any(_SETS.search(text) for text in texts):
        texts = [as_set(member) for member in members]
    if not any(re.search(r"(?<![A-Za-z\\])e(?![A-Za-z])", _SCIENTIFIC.sub("", text)) for text in texts):
        texts = [_SCIENTIFIC.sub(r"\1\\times10^{\2}", text) for text in texts]
    if ":" in texts[0]:
        texts[1] = re.sub(r"^(\d{1,9}) to (\d{1,9})$", r"\1:\2", texts[1])
    if _LIST_OF_NUMBERS.fullmatch(texts[0]) and texts[0].count(",") == texts[1].count(","):
        texts = [re.sub(r"(?<=\d), ?(?=\d)", ", ", text) for text in texts]  # 101,103 is a list, too
    if number(texts[0]) is not None:  # else C(5,2) is a point
        texts[1] = combinations(texts[1])
    # 1 and 200 are not 1,200
    texts = [re.sub(r",? (?:and|or) (?=\d{3}(?!\d))", ", ", text) for text in texts]
    texts = [named(re.sub(r",? (?:and|or) ", ",", text)) for text in texts]
    return texts[0], _approximated(texts[0], texts[1])


def _approximated(gold: str, text: str) -> str:
    r"""The text, or of ``\frac{2}{3}\approx0.67``, which states both values, the one that is written as the gold is."""
    both = _APPROXIMATED.fullmatch(text)
    exact, shown = (constant(both[1]), number(both[2])) if both else (None, None)
    if both is None or shown is None:
        return text
    unit = 0.1 ** len(both[3] or "")
    beyond = 0.0 if exact is None else abs(exact.approximate) - abs(float(shown))
    if not -0.51 * unit < beyond < unit:
        return ""  # 7 is not 8, so this says nothing
    return both[2] if re.fullmatch(r"-?\d{0,40}\.\d{1,40}", gold) else both[1]


def _joined(text: str) -> str:
    r"""The text with "and" and "or" for their signs between values and relations; ``p\vee q`` stays."""
    if re.search(r"[<>=]|\\[lg]e(?![a-z])", text) or not re.search(r"(?<![A-Za-z\\])[A-Za-z]", _COMMAND.sub("", text)):
        return _JOINED.sub(lambda sign: " and " if sign[1] == "wedge" else " or ", text)
    return text


def _spread(text: str) -> str:
    """The text, or "x=1,y=2" for "(x,y)=(1,2)"."""
    point = _POINT.match(text)
    names, values = (point[1].split(","), point[2].split(",")) if point else ([], [])
    return ",".join(map("=".join, zip(names, values, strict=True))) if point and len(names) == len(values) else text


def _converted(gold: Quantity, answer: Quantity) -> str:
    """The answer's value in the gold's unit.

    A letter read as a unit is a variable if the gold contains it as one, or has no unit where the answer is "5g".
    """
    in_gold = len(answer.unit) == 1 and re.search(rf"(?<![A-Za-z\\]){answer.unit}(?![A-Za-z])", gold.value)
    if not gold.unit and (answer.attached or in_gold):
        return answer.whole
    if (units := _angles(gold, answer)) in _ANGLES:
        return f"{_ANGLES[units]}\\cdot({answer.value})"
    size = conversion(gold.unit, answer.unit)
    if size in (None, 1):
        return answer.value
    value = number(answer.value)
    if value is None:
        return f"\\frac{{{size.numerator}}}{{{size.denominator}}}\\cdot({answer.value})"
    return f"\\frac{{{(value * size).numerator}}}{{{(value * size).denominator}}}"


def _angles(gold: Quantity, answer: Quantity) -> tuple[str, str]:
    """The units of the two. Multiples of pi beside degrees are radians."""
    gold_unit, unit = gold.unit, answer.unit
    if "\\pi" in gold.value + answer.value:
        gold_unit, unit = gold_unit or ("rad" if unit == "deg" else ""), unit or ("rad" if gold_unit == "deg" else "")
    return gold_unit, unit


def compare_text(gold: Quantity, answer: Quantity, tolerances: tuple[float, ...] = ()) -> bool | None:
    """Whether two words, numbers, percentages or lists of numbers are equal; None if that takes a parser.

    `tolerances` are absolute. With one, numbers that differ by no more are equal.

    >>> compare_text(read("0.5", is_gold=True), read("1/2"))
    True
    """
    if not answer.whole or (answer.condition.startswith(_BINDING) and not gold.condition):
        return False
    if _same(gold.whole, answer.whole):
        return True
    gold_text, answer_text = texts = _in_one_notation(gold, answer)
    conditions = {gold.condition, answer.condition.removeprefix(_BINDING)} - {""}
    unlike = conversion(gold.unit, answer.unit) is None and (gold.unit, answer.unit) not in _ANGLES
    unlike = unlike or not (gold.name <= answer.name or answer.name <= gold.name)
    is_one = _is_one_value(answer_text, "=" in gold_text)
    if unlike or len(conditions) > 1 or not is_one or _differ_in_kind(gold_text, answer_text):
        return False
    if (related := same_relation(gold.value, answer.value)) is not None:
        return related
    if _same(gold_text, answer_text):
        return True
    gold_text, answer_text = (_BASE_TEN.sub(r"\1", text) for text in (gold_text, answer_text))
    matrices = matrix(gold_text), matrix(answer_text)
    if matrices[0] and matrices[1]:
        return matrices[0] == matrices[1]
    if (ratio := same_ratio(gold_text, answer_text)) is not None:
        return ratio
    based = [_BASED.fullmatch(text) for text in (gold_text, answer_text)]
    if any(based):
        return based[0] is not None and based[1] is not None and based[0].groups() == based[1].groups()
    if number(gold_text) is not None and _CALCULATION.fullmatch(answer_text):
        answer_text = answer_text.rpartition("=")[2]
    gold_number, answer_number = _numbers(gold_text, answer_text)
    if gold_number is not None and answer_number is not None:
        if modulus := re.fullmatch(r"mod([1-9]\d{0,15})", "".join(conditions)):
            return (answer_number - gold_number) % int(modulus[1]) == 0
        if tolerances:
            return abs(answer_number - gold_number) <= tolerances[0] * 1.01
        return same_number(gold_number, answer_number)
    percents = [number(re.sub(r"\\?%$", "", text)) if text.endswith("%") else None for text in (gold_text, answer_text)]
    if percents[1] is not None and gold_number is not None:
        # The gold of "what percentage" often has no sign: 16 of 6,541 published right answers, and no wrong one, are
        # read so. But 0.5 is 50%, so it is not 0.5%.
        return gold_number == percents[1] / 100 or (gold_number == percents[1] and abs(gold_number) > 1)
    for percent, other in ((percents[0], answer_number), tuple(percents)):
        if percent is not None and other is not None:
            return other == percent or (None in percents and other == percent / 100)
    if (gold_number is None) != (answer_number is None) and "," in gold_text and "," in answer_text:
        return False  # 1,000 is not the list 1, 0
    pieces = _pieces(gold, answer, texts)
    if len(pieces[0]) > 1 or len(pieces[1]) > 1:
        return False if not same_words(*pieces) else True if all(map(_same, *pieces)) else None
    names = [re.match(r"[A-Za-z](?==)", text) for text in (gold_text, answer_text)]
    if names[0] and names[1] and names[0].group() != names[1].group():
        return None
    if len(tolerances) < 2 and (close := near(constant(gold_text), constant(answer_text), *tolerances)) is not None:
        return close
    return None if tolerances else compare_lists(gold_text, answer_text)


def _numbers(gold: str, answer: str) -> tuple[Fraction | None, Fraction | None]:
    """The two values as `number` reads them. Beside a gold of 2.74, "2,74" has a decimal comma; "1,2" is a list."""
    decimal_comma = "." in gold and _DECIMAL_COMMA.fullmatch(answer)
    return number(gold), number(answer.replace(",", ".") if decimal_comma else answer)


def _same(gold: str, answer: str) -> bool:
    """Whether two texts are the same. Case does not matter in words, but it does in variables and commands."""
    if gold == answer:
        return True
    if gold.lower() != answer.lower() or "\\" in gold:
        return False
    words = [re.findall(r"[A-Za-z]+", text) for text in (gold, answer)]
    shortest = 2 if max(map(len, words[0]), default=0) > 3 else 3
    return all(one == other or _same_word(one, other, shortest) for one, other in zip(*words, strict=True))


def _same_word(one: str, other: str, shortest: int) -> bool:
    """Whether two spellings that differ in case are one word: Yes and yes, but not xyz and xyZ, or ABC and abc."""
    for word in (one, other):
        if (len(word) < shortest and word.lower() != "no") or not (word.islower() or word.istitle() or word.isupper()):
            return False
        if len(word) == 3 and word.isupper() and not re.search("[AEIOU]", word[1:]):
            return False
    return True


def _is_one_value(text: str, is_equation: bool) -> bool:
    """Whether the numbers in "x = 4/6 = 2/3" agree, up to rounding; of x, y and z, a value equals no more than one."""
    parts = sides(text)
    values = [value.approximate for part in parts if (value := constant(part)) is not None]
    unknowns = set(re.findall(r"(?<![A-Za-z\\])[xyz](?![A-Za-z])", text)) if len(parts) > 2 else set[str]()
    close = all(abs(value - values[0]) <= abs(values[0]) / 50 for value in values)
    return len(parts) == 1 or (close and (is_equation or len(unknowns) < 2))


def _differ_in_kind(gold: str, answer: str) -> bool:
    """Whether two texts can only be different: two words, a date or ratio and a number, a set and a tuple, ..."""
    gold_words, answer_words = (len(re.findall(r"(?<![\\A-Za-z])[A-Za-z]{3,}", text)) for text in (gold, answer))
    if answer_words > 8 >= gold_words:
        return True
    if number(gold) is not None and (answer_words >= 3 or _NO_NUMBER.search(answer)):
        return True
    if all(re.fullmatch(r"[A-Za-z]{4,}(?: [A-Za-z]+)*|[A-Za-z]", text) for text in (gold, answer)):
        return gold.lower() != answer.lower() or (len(gold) == 1 and gold != answer)
    letters = [re.fullmatch(r"[A-Za-z]{2,40}", text) is not None for text in (gold, answer)]
    if all(letters) and sorted(gold.lower()) != sorted(answer.lower()):
        return True
    if any(letters) and (number(gold) is not None or number(answer) is not None):
        return True
    if all(re.fullmatch(r"[A-Z]{3,}|[IVX]{2}", text) for text in (gold, answer)):
        return gold != answer  # words, lists of points and Roman numbers, not products
    if any(re.fullmatch(r"\d{4}-\d\d?-\d\d?", text) for text in (gold, answer)):
        return gold != answer
    if any(
        one.startswith("\\{") and re.fullmatch(r"[(\[][^()\[\]]*[)\]]", other)
        for one, other in ((gold, answer), (answer, gold))
    ):
        return True
    return re.fullmatch(r"\d+:\d+", answer) is not None and re.fullmatch(r"-?\d+", gold) is not None
