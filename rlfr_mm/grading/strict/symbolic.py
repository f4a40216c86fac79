"""The strict comparison of two formulas, by math-verify. Only worker processes import this."""

import cmath
from functools import lru_cache

from math_verify import LatexExtractionConfig, parse, verify

from rlfr_mm.grading.parsers import latex2sympy, sympy

# math-verify's other reader passes text to sympy's parse_expr, which evaluates it as Python.
_LATEX_ONLY = (LatexExtractionConfig(),)


def symbolic_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """math-verify's verdict on two LaTeX answers without dollar signs.

    With a `tolerance`, either one for all numbers or one per number of the gold, lists of numbers are also equal if
    each number is that close to its counterpart; their order does not matter.

    >>> symbolic_equal("x^2-1", "(x+1)(x-1)")
    True
    """
    # math-verify's own time-outs need signals, which work in the main thread only: they are switched off.
    parsed_gold, parsed_answer = _parsed(gold), _parsed(answer)
    if parsed_gold and parsed_answer and verify(parsed_gold, parsed_answer, timeout_seconds=None):
        return not _rounded_together(parsed_gold[0], parsed_answer[0])
    return bool(tolerance) and _near(_numbers(gold), _numbers(answer), tolerance)


@lru_cache(maxsize=512)  # one gold is compared with many answers
def _parsed(text: str) -> list:
    return parse(f"${text}$", _LATEX_ONLY, fallback_mode="no_fallback", parsing_timeout=None)


def _rounded_together(gold: object, answer: object) -> bool:
    """Whether these are different numbers that math-verify calls equal because it rounds to six places."""
    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr) and gold.is_number and answer.is_number):
        return False
    try:
        wanted, value = complex(gold.evalf()), complex(answer.evalf())
    except (TypeError, ValueError, OverflowError):
        return False
    percent = value * 100, value / 100  # "50%" is equal to 50 and to 0.5
    return not any(cmath.isclose(wanted, known, rel_tol=1e-9, abs_tol=1e-300) for known in (value, *percent))


def _numbers(text: str) -> list[float]:
    """The numbers of a comma-separated list; empty if it contains anything else."""
    try:
        return [float(latex2sympy(part).evalf()) for part in text.split(",")]
    except Exception:
        return []


def _near(golds: list[float], answers: list[float], tolerance: tuple[float, ...]) -> bool:
    if not golds or len(golds) != len(answers) or len(tolerance) not in (1, len(golds)):
        return False
    tolerances = tolerance if len(tolerance) > 1 else tolerance * len(golds)
    for gold, allowed in zip(golds, tolerances, strict=True):
        nearest = min(answers, key=lambda answer: abs(answer - gold))
        if not abs(nearest - gold) <= allowed * 1.01:
            return False
        answers.remove(nearest)
    return True
