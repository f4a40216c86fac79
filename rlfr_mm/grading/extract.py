"""Finding the answer in a response. Pure text functions, each in time linear in the response's length."""

import re
from collections import deque

_BRACES = re.compile(r"\\(?:boxed|fbox)\s*\{|\\.|[{}]", re.DOTALL)


def _boxes(text: str, at_most: int) -> list[tuple[int, int, int]]:
    """Where the last balanced boxes start, where their contents do, and where these end; of nested ones the inner."""
    opened: list[tuple[int, int] | None] = []  # None for braces that box nothing
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
    r"""The contents of the last balanced ``\boxed{...}`` or ``\fbox{...}``; the inner one of a nested pair."""
    boxes = _boxes(text, 1)
    return text[boxes[0][1] : boxes[0][2]].strip() if boxes else None


_JOINED = re.compile(r"[\s$]*(,|\\?,?\s*(?:\\text\s*\{)?\s*(?:and|or)\b\s*\}?)[\s$]*")


def final_box(text: str) -> tuple[str, int] | None:
    r"""The last box and where it ends, with those that "," "and" or "or" join to it: ``\boxed{1} or \boxed{2}``."""
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
    """The contents of the last closed ``<answer>...</answer>``, whatever the case of the tags."""
    lowered = text.lower()
    if len(lowered) != len(text):  # a letter whose lower case is longer would shift the positions
        lowered = text
    end = lowered.rfind("</answer>")
    start = lowered.rfind("<answer>", 0, end) if end >= 0 else -1
    return text[start + len("<answer>") : end].strip() if start >= 0 else None


def last_conclusion(text: str) -> str | None:
    """The contents of the last ``<CONCLUSION>...</CONCLUSION>``, the answer section of LLaVA-CoT's format."""
    end = text.rfind("</CONCLUSION>")
    start = text.rfind("<CONCLUSION>", 0, end) if end >= 0 else -1
    return text[start + len("<CONCLUSION>") : end].strip() if start >= 0 else None


_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("、"): ","}  # the letters and signs of Chinese typesetting


def final_part(response: str) -> str:
    """What follows the reasoning in <think> tags, else all; wide signs and GLM's box are written as the usual ones."""
    text = response.translate(_WIDE).replace("<|begin_of_box|>", "\\boxed{").replace("<|end_of_box|>", "}")
    after = text.rpartition("</think>")[2]
    return after if after.strip() else text


_UNITS = """zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
seventeen eighteen nineteen"""
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_NUMBER_WORDS = {word: value for value, word in enumerate(_UNITS.split())}
_NUMBER_WORDS |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
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


_WRAPPERS = re.compile(
    r"\\(?:text|textbf|textit|mathrm|mathbf|mathit|rm|bf|mbox)\s*\{([^{}]*)\}|\\(?:left|right|displaystyle)\b"
)


def plain_text(text: str) -> str:
    """The text without Markdown emphasis, dollar signs, LaTeX's text commands and surrounding white space."""
    text = _WRAPPERS.sub(lambda match: match.group(1) or "", text)
    return re.sub(r"\*\*|__|(?<!\\)\\[(\[\])!,]|\\?[$`]", "", text).strip()


_STATEMENT = re.compile(
    r"(?:\b(?:answer|(?:correct|right|best|final|likely) (?:option|choice)|the (?:option|choice)(?!s))s?(?: letter)?"
    r"[*_]{0,2}"
    r"(?: (?:to|for|of) [^.\n:]{1,80}?)?(?: (?:is|are|would be|should be|will be|must be|becomes)\b:?|\s?:|\s?=)"
    r"|^[#*_ \t]*(?:final )?answer[*_ \t]*(?=\n)"  # a heading
    r"|答案(?:应?[是为选]|:)+:?|(?:选项|选择)(?:是|为|:)|(?<![可不能])选择?\s*:?\s*(?=[(\[]?[A-I](?![A-Za-z]))"
    # OpenAI's formats for GSM8K, where nothing but a number and its unit follows
    r"|^(?:####|A:)(?=[ \t*$\\(]*[-−]?\d[\d,.]*(?:/\d+)?[ ]?(?-i:\\?%|°|[a-zµ²³/^2]+(?: [a-z²³]+){0,2})?[*$\\).]*\s*$))"
    r"[\s*:]*",
    re.IGNORECASE | re.MULTILINE,
)


def statements(text: str) -> list[str]:
    """What follows each of the last 50 "the answer is", up to the end of its sentence, in the order of the text."""
    ends = deque((match.end() for match in _STATEMENT.finditer(text)), maxlen=50)
    return [statement for end in ends if (statement := _to_sentence_end(text, end))]


_SENTENCE_END = re.compile(r"\n|(?<!\\)[.!?](?=\s+[A-Z\"(*]|\s*$)|(?<=\d)[.?](?=\s+\d)|。")


def _to_sentence_end(text: str, start: int) -> str:
    text = text[start : start + 400]
    end = _SENTENCE_END.search(text)
    return (text[: end.end() if end.group() == "?" else end.start()] if end else text).strip().rstrip(". ")


def stated(response: str) -> list[tuple[str, str]]:
    """The texts in which the response states its answer, the more telling first, and how each was found.

    A closed answer tag leaves nothing else to be read. Behind it in rank come the conclusion tag and the box; what is
    stated before the box, or the reasoning, is not the last word. Of several statements the last comes first.
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


_LEAD = re.compile(
    r"^(?:[:=\s]|\\(?:approx|sim|quad|,|;| )|≈|~|(?:is|equals?|equal to|approximately|approx\.|about|around|roughly"
    r"|exactly|simply|just|only)\b|(?:final )?result:)+",
    re.IGNORECASE,
)
# "the value of x is 42", "Janet makes $18": what is left, a number or formula, must still be the whole of an answer
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


def trimmed(text: str) -> str:
    """The answer without "the area is approximately" before it and "because of ..." or ", not ..." behind it."""
    text = re.sub(r"\\text\s*\{\s*(approximately|about|around|or|and)\s*\}", r" \1 ", text.strip().strip("*_`'\""))
    text = re.sub(r"^<+([^<>]*)>+$", r"\1", text)
    tail = _TAIL.search(text)
    text = _CLAUSE.sub("", text[: tail.start()] if tail and tail.start() else text)
    return _LEAD.sub("", text).strip(" \t\n,;:*").rstrip(". ")


def bare_answer(response: str) -> str | None:
    """A response of one short line that is nothing but an answer: a letter, a number with its unit, a formula."""
    text = final_part(response).strip()
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", text))
    return text if text and "\n" not in text and len(text) <= 80 and len(words) <= 2 else None
