r"""Names of points, angles, triangles and functions, whose letters are not factors of a product."""

import re

_POINT = r"[A-Z](?:'{1,3}|_\{?\d\}?)?"
_POINTS = re.compile(_POINT)
_FIGURE = re.compile(
    rf"(?<!_\{{)\\(?P<figure>angle|measuredangle|triangle|odot)\s?"
    rf"(?:\{{(?P<braced>(?:{_POINT}){{1,4}})\}}|(?P<points>(?:{_POINT}){{1,4}})(?![A-Za-z]))"
    rf"|\\(?P<line>overline|overleftrightarrow|overrightarrow|vec|widehat|bar)\s?\{{(?P<ends>(?:{_POINT}){{2,3}})\}}"
)
_WORD_FIGURE = re.compile(r"(?<![A-Za-z\\])((?i:angle|triangle|segment|line))s?\s(?=[A-Z][A-Z'_\d]{0,12}(?![a-z]))")
_PRIMED = re.compile(r"([A-Za-z])(?:'{1,4}|(?:\^\{?(?:\\prime\s?){1,4}\}?))")
_LABEL = re.compile(r"(?<![A-Za-z\\_^{])([A-Za-z])(\d{1,4})(?![\d.])")
_CONSTANT = re.compile(r"[^cC]{1,300}\+[cC]")
_RELATION = re.compile(r"\\(?:parallel|perp|cong|sim)(?![A-Za-z])")


def named(text: str) -> str:
    r"""The text with one symbol per name: angle CBA is ``\angle_{ABC}``, and A' is ``A_{prime1}``.

    - The angles ABC and CBA, the arcs, segments and lines AB and BA, and a triangle's points in any order are the same.
    - Rays and vectors have a direction.
    - A letter before a number is a label: A1 is ``A_{1}``.

    >>> named(r"\angle CBA") == named(r"\angle ABC") != named(r"\angle ACB")
    True
    """
    text = _WORD_FIGURE.sub(lambda match: f"\\{match[1].lower()} " if "angle" in match[1].lower() else "", text)
    text = _FIGURE.sub(_symbol, text)
    text = _PRIMED.sub(lambda match: f"{match[1]}_{{prime{match[0].count(chr(39)) or match[0].count('prime')}}}", text)
    return _LABEL.sub(r"\1_{\2}", text)


def _symbol(match: re.Match[str]) -> str:
    points = _POINTS.findall(match["braced"] or match["points"] or match["ends"])
    figure = (match["figure"] or match["line"]).replace("overrightarrow", "vec").replace("measured", "")
    if figure == "triangle":
        points.sort()
    elif figure != "vec":
        points = min(points, points[::-1])
    name = "".join(points).replace("'", "q").translate({ord(sign): "" for sign in "_{}"})
    if figure in ("overline", "bar", "overleftrightarrow") and "q" not in name and len(name) == 2:
        return f"{name[0]} {name[1]} "  # the length of a segment is written as the segment
    return f"\\angle_{{{figure}{name}}} "


def with_letters_of(gold: str, answer: str, gold_integer: str, integer: str) -> str:
    r"""The answer with the gold's letter for any integer, if both name one, and with its constant of integration.

    >>> with_letters_of("2k", "2n", "k", "n"), with_letters_of("x+C", "x+c", "", "")
    ('2k', 'x+C')
    """
    if gold_integer and integer and not re.search(rf"(?<![A-Za-z\\]){gold_integer}(?![A-Za-z])", answer):
        answer = re.sub(rf"(?<![A-Za-z\\]){integer}(?![A-Za-z])", gold_integer, answer)
    constants = [_CONSTANT.fullmatch(re.sub(r"\\[A-Za-z]{1,20}", "", text)) for text in (gold, answer)]
    return answer[:-1] + gold[-1] if all(constants) else answer


def same_relation(gold: str, answer: str) -> bool | None:
    r"""Whether two texts say the same of two figures, as ``AB\parallel CD`` and ``DC\parallel BA`` do.

    In a congruence or similarity, corresponding points may be listed in any order. None if a text is no such relation.
    """
    sides = [_sides(text) for text in (gold, answer)]
    return None if None in sides else sides[0] == sides[1]


def _sides(text: str) -> tuple[str, frozenset[object]] | None:
    relation = _RELATION.search(text)
    if relation is None:
        return None
    left, right = (_POINTS.findall(text[slice(*span)]) for span in ((0, relation.start()), (relation.end(), None)))
    rest = re.sub(r"\\(?:triangle|overline|angle)(?![A-Za-z])|[{}\s]", "", _RELATION.sub("", text))
    if not left or len(left) != len(right) or "".join(left + right) != rest:
        return None
    if relation.group() in ("\\parallel", "\\perp"):
        return relation.group(), frozenset([frozenset(left), frozenset(right)])
    pairs = frozenset(zip(left, right, strict=True))
    return relation.group(), frozenset([pairs, frozenset((second, first) for first, second in pairs)])
