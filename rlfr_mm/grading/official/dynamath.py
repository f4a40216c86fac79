"""DynaMath: evaluation/opensource_json_eval.py of DynaMath/DynaMath."""

import math

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.strict.benchmarks import short_answer
from rlfr_mm.grading.strict.extract import last_answer_tag
from rlfr_mm.grading.strict.values import number


def find(item: Item) -> Found | None:
    """The short answer; if the JSON cannot be read, the last line without its last character."""
    tagged = last_answer_tag(item.response)
    short = short_answer(item.response) if tagged is None else tagged
    if short is None:
        short = item.response.split("\n")[-1][:-1]
    return Found(short, "short answer") if short else None


def compare(problem: Problem, found: Found) -> Comparison:
    """Numbers within 0.001, option letters at the start, any other gold anywhere in the answer."""
    gold, answer, kind = problem.golds[0], found.answer, problem.meta.get("answer_type")
    if kind == "float":
        value, wanted = leading_number(answer), number(gold)
        near = value is not None and wanted is not None and abs(value - wanted) <= 0.001
        return Comparison(near, "within 0.001")
    if kind == "multiple choice":
        return Comparison(answer == gold if len(answer) == 1 else gold in answer[:3], "letter")
    return Comparison(gold in answer, "contained")


def leading_number(answer: str) -> float | None:
    """The number at the start of an answer, times pi if "π" follows it."""
    first, pi, _ = (answer if answer.isdigit() else answer.split(" ")[0]).partition("π")
    try:
        return float(first) * (math.pi if pi else 1.0)
    except ValueError:
        return None
