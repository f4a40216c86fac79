"""GSM8K: the two formats of openai/grade-school-math; any other response as the harness of `math500` does."""

import re

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.official import math500
from rlfr_mm.grading.strict.values import number

_OWN_FORMAT = "A: or ####"


def find(item: Item) -> Found | None:
    """The text after the last "A:" or "####" at the start of a line, else the harness's answer."""
    lines = re.findall(r"^(?:A:|####)(.*)$", item.response, re.MULTILINE)
    return Found(lines[-1].strip(), _OWN_FORMAT) if lines else math500.find(item)


def compare(problem: Problem, found: Found) -> Comparison:
    """OpenAI's formats are compared as plain numbers, any other answer as the harness does."""
    if found.method != _OWN_FORMAT:
        return math500.compare(problem, found)
    value = number(found.answer)
    return Comparison(value is not None and value in map(number, problem.golds), "numeric")
