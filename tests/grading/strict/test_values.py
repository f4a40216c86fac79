from fractions import Fraction

import pytest

from rlfr_mm.grading.strict.extract import plain_text
from rlfr_mm.grading.strict.values import constant, number, same_number, words_to_number


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234.50", 1234.5), ("-3", -3.0), ("−3", -3.0), (".5", 0.5), ("5.", 5.0), ("$\\$20$", 20.0), ("1e3", 1000.0),
        ("60^{\\circ}", 60.0), ("{7}", 7.0), ("12,34", None), ("1,2", None), ("5 cm", None), ("e22", None), ("", None),
        (".", None), ("nan", None), ("inf", None), ("1_0", None), ("٣", None), ("1e999", None),
    ],
)  # fmt: skip
def test_number_reads_one_decimal_number_and_nothing_else(text, value):
    assert number(plain_text(text)) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4.5 \\times 10^{33}", Fraction("4.5e33")), ("4.5\\cdot10^{-3}", Fraction("4.5e-3")),
        ("4.5e33", Fraction("4.5e33")),
        ("10^{5}", Fraction(100000)), ("3 × 10^8", Fraction("3e8")), ("1 1/2", Fraction(3, 2)),
        ("11/2", Fraction(11, 2)),
        ("1\\frac{1}{2}", Fraction(3, 2)), ("-1\\frac12", Fraction(-3, 2)), ("0.\\overline{3}", Fraction(1, 3)),
        ("1.2\\overline{34}", Fraction(1222, 990)), ("5 million", Fraction(5_000_000)), ("2 000", None), ("10^x", None),
        ("\\times10^3", None), ("1/0", None), ("million", None),
    ],
)  # fmt: skip
def test_powers_of_ten_mixed_numbers_and_scales_are_exact(text, value):
    assert number(text) == value


def test_numbers_are_equal_by_value_without_absolute_slack():
    assert same_number(Fraction("0.3"), Fraction(0.1 + 0.2))
    assert not same_number(Fraction(0), Fraction("1e-20"))
    assert not same_number(Fraction("1.5"), Fraction("1.4999999"))
    assert not same_number(Fraction(10**18), Fraction(10**18 + 1))


def test_constant_reads_surds_and_complex_numbers():
    assert constant("2\\sqrt{9}") == 6 and constant("3-2i") == 3 - 2j and constant("x=5") == 5
    assert constant("x+5") is None


def test_words_to_number():
    assert words_to_number("two hundred and five") == 205
    assert words_to_number("three thousand twenty-one") == 3021
    assert words_to_number("five apples") is None
    assert words_to_number("five apples", among_others=True) == 5
    assert words_to_number("-48") is None
