r"""One spelling for each sign, style and word of an answer, whatever notation it is written in.

Pure text functions that take time linear in the length of the text and need no parser.
"""

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

from rlfr_mm.grading.strict.extract import plain_text, unemphasised
from rlfr_mm.grading.strict.values import words_to_number
from rlfr_mm.grading.strict.words import in_digits

_SIGNS = {
    "−": "-", "–": "-", "‒": "-", "﹣": "-", "‐": "-", "‑": "-",
    "×": "\\times ", "·": "\\cdot ", "⋅": "\\cdot ", "∙": "\\cdot ",
    "÷": "\\div ", "∗": "*", "∶": ":", "⁄": "/", "∞": "\\infty ", "≤": "\\le ", "≥": "\\ge ", "⩽": "\\le ",
    "⩾": "\\ge ", "≦": "\\le ", "≧": "\\ge ", "≠": "\\ne ", "≈": "\\approx ", "≅": "\\cong ", "∼": "\\sim ",
    "≡": "\\equiv ", "°": "^\\circ ", "º": "^\\circ ", "˚": "^\\circ ",
    "掳": "^\\circ ", "℃": "^\\circ C", "℉": "^\\circ F",
    "∠": "\\angle ", "△": "\\triangle ", "▵": "\\triangle ", "⊥": "\\perp ", "∥": "\\parallel ", "‖": "\\parallel ",
    "⊙": "\\odot ", "∪": "\\cup ", "∩": "\\cap ", "∈": "\\in ", "∉": "\\notin ", "∖": "\\setminus ", 
    "∅": "\\emptyset ",
    "⊂": "\\subset ", "⊆": "\\subseteq ", "±": "\\pm ", "∓": "\\mp ", "√": "\\sqrt", "∛": "\\sqrt[3]",
    "∜": "\\sqrt[4]", "⟨": "(", "⟩": ")", "⌊": "\\lfloor ", "⌋": "\\rfloor ", "⌈": "\\lceil ", "⌉": "\\rceil ",
    "ℝ": "\\mathbb{R}", "ℤ": "\\mathbb{Z}", "ℕ": "\\mathbb{N}", "ℚ": "\\mathbb{Q}", "ℂ": "\\mathbb{C}", "→": "\\to ",
    "↦": "\\mapsto ", "∑": "\\sum ", "∏": "\\prod ", "∫": "\\int ", "∂": "\\partial ", "…": "\\ldots ", "⋯": "\\ldots ",
    "′": "'", "″": "''", "’": "'", "‘": "'", "“": '"', "”": '"', "µ": "\\mu ", "Ω": "\\Omega ", "∆": "\\Delta ",
    "∧": "\\wedge ", "∨": "\\vee ", "¬": "\\neg ", "万": "\\times10^{4}", "亿": "\\times10^{8}", "和": " and ",
    "与": " and ", "或": " or ", "、": ", ", "，": ", ",
}  # fmt: skip
_RAISED = {"<super>": "^", "<sub>": "_"}
_GREEK = "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau phi chi psi omega"
_CAPITALS = "Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
_LOOKALIKES = {"omicron": "o", "upsilon": "\\upsilon ", "final sigma": "\\varsigma ", "script theta": "\\vartheta "}
_GREEK_WORD = re.compile(rf"(?<![A-Za-z\\])({'|'.join([*_GREEK.split(), *_CAPITALS.split()])})(?![A-Za-z])")
_FUNCTIONS = "arcsin arccos arctan arccot sinh cosh tanh sin cos tan cot csc ln log exp"
# a function's name in plain text, before its argument
_FUNCTION_WORD = re.compile(
    rf"(?<![A-Za-z\\])(?:({_FUNCTIONS.replace(' ', '|')}|gcd|lcm|sec|min|max|det)(?=\s?[({{^_\\|])"
    rf"|({_FUNCTIONS.replace(' ', '|')})(?=\s?\d|\s?[A-Za-z](?![A-Za-z])|[xyz](?![A-Za-z])))"
)
_STYLE = (  # of text that stays
    r"displaystyle|textstyle|scriptstyle|bfseries|itshape|rm|bf|it|sf|tt|cal|tiny|small|normalsize|large|Large|LARGE|huge"
    r"|Huge|left|right|middle|big|Big|bigg|Bigg|bigl|bigr|Bigl|Bigr|biggl|biggr|Biggl|Biggr|limits|nolimits"
    r"|boldmath|hfill|centering|noindent|checkmark|allowbreak|nobreak"
)
_STYLES = re.compile(
    rf"\\(?:{_STYLE})(?![A-Za-z]) ?|\\color\s?\{{[^{{}}]{{0,40}}\}}|\\(?:textcolor|colorbox)\s?\{{[^{{}}]{{0,40}}\}}"
    r"|\\(?:hspace|vspace|hphantom|vphantom|phantom|label|tag)\*?\s?\{[^{}]{0,80}\}"
    r"|\\(?:boldsymbol|bm|pmb|underline|uline|emph|mathnormal|mathstrut|mathop|mathord|mathopen|mathclose|mbox)(?![A-Za-z])"
)
_FONT_SWITCH = re.compile(r"\{\s?\\(?:rm|mathrm)\s([^{}]{0,80})\}")
_SPACES = re.compile(r"(?<!\\)\\(?:[,;:!> ]|(?:quad|qquad|enspace|thinspace|space)(?![A-Za-z]))|~")
_ROW_GAP = re.compile(r"\\\\\s?\[-?[\d.]{1,6}\s?[a-z]{2}\]")  # the space after a row of a matrix
_ROW_END = re.compile(r"(?:\\\\|\\newline)\s{0,9}\Z")
_BEFORE_TEXT = re.compile(r"(\\[A-Za-z]{1,20})(?=\\(?:text|mathrm|operatorname)(?![A-Za-z]))")
_RAISED_O = re.compile(r"(?<=\d)\s?\^\s?(?:o(?![A-Za-z])|\{\s?(?:o|\\(?:text|mathrm)\s?\{\s?o\s?\})\s?\})")
_DECIMAL_COMMA = re.compile(r"(?<=\d)\{,\}(?=(?:\d\d?|\d{4,15})(?!\d))")
_DASH = re.compile(r"(?:^|(?<=[=(\[{,$]))\s?—\s?(?=[\d\\])")
_STRUCK_OUT = re.compile(r"~~([^~]{1,100})~~")  # in Markdown
_THOUSANDS = re.compile(
    r"(?<![\d.,}])([1-9]\d{0,2})((?:(?:\s|~|,?\\[,;:! ]|,?\{[,!]?\}){1,2}\d{3}){1,9})(?![\d/]|\s?\\[dt]?frac|[\s~]\d)"
)
_POWER = re.compile(r"(?<=[\w)}])\s?\*\*\s?(?:(-\d{1,9}|\d{2,9})(?![\w.])|(?=[\w({\\-]))")  # in code
_COMBINING = "\u0304\u0305\u0307"  # macron, overline and dot above a digit
_REPEATING = re.compile(
    r"(?<![\d.])(\d{0,15})\.(\d{0,30}?)(?:"
    r"\\(?:overline|bar)\s?(?:\{(\d{1,30})\}|(\d))|\((\d{1,30})\)(?![\d(])"
    r"|(\\dot\s?\{?\d\}?\d{0,30}(?:\\dot\s?\{?\d\}?)?)"
    rf"|(\d[{_COMBINING}](?:\d[{_COMBINING}]?){{0,30}})"
    r"|(?<=\d)\s?(\.\.\.|\\(?:l|c)?dots(?![A-Za-z])))"
)
_PERIOD = re.compile(r"(\d{0,30}?)(\d{1,15}?)\2{1,30}")
_BASE_NUMBER = r"(?:\d{1,2}|\\text\s?\{\s?(?:base[\s-])?[a-z0-9]{1,9}\s?\}|[a-z]{3,9}|\(\d{1,2}\))"
_BASE = re.compile(
    rf"(?<![A-Za-z0-9_\\^.])\(?([0-9][0-9A-F]{{0,40}})\)?(?:\s?_\s?(?:\{{\s?({_BASE_NUMBER})\s?\}}|(\d)(?!\d))"
    r"|\s?(?:\\text\s?\{)?\s?\(?(?:in )?base[\s_-]\{?([a-z]{3,9}|\d{1,2})\}?\)?\}?)(?![A-Za-z0-9])"
)
_CONSTANT = rf"\\(?:{'|'.join([*_GREEK.split(), *_CAPITALS.split()])}|infty)(?![A-Za-z])"


