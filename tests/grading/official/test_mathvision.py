from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.official.mathvision import equal


def test_mathvision_rounds_values_and_calls_unreadable_text_different():
    assert equal("1:1", "1")
    assert equal("\\frac{1}{3}", "0.333")
    assert equal("$\\frac{3 \\pi}{2}$", "\\frac{3\\pi}{2}}{cm")  # the parser stops at the odd brace
    assert equal("(1/2, 3)", "(0.5,3)")
    assert not equal("$60^{\\circ}$", "60")
    assert not equal("x", "y")
    assert not equal("", "")


def test_mathvision_official_takes_letter_or_text_of_the_option():
    choices = ("$\\frac{1}{6}$", "$\\frac{1}{3}$")
    for response in ("so \\boxed{B}", "so \\boxed{\\frac{2}{6}}", "the answer is (B).", "it is (B)."):
        assert grade(Item(response, "B", "mathvision", choices), "official").correct
        assert not grade(Item(response, "A", "mathvision", choices), "official").correct
