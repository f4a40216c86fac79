from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.official.olympiadbench import equal


def test_olympiad_compares_parts_in_any_order_within_their_tolerance():
    assert equal("(2,1),(3,1)", "(3,1),(2,1)")
    assert equal("a,-a", "\\pm a")
    assert equal("7 \\times 10^{35}, 0.002", "0.001, 7.1 \\cdot 10^{35}", (1e34, 0.001))
    assert not equal("7 \\times 10^{35}", "7.1 \\cdot 10^{35}", (1e33,))
    assert not equal("0.64N", "0.64")
    assert equal("x^2+y^2=1", "1-x^2-y^2=0")


def test_olympiadbench_takes_a_text_precision_and_all_boxes():
    meta = {"precision": "1e-1"}
    assert grade(Item("\\boxed{1.41}", "$\\sqrt{2}$", "olympiadbench", meta=meta), "official").correct
    assert grade(Item("\\boxed{1.41}", "$\\sqrt{2}$", "olympiadbench", meta=meta)).correct
    assert grade(Item("\\boxed{2} and \\boxed{1}", "1,2", "olympiadbench"), "official").correct
    text = "So the final answer is 7.\nSo the final answer is 8."
    assert grade(Item(text, "8", "olympiadbench"), "official").correct
