"""Is this answer that answer? The comparisons that parse LaTeX; only worker processes of `pool` run them.

Every comparison takes (gold, answer, tolerance) and may hang, so nothing here is called in the training or evaluation
process. None of them evaluates text as Python.
"""

import math
import re
from collections.abc import Callable

import sympy
from latex2sympy2_extended import latex2sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy.parsing.latex import parse_latex

Comparison = Callable[[str, str, tuple[float, ...]], bool]

_LATEX_ONLY = (
    LatexExtractionConfig(),
)  # math-verify's other reader passes text to sympy's parse_expr, which evaluates it


def symbolic_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """math-verify's verdict on two LaTeX answers without dollar signs. Its own time-outs need signals: they are off."""
    read_gold = parse(f"${gold}$", _LATEX_ONLY, fallback_mode="no_fallback", parsing_timeout=None)
    read_answer = parse(f"${answer}$", _LATEX_ONLY, fallback_mode="no_fallback", parsing_timeout=None)
    return bool(read_gold and read_answer) and verify(read_gold, read_answer, timeout_seconds=None)


COMPARISONS: dict[str, Comparison] = {"symbolic": symbolic_equal}


def self_test() -> None:
    """Raise RuntimeError with the reason when a LaTeX parser is broken, as with a foreign version of antlr's runtime."""
    try:
        half, reading = sympy.Rational(1, 2), "\\frac{1}{2}"
        if not (parse_latex(reading).equals(half) and latex2sympy(reading).equals(half)):
            raise RuntimeError("\\frac{1}{2} is not read as 1/2")
        if not symbolic_equal("\\frac{1}{2}", "0.5") or symbolic_equal("\\frac{1}{2}", "0.6"):
            raise RuntimeError("math-verify does not compare \\frac{1}{2} with 0.5 and 0.6 rightly")
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise RuntimeError(f"{reason} (math-verify[antlr4_11_0] brings the parsers that work together)") from problem
