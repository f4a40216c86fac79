"""The benchmarks' scorers by name: how each finds an answer and what it takes for equal, under two rules.

`strict` reads an answer only where the response states one: answer tag, box, "the answer is", or nothing but an answer.
`official` follows the benchmark's scorer; where that asks a judge model, the rules of `judge` stand in for it. A
closed answer tag, which no official prompt asks for, goes before the official extraction.
"""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction

from rlfr_mm.grading import official
from rlfr_mm.grading.choices import Choice, find_choice, letter_of, letters_in, listed_options, read_choice
from rlfr_mm.grading.extract import bare_answer, last_answer_tag, stated, trimmed, words_to_number
from rlfr_mm.grading.item import Comparison, Found, Item, Rule, RuleName, Scorer
from rlfr_mm.grading.judge import guess_choice, likely_choice, mathvista_extraction
from rlfr_mm.grading.pool import Job
from rlfr_mm.grading.text import LONGEST_ANSWER, aligned, compare_text, read, tidy
from rlfr_mm.grading.values import number

__all__ = ["SCORERS", "Item", "RuleName", "Scorer"]

# --- formulas, numbers and options: the strict rule of most benchmarks -----------------------------------------------


def _find_answer(item: Item) -> Found | None:
    """The option of an item with choices; else what the response states as its answer, or is nothing else than."""
    option = _find_option(item) if item.choices else None
    if option is not None:
        return option
    texts = stated(item.response)
    if texts and texts[0][0] in ("statement", "answer tag+statement"):
        # an explanation behind the answer is not the last word
        texts = [text for text in texts if len(trimmed(text[1]).split()) <= 6] or texts
        return None if texts[0][1].endswith("?") else Found(texts[0][1], texts[0][0])
    if texts:
        return Found(texts[0][1], texts[0][0])
    bare = bare_answer(item.response)
    return None if bare is None else Found(bare, "response")


def _compare_answer(item: Item, found: Found) -> Comparison:
    """By option letter where the gold is an option, as text, by value, else by math-verify; up to a unit.

    The item's `precision`, an absolute tolerance or several with commas, makes numbers equal that differ by no more.
    """
    if item.choices or _gold_letters(item):
        chosen = _chosen_letters(item, found.answer)
        if chosen is not None:
            return Comparison(chosen == _gold_letters(item), "option")
    named = _option_text(item, item.golds[0])
    golds = [read(gold, is_gold=True) for gold in (item.golds if named is None else (named,))]
    answer, tolerances = read(found.answer), _tolerances(item)
    if len(answer.value) > LONGEST_ANSWER:
        return Comparison(False, "too long")
    known = [compare_text(gold, answer, tolerances) for gold in golds]
    if True in known or None not in known:
        return Comparison(True in known, "text or number")
    undecided = [aligned(gold, answer) for gold, equal in zip(golds, known, strict=True) if equal is None]
    return Comparison(None, "symbolic", tuple(Job("symbolic", *pair, tolerances) for pair in undecided))


def _ask(comparison: str, golds: list[str], answer: str, tolerances: tuple[float, ...] = ()) -> Comparison:
    """Equal text is equal at once; the rest is for a worker."""
    if answer in golds:
        return Comparison(True, "exact")
    if len(answer) > LONGEST_ANSWER:
        return Comparison(False, "too long")
    return Comparison(None, comparison, tuple(Job(comparison, gold, answer, tolerances) for gold in golds))


def _tolerances(item: Item) -> tuple[float, ...]:
    precision = item.meta.get("precision")
    if precision in (None, ""):
        return ()
    parts = precision if isinstance(precision, list | tuple) else str(precision).split(",")
    return tuple(float(part or 1e-8) for part in parts)  # an empty one among several is OlympiadBench's default


# --- options ---------------------------------------------------------------------------------------------------------


def _options(item: Item) -> tuple[str, ...]:
    return item.choices or listed_options(str(item.meta.get("question", "")))


def _option_text(item: Item, letter: str) -> str | None:
    """The text of the option with that letter; None for what is no letter of the item's options."""
    return next((text for i, text in enumerate(_options(item)) if letter_of(i) == letter), None)


