"""Text rules that several official scorers have in common."""

import re
from collections.abc import Callable

from rlfr_mm.grading.item import Item
from rlfr_mm.grading.strict.extract import last_answer_tag


def untagged(item: Item) -> str:
    """What the official extraction reads: the contents of a closed answer tag, else the whole response."""
    tagged = last_answer_tag(item.response)
    return item.response if tagged is None else tagged


def replace_braced(opening: str, new: Callable[[str], str], text: str) -> str:
    r"""The text with `new` of what stands between each match of `opening` and the next closing brace in their place.

    Unlike ``re.sub(opening + "[^}]*}", ...)``, it takes linear time also if many openings have no end.

    >>> replace_braced(r"\\text\{", str, r"5\text{ cm}, \text{")
    '5 cm, \\text{'
    """
    parts, rest = list[str](), 0
    for match in re.finditer(opening, text):
        if match.start() < rest:
            continue
        end = text.find("}", match.end())
        if end < 0:
            break
        parts += [text[rest : match.start()], new(text[match.end() : end])]
        rest = end + 1
    return "".join(parts) + text[rest:]


def letter_at_edge(text: str, letters: str) -> str | None:
    """The first of the letters that the text ends in, as " B." or " (B).", or that is its first line; else None."""
    for letter in letters:
        ends = (f" {letter}.", f" ({letter}).")
        starts = (f"{letter}\n", f"({letter})\n", f"({letter}) {letter}\n")
        if text.endswith(ends) or text.startswith(starts):
            return letter
    return None


def brace_fractions(text: str) -> str:
    r"""``\frac12`` as ``\frac{1}{2}``. The text stays as it is if any ``\frac`` has fewer than two characters."""
    if re.search(r"\\frac[^{]?(?=\\frac|\Z)", text):
        return text
    return re.sub(r"\\frac([^{])([^{]?)", lambda m: f"\\frac{{{m[1]}}}" + (f"{{{m[2]}}}" if m[2] else ""), text)


def slash_to_fraction(text: str, roots: bool = False) -> str:
    r"""``3/4`` as ``\frac{3}{4}`` if both sides are whole numbers or, with `roots`, contain a root."""
    sides = text.split("/")
    if len(sides) != 2 or not all(re.fullmatch(r"0|-?[1-9]\d*", side) or (roots and "sqrt" in side) for side in sides):
        return text
    return f"\\frac{{{sides[0]}}}{{{sides[1]}}}"
