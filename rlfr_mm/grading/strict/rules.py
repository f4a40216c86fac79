"""The strict rule for most benchmarks: how to find an answer in a response and compare it with the gold."""

import re

from rlfr_mm.grading.item import LONGEST_ANSWER, Comparison, Found, Item, Job, Problem
from rlfr_mm.grading.strict.boxes import final_box
from rlfr_mm.grading.strict.choices import (
    find_choice,
    letter_of,
    letters_in,
    listed_options,
    read_choice,
    without_labels,
)
from rlfr_mm.grading.strict.extract import bare_answer, stated, statements, trimmed
from rlfr_mm.grading.strict.text import aligned, compare_text, read

_WHOLE = re.compile(r"-?\d{1,15}", re.ASCII)


def find_answer(item: Item) -> Found | None:
    """The stated option if the problem has choices and one is stated; else the text that states the answer, if any."""
    option = find_option(item) if item.choices else None
    if option is not None:
        return option
    places = stated(item.response)
    if places and "statement" in places[0].method:
        # an explanation that follows the answer is not the last word
        places = [place for place in places if len(trimmed(place.answer).split()) <= 6] or places
    return places[0] if places else bare_answer(item.response)


def compare_answer(problem: Problem, found: Found) -> Comparison:
    """Equal by option letter if the gold is an option; else by text, value or math-verify. A unit may be missing.

    Numbers are also equal if they differ by no more than the problem's `precision` (see `tolerances_of`).
    """
    if problem.choices or gold_letters(problem):
        chosen = _chosen_letters(problem, found.answer)
        if not options_of(problem) and re.fullmatch(r"\W*[a-z]\W*", found.answer):
            chosen = None  # without options, "a" is a variable
        if chosen is not None or letters_in(re.sub(r"\bor\b", "and", found.answer)):  # "A or C" chooses none
            return Comparison(chosen == gold_letters(problem), "option")
    named = option_text(problem, gold_letters(problem))
    texts = list(map(_answer_of, problem.known_golds)) if named is None else [named]
    tolerances = tolerances_of(problem)
    if found.answer in texts and re.search(r"[^\W_]", found.answer):
        return Comparison(True, "text or number")
    if not tolerances and all(map(_WHOLE.fullmatch, (*texts, found.answer))):  # most answers: spare them the reading
        return Comparison(int(found.answer) in map(int, texts), "text or number")
    golds, answer = [read(text, is_gold=True) for text in texts], read(found.answer)
    if len(answer.value) > LONGEST_ANSWER:
        return Comparison(False, "too long")
    known = [compare_text(gold, answer, tolerances) for gold in golds]
    if True in known or None not in known:
        return Comparison(True in known, "text or number")
    undecided = [aligned(gold, answer) for gold, equal in zip(golds, known, strict=True) if equal is None]
    return Comparison(None, "symbolic", tuple(Job("symbolic", *pair, tolerances) for pair in undecided))


def _answer_of(gold: str) -> str:
    """The answer in a gold that is a solution: in a box, or in the last sentence that states it."""
    boxed = final_box(gold) if "\\boxed" in gold else None
    said = statements(gold) if boxed is None and len(gold) > 100 else []
    return boxed.answer if boxed else said[-1].answer if said else gold


def find_option(item: Item) -> Found | None:
    """The option that the response states; several letters only if the gold consists of several."""
    return find_choice(item.response, options_of(item), several=len(gold_letters(item)) > 1)


def compare_option(problem: Problem, found: Found) -> Comparison:
    """Equal if the answer names the same options as the gold. ValueError if the gold is not an option."""
    letters, options = gold_letters(problem), options_of(problem)
    if not letters or (options and letters[-1] > letter_of(len(options) - 1)):
        among = f"one of the {len(options)} options" if options else "an option letter"
        raise ValueError(f"the gold {problem.golds[0]!r:.80} is not {among}")
    return Comparison(_chosen_letters(problem, found.answer) == gold_letters(problem), "option")


def find_letters(item: Item) -> Found | None:
    """One or more option letters, however many the gold has; any kind of answer if the gold is not a letter."""
    if not gold_letters(item):
        return find_answer(item)
    return find_choice(item.response, options_of(item), several=True)


def compare_letters(problem: Problem, found: Found) -> Comparison:
    """Equal if the answer contains the same letters as the gold, in any order."""
    if not gold_letters(problem):
        return compare_answer(problem, found)
    letters = "".join(sorted(re.findall(r"[A-Z0-9]", found.answer.upper())))
    return Comparison(bool(letters) and letters == gold_letters(problem), "letters")


def tolerances_of(problem: Problem) -> tuple[float, ...]:
    """The absolute tolerances in the problem's `precision`: none, one for all numbers, or one per number."""
    precision = problem.meta.get("precision")
    if precision in (None, ""):
        return ()
    parts = precision if isinstance(precision, list | tuple) else str(precision).split(",")
    return tuple(float(part or 1e-8) for part in parts)  # OlympiadBench's default, for an empty one among several


def options_of(problem: Problem) -> tuple[str, ...]:
    """The option texts: the problem's choices, else the options that its question lists."""
    return without_labels(problem.choices) if problem.choices else listed_options(str(problem.meta.get("question", "")))


def option_text(problem: Problem, letter: str) -> str | None:
    """The text of the option with that letter; None if the problem has no such option."""
    return next((text for i, text in enumerate(options_of(problem)) if letter_of(i) == letter), None)


def gold_letters(problem: Problem) -> str:
    """The option letters of a gold such as "A, C", or of a gold that is the text of an option; empty for other golds.

    "AC" means two letters in LogicVista only, whose answers may have several; elsewhere it names a line segment. A
    small letter names an option if the problem has options.
    """
    gold, options = problem.golds[0].strip(), options_of(problem)
    if gold in options and option_text(problem, gold) is None:
        return letter_of(options.index(gold))
    if options and re.fullmatch(r"\(?[a-z][.)]?", gold):
        gold = gold.upper()
    return letters_in(", ".join(gold) if problem.scorer == "logicvista" and gold.isalpha() else gold)


def _chosen_letters(problem: Problem, answer: str) -> str | None:
    if re.fullmatch("[A-Z]", answer):
        return answer
    return read_choice(answer, options_of(problem), several=len(gold_letters(problem)) > 1)
