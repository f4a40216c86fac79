"""Finding the answer in a response. Pure text functions, each in time linear in the response's length."""

import math
import re
from collections import deque

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The contents of the last balanced ``\boxed{...}`` or ``\fbox{...}``; the inner one of a nested pair."""
    opened: list[int | None] = []  # where the contents of each open brace start, None for braces that box nothing
    best: tuple[int, int] | None = None
    for token in _BRACES.finditer(text):
        if token.group().startswith(("\\boxed", "\\fbox")):
            opened.append(token.end())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened:
            start = opened.pop()
            if start is not None and (best is None or start > best[0]):
                best = (start, token.start())
    return None if best is None else text[best[0] : best[1]].strip()


def last_answer_tag(text: str) -> str | None:
    """The contents of the last closed ``<answer>...</answer>``, whatever the case of the tags."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose lower case is longer would shift the positions
        lowered = text
    end = lowered.rfind("</answer>")
    start = lowered.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end].strip() if start >= 0 else None


_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {word: value for value, word in enumerate(_UNITS.split())}
_NUMBER_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_SCALE_WORDS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}


def words_to_number(text: str, among_others: bool = False) -> int | None:
    """The whole number that is spelled out, "twenty-five" or "two hundred and five"; digits alone count as spelled.

    None where anything else is written, unless `among_others`: then all other words are skipped.
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


def last_conclusion(text: str) -> str | None:
    """The contents of the last ``<CONCLUSION>...</CONCLUSION>``, the answer section of LLaVA-CoT's format."""
    end = text.rfind("</CONCLUSION>")
    start = text.rfind("<CONCLUSION>", 0, end) if end >= 0 else -1
    return text[start + len("<CONCLUSION>") : end].strip() if start >= 0 else None


_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|rm|bf|mbox)\s*\{([^{}]*)\}|\\(?:left|right|displaystyle)\b"
)


def plain_text(text: str) -> str:
    """The text without Markdown emphasis, dollar signs, LaTeX's text commands and surrounding white space."""
    text = _WRAPPERS.sub(lambda match: match.group(1) or "", text)
    return re.sub(r"\*\*|__|(?<!\\)\\[(\[\])!,]|\\?[$`]", "", text).strip()


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


def stated_number(response: str, alone: bool = False) -> tuple[str, str] | None:
    """The number that the response states as its answer, and where: answer tag, box, what follows "the answer is".

    The first number there, behind the last equals sign if there is one; with `alone` it must be the only one.
    """
    for method, text in (
        ("answer tag", last_answer_tag(response)),
        ("boxed", last_boxed(response)),
        *(("statement", statement) for statement in reversed(statements(response))),
    ):
        if text is not None:
            numbers = numbers_in(plain_text(text).rpartition("=")[2]) or numbers_in(plain_text(text))
            if numbers and not (alone and len(numbers) > 1):
                return numbers[0], method
            if alone:
                return None
    return None


_PURE_NUMBER = re.compile(r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+|(?=\.\d))(?:\.\d*)?(?:[eE][-+]?\d{1,3})?", re.ASCII)


_FRACTION = re.compile(
    r"([-+]?)\\[dt]?frac(?:\{(\d{1,15})\}\{(\d{1,15})\}|(\d)(\d))|([-+]?)(\d{1,15})/(\d{1,15})", re.ASCII
)


def number(text: str) -> float | None:
    """The value of a text that is one decimal number or fraction, with a currency or degree sign at most; else None."""
    text = re.sub(r"\^?\{?\\circ\}?|°|\\?[$£€]|\\[,!; ]|\s", "", text).replace("−", "-")
    fraction = _FRACTION.fullmatch(text)
    if fraction:
        sign, *parts = (group for group in fraction.groups() if group is not None)
        value = int(parts[0]) / int(parts[1]) if int(parts[1]) else None
        return -value if value is not None and sign == "-" else value
    text = re.sub(r"[{}]", "", text)
    if not _PURE_NUMBER.fullmatch(text):
        return None
    value = float(text.replace(",", ""))
    return value if abs(value) < 1e300 else None


_SURD = re.compile(r"(-?)(\d*)(?:\\sqrt\{?(\d{1,9})\}?|(\\pi))", re.ASCII)
_COMPLEX = re.compile(r"-?\d{1,9}[+-]\d{0,9}i", re.ASCII)


def constant(text: str) -> complex | None:
    r"""The value of a `number`, of "x=5", of the forms ``2\sqrt{3}`` and ``2\pi``, and of "3-2i"; None for all else."""
    text = re.sub(r"^[A-Za-z]=", "", text.replace(" ", ""))
    surd = _SURD.fullmatch(text)
    if surd:
        factor = float(surd.group(2)[:300] or 1) * (math.sqrt(int(surd.group(3))) if surd.group(3) else math.pi)
        return -factor if surd.group(1) else factor
    if _COMPLEX.fullmatch(text):
        return complex(re.sub(r"(?<=[+-])i", "1i", text).replace("i", "j"))
    return number(text)


def bare_answer(response: str) -> str | None:
    """A response of one short line that is nothing but an answer: a letter, a number with its unit, a formula."""
    text = response.strip()
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", text))
    return text if text and "\n" not in text and len(text) <= 80 and len(words) <= 2 else None


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
