"""Finding the answer in a response. Pure text functions, each in time linear in the response's length."""

import re

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def last_boxed(text: str) -> str | None:
    r"""The contents of the last balanced ``\boxed{...}`` or ``\fbox{...}``; the inner one of a nested pair."""
    opened: list[int | None] = []  # where the contents of each open brace start, None for braces that box nothing
    best: tuple[int, int] | None = None
    for token in _BRACES.finditer(text):
        if token.group().startswith(("\\boxed", "\\fbox")):
            opened.append(token.end())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened:
            start = opened.pop()
            if start is not None and (best is None or start > best[0]):
                best = (start, token.start())
    return None if best is None else text[best[0] : best[1]].strip()


def last_answer_tag(text: str) -> str | None:
    """The contents of the last closed ``<answer>...</answer>``, whatever the case of the tags."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose lower case is longer would shift the positions
        lowered = text
    end = lowered.rfind("</answer>")
    start = lowered.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end].strip() if start >= 0 else None
