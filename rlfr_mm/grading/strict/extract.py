"""Where a response states its answer: tags, boxes, "the answer is".

Pure text functions; each takes time linear in the length of the response.
"""

import re
from collections import deque

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)
# what may join two boxes into one answer
_JOINED = re.compile(r"[\s$]*(,|\\?,?\s*(?:\\text\s*\{)?\s*(?:and|or)\b\s*\}?)[\s$]*")
_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("、"): ","}  # full-width letters and signs, as in Chinese text
_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|rm|bf|mbox)\s*\{([^{}]*)\}|\\(?:left|right|displaystyle)\b"
)
_STATEMENT = re.compile(
    r"(?:\b(?:answer|(?:correct|right|best|final|likely) (?:option|choice)|the (?:option|choice)(?!s))s?(?: letter)?"
    r"[*_]{0,2}"
    r"(?: (?:to|for|of) [^.\n:]{1,80}?)?(?: (?:is|are|would be|should be|will be|must be|becomes)\b:?|\s?:|\s?=)"
    r"|^[#*_ \t]*(?:final )?answer[*_ \t]*(?=\n)"  # a heading
    r"|答案(?:应?[是为选]|:)+:?|(?:选项|选择)(?:是|为|:)|(?<![可不能])选择?\s*:?\s*(?=[(\[]?[A-I](?![A-Za-z]))"
    # OpenAI's formats for GSM8K, if only a number and its unit follow
    r"|^(?:####|A:)(?=[ \t*$\\(]*[-−]?\d[\d,.]*(?:/\d+)?[ ]?(?-i:\\?%|°|[a-zµ²³/^2]+(?: [a-z²³]+){0,2})?[*$\\).]*\s*$))"
    r"[\s*:]*",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"\n|(?<!\\)[.!?](?=\s+[A-Z\"(*]|\s*$)|(?<=\d)[.?](?=\s+\d)|。")
_LEAD = re.compile(
    r"^(?:[:=\s]|\\(?:approx|sim|quad|,|;| )|≈|~|(?:is|equals?|equal to|approximately|approx\.|about|around|roughly"
    r"|exactly|simply|just|only)\b|(?:final )?result:)+",
    re.IGNORECASE,
)
# "the value of x is" in "the value of x is 42", "Janet makes" in "Janet makes $18"
_SAYS = "is|are|was|were|equals?|ha[sd]|have|makes?|costs?|takes?|gets?|earns?|needs?"
_CLAUSE = re.compile(
    r"^(?:so |thus |hence |therefore,? )?(?:[Tt]h(?:e|is|at|ere)\b|[Ii]t\b|[Ww]e\b|[A-Z][a-z]+\b)"
    rf"(?:(?! (?:{_SAYS}|not|if|or|than|unless)\b)[^.,=<>\n]){{0,80}} (?:{_SAYS})(?= [-−\d$\\(])"
)
_TAIL = re.compile(
    r"(?<!\s)\s*(?:[,;(–—]\s*)?(?:\b(?:because|since|which|due to|where|given that)\b"
    r"|(?<=[,;(] )(?:as(?! well)|(?:but )?not)\b|(?<=\()not\b|\brather than\b|\binstead of\b).*$",
    re.IGNORECASE | re.DOTALL,
)


def _boxes(text: str, at_most: int) -> list[tuple[int, int, int]]:
    """(start, start of contents, end of contents) of the last balanced boxes; of nested boxes only the inner one."""
    opened: list[tuple[int, int] | None] = []  # None for a brace that does not belong to a box
    found: deque[tuple[int, int, int]] = deque(maxlen=at_most)
    for token in _BRACES.finditer(text):
        if token.group().startswith(("\\boxed", "\\fbox")):
            opened.append(token.span())
        elif token.group() == "{":
            opened.append(None)
        elif token.group() == "}" and opened:
            box = opened.pop()
            if box is not None and (not found or box[0] > found[-1][0]):
                found.append((*box, token.start()))
    return list(found)


def last_boxed(text: str) -> str | None:
    r"""The contents of the last balanced ``\boxed{...}`` or ``\fbox{...}``; of nested boxes the inner one.

    >>> last_boxed(r"\boxed{1}, no: \boxed{\frac{1}{2}}")
    '\\frac{1}{2}'
    """
    boxes = _boxes(text, 1)
    return text[boxes[0][1] : boxes[0][2]].strip() if boxes else None


