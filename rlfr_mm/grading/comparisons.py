"""The comparisons that need a LaTeX parser, by the name that an `item.Job` gives. Only worker processes import this.

Each takes (gold, answer, tolerances) and may hang. None of them evaluates text as Python.
"""

from collections.abc import Callable

from rlfr_mm.grading.official import math500, mathvision, olympiadbench
from rlfr_mm.grading.parsers import latex2sympy, parse_latex, sympy
from rlfr_mm.grading.strict.symbolic import symbolic_equal

COMPARISONS: dict[str, Callable[[str, str, tuple[float, ...]], bool]] = {
    "symbolic": symbolic_equal,
    "mathvision": mathvision.equal,
    "harness": math500.equal,
    "olympiad": olympiadbench.equal,
}


def self_test() -> None:
    """Raise RuntimeError with the reason if a LaTeX parser is broken, for example by another antlr runtime."""
    try:
        half, reading = sympy.Rational(1, 2), "\\frac{1}{2}"
        if not (parse_latex(reading).equals(half) and latex2sympy(reading).equals(half)):
            raise RuntimeError("\\frac{1}{2} is not read as 1/2")
        if not symbolic_equal("\\frac{1}{2}", "0.5") or symbolic_equal("\\frac{1}{2}", "0.6"):
            raise RuntimeError("math-verify compares \\frac{1}{2} with 0.5 or 0.6 incorrectly")
    except Exception as error:
        reason = " ".join(str(error).split())[:200]
        raise RuntimeError(f"{reason} (math-verify[antlr4_13_2] brings parser versions that work together)") from error
