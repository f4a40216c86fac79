"""Which option a response states as its answer. Nothing is guessed: text that only begins like an option is not one."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from fractions import Fraction
from functools import lru_cache

from rlfr_mm.grading.item import LONGEST_ANSWER, Found
from rlfr_mm.grading.strict.doubt import denied, taken_back
from rlfr_mm.grading.strict.extract import final_part, plain_text, stated, trimmed
from rlfr_mm.grading.strict.notation import latex, tidy
from rlfr_mm.grading.strict.units import agree, measured
from rlfr_mm.grading.strict.values import number

LETTERS = "ABCDEFGHI"  # the option letters that are read; LogicVista's questions go up to I
_NOUN = r"(?:option|choice|answer|figure|diagram|image|picture|set|box|shape|letter)"
# the text leaves the answer open, or says what it is not
_OPEN = re.compile(
    r"\b(?:or|not|nor|neither|either|between|wrong|incorrect|impossible|cannot|unclear|unknown|false|unless|maybe"
    r"|perhaps|possibly|though|although)\b|n't\b|\?|不|错",
    re.IGNORECASE,
)
# after a letter: the option is ruled out, or another letter is named beside it
_RULED_OUT = re.compile(
    r"\b(?:wrong|incorrect|impossible|false|(?:is|are)(?: not|n't) (?:it|correct|right|possible|the)|too [a-z]+)\b|\?"
    rf"|\b(?:or|nor|and|not) \(?(?:option )?[{LETTERS}](?:\)|\b(?! [a-z]))",
    re.IGNORECASE,
)
# after a letter: the sentence goes on, so that this is no option's text
_GOES_ON = re.compile(
    r"(?:or|and|but|maybe|perhaps|possibly|probably|actually|no|wait|also|else|unless|though|although|if|then|is|are|was"
    r"|were|could|might|may|should|would|with|being|as|for|than|plus|minus|sorry|hmm|hold|correction|correct|likely"
    r"|certain)\b|[-+*/^_=<>≤≥≠≈'′!%]",
    re.IGNORECASE,
)
# another option: "(B)", "B.", or at the very end "B" that is not the name of a thing, as in "point B"
_ANOTHER = re.compile(
    rf"[(\[{{][{LETTERS}][)\]}}]|(?<![\w\\'])[{LETTERS}][.:)](?=\s|$)"
    rf"|(?i:(?<!point)(?<!angle)(?<!line)(?<!region)(?<!vertex)(?<!type)(?<!group)(?<!vitamin)) [{LETTERS}]$"
)
# "option B is correct", "C is the answer", and at the very end "it is option C", "so D"
_DECLARED = re.compile(
    rf"(?:(?i:\b{_NOUN}) [(*]*|(?:^|, )[ \t(*]*)([{LETTERS}])[)*]* is (?:the )?(?:only )?"
    r"(?:correct|right|best|answer)\b[^.?\n]*\??"
    rf"|\b(?:(?:is|be|choose|select|pick) (?:the )?(?i:{_NOUN})"
    r"|I(?: would| will|'ll|'d)? (?:choose|select|pick|go with)|I(?:'m| am) (?:choosing|selecting|picking|going with)"
    rf"|(?i:{_NOUN})\b[^.\n]{{,80}} is)"
    rf" [(*]*([{LETTERS}])[)*.\s]*\Z"
    rf"|\b(?:[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore),? (?:it is |it's |(?i:{_NOUN}) )?[(*]*([{LETTERS}])[)*.\s]*\Z"
    rf"|(?:\A|因此|所以|故|综上(?:所述)?),?(?:选?项)?([{LETTERS}])选?项?是?正确的?[。.\s]*\Z",
    re.MULTILINE,
)
_PREFIX = re.compile(
    rf"^(?:so |therefore,? )?(?:it is |it's )?(?:(?:the )?(?:correct |final |best )?(?:{_NOUN}s?|both)\b"
    r"(?: is\b)?[ :]*)?",
    re.IGNORECASE,
)
_SUFFIX = re.compile(
    r" (?:is|are) (?:both )?(?:the )?(?:correct|right)(?: (?:answers?|options?|choices?|ones?))?$|是?正确的?$"
)
_LETTER = rf"[(\[{{]*([{LETTERS}])[)\]}}]*"
_SEVERAL = re.compile(rf"{_LETTER}(?:[ \t]*(?:[,;&\n]|and\b)[\s,;&]*(?:and\b\s*)?{_LETTER})*\.?")
_RUN = re.compile(rf"[{LETTERS}]{{2,}}")
# a letter and what sets it apart from what follows it; the letter may be small, as in "b. 4" and "(b) 4"
_FIRST = re.compile(
    rf"(?:{_LETTER}(?:\s*$|\s*[.:)]+\s*|\s+[-–—]\s+|\s*[,;=]\s*|(?<=[)\]}}])\s*|\s+(?=[(\"])|(?=\())"
    rf"|\(([{LETTERS.lower()}])\)\s*|([{LETTERS.lower()}])[.)]\s+)"
)
_UNDETERMINED = re.compile(
    r"(?:(?:so|thus|hence|therefore),? )?(?:that )?(?:(?:the )?(?:answer|it|this) )?(?:cannot|can't|can not) be "
    r"determined"
    r"(?: (?:from|with|by) (?:the )?(?:given )?information(?: given| provided)?)?\.?",
    re.IGNORECASE,
)
_CLAUSE_END = re.compile(r"[,;]\s+|\.\s+|\s[-–—]\s")
_NAMED_VALUE = re.compile(rf"(?![{LETTERS}]\s{{0,3}}=)(?:[^=<>≤≥≠≈,;?\n]{{1,60}}=)+([^=<>≤≥≠≈,;?\n]+)")


def letter_of(index: int) -> str:
    """The letter of an option: A for index 0, B for 1, and so on."""
    return chr(ord("A") + index)


def letters_in(text: str) -> str:
    """The letters, sorted, of a text that consists of option letters only, such as "(B), D"; empty for other text."""
    text = plain_text(text)
    return "".join(sorted(re.findall(f"[{LETTERS}]", text))) if _SEVERAL.fullmatch(text) else ""


def without_labels(options: Sequence[str]) -> tuple[str, ...]:
    """The option texts without their own labels, if each of them has its letter as one.

    >>> without_labels(["(A) 1", "(B) 2"])
    ('1', '2')
    """
    labels = [
        re.match(rf"\s*(?:\({letter_of(i)}\)|{letter_of(i)}[.):])\s*(?=\S)", text) for i, text in enumerate(options)
    ]
    texts = [text[label.end() :].strip() for label, text in zip(labels, options, strict=True) if label]
    return tuple(texts) if len(texts) == len(options) else tuple(options)


def listed_options(question: str) -> tuple[str, ...]:
    """The option texts of a question that ends in "(A) first (B) second ..."; empty if it lists no options in order."""
    parts = re.split(r"\(([A-Z])\)", question)
    letters, texts = parts[1::2], parts[2::2]
    if len(letters) < 2 or letters != [letter_of(i) for i in range(len(letters))]:
        return ()
    return tuple(text.strip(" \t\n,;") for text in texts)


def find_choice(response: str, choices: Sequence[str] = (), several: bool = False) -> Found | None:
    """The letters, sorted, of the option that a response states by letter or by its whole text; None if it states none.

    The first of these counts:
    1. a text in which the response states its answer (`extract.stated`);
    2. the response, or its last line, if that is only an option;
    3. "option B is correct";
    4. a first word "yes" or "no".

    A statement that leaves the choice open, such as "B or C", ends the search, and so does a number that is not an
    option. `several` allows answers of more than one letter. The letter may lie beyond the choices.

    >>> find_choice("The answer is 5.", ("3", "5"))
    Found(answer='B', method='statement', span=(14, 15))
    """
    places = stated(response)
    for place in places:
        letters = read_choice(place.answer, choices, several)
        if letters:
            return replace(place, answer=letters)
        left_open = _OPEN.search(plain_text(place.answer)[:80])
        if left_open or len(re.findall(rf"\b[{LETTERS[1:]}]\b", place.answer)) > 1:
            return None
        if choices and "statement" in place.method and number(tidy(trimmed(place.answer))) is not None:
            return None
    if places and places[0].method.startswith("answer tag"):
        return None
    text, offset = final_part(response)
    for method, start, end in _bare_places(text):
        letters = read_choice(text[start:end], choices, several, bare=True)
        if not letters and method == "response":
            letters = _named_value(text[start:end].rstrip("."), choices)
        if letters:
            return Found(letters, method, (start + offset, end + offset))
    begin = max(0, len(text.rstrip()) - 2000)
    declared = list(_DECLARED.finditer(text.rstrip(), begin))
    if declared:
        last = declared[-1]
        group = last.lastindex or 0
        doubtful = _OPEN.search(last.group()) or denied(text[: last.start()]) or taken_back(text[last.end() :])
        span = last.start(group) + offset, last.end(group) + offset
        return None if doubtful else Found(last.group(group), "declared", span)
    polar = _yes_or_no(text, choices)
    word = re.search(r"[A-Za-z]+", text)
    return Found(polar, "first word", (word.start() + offset, word.end() + offset)) if polar and word else None


def _bare_places(text: str) -> Iterator[tuple[str, int, int]]:
    """The whole text if it is short, and its last line unless that continues a list: ("response", start, end)."""
    end = len(text.rstrip())
    start = len(text) - len(text.lstrip())
    if start < end and end - start < 400:
        yield "response", start, end
    lines = [line for line in text[max(0, end - 2000) : end].splitlines() if line.strip()]
    if len(lines) > 1 and not continues_list(lines[-2:]):
        yield "last line", end - len(lines[-1].strip()), end


def _yes_or_no(text: str, choices: Sequence[str]) -> str | None:
    """The option "yes" or "no" if the text begins with that word as a clause, and without doubt or the other word."""
    first = re.match(r"\W*(yes|no)(?=[,.;!]|\s*$)", text, re.IGNORECASE)
    keys = [_option(choice).key for choice in choices] if first else []
    if first is None or not {"yes", "no"}.issuperset(keys) or first.group(1).lower() not in keys:
        return None
    word = first.group(1).lower()
    other = "no" if word == "yes" else "yes"
    doubtful = re.search(rf"\b(?:{other}|maybe|perhaps|possibly|unless|not sure|unsure)\b", text, re.IGNORECASE)
    return None if doubtful else letter_of(keys.index(word))


def continues_list(lines: Sequence[str]) -> bool:
    """Whether these two lines are part of a list of the options."""
    before, last = (re.match(rf"[\W_]*([{LETTERS}])[).:]", line) for line in lines)
    return bool(before and last and before.group(1) < last.group(1))


@dataclass(frozen=True)
class _Option:
    """An option text, or a text that may be one, in the form in which it is compared."""

    cased: str  # tidy, without spaces and degree signs
    key: str  # the same in lower case, unless it is a formula
    value: Fraction | str  # without the unit; a number as its value
    unit: str
    word: str  # a single word without its article and plural ending; else empty


@lru_cache(maxsize=4096)
def _option(text: str) -> _Option:
    value, unit = measured(latex(plain_text(text)))
    word = re.fullmatch(r"(?:an? |the )?([a-z]{3,}?)s?", plain_text(text).lower().strip(" ."))
    numeric = number(tidy(value))
    return _Option(
        _cased(text), _key(text), _key(value) if numeric is None else numeric, unit, word.group(1) if word else ""
    )


def _cased(text: str) -> str:
    text = re.sub(r"\^?\{?\\circ\}?|\bdegrees?\b", "", tidy(text))
    text = re.sub(r"([_^])\{(\w)\}", r"\1\2", text.replace("\\%", "%"))  # 25\\% is 25%, and x^{2} is x^2
    text = re.sub(r"(?<![\w}])((?:\d+\*?)?\\pi|\d+)/(\d+)(?![\w/])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=\d)\\(?:times|cdot)(?=\d)", "*", re.sub(r"(?<=[\d}])\\times(?=\\)", "", text))
    text = re.sub(r"(\d\.\d*?)0+(?!\d)", r"\1", text)
    return re.sub(r"\s+|(?<!\d)\*|\*(?!\d)|(?<=\d)\.(?!\d)", "", text).rstrip(".")  # 3*4 is not 34


def _key(text: str) -> str:
    measure, cased = re.fullmatch(r"[\d.,]{1,20} [A-Za-z]", text.strip()), _cased(text)
    words = re.search(r"[A-Za-z]{2}", re.sub(r"\\[A-Za-z]+", "", cased))
    return cased if re.search(r"\d|[-+=^]", cased) and not measure and not words else cased.lower()  # 2X is not 2x


def _matching(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option that the text spells out; a missing unit or article does not matter.

    Neither does case, unless options differ in nothing else.
    """
    said, options = _option(text), [_option(choice) for choice in choices]
    if not said.key:
        return None
    for key, keys in ((said.cased, [one.cased for one in options]), (said.key, [one.key for one in options])):
        if key in keys:
            # if the options are letters themselves, such as "(e)", a capital letter does not match their text
            alone = re.fullmatch(r"\(?[a-i]\)?", said.key) and text.strip(" .") not in choices
            alike = {choice.strip() for choice, other in zip(choices, keys, strict=True) if other == key}
            return None if alone or len(alike) > 1 else letter_of(keys.index(key))
    near = [
        letter_of(index)
        for index, option in enumerate(options)
        if (option.value == said.value and agree(option.unit, said.unit)) or option.word == said.word != ""
    ]
    return near[0] if len(near) == 1 else None


