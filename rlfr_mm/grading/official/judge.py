"""Which answer a benchmark's judge model would most likely read in a response. Only `official` rules guess like this.

These are rules of thumb that are not tuned to single answers: the text after "the answer is", the option whose text
the answer begins with, the option that is mentioned last. The `strict` rules are in `strict.extract` and
`strict.choices`.
"""

import re
from collections.abc import Sequence

from rlfr_mm.grading.item import Found, Item
from rlfr_mm.grading.strict.boxes import last_boxed
from rlfr_mm.grading.strict.choices import LETTERS, continues_list, letter_of
from rlfr_mm.grading.strict.extract import last_answer_tag, last_conclusion, plain_text, tails
from rlfr_mm.grading.strict.rules import options_of

_STATEMENT = re.compile(
    r"(?:(?<!other )\b(?:answer|option|choice|conclusion|solution|result)s?(?: letter)?\*{0,2}"
    r"(?: (?:to|for|of) [^.\n:]{1,80}?)?(?: (?:is|are|would be|should be|will be|must be|becomes)\b:?|:|=)"
    r"|答案(?:是|为|：|:)|####)[\s*:]*",
    re.IGNORECASE,
)
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s+[A-Z\"(*]|\s*$)|。")
_NOUN = r"(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ff]igure|[Dd]iagram|[Ii]mage|[Ss]et|[Bb]ox|[Ss]hape)"
_DECLARED = re.compile(rf"\b{_NOUN} \(?([{LETTERS}])\)? is (?:the )?(?:correct|right|only|best|answer)")
_BRACKETED = re.compile(rf"\(([{LETTERS}])\)|\b(?:{_NOUN}|labeled) \"?([{LETTERS}])\b(?! [a-z])")
_BARE = re.compile(rf"\b([{LETTERS[1:8]}])\b")
_REFUSAL = re.compile(
    r"\b(?:none of the|cannot|can't|sorry)\b|\bnot? (?:be )?(?:possible|provided?|given|determined?|enough|match)",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|no|incorrect|wrong|neither)\b|n't\b", re.IGNORECASE)
_LESS = re.compile(r"\b(?:less|fewer|smaller|lower|shorter|below|lowest|least|smallest|minimum)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\b(?:more|greater|larger|higher|bigger|longer|above|highest|most|largest|maximum)\b", re.IGNORECASE
)


def find_or_guess(item: Item, several: bool = False) -> Found | None:
    """The option letter, or letters if `several`, that a judge would most likely read in the response."""
    options = options_of(item)
    return likely_choice(item.response, options, several) or guess_choice(item.response, options, several)


