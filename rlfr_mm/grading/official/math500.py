"""MATH500, as scored for rho-1: parser.py and grader.py of ZubinGou/math-evaluation-harness.

GSM8K and Minerva Math use the same harness.
"""

import math
import re
from collections.abc import Callable
from typing import Any

from rlfr_mm.grading.item import Comparison, Found, Item, Problem
from rlfr_mm.grading.official import parsers
from rlfr_mm.grading.official.shared import brace_fractions, replace_braced, slash_to_fraction, untagged
from rlfr_mm.grading.strict.values import words_to_number

# As in the harness, where each is a regular expression: the dot in "a ." stands for any character.
_UNITS = (
    "east|degree|mph|kmph|ft|m sqaure| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|p . m|lb|tile|"
    "per|dm|lt|gain|ab|way|west|a .|b .|c .|d .|e .|f .|g .|h .|t|a|h|no change|men|soldier|pie|bc|excess|st|inches|"
    "noon|percent|by|gal|kmh|c|acre|rise|a . m|th|π r 2|sq|mark|l|toy|coin|sq . m|gallon|° f|profit|minw|yr|women|feet|"
    "am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|mtr|s|ohm|number|kmph|day|hour|minute|min|second|man|"
    "woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|unit|cu . m|cm 2|rs .|rs|kg|g|month|km|m|cm|mm|apple|liter|"
    "loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|metre|meter|inch"
)
_UNIT_PATTERNS = [re.compile(rf"(^|\W){unit}{plural}($|\W)") for plural in ("", "s") for unit in _UNITS.split("|")]


def find(item: Item) -> Found | None:
    """The harness's answer; None if it is empty."""
    answer = answer_of(untagged(item))
    return Found(answer, "harness") if answer else None


def compare(problem: Problem, found: Found) -> Comparison:
    """Equal as the harness's `math_equal` decides."""
    return Comparison.by_worker("harness", list(map(normalised, problem.golds)), found.answer)


def answer_of(response: str) -> str:
    """The normalised answer of a response, as in the field `pred` of the published results; may be empty.

    The first of these that the response contains counts: "final answer is $...$. I hope", the last box, "the answer
    is", the last number.
    """
    if "final answer is $" in response and "$. I hope" in response:
        answer = response.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()
    elif "boxed" in response:
        answer = _box_contents(response.split("boxed")[-1])
    elif "he answer is" in response:
        answer = response.split("he answer is")[-1].strip()
    elif "final answer is" in response:
        answer = response.split("final answer is")[-1].strip()
    else:
        numbers = re.findall(r"-?\d*\.?\d+", response.replace(",", ""))
        answer = numbers[-1] if numbers else ""
    answer = re.sub(r"\n\s*", "", answer).removeprefix(":").removesuffix(".").removesuffix("/")
    # The harness normalises the answer twice, which is not the same as once.
    return normalised(normalised(answer))


def _box_contents(tail: str) -> str:
    if not tail.startswith("{"):
        return tail.split("$")[0].strip()
    depth = 0
    for position, letter in enumerate(tail):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return tail[1:position]
    return tail[1:]


def normalised(text: str) -> str:
    """An answer or gold without units, degree signs, percent signs and names of unknowns."""
    if len(text) > 2000:
        return text
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    text = replace_braced(r"\\begin\{array\}\{", lambda _: "\\begin{pmatrix}", text)
    for old, new in (
        ("\\end{array}", "\\end{pmatrix}"), ("bmatrix", "pmatrix"), ("tfrac", "frac"), ("dfrac", "frac"),
        ("\\left", ""), ("\\right", ""), ("\\{", "{"), ("\\}", "}"),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = (text.partition("\\text{")[0] if text.endswith("}") else text).strip() or text
    for pattern in _UNIT_PATTERNS * 2:
        text = pattern.sub(r"\1\2", text) or text
    for removed in ("^{\\circ}", "^\\circ", "\\$", "$"):
        text = text.replace(removed, "")
    spelled = words_to_number(text, among_others=True)
    text = replace_braced(r"\\text\{", str, text if spelled is None else str(spelled))
    for old, new in (
        *((f"{name}{sign}", "") for sign in ("=", "\\in", "\\to") for name in "xyz"),
        ("\\emptyset", "{}"), ("(-\\infty,\\infty)", "\\mathbb{R}"), ("\\%", ""), ("%", ""), (" .", " 0."),
        ("{.", "{0."), ("infinity", "\\infty"),
    ):  # fmt: skip
        text = text.replace(old, new)
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = replace_braced(r"\\mbox\{", lambda _: "", text.replace("and", "").replace("\\mathbf", ""))
    if "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(?<=\d)\.0*+([^\d])", r"\1", text)
    text = re.sub(r"(?<=\d)\.0*$", "", text)
    if text.startswith("."):
        text = "0" + text
    if text.count("=") == 1 and text.index("=") <= 2:
        text = text.split("=")[1]
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    return slash_to_fraction(brace_fractions(text), roots=True)


def equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """The harness's `math_equal` on two normalised answers: it ignores factors of 100 and reads LaTeX leniently."""
    if gold == answer:
        return True
    numbers = _number(gold), _number(answer)
    if numbers[0] is not None and numbers[1] is not None:
        return any(math.isclose(numbers[0] * factor, numbers[1], rel_tol=1e-4) for factor in (0.01, 1, 100))
    if not answer:
        return False
    gold, answer = gold.strip(), answer.strip()
    if "pmatrix" in answer and "pmatrix" not in gold:
        row = gold[gold.find("{") : gold.rfind("}") + 1] if "{" in gold else ""
        gold = "\\begin{pmatrix}" + row.strip("{}").replace(",", "\\") + "\\end{pmatrix}" if "," in row else ""
    if _bare(gold, answer) == _bare(answer, gold):
        return True
    in_brackets = all(re.match(r"[(\[].+[)\]]", text) for text in (answer, gold))
    if in_brackets and _all_equal(gold[1:-1], answer[1:-1], ","):
        return True
    gold_rows, answer_rows = _matrix_rows(gold), _matrix_rows(answer)
    if gold_rows is not None and answer_rows is not None and len(gold_rows) == len(answer_rows):
        row_pairs = zip(gold_rows, answer_rows, strict=True)
        if all(_all_equal(*rows, "&") for rows in row_pairs):
            return True
    if gold.count("=") == answer.count("=") == 1:
        gold_difference, difference = ("{} - ({})".format(*map(str.strip, text.split("="))) for text in (gold, answer))
        if _symbolic(gold_difference, difference) or _symbolic(gold_difference, f"-({difference})"):
            return True
    elif (named := _value_of_short_name(answer)) is not None and "=" not in gold:
        if equal(gold, named):
            return True
    elif (named := _value_of_short_name(gold)) is not None and "=" not in answer and equal(named, answer):
        return True
    return _symbolic(gold, answer)


def _value_of_short_name(text: str) -> str | None:
    """The value in "x=5" or "k = 5"; None if the text has another form."""
    name, equals, value = text.partition("=")
    return value if equals and "=" not in value and len(name.strip()) <= 2 else None


def _number(text: str) -> float | None:
    text = text.replace(",", "")
    percent = text.endswith("%")
    try:
        return float(text.removesuffix("%").removesuffix("\\")) * 0.01 if percent else float(text)
    except ValueError:
        return None


def _bare(text: str, other: str) -> str:
    """The text without braces and round brackets, and without outer brackets unless `other` has the other kind."""
    if (text[:1] == "[" and text[-1:] == "]" and other[:1] != "(") or (
        text[:1] == "(" and text[-1:] == ")" and other[:1] != "["
    ):
        text = text.strip("[]()")
    return re.sub(r"[{}()]", "", text).lower()


def _all_equal(gold: str, answer: str, separator: str) -> bool:
    golds, answers = gold.split(separator), answer.split(separator)
    return len(golds) == len(answers) and all(map(equal, golds, answers))


def _matrix_rows(text: str) -> list[str] | None:
    matrix = re.fullmatch(r"\\begin\{[pb]matrix\}(.*)\\end\{[pb]matrix\}", text, re.DOTALL)
    return None if matrix is None else [row.strip() for row in matrix[1].split("\\\\") if row.strip()]


def _symbolic(gold: str, answer: str) -> bool:
    """Whether sympy reads the two as equal. As in the harness, an error in one step leads on to the next."""
    left, right = _read_as_far_as_possible(answer), _read_as_far_as_possible(gold)
    if left is None or right is None:  # here the harness lets sympy evaluate the text as Python; we do not
        return answer == gold
    sympy = parsers().sympy
    checks: tuple[Callable[[], bool], ...] = (
        lambda: str(left) == str(right) or left == right,
        lambda: left.equals(right) or sympy.simplify(left - right) == 0,
        lambda: abs(left.lhs - left.rhs).equals(abs(right.lhs - right.rhs)),
        lambda: math.isclose(float(sympy.N(right)), float(sympy.N(left)), rel_tol=1e-4),
    )
    for check in checks:
        try:
            if check():
                return True
        except Exception:
            continue
    return False


def _read_as_far_as_possible(text: str) -> Any:
    """sympy's reading of the text, else latex2sympy's; None if neither can read it."""
    sympy = parsers().sympy
    for read in (parsers().parse_latex, parsers().latex2sympy):
        for spelling in (text.replace("\\\\", "\\"), text):
            try:
                expression = read(spelling)
            except Exception:
                continue
            if isinstance(expression, sympy.Basic | sympy.MatrixBase):
                return expression
    return None
