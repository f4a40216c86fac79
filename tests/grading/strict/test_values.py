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


@pytest.mark.parametrize(
    ("text", "value"),
    [("0,100", None), ("00,250", None), ("0", 0), ("007", 7), ("10,100", 10_100), ("100,000", 100_000)],
)
def test_thousands_begin_with_no_zero(text, value):
    assert number(text) == value


def test_numbers_are_equal_exactly():
    assert same_number(Fraction("0.50"), Fraction(1, 2))
    for one, other in (
        ("1e-20", "0"),
        ("1.4999999999999", "1.5"),
        ("0.99999999999999999", "1"),
        ("1234567890123.5", "1234567890124"),
        ("1000000000000000000", "1000000000000000001"),
        ("7000000000001/7", "1000000000000"),
        ("0.333333333334", "1/3"),
        ("98765432109", "98765432109.5"),
    ):
        assert not same_number(Fraction(one), Fraction(other)), (one, other)


def test_a_decimal_of_more_than_twelve_digits_may_stand_for_a_number_without_an_end():
    assert same_number(Fraction("0.3333333333333"), Fraction(1, 3))
    assert same_number(Fraction(22, 3), Fraction("7.333333333333333"))
    assert same_number(Fraction("3.3333333333333335"), Fraction(10, 3))
    assert not same_number(Fraction("0.333333333333"), Fraction(1, 3))
    assert not same_number(Fraction("0.3333333333343"), Fraction(1, 3))
    assert not same_number(Fraction(12345678901234), Fraction(37037036703703, 3))


def test_constant_reads_surds_and_complex_numbers_exactly():
    assert constant("2\\sqrt{9}") == constant("6") and constant("x=5") == constant("5") != constant("-5")
    assert constant("3-2i") != constant("3+2i") != constant("3") and constant("1-i") == constant("1-1i")
    assert constant("x+5") is None and constant("-2\\sqrt{3}") == constant("-\\sqrt{12}") != constant("\\sqrt{12}")
    assert constant("98765432109\\pi") != constant("98765432108\\pi") != constant("98765432108")


def test_a_long_decimal_shows_the_digits_of_a_surd():
    def equal(one, other):
        return constant(one).equals(constant(other))

    assert equal("1.4142135623730951", "\\sqrt{2}") and equal("\\pi", "3.1415926535898")
    assert equal("-3.464101615137754", "-2\\sqrt{3}") and not equal("3.464101615137754", "-2\\sqrt{3}")
    assert not equal("1.41421356237", "\\sqrt{2}") and not equal("3.1415926535998", "\\pi")
    assert not equal("6.0000000000000001", "2\\sqrt{9}")


def test_words_to_number():
    assert words_to_number("two hundred and five") == 205
    assert words_to_number("three thousand twenty-one") == 3021
    assert words_to_number("five apples") is None
    assert words_to_number("five apples", among_others=True) == 5
    assert words_to_number("-48") is None
