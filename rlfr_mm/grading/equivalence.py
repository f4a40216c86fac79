"""Is this answer that answer? The comparisons that parse LaTeX; only worker processes of `pool` run them.

Every comparison takes (gold, answer, tolerance) and may hang, so nothing here is called in the training or evaluation
process. None of them evaluates text as Python.
"""

import cmath
import math
import re
from collections.abc import Callable
from functools import lru_cache

import sympy
from antlr4 import CommonTokenStream, InputStream
from latex2sympy2_extended import latex2sympy
from math_verify import LatexExtractionConfig, parse, verify
from sympy.parsing.latex import _parse_latex_antlr as sympy_latex

Comparison = Callable[[str, str, tuple[float, ...]], bool]

# math-verify's other reader passes text to sympy's parse_expr, which evaluates it as Python.
_LATEX_ONLY = (LatexExtractionConfig(),)


def symbolic_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """math-verify's verdict on two LaTeX answers without dollar signs. Its own time-outs need signals: they are off.

    With a `tolerance`, one for all numbers or one for each of the gold's, answers whose numbers are that near are equal
    as well, in any order.
    """
    read_gold, read_answer = _math_verify_reading(gold), _math_verify_reading(answer)
    if read_gold and read_answer and verify(read_gold, read_answer, timeout_seconds=None):
        return not _apart(read_gold[0], read_answer[0])
    return bool(tolerance) and _near(_values(gold), _values(answer), tolerance)


@lru_cache(maxsize=512)  # a gold meets many answers
def _math_verify_reading(text: str) -> list:
    return parse(f"${text}$", _LATEX_ONLY, fallback_mode="no_fallback", parsing_timeout=None)


def _apart(gold: object, answer: object) -> bool:
    """Are these different numbers that math-verify took for equal, since it rounds to six places?"""
    if not (isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr) and gold.is_number and answer.is_number):
        return False
    try:
        right, value = complex(gold.evalf()), complex(answer.evalf())
    except (TypeError, ValueError, OverflowError):
        return False
    percent = value * 100, value / 100  # "50%" is equal to 50 and 0.5
    return not any(cmath.isclose(right, known, rel_tol=1e-9, abs_tol=1e-300) for known in (value, *percent))


def _values(text: str) -> list[float]:
    """The numbers of a comma-separated list, empty where anything else is in it."""
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


def parse_latex(text: str) -> sympy.Basic:
    """sympy's `parse_latex`: it reads the longest beginning of the text that is LaTeX, "1,-2" as 1.

    The same grammar and conversion, less the check that antlr's runtime is 4.11. math-verify needs 4.13 to read percent
    signs, and the grammar's compiled form has not changed between the two.
    """
    text = text.strip()
    errors = sympy_latex.MathErrorListener(text)
    lexer = sympy_latex.LaTeXLexer(InputStream(text))
    parser = sympy_latex.LaTeXParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(errors)
    return sympy_latex.convert_relation(parser.math().relation())


# --- MATH-V: is_equal of evaluation/utils.py -------------------------------------------------------------------------


def mathvision_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """Equal as text without case, as tuples of values, or as values, each rounded to two places."""
    gold, answer = gold.lower(), answer.lower()
    if not gold.strip() or not answer.strip():
        return False
    if gold.strip() == answer.strip():
        return True
    gold, answer = _mathvision_tuple(gold), _mathvision_tuple(answer)
    if gold == answer:
        return True
    try:
        return _mathvision_value(gold) == _mathvision_value(answer)
    except Exception:  # whatever the parser raises is "not equal" there
        return False


def _mathvision_tuple(text: str) -> str:
    parts = text[1:-1].split(",")
    if len(parts) < 2 or (text[0], text[-1]) not in (("(", ")"), ("[", "]")):
        return text
    try:
        values = [part if "infty" in part or part in ("a", "-a") else str(_mathvision_value(part)) for part in parts]
    except Exception:
        return text
    return text[0] + ",".join(values) + text[-1]


def _mathvision_value(text: str) -> float:
    """The rounded number that the scorer's parser, followed by Python's eval among the names of `math`, arrives at."""
    if "\\circ" in text or "\\!" in text or not text.isascii():
        raise ValueError("latex2sympy2 1.9 cannot read this")
    text = text.replace("$", " ").replace("\\displaystyle", " ")
    read = latex2sympy(_balanced_beginning(text), normalization_config=None)
    # It prints E, I and infinity as names that module math does not have.
    if read.free_symbols or read.has(sympy.E, sympy.I, sympy.oo, sympy.zoo):
        raise ValueError(f"{text} has no value")
    value = read.evalf()
    return int(read) if read.is_Integer else round(float(value), 2)


def _balanced_beginning(text: str) -> str:
    """The text up to the first closing bracket that none opened, where that parser stops without an error."""
    depth = 0
    for position, letter in enumerate(text):
        depth += (letter in "{(") - (letter in "})")
        if depth < 0:
            return text[:position]
    return text


