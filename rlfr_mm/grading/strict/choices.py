"""Which option a response states as its answer. Nothing is guessed: text that only begins like an option is not one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

from rlfr_mm.grading.item import Found
from rlfr_mm.grading.strict.extract import final_part, plain_text, stated, trimmed
from rlfr_mm.grading.strict.notation import latex, tidy
from rlfr_mm.grading.strict.units import agree, measured
from rlfr_mm.grading.strict.values import number

LETTERS = "ABCDEFGHI"  # the option letters that are read; LogicVista's questions go up to I
_NOUN = r"(?:option|choice|answer|figure|diagram|image|picture|set|box|shape)"
# the text leaves the answer open, or says what it is not
_OPEN = re.compile(
    r"\b(?:or|not|nor|neither|either|between|wrong|incorrect|impossible|cannot|unclear|unknown|false)\b|n't\b|\?|不|错",
    re.IGNORECASE,
)
# after a letter: the option is ruled out, or another letter is named beside it
_RULED_OUT = re.compile(
    r"\b(?:wrong|incorrect|impossible|false|(?:is|are)(?: not|n't) (?:it|correct|right|possible|the)|too [a-z]+)\b|\?"
    rf"|\b(?:or|nor|and|not) \(?(?:option )?[{LETTERS}](?:\)|\b(?! [a-z]))",
    re.IGNORECASE,
)
# "option B is correct", "C is the answer", and at the very end "it is option C", "so D"
_DECLARED = re.compile(
    rf"(?:(?i:\b{_NOUN}) [(*]*|^[\s(*]*)([{LETTERS}])[)*]* is (?:the )?(?:only )?"
    r"(?:correct|right|best|answer)\b[^.?\n]*\??"
    rf"|\b(?:(?:is|be|choose|select|pick) (?:the )?(?i:{_NOUN})|(?i:{_NOUN})\b[^.\n]{{,80}} is)"
    rf" [(*]*([{LETTERS}])[)*.\s]*\Z"
    rf"|\b(?:[Ss]o|[Tt]hus|[Hh]ence|[Tt]herefore),? (?:it is |it's |(?i:{_NOUN}) )?[(*]*([{LETTERS}])[)*.\s]*\Z",
    re.MULTILINE,
)
_PREFIX = re.compile(
    rf"^(?:so |therefore,? )?(?:the )?(?:correct |final |best )?(?:{_NOUN}s?|both)\b(?: is\b)?[ :]*", re.IGNORECASE
)
_SUFFIX = re.compile(
    r" (?:is|are) (?:both )?(?:the )?(?:correct|right)(?: (?:answers?|options?|choices?|ones?))?$|是?正确的?$"
)
_LETTER = rf"[(\[{{'\"]*([{LETTERS}])[)\]}}'\"]*"
_SEVERAL = re.compile(rf"{_LETTER}(?:[ \t]*(?:[,;&\n]|and\b)[\s,;&]*(?:and\b\s*)?{_LETTER})*\.?")
_RUN = re.compile(rf"[{LETTERS}]{{2,}}")
_FIRST = re.compile(rf"{_LETTER}(?:\s*$|\s*[.:,;=)]+(?=\s|$|[^A-Za-z])|(?<=[)\]}}])(?=\s)|\s+(?=[(\"]))")


def letter_of(index: int) -> str:
    """The letter of an option: A for index 0, B for 1, and so on."""
    return chr(ord("A") + index)


def letters_in(text: str) -> str:
    """The letters, sorted, of a text that consists of option letters only, such as "(B), D"; empty for other text."""
    text = plain_text(text)
    return "".join(sorted(re.findall(f"[{LETTERS}]", text))) if _SEVERAL.fullmatch(text) else ""


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

    A statement that leaves the choice open, such as "B or C", ends the search. `several` allows answers of more than
    one letter. The letter may lie beyond the choices.

    >>> find_choice("The answer is 5.", ("3", "5"))
    Found(answer='B', method='statement')
    """
    texts = stated(response)
    for method, text in texts:
        letters = read_choice(text, choices, several)
        if letters:
            return Found(letters, method)
        if _OPEN.search(plain_text(text)[:80]) or len(re.findall(rf"\b[{LETTERS[1:]}]\b", text)) > 1:
            return None
    if texts and texts[0][0].startswith("answer tag"):
        return None
    text = final_part(response).strip()
    lines = [line for line in text[-2000:].splitlines() if line.strip()]
    last_line = lines[-1] if len(lines) > 1 and not continues_list(lines[-2:]) else ""
    for method, text_ in (("response", text if len(text) < 400 else ""), ("last line", last_line)):
        letters = read_choice(text_, choices, several, bare=True)
        if letters:
            return Found(letters, method)
    declared = list(_DECLARED.finditer(text[-2000:]))
    if declared:
        letter = next(filter(None, declared[-1].groups()[:3]))
        return None if _OPEN.search(declared[-1].group()) else Found(letter, "declared")
    polar = _yes_or_no(text, choices)
    return None if polar is None else Found(polar, "first word")