def _chosen_letters(item: Item, answer: str) -> str | None:
    if re.fullmatch("[A-Z]", answer):
        return answer
    return read_choice(answer, _options(item), several=len(_gold_letters(item)) > 1)


def _gold_letters(item: Item) -> str:
    """The letters of a gold answer that is given as letters, "A, C", or as the text of an option; empty for others.

    "AC" is no list of letters but where an answer may consist of several: elsewhere it names a line.
    """
    gold, options = item.golds[0].strip(), _options(item)
    if gold in options and _option_text(item, gold) is None:
        return letter_of(options.index(gold))
    return letters_in(", ".join(gold) if item.scorer == "logicvista" and gold.isalpha() else gold)


def _found(choice: Choice | None) -> Found | None:
    return None if choice is None else Found(choice.letters, choice.method)


def _find_option(item: Item) -> Found | None:
    return _found(find_choice(item.response, _options(item), several=len(_gold_letters(item)) > 1))


def _find_options(item: Item) -> Found | None:
    """Letters, of which a response may give several whatever the gold; another answer where the gold is no letter."""
    if not _gold_letters(item):
        return _find_answer(item)
    return _found(find_choice(item.response, _options(item), several=True))


def _find_or_guess_option(item: Item) -> Found | None:
    options = _options(item)
    return _found(likely_choice(item.response, options) or guess_choice(item.response, options))


def _find_or_guess_options(item: Item) -> Found | None:
    """Raises ValueError for LogicVista's item without an answer, v1_382, which VLMEvalKit leaves out."""
    if not item.golds[0].strip():
        raise ValueError("the record has no answer to grade by")
    options = _options(item)
    return _found(likely_choice(item.response, options, True) or guess_choice(item.response, options, True))


def _compare_option(item: Item, found: Found) -> Comparison:
    return Comparison(_chosen_letters(item, found.answer) == _gold_letters(item), "option")


def _compare_letters(item: Item, found: Found) -> Comparison:
    """The same letters, in whatever order."""
    if not _gold_letters(item):
        return _compare_answer(item, found)
    letters = "".join(sorted(re.findall(r"[A-Z0-9]", found.answer.upper())))
    return Comparison(bool(letters) and letters == _gold_letters(item), "letters")


def _untagged(item: Item) -> str:
    tagged = last_answer_tag(item.response)
    return item.response if tagged is None else tagged


# --- MATH500, Minerva Math, GSM8K, OlympiadBench ---------------------------------------------------------------------


def _harness_find(item: Item) -> Found | None:
    answer = official.harness_answer(_untagged(item))
    return Found(answer, "harness") if answer else None


def _harness_compare(item: Item, found: Found) -> Comparison:
    return _ask("harness", list(map(official.harness_normalised, item.golds)), found.answer)


def _minerva(compare: Callable[[Item, Found], Comparison]) -> Callable[[Item, Found], Comparison]:
    """Numbers by the tolerance of the benchmark's own scorer, which reads powers of ten; everything else otherwise."""

    def compare_minerva(item: Item, found: Found) -> Comparison:
        value, golds = number(read(found.answer).value), [number(gold) for gold in item.golds]
        if value is None or None in golds:
            return compare(item, found)
        near = any(official.minerva_close(float(value), float(gold)) for gold in golds if gold is not None)
        return Comparison(near, "numeric")

    return compare_minerva


def _gsm8k_find(item: Item) -> Found | None:
    answer = official.gsm8k_answer(item.response)
    return None if answer is None else Found(answer, "A: or ####")


def _gsm8k_strict_find(item: Item) -> Found | None:
    """What any problem's response states; a base model may go on with a question of its own."""
    return _find_answer(replace(item, response=re.split(r"(?<=\S)\s*\n(?:Q|Question):", item.response)[0]))


def _gsm8k_compare(item: Item, found: Found) -> Comparison:
    """OpenAI's own format is compared as OpenAI does, plainly as numbers; everything else as the harness does."""
    if found.method != "A: or ####":
        return _harness_compare(item, found)
    value = number(found.answer)
    return Comparison(value is not None and value in map(number, item.golds), "numeric")


def _olympiad_find(item: Item) -> Found | None:
    answer = official.olympiad_answer(_untagged(item))
    return Found(answer, "closing phrase or whole response") if answer.strip() else None


