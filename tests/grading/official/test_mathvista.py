from rlfr_mm.grading import Item, Problem, grade, grade_extracted
from rlfr_mm.grading.item import Found
from rlfr_mm.grading.official.mathvista import guessed_number, numbers_in, stated_number

CHOICES = ("3", "5", "12", "None of them")


def mathvista(response, gold, choices=None, **meta):
    return Item(response, gold, "mathvista", choices, meta)


def test_mathvista_official_takes_the_nearest_choice_and_strict_none():
    item = mathvista("Sorry, no.", "None of them", CHOICES, question_type="multi_choice", answer_type="text")
    assert grade_extracted(item, "None of those", "official").correct
    assert grade(item).status == "no_answer"
    assert not grade_extracted(item, "None of those").correct


def test_mathvista_official_knows_both_rules_for_integers():
    problem = Problem("7", "mathvista", meta={"answer_type": "integer"})
    older = Problem("7", "mathvista", meta={"answer_type": "integer", "whole_numbers_only": True})
    assert grade_extracted(problem, "7.9", "official").correct
    assert not grade_extracted(older, "7.9", "official").correct
    assert not grade_extracted(problem, "7.9").correct


def test_mathvista_rounds_floats_to_the_precision_of_the_record():
    item = mathvista("The answer is 1.249 m.", "1.2", answer_type="float", precision=1.0)
    assert grade(item).correct and grade(item, "official").correct
    assert grade(mathvista("<answer>[1, 2.0]</answer>", "[1, 2]", answer_type="list")).correct
    assert not grade(mathvista("<answer>3 or 4</answer>", "3", answer_type="integer")).correct


def test_numbers_in_keeps_thousands_together_and_reads_words_without_numerals():
    assert numbers_in("from 1,250 to 3.50 or -2") == ["1250", "3.50", "-2"]
    assert numbers_in("there are twenty-five of them") == ["25"]
    assert numbers_in("v2 and x3.1") == []


def test_stated_number_takes_the_value_behind_the_equals_sign():
    assert stated_number("So the answer is x = 4 + 3 = 7.") == Found("7", "statement")
    assert stated_number("<answer>12 apples</answer>") == Found("12", "answer tag")
    assert stated_number("there are 5 apples") is None


def test_guessed_number_prefers_conclusions_and_numbers_that_the_question_does_not_hold():
    assert guessed_number("First 3. Then 9. Therefore, the mean is 6.") == Found("6", "conclusion")
    response = "There is 1 block that has exactly 36 houses."
    assert guessed_number(response, "How many blocks have exactly 36 houses?") == Found("1", "sentence")
    assert guessed_number("It was 94 in 2016.", "In which year was it highest?") == Found("2016", "sentence")
    assert guessed_number("nothing here") is None
