"""What the words around a stated answer do to it: deny or quote it, leave it open, or take it back."""

import re

# words between a denial and the answer that it denies, as in "not the case that the correct answer is 12"
_FILLER_WORDS = """
    that the my our your his her their this it a an correct right final best only most likely answer result value
    option choice solution letter is was are be been equal equals to
"""
_FILLERS = frozenset(_FILLER_WORDS.split())
_SAYING = "think|say|guess|expect|believe|assume|suppose|conclude|argue|suspect|claim"
_DENIAL = re.compile(
    r"(?:^|\s)(?:whether|if|unless|until|suppose|supposing|assume|assuming|imagine|not|\w*n't|cannot|never|neither|nor"
    r"|doubt(?:s|ed|ful)?|den(?:y|ies|ied)|unlikely|impossible|false|wrong|incorrect|hardly|I guess|I thought|no way"
    r"|(?:nobody|no one|none)(?: [a-z]+){0,2}|anything but|far from|ignore|delete|discard|disregard"
    rf"|(?:wrong|false|incorrect) to (?:{_SAYING})"
    rf"|(?:not|\w*n't) (?:the case|true|sure|certain|clear|known?|mean|{_SAYING})"
    r"|^(?:show|prove|verify|check)"
    r"|(?:more|less|greater|fewer|smaller|larger|other|rather) than|instead of|except(?: for)?|excluding)$",
    re.IGNORECASE,
)
# who is quoted here does not speak for the response
_QUOTATION = re.compile(
    rf"(?:^|\s)(?:(?<!\bI )(?<!\bwe )(?:may|might|could|would|can) (?:also )?(?:{_SAYING})"
    rf"|(?:people|students|others|some|many|they|you|who) (?:{_SAYING})"
    r"|(?:ask|say|think|claim|state|guesse|believe|suggest|wonder|write|argue|hope)s"
    r"|asked|said|thought|claimed|stated|guessed|believed|suggested|wondered|wrote|argued)$",
    re.IGNORECASE,
)
# directly after an answer, in the same line: it is not the whole answer, or not the answer
_LEFT_OPEN = re.compile(
    r"[ \t$*_)\]},;:–—-]*(?:\\text\s{0,3}\{ {0,3})?(?:\\quad {0,3})?\(?(?:or\b(?! equivalently)|but\b|(?:al)?though\b"
    r"|unless\b|maybe\b|perhaps\b|possibly\b|else\b|\?|if\b|not\b|wrong\b|incorrect\b"
    r"|(?:is|are|was|were|(?:would|must|may|might|could|seems to) be)(?:n't| not| wrong| incorrect| impossible| false"
    r"| one of| (?:only |just )?a guess)\b|(?:which |and )?I (?:doubt|disagree|reject|do(?: not|n't) agree)\b"
    r"|(?:could|might|may) (?:also )?be\b|can(?:not|'t| not| be (?:excluded|ruled))\b"
    r"|(?:is|are|was|were) (?:too |(?:only |just )?an? (?:upper|lower) bound|(?:only |just )?my (?:first|initial))"
    r"|and (?:also |maybe |perhaps |possibly )\$?[-\d\\]|(?:-{1,2}>|→|=>) ?(?:wrong|incorrect|no)\b|[✗✘❌❎]"
    r"|[^()\n.]{0,60}\bnot the (?:final |correct |right )?answer\b"
    r"|[^()\n.]{0,40}\b(?:also (?:works?|possible|plausible|valid|correct|right|fits?)|equally)\b)",
    re.IGNORECASE,
)
_LINE_END = re.compile(r"\n|[.!?](?=\s|$)|\\\]|\$\$")
# the next sentence takes the answer back, or adds another one
_TAKEN_BACK = re.compile(
    r"[\s$*_)\]}.!,;\\\"]*(?:(?:but|oh|hmm+|well|wait|no|actually|hold on|oops|sorry)\b[\s,.:!—–-]*){0,2}"
    r"(?:(?:that|this|it|which)(?:'s| is| was) (?:actually |clearly |obviously )?"
    r"(?:wrong|incorrect|false|not (?:right|correct|it|the (?:answer|case))|impossible"
    r"|(?:just )?(?:a|my) (?:mistake|guess))"
    r"|(?:that|this|it|which) can(?:not|'t| not) be\b"
    r"|(?:or|alternatively|maybe|perhaps|possibly)\b(?!,? equivalently| in | simply)"
    r"|(?:but |although |then again,? )(?:it |the answer |this |that )?(?:could|might|may)\b)",
    re.IGNORECASE,
)
_MISTAKE = re.compile(
    r"\bI (?:disagree|doubt (?:it|that))\b"
    r"|\bI (?:was (?:wrong|mistaken)|made an? (?:\w+ )?(?:mistake|error)|mis(?:calculated|read|counted))|\bscratch that"
    r"|\bcorrection:|\b(?:my|the) (?:(?:previous|earlier|above|first|last|initial) )?(?:answer|result)(?: above)? "
    r"(?:is|was) (?:wrong|incorrect)",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"(?:^|[.!?)\]$*])\s{0,3}(?:but |oh,? |hmm,? )?"
    r"(?:(?:wait|hold on|actually|hmm+|oops|sorry|on second thought)(?=[,.:;!—–…]| (?:it|that|this|the|I)\b)"
    r"|no(?=[,:;!—–…]| wait\b))",
    re.IGNORECASE | re.MULTILINE,
)
_CONFIRMED = re.compile(
    r"\b(?:yes|correct|right|indeed|confirm\w*|checks? out|holds|match(?:es)?|consistent|fine|good)\b|[✓✔✅]",
    re.IGNORECASE,
)
# a number or an option letter; which one it is matters only beside the answer's own
_VALUE = r"(?:[-−]?\d(?:[\d.,/]{0,20}\d)?|(?-i:[A-I](?![A-Za-z'])))"
_SOME_VALUE = re.compile(_VALUE)
_NAMED = rf"[$(\[*]{{0,3}}(?:[a-z] ?= ?)?\\?\$?({_VALUE})"
# the end of a clause whose subject is the answer and that rejects it
_FAULT = (
    r"(?:wrong|incorrect|mistaken|false|impossible|invalid|inadmissible|unacceptable|absurd|extraneous|rejected|excluded"
    r"|discarded|too (?:large|big|small|high|low|long|short|much|many|few|little))\b"
)
_MERIT = (
    r"(?:(?:an?|the|one of the|quite|really) )?(?:(?:final|true|valid|real|actual) )?"
    r"(?:valid|possible|correct|right|allowed|acceptable|admissible|true|it|the case|answer|solution|root|result|option"
    r"|choice|good)\b"
)
_REJECTED = (
    rf"(?:(?:is|are|was|were|looks?|seems?|sounds?|(?:would|must) be)(?: (?:[a-z]+ly|just|also|far|still))? {_FAULT}"
    rf"|(?:is|are|was|were)(?:n't| not) {_MERIT}"
    rf"|(?:can't|won't|cannot|(?:do|does|did|can|could|would|will)(?:n't| not))(?: (?:even|really|actually|possibly))? "
    rf"(?:satisf|work|hold|fit|match|solve|make sense|add up|(?:look|seem|be|sound) {_MERIT})"
    r"|(?:[a-z]+ly )?(?:contradict|violat|fails?\b))"
)
_NOT = re.compile(r"[\s,;(–—]*(?:but )?(?:not|rather than|instead of)\b\s*", re.IGNORECASE)
_CONTRASTED = re.compile(
    rf"(?:the |an? |options? |choices? |answers? ){{0,2}}(?:{_NAMED}|[$(]*[-−]?\\[a-z]{{2}}"
    r"|[$(]*[-−]?[a-z](?=[\s$)]*(?:[-+=^.,;]|$))|(?:counting|including)\b)",
    re.IGNORECASE,
)
_WHICH = re.compile(rf"[\s,;(–—]*which,? {_REJECTED}", re.IGNORECASE)
_ADDED = re.compile(
    rf"(?:;|,? but|, (?:or|and)) (?:else |also |maybe )?(?:it is )?{_NAMED}"
    r"(?=[$)*,\s]{0,4}(?:(?:since|as|because|if|when|for|in case)\b|\.?\s*$))"
    rf"|\b(?:so|hence|thus|therefore),? (?:it is |it's |we (?:get|have) )?{_NAMED}(?=[$)*.\s]*$)",
    re.IGNORECASE,
)
_DISPUTED = re.compile(r"\bnot\b|n't\b|\bwrong\b|\bincorrect\b|\bmistake\b|\berror\b", re.IGNORECASE)


