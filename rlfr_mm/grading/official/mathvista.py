"""MathVista: evaluation/calculate_score.py of lupantech/MathVista, and rules that imitate its judge model.

There, GPT-4 extracts the answer from the response. `extraction_of` takes the place of the judge.
"""

import re
from collections.abc import Sequence

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.official.judge import guess_choice, likely_choice, refuses, sentences, stated_text, statements
from rlfr_mm.grading.strict.boxes import last_boxed
from rlfr_mm.grading.strict.extract import last_answer_tag, plain_text
from rlfr_mm.grading.strict.values import words_to_number

_NUMBER = re.compile(r"(?<![\w.])[-−]?(?:\d{1,3}(?:,\d{3})+|\d+)?(?:\.\d+)?(?<=\d)(?:[eE][-+]?\d+)?(?!\d|,\d{3}(?!\d))")
_CONCLUDES = re.compile(
    r"\A\W*(?:therefore|thus|so|hence|in conclusion|in total|finally|overall|因此|所以)\b", re.IGNORECASE
)
_ASSERTED = re.compile(
    r"(?:\b(?:is|are|was|were|be|has|have|had|equals?|contains?|about|approximately|only)|[=≈:])\s*[*$\\(]*"
    r"([-−]?\d[\d,]*(?:\.\d+)?)",
    re.IGNORECASE,
)


def find(item: Item) -> Found:
    """What the judge would extract; there is always an answer, since the benchmark takes the nearest choice."""
    return extraction_of(item.response, str(item.meta.get("question", "")), item.choices or ())


def compare(problem: Problem, found: Found) -> Comparison:
    """Equal to the gold in its form. `whole_numbers_only` in the meta asks for the benchmark's older rule."""
    prediction = prediction_of(
        found.answer,
        problem.choices or (),
        str(problem.meta.get("answer_type")),
        int(float(problem.meta.get("precision") or 0)),
        bool(problem.meta.get("whole_numbers_only")),
    )
    return Comparison(prediction in problem.golds, "nearest choice" if problem.choices else "normalised text")


def prediction_of(
    extraction: str, choices: Sequence[str], answer_type: str, precision: int, whole_numbers_only: bool
) -> str | None:
    """The extraction in the form of the gold answer; None if it cannot be read as the answer type.

    If there are choices, one is always found: the option of the first ``(x)`` or of a single capital letter, else the
    choice with the smallest edit distance. `whole_numbers_only` selects the benchmark's older rule ``int(x)``, by which
    "5.0" is not an integer; the current rule ``int(float(x))`` truncates.
    """
    if choices:
        answer = extraction.strip()
        bracketed = re.search(r"\(([a-zA-Z])\)", answer)
        if bracketed:
            answer = bracketed.group(1).upper()
        if len(answer) == 1 and 0 <= ord(answer) - ord("A") < len(choices):
            return choices[ord(answer) - ord("A")]
        return min(choices, key=lambda choice: edit_distance(answer, choice))
    try:
        if answer_type == "integer":
            return str(int(extraction) if whole_numbers_only else int(float(extraction)))
        if answer_type == "float":
            return str(round(float(extraction), precision))
    except (ValueError, OverflowError):
        return None
    return extraction


def edit_distance(left: str, right: str) -> int:
    """The Levenshtein distance, in time linear in the longer text (Myers' bit vectors in Hyyrö's form)."""
    text, pattern = (left, right) if len(left) >= len(right) else (right, left)
    if not pattern:
        return len(text)
    where: dict[str, int] = {}
    for position, letter in enumerate(pattern):
        where[letter] = where.get(letter, 0) | 1 << position
    everywhere = (1 << len(pattern)) - 1
    last = 1 << (len(pattern) - 1)
    rises, falls, distance = everywhere, 0, len(pattern)
    for letter in text:
        equal = where.get(letter, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        up = falls | ~(diagonal | rises)
        down = rises & diagonal
        distance += bool(up & last) - bool(down & last)
        up = up << 1 | 1
        rises = (down << 1 | ~(diagonal | up)) & everywhere
        falls = up & diagonal & everywhere
    return distance


def extraction_of(response: str, question: str, choices: Sequence[str]) -> Found:
    """What the judge would extract; the answer is "N/A" if it would find nothing."""
    if not choices:
        return stated_number(response) or guessed_number(response, question) or Found("N/A", "no number")
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
        return Found(f"({choice.answer})", choice.method)
    return Found(response if len(response) < 100 else "N/A", "no option")


def _numeral(text: str) -> str:
    """The numeral without thousands separators, and without decimals if all are zero."""
    return re.sub(r"\.0*$", "", text.replace(",", "").replace("−", "-"))


def numbers_in(text: str) -> list[str]:
    """The numerals of a text, in order, without thousands separators; number words only if there are no numerals."""
    found = [_numeral(match.group()) for match in _NUMBER.finditer(text)]
    if not found:
        spelled = (words_to_number(word) for word in re.findall(r"[a-z]+(?:-[a-z]+)?", text.lower()))
        found = [str(value) for value in spelled if value is not None]
    return found


def stated_number(response: str) -> Found | None:
    """The number that the response states as its answer; None if it states none.

    It is the first number in the answer tag, in the box or after "the answer is"; if there is an equals sign, the
    first one after the last such sign.
    """
    for method, text in (
        ("answer tag", last_answer_tag(response)),
        ("boxed", last_boxed(response)),
        *(("statement", statement) for statement in reversed(statements(response))),
    ):
        if text is not None:
            numbers = numbers_in(plain_text(text).rpartition("=")[2]) or numbers_in(plain_text(text))
            if numbers:
                return Found(numbers[0], method)
    return None


def guessed_number(response: str, question: str = "") -> Found | None:
    """The likeliest answer among the numbers of the response; None if it has no number.

    The first of these counts; in each, numbers that the question does not contain come first:
    1. the number that fills the blank of the question;
    2. in a calculation, a number of the last sentence;
    3. a number of a concluding sentence, or in bold;
    4. a number of the sentence that shares most words with the question, the last such sentence.
    """
    for after in re.findall(r"\(?(?<!_)_++\)? ((?:\w+ ?){1,4})", question):
        filled = re.search(rf"(?<!\d)(\d++) {re.escape(after)}", response)
        if filled:
            return Found(filled.group(1), "blank")
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
            return Found((new or numbers)[0], method)
    return None
