"""MATH-V (MATH-Vision): evaluation/evaluate.py and utils.py of mathllm/MATH-V."""

import contextlib
import re

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.official import parsers
from rlfr_mm.grading.official.shared import brace_fractions, letter_at_edge, slash_to_fraction, untagged
from rlfr_mm.grading.strict.rules import option_text

_PHRASES = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")


def find(item: Item) -> Found | None:
    """The normalised answer; None if it is empty."""
    answer = answer_of(untagged(item))
    return Found(answer, "evaluate.py") if answer else None


def compare(problem: Problem, found: Found) -> Comparison:
    """Equal to the gold letter or to the text of its option."""
    named = option_text(problem, problem.golds[0])
    return Comparison.by_worker("mathvision", [*problem.golds, *([] if named is None else [named])], found.answer)


def answer_of(response: str) -> str:
    """The normalised answer of a response, as in the field `model_answer` of the published results; may be empty."""
    response = response.strip()
    answer = letter_at_edge(response, "ABCDE") or response
    after_is = answer.split("is ")[-1].rstrip(".")
    with contextlib.suppress(ValueError):
        float(after_is)
        answer = after_is
    if "oxed{" not in answer:
        for phrase in _PHRASES:
            for spelling in (phrase, phrase.replace("the", "The")):
                if spelling in answer:
                    answer = answer.split(spelling)[-1].strip().split("\n")[0].split(". ")[0]
                else:
                    answer = answer.strip()
    elif answer.count("oxed{") > 1:
        answer = "\\boxed{" + answer.split("oxed{")[-1]
    answer = _normalised(answer)
    for wrapped in ("({})", "{{{}}}"):
        for letter in "abcde":
            answer = answer.replace(wrapped.format(letter), letter)
    return answer.rstrip(".").lstrip(":").strip()


def _normalised(text: str) -> str:
    text = text.lower().replace("{}", "")
    start, end = text.find("oxed{"), text.rfind("}")
    if 0 <= start < end - len("oxed{") + 1:
        text = text[start + len("oxed{") : end]  # to the last brace of the text, not to the matching one
    opening, closing = text.find("{"), text.find("}")
    if closing >= 0 and (opening < 0 or closing < opening):
        text = text[:closing]
    text = text.split("=")[-1].split("\\approx")[-1]
    for old, new in (
        (" ", ""), ("\\,", ""), ("∞", "\\infty"), ("+\\infty", "\\infty"), ("\\\\", "\\"), ("\n", ""), ("\\text", ""),
        ("\\mbox", ""), ("bmatrix", "pmatrix"), ("\\left", ""), ("\\right", ""), ("^{\\circ}", ""), ("^\\circ", ""),
        ("{m}^3", ""), ("m^3", ""), ("{units}", ""), ("units", ""), ("{km}", ""), ("km", ""),
        ("\\!", ""), ("\\\\", "\\"), ("tfrac", "frac"), ("dfrac", "frac"), ("\\$", ""), ("$", ""), ("\\%", ""),
        ("{.", "{0."),
    ):  # fmt: skip
        text = text.replace(old, new)
    if text.startswith("."):
        text = "0" + text
    if text.count("=") == 1:
        text = text.split("=")[1]
    if "sqrt" in text:
        text = brace_fractions(re.sub(r"\\sqrt(?!\\sqrt)([^{])", r"\\sqrt{\1}", text))
    return "\\frac{1}{2}" if text == "0.5" else slash_to_fraction(text)


def equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """The benchmark's `is_equal`: the same text in any case, tuple of values or value, rounded to two places."""
    gold, answer = gold.lower(), answer.lower()
    if not gold.strip() or not answer.strip():
        return False
    if gold.strip() == answer.strip():
        return True
    gold, answer = _tuple(gold), _tuple(answer)
    if gold == answer:
        return True
    try:
        return _value(gold) == _value(answer)
    except Exception:  # there, any error of the parser means "not equal"
        return False


def _tuple(text: str) -> str:
    parts = text[1:-1].split(",")
    if len(parts) < 2 or (text[0], text[-1]) not in (("(", ")"), ("[", "]")):
        return text
    try:
        values = [part if "infty" in part or part in ("a", "-a") else str(_value(part)) for part in parts]
    except Exception:
        return text
    return text[0] + ",".join(values) + text[-1]


def _value(text: str) -> float:
    """The rounded number that the scorer arrives at, by latex2sympy and Python's eval with the names of `math`."""
    if "\\circ" in text or "\\!" in text or not text.isascii():
        raise ValueError("latex2sympy2 1.9 cannot read this")
    text = text.replace("$", " ").replace("\\displaystyle", " ")
    sympy = parsers().sympy
    read = parsers().latex2sympy(_balanced_beginning(text), normalization_config=None)
    # latex2sympy prints E, I and infinity as names that module math does not have.
    if read.free_symbols or read.has(sympy.E, sympy.I, sympy.oo, sympy.zoo):
        raise ValueError(f"{text} has no value")
    value = read.evalf()
    return int(read) if read.is_Integer else round(float(value), 2)


def _balanced_beginning(text: str) -> str:
    """The text up to the first unmatched closing bracket, where the parser stops without an error."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter in "{(") - (letter in "})")
        if depth < 0:
            return text[:position]
    return text
