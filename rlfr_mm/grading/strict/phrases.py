"""Sentences that state an answer without saying "the answer is" before it."""

import re
from collections.abc import Iterator

from rlfr_mm.grading.item import Found, Span
from rlfr_mm.grading.strict.doubt import OTHER_QUANTITY, denied

_FORMULA = r"(?:\$\$[^$]{1,300}\$\$|\$[^$\n]{1,300}\$|\\\([^\n]{1,300}?\\\)|\\\[.{1,300}?\\\])"
_UNIT = r"[A-Za-z]{1,15}(?:/[A-Za-z]{1,6})?[²³]?(?![A-Za-z²³/])(?! ?=)"
_NUMBER = rf"(?:\\?[$€£])?[-−]?\d(?:[\d.,/]{{0,30}}\d)?+(?: ?(?:\\?%|°|{_UNIT})){{0,3}}"
_VALUE = rf"[*_]{{0,2}}({_FORMULA}|{_NUMBER})[*_]{{0,2}}"
_REVERSED = re.compile(
    rf"(?:^|[.:;,!]\s|\b(?:so|thus|hence|therefore|that),?\s)({_FORMULA}|\*\*[^*\n]{{1,80}}\*\*|{_NUMBER}) "
    r"(?:is|are|must be|should be|will be) (?:the|our|my) (?:(?:final|correct|right|required|desired) ){0,2}"
    r"(?:answer|solution)s?\b(?! (?:to|of|for) (?:part|question|step|the (?:first|second|other|last)))",
    re.IGNORECASE | re.MULTILINE,
)
_JSON = re.compile(
    r"[\"'](?:final[_ ])?answer[\"']\s{0,3}:\s{0,3}(?:\"([^\"\n]{1,400})\"|'([^'\n]{1,400})'|([-\d.]{1,40}))"
    r"(?=\s{0,3}[,}])",
    re.IGNORECASE,
)
_CONCLUSION = re.compile(
    r"[*_#\s]*(?:therefore|thus|hence|so|consequently|in conclusion|in summary|to conclude|as a result)\b"
    r"(?! far\b)[,:]?\s",
    re.IGNORECASE,
)
_SENTENCE_START = re.compile(r"(?<=[.!?])\s+(?=[A-Z$\\*])|(?<=[$\]])\s(?=So\b|Thus\b|Hence\b|Therefore\b)|\n")
_VERB = r"is|are|was|were|be|equals?|equal to|ha[sd]|have|makes?|costs?|takes?|needs?|earns?|gets?|gives?|="
_CHANGES = (
    r"(?:grows?|increases?|decreases?|rises?|falls?|drops?|changes?|shrinks?"
    r"|(?:is|are|was|were) (?!divid|multipl)[a-z]{1,20}ed) by"
)
_ABOUT = "(?:a total of |exactly |only |approximately |about )?"
_AT_THE_END = re.compile(
    rf"(?:^|\b(?:{_VERB}|{_CHANGES})|=)\s{_ABOUT}{_VALUE}[.!]?\s*$",
    re.IGNORECASE,
)
_THERE_ARE = re.compile(  # one kind of thing, not "5 boys and 7 girls"
    r"\s?there (?:is|are|were|will be) (?:exactly |only |a total of )?(\d[\d,]*) [a-z]"
    r"(?![^:(]{0,200}(?:,| and| but| plus| while) (?:[a-z]{1,20} ){0,3}[$\\]{0,2}\d)",
    re.IGNORECASE,
)
_REASON = re.compile(r"\b(?:since|because|given)\b[^;]*,", re.IGNORECASE)
# "x is 5 and y is", before another value: neither of the two is all that is said
_CLAUSE_BEFORE = re.compile(
    rf"\b(?:{_VERB}) {_ABOUT}{_VALUE}[^,;]{{0,60}}?"
    r"(?:[,;]?\s(?:and|but|while|whereas)|[,;])\s"
    r"(?!(?:and|but|so|then|thus|hence|therefore|which|that|this|it|the total|making|giving|(?:al)?together"
    rf"|in total)\b)[^,;\d]{{1,60}}\s(?:{_VERB})(?:\s{_ABOUT})?[\s*_]*$",
    re.IGNORECASE,
)
# what the first "=" of a conclusion may have on its left: a name, or numbers to calculate; "2x" is still unsolved
_NAMED = re.compile(
    r"(?:[^\d+*/^=−-]{0,200}[\s$(])?\|?(?:[A-Za-z](?![A-Za-z])|[∠△]?[A-Z]{1,4}|[A-Za-z]{3,20}|\\[a-z]{2,8})"
    r"(?:_\{?\w{1,3}\}?)?(?:\([^()=]{1,20}\))?\|?[\s$]*"
)
_SHORT_WORDS = "a|is|be|of|to|in|by|we|he|it|at|on|an|as|my|me|us|no|so|do|up|cm|mm|km|kg|ft"
_CALCULATED = re.compile(
    rf"(?:[^A-Za-z=\\]|(?<=\d )x(?= [$\d])|(?<=')s(?![A-Za-z])|(?<![A-Za-z])(?:{_SHORT_WORDS}|[A-Z]{{2,4}}"
    r"|[A-Za-z]{3,20})(?![A-Za-z])|\\[A-Za-z]{1,12}(?![A-Za-z])|\\[^A-Za-z])*"
)
_LISTED = re.compile(r",\s|;|\band\b")
# the conclusion is about something else: a step, a case, a multiple of what is asked for
_STEP = re.compile(
    r"(?<!since )(?<!because )\b(?:we|let's|I) (?:(?:can|will|now|then|first|next|also|must|should) ){0,3}"
    r"(?:try|test|check|set|start|begin|add|subtract|divide|multiply|substitute|plug|choose|pick|take|use|compute|need)\b"
    r"|\b(?:next|first) (?:case|step)\b|^(?:what|how)\b|\bthe question\b"
    r"|\b(?:start|begin)(?:ing)? (?:by|with)\b|\bfor [a-z] ?=|\bnow have\b"
    rf"|\b(?:multiple|factor|divisor|bound) of\b|\b{OTHER_QUANTITY}",
    re.IGNORECASE,
)
_CASE = re.compile(r"(?:when|with|at) [^,=]{1,20}=[^,=]{1,20}, ", re.IGNORECASE)
# a sentence with one of these words does not say that a value is the answer
_UNSURE = re.compile(
    r"\b(?:not|no|never|neither|nor|or|if|unless|until|than|least|most|maybe|perhaps|possibly|might|may|could|would|should"
    r"|cannot|between|suppose|assum\w*|let|wrong|incorrect|guess|say|says|claims?|states?|need to|want|whether"
    r"|consider|contradiction|other)\b|n't\b|\?",
    re.IGNORECASE,
)
# and a formula behind one of these is not the answer either
_NO_ANSWER = re.compile(
    rf"{_UNSURE.pattern}|\b(?:given|step|question|problem|example|note|hint|input|first|second|known|data)\b",
    re.IGNORECASE,
)
_REMARK = re.compile(r"(?<!\s)\s*(?:I hope (?:it|this) (?:is correct|helps)[.!]*|[□■✓✔✅]|QED\.?)\Z", re.IGNORECASE)
_LABEL = re.compile(
    rf"(?:[A-Z][A-Za-z ,]{{1,80}}(?::| is| are| that)|(?:the )?(?:final )?answer)\s?({_FORMULA})\.?|"
    rf"(?:the )?(?:final )?(?:ans|answer|solution|result|total|sum|value)[.:]\s?{_VALUE}\.?|"
    r"(?:(?:so|thus|hence|therefore),? )?the (?:statement|assertion|proposition) is (true|false)\.?",
    re.IGNORECASE | re.DOTALL,
)
_ALONE = re.compile(rf"{_VALUE}\.?")


