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
    rf"|(?:mistake|error|misconception|pitfall|trap)(?: (?:is|was|would be) to (?:{_SAYING}|choose|pick))?"
    rf"|(?:not|\w*n't) (?:the case|true|sure|certain|clear|known?|mean|{_SAYING})"
    r"|^(?:show|prove|verify|check)"
    r"|(?:more|less|greater|fewer|smaller|larger|other|rather) than|instead of|except(?: for)?|excluding)$",
    re.IGNORECASE,
)
# who is quoted here does not speak for the response
_QUOTATION = re.compile(
    rf"(?:^|\s)(?:(?<!\bI )(?<!\bwe )(?:may|might|could|would|can) (?:also )?(?:{_SAYING})"
    rf"|(?:people|students|others|some|many|they|you|who) (?:{_SAYING})"
    r"|(?:say|think|claim|guesse|believe|suggest|wonder|argue|hope)s"
    r"|said|thought|claimed|guessed|believed|suggested|wondered|argued)$",
    re.IGNORECASE,
)
_WRITTEN = re.compile(r"(?:^|\s)(?:(?:ask|state|write)s|asked|stated|wrote)$", re.IGNORECASE)
# words before "the answer" that make something else of it, such as "twice" and "an upper bound for"
_MADE_OF_IT = re.compile(
    r"(?:^|\s)(?:(?<!light )(?<!view )(?<!because )(?<!regardless )(?<!value )(?<!out )(?<!all )of|twice|half|double"
    r"|triple|thrice|(?:bound|estimate|limit|guess|hint|candidate|approximation) (?:for|on|to))$",
    re.IGNORECASE,
)
_OWNED = re.compile(
    r"(?:^|\s)(?!(?:let|that|here|it|what|there|he|she|problem|question|exercise|puzzle|task)'s)[a-z]+(?:'s|s')$",
    re.IGNORECASE,
)
# "twice the number" is not the number; "half of 10" is one
OTHER_QUANTITY = (
    r"(?:(?:twice|thrice|double|triple|half)(?: of)?|(?:square(?: root)?|cube(?: root)?|reciprocal|negative|opposite"
    r"|inverse|last digit|sum of the digits) of)(?= (?:the |this |that |his |her |its |their |an? )?(?!of\b)[A-Za-z])"
)
_OTHERS = frozenset(["his", "her", "their"])
# the same in Chinese, before "the answer is" and its adjectives
_HAN_DENIAL = re.compile(
    r"(?:错误|不正确|不对|并非|不是|是否|是不是|如果|假如|要是|若|假设|假定|倘若|除非|怀疑|以为|猜测?|声称"
    r"|(?<!我)(?<!我们)(?<!可以)(?:认为|觉得)|(?<!我们)(?<!来)(?<!是)(?<!以)(?<!者)说)"
    r"(?:的|这个?|本题|此题|该题|题目|最终|最后|正确|最佳){0,3}$"
)
# directly after an answer, in the same line: it is not the whole answer, or not the answer
_LEFT_OPEN = re.compile(
    r"[ \t$*_)\]},;:–—-]*(?:\\text\s{0,3}\{ {0,3})?(?:\\quad {0,3})?\(?(?:or\b(?! equivalently)|but\b|(?:al)?though\b"
    r"|unless\b|maybe\b|perhaps\b|possibly\b|else\b|\?|if\b|not\b|wrong\b|incorrect\b"
    r"|(?:is|are|was|were|(?:would|must|may|might|could|seems to) be)(?:n't| not| wrong| incorrect| impossible| false"
    r"| one of| (?:only |just )?a guess)\b|(?:which |and )?I (?:doubt|disagree|reject|do(?: not|n't) agree)\b"
    r"|(?:could|might|may) (?:also )?be\b|can(?:not|'t| not| be (?:excluded|ruled))\b"
    r"|(?:is|are|was|were) (?:too |(?:only |just )?an? (?:upper|lower) bound|(?:only |just )?my (?:first|initial))"
    r"|and (?:also |maybe |perhaps |possibly )\$?[-\d\\]|[✗✘❌❎]|~~"
    r"|(?:-{1,2}>|→|=>|\\(?:to|(?:R|r)ightarrow)) ?(?:\\text\{ ?)?(?:wrong|incorrect|no\b|correct(?:ed|ion)|[-\d])"
    r"|(?:[这那]?[是有]?(?:错误|错的|错了|不对|不正确|误)|除外|以外|[吗吧]|或(?!等价)|还是|不是)"
    r"|[^()\n.]{0,60}\bnot the (?:final |correct |right )?answer\b"
    r"|[^()\n.]{0,40}\b(?:also (?:works?|possible|plausible|valid|correct|right|fits?)|equally)\b)",
    re.IGNORECASE,
)
_LINE_END = re.compile(r"\n|。|[.!?](?=\s|$)|\\\]|\$\$")
# a number or an option letter; which one it is matters only beside the answer's own
_VALUE = r"(?:[-−]?\d{1,20}(?:[./]\d{1,20}|,\d{3}(?!\d)){0,6}|(?-i:(?<![A-Za-z/])[A-I](?![A-Za-z'])))"
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
_END = r"[$)*\]\s]*(?:[.,;!。)]|$)"
_NAMED_END = rf"{_NAMED}{_END}"
_SENTENCE_END = re.compile(r"(?<=。)|(?<=[.!?])[$)*\]\"]{0,4}\s+|\n+")
_GOES_ON = re.compile(r"[ \t$*_)\]}\\]*+(?![\s.,;!?。])")
# words before a sentence that turn against what was said, and others
_TURN = (
    r"(?:but|oh|hmm+|wait|no(?=\s?[,.:;!…–—])|nope|actually|hold on|oops|sorry|however|unfortunately|yet|although"
    r"|though|then again|on second thought|my bad|edit|update|correct(?:ed|ion)|final)"
)
_LEAD_IN = re.compile(
    rf"[\s$*_)\]}}(>#\"\\.,;:!–—-]*((?:(?:{_TURN}|well|and|so|in fact|finally)\b[\s,.:;!…–—]*){{0,4}})", re.IGNORECASE
)
_TURNED = re.compile(rf"\b{_TURN}\b", re.IGNORECASE)
# the answer, spoken of with a pronoun or a noun
_IT = r"(?:that|this|it|which)(?: (?:answer|result|value|solution|choice|option))?"
_THE_ANSWER = (
    r"(?:the above|(?:the|my|this|our) (?:(?:previous|earlier|above|first|last|initial|given|boxed) )?"
    r"(?:answer|solution|result(?= (?:is|was) (?:wrong|incorrect))))(?: above| given)?"
)
_IT_IS_REJECTED = re.compile(
    rf"(?:{_IT}(?:'s(?: [a-z]+ly| just)? (?:{_FAULT}|not {_MERIT})| (?:[a-z]+ly )?{_REJECTED})(?! (?:to|that)\b)"
    rf"|{_IT}(?:'s| is| was) (?:just |only )?(?:an?|my) (?:mistake|guess|error|typo)\b)",
    re.IGNORECASE,
)
_IT_IS_ANOTHER = re.compile(
    rf"(?:{_IT}|the answer|x) (?:(?:now|actually|really|instead) )?(?:should|must|ha[sd] to|needs? to|ought to) "
    rf"(?:(?:really|actually|instead|rather) )?(?:be|have been|equal|read) {_NAMED}(?: instead)?{_END}",
    re.IGNORECASE,
)
_IT_CANNOT_BE = re.compile(rf"{_IT} can(?:not|'t| not) be\b(?! {_NAMED})", re.IGNORECASE)
_LEFT_TO_CHOOSE = re.compile(
    r"(?:or|alternatively|maybe|perhaps|possibly)\b(?!,? (?:equivalently|we|one|you|use|by)\b| in | simply)",
    re.IGNORECASE,
)
_MAY_BE = re.compile(r"(?:it |the answer |this |that )?(?:could|might|may)\b", re.IGNORECASE)
_ANSWER_IS_REJECTED = re.compile(rf"{_THE_ANSWER} (?:[a-z]+ly )?{_REJECTED}", re.IGNORECASE)
_VALUE_IS_REJECTED = re.compile(
    rf"(?:the )?(?:(?:value|answer|option|choice|number|solution|root) )?{_NAMED}[$)*\]]*,? (?:[a-z]+ly )?{_REJECTED}",
    re.IGNORECASE,
)
_NOT_VALUE = re.compile(
    rf"(?:{_VALUE}[$)*\]]*,? (?:and |but )?|\b(?:it|answer)(?:'s| is| was) )not {_NAMED_END}", re.IGNORECASE
)
_MAKES_VALUE = re.compile(rf"\bmakes? (?:it|that|the answer) {_NAMED_END}", re.IGNORECASE)
_CORRECTED = re.compile(rf"(?:(?:it|that|answer)(?: is| was|'s) )?{_NAMED}(?: instead)?[$)*\]\s.!]*$", re.IGNORECASE)
_LAST_LINE = re.compile(rf"\n[\s*_]{{0,9}}{_NAMED}[$)*_\].]*\s*\Z")
# another answer beside the first
_ALSO = re.compile(
    rf"(?:(?:the )?(?:value|answer|option|choice|number|solution|root) )?{_NAMED}[$)*\]]* (?:"
    rf"(?:also|equally) (?:works?\b|fits?\b|satisf|holds?\b|solves?\b|(?:is )?{_MERIT})"
    rf"|(?:is|are|(?:would|could|may|might|can) be) (?:also|equally) {_MERIT}"
    rf"|(?:works?|fits?|holds?|is {_MERIT}),? (?:as well|too)\b)"
    rf"|\bboth (?:options )?{_NAMED}[$)*]* and {_NAMED}[$)*]* (?:works?\b|satisf|hold\b|fit\b"
    r"|are (?:(?:also|all|the|valid|possible|correct) ){0,3}(?:correct|right|valid|possible|solutions|answers|roots)\b)"
    r"|(?:another|a second|the other) (?:(?:valid|possible|correct) )?"
    rf"(?:solution|answer|root|option|choice|value|possibility|one)(?::| is| would be| could be) {_NAMED}",
    re.IGNORECASE,
)
_SETTLED = re.compile(
    r"\bnot\b|n't\b|reject|discard|negative|invalid|extraneous|ignore|wrong|impossible|exclude|too [a-z]|\bsince\b",
    re.IGNORECASE,
)
_I = r"\b(?<!if )(?<!unless )I"  # not "let me know if I ..."
# the response doubts what it said; unless it then confirms it, the answer is taken back
_MISTAKE = re.compile(
    rf"{_I} (?:disagree|doubt (?:it|that)|(?:take|took) (?:that|it|this) back)\b"
    rf"|{_I} (?:was (?:wrong|mistaken)|made an? (?:[a-z]+ )?(?:mistake|error)|mis(?:calculated|read|counted))"
    r"|\bscratch that|\bcorrection:"
    r"|\b(?:ignore|disregard|forget) (?:(?:that|this)(?=[.,;!]|$)|the above|my (?:answer|previous))"
    r"|(?:^|[\n。.!?,;])\s{0,3}(?:但是?|然而|不过|可是|[哦啊嗯],?|抱歉,?|对不起,?){0,3}"
    r"(?:(?:这个?|那|此|该)?(?:答案|结果)?(?:是|并)?(?:不对|不正确|错误?的?|有误|不成立)(?=[\s。.!,;]|$)"
    r"|(?:我)?(?:刚才|之前|前面)?(?:算|弄|搞|看|写|做|想)错|更正|纠正|(?:我)?(?:需要|应该|得)?重新(?:计?算|检查|考虑))",
    re.IGNORECASE,
)
_SECOND_THOUGHT = re.compile(
    r"(?:^|[.!?)\]$*。])\s{0,3}(?:but |oh,? |hmm,? )?"
    r"(?:(?:wait|hold on|actually|hmm+|oops|sorry|on second thought|my bad|nope|edit)"
    r"(?=[,.:;!—–…]| (?:it|that|this|the|I)\b)|no(?=[,:;!—–…]| wait\b)|等等|等一下|稍等|抱歉|对不起)"
    rf"|{_I} (?:now )?(?:reali[sz]ed?|notice|see)(?: that)? (?:it|I|this|that|my|the (?:answer|value|result))\b"
    rf"|{_I} (?:need|have|want|ought) to (?:re(?:do|compute|calculate|consider|vise|-?check)|start over|correct|fix)\b"
    r"|\blet me (?:re(?:do|compute|calculate|consider|vise)|correct|fix|start over|try (?:(?:that|this|it) )?again)\b"
    rf"|{_I}(?:'m| am) (?:not (?:[a-z]+ )?(?:sure|certain|confident|convinced)|unsure)\b"
    r"(?! (?:what|how|why|who|where|which))"
    r"|\b(?:mistake|error)s? in (?:my|the (?:above|previous|initial|earlier|calculation|reasoning))\b"
    rf"|{_I} (?:forgot|overlooked|missed|omitted|neglected)\b(?! to (?:mention|say|add|note))",
    re.IGNORECASE | re.MULTILINE,
)
_HAN_ANOTHER = re.compile(
    rf"(?:^|[\n。,;.!?])\s{{0,3}}(?:[所因]以|因此|那么|它|这|答案|结果){{0,2}}(?:应该?[是为]|应当[是为]|其实[是为]|实际上[是为]|改为|正确的?[是为])[\s:]{{0,3}}{_NAMED}"
)
_CONFIRMED = re.compile(
    r"\b(?:yes|correct|right|indeed|confirm\w*|checks? out|holds|match(?:es)?|consistent|fine|good)\b|[✓✔✅]"
    r"|(?<!不)正确|没错|对的",
    re.IGNORECASE,
)
_DISPUTED = re.compile(r"\bnot\b|n't\b|\bwrong\b|\bincorrect\b|\bmistake\b|\berror\b|不对|错误|有误", re.IGNORECASE)
_NOT = re.compile(r"[\s,;(–—]*(?:(?:but )?(?:not|rather than|instead of)\b\s*|而?不是|而非)", re.IGNORECASE)
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


