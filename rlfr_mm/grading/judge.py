"""What a benchmark's judge model would most likely read in a response. Only the `official` rules guess so.

These are rules of thumb, tuned on no single answer: what stands behind "the answer is", the option whose text the
answer begins with, the number that concludes. The `strict` rules are in `extract` and `choices`.
"""

import re
from collections import deque
from collections.abc import Sequence

from rlfr_mm.grading.choices import LETTERS, Choice, letter_of
from rlfr_mm.grading.extract import last_answer_tag, last_boxed, last_conclusion, plain_text, words_to_number

_STATEMENT = re.compile(
    r"(?:(?<!other )\b(?:answer|option|choice|conclusion|solution|result)s?(?: letter)?\*{0,2}"
    r"(?: (?:to|for|of) [^.\n:]{1,80}?)?(?: (?:is|are|would be|should be|will be|must be|becomes)\b:?|:|=)"
    r"|答案(?:是|为|：|:)|####)[\s*:]*",
    re.IGNORECASE,
)


def statements(text: str) -> list[str]:
    """What follows each of the last 50 "the answer is", up to the end of its sentence, in the order of the text."""
    ends = deque((match.end() for match in _STATEMENT.finditer(text)), maxlen=50)
    return [_to_sentence_end(text, end) for end in ends]


_SENTENCE_END = re.compile(r"\n|[.!?](?=\s+[A-Z\"(*]|\s*$)|。")


def _to_sentence_end(text: str, start: int) -> str:
    text = text[start : start + 400]
    end = _SENTENCE_END.search(text)
    return (text[: end.start()] if end else text).strip()


def sentences(text: str) -> list[str]:
    """The sentences and lines of a text that hold a letter or digit."""
    return [part.strip() for part in _SENTENCE_END.split(text) if re.search(r"\w", part)]


def last_sentence(text: str) -> str:
    """The last of the `sentences`, empty for none."""
    return (sentences(text[-2000:]) or [""])[-1]


_NUMBER = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?:[eE][-+]?\d+)?(?!\d|,\d{3}(?!\d))")


def _numeral(text: str) -> str:
    """Without thousands separators and decimals that are all zero."""
    return re.sub(r"\.0*$", "", text.replace(",", "").replace("−", "-"))


def numbers_in(text: str) -> list[str]:
    """The numerals of a text in order, without thousands separators; "five" as "5" where there is no numeral at all."""
    found = [_numeral(match.group()) for match in _NUMBER.finditer(text)]
    if not found:
        spelled = (words_to_number(word) for word in re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()))
        found = [str(value) for value in spelled if value is not None]
    return found


def stated_number(response: str) -> tuple[str, str] | None:
    """The number that the response states as its answer, and where: answer tag, box, what follows "the answer is".

    The first number there, behind the last equals sign if there is one.
    """
    for method, text in (
        ("answer tag", last_answer_tag(response)),
        ("boxed", last_boxed(response)),
        *(("statement", statement) for statement in reversed(statements(response))),
    ):
        if text is not None:
            numbers = numbers_in(plain_text(text).rpartition("=")[2]) or numbers_in(plain_text(text))
            if numbers:
                return numbers[0], method
    return None


_CONCLUDES = re.compile(
    r"\W*(?:therefore|thus|so|hence|in conclusion|in total|finally|overall|因此|所以)\b", re.IGNORECASE
)
_ASSERTED = re.compile(
    r"(?:\b(?:is|are|was|were|be|has|have|had|equals?|contains?|about|approximately|only)|[=≈:])\s*[*$\\(]*"
    r"([-−]?\d[\d,]*(?:\.\d+)?)",
    re.IGNORECASE,
)


