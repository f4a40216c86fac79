from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.official.math500 import equal


def test_harness_accepts_percent_and_reads_beginnings():
    assert equal("2", "0.02") and equal("2", "200") and not equal("2", "20")
    assert equal("1,-2", "1")
    assert equal("(-\\infty,0]", "(-\\infty,0)")
    assert equal("\\frac{1}{2}", "0.5")
    assert equal("x=5", "5") and not equal("x=5", "6")
    assert not equal("1", "")


def test_harness_normalises_units_names_and_words():
    assert grade(Item("\\boxed{x = 12 \\text{ cm}}", "12", "math500"), "official").extracted == "12"
    assert grade(Item("The answer is twelve inches.", "12", "math500"), "official").correct
    assert grade(Item("\\boxed{\\frac34}", "\\frac{3}{4}", "math500"), "official").correct
    assert grade(Item("\\boxed{0.02}", "2", "math500"), "official").correct
    assert not grade(Item("\\boxed{0.02}", "2", "math500")).correct