def denied(before: str) -> bool:
    """Whether the words before an answer deny it, quote it or make it a condition.

    >>> denied("The question asks whether the answer is "), denied("It is not B, so the answer is ")
    (True, False)
    """
    if re.search(r"(?:\\neq?|≠)[\s${]*$", before[-20:]):
        return True
    clause = re.split(r"[.!?;,\n]", before[-120:])[-1].replace("’", "'")
    words = re.findall(r"[A-Za-z']+|[^\sA-Za-z'$*_\"({:=]+", clause)
    end = len(words)
    while end and words[end - 1].lower() in _FILLERS:
        end -= 1
    said = " ".join(words[max(0, end - 6) : end])
    return bool(_DENIAL.search(said) or (end < len(words) and _QUOTATION.search(said)))


def open_end(text: str, end: int) -> int:
    """Where an answer that ends at `end` really ends: with its line, if what follows there leaves the answer open.

    >>> text = "\\\\boxed{12} or maybe 13. So"
    >>> text[: open_end(text, 10)]
    '\\\\boxed{12} or maybe 13'
    """
    opened = _LEFT_OPEN.match(text, end, end + 200)
    if opened is None:
        return end
    last = _LINE_END.search(text, opened.end(), end + 200)
    return last.start() if last else min(len(text), end + 200)