def _fraction(match: re.Match[str]) -> str:
    r"""The fraction with braces, as TeX reads it: ``\frac\pi4`` is ``\frac{\pi}{4}``."""
    top, bottom = match[1] or match[2] or match[3], match[4]
    return f"\\frac{{{top}}}" + (f"{{{bottom}}}" if bottom else "")


_RENAMED = {"\\land": "\\wedge ", "\\lor": "\\vee ", "\\lnot": "\\neg ", "\\smallsetminus": "\\setminus ",
            "\\Vert": "\\parallel ", "\\doteq": "="}  # fmt: skip
_SYNONYMS: list[tuple[re.Pattern[str], str | Callable[[re.Match[str]], str]]] = [
    (re.compile(r"\\(?:leq|leqslant|leqq)(?![A-Za-z])|<=|=<"), r"\\le "),
    (re.compile(r"\\(?:geq|geqslant|geqq)(?![A-Za-z])|>=|=>"), r"\\ge "),
    (re.compile(r"\\(?:neq|not\s?=)|!=|<>"), r"\\ne "),
    (re.compile(r"\\lt(?![A-Za-z])"), "<"),
    (re.compile(r":=|\\coloneqq(?![A-Za-z])"), "="),
    (re.compile(r"(?<![A-Za-z\\])log(10|2)(?=\s?\()"), r"\\log_{\1}"),
    (re.compile(r"\\lg(?![A-Za-z])"), r"\\log_{10}"),
    (re.compile(rf"\\operatorname\s?\{{({_FUNCTIONS.replace(' ', '|')})\}}"), r"\\\1 "),
    (
        re.compile(r"\\hat\s?(?:\{\s?([ijk])\s?\}|([ijk])(?![A-Za-z]))|\\mathbf\s([A-Za-z])(?![A-Za-z])"),
        lambda match: match[1] or match[2] or match[3],
    ),
    (re.compile(r"\\log_(?:e(?![A-Za-z])|\{e\})"), r"\\ln "),
    (re.compile(r"(?<=\d)\s?x\s?(?=10\s?\^)"), r"\\times "),
    (re.compile(r"\\gt(?![A-Za-z])"), ">"),
    (re.compile(r"(?:^|(?<=[=,({]))\s?\+\s?/?\s?-"), r"\\pm "),
    (re.compile(r"(?<=[\w)}] )\+ -|(?<=[\w)}])\+/-"), lambda match: "-" if " " in match.group() else "\\pm "),
    (re.compile(r"(?<![A-Za-z\\])(?:infinity|infty|inf)(?![A-Za-z])"), r"\\infty "),
    (re.compile(r"\+\s?\\infty"), r"\\infty"),
    (re.compile(r"\\(?:varnothing|empty)(?![A-Za-z])"), r"\\emptyset "),
    (re.compile(r"\\(?:lbrace|rbrace)(?![A-Za-z])"), lambda match: "\\{" if match.group() == "\\lbrace" else "\\}"),
    (re.compile(r"\\(?:land|lor|lnot|smallsetminus|Vert|doteq)(?![A-Za-z])"), lambda match: _RENAMED[match.group()]),
    (re.compile(r"\\(?:vartriangle|bigtriangleup|Delta(?=\s?[A-Z]{3}(?![A-Za-z])))"), r"\\triangle "),
    (re.compile(r"\\(?:overset|stackrel)\s?\{\s?\\frown\s?\}|\\(?:wideparen|overarc|overparen)"), r"\\widehat"),
    (re.compile(r"\\degree(?![A-Za-z])|\^\s?\{?\s?\\circ\s?\}?"), r"^\\circ"),
    (re.compile(r"\\(?:[dtcs]|nice)frac(?![A-Za-z])"), r"\\frac"),
    (re.compile(rf"\\frac(?:\s?(\d)|\s([A-Za-z])|\s?({_CONSTANT}))\s?(\d|[A-Za-z]|{_CONSTANT})?"), _fraction),
    (re.compile(r"(?<=[\^_])\s?(\\frac\{[^{}]{1,40}\}\{[^{}]{1,40}\})"), r"{\1}"),
    (re.compile(r"\\(?:langle|rangle)(?![A-Za-z])"), lambda match: "(" if "lang" in match.group() else ")"),
    (re.compile(r"\\mathbb\s?\{?R\}?(?![A-Za-z])|\\R(?![A-Za-z])"), r"(-\\infty,\\infty)"),
]


