from rlfr_mm.grading import Item, grade


def test_visulogic_official_reads_boxes_then_phrases():
    assert grade(Item("Answer: \\boxed{\\text{C}}", "C", "visulogic"), "official").correct
    assert grade(Item("\\boxed{LETTER}\nThe correct answer is: b.", "B", "visulogic"), "official").correct
    assert not grade(Item("\\boxed{A or B}", "A", "visulogic"), "official").correct
    assert grade(Item("<think>no</think><answer>D</answer>", "D", "visulogic"), "official").correct