def taken_back(after: str) -> bool:
    """Whether the text after an answer, in which no other answer is stated, takes it back or adds another one.

    A second thought ("Wait, ...") takes it back unless the text then confirms it.

    >>> taken_back(". Wait, that is wrong. It is 13."), taken_back(". Wait, let me check: 3 * 4 is 12. Yes.")
    (True, False)
    """
    if _TAKEN_BACK.match(after, 0, 200) or _MISTAKE.search(after):
        return True
    thought = _SECOND_THOUGHT.search(after)
    if thought is None:
        return False
    rest = after[thought.end() :]
    return _CONFIRMED.search(rest) is None or _DISPUTED.search(rest) is not None


def refuted(tail: str, answer: str) -> bool:
    """Whether the words behind an answer deny it or add another one, instead of giving a reason or a contrast.

    >>> refuted(", which is wrong", "5"), refuted(", since 6 is wrong", "5"), refuted(", not 6", "5")
    (True, False, False)
    """
    tail = tail.replace("’", "'")
    if (contrast := _NOT.match(tail)) is not None:
        words = tail[contrast.end() :]
        against = _CONTRASTED.match(words) is None if _SOME_VALUE.search(answer) else re.match(_MERIT, words)
        return bool(against) or _adds(_ADDED, tail, answer)
    return _WHICH.match(tail) is not None or _adds(_ADDED, tail, answer)


def _adds(pattern: re.Pattern[str], text: str, answer: str) -> bool:
    """Whether the pattern finds a value or letter in the text that is not one of the answer's."""
    own = set(_SOME_VALUE.findall(answer))
    return any(value not in own for match in pattern.finditer(text) for value in match.groups() if value)