def _olympiad_compare(item: Item, found: Found) -> Comparison:
    try:
        answer = official.olympiad_normalised(found.answer)
        golds = [official.olympiad_normalised(gold) for gold in item.golds]
    except ValueError:
        return Comparison(False, "unreadable box")
    return _ask("olympiad", golds, answer, _tolerances(item))


# --- MathVista -------------------------------------------------------------------------------------------------------


def _mathvista_find(item: Item) -> Found | None:
    return _find_option(item) if item.choices else _find_answer(item)


def _mathvista_compare(item: Item, found: Found) -> Comparison:
    """Options by letter or text; numbers by value, rounded to the item's precision; lists by their numbers in order."""
    if item.choices:
        return _compare_option(item, found)
    if item.meta.get("answer_type") == "list":
        golds, values = (_numbers(text) for text in (item.golds[0], found.answer))
        return Comparison(golds is not None and golds == values, "list")
    # the value of a calculation, "3 + 2 = 5", stands behind its last equals sign
    answer = read(found.answer.rpartition("=")[2]).value
    value, gold = number(re.sub(r"\\?%$", "", answer)), number(item.golds[0])
    if value is None and (spelled := words_to_number(answer)) is not None:
        value = Fraction(spelled)
    if gold is None:
        return Comparison(compare_text(read(item.golds[0], is_gold=True), read(found.answer)) is True, "text")
    if value is None:
        return Comparison(False, "no number")
    if item.meta.get("answer_type") == "float":
        return Comparison(round(float(value), int(float(item.meta.get("precision") or 0))) == float(gold), "numeric")
    return Comparison(value == gold, "numeric")


def _numbers(text: str) -> list[Fraction] | None:
    """The numbers of "[1, 2.0]" or "1 and 2"; None where there is anything else."""
    values = [number(tidy(part)) for part in re.split(r",|\band\b", text.strip(" []()"))]
    return None if None in values else [value for value in values if value is not None]


def _mathvista_judge(item: Item) -> Found:
    return Found(*mathvista_extraction(item.response, str(item.meta.get("question", "")), item.choices or ()))


def _mathvista_official(item: Item, found: Found) -> Comparison:
    """`whole_numbers_only` in the item's meta asks for the older of the benchmark's two rules for integers."""
    prediction = official.mathvista_prediction(
        found.answer,
        item.choices or (),
        str(item.meta.get("answer_type")),
        int(float(item.meta.get("precision") or 0)),
        bool(item.meta.get("whole_numbers_only")),
    )
    return Comparison(prediction in item.golds, "nearest choice" if item.choices else "normalised text")


# --- MATH-V, We-Math, VisuLogic, DynaMath ----------------------------------------------------------------------------


def _mathvision_find(item: Item) -> Found | None:
    answer = official.mathvision_answer(_untagged(item))
    return Found(answer, "evaluate.py") if answer else None


def _mathvision_compare(item: Item, found: Found) -> Comparison:
    """Equal to the gold letter or to the text of its option."""
    golds = [*item.golds]
    named = _option_text(item, golds[0])
    if named is not None:
        golds.append(named)
    return _ask("mathvision", golds, found.answer)


def _wemath_strict_find(item: Item) -> Found | None:
    """The last filled "<Answer>: <<C>>" of the benchmark's template, or else what any problem with options states."""
    filled = re.findall(r"<Answer>:\s*<*([^<>]+)", item.response)
    return _find_option(replace(item, response=f"<answer>{filled[-1]}</answer>") if filled else item)


def _wemath_find(item: Item) -> Found | None:
    """evaluation/four_dimensional_metrics.py of We-Math: the first letter behind the last "Answer"."""
    tail = re.sub(r"[<>:.]", "", _untagged(item).split("Answer")[-1].strip()).strip()
    return Found(tail[0], "behind Answer") if tail and tail[0] in "ABCDEFGH" else None


def _visulogic_find(item: Item) -> Found | None:
    letter = official.visulogic_letter(_untagged(item))
    if letter is not None:
        return Found(letter, "eval_model.py")
    return _found(guess_choice(item.response, _options(item)))  # there a judge model looks for one clear option