def read_choice(text: str, choices: Sequence[str] = (), several: bool = False, bare: bool = False) -> str | None:
    """The letters that a statement consists of, or the letter of the one option whose text it is; None otherwise.

    The whole statement must read as the option. After a letter there may be its option's text and nothing else; if the
    option texts are unknown, a text that can be one. The latter is not allowed in a `bare` line, which might be part of
    a list or of the reasoning. A name before the value, as in "x = 45", does not matter.
    """
    if len(text) > LONGEST_ANSWER:
        return None
    if all(_key(choice).strip("()") == letter_of(i).lower() for i, choice in enumerate(choices)):
        choices = ()  # the picture shows what the letters stand for
    whole = plain_text(text)
    whole = re.sub(r"^(['\"])([^'\"]*)\1$", r"\2", whole)
    text = trimmed(whole)
    spelled = _matching(whole, choices) or _matching(text, choices) or _undetermined(whole, choices)
    if spelled:
        return spelled
    text = _SUFFIX.sub("", _PREFIX.sub("", text))
    found = "".join(sorted(text)) if _RUN.fullmatch(text) else letters_in(text)
    if found:
        letters = "".join(sorted(set(found)))
        return letters if (several and letters == found) or len(letters) == 1 else None
    lower = re.fullmatch(rf"\(?([{LETTERS.lower()}])[.)]*", text)
    if lower:
        return lower.group(1).upper()
    first = _FIRST.match(text)
    if re.match(rf"[{LETTERS}]\([^()]*,", text):
        return None  # the point A(2,1)
    if first:
        letter = next(filter(None, first.groups())).upper()
        rest = text[first.end() :]
        if several and text.startswith("(") and len(letters_in(rest)) > 1:
            return letter  # of options that are sets of letters: "(B) A, B, D"
        return letter if _is_text_of(letter, first.group(), rest, choices) else None
    behind = re.fullmatch(rf"([^()]+) \(([{LETTERS}])\)", text)
    if behind and not bare and not _RULED_OUT.search(text):
        spelled = _matching(behind.group(1), choices)
        return behind.group(2) if spelled == behind.group(2) or not choices else None
    return None if bare else _named_value(text, choices) or _yes_or_no(text, choices)


