r"""The text rules of the benchmarks' own scorers, bugs included, written from their published rules.

Each section names its source. The parts that evaluate LaTeX are in `equivalence`; the order in which the parts are used
is in `scorers`. Extraction by a judge model cannot be copied and is replaced in `scorers` by rules over `extract`.
"""

import math
import re
from collections.abc import Sequence

from rlfr_mm.grading.extract import last_boxed, words_to_number

# --- MathVista: evaluation/calculate_score.py of lupantech/MathVista -------------------------------------------------


def edit_distance(left: str, right: str) -> int:
    """Levenshtein distance, in time linear in the longer text (Myers' bit vectors, in Hyyrö's form)."""
    text, pattern = (left, right) if len(left) >= len(right) else (right, left)
    if not pattern:
        return len(text)
    where: dict[str, int] = {}
    for position, letter in enumerate(pattern):
        where[letter] = where.get(letter, 0) | 1 << position
    everywhere = (1 << len(pattern)) - 1
    last = 1 << (len(pattern) - 1)
    rises, falls, distance = everywhere, 0, len(pattern)
    for letter in text:
        equal = where.get(letter, 0)
        diagonal = (((equal & rises) + rises) ^ rises) | equal | falls
        up = falls | ~(diagonal | rises)
        down = rises & diagonal
        distance += bool(up & last) - bool(down & last)
        up = up << 1 | 1
        rises = (down << 1 | ~(diagonal | up)) & everywhere
        falls = up & diagonal & everywhere
    return distance


def mathvista_prediction(
    extraction: str, choices: Sequence[str], answer_type: str, precision: int, whole_numbers_only: bool
) -> str | None:
    """The extraction in the form of the gold answer; None where the answer type cannot be read.

    A choice is always found: the option of the first ``(x)`` or of a bare capital letter, else the choice with the
    smallest edit distance, the first of equals. `whole_numbers_only` is the older rule ``int(x)``, for which "5.0" is
    no integer; the current one is ``int(float(x))``, which truncates.
    """
    if choices:
        answer = extraction.strip()
        bracketed = re.search(r"\(([a-zA-Z])\)", answer)
        if bracketed:
            answer = bracketed.group(1).upper()
        if len(answer) == 1 and 0 <= ord(answer) - ord("A") < len(choices):
            return choices[ord(answer) - ord("A")]
        return min(choices, key=lambda choice: edit_distance(answer, choice))
    try:
        if answer_type == "integer":
            return str(int(extraction) if whole_numbers_only else int(float(extraction)))
        if answer_type == "float":
            return str(round(float(extraction), precision))
    except (ValueError, OverflowError):
        return None
    return extraction


# --- MATH-V: evaluation/evaluate.py and utils.py of mathllm/MATH-V ---------------------------------------------------

_MATHV_PHRASES = ("the final answer is", "the answer is", "the correct answer is", "the answer should be")


def mathvision_answer(response: str) -> str:
    """The normalised answer of a response, as in the field `model_answer` of the published results; may be empty."""
    answer = response.strip()
    for letter in "ABCDE":
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if answer.endswith(ends) or answer.startswith(starts):
            answer = letter
    after_is = answer.split("is ")[-1].rstrip(".")
    if _is_float(after_is):
        answer = after_is
    if "oxed{" not in answer:
        for phrase in _MATHV_PHRASES:
            for spelling in (phrase, phrase.replace("the", "The")):
                if spelling in answer:
                    answer = answer.split(spelling)[-1].strip().split("\n")[0].split(". ")[0]
                else:
                    answer = answer.strip()
    elif answer.count("oxed{") > 1:
        answer = "\\boxed{" + answer.split("oxed{")[-1]
    answer = _mathvision_normalised(answer)
    for wrapped in ("({})", "{{{}}}"):
        for letter in "abcde":
            answer = answer.replace(wrapped.format(letter), letter)
    return answer.rstrip(".").lstrip(":").strip()


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _mathvision_normalised(text: str) -> str:
    text = text.lower().replace("{}", "")
    start, end = text.find("oxed{"), text.rfind("}")
    if 0 <= start < end - len("oxed{") + 1:
        text = text[start + len("oxed{") : end]  # to the last brace of the text, not to the one that fits
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
        text = _brace_fractions(re.sub(r"\\sqrt(?!\\sqrt)([^{])", r"\\sqrt{\1}", text))
    return "\\frac{1}{2}" if text == "0.5" else _slash_to_fraction(text)