def guessed_number(response: str, question: str = "") -> tuple[str, str] | None:
    """The likeliest answer among the numbers of the response, and where it stands.

    What fills the question's blank; in a calculation, of the last sentence; else of a concluding sentence, else of the
    sentence that shares most words with the question, the last of equals. Numbers of the question itself come last.
    """
    for after in re.findall(r"\(?_+\)? ((?:\w+ ?){1,4})", question):
        filled = re.search(rf"(\d+) {re.escape(after)}", response)
        if filled:
            return filled.group(1), "blank"
    parts = [plain_text(part) for part in reversed(sentences(response))]
    asked, given = set(re.findall(r"[a-z]+", question.lower())), set(numbers_in(question))
    candidates = [("last sentence", part) for part in parts[:1] if "=" in response]
    candidates += [("conclusion", part) for part in parts if _CONCLUDES.match(part)]
    candidates += [("bold", part) for part in reversed(re.findall(r"\*\*([^*]+)\*\*", response))]
    parts.sort(key=lambda part: -len(asked & set(re.findall(r"[a-z]+", part.lower()))))
    for method, part in (*candidates, *(("sentence", part) for part in parts)):
        asserted = [_numeral(match) for match in _ASSERTED.findall(part)]
        numbers = [*reversed(asserted), *reversed(numbers_in(part))]
        if re.search(r"\byear\b", question):
            numbers.sort(key=lambda number: not re.fullmatch(r"(?:1[5-9]|20)\d\d", number))
        new = [number for number in numbers if number not in given]
        if numbers:
            return (new or numbers)[0], method
    return None


_NOUN = r"(?:[Oo]ption|[Cc]hoice|[Aa]nswer|[Ff]igure|[Dd]iagram|[Ii]mage|[Ss]et|[Bb]ox|[Ss]hape)"
_DECLARED = re.compile(rf"\b{_NOUN} \(?([{LETTERS}])\)? is (?:the )?(?:correct|right|only|best|answer)")
_REFUSAL = re.compile(
    r"\b(?:none of the|cannot|can't|sorry)\b|\bnot? (?:be )?(?:possible|provided?|given|determined?|enough|match)",
    re.IGNORECASE,
)
_NEGATION = re.compile(r"\b(?:not|no|incorrect|wrong|neither)\b|n't\b", re.IGNORECASE)
_LESS = re.compile(r"\b(?:less|fewer|smaller|lower|shorter|below|lowest|least|smallest|minimum)\b", re.IGNORECASE)
_MORE = re.compile(
    r"\b(?:more|greater|larger|higher|bigger|longer|above|highest|most|largest|maximum)\b", re.IGNORECASE
)


def likely_choice(response: str, choices: Sequence[str] = (), several: bool = False) -> Choice | None:
    """The option that the response states as its answer, by letter or by its whole text; None where it states none.

    Read, in this order: the answer tag, the conclusion, the box, the response itself where it is no more than an
    option, the last line, "option B is correct", what follows "the answer is" (the last one first), a first word "yes"
    or "no". `several` lets an answer consist of more than one letter. A letter may lie beyond the choices.
    """
    for method, text in _final_texts(response):
        letters = _named(plain_text(text), choices, several)
        if letters:
            return Choice(letters, method)
    first = re.match(r"\W*(yes|no)\b", response, re.IGNORECASE)
    keys = [_key(choice) for choice in choices]
    if first and first.group(1).lower() in keys:
        return Choice(letter_of(keys.index(first.group(1).lower())), "first word")
    return None


def guess_choice(
    response: str, choices: Sequence[str] = (), several: bool = False, question: str = ""
) -> Choice | None:
    """The option that is mentioned last in the conclusion, the last sentence or the whole response.

    Between "yes" and "no" a first sentence that denies, or that says less where the question says more, is a "no".
    None where the response says that no option fits or that it cannot tell.
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
        return Choice(letter_of(keys.index(answer)), "polarity of first sentence")
    for method, text in (
        ("conclusion", last_conclusion(response)),
        ("last sentence", last_sentence(response)),
        ("response", response),
    ):
        letters = None if text is None else _mentioned(plain_text(text), choices, several)
        if letters:
            return Choice(letters, f"mentioned in {method}")
    return None


def mathvista_extraction(response: str, question: str, choices: Sequence[str]) -> tuple[str, str]:
    """What MathVista's judge would extract, and where it stands; "N/A" where it would find nothing."""
    if not choices:
        return stated_number(response) or guessed_number(response, question) or ("N/A", "no number")
    choice = likely_choice(response, choices)
    if choice is None:
        stated = stated_text(response)
        if stated is not None:
            return stated
        choice = guess_choice(response, choices, question=question)
        numeric = all(re.search(r"\d", text) for text in choices) and not refuses(response)
        if numeric and (choice is None or choice.method == "mentioned in response"):
            guessed = guessed_number(response, question)
            if guessed is not None:
                return guessed
    if choice is not None:
        return f"({choice.letters})", choice.method
    return response if len(response) < 100 else "N/A", "no option"


