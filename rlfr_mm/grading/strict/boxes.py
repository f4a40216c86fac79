r"""What a response has put in boxes: the contents of ``\boxed{...}``, with the boxes that belong to the same answer.

Pure text functions; each takes time linear in the length of the text.
"""

import re
from collections import deque

from rlfr_mm.grading.item import Found, Span
from rlfr_mm.grading.strict.around import continued, inside_formula, sign_of, unbracketed
from rlfr_mm.grading.strict.doubt import denied

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\boxed\s?(?P<bare>\d{1,15})(?![\d.,]?[\w^{])|\\.|[{}]", re.DOTALL)
# what may join boxes into one answer: space, punctuation, list markers, "and", "or", and the label of the next box
_JOINT = re.compile(
    r"(?:[\s$,;&{}~|.]|\\[,;:!. \\()\[\]]|\\(?:q?quad|text|mathrm|textrm|mbox|hspace|newline|lor|vee|land)(?![A-Za-z])"
    r"|[-*•](?=\s)|\(?[a-e1-9][.)](?=\s)|\b(?:and|or|else|also|either|both|then again|maybe|perhaps|possibly|as well as"
    r"|together with|another|the|other|first|second|third|smaller|larger|greater|solution|root|one|answer|is"
    r"|alternatively|otherwise"
    r"|for part \(?[a-e1-9]\)?)(?![A-Za-z])"
    r"|(?:[A-Za-z]|\\[a-z]{2,8})(?:_\{?\w{1,3}\}?)?\s{0,3}&?=)*"
)
# between boxes of one sentence: what makes a step of the first
_STEP = re.compile(
    r"\n|[.!?](?=[\s$])|。|[A-Za-z]:\s|\\(?:implies|approx|iff|to|(?:Long)?(?:R|r)ightarrow)(?![A-Za-z])|[→⇒≈⟹]|=>"
    r"|(?:[\d)}\]]|[A-Za-z]{2})[\s$]{0,3}=[\s${]{0,4}$|^[\s$]{0,4}(?:=|gives?\b)"
    r"|\b(?:hence|so|then|thus|therefore|consequently|implies|means|yields?|yielding|giving|get|gets|getting|obtain|obtains"
    r"|obtaining|becomes?|simplif[a-z]{1,6}|reduc[a-z]{1,5}|equals?|finally|equivalent[a-z]{0,2}|that is|instead|after"
    r"|(?:which|that|this|it|sides|equation) gives|too [a-z]{1,9})\b|[所因]以|因此|得到?|故|则|即",
    re.IGNORECASE,
)
_NO_WORDS = re.compile(r"(?:[^A-Za-z\\]|\\[A-Za-z]+|\\.|[A-Za-z](?![A-Za-z]))*")
_LABEL = re.compile(r"(?<![A-Za-z\\])(?:[A-Za-z]|\\[a-z]{2,8})(?:_\{?\w{1,3}\}?)?\s{0,3}(?=&?=[\s${]{0,4}$)")
# what a box is called, as in "Alice: \boxed{5}, Bob: \boxed{7}", unless that makes a step or an answer of it
_TITLE = re.compile(
    r"(?<![A-Za-z])(?!(?:Step|Answer|Final|Method|Solution|Check|Result|Total|Then|So|Thus|Hence|Therefore|Now|Finally"
    r"|Simpl[a-z]+|Verif[a-z]+|Conclusion)\b)[A-Z][a-z]{1,15}(?: [a-z]{2,15}| [A-Z])?\*{0,2}:[*\s$]{0,4}$"
)
_NEXT_TITLE = re.compile(rf"^[\s$,;.*]{{0,9}}{_TITLE.pattern}")


def _boxes(text: str, at_most: int, bare: bool = False) -> list[tuple[Span, Span]]:
    r"""The spans of the last balanced boxes, and of their contents; of nested boxes only the inner one.

    `bare` also finds ``\boxed 7``.
    """
    opened: list[tuple[int, int] | None] = []  # None for a brace that does not belong to a box
    found: deque[tuple[Span, Span]] = deque(maxlen=at_most)
    first = min((at for at in (text.find("\\boxed"), text.find("\\fbox")) if at >= 0), default=len(text))
    while first and text[first - 1] == "\\":  # a doubled backslash is a line break
        first -= 1
    for token in _BRACES.finditer(text, first):
        if bare and token["bare"]:
            found.append((token.span(), token.span("bare")))
        elif token.group().startswith(("\\boxed", "\\fbox")) and not token["bare"]:
            opened.append(token.span())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened:
            box = opened.pop()
            if box is not None and (not found or box[0] > found[-1][0][0]):
                found.append(((box[0], token.end()), (box[1], token.start())))
    return list(found)


def last_boxed(text: str) -> str | None:
    r"""The contents of the last balanced ``\boxed{...}`` or ``\fbox{...}``; of nested boxes the inner one.

    >>> last_boxed(r"\boxed{1}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text, 1)
    return text[slice(*boxes[0][1])].strip() if boxes else None


def final_box(text: str) -> Found | None:
    r"""The last box, together with the boxes that belong to the same statement, and with what continues it.

    Boxes are a list if only space, punctuation, "and" or "or", list markers and labels join them, as in
    ``x=\boxed{1} or x=\boxed{2}``. Different labels, as in ``k=\boxed{4}, n=\boxed{2}``, are part of the answer. Other
    boxes of one sentence are read with what is between them, as in ``\boxed{5} hours and \boxed{30} minutes``, unless
    the first was a step: ``\boxed{5}, so \boxed{6}``. A unit or a doubt after the box belongs to it:
    ``\boxed{5}\text{ cm}``, ``\boxed{5}, or maybe 6``.
    """
    boxes = _boxes(text, 12, bare=True)
    if not boxes:
        return None
    group, joints = [boxes[-1]], list[str]()
    for box in reversed(boxes[:-1]):
        between = text[box[0][1] : group[0][0][0]]
        if "\n" not in between and _TITLE.search(text[max(0, box[0][0] - 40) : box[0][0]]):
            between = _NEXT_TITLE.sub(", ", between)
        if len(between) > 100 or not (_JOINT.fullmatch(between) or _goes_on(between)) or box[1][0] == box[1][1]:
            break
        group, joints = [box, *group], [between, *joints]
    around = unbracketed(text, group[0][0][0], group[-1][0][1])
    if around is None:
        return None
    (start, end), brackets = around
    before = text[max(0, start - 120) : start]
    if denied(before) or inside_formula(before):
        return None
    contents = [text[slice(*inside)].strip() for _, inside in group]
    labels = [
        label.group().strip() if (label := _LABEL.search(text[max(0, at - 30) : at])) else "" for (at, _), _ in group
    ]
    if len(set(labels)) == len(labels) > 1 and all(labels):
        contents = [f"{label}={content}" for label, content in zip(labels, contents, strict=True)]
    joint = " or " if re.search(r"\bor\b|\\lor|\\vee", " ".join(joints)) else ", "
    answer = joint.join(dict.fromkeys(contents))
    if not all(map(_JOINT.fullmatch, joints)):
        answer = "".join(map("".join, zip(contents, [*joints, ""], strict=True))).replace("$", "")
    elif len(contents) > 1 and brackets and joint == ", ":  # the point (\boxed{1}, \boxed{2})
        answer = brackets[0] + ", ".join(contents) + brackets[1]
    behind = text[end : continued(text, start, end)]
    answer = sign_of(before) + answer + re.sub(r"\$", "", behind)
    span = (
        stripped(text, *group[0][1])[0],
        end + len(behind) if behind else stripped(text, *group[-1][1])[1],
    )
    return Found(answer, "boxed", span)


def _goes_on(between: str) -> bool:
    """Whether a sentence or formula with a box goes on to the next box, without a word or sign of a further step."""
    return not _STEP.search(between) and ("=" not in between or not _NO_WORDS.fullmatch(between))


def stripped(text: str, start: int, end: int) -> Span:
    """The span without the white space at both ends."""
    start += len(text[start:end]) - len(text[start:end].lstrip())
    return start, start + len(text[start:end].rstrip())