def _brace_fractions(text: str) -> str:
    r"""``\frac12`` to ``\frac{1}{2}``; a lone ``\frac`` with fewer than two letters behind it leaves the text alone."""
    parts = text.split("\\frac")
    fixed = parts[0]
    for part in parts[1:]:
        if part.startswith("{"):
            fixed += "\\frac" + part
        elif len(part) < 2:
            return text
        elif part[1] == "{":
            fixed += f"\\frac{{{part[0]}}}{part[1:]}"
        else:
            fixed += f"\\frac{{{part[0]}}}{{{part[1]}}}{part[2:]}"
    return fixed


def _slash_to_fraction(text: str, roots: bool = False) -> str:
    r"""``3/4`` to ``\frac{3}{4}`` where both sides are whole numbers, or hold a root if `roots`."""
    sides = text.split("/")
    if len(sides) != 2 or not all(re.fullmatch(r"0|-?[1-9]\d*", side) or (roots and "sqrt" in side) for side in sides):
        return text
    return f"\\frac{{{sides[0]}}}{{{sides[1]}}}"


# --- MATH500 and GSM8K of rho-1: parser.py of ZubinGou/math-evaluation-harness --------------------------------------

# As they stand in the harness, where each is a regular expression: "a ." is an a, a space and any character.
_HARNESS_UNITS = (
    "east|degree|mph|kmph|ft|m sqaure| m east|sq m|deg|mile|q .|monkey|prime|ratio|profit of rs|rd|o|gm|p . m|lb|tile|"
    "per|dm|lt|gain|ab|way|west|a .|b .|c .|d .|e .|f .|g .|h .|t|a|h|no change|men|soldier|pie|bc|excess|st|inches|"
    "noon|percent|by|gal|kmh|c|acre|rise|a . m|th|π r 2|sq|mark|l|toy|coin|sq . m|gallon|° f|profit|minw|yr|women|feet|"
    "am|pm|hr|cu cm|square|v â € ™|are|rupee|rounds|cubic|cc|mtr|s|ohm|number|kmph|day|hour|minute|min|second|man|"
    "woman|sec|cube|mt|sq inch|mp|∏ cm ³|hectare|more|sec|unit|cu . m|cm 2|rs .|rs|kg|g|month|km|m|cm|mm|apple|liter|"
    "loss|yard|pure|year|increase|decrease|d|less|Surface|litre|pi sq m|s .|metre|meter|inch"
)
_HARNESS_UNIT_PATTERNS = [
    re.compile(rf"(^|\W){unit}{plural}($|\W)") for plural in ("", "s") for unit in _HARNESS_UNITS.split("|")
]


def harness_answer(response: str) -> str:
    """The normalised answer of a response, as in the field `pred` of the published results; may be empty.

    After "final answer is $...$. I hope" and the last box comes "the answer is", and then the last number there is.
    """
    if "final answer is $" in response and "$. I hope" in response:
        answer = response.split("final answer is $", 1)[1].split("$. I hope", 1)[0].strip()
    elif "boxed" in response:
        answer = _harness_box(response.split("boxed")[-1])
    elif "he answer is" in response:
        answer = response.split("he answer is")[-1].strip()
    elif "final answer is" in response:
        answer = response.split("final answer is")[-1].strip()
    else:
        numbers = re.findall(r"-?\d*\.?\d+", response.replace(",", ""))
        answer = numbers[-1] if numbers else ""
    answer = re.sub(r"\n\s*", "", answer).removeprefix(":").removesuffix(".").removesuffix("/")
    # The harness runs its normalisation on the answer twice, which is not the same as once.
    return harness_normalised(harness_normalised(answer))


def _harness_box(tail: str) -> str:
    if not tail.startswith("{"):
        return tail.split("$")[0].strip()
    depth = 0
    for position, letter in enumerate(tail):
        depth += (letter == "{") - (letter == "}")
        if depth == 0:
            return tail[1:position]
    return tail[1:]


