"""Where a response states its answer: tags, boxes, "the answer is".

Pure text functions; each takes time linear in the length of the response. Positions are into the response.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import replace

from rlfr_mm.grading.item import Found, Span
from rlfr_mm.grading.strict.boxes import final_box, stripped
from rlfr_mm.grading.strict.doubt import OTHER_QUANTITY, denied, names_another, open_end, refuted, taken_back
from rlfr_mm.grading.strict.phrases import begins_conclusion, concluded, says_another, worded
from rlfr_mm.grading.strict.words import in_digits

# full-width letters and signs, as in Chinese text and in DeepSeek's tokens; each stays one character
_WIDE = {0xFF01 + i: 0x21 + i for i in range(94)} | {ord("、"): ",", ord("▁"): "_", ord("「"): '"', ord("」"): '"'}
_TOKEN = r"(?:<\|(?!begin_of|end_of_(?:box|thought|solution))[^|<>\s]{1,40}\|>|\[\|\w{1,30}\|\]|</?s>|<(?:eos|bos|pad)>|<(?:end|start)_of_\w{1,20}>|\[/?INST\]|\[EOS\])"  # noqa: E501
_TURN_END = re.compile(_TOKEN)
_TURN_START = re.compile(rf"\s*(?:{_TOKEN}\s*(?:(?:assistant|model)\b\s*)?)+")
_THOUGHT_END = re.compile(r"</think(?:ing)?>|<\|end_of_thought\|>|<\|message\|>", re.IGNORECASE)
_STYLES = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|sc|up|normal)?|math(?:bf|it|rm|sf|tt|normal)|boldsymbol|bm|rm|bf|mbox|underline"
    r"|emph|textcolor\s{0,3}\{[^{}]{0,20}\}|colorbox\s{0,3}\{[^{}]{0,20}\})\s{0,3}\{([^{}]*)\}"
    r"|\\(?:left|right|displaystyle|bf|rm|it|sf|tt|bfseries|itshape|tiny|small|normalsize|large|Large|LARGE|huge|Huge"
    r"|checkmark|blacksquare|square|qed)(?![A-Za-z])|\\color\s{0,3}\{[^{}]{0,20}\}"
)
_POWER = r"(?:(?<=[\w)}])\*\*(?=[\w({\\-])|(?<=[\w)}] )\*\*(?= [\w({\\-]))"  # in code
_PAIRS = re.compile(rf"({_POWER})|\*\*")
_EMPHASIS = re.compile(rf"(?<![\w)}}])\*\*((?:[^*\n]|\*(?!\*)|{_POWER}){{1,300}})\*\*(?![\w({{\\-])")
_STATEMENT = re.compile(
    r"(?:(?<![A-Za-z\d])(?:answer|(?:correct|right|final|true|actual) (?:result|value|solution)"
    r"|(?:correct|right|best|final|likely) (?:option|choice)|the (?:option|choice)(?!s))s?(?: letter)?[*_]{0,2}"
    r"(?: (?:to|for|of) [^.\n:]{1,80}?)?"
    r"(?: (?:is|are|would be|should be|will be|must be|becomes)\b:?|\s?:|\s?(?:=|->|→|⇒))"
    r"|\bthe solutions? (?:is|are):?(?=[\s$*(]{0,4}(?:[-\d]|\\[a-z(]|[a-z]\s?=))"
    r"|^[#*_ \t]*(?:final )?answer[*_ \t]*(?=\n)"  # a heading
    r"|答案(?:应?[是为為选]|:)+:?|(?<![回问解作])答:|(?:答え|정답|답)(?:[は은는:] ?)+"
    r"|(?:选项|选择)(?:是|为|:)|(?<![可不能])选择?\s{0,3}:?\s{0,3}(?=[(\[]?[A-I](?![A-Za-z]))"
    # OpenAI's formats for GSM8K, if only a number and its unit follow
    r"|(?:^(?:####|A:)|(?<=[.!?] )####)"
    r"(?=[ \t*$\\(]*[-−]?\d[\d,.]*+(?:/\d+)?[ ]?(?-i:\\?%|°|[a-zµ²³/^2]+(?: [a-z²³]+){0,2})?"
    r"[*$\\)]*+\.?[*$\\)]*\s*$))"
    r"(?:[\s*:]|__(?=\s)|</(?:b|strong|em|i)>)*"
    r"(?:(?:thus|therefore|then|simply|given by|as follows|the following)\b[\s*:,]*)?",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE_END = re.compile(r"\n|(?<!\\)[.!?](?=\$?\s+[A-Z\"(*]|\$?\s*$)|(?<=\d)[.?](?=\s+\d)|。")
_ENVIRONMENT = r"(?:equation|align|aligned|gather|gathered|multline|flalign|displaymath|math|center|split)"
_DISPLAY = re.compile(
    r"\$\$(?P<dollars>[^$]+)\$\$|\$(?P<dollar>[ \t]*\n[^$]+)\$|\\\[(?P<brackets>(?:(?!\\\]).)+)\\\]"
    rf"|\\begin\{{{_ENVIRONMENT}\*?\}}(?P<environment>(?:(?!\\end).)+)\\end\{{{_ENVIRONMENT}\*?\}}"
    r"|```\w*\n(?P<fence>[^`]+)```|~~~\w*\n(?P<tildes>[^~]+)~~~|<(?:b|p|center|strong|code|pre)>(?P<html>[^<]+)</\w+>",
    re.DOTALL,
)
_PROGRAM = re.compile(
    r"```(?:python|py|cpp|c\+\+|c|java|javascript|js|typescript|rust|go|bash|sh|sql|matlab|julia|sage|asy)\w?\n"
    r"(?:[^`]|`(?!``))*```",
    re.IGNORECASE,
)
_ITEM = re.compile(r"[ \t]*(?:[-*+•>]|#{1,6}|\(?[a-z0-9]{1,2}[.)])[ \t]+(?=\S)([^\n]*)")
_LEAD = re.compile(
    r"^(?:[:=\s]|\\(?:approx|sim|quad|therefore|implies|Rightarrow)(?![A-Za-z])|\\[,; ]|[⇒∴≈~]"
    r"|(?:is|equals?|equal to|approximately|approx\.|about|around|roughly|exactly"
    r"|simply|just|only|clearly|obviously|indeed)\b|(?:so|thus|hence|therefore)\b,?|(?:final )?result:)+",
    re.IGNORECASE,
)
# "the value of x is" in "the value of x is 42", "Janet makes" in "Janet makes $18"
_SAYS = "is|are|was|were|equals?|ha[sd]|have|makes?|costs?|takes?|gets?|earns?|needs?"
_CLAUSE = re.compile(
    r"^(?:so |thus |hence |therefore,? )?(?!(?:No|Nobody|Nothing|None|Never|Neither|Nor|Not)\b)"
    r"(?:[Tt]h(?:e|is|at|ere)\b|[Ii]t\b|[Ww]e\b|[A-Z][a-z]+(?:'s)?\b)"
    r"(?:(?! (?:no|nobody|nothing|none|not|if|or|than|unless|false|wrong|incorrect|whether|never|except|neither|nor"
    r"|impossible|unlikely|maybe|perhaps)\b|n't\b)[^.,=<>\n]){0,80}"
    rf" (?:{_SAYS})(?= [-−\d$\\(])"
)
_OF_ANOTHER = re.compile(rf"\b{OTHER_QUANTITY}", re.IGNORECASE)
_CHECK = re.compile(r"\b(?:verif|check|confirm|plug|substitut|both sides|for example)", re.IGNORECASE)
_COUNTED = re.compile(r"(?<=\d) \(([a-z]{2,20}[b-rtv-z]s)\)(?=\.?$)")  # "12 (apples)"
_AGREEING = re.compile(  # "No, it is not." and "Yes, it is."
    r"^(no(?=, [a-z]{2,5} [a-z]{2,5}(?: not|n't)\.?$)|yes(?=, [a-z]{2,5} (?:is|are|was|do|does|did|can)\.?$)),.*$",
    re.IGNORECASE,
)
_COPULA = re.compile(r"(?<!\s)\s?(?:です|でした|である|になります|となります|입니다|이다|이에요|예요)[。.]?$")
_TAIL = re.compile(
    r"(?<!\s)\s*(?:[,;(–—]\s*)?(?:\b(?:because|since|which(?! I )|due to|where|given that)\b"
    r"|(?<=[,;(] )(?:as(?! well)|(?:but )?not(?! (?:sure|certain|necessarily|only)\b))\b"
    r"|(?<=\()not\b(?! (?:sure|certain))|\brather than\b|\binstead of\b"
    r"|(?<=[,;(] )no other\b|(?<=[,;])(?:过程|因为|由于|理由|详见|如上|其中|而?不是|而非)"
    r"|\(see\b|\b(?:and|so) we are done\b|[✓✔✅■□]|"
    r"(?:correct |rounded |accurate )?to (?:the nearest|\w+ (?:decimal|significant))\b).*$",
    re.IGNORECASE | re.DOTALL,
)


def last_answer_tag(text: str) -> str | None:
    """The contents of the last closed ``<answer>...</answer>``; the tags may be in any case. None without one."""
    return _contents(text, _answer_tag(text))


def last_conclusion(text: str) -> str | None:
    """The contents of the last ``<CONCLUSION>...</CONCLUSION>``, the answer section of LLaVA-CoT's format."""
    return _contents(text, _last_between(text, "<CONCLUSION>", "</CONCLUSION>"))