def statements(text: str) -> list[str]:
    """The text after each of the last 50 "the answer is", up to the end of its sentence, in order."""
    return [_SENTENCE_END.split(tail, maxsplit=1)[0].strip() for tail in tails(_STATEMENT, text)]


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text that contain a letter or digit."""
    return [part.strip() for part in _SENTENCE_END.split(text) if re.search(r"\w", part)]


def last_sentence(text: str) -> str:
    """The last of the `sentences`, or an empty string."""
    return (sentences(text[-2000:]) or [""])[-1]


def likely_choice(response: str, choices: Sequence[str] = (), several: bool = False) -> Found | None:
    """The option that the response states as its answer, by letter or by its text; None if it states none.

    The first of these counts: answer tag, conclusion, box, a response of under 400 characters, its last line, "option B
    is correct", the text after "the answer is" (the last one first), a first word "yes" or "no". `several` allows
    answers of more than one letter. The letter may lie beyond the choices.
    """
    for method, text in _final_texts(response):
        letters = _named(plain_text(text), choices, several)
        if letters:
            return Found(letters, method)
    first = re.match(r"\W*(yes|no)\b", response, re.IGNORECASE)
    keys = [_key(choice) for choice in choices]
    if first and first.group(1).lower() in keys:
        return Found(letter_of(keys.index(first.group(1).lower())), "first word")
    return None


def guess_choice(response: str, choices: Sequence[str] = (), several: bool = False, question: str = "") -> Found | None:
    """The option that is mentioned last in the conclusion, else in the last sentence, else in the whole response.

    - Between "yes" and "no", a first sentence that denies, or that says "less" if the question says "more", means "no".
    - None if the response says that no option fits or that it cannot tell.
    """
    if refuses(response):
        return None
    keys = [_key(choice) for choice in choices]
    if sorted(keys) == ["no", "yes"]:
        said = (sentences(response) or [""])[0]
        less, more = bool(_LESS.search(said)), bool(_MORE.search(said))
        asked_less, asked_more = bool(_LESS.search(question)), bool(_MORE.search(question))
        opposed = less != more and asked_less != asked_more and less != asked_less
        asks_back = bool(re.match(r"[^.!?\n]*\?", response))
        answer = "no" if asks_back or bool(_NEGATION.search(said)) != opposed else "yes"
        return Found(letter_of(keys.index(answer)), "polarity of first sentence")
    for method, text in (
        ("conclusion", last_conclusion(response)),
        ("last sentence", last_sentence(response)),
        ("response", response),
    ):
        letters = None if text is None else _mentioned(plain_text(text), choices, several)
        if letters:
            return Found(letters, f"mentioned in {method}")
    return None


def stated_text(response: str) -> Found | None:
    """The text of the answer tag, conclusion, box, or "the answer is" in the last sentence; None without any."""
    said = statements(last_sentence(response))
    for method, text in (
        ("answer tag", last_answer_tag(response)),
        ("conclusion", last_conclusion(response)),
        ("boxed", last_boxed(response)),
        ("statement", said[-1] if said else None),
    ):
        if text:
            return Found(plain_text(text), method)
    return None


def refuses(response: str) -> bool:
    """Whether the end of the response says that no option fits or that it cannot tell."""
    return bool(_REFUSAL.search(response[-300:]))


def _final_texts(response: str) -> list[tuple[str, str]]:
    tagged = last_answer_tag(response)
    if tagged is not None:  # the response marks its answer, so nothing else is one
        return [("answer tag", tagged), *(("answer tag+boxed", box) for box in [last_boxed(tagged)] if box)]
    declared = _DECLARED.findall(response)
    texts = [
        ("conclusion", last_conclusion(response)),
        ("boxed", last_boxed(response)),
        ("response", response if len(response) < 400 else None),
        ("last line", _answering_last_line(response)),
        ("declared", declared[-1] if declared else None),
        # a statement before the box is not the last word
        *(("statement", statement) for statement in reversed(statements(response[max(response.rfind("boxed{"), 0) :]))),
    ]
    return [(method, text) for method, text in texts if text]


def _answering_last_line(response: str) -> str | None:
    """The last line, unless it rules an option out or is part of a list of the options."""
    lines = [line for line in response[-2000:].splitlines() if line.strip()][-2:]
    if not lines or re.search(r"\bincorrect\b|\bnot correct\b|\bwrong\b", lines[-1]):
        return None
    return None if len(lines) == 2 and continues_list(lines) else lines[-1]


def _key(text: str) -> str:
    """An option text in the form in which it is compared: lower case, no spaces, degree signs or final full stop."""
    text = re.sub(r"\^?\{?\\circ\}?|°|\bdegrees?\b", "", plain_text(text))
    return re.sub(r"\s+", "", re.sub(r"(\d)\.0+(?!\d)", r"\1", text)).lower().rstrip(".")


def _named(text: str, choices: Sequence[str], several: bool) -> str | None:
    """The letters that a statement of the answer begins with, else the option whose text it begins with."""
    key, keys = _key(text), [_key(choice) for choice in choices]
    # if the options are letters themselves, such as "(e)", a capital letter does not match their text
    if keys.count(key) == 1 and (not re.fullmatch(r"\(?[a-i]\)?", key) or text.strip(" .") in choices):
        return letter_of(keys.index(key))
    text = re.sub(rf"^(?:[Tt]he )?(?:correct |final |best )?{_NOUN}s?\b[ :]*", "", text)
    group = re.match(rf"\(?[{LETTERS}]\)?(?:\s*(?:(?:,|and|&|;)\s*)+\(?[{LETTERS}]\)?)+(?![A-Za-z])", text)
    run = re.fullmatch(rf"\(?([{LETTERS}]{{2,}})\)?\.?", text)
    listed = group.group() if group else run.group(1) if run and len(set(run.group(1))) == len(run.group(1)) else ""
    if listed:
        letters = set(re.findall(f"[{LETTERS}]", listed))
        return "".join(sorted(letters)) if several or len(letters) == 1 else None
    # "(B) ...", "B. ...", "B) ...", "B: ..." and "B" alone; the A of "A dog" is not an option letter.
    letter = re.match(
        rf"\(([{LETTERS}])\)|([{LETTERS}])(?=\s*[).:,;=]|\s*$|\s+[(\"]|\s+(?:because|since|as|which)\b)", text
    )
    if letter:
        return letter.group(1) or letter.group(2)
    lower = re.fullmatch(rf"\(?([{LETTERS.lower()}])[.)]*", text)
    if lower:
        return lower.group(1).upper()
    begins = [index for index, option in enumerate(keys) if len(option) > 1 and _begins_with(key, option)]
    return letter_of(max(begins, key=lambda index: len(keys[index]))) if begins else None


def _begins_with(key: str, option: str) -> bool:
    """Whether the key begins with the option; a number does not begin a longer number."""
    return key.startswith(option) and not (option[-1].isdigit() and re.match(r"[\d.]*\d", key[len(option) :]))


def _mentioned(text: str, choices: Sequence[str], several: bool) -> str | None:
    """The option mentioned last, looking for long option texts first, then letters in brackets or after a noun, short
    texts, and bare letters. With `several`, all letters of the first kind found."""
    text = re.sub(r"(\d)\.0+(?!\d)", r"\1", text)
    spelled = [
        (match.end(), len(match.group()), letter_of(index))
        for index, choice in enumerate(choices)
        for match in re.finditer(rf"(?<![\w.]){re.escape(plain_text(choice).lower())}(?![\w])(?!\.\d)", text.lower())
        if match.group()
    ]
    long_spelled = [where for where in spelled if where[1] > 3]
    if long_spelled:
        return max(long_spelled)[2]
    for pattern in (_BRACKETED, _BARE):
        if pattern is _BARE and spelled:
            return max(spelled)[2]
        found = ["".join(match.groups("")) for match in pattern.finditer(text)]
        if found:
            return "".join(sorted(set(found))) if several else found[-1]
    return None
