"""The strict rule for most benchmarks: how to find an answer in a response and compare it with the gold."""

import re

from rlfr_mm.grading.item import LONGEST_ANSWER, Comparison, Found, Item, Job, Problem
from rlfr_mm.grading.strict.choices import find_choice, letter_of, letters_in, listed_options, read_choice
from rlfr_mm.grading.strict.extract import bare_answer, stated, trimmed
from rlfr_mm.grading.strict.text import aligned, compare_text, read


def find_answer(item: Item) -> Found | None:
    """The stated option if the problem has choices and one is stated; else the text that states the answer, if any."""
    option = find_option(item) if item.choices else None
    if option is not None:
        return option
    texts = stated(item.response)
    if texts and texts[0][0] in ("statement", "answer tag+statement"):
        # an explanation that follows the answer is not the last word
        texts = [text for text in texts if len(trimmed(text[1]).split()) <= 6] or texts
        return None if texts[0][1].endswith("?") else Found(texts[0][1], texts[0][0])
    if texts:
        return Found(texts[0][1], texts[0][0])
    bare = bare_answer(item.response)
    return None if bare is None else Found(bare, "response")


def compare_answer(problem: Problem, found: Found) -> Comparison:
    """Equal by option letter if the gold is an option; else by text, value or math-verify. A unit may be missing.

    Numbers are also equal if they differ by no more than the problem's `precision` (see `tolerances_of`).
    """
    if problem.choices or gold_letters(problem):
        chosen = _chosen_letters(problem, found.answer)
        if chosen is not None:
            return Comparison(chosen == gold_letters(problem), "option")
    named = option_text(problem, problem.golds[0])
    golds = [read(gold, is_gold=True) for gold in (problem.golds if named is None else (named,))]
    answer, tolerances = read(found.answer), tolerances_of(problem)
    if len(answer.value) > LONGEST_ANSWER:
        return Comparison(False, "too long")
    known = [compare_text(gold, answer, tolerances) for gold in golds]
    if True in known or None not in known:
        return Comparison(True in known, "text or number")
    undecided = [aligned(gold, answer) for gold, equal in zip(golds, known, strict=True) if equal is None]
    return Comparison(None, "symbolic", tuple(Job("symbolic", *pair, tolerances) for pair in undecided))


def find_option(item: Item) -> Found | None:
    """The option that the response states; several letters only if the gold consists of several."""
    return find_choice(item.response, options_of(item), several=len(gold_letters(item)) > 1)


def compare_option(problem: Problem, found: Found) -> Comparison:
    """Equal if the answer names the same options as the gold."""
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
    return problem.choices or listed_options(str(problem.meta.get("question", "")))


def option_text(problem: Problem, letter: str) -> str | None:
    """The text of the option with that letter; None if the problem has no such option."""
    return next((text for i, text in enumerate(options_of(problem)) if letter_of(i) == letter), None)


def gold_letters(problem: Problem) -> str:
    """The option letters of a gold such as "A, C", or of a gold that is the text of an option; empty for other golds.

    "AC" means two letters in LogicVista only, whose answers may have several; elsewhere it names a line segment.
    """
    gold, options = problem.golds[0].strip(), options_of(problem)
    if gold in options and option_text(problem, gold) is None:
        return letter_of(options.index(gold))
    return letters_in(", ".join(gold) if problem.scorer == "logicvista" and gold.isalpha() else gold)


def _chosen_letters(problem: Problem, answer: str) -> str | None:
    if re.fullmatch("[A-Z]", answer):
        return answer
    return read_choice(answer, options_of(problem), several=len(gold_letters(problem)) > 1)