def denied(before: str, noun: str = "") -> bool:
    """Whether the words before an answer deny it, quote it, make it a condition or something else of it.

    `noun` is what they speak of, if not of the answer itself: the "answer" that is stated behind them.

    >>> denied("The question asks whether the answer is "), denied("It is not B, so the answer is ")
    (True, False)
    """
    if re.search(r"(?:\\neq?|≠)[\s${]*$", before[-20:]):
        return True
    clause = re.split(r"[.!?;,\n。]", before[-120:])[-1].replace("’", "'")
    if _HAN_DENIAL.search(clause.rstrip(" \t*$\\({:")):
        return True
    words = re.findall(r"[A-Za-z']+|[^\sA-Za-z'$*_\"({:=]+", clause)
    end = len(words)
    while end and words[end - 1].lower() in _FILLERS:
        end -= 1
    said, fillers = " ".join(words[max(0, end - 6) : end]), [word.lower() for word in words[end:]]
    if _DENIAL.search(said) or _QUOTATION.search(said) or (fillers and _WRITTEN.search(said)):
        return True
    if "answer" in (noun, *fillers):
        owned = _OWNED.search(said) is not None or not _OTHERS.isdisjoint(fillers)
        return owned or _MADE_OF_IT.search(said) is not None
    return not fillers and _OWNED.search(said) is not None


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