def _contents(text: str, span: Span | None) -> str | None:
    return None if span is None else text[span[0] : span[1]]


def _answer_tag(text: str) -> Span | None:
    lowered = text.lower()  # some letters are longer in lower case, which would shift the positions
    return _last_between(lowered if len(lowered) == len(text) else text, "<answer>", "</answer>")


def _last_between(text: str, opening: str, closing: str) -> Span | None:
    end = text.rfind(closing)
    start = text.rfind(opening, 0, end) if end >= 0 else -1
    return stripped(text, start + len(opening), end) if start >= 0 else None


def final_part(response: str) -> tuple[str, int]:
    """The part of a response that answers, and where it begins: after the thinking, up to a token that ends the turn.

    Full-width signs and GLM's box become the usual ones, and programs are blanked. No character moves.
    """
    text = (
        response.translate(_WIDE)
        .replace("<|begin_of_box|>", "\\boxed{".ljust(16))
        .replace("<|end_of_box|>", "}".ljust(14))
    )
    text = _PROGRAM.sub(lambda code: " " * len(code[0]) if re.search("[=(#]", code[0]) else code[0], text)
    begin, ends = 0, list(_THOUGHT_END.finditer(text))
    if ends and re.sub(_TURN_END, "", text[ends[-1].end() :]).strip():
        begin = ends[-1].end()
    start = _TURN_START.match(text, begin)
    begin = start.end() if start else begin
    end = _TURN_END.search(text, begin)
    return text[begin : end.start() if end else len(text)], begin