def final_box(text: str) -> tuple[str, int] | None:
    r"""The contents of the last box and the position after it, or None.

    Boxes joined to it by a comma, "and" or "or", as in ``\boxed{1} or \boxed{2}``, are part of the answer.
    """
    boxes = _boxes(text, 8)
    if not boxes:
        return None
    answer, first = text[boxes[-1][1] : boxes[-1][2]].strip(), boxes[-1][0]
    for start, contents, end in reversed(boxes[:-1]):
        between = _JOINED.fullmatch(text[end + 1 : first]) if first - end < 40 else None
        if between is None:
            break
        joint = " or " if "or" in between.group() else ", "
        answer, first = text[contents:end].strip() + joint + answer, start
    return answer, boxes[-1][2] + 1


def last_answer_tag(text: str) -> str | None:
    """The contents of the last closed ``<answer>...</answer>``; the tags may be in any case. None without one."""
    lowered = text.lower()
    if len(lowered) != len(text):  # some letters are longer in lower case, which would shift the positions
        lowered = text
    return _last_between(lowered, "<answer>", "</answer>", text)


def last_conclusion(text: str) -> str | None:
    """The contents of the last ``<CONCLUSION>...</CONCLUSION>``, the answer section of LLaVA-CoT's format."""
    return _last_between(text, "<CONCLUSION>", "</CONCLUSION>", text)


def _last_between(searched: str, opening: str, closing: str, text: str) -> str | None:
    end = searched.rfind(closing)
    start = searched.rfind(opening, 0, end) if end >= 0 else -1
    return text[start + len(opening) : end].strip() if start >= 0 else None


def final_part(response: str) -> str:
    """The response after its closing think tag, or all of it; full-width signs and GLM's box become the usual ones."""
    text = response.translate(_WIDE).replace("<|begin_of_box|>", "\\boxed{").replace("<|end_of_box|>", "}")
    after = text.rpartition("</think>")[2]
    return after if after.strip() else text


def plain_text(text: str) -> str:
    """The text without Markdown emphasis, dollar signs, LaTeX text commands and surrounding white space."""
    text = _WRAPPERS.sub(lambda match: match.group(1) or "", text)
    return re.sub(r"\*\*|__|(?<!\\)\\[(\[\])!,]|\\?[$`]", "", text).strip()


def statements(text: str) -> list[str]:
    """The text after each of the last 50 "the answer is", up to the end of its sentence, in order."""
    return [statement for tail in tails(_STATEMENT, text) if (statement := _first_sentence(tail))]


def tails(pattern: re.Pattern[str], text: str) -> list[str]:
    """The 400 characters after each of the last 50 matches, in order."""
    ends = deque((match.end() for match in pattern.finditer(text)), maxlen=50)
    return [text[end : end + 400] for end in ends]


def _first_sentence(text: str) -> str:
    end = _SENTENCE_END.search(text)
    return (text[: end.end() if end.group() == "?" else end.start()] if end else text).strip().rstrip(". ")


def stated(response: str) -> list[tuple[str, str]]:
    """(method, text) of each place where the response states its answer, the most reliable first.

    - If there is a closed answer tag, nothing outside it is read.
    - Otherwise the order is conclusion tag, box, statements; of several statements the last comes first.
    - A statement before the box or inside the reasoning does not count: the response went on after it.

    >>> stated("The answer is 7. Therefore \\boxed{8}.")
    [('boxed', '8')]
    """
    text = final_part(response)
    tagged = last_answer_tag(text)
    if tagged is not None:
        boxed = final_box(tagged)
        texts = [("answer tag+boxed", boxed[0])] if boxed else []
        texts += [("answer tag+statement", statement) for statement in reversed(statements(tagged))]
        return [*texts, ("answer tag", tagged)]
    concluded = last_conclusion(text)
    texts = [("conclusion", concluded)] if concluded else []
    boxed = final_box(text)
    if boxed is not None:
        texts.append(("boxed", boxed[0]))
        text = text[boxed[1] :]
    texts += [("statement", statement) for statement in reversed(statements(text))]
    if not texts and len(text) < len(response) and (boxed := final_box(response)) is not None:
        texts = [("boxed", boxed[0])]  # within the reasoning
    return texts


def trimmed(text: str) -> str:
    """The answer without a lead such as "the area is approximately" and a tail such as "because ..." or ", not ..."."""
    text = re.sub(r"\\text\s*\{\s*(approximately|about|around|or|and)\s*\}", r" \1 ", text.strip().strip("*_`'\""))
    text = re.sub(r"^<+([^<>]*)>+$", r"\1", text)
    tail = _TAIL.search(text)
    text = _CLAUSE.sub("", text[: tail.start()] if tail and tail.start() else text)
    return _LEAD.sub("", text).strip(" \t\n,;:*").rstrip(". ")


def bare_answer(response: str) -> str | None:
    """The response if it is one short line with an answer and nothing else (letter, number, formula); else None."""
    text = final_part(response).strip()
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", text))
    return text if text and "\n" not in text and len(text) <= 80 and len(words) <= 2 else None