def _undetermined(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option "cannot be determined" if the text says that of the answer."""
    alike = [letter_of(i) for i, choice in enumerate(choices) if _UNDETERMINED.fullmatch(plain_text(choice))]
    return alike[0] if len(alike) == 1 and _UNDETERMINED.fullmatch(text.strip()) else None


def _named_value(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the option 45 for "x = 45" or "a + b = 45"; None if options are equations themselves."""
    named = None if any("=" in choice for choice in choices) else _NAMED_VALUE.fullmatch(text)
    return _matching(named.group(1), choices) if named and not _OPEN.search(text) else None


def _is_text_of(letter: str, first: str, rest: str, choices: Sequence[str]) -> bool:
    """Whether the text after an option's letter is the option's own text; if that is unknown, whether it can be one."""
    rest = re.sub(r"^(?:i\.?e\.?|that is|namely)[,:\s]\s*", "", rest.strip(' ."')).strip()
    if not rest:
        return not first.rstrip().endswith("=")
    inside = rest[1:-1].strip() if rest.startswith("(") and rest.endswith(")") and rest.count("(") == 1 else rest
    if choices:
        readings = (_matching(rest, choices), _matching(inside, choices), _named_value(inside, choices))
        return letter in readings or letter == _explained(inside, choices)
    set_apart = inside != rest or re.search(r"[.:)\]}]\s*$|[)\]}],\s*$", first) is not None
    other = re.fullmatch(r"[\d\s,]+", inside) if inside != rest else re.fullmatch(rf"(?!{letter})[{LETTERS}]", rest)
    doubts = (_RULED_OUT, _ANOTHER) if inside != letter else ()
    return set_apart and not other and not any(doubt.search(rest) for doubt in doubts) and not _GOES_ON.match(inside)


def _explained(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option whose text this is, up to a spelling mistake, or with an explanation after it."""
    key, keys = _key(text[:200]), [_key(choice[:200]) for choice in choices]
    begun = [letter_of(i) for i, known in enumerate(keys) if len(key) >= 10 and known.startswith(key)]
    if len(begun) == 1:
        return begun[0]
    head, comma, explanation = (
        (text[: at.start()], at, text[at.end() :]) if (at := _CLAUSE_END.search(text)) else (text, None, "")
    )
    own = _matching(head, choices) if comma else None
    if (
        own
        and not any(doubt.search(explanation) for doubt in (_ANOTHER, _RULED_OUT))
        and not _GOES_ON.match(explanation)
    ):
        others = {known for i, known in enumerate(keys) if letter_of(i) != own}
        said = {_key(word) for word in re.findall(r"[\w.]+", explanation)}
        return None if others & said or re.search(rf"\b[{LETTERS[1:]}]\b", explanation) else own
    alike = [SequenceMatcher(None, key, known, autojunk=False).ratio() for known in keys]
    best = max(range(len(keys)), key=alike.__getitem__)
    near = alike[best] > 0.9 and len(key) > 12 and sorted(alike)[-2:][0] < alike[best] - 0.03
    same_digits = re.findall(r"\d+", key) == re.findall(r"\d+", keys[best])
    return letter_of(best) if near and same_digits and not _OPEN.search(text) else None
