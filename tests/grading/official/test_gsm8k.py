from rlfr_mm.grading import Item, grade


def test_gsm8k_reads_its_own_format_and_compares_plainly():
    assert grade(Item("so 9 * 2 = <<9*2=18>>18\n#### 18", "18", "gsm8k"), "official").correct
    assert grade(Item("it is 18\nA: 18.0", "18", "gsm8k"), "official").correct
    assert not grade(Item("it is 18\nA: 1800", "18", "gsm8k"), "official").correct
    assert grade(Item("The answer is 0.18.", "18", "gsm8k"), "official").correct  # as the harness does
    assert not grade(Item("The answer is 0.18.", "18", "gsm8k")).correct
    assert grade(Item("it is 18\nA: 18", "18", "gsm8k")).correct
