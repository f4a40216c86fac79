"""Strict rules for benchmarks with answer formats, templates or tolerances of their own."""

import json
import re
from dataclasses import replace
from fractions import Fraction

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.strict.notation import tidy
from rlfr_mm.grading.strict.rules import compare_answer, compare_option, find_answer, find_option
from rlfr_mm.grading.strict.text import compare_text, read
from rlfr_mm.grading.strict.values import number


def find_gsm8k(item: Item) -> Found | None:
    """The stated answer. A base model may go on with a question of its own; nothing after that is read."""
    return find_answer(replace(item, response=re.split(r"(?<=\S)\s*\n(?:Q|Question):", item.response)[0]))


def find_wemath(item: Item) -> Found | None:
    """The option in the last filled "<Answer>: <<C>>" of the benchmark's template; without one, the stated option."""
    filled = list(re.finditer(r"<Answer>:\s*<*([^<>]+)", item.response))
    if not filled:
        return find_option(item)
    found = find_option(replace(item, response=f"<answer>{filled[-1][1]}</answer>"))
    return found and replace(found, span=filled[-1].span(1))


def find_mathvista(item: Item) -> Found | None:
    """The option of a problem with choices; else the answer."""
    return find_option(item) if item.choices else find_answer(item)


def compare_mathvista(problem: Problem, found: Found) -> Comparison:
    """Options by letter or text; numbers by value, rounded to the problem's precision; lists number by number."""
    if problem.choices:
        return compare_option(problem, found)
    gold, answer_type = problem.golds[0], problem.meta.get("answer_type")
    if answer_type == "list":
        gold_numbers = _numbers(gold)
        return Comparison(gold_numbers is not None and gold_numbers == _numbers(found.answer), "list")
    # in a calculation such as "3 + 2 = 5", the value follows the last equals sign
    answer = read(found.answer.rpartition("=")[2])
    value, wanted = replace(answer, value=re.sub(r"\\?%$", "", answer.value)).number, number(gold)
    if wanted is None:
        return Comparison(compare_text(read(gold, is_gold=True), read(found.answer)) is True, "text")
    if value is None:
        return Comparison(False, "no number")
    if answer_type == "float":
        digits = int(float(problem.meta.get("precision") or 0))
        return Comparison(round(float(value), digits) == float(wanted), "numeric")
    return Comparison(value == wanted, "numeric")


def _numbers(text: str) -> list[Fraction] | None:
    """The numbers of "[1, 2.0]", "(1, 2)" or "1 and 2"; None if there is anything else, such as one bracket."""
    inside = re.sub(r"^\[(.*)\]$|^\((.*)\)$", r"\1\2", text.strip())
    values = [number(tidy(part)) for part in re.split(r",|\band\b", inside)]
    return None if None in values else [value for value in values if value is not None]


def find_dynamath(item: Item) -> Found | None:
    """The short answer of the JSON object; without one, the stated option or answer."""
    short = short_answer(item.response, keep_backslashes=True)
    if short is not None:
        start = item.response.find(short, item.response.find("short answer"))
        return Found(short, "short answer", (start, start + len(short)) if start >= 0 else None)
    return find_option(item) if item.meta.get("answer_type") == "multiple choice" else find_answer(item)


def compare_dynamath(problem: Problem, found: Found) -> Comparison:
    """Numbers within 0.001; any other answer as in most benchmarks."""
    if problem.meta.get("answer_type") == "float":  # comparisons allow 1.01 times the precision, as OlympiadBench does
        problem = replace(problem, meta={**problem.meta, "precision": 0.001 / 1.01})
    return compare_answer(problem, found)


def short_answer(response: str, keep_backslashes: bool = False) -> str | None:
    r"""The field "short answer" of the JSON object that DynaMath's prompt asks for; None if it cannot be read.

    DynaMath drops backslashes. `keep_backslashes` reads ``\frac`` and its escaped form ``\\frac`` as ``\frac``.
    """
    text = response[response.find("{") : response.rfind("}") + 1]
    text = re.sub(r'\\+(?!["\\])', r"\\\\", text) if keep_backslashes else text.replace("\\", "")
    try:
        fields = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return None
    answer = fields.get("short answer") if isinstance(fields, dict) else None
    return None if answer is None else str(answer)
