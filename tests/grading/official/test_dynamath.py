from rlfr_mm.grading import Item, grade

CHOICES = ("3", "5", "12", "None of them")


def test_dynamath_reads_json_and_allows_a_thousandth():
    number = {"answer_type": "float"}
    response = '{"solution": "two pi over three", "short answer": "2.095"}'
    assert grade(Item(response, "2.0944", "dynamath", meta=number), "official").correct
    assert grade(Item(response, "2.0944", "dynamath", meta=number)).correct
    assert not grade(Item(response, "2.0934", "dynamath", meta=number)).correct
    assert grade(Item('{"short answer": "2π"}', "6.2832", "dynamath", meta=number), "official").correct
    letter = {"answer_type": "multiple choice"}
    assert grade(Item('{"short answer": "(B) 5"}', "B", "dynamath", meta=letter), "official").correct
    assert grade(Item("<answer>B</answer>", "B", "dynamath", CHOICES, letter)).correct