# --- MATH500 and GSM8K of rho-1: grader.py of ZubinGou/math-evaluation-harness ---------------------------------------


def harness_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """The harness's `math_equal` on two normalised answers: percent tolerant, and lenient in how it reads LaTeX."""
    if gold == answer:
        return True
    numbers = _harness_number(gold), _harness_number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return any(math.isclose(numbers[0] * factor, numbers[1], rel_tol=1e-4) for factor in (0.01, 1, 100))
    if not answer:
        return False
    gold, answer = gold.strip(), answer.strip()
    if "pmatrix" in answer and "pmatrix" not in gold:
        rows = re.findall(r"\{.*,.*\}", gold)
        gold = ", ".join("\\begin{pmatrix}" + row.strip("{}").replace(",", "\\") + "\\end{pmatrix}" for row in rows)
    if _bare(gold, answer) == _bare(answer, gold):
        return True
    in_brackets = re.compile(r"[(\[].+[)\]]")
    if in_brackets.match(answer) and in_brackets.match(gold) and _all_equal(gold[1:-1], answer[1:-1], ","):
        return True
    if _is_matrix(gold) and _is_matrix(answer):
        gold_rows, answer_rows = _rows(gold), _rows(answer)
        if len(gold_rows) == len(answer_rows) and all(
            _all_equal(*rows, "&") for rows in zip(gold_rows, answer_rows, strict=True)
        ):
            return True
    if gold.count("=") == answer.count("=") == 1:
        gold_difference, difference = ("{} - ({})".format(*map(str.strip, text.split("="))) for text in (gold, answer))
        if _harness_symbolic(gold_difference, difference) or _harness_symbolic(gold_difference, f"-({difference})"):
            return True
    elif (named := _value_of_short_name(answer)) is not None and "=" not in gold:
        if harness_equal(gold, named):
            return True
    elif (named := _value_of_short_name(gold)) is not None and "=" not in answer and harness_equal(named, answer):
        return True
    return _harness_symbolic(gold, answer)


def _value_of_short_name(text: str) -> str | None:
    """The 5 of "x=5" and "k = 5"."""
    name, equals, value = text.partition("=")
    return value if equals and "=" not in value and len(name.strip()) <= 2 else None


def _harness_number(text: str) -> float | None:
    text = text.replace(",", "")
    for candidate, factor in ((text, 1.0), (text.removesuffix("%").removesuffix("\\"), 0.01)):
        try:
            return float(candidate) * factor
        except ValueError:
            if not text.endswith("%"):
                return None
    return None


def _bare(text: str, other: str) -> str:
    """The text without braces and round brackets, and without outer brackets unless those of the two differ in kind."""
    if (text[:1] == "[" and text[-1:] == "]" and other[:1] != "(") or (
        text[:1] == "(" and text[-1:] == ")" and other[:1] != "["
    ):
        text = text.strip("[]()")
    return re.sub(r"[{}()]", "", text).lower()


def _all_equal(gold: str, answer: str, separator: str) -> bool:
    golds, answers = gold.split(separator), answer.split(separator)
    return len(golds) == len(answers) and all(map(harness_equal, golds, answers))


def _is_matrix(text: str) -> bool:
    return text.startswith(("\\begin{pmatrix}", "\\begin{bmatrix}")) and text.endswith(
        ("\\end{pmatrix}", "\\end{bmatrix}")
    )


def _rows(matrix: str) -> list[str]:
    inside = matrix[len("\\begin{pmatrix}") : -len("\\end{pmatrix}")]
    return [row.strip() for row in inside.split("\\\\") if row.strip()]


def _harness_symbolic(gold: str, answer: str) -> bool:
    """Equal as sympy reads them. Each step of the harness swallows its own errors."""
    left, right = _read_as_far_as_possible(answer), _read_as_far_as_possible(gold)
    if left is None or right is None:  # sympy would evaluate a text as Python, and the harness lets it
        return answer == gold
    for equal in (_same, _no_difference, _same_equation, _same_number):
        try:
            if equal(left, right):
                return True
        except Exception:
            continue
    return False


def _read_as_far_as_possible(text: str) -> sympy.Basic | sympy.MatrixBase | None:
    """sympy's reading, else that of latex2sympy; None where neither can read it."""
    for read in (parse_latex, latex2sympy):
        for spelling in (text.replace("\\\\", "\\"), text):
            try:
                expression = read(spelling)
            except Exception:
                continue
            if isinstance(expression, sympy.Basic | sympy.MatrixBase):
                return expression
    return None


def _same(left, right) -> bool:
    return str(left) == str(right) or left == right


def _no_difference(left, right) -> bool:
    return left.equals(right) or sympy.simplify(left - right) == 0


def _same_equation(left, right) -> bool:
    return abs(left.lhs - left.rhs).equals(abs(right.lhs - right.rhs))


def _same_number(left, right) -> bool:
    return math.isclose(float(sympy.N(right)), float(sympy.N(left)), rel_tol=1e-4)


