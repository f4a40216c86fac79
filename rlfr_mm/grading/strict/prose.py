"""Answers in words. Words are compared one by one: they are no products of letters, whose order would not matter."""

import re
from itertools import pairwise

from rlfr_mm.grading.strict.lists import BRACKETS, between_commas

_RUN = re.compile(r"(?<![\\A-Za-z])(?<!_\{)(?<!begin\{)(?<!end\{)[A-Za-z]{2,}")  # no command and no subscript
# between other words, these two letters are one
_SHORT = re.compile(
    r"(?:(?<=[A-Za-z] )|(?<![\\A-Za-z])(?=[A-Za-z]{2} [A-Za-z]))"
    r"(?:is|of|to|in|on|at|by|no|an|as|if|or|so|be|it)(?![A-Za-z])"
)
_ARTICLE = re.compile(r"(?<![A-Za-z\\])(?:(?:[Tt]he|[Aa]n) (?=[A-Za-z])|a (?=[A-Za-z]{2}))|^A (?=[a-z]{2})")
_ROMAN = re.compile(r"(?=.{2})M{0,3}(?:CM|CD|D?C{0,3})(?:XC|XL|L?X{0,3})(?:IX|IV|V?I{0,3})", re.IGNORECASE)
_UPRIGHT = re.compile(r"\\(?:text|mathrm|operatorname)\s?\{([^{}]{1,200})\}")
_JOINING = frozenset(["and", "or"])
_FUNCTION_NAMES = "sin cos tan cot sec csc sinh cosh tanh arcsin arccos arctan arccot log ln lg exp"
_FUNCTIONS = frozenset(_FUNCTION_NAMES.split())
_NO_SOLUTION = re.compile(
    r"^(?:there (?:is|are) )?no ((?:[a-z]{1,20} )?(?:solution|root|value|number))s?(?: exists?)?$", re.IGNORECASE
)
_CASE = re.compile(r"(?<=&)\s?(?:if|for|when) ?(?![A-Za-z])")
_IN_FORMULA = re.compile(r"^[\d{})\]+*/^-]|[\d{}^_+*/\\-]$")  # what stands beside a product of letters
_PUNCTUATION = " ,;:="
_TOKEN = re.compile(r"[()\[\]{}]|(?<![<>!:\\])=|[,;]|(?: |\\text\s?\{\s?)(?:and|or)(?=\s?\}| )")
_BRACKETS = re.compile(r"[(\[][^()\[\]]{0,200}[)\]]")
_NAME = re.compile(
    r"(?!\s|\d)(?:[A-Za-z\d.'_{}\s]|\\(?:text|mathrm|operatorname|triangle|angle|overline|[dt]?frac|,| ))*"
)
# these words name another value, or none
_NO_NAME = re.compile(
    r"(?<![A-Za-z])(?:not|if|unless|or|than|times|plus|minus|half|halves|twice|thrice|double|triple|treble|quadruple"
    r"|(?:negative|opposite|reciprocal) of)(?![-A-Za-z])",
    re.IGNORECASE,
)
_LEFT_OUT = frozenset(["the", "of", "a", "an", "text", "mathrm", "operatorname", "frac", "dfrac", "tfrac"])


def spoken(text: str) -> bool:
    r"""Whether LaTeX sets a part of the text as words, as in ``\text{ray }AB``; "and", "or" and "sin" are none.

    >>> spoken(r"\text{bca}"), spoken(r"x\text{ and }y")
    (True, False)
    """
    words = (word.lower() for upright in _UPRIGHT.finditer(text) for word in _RUN.findall(upright[1]))
    return any(word not in _JOINING and word not in _FUNCTIONS for word in words)


def has_words(text: str) -> bool:
    """Whether a `tidy` text contains words: runs of letters that are no product of variables.

    >>> has_words("p implies q"), has_words("2xyz+mgh")
    (True, False)
    """
    alone = (
        run[0] for run in _RUN.finditer(text) if not _IN_FORMULA.search(text[max(0, run.start() - 1) : run.end() + 1])
    )
    return any(map(_is_word, alone)) or _SHORT.search(text) is not None


def _is_word(run: str) -> bool:
    lowered = run.lower()
    if len(run) < 3 or not (run.islower() or run.istitle()) or not re.search("[aeiou]", lowered):
        return False
    in_order = list(lowered) == sorted(lowered)
    consecutive = all(ord(two) - ord(one) == 1 for one, two in pairwise(lowered))
    return lowered not in _FUNCTIONS and not (in_order and (consecutive or lowered[0] == "a"))