_CHOSEN = re.compile(
    r"(?<![\w\\])(?:C\((\d{1,4}),(\d{1,4})\)|(?:\{\})?_\{?(\d{1,4})\}?C_\{?(\d{1,4})\}?|(\d{1,4})C(\d{1,4})(?!\w)"
    r"|C_\{?(\d{1,4})\}?\^\{?(\d{1,4})\}?|C\^\{?(\d{1,4})\}?_\{?(\d{1,4})\}?|\{?(\d{1,4})\\choose(\d{1,4})\}?)"
)


@lru_cache(maxsize=2048)
def _sign(character: str) -> tuple[str, str]:
    """("", LaTeX) of a character, or ("^" or "_", text) if it stands raised or lowered."""
    if character in _SIGNS:
        return "", _SIGNS[character]
    kind, _, codes = unicodedata.decomposition(character).partition(" ")
    plain = "".join(chr(int(code, 16)) for code in codes.split()) if kind.startswith("<") else ""
    if kind in _RAISED:
        return _RAISED[kind], _SIGNS.get(plain, plain)
    if kind == "<fraction>":
        top, _, bottom = plain.partition("⁄")
        return "", f"\\frac{{{top}}}{{{bottom}}}"
    if kind in ("<font>", "<wide>", "<noBreak>"):
        return "", plain if plain.isascii() else _sign(plain)[1]
    if character.isspace() or unicodedata.category(character) in ("Zs", "Cf"):
        return "", " " if character.isspace() else ""
    name = unicodedata.name(character, "").lower()
    greek = re.fullmatch(r"greek (small|capital) letter ([a-z ]+)|greek ([a-z]+) symbol", name)
    if greek is None:
        return "", character
    letter = greek[2] or greek[3]
    letter = "lambda" if letter == "lamda" else letter
    if letter in _LOOKALIKES and greek[1] != "capital":
        return "", _LOOKALIKES[letter]
    letter = letter.capitalize() if greek[1] == "capital" else letter
    if letter in _GREEK.split() or letter in _CAPITALS.split():
        return "", f"\\{letter} "
    return "", letter[0] if greek[1] == "capital" else character