# --- OlympiadBench: eval/auto_scoring_judge.py -----------------------------------------------------------------------


def olympiad_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """The judge's verdict on normalised answers: parts in any order, each within its tolerance (by default 1e-8)."""
    if gold == answer:
        return True
    golds, answers = _olympiad_parts(gold), _olympiad_parts(answer)
    tolerances = list(tolerance) if len(tolerance) > 1 else [tolerance[0] if tolerance else 1e-8] * len(golds)
    if len(golds) != len(answers):
        return False
    for part, precision in zip(golds, tolerances, strict=False):
        match = next((other for other in answers if _olympiad_part_equal(part, other, precision)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _olympiad_parts(text: str) -> list[str]:
    parts, depth, start = [], 0, 0
    text = re.sub(r"[\u4e00-\u9fff]+", "", text)
    for position, letter in enumerate(text):
        depth += (letter in "([") - (letter in ")]")
        if letter == "," and depth == 0:
            parts.append(text[start:position].strip())
            start = position + 1
    if start < len(text):
        parts.append(text[start:].strip())
    return [part.replace("\\pm", sign) for part in parts for sign in (("+", "-") if "\\pm" in part else ("",))]


def _olympiad_part_equal(gold: str, answer: str, precision: float) -> bool:
    if gold == answer and gold:
        return True
    if all(text.startswith(("(", "[")) and text.endswith((")", "]")) for text in (gold, answer)):
        try:
            if _olympiad_interval_equal(gold, answer, precision):
                return True
        except Exception:
            return False
    for equal in (_olympiad_number_equal, _olympiad_expression_equal, _olympiad_equation_equal):
        try:
            if equal(gold, answer, precision) and not (
                equal is _olympiad_expression_equal and "=" in gold and "=" in answer
            ):
                return True
        except Exception:
            continue
    return False


def _olympiad_number_equal(gold: str, answer: str, precision: float) -> bool:
    return any(abs(float(gold) * factor - float(answer)) <= precision * 1.01 for factor in (0.01, 1, 100))


def _olympiad_interval_equal(gold: str, answer: str, precision: float) -> bool:
    golds, answers = gold.split("\\cup"), answer.split("\\cup")
    return len(golds) == len(answers) and all(
        one[0] == other[0]
        and one[-1] == other[-1]
        and all(
            _olympiad_expression_equal(*ends, precision)
            for ends in zip(one.strip("[]()").split(","), other.strip("[]()").split(","), strict=False)
        )
        for one, other in zip(golds, answers, strict=True)
    )


def _olympiad_expression_equal(gold: str, answer: str, precision: float) -> bool:
    left, right = (parse_latex(text.split("=")[1 if "=" in text else 0].strip()) for text in (gold, answer))
    if left == right:
        return True
    # The LaTeX reader takes \pi for a letter.
    left, right = (side.subs(sympy.Symbol("pi"), math.pi) for side in (left, right))
    if left.has(sympy.Symbol) != right.has(sympy.Symbol):
        return False
    if left.has(sympy.Symbol):
        return bool(abs(sympy.simplify(left - right).evalf()) < 1e-3)
    if not (_power_is_computable(left) and _power_is_computable(right)):
        return False
    return bool(abs(left.evalf() - right.evalf()) <= precision * 1.01)


def _power_is_computable(value: sympy.Basic) -> bool:
    if not isinstance(value, sympy.Pow):
        return True
    base, exponent = value.as_base_exp()
    return bool(base.is_number and exponent.is_number and abs(exponent.evalf()) <= 1000)


def _olympiad_equation_equal(gold: str, answer: str, precision: float) -> bool:
    left, right = (
        sympy.simplify(parse_latex(lhs) - parse_latex(rhs)) for lhs, rhs in (text.split("=") for text in (gold, answer))
    )
    ratios = sympy.simplify(left / right), sympy.simplify(right / left)
    return any(ratio.is_Integer and ratio != 0 for ratio in ratios)


COMPARISONS: dict[str, Comparison] = {
    "symbolic": symbolic_equal,
    "mathvision": mathvision_equal,
    "harness": harness_equal,
    "olympiad": olympiad_equal,
}


def self_test() -> None:
    """Raise RuntimeError with the reason when a LaTeX parser is broken, as with another version of antlr's runtime."""
    try:
        half, reading = sympy.Rational(1, 2), "\\frac{1}{2}"
        if not (parse_latex(reading).equals(half) and latex2sympy(reading).equals(half)):
            raise RuntimeError("\\frac{1}{2} is not read as 1/2")
        if not symbolic_equal("\\frac{1}{2}", "0.5") or symbolic_equal("\\frac{1}{2}", "0.6"):
            raise RuntimeError("math-verify does not compare \\frac{1}{2} with 0.5 and 0.6 rightly")
    except Exception as problem:
        reason = " ".join(str(problem).split())[:200]
        raise RuntimeError(f"{reason} (math-verify[antlr4_13_2] brings the parsers that work together)") from problem