def _short_answer(response: str) -> str | None:
    """The field "short answer" of the JSON object that DynaMath's prompt asks for."""
    start, end = response.find("{"), response.rfind("}")
    try:
        fields = json.loads(response[start : end + 1].replace("\\", ""), strict=False)
    except (ValueError, RecursionError):
        return None
    answer = fields.get("short answer") if isinstance(fields, dict) else None
    return None if answer is None else str(answer)


def _dynamath_find(item: Item) -> Found | None:
    short = _short_answer(item.response)
    if short is not None:
        return Found(short, "short answer")
    return _find_option(item) if item.meta.get("answer_type") == "multiple choice" else _find_answer(item)


def _dynamath_compare(item: Item, found: Found) -> Comparison:
    """Numbers within 0.001, options by letter, everything else as in most benchmarks."""
    if item.meta.get("answer_type") == "float":
        item = replace(item, meta={**item.meta, "precision": 0.001 / 1.01})  # less OlympiadBench's slack
    return _compare_answer(item, found)


def _dynamath_official_find(item: Item) -> Found | None:
    """The short answer; where the JSON cannot be read, the last line less its last character."""
    tagged = last_answer_tag(item.response)
    short = _short_answer(item.response) if tagged is None else tagged
    if short is None:
        short = item.response.split("\n")[-1][:-1]
    return Found(short, "short answer") if short else None


def _dynamath_official(item: Item, found: Found) -> Comparison:
    gold, answer, kind = item.golds[0], found.answer, item.meta.get("answer_type")
    if kind == "float":
        value, right = official.dynamath_number(answer), number(gold)
        return Comparison(value is not None and right is not None and abs(value - right) <= 0.001, "within 0.001")
    if kind == "multiple choice":
        return Comparison(answer == gold if len(answer) == 1 else gold in answer[:3], "letter")
    return Comparison(gold in answer, "contained")


_STRICT = Rule(_find_answer, _compare_answer)
_OPTION = Rule(_find_option, _compare_option)
_HARNESS = Rule(_harness_find, _harness_compare)
_MINERVA_STRICT = Rule(_find_answer, _minerva(_compare_answer))
_MINERVA = Rule(_harness_find, _minerva(_harness_compare))
_GUESSED_OPTION = Rule(_find_or_guess_option, _compare_option)

SCORERS: dict[str, Scorer] = {
    scorer.name: scorer
    for scorer in (
        # AIME, AMC, training data: no scorer of their own, and math-verify is what the field uses
        Scorer("math", "2", strict=_STRICT, official=_STRICT),
        Scorer("choice", "2", strict=_OPTION, official=_GUESSED_OPTION),
        Scorer("math500", "2", strict=_STRICT, official=_HARNESS),
        Scorer("minerva_math", "2", strict=_MINERVA_STRICT, official=_MINERVA),
        Scorer(
            "gsm8k",
            "2",
            strict=Rule(_gsm8k_strict_find, _compare_answer),
            official=Rule(lambda item: _gsm8k_find(item) or _harness_find(item), _gsm8k_compare),
        ),
        Scorer("olympiadbench", "2", strict=_STRICT, official=Rule(_olympiad_find, _olympiad_compare)),
        Scorer(
            "mathvista",
            "2",
            strict=Rule(_mathvista_find, _mathvista_compare),
            official=Rule(_mathvista_judge, _mathvista_official),
        ),
        Scorer("mathvision", "2", strict=_STRICT, official=Rule(_mathvision_find, _mathvision_compare)),
        # the scorers of these two are judge models
        Scorer("mathverse", "2", strict=_STRICT, official=_STRICT),
        Scorer("geometry3k", "2", strict=_STRICT, official=_STRICT),
        Scorer(
            "wemath",
            "2",
            strict=Rule(_wemath_strict_find, _compare_option),
            official=Rule(_wemath_find, _compare_letters),
        ),
        Scorer(
            "logicvista",
            "2",
            strict=Rule(_find_options, _compare_letters),
            official=Rule(_find_or_guess_options, _compare_letters),
        ),
        Scorer("visulogic", "2", strict=_OPTION, official=Rule(_visulogic_find, _compare_letters)),
        Scorer(
            "dynamath",
            "2",
            strict=Rule(_dynamath_find, _dynamath_compare),
            official=Rule(_dynamath_official_find, _dynamath_official),
        ),
    )
}