def stated_text(response: str) -> tuple[str, str] | None:
    """What the answer tag, the conclusion, the box or the last sentence's "the answer is" holds, and which of them."""
    said = statements(last_sentence(response))
    for method, text in (
        ("answer tag", last_answer_tag(response)),
        ("conclusion", last_conclusion(response)),
        ("boxed", last_boxed(response)),
        ("statement", said[-1] if said else None),
    ):
        if text:
            return plain_text(text), method
    return None


def refuses(response: str) -> bool:
    """Does the end of the response say that no option fits or that there is no telling?"""
    return bool(_REFUSAL.search(response[-300:]))


def _final_texts(response: str) -> list[tuple[str, str]]:
    tagged = last_answer_tag(response)
    if tagged is not None:  # the response says itself what its answer is, and nothing else is
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
    """The last line, unless it rules an option out or goes on with a list of the options."""
    lines = [line for line in response[-2000:].splitlines() if line.strip()][-2:]
    if not lines or re.search(r"\bincorrect\b|\bnot correct\b|\bwrong\b", lines[-1]):
        return None
    marker = re.compile(rf"[\W_]*([{LETTERS}])[).:]")
    before, last = marker.match(lines[0]), marker.match(lines[-1])
    return None if len(lines) == 2 and before and last and before.group(1) < last.group(1) else lines[-1]


def _key(text: str) -> str:
    """An option text as it is compared: plain, without case, spaces, degree signs and a closing full stop."""
    text = re.sub(r"\^?\{?\\circ\}?|°|\bdegrees?\b", "", plain_text(text))
    return re.sub(r"\s+", "", re.sub(r"(\d)\.0+(?!\d)", r"\1", text)).lower().rstrip(".")


def _named(text: str, choices: Sequence[str], several: bool) -> str | None:
    """The letters that a statement of the answer begins with or consists of, else the option that it spells out."""
    key, keys = _key(text), [_key(choice) for choice in choices]
    # options that are letters themselves, such as "(e)", are no texts for a capital letter to match
    if keys.count(key) == 1 and (not re.fullmatch(r"\(?[a-i]\)?", key) or text.strip(" .") in choices):
        return letter_of(keys.index(key))
    text = re.sub(rf"^(?:[Tt]he )?(?:correct |final |best )?{_NOUN}s?\b[ :]*", "", text)
    group = re.match(rf"\(?[{LETTERS}]\)?(?:(?:\s*(?:,|and|&|;)\s*)+\(?[{LETTERS}]\)?)+(?![A-Za-z])", text)
    run = re.fullmatch(rf"\(?([{LETTERS}]{{2,}})\)?\.?", text)
    listed = group.group() if group else run.group(1) if run and len(set(run.group(1))) == len(run.group(1)) else ""
    if listed:
        letters = set(re.findall(f"[{LETTERS}]", listed))
        return "".join(sorted(letters)) if several or len(letters) == 1 else None
    # "(B) ...", "B. ...", "B) ...", "B: ...", "B" and no more; a bare "A dog" is no option letter.
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
    """A number is no beginning of a longer number."""
    return key.startswith(option) and not (option[-1].isdigit() and re.match(r"[\d.]*\d", key[len(option) :]))


def _mentioned(text: str, choices: Sequence[str], several: bool) -> str | None:
    """The last letter in brackets or behind a noun, else option text, else bare letter; with `several` every letter."""
    text = re.sub(r"(\d)\.0+(?!\d)", r"\1", text)
    bracketed = rf"\(([{LETTERS}])\)|\b(?:{_NOUN}|labeled) \"?([{LETTERS}])\b(?! [a-z])"
    bare = rf"\b([{LETTERS[1:8]}])\b"
    spelled = [
        (match.end(), len(match.group()), letter_of(index))
        for index, choice in enumerate(choices)
        for match in re.finditer(rf"(?<![\w.]){re.escape(plain_text(choice).lower())}(?![\w])(?!\.\d)", text.lower())
        if match.group()
    ]
    long_spelled = [where for where in spelled if where[1] > 3]
    if long_spelled:
        return max(long_spelled)[2]
    for pattern in (bracketed, bare):
        if pattern is bare and spelled:
            return max(spelled)[2]
        found = ["".join(match.groups("")) for match in re.finditer(pattern, text)]
        if found:
            return "".join(sorted(set(found))) if several else found[-1]
    return None