@lru_cache(maxsize=512)
def signs(text: str) -> str:
    r"""The text with LaTeX commands for typographic signs: ``x²≤√3`` becomes ``x^{2}\le \sqrt3``.

    Repeating decimals are written with an overline, thousands without spaces, and numbers in words in digits.
    """
    text = _REPEATING.sub(_overlined, in_digits(text))
    text = re.sub(r"[^\x00-\x7f]+", _spelled, _DASH.sub("-", _STRUCK_OUT.sub(r"\\sout{\1}", text)))
    text = _REPEATING.sub(_overlined, text) if "dots" in text else text
    text = re.sub(r"(?<![\w)}])\^\{(\d)\}(?=\\sqrt)", r"\\sqrt[\1]", text).replace("]\\sqrt", "]")
    if "**" in text:
        text = _POWER.sub(lambda power: f"^{{{power[1]}}}" if power[1] else "^", unemphasised(text))
    return _DECIMAL_COMMA.sub(".", _THOUSANDS.sub(lambda match: match[1] + re.sub(r"\D", "", match[2]), text))


def _spelled(match: re.Match[str]) -> str:
    spelled = []
    for raised, group in groupby(map(_sign, match.group()), key=lambda sign: sign[0]):
        text = "".join(latex for _, latex in group)
        spelled.append(f"{raised}{{{text}}}" if raised else text)
    return "".join(spelled)


def _overlined(match: re.Match[str]) -> str:
    whole, fixed, bar, bar_digit, brackets, dots, marked, more = match.groups()
    if more:
        period = _PERIOD.fullmatch(fixed)
        return f"{whole}.{period[1]}\\overline{{{period[2]}}}" if period else match.group()
    digits = bar or bar_digit or brackets or re.sub(r"\D", "", dots or marked)
    return f"{whole or 0}.{fixed}\\overline{{{digits}}}"


@lru_cache(maxsize=512)
def styled(text: str) -> str:
    r"""The text without fonts, colours, sizes and LaTeX's spaces: ``{\bf 5}\,`` becomes 5. ``\text`` stays."""
    text = _ROW_END.sub("", _ROW_GAP.sub(r"\\\\", _RAISED_O.sub(r"^\\circ", text)))
    text = _FONT_SWITCH.sub(r"\\mathrm{\1}", text)
    text = re.sub(r"\\math(?:sf|tt|normal|up)(?![A-Za-z])", r"\\mathrm", text)
    text = re.sub(r"\\text(?:bf|it|rm|sf|tt|up|normal|md|sc)(?![A-Za-z])", r"\\text", text)
    text = re.sub(r"(?<![A-Za-z.])([A-Za-z])\.([A-Za-z])(?:\.|(?![A-Za-z.]))", r"\1\2", text)  # a.m.
    text = _SPACES.sub(" ", _STYLES.sub("", text)).strip()
    while text.startswith("{") and _closing(text) == len(text.rstrip(" .")) - 1:
        text = text.rstrip(" .")[1:-1].strip()
    return text