def worded(text: str) -> Iterator[Found]:
    """The statements of the forms "12 is the answer" and ``"answer": 12``, in order; none that is denied or quoted."""
    places = [*_REVERSED.finditer(text), *_JSON.finditer(text)]
    for match in sorted(places, key=re.Match.start):
        answer, span = _group(match)
        if not denied(text[max(0, span[0] - 120) : span[0]]):
            yield Found(answer, "statement", span)


def begins_conclusion(text: str) -> bool:
    """Whether a text begins like a conclusion, with "so" or "therefore"."""
    return _CONCLUSION.match(text) is not None


def concluded(text: str) -> Found | None:
    """The value at the end of a last sentence that begins like a conclusion, a labelled formula, or the last line if it
    is only a value; None if the sentence leaves anything open.

    >>> concluded("She sells 9 eggs for $2 each. So she might make $18.") is None
    True
    >>> concluded("She sells 9 eggs for $2 each. So she makes $18.").answer
    '$18'
    """
    text = _REMARK.sub("", text.rstrip())
    if len(text.strip()) <= 300 and (labelled := _LABEL.fullmatch(text.strip())) is not None:
        found = _placed(labelled, "response", len(text) - len(text.lstrip()))
        return None if found.span is None or _NO_ANSWER.search(text[: found.span[0]]) else found
    start = max((match.end() for match in _SENTENCE_START.finditer(text, max(0, len(text) - 400))), default=0)
    sentence, before = text[start:], text[:start].rstrip().rpartition("\n")[2].strip()
    if len(sentence) > 300:
        return None
    if (lead := _CONCLUSION.match(sentence)) is not None:
        value = _THERE_ARE.match(sentence, lead.end()) or _AT_THE_END.search(sentence, lead.end() - 1)
        value = value or _ALONE.fullmatch(sentence, lead.end())
        doubtful = value is None or _UNSURE.search(sentence) or _is_step(sentence[lead.end() : value.start(1)])
        return None if value is None or doubtful else _placed(value, "conclusion", start)
    alone = _ALONE.fullmatch(sentence)
    if alone is None or not text[:start].endswith("\n") or not re.search("[A-Za-z]{2}|[\u4e00-\u9fff]", before):
        return None
    return None if before.endswith(":") and _NO_ANSWER.search(before) else _placed(alone, "last line", start)


def says_another(said: str) -> bool:
    """Whether the words before a value give something else a value in a clause of its own.

    >>> says_another("Ann has 5 and Bob has "), says_another("Ann has 5, which makes ")
    (True, False)
    """
    return _CLAUSE_BEFORE.search(_REASON.sub("", said)) is not None


def _is_step(said: str) -> bool:
    """Whether the words and formulas between "so" and a value say that it is the value of something else."""
    if _STEP.search(said) or says_another(said):
        return True
    case = _CASE.match(said)
    first, *others = said[case.end() if case else 0 :].split("=")
    if not others:
        return False
    return _LISTED.search("=".join(others)) is not None or not (_NAMED.fullmatch(first) or _CALCULATED.fullmatch(first))


def _group(match: re.Match[str]) -> tuple[str, Span]:
    """The one group that matched, and where."""
    index = match.lastindex or 0
    return match[index], match.span(index)


def _placed(match: re.Match[str], method: str, offset: int) -> Found:
    answer, (start, end) = _group(match)
    return Found(answer, method, (start + offset, end + offset))