def harness_normalised(text: str) -> str:
    """An answer or gold as the harness compares them: units, degree signs, percent signs and names of unknowns gone."""
    if len(text) > 2000:
        return text
    text = text.strip().replace("\n", "").rstrip(".").replace("\\!", "")
    text = re.sub(r"\\begin\{array\}\{.*?\}", r"\\begin{pmatrix}", text)
    for old, new in (
        ("\\end{array}", "\\end{pmatrix}"), ("bmatrix", "pmatrix"), ("tfrac", "frac"), ("dfrac", "frac"),
        ("\\left", ""), ("\\right", ""), ("\\{", "{"), ("\\}", "}"),
    ):  # fmt: skip
        text = text.replace(old, new)
    text = re.sub(r"\\text{.*?}$", "", text).strip() or text
    for pattern in _HARNESS_UNIT_PATTERNS * 2:
        text = pattern.sub(r"\1\2", text) or text
    for removed in ("^{\\circ}", "^\\circ", "\\$", "$"):
        text = text.replace(removed, "")
    spelled = words_to_number(text, among_others=True)
    text = re.sub(r"\\text\{(.*?)\}", r"\1", text if spelled is None else str(spelled))
    for name in ("x=", "y=", "z=", "x\\in", "y\\in", "z\\in", "x\\to", "y\\to", "z\\to"):
        text = text.replace(name, "")
    text = text.replace("\\emptyset", "{}").replace("(-\\infty,\\infty)", "\\mathbb{R}")
    text = text.replace("\\%", "").replace("%", "").replace(" .", " 0.").replace("{.", "{0.")
    text = text.replace("infinity", "\\infty")
    if "\\infty" not in text:
        text = text.replace("inf", "\\infty")
    text = re.sub(r"\\mbox{.*?}", "", text.replace("and", "").replace("\\mathbf", ""))
    if "i" not in text:
        text = text.replace("j", "i")
    text = re.sub(r"(\d+)\.0*([^\d])", r"\1\2", text)
    text = re.sub(r"(\d+)\.0*$", r"\1", text)
    if text.startswith("."):
        text = "0" + text
    if text.count("=") == 1 and text.index("=") <= 2:
        text = text.split("=")[1]
    text = re.sub(r"\\sqrt(\w+)", r"\\sqrt{\1}", text).replace(" ", "")
    return _slash_to_fraction(_brace_fractions(text), roots=True)


def gsm8k_answer(response: str) -> str | None:
    """What follows the last "A:" or "####" at the start of a line (openai/grade-school-math); None without one."""
    lines = re.findall(r"^(?:A:|####)[ \t]*(.*)$", response, re.MULTILINE)
    return lines[-1].strip() if lines else None


# --- Minerva Math: numeric_equality in the appendix of arXiv 2206.14858 ----------------------------------------------


def minerva_close(gold: float, value: float) -> bool:
    """Near by numpy's isclose; within a hundredth of their mean where that calls one, or their difference, zero."""
    if min(abs(gold), abs(value), abs(gold - value)) <= 1e-8:
        return abs(gold - value) < 0.01 * (gold + value) / 2 or gold == value
    return abs(gold - value) <= 1e-8 + 1e-5 * abs(value)


# --- OlympiadBench: eval/auto_scoring_judge.py and inference/judge.py of OpenBMB/OlympiadBench -----------------------


def olympiad_answer(response: str) -> str:
    """What follows the benchmark's closing phrase, the last time, else the response; the judge reads its boxes."""
    closings = re.findall("So the final answer is (.*)", response)
    return closings[-1].strip() if closings else response


def _boxes(text: str) -> list[str]:
    """The contents of every box, nested ones as well, in the order in which they open."""
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


def olympiad_normalised(text: str) -> str:
    r"""All boxes joined by commas, else the ``$...$`` of the last line, else the text; without signs that do not count.

    Raises ValueError for unbalanced braces in a box.
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
    return re.sub(r"\\(?:mathrm|mathbf)\{~?([^}]*)\}", r"\1", text)


# --- VisuLogic: evaluation/eval_model.py of VisuLogic-Benchmark/VisuLogic-Eval ---------------------------------------

_VISULOGIC_PHRASES = (
    "answer:", "the final answer is:", "the answer is option:", "the answer is:", "the correct answer is option:",
    "the correct answer is:", "the answer should be:", "the final answer is", "the answer is option", "the answer is",
    "the correct answer is option", "the correct answer is", "the answer should be",
)  # fmt: skip


def visulogic_letter(response: str) -> str | None:
    """The option letter that the benchmark's own rules find; None where it asks a judge model."""
    boxed = last_boxed(response)
    if boxed is not None:
        for command in ("\\text{", "\\rm{", "\\mathbf{", "$", "}"):
            boxed = boxed.replace(command, "")
        if boxed.strip() in ("A", "B", "C", "D") and len(boxed) <= 2:
            return boxed.strip()
    text = response.replace("<|endoftext|>", "")
    for letter in "ABCD":
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            return letter
    text = text.lower()
    for phrase in _VISULOGIC_PHRASES:
        if phrase in text:
            text = text.split(phrase)[-1].strip().split("\n")[0].split(".")[0]
            if text.upper() in ("A", "B", "C", "D"):
                return text.upper()
    return response if response in ("A", "B", "C", "D") else None


# --- DynaMath: evaluation/opensource_json_eval.py of DynaMath/DynaMath -----------------------------------------------


def dynamath_number(answer: str) -> float | None:
    """The number at the start of an answer, a multiple of pi where "π" follows it."""
    first, pi, _ = (answer if answer.isdigit() else answer.split(" ")[0]).partition("π")
    try:
        return float(first) * (math.pi if pi else 1.0)
    except ValueError:
        return None
