from rlfr_mm.grading import Item, grade


def test_logicvista_compares_letters_as_sets():
    for response in ("<answer>D, B</answer>", "The answer is B and D.", "BD"):
        assert grade(Item(response, "B, D", "logicvista")).correct
    assert not grade(Item("The answer is B.", "B, D", "logicvista")).correct
    options = {"question": "Which? (A) red (B) blue"}
    assert grade(Item("It must be blue", "B", "logicvista", meta=options), "official").correct
    assert grade(Item("It must be blue, or so they say.", "B", "logicvista", meta=options)).status == "no_answer"