def plain_text(text: str) -> str:
    """The text without Markdown emphasis, dollar signs, LaTeX styles and surrounding white space."""
    text = unemphasised(_STYLES.sub(lambda match: match.group(1) or "", text))
    return re.sub(r"__|(?<!\\)\\[(\[\])!,]|\\?[$`]", "", text).strip()


def unemphasised(text: str) -> str:
    """The text without Markdown's pairs of asterisks; those of a power stay.

    >>> unemphasised("**5** or 2**n")
    '5 or 2**n'
    """
    return _PAIRS.sub(lambda pair: pair[1] or "", _EMPHASIS.sub(r"\1", text)) if "**" in text else text


def tails(pattern: re.Pattern[str], text: str) -> list[str]:
    """The 400 characters after each of the last 50 matches, in order."""
    ends = deque((match.end() for match in pattern.finditer(text)), maxlen=50)
    return [text[end : end + 400] for end in ends]


def statements(text: str) -> list[Found]:
    """What follows each of the last 50 "the answer is", up to the end of its sentence, display or list, and what other
    phrases state (`phrases.worded`), in order.

    A statement that is denied, quoted or a condition ("if the answer is 7") is left out.
    """
    openings = deque(_STATEMENT.finditer(text), maxlen=50)
    asserted = [one for one in openings if not denied(text[max(0, one.start() - 120) : one.start()], "answer")]
    found = [_statement(text, one.end(), "\n" in one.group()) for one in asserted]
    said = [*(statement for statement in found if statement.answer), *deque(worded(text), maxlen=50)]
    return sorted(said, key=lambda statement: statement.span or (0, 0))