def worded(gold: str, answer: str, set_as_words: bool) -> tuple[list[str], list[str]]:
    """Both texts, split into what stands around their words and the words: "p implies q" is ["p", "implies", "q"].

    Articles are left out, and the parts of a list are in one order if each has words of its own. A text without words,
    beside another one, is a list of one. `set_as_words` says that LaTeX sets a part of one of them as words.
    """
    texts = [_CASE.sub("", _NO_SOLUTION.sub(r"no \1", text)) for text in (gold, answer)]
    roman = [all(map(_ROMAN.fullmatch, runs)) and bool(runs) for runs in map(_letters_only, texts)]
    if not (set_as_words or all(roman) or any(map(has_words, texts))):
        return [gold], [answer]
    one, other = (_in_order(_ARTICLE.sub("", text)) for text in texts)
    return one, other


def _letters_only(text: str) -> list[str]:
    """The words of a text that consists of nothing else; an empty list for other text."""
    words = re.split(r",\s?|\s", text)
    return words if all(map(str.isalpha, words)) else []


def _in_order(text: str) -> list[str]:
    parts = between_commas(text)
    words = [" ".join(_RUN.findall(part)).lower() for part in parts]
    if len(set(words)) == len(words) and "" not in words:
        parts = [part for _, part in sorted(zip(words, parts, strict=True))]
    return _split(",".join(parts))


def _split(text: str) -> list[str]:
    pieces, begin = list[str](), 0
    for run in _RUN.finditer(text):
        pieces += [_without_punctuation(text[begin : run.start()]), run[0]]
        begin = run.end()
    return [*pieces, _without_punctuation(text[begin:])]


def _without_punctuation(text: str) -> str:
    text = text.strip(_PUNCTUATION)
    return "" if text in (".", "-") else text


def same_words(gold: list[str], answer: list[str]) -> bool:
    """Whether the words of two texts, as `worded` splits them, are the same; case matters in names of two letters."""
    pairs = zip(gold[1::2], answer[1::2], strict=False)
    return len(gold) == len(answer) and all(
        one == other or (len(one) > 2 and one.lower() == other.lower()) for one, other in pairs
    )


def marked(pieces: list[str]) -> str:
    r"""The text with ``\text{...}`` around each word, as `symbolic` splits it.

    >>> marked(["p", "implies", "q"])
    'p\\text{implies}q'
    """
    return "".join(f"\\text{{{piece}}}" if place % 2 else piece for place, piece in enumerate(pieces))


def without_name(text: str) -> tuple[frozenset[str], str]:
    r"""The words of the name before a value, and the value: of ``P(\text{red})=\frac12``, {"P", "red"} and ``\frac12``.

    A name of several ("length = 3, width = 4") stays, and so does one that is another value ("twice the sum = 10"). Of
    ``\text{speed}=\frac{\text{way}}{\text{time}}=5``, the formula in words is left out, too.
    """
    head, *between = sides(text)
    if not between:
        return frozenset(), text
    head, last = head.strip(), between.pop()
    value = "=".join([*(side for side in between if not _is_formula_in_words(side)), last]).strip()
    bare = _BRACKETS.sub("", head)
    if not value or not _in_words(head) or not _NAME.fullmatch(bare) or _NO_NAME.search(head):
        return frozenset(), f"{head}={value}" if between else text
    return frozenset(re.findall(r"\w+", head.lower())) - _LEFT_OUT, value


def _in_words(text: str) -> bool:
    return spoken(text) or has_words(text)


def _is_formula_in_words(side: str) -> bool:
    rest = _RUN.sub("", _UPRIGHT.sub("", side))
    return (
        _in_words(side)
        and re.search(r"[-+*/]|\\(?:[dt]?frac|times|cdot|div)", side) is not None
        and (re.search(r"(?<![\\A-Za-z])[A-Za-z]", rest) is None)
    )


def sides(text: str) -> list[str]:
    """The sides of equations in a row; a list of one for other text.

    >>> sides("a=b=5"), sides("a=4,b=5")
    (['a', 'b', '5'], ['a=4,b=5'])
    """
    depth, begin, listed, found = 0, 0, False, list[str]()
    for token in _TOKEN.finditer(text):
        depth += BRACKETS.get(token[0], 0)
        if depth == 0 and token[0] == "=":
            if listed:
                return [text]
            found.append(text[begin : token.start()])
            begin = token.end()
        elif (depth == 0 and token[0] not in BRACKETS) or token[0].startswith("\\text"):
            listed = True
    return [*found, text[begin:]]