def taken_back(after: str, answer: str = "") -> bool:
    """Whether the text after an answer, in which no other answer is stated, takes it back or adds another one.

    - Any of its sentences may reject the answer by name or by value, or add another value. A pronoun means the answer
      in the next sentence, and in one that begins like "However".
    - A second thought ("Wait, ...") takes it back unless the text then confirms it.

    >>> taken_back(". Wait, that is wrong. It is 13."), taken_back(". Wait, let me check: 3 * 4 is 12. Yes.")
    (True, False)
    """
    after = after.replace("’", "'")
    if _MISTAKE.search(after) or _adds(_HAN_ANOTHER, after, answer) or _adds(_LAST_LINE, after, answer):
        return True
    sentences = [one for one in _SENTENCE_END.split(after) if re.search(r"\w", one)]
    next_one = 1 if _GOES_ON.match(after) else 0
    if any(_against(one, answer, index <= next_one) for index, one in enumerate(sentences)):
        return True
    thought = _SECOND_THOUGHT.search(after)
    if thought is None:
        return False
    rest = after[thought.end() :]
    return _CONFIRMED.search(rest) is None or _DISPUTED.search(rest) is not None


def _against(sentence: str, answer: str, next_one: bool) -> bool:
    """Whether a sentence after an answer rejects it or names another one."""
    lead = _LEAD_IN.match(sentence)
    begin = lead.end() if lead else 0
    turned = lead is not None and _TURNED.search(lead[1]) is not None
    if turned or next_one:
        if any(pattern.match(sentence, begin) for pattern in (_IT_IS_REJECTED, _IT_CANNOT_BE, _LEFT_TO_CHOOSE)):
            return True
        if _adds(_IT_IS_ANOTHER, sentence, answer):
            return True
    if turned and _MAY_BE.match(sentence, begin):
        return True
    if turned and (corrected := _CORRECTED.match(sentence, begin)) and not _names(corrected, answer):
        return True
    if _ANSWER_IS_REJECTED.match(sentence, begin):
        return True
    own = answer if (letter := _SOME_VALUE.search(answer)) is None or letter[0].isdigit() else letter[0]
    if (value := _VALUE_IS_REJECTED.match(sentence, begin)) and _names(value, own):
        return True
    if any(_names(value, own) for value in _NOT_VALUE.finditer(sentence)):
        return True
    return _adds(_MAKES_VALUE, sentence, answer) or (not _SETTLED.search(sentence) and _adds(_ALSO, sentence, answer))


