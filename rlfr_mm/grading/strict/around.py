"""What the text around a box does to the value in it.

A box inside a calculation, such as ``2\\times\\boxed{6}``, is not the answer. What stands behind a box and changes its
value, such as a unit, a factor or a power, belongs to the answer, which then equals no gold but one with the same.
Pure text functions that look at no more than 120 characters on each side.
"""

import re
from collections.abc import Iterable

from rlfr_mm.grading.item import Span
from rlfr_mm.grading.strict.doubt import open_end
from rlfr_mm.grading.strict.units import makes_another, measured

_NEAR = 120
_GAP = r"(?:[ {~$]|\\[,;:! ]|\\\()*"
_BEHIND = r"(?:[ ~$]|\\[,;:! )]|\{\})*"
_FUNCTION = r"log|ln|lg|exp|a?r?c?(?:sin|cos|tan)|sec|csc|cot|sinh|cosh|tanh|sqrt|gcd|lcm|det|min|max|phi|varphi"
_RELATION = r"[<>≤≥≠]|\\[lg]eq?(?:slant)?(?![A-Za-z])|\\neq?(?![A-Za-z])"
_SYMBOL = (
    r"\\(?:alpha|beta|gamma|delta|epsilon|zeta|eta|theta|kappa|lambda|mu|nu|xi|pi|rho|sigma|tau|phi|chi|psi|omega"
    r"|Gamma|Delta|Theta|Lambda|Sigma|Phi|Psi|Omega|circ|infty|prime)"
)
# a box behind this is a part of a number or formula
_PART_OF = re.compile(
    r"(?:\d|\b0\.|\\(?:[dt]?frac|binom)\{[^{}]{0,20}|\\(?:[dt]?frac|binom)\{[^{}]{0,20}\}\{|[\^_]\{?"
    rf"|(?<![A-Za-z\\])[a-z]|{_SYMBOL}"  # a factor: x or (x+1)
    r"|\([^()]{0,30}[-+*/^][^()]{0,30}\)"
    rf"|\\(?:times|cdot|div|pm|mp|b?mod|cup|cap|setminus|{_FUNCTION})(?:\[\w{{1,5}}\]|[_^]\{{?\w{{1,3}}\}}?)?{_GAP}"
    rf"|(?:\d|[)}}\]]|(?<![A-Za-z<\\/])[A-Za-z]|{_SYMBOL}){_GAP}(?:[-−+/÷×·±]|{_RELATION}|\*(?!\*)){_GAP}"
    r"|\$\d{1,9} ?: ?|(?<![A-Za-z\d] )\b\d{1,9} : ?)\Z"
)
# a word before a box that makes another number of it
_CHANGED = re.compile(
    r"\b(?:twice|double|triple|thrice|negative|minus|(?<=[\d$}] )(?:plus|times)"
    r"|(?:half|third|quarter|(?:square|cube) root|square|cube|reciprocal|negative|factorial|logarithm) of)[\s$*_]*\Z",
    re.IGNORECASE,
)
# a bracket around a box: the command or letter before it, and what closes it
_OPENED = re.compile(
    r"(?P<left>\\left\s?)?(?P<bracket>(?<!\\)[(\[]|(?<!\\)\||\\lfloor|\\lceil"
    r"|(?:\\(?P<command>[A-Za-z]{1,20})\*?(?:\{[^{}]{0,20}\}|\[[^\[\]]{0,20}\])?)?(?<!\\)\{)\s*\Z"
)
_CLOSERS = {"(": ")", "[": "]", "{": "}", "|": "|", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil"}
_STYLE_NAMES = """
    text textbf textit textrm texttt mathbf mathrm mathit boldsymbol bm mbox underline emph color textcolor colorbox
    large Large LARGE huge Huge displaystyle boxed fbox framebox underbrace overbrace tag
"""
_STYLES = frozenset(_STYLE_NAMES.split())
_APPLIED = re.compile(r"(?:\d|[)\]}]|(?<![A-Za-z\\])[A-Za-z]|\\[A-Za-z]{1,20})(?:_\{?\w\}?|'|\^\{?-?\w\}?)?\Z")
_BRACKETS = re.compile(r"(?<!\\)[(\[)\]]|\\[{}]")
_WORD = re.compile(r"(?<![A-Za-z\\])[A-Za-z]{2,}")
_JOINED = re.compile(r"[-+*/^,;]|\\(?:cdot|times|pm)(?![A-Za-z])")
_SIGN = re.compile(r"(?:(?:^|[=($\s{:,])[-−](?:\\[,;:! ]|~)*|=[\s$]*[-−]\s*)\Z")
_RESIDUE = re.compile(r"(?:\\equiv|≡)[\s$&{]*\Z")
_OPERAND = r"(?:\$?\d|\\(?!text|mathrm|quad|q?ed)[a-z]|[b-hj-zB-HJ-Z](?![A-Za-z])|\((?=[-\d]|[a-z]\W))"
# commands behind a box that say nothing about its value, and the "\n" of escaped text; all others belong to it
_HARMLESS = (
    r"(?:text(?:bf|it|rm|sf|tt|color)?|mathrm|mbox|q?quad|checkmark|(?:black)?square|Box|qed|h?fill|[hv]space|newline"
    r"|end|begin|tag|label|left|right|therefore|because|implies|iff|(?:long|Long)?(?:R|r)ightarrow|to|approx|equiv|sim"
    r"|par|footnote|color|boxed|fbox|lor|vee|land|wedge|n)(?![A-Za-z])|n[A-Z]"
)
_CHAINED = r"(?![^$\n]{0,40}=)"  # a box in "\boxed{3} + 4 = 7" was the answer to a gap
# what follows a box and belongs to its value
_CONTINUED = re.compile(
    r"(?:[ $]{0,2}(?:\\?%(?: of \$?\d[\d.,]{0,9})?|°|\^ ?\{?\\circ\}?)|'{1,3}(?!s\b)"
    r"|[_^](?:\{[^{}]{0,20}(?:\{[^{}]{0,20}\}[^{}]{0,20})?\}|\w|\\[a-z]{1,9})"
    rf"|{_BEHIND}(?:\\(?!{_HARMLESS})(?=[A-Za-z])|\(?mod(?![A-Za-z]))[^$\n.,]{{0,40}}"
    rf"|,{_BEHIND}\\[lc]?dots(?![A-Za-z])"
    rf"|{_BEHIND}(?:[<>≤≥≠](?![a-z]>)|\\[lg]eq?(?:slant)?(?![A-Za-z])|\\neq?(?![A-Za-z])) ?"
    r"(?:\d|[a-z](?![A-Za-z])|\\)[^$\n.,]{0,40}"
    rf"|{_BEHIND}(?:[,;]|(?:and|&)(?![A-Za-z])|\\text\s?\{{ ?and ?\}}){_BEHIND}[-−]?"  # another value of the list
    r"(?:\d[\d.,]{0,12}|\\(?:[dt]?frac|sqrt)[^\s$.,;]{1,30})(?=[$)\]]{0,2}(?:\.?\s*$|[.;]?\s*\n|[.;]\s))"
    r"|\.\d{1,20}|\d{1,20}|\{?,\}?\d{3}\b|[a-zA-Z](?![a-zA-Z])| [abcknprtxyz](?=[-+*/^_)])"
    rf"|{_BEHIND}[-−+/×÷·±] ?{_OPERAND}[^$\n.,=]{{0,40}}{_CHAINED}"
    rf"|(?:{_BEHIND}\*\d| \* ?\d|(?<=\}})\* ?{_OPERAND})[^$\n.,=]{{0,40}}{_CHAINED}"
    r"|\((?=[^()A-Z]{0,30}\))(?![^()]{0,30}[a-z]{2})(?=[^()]{0,30}[a-z+])[^()]{1,30}\)"  # a factor: (x+1)
    r"| ?:\d{1,9}(?!\d)| : \d{1,9}(?!\w| [A-Za-z])|[ $]{0,2}to \$?-?\d[\d.]{0,9}(?![\d.]| (?:d|s\.|sig|place))"
    rf"|{_BEHIND}(?:\\text\s?\{{\s?)?(?:hundred|thousand|million|billion|trillion|dozen|percent|squared|cubed|factorial"
    r"|(?:choose|mod|modulo|times|plus|minus|divided by|over) (?=\$?-?\d)[^\n.,]{0,20}"
    r"|(?:and|or) (?:up|more|above|over)|to the power)\b)"
)
_UNIT_BEHIND = re.compile(
    r"(?:\\[,;:! ]|[$ ~])*(?:\\(?:text|mathrm|textrm|mbox)\{[^{}()]{1,30}\}(?:\^\{?\d\}?)?"
    r"|[A-Za-z]{1,12}(?:[/^²³]\{?[a-z\d]{0,4}\}?)?(?=[$)]?(?:[.,;]|\s*$)))",
    re.MULTILINE,
)


def unbracketed(text: str, start: int, end: int) -> tuple[Span, str] | None:
    r"""The span of a box with the brackets directly around it, and these brackets; None if they are part of a formula.

    Round and square brackets and styles change nothing. Bars, roots and the brackets of a function do.

    >>> unbracketed(r"x = (\boxed{5})", 5, 14)
    ((4, 15), '()')
    >>> unbracketed(r"|\boxed{5}|", 1, 10) is None
    True
    """
    brackets = ""
    for _ in range(4):
        before = text[max(0, start - _NEAR) : start]
        opened = _OPENED.search(before)
        if opened is None:
            break
        bracket = opened["bracket"][-1] if opened["bracket"].endswith("{") else opened["bracket"]
        closed = re.compile(rf"\s*(?:\\right\s?)?{re.escape(_CLOSERS[bracket])}").match(text, end, end + 20)
        in_table = bracket == "|" and re.search(r"(?:^|\n)[ \t]*\|[^\n]*\s\Z", before) is not None
        outside = before[: opened.start()]
        if closed is None or in_table:
            break
        if bracket not in ("(", "[", "{") or (opened["command"] and opened["command"] not in _STYLES):
            return None
        if bracket in ("(", "[") and _APPLIED.search(outside) and not outside.endswith(("\\quad", "\\qquad", "\\")):
            return None
        start, end = start - len(before) + opened.start(), closed.end()
        brackets = brackets or ("" if bracket == "{" else bracket + _CLOSERS[bracket])
    return None if _among_others(text, start, end) else ((start, end), brackets)


def _among_others(text: str, start: int, end: int) -> bool:
    """Whether a bracket around the box has more in it than the box: it is one number of a point, a set or a sum."""
    before = re.split(r"[\n$]", text[max(0, start - 60) : start])[-1]
    after = text[end : end + 60].partition("\n")[0]
    opening = _unmatched(reversed(list(_BRACKETS.finditer(before))), "([{")
    closing = _unmatched(_BRACKETS.finditer(after), ")]}")
    if opening is None or closing is None:
        return False
    left, right = before[opening.end() :], after[: closing.start()]
    return _JOINED.search(left.rpartition("=")[2] + right) is not None and _WORD.search(left + right) is None


def _unmatched(brackets: Iterable[re.Match[str]], facing: str) -> re.Match[str] | None:
    """The first bracket of that kind which closes none of the others before it."""
    depth = 0
    for bracket in brackets:
        if bracket[0][-1] not in facing:
            depth += 1
        elif depth:
            depth -= 1
        else:
            return bracket
    return None


def inside_formula(before: str) -> bool:
    """Whether a box behind this text is only a part of a formula or of a phrase such as "twice ..."."""
    before = before[-_NEAR:]
    return bool(_PART_OF.search(before) or _CHANGED.search(before)) and not _RESIDUE.search(before)


def sign_of(before: str) -> str:
    """The minus sign before a box; empty without one."""
    return "-" if _SIGN.search(before[-20:]) else ""


def continued(text: str, start: int, end: int) -> int:
    """The end of what belongs to the box in that span: a unit, a factor, a power, or a doubt."""
    before = text[max(0, start - _NEAR) : start]
    more = _CONTINUED.match(text, end, end + 80)
    if more and ((more.group().startswith("'") and before.endswith("'")) or _is_residue(before, more.group())):
        more = None
    if not more and text[end : end + 1] == "!" and not re.search(r"(?:[A-Za-z]{2}|:)[*_$\s]*\Z", before):
        return end + 1  # a factorial, unless it ends a sentence
    unit = None if more else _UNIT_BEHIND.match(text, end, end + 60)
    if more:
        end = more.end()
    elif unit and _belongs(unit.group().lstrip("$ ~")):
        end = unit.end()
    return open_end(text, end)


def _belongs(behind: str) -> bool:
    """Whether words behind a box are a unit, or make another number of the number in the box, as "th" does."""
    word = re.search("[A-Za-z]+", behind)
    return measured(f"1 {behind}")[1] not in ("", "?") or (word is not None and makes_another(word[0]))


def _is_residue(before: str, behind: str) -> bool:
    r"""Whether a modulus follows a box that is a residue, as in ``x\equiv\boxed{3}\pmod{7}``."""
    return bool(_RESIDUE.search(before)) and re.match(rf"{_BEHIND}(?:\\[bp]?mod|\(?mod)", behind) is not None
