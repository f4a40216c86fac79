"""OlympiadBench: eval/auto_scoring_judge.py and inference/judge.py of OpenBMB/OlympiadBench."""

import math
import re
from typing import Any

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.official import parsers
from rlfr_mm.grading.official.shared import replace_braced, untagged
from rlfr_mm.grading.strict.rules import tolerances_of


def find(item: Item) -> Found | None:
    """The text that the judge normalises; None if it is blank."""
    answer = answer_of(untagged(item))
    return Found(answer, "closing phrase or whole response") if answer.strip() else None


def compare(problem: Problem, found: Found) -> Comparison:
    """Equal as the judge decides, within the problem's tolerances; an answer with an unbalanced box is wrong."""
    try:
        answer = normalised(found.answer)
        golds = [normalised(gold) for gold in problem.golds]
    except ValueError:
        return Comparison(False, "unreadable box")
    return Comparison.by_worker("olympiad", golds, answer, tolerances_of(problem))


def answer_of(response: str) -> str:
    """The text after the benchmark's last closing phrase, else the whole response; the judge reads its boxes."""
    closings = re.findall("So the final answer is (.*)", response)
    return closings[-1].strip() if closings else response


def _boxes(text: str) -> list[str]:
    """The contents of every box, including nested ones, in the order in which they open."""
    opened: list[tuple[int, bool]] = []
    boxes: dict[int, str] = {}
    for token in re.finditer(r"\\boxed{|[{}]", text):
        if token.group() != "}":
            opened.append((token.end(), token.group() != "{"))
        elif opened:
            start, boxed = opened.pop()
            if boxed and len(boxes) < 100:
                boxes[start] = text[start : token.start()]
    if any(boxed for _, boxed in opened):
        raise ValueError("a box has no end")
    return [boxes[start] for start in sorted(boxes)]


def normalised(text: str) -> str:
    r"""The boxes joined by commas, else the ``$...$`` of the last line, else the text; without signs to be ignored.

    Raises ValueError if the braces of a box are not balanced.
    """
    parts = _boxes(text)
    parts = parts or re.findall(r"\$(.*?)\$", text.strip().split("\n")[-1])
    text = "".join(part + "," for part in parts) if parts else text
    if "\\in " in text:
        text = text.split("\\in ")[1]
    for old, new in (
        ("\\left", ""), ("\\right", ""), ("∶", ":"), ("，", ","), ("$", ""), ("\\approx", "="), ("\\simeq", "="),
        ("\\sim", "="), ("^\\prime", "'"), ("^{\\prime}", "'"), ("^\\circ", ""), ("%", ""),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = text.strip("\n$,.:;^_=+`!@#%&*~，。")
    return replace_braced(r"\\(?:mathrm|mathbf)\{~?", str, text)


def equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """Whether two normalised answers have equal parts, in any order, each within its tolerance (default: 1e-8)."""
    if gold == answer:
        return True
    golds, answers = _parts(gold), _parts(answer)
    tolerances = list(tolerance) if len(tolerance) > 1 else [tolerance[0] if tolerance else 1e-8] * len(golds)
    if len(golds) != len(answers):
        return False
    for part, precision in zip(golds, tolerances, strict=False):
        match = next((other for other in answers if _part_equal(part, other, precision)), None)
        if match is None:
            return False
        answers.remove(match)
    return True


def _parts(text: str) -> list[str]:
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


def _part_equal(gold: str, answer: str, precision: float) -> bool:
    if gold == answer and gold:
        return True
    if all(text.startswith(("(", "[")) and text.endswith((")", "]")) for text in (gold, answer)):
        try:
            if _interval_equal(gold, answer, precision):
                return True
        except Exception:
            return False
    checks = [_number_equal, _expression_equal, _equation_equal]
    if "=" in gold and "=" in answer:
        checks.remove(_expression_equal)
    for check in checks:
        try:
            if check(gold, answer, precision):
                return True
        except Exception:
            continue
    return False


def _number_equal(gold: str, answer: str, precision: float) -> bool:
    return any(abs(float(gold) * factor - float(answer)) <= precision * 1.01 for factor in (0.01, 1, 100))


def _interval_equal(gold: str, answer: str, precision: float) -> bool:
    golds, answers = gold.split("\\cup"), answer.split("\\cup")
    return len(golds) == len(answers) and all(
        one[0] == other[0]
        and one[-1] == other[-1]
        and all(
            _expression_equal(*ends, precision)
            for ends in zip(one.strip("[]()").split(","), other.strip("[]()").split(","), strict=False)
        )
        for one, other in zip(golds, answers, strict=True)
    )


def _expression_equal(gold: str, answer: str, precision: float) -> bool:
    sympy, parse_latex = parsers().sympy, parsers().parse_latex
    left, right = (parse_latex(text.split("=")[1 if "=" in text else 0].strip()) for text in (gold, answer))
    if left == right:
        return True
    # The LaTeX reader takes \pi for a variable.
    left, right = (side.subs(sympy.Symbol("pi"), math.pi) for side in (left, right))
    if left.has(sympy.Symbol) != right.has(sympy.Symbol):
        return False
    if left.has(sympy.Symbol):
        return bool(abs(sympy.simplify(left - right).evalf()) < 1e-3)
    if not (_power_is_computable(left) and _power_is_computable(right)):
        return False
    return bool(abs(left.evalf() - right.evalf()) <= precision * 1.01)


def _power_is_computable(value: Any) -> bool:
    if not isinstance(value, parsers().sympy.Pow):
        return True
    base, exponent = value.as_base_exp()
    return bool(base.is_number and exponent.is_number and abs(exponent.evalf()) <= 1000)


def _equation_equal(gold: str, answer: str, precision: float) -> bool:
    sympy, parse_latex = parsers().sympy, parsers().parse_latex
    left, right = (
        sympy.simplify(parse_latex(lhs) - parse_latex(rhs)) for lhs, rhs in (text.split("=") for text in (gold, answer))
    )
    ratios = sympy.simplify(left / right), sympy.simplify(right / left)
    return any(ratio.is_Integer and ratio != 0 for ratio in ratios)
