"""Numbers written in words, in English or Chinese, and their values in digits."""

import re

from rlfr_mm.grading.strict.units import COUNTERS, UNITS

_ONES = "one two three four five six seven eight nine"
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SCALES = {"thousand": 10**3, "million": 10**6, "billion": 10**9}
_VALUES = {word: value for value, word in enumerate(["zero", *_ONES.split(), *_TEENS.split()])}
_VALUES |= {word: 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_PARTS = {"half": 2, "halve": 2, "third": 3, "quarter": 4, "fourth": 4, "fifth": 5, "sixth": 6, "seventh": 7}
_PARTS |= {"eighth": 8, "ninth": 9, "tenth": 10, "eleventh": 11, "twelfth": 12}
_PARTS |= {f"{word}th": value for value, word in enumerate(_TEENS.split()[3:], start=13)}
_PARTS |= {f"{word[:-1]}ieth": 10 * value for value, word in enumerate(_TENS.split(), start=2)}
_PARTS |= {"hundredth": 100, **{f"{word}th": value for word, value in _SCALES.items()}}


def _any(words: str) -> str:
    return f"(?:{'|'.join(words.split())})"


_BELOW_HUNDRED = rf"(?:{_any(_TENS)}(?:[ -]{_any(_ONES)})?|{_any(_TEENS)}|{_any(_ONES)})(?![A-Za-z])"
_BELOW_THOUSAND = rf"{_BELOW_HUNDRED}(?:[ -]hundred(?![A-Za-z])(?:(?: and)? {_BELOW_HUNDRED})?)?"
_NUMBER = (
    rf"(?:zero(?![A-Za-z])|{_BELOW_THOUSAND}"
    rf"(?: {_any(' '.join(_SCALES))}(?![A-Za-z])(?:,?(?: and)? {_BELOW_THOUSAND})?){{0,3}})"
)
_PART = rf"(?:{'|'.join(part for part in _PARTS if part != 'halve')}|halve(?=s))s?"
# "twenty-five", "two thirds", "half", "3 and a half", "two dozen"; not the start of "one-sided" or "twenty-first"
_SPELLED = re.compile(
    rf"(?<![A-Za-z\\-])(?:(?P<whole>{_NUMBER}|(?<![\d.,/^_({{])\d{{1,9}}(?= and an? {_PART}))"
    rf"(?: and (?P<more>an?|{_NUMBER})[ -](?P<rest>{_PART})"
    rf"|[ -](?P<part>{_PART})| (?P<dozens>dozen))?|(?P<one>an?[ -])(?P<of_one>{_PART}|dozen)|(?P<half>half))"
    r"(?!-?[A-Za-z])",
    re.IGNORECASE,
)
_HAN_DIGITS = {digit: value for value, digit in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_HAN_SCALES = {"十": 10, "百": 100, "千": 1000}
_HAN = rf"[{''.join([*_HAN_DIGITS, *_HAN_SCALES])}]{{1,9}}"
_HAN_SPELLED = re.compile(
    rf"百分之(?P<hundredths>{_HAN}|\d{{1,9}}(?:\.\d{{1,9}})?)"
    rf"|(?P<bottom>{_HAN}|\d{{1,9}})分之(?P<top>{_HAN}|\d{{1,9}})|(?P<half>一半)"
    rf"|(?P<number>{_HAN})(?P<unit>个?[\u4e00-\u9fff]{{0,6}})",
    re.ASCII,
)
_HAN_TOTAL = re.compile(
    r"^(?:(?:因此|所以|故|综上(?:所述)?|于是|从而),?)?(?:一共|总共|共计|合计|共|大约|约|等于)(?:有|是|为|需要?)?(?=[-\d\\$零一二三四五六七八九十百千两])"
)


def in_digits(text: str) -> str:
    """The text with digits for its numbers in words: "2/3" for "two thirds", "3 1/2 cm" for "three and a half cm".

    A Chinese number is read if nothing but a unit follows, and a total without the words that announce it.

    >>> in_digits("one hundred and five apples"), in_digits("三分之二"), in_digits("共9个")
    ('105 apples', '2/3', '9个')
    """
    if text.isascii():
        return _SPELLED.sub(_digits, text) if re.search("[A-Za-z]{3}", text) else text
    text = _HAN_TOTAL.sub("", text.strip())
    minus, text = text.startswith("负"), text.removeprefix("负")
    han = _HAN_SPELLED.fullmatch(text)
    return "-" * minus + (_han_digits(han) if han else _SPELLED.sub(_digits, text))


def _digits(match: re.Match[str]) -> str:
    if match["half"]:
        return "1/2"
    if match["one"]:
        return "12" if match["of_one"].lower() == "dozen" else f"1/{_part(match['of_one'])}"
    whole = _value(match["whole"])
    if match["dozens"]:
        return str(12 * whole)
    if match["part"]:
        return f"{whole}/{_part(match['part'])}"
    if match["rest"]:
        more = 1 if match["more"].lower() in ("a", "an") else _value(match["more"])
        return f"{whole} {more}/{_part(match['rest'])}"
    return str(whole)


def _part(word: str) -> int:
    return _PARTS[word.lower().removesuffix("s")]


def _value(words: str) -> int:
    if words.isdigit():
        return int(words)
    total = current = 0
    for word in re.findall("[a-z]+", words.lower()):
        if word in _SCALES:
            total, current = total + current * _SCALES[word], 0
        elif word == "hundred":
            current *= 100
        else:
            current += _VALUES.get(word, 0)  # nothing for "and"
    return total + current


def _han_digits(match: re.Match[str]) -> str:
    if match["hundredths"]:
        percent = match["hundredths"]
        value = percent if percent[0].isdigit() else _han_value(percent)
        return match.group() if value is None else f"{value}\\%"
    if match["top"]:
        top, bottom = _han_value(match["top"]), _han_value(match["bottom"])
        return match.group() if top is None or not bottom else f"{top}/{bottom}"
    if match["half"]:
        return "1/2"
    value, unit = _han_value(match["number"]), match["unit"]
    counted = unit in UNITS or unit in COUNTERS or unit.startswith("个")  # 一次函数 is a function
    return f"{value}{unit}" if value is not None and (counted or not unit) else match.group()


def _han_value(text: str) -> int | None:
    """The value of a Chinese number below 10,000, such as 二百零五; None if it is not one."""
    if text.isdigit():
        return int(text)
    total, digit, scale_before = 0, None, 10_000
    for sign in text:
        if sign in _HAN_DIGITS:
            if digit:
                return None
            digit = _HAN_DIGITS[sign]
        elif (scale := _HAN_SCALES[sign]) < scale_before:
            total, digit, scale_before = total + (1 if digit is None else digit) * scale, None, scale
        else:
            return None
    return total + (digit or 0)