def _closing(text: str) -> int:
    """The position of the brace that closes the one at the start; -1 if none does."""
    depth = 0
    for match in re.finditer(r"\\.|[{}]", text):
        depth += {"{": 1, "}": -1}.get(match.group(), 0)
        if depth == 0 and match.group() == "}":
            return match.start()
    return -1


def latex(text: str) -> str:
    r"""The text in one notation: signs, synonyms of commands, functions and Greek letters in plain text.

    >>> latex("sqrt(2)≤cos(2x)")
    '\\sqrt{2}\\le\\cos(2x)'
    """
    text = styled(signs(text))
    text = re.sub(r"(?<![A-Za-z\\])(sqrt|cbrt)(?=\s?[({\[\d])", lambda m: _ROOTS[m[1]], text)
    for pattern, replacement in _SYNONYMS:
        text = pattern.sub(replacement, text)
    text = _braced(text)
    text = _RADICAND.sub(_root, text)
    text = _GREEK_WORD.sub(r"\\\1 ", text)
    text = _FUNCTION_WORD.sub(lambda match: f"\\{match[1] or match[2]} ", text)
    text = re.sub(r"(\\[a-z]{2,7}) (?=[({^_\\\d])", r"\1", text)
    text = _BASE.sub(_based, text)
    text = re.sub(r"(?<![\w}\])' |])\(([^()]{1,100})\)/\(([^()]{1,100})\)", r"\\frac{\1}{\2}", text)
    return re.sub(r"(?<=[\d}])\s{0,3}(?:\\text\s?\{\s?)?\b(?:percent|per cent|percentage|pct)\b\s?\}?", r"\\%", text)


_RADICAND = re.compile(
    r"\\sqrt\s?(\[[^\[\]]{0,20}\])?\s?(\d{1,300}(?:\.\d{1,300})?|[A-Za-z](?![A-Za-z])"
    rf"|{_CONSTANT}|\\frac\{{[^{{}}]{{1,40}}\}}\{{[^{{}}]{{1,40}}\}})"
)
_ROOTS = {"sqrt": "\\sqrt", "cbrt": "\\sqrt[3]"}


def _root(match: re.Match[str]) -> str:
    return f"\\sqrt{match[1] or ''}{{{match[2]}}}"


def _based(match: re.Match[str]) -> str:
    base = re.sub(r"\\text|base|[^a-z0-9]", "", match[2] or match[3] or match[4])
    number = words_to_number(base)
    if number is None or any(int(digit, 16) >= number for digit in match[1]):
        return match.group()
    return f"{match[1]}_{{{number}}}"


def _braced(text: str) -> str:
    r"""The text with braces for the round brackets of ``\sqrt(...)``, ``x^(...)`` and ``x_(...)``."""
    if not re.search(r"(?:\\sqrt(?:\[\d\])?|\^|_)\s?\(", text):
        return text
    parts, closing = list(text), list[str]()
    for index, character in enumerate(text):
        if character == "(":
            raised = re.search(r"(?:\\sqrt(?:\[\d\])?|\^|_)\s?$", text[max(index - 9, 0) : index]) is not None
            closing.append("}" if raised else ")")
            parts[index] = "{" if raised else "("
        elif character == ")" and closing:
            parts[index] = closing.pop()
    return "".join(parts)


@lru_cache(maxsize=512)
def tidy(text: str) -> str:
    """The `plain_text`, with signs as `latex` writes them, without meaningless spaces and doubled backslashes."""
    if "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z])", r"\\", text)
    text = plain_text(_BEFORE_TEXT.sub(r"\1 ", styled(signs(text))))
    text = re.sub(r"\s+", " ", latex(text)).rstrip(". ").strip()
    text = re.sub(r"(?<=\d), (?=\d{3}(?!\d))", ",,", text)  # a list, not thousands
    text = re.sub(r"(?<![A-Za-z]{2})(?:(?<!\d) | (?!\d))(?![A-Za-z]{2})", "", text)
    return re.sub(r"(\\[A-Za-z]{1,20}) (?![A-Za-z])", r"\1", text.replace(",,", ", "))


def combinations(text: str) -> str:
    r"""The text with binomial coefficients for numbers of combinations.

    With an upper and a lower index, as in ``C_5^2`` and ``C_2^5``, the larger is the total.

    >>> combinations("C(5,2)+1")
    '\\binom{5}{2}+1'
    """
    return _CHOSEN.sub(_binomial, text)


def _binomial(match: re.Match[str]) -> str:
    total, chosen = (int(part) for part in match.groups() if part is not None)
    if chosen > total and match[1] is match[3] is match[5] is match[11] is None:
        total, chosen = chosen, total
    return f"\\binom{{{total}}}{{{chosen}}}"