def _yes_or_no(text: str, choices: Sequence[str]) -> str | None:
    """The option "yes" or "no" if the text begins with that word as a clause and does not contain the other one."""
    first = re.match(r"\W*(yes|no)(?=[,.;!]|\s*$)", text, re.IGNORECASE)
    keys = [_option(choice).key for choice in choices] if first else []
    if first is None or not {"yes", "no"}.issuperset(keys) or first.group(1).lower() not in keys:
        return None
    word = first.group(1).lower()
    other = "no" if word == "yes" else "yes"
    return None if re.search(rf"\b{other}\b", text, re.IGNORECASE) else letter_of(keys.index(word))


def continues_list(lines: Sequence[str]) -> bool:
    """Whether these two lines are part of a list of the options."""
    before, last = (re.match(rf"[\W_]*([{LETTERS}])[).:]", line) for line in lines)
    return bool(before and last and before.group(1) < last.group(1))


@dataclass(frozen=True)
class _Option:
    """An option text, or a text that may be one, in the form in which it is compared."""

    key: str  # tidy, in lower case, without spaces and degree signs
    value: Fraction | str  # without the unit; a number as its value
    unit: str
    word: str  # a single word without its article and plural ending; else empty


@lru_cache(maxsize=4096)
def _option(text: str) -> _Option:
    value, unit = measured(latex(plain_text(text)))
    word = re.fullmatch(r"(?:an? |the )?([a-z]{3,}?)s?", plain_text(text).lower().strip(" ."))
    numeric = number(tidy(value))
    return _Option(_key(text), _key(value) if numeric is None else numeric, unit, word.group(1) if word else "")


def _key(text: str) -> str:
    text = re.sub(r"\^?\{?\\circ\}?|\bdegrees?\b", "", tidy(text))
    text = re.sub(r"(?<![\w}])(\d+)/(\d+)(?![\w/])", r"\\frac{\1}{\2}", text)
    text = re.sub(r"(?<=[\d}])\\times(?=\\)", "", re.sub(r"(\d\.\d*?)0+(?!\d)", r"\1", text))
    return re.sub(r"[\s*]+|(?<=\d)\.(?!\d)", "", text).lower().rstrip(".")


def _matching(text: str, choices: Sequence[str]) -> str | None:
    """The letter of the one option that the text spells out; a missing unit or article does not matter."""
    said, options = _option(text), [_option(choice) for choice in choices]
    keys = [option.key for option in options]
    if not said.key:
        return None
    if said.key in keys:
        # if the options are letters themselves, such as "(e)", a capital letter does not match their text
        alone = re.fullmatch(r"\(?[a-i]\)?", said.key) and text.strip(" .") not in choices
        return None if alone else letter_of(keys.index(said.key))
    near = [
        letter_of(index)
        for index, option in enumerate(options)
        if (option.value == said.value and agree(option.unit, said.unit)) or option.word == said.word != ""
    ]
    return near[0] if len(near) == 1 else None


def read_choice(text: str, choices: Sequence[str] = (), several: bool = False, bare: bool = False) -> str | None:
    """The letters that a statement consists of, or the letter of the one option whose text it is; None otherwise.

    After a letter there may be its option's text, or an explanation that rules nothing out. The latter is not allowed
    in a `bare` line, which might be part of a list or of the reasoning.
    """
    whole = plain_text(text)
    text = trimmed(whole)
    spelled = _matching(whole, choices) or _matching(text, choices)
    if spelled:
        return spelled
    text = _SUFFIX.sub("", _PREFIX.sub("", text))
    found = "".join(sorted(text)) if _RUN.fullmatch(text) else letters_in(text)
    if found:
        letters = "".join(sorted(set(found)))
        return letters if (several and letters == found) or len(letters) == 1 else None
    first = _FIRST.match(text)
    if first:
        rest = text[first.end() :].strip(' .)("')
        own = _matching(rest, choices) if rest else first.group(1)
        stands = own is None and not (bare and choices) and not _RULED_OUT.search(rest)
        return first.group(1) if own == first.group(1) or stands else None
    behind = re.fullmatch(rf"([^()]+) \(([{LETTERS}])\)", text)
    if behind and not bare and not _RULED_OUT.search(text):
        return behind.group(2) if _matching(behind.group(1), choices) in (behind.group(2), None) else None
    lower = re.fullmatch(rf"\(?([{LETTERS.lower()}])[.)]*", text)
    if lower:
        return lower.group(1).upper()
    return _matching(text, choices) or (None if bare else _yes_or_no(text, choices))