def _statement(text: str, start: int, on_new_line: bool) -> Found:
    limit = min(len(text), start + 400)
    parts, end = list[str](), start
    for content, end_of_part in _displays(text, start, limit):
        parts, end = [*parts, content], end_of_part
    if not parts and (on_new_line or "\n" in text[max(0, start - 3) : start]):
        parts, end = _items(text, start, limit)
    if parts:
        more = open_end(text, end)
        return Found(", ".join(dict.fromkeys(parts)) + text[end:more], "statement", stripped(text, start, more))
    last = _SENTENCE_END.search(text, start, limit)
    end = limit if last is None else last.end() if last.group() == "?" else last.start()
    sentence = text[start:end].rstrip()
    if sentence.endswith(".."):  # 0.33... goes on
        sentence = text[start : end + 1]
    else:
        sentence = sentence.rstrip(". ")
    start += len(sentence) - len(sentence.lstrip())
    return Found(sentence.strip(), "statement", (start, start + len(sentence.strip())))


def _displays(text: str, start: int, limit: int) -> Iterator[tuple[str, int]]:
    """The contents of the displayed formulas or code blocks that follow each other from `start`, and their ends."""
    while (display := _DISPLAY.match(text, start, limit)) is not None:
        yield displayed(display.group()), display.end()
        joint = re.compile(r"\s*(?:(?:and|or)\b\s*)?").match(text, display.end(), limit)
        start = joint.end() if joint else display.end()


def displayed(text: str) -> str:
    r"""The formulas of a display without what displays them; rows that begin with "=" continue the row above.

    >>> displayed("\\[\\begin{aligned} x &= 3 + 6 \\\\ &= 9 \\end{aligned}\\]")
    'x = 3 + 6 = 9'
    """
    while (display := _DISPLAY.fullmatch(text.strip())) is not None:
        text = display.group(display.lastgroup or 0)
    if "\\begin" in text:  # a matrix or cases
        return text.strip()
    rows = list[str]()
    for row in re.split(r"\\\\|\n", text):
        row = row.replace("&", "").strip()
        if rows and row and (row.startswith("=") or rows[-1].endswith("=")):
            rows[-1] += f" {row}"
        elif row:
            rows.append(row)
    return ", ".join(rows)


def _items(text: str, start: int, limit: int) -> tuple[list[str], int]:
    """The items of the list that begins there, and its end; only the first if the others are explanations."""
    items, end = list[str](), start
    while (item := _ITEM.match(text, start, limit)) is not None:
        if items and len(re.findall(r"[A-Za-z]{3,}", item.group(1))) > 3:
            break
        items, end = [*items, item.group(1).strip()], item.end()
        start = end + 1
    return items, end


def stated(response: str) -> list[Found]:
    """The places where the response states its answer, the most reliable first.

    - If there is a closed answer tag, nothing outside it is read.
    - Otherwise the order is conclusion tag, box, statements; of several statements the last comes first, and before it
      another value that a last sentence concludes.
    - An explicit answer after the box goes before it: the box was a step. Statements before the box or inside the
      reasoning do not count: the response went on after them.
    - There is none if the last one is a question or is taken back.

    >>> [found.answer for found in stated("The answer is 7. Therefore \\\\boxed{8}.")]
    ['8']
    """
    text, offset = final_part(response)
    found = _stated(text)
    if not found and offset and "</think" in response[:offset] and (boxed := final_box(response)) is not None:
        return [boxed]  # within the reasoning
    return [replace(place, span=(place.span[0] + offset, place.span[1] + offset)) for place in found if place.span]