def refuted(tail: str, answer: str) -> bool:
    """Whether the words behind an answer deny it or add another one, instead of giving a reason or a contrast.

    >>> refuted(", which is wrong", "5"), refuted(", since 6 is wrong", "5"), refuted(", not 6", "5")
    (True, False, False)
    """
    tail = tail.replace("’", "'")
    if (contrast := _NOT.match(tail)) is not None:
        words = tail[contrast.end() :]
        of_value = re.search(r"\d|^\W*[A-I]\W*$", answer) is not None
        against = _CONTRASTED.match(words) is None if of_value else re.match(_MERIT, words, re.IGNORECASE)
        return bool(against) or _adds(_ADDED, tail, answer)
    return _WHICH.match(tail) is not None or _adds(_ADDED, tail, answer)


def names_another(text: str, answer: str) -> bool:
    """Whether the first number or option letter in a text is not one of the answer's.

    >>> names_another("x = 6", "5 or 6"), names_another("x = 7", "5 or 6")
    (False, True)
    """
    first = _SOME_VALUE.search(text)
    return first is not None and first[0] not in _SOME_VALUE.findall(answer)


def _adds(pattern: re.Pattern[str], text: str, answer: str) -> bool:
    """Whether the pattern finds a value or letter in the text that is not one of the answer's."""
    return any(any(match.groups()) and not _names(match, answer) for match in pattern.finditer(text))


def _names(match: re.Match[str], answer: str) -> bool:
    """Whether all values that were found are the answer's own."""
    return not any(names_another(value, answer) for value in match.groups() if value)
