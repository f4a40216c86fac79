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


_NUMBER_WORDS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen".split()
    )
} | {
    word: 10 * value
    for value, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)
}
_SCALE_WORDS = {"hundred": 100, "thousand": 1000, "million": 10**6, "billion": 10**9}


def words_to_number(text: str, among_others: bool = False) -> int | None:
    """The whole number that is spelled out, "twenty-five" or "two hundred and five"; digits alone count as spelled.

    None where anything else is written, unless `among_others`: then all other words are skipped.
    """
    if text.isdecimal():
        return int(text) if len(text) <= 1000 else None
    words = text.lower().replace("-", " ").split()
    known = [word for word in words if word in _NUMBER_WORDS or word in _SCALE_WORDS]
    if not known or not (among_others or len(known) == len(words) - words.count("and")):
        return None
    total = current = 0
    for word in known:
        if word in _NUMBER_WORDS:
            current += _NUMBER_WORDS[word]
        elif word == "hundred":
            current = max(current, 1) * 100
        else:
            total, current = total + max(current, 1) * _SCALE_WORDS[word], 0
    return total + current