def _stated(text: str) -> list[Found]:
    tag = _answer_tag(text)
    if tag is not None:
        return _within(text, tag, "answer tag")
    section = _last_between(text, "<CONCLUSION>", "</CONCLUSION>")
    within = _within(text, section, "conclusion") if section else []
    boxed = final_box(text)
    begin = boxed.span[1] if boxed and boxed.span else 0
    said = [_moved(one, begin) for one in reversed(statements(text[begin:]))]
    if boxed is not None:
        said = [one for one in said if _is_answer(one.answer)]
    last = said[0] if said else boxed
    if last is not None and last.span is not None:
        # a longer text is compared as a whole: the text of an option may be a question
        asks = last.answer.endswith(("?", "吗", "吧")) and len(last.answer.split()) < 8
        if asks or taken_back(text[last.span[1] : last.span[1] + 2000], last.answer):
            return within
        said = [*_results_behind(text, last.span[1], last.answer), *said]
    if boxed is None or boxed.span is None:
        return [*within, *said]
    inside = [one for one in _within(text, boxed.span, "boxed") if one.method == "boxed+statement"]
    return [*within, *said, *inside, boxed]


def _results_behind(text: str, end: int, answer: str) -> list[Found]:
    """Another number that the response concludes after a stated one, unless it only checks that one."""
    result = None if _CHECK.search(text, end) else concluded(text[end:])
    if result is None or result.method != "conclusion" or not re.search(r"\d", answer):
        return []
    return [_moved(result, end)] if names_another(result.answer, answer) else []


def _within(text: str, span: Span, method: str) -> list[Found]:
    """The box and the statements inside a tag or box, then its whole contents."""
    whole = Found(text[span[0] : span[1]], method, span)
    boxed = final_box(whole.answer)
    said = [*([boxed] if boxed else []), *reversed(statements(whole.answer))]
    return [*(replace(_moved(one, span[0]), method=f"{method}+{one.method}") for one in said), whole]


def _moved(found: Found, by: int) -> Found:
    return replace(found, span=(found.span[0] + by, found.span[1] + by)) if found.span else found


def _is_answer(text: str) -> bool:
    """Whether a statement after a box can be the answer itself, and not a remark such as "correct to two digits"."""
    text = trimmed(plain_text(text))
    begins = re.match(r"[\W_]*(?!an? [a-z])(?:\d|\\|[A-Za-z](?![A-Za-z])|(?:option|choice|yes|no|true|false)\b)", text)
    return begins is not None and len(re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", text))) <= 6


def trimmed(text: str) -> str:
    """The answer without a lead such as "the area is approximately" and a tail such as "because ..." or ", not ..."."""
    text = re.sub(r"\\text\s*\{\s*(approximately|about|around|or|and)\s*\}", r" \1 ", text.strip().strip("*_`"))
    text = re.sub(r"^<+([^<>]*)>+$|^\\?(['\"“])([^'\"”]*?)\\?['\"”]$", r"\1\3", text)
    text = _AGREEING.sub(r"\1", _COUNTED.sub(r" \1", text))
    tail = _TAIL.search(text)
    if tail and tail.start() and not refuted(tail.group(), text[: tail.start()]):
        text = text[: tail.start()]
    clause = _CLAUSE.match(text)
    if clause and not _OF_ANOTHER.search(clause.group()) and not says_another(clause.group()):
        text = text[clause.end() :]
    return _LEAD.sub("", _COPULA.sub("", text)).strip(" \t\n,;:*").rstrip(". 。")


def bare_answer(response: str) -> Found | None:
    """The response if it is one short line with an answer and nothing else (letter, number, formula); else what it
    concludes (`phrases.concluded`), if anything.
    """
    text, offset = final_part(response)
    start, end = stripped(text, 0, len(text))
    conclusion = concluded(text) if "\\boxed" not in text and "<answer>" not in text else None
    if conclusion is not None and conclusion.span is not None:
        return _moved(conclusion, offset)
    if (quoted := re.match(r">\s{0,3}", text[start:end])) is not None:  # Markdown's mark of a block
        start += quoted.end()
    answer = displayed(text[start:end]) if _DISPLAY.fullmatch(text[start:end]) else text[start:end]
    words = re.findall(r"[A-Za-z]{2,}", re.sub(r"\\[A-Za-z]+", "", in_digits(answer[:200])))
    if (
        not answer
        or begins_conclusion(answer)
        or len(answer) > 80
        or len(words) > 2
        or answer.endswith("?")
        or "\\boxed" in answer
    ):
        return None
    if "\n" in text[start:end] and not _DISPLAY.fullmatch(text[start:end]):
        return None
    return Found(answer, "response", (start + offset, end + offset))
