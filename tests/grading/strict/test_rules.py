import pytest

from rlfr_mm.grading import Item, grade

CHOICES = ("3", "5", "12", "None of them")


@pytest.mark.parametrize(
    ("response", "gold", "status"),
    [
        ("<think>2, no 3</think><answer>4</answer>", "4", "correct"),
        ("<answer>\\boxed{4}</answer>", "4", "correct"),
        ("<answer>5</answer> \\boxed{4}", "4", "wrong"),
        ("The answer is 1,234.0.", "1234", "correct"),
        ("\\boxed{50\\%}", "50", "correct"),
        ("\\boxed{35.0\\%}", "35", "correct"),
        ("\\boxed{\\$36}", "36", "correct"),
        ("\\boxed{\\text{Evelyn}}", "\\text{evelyn}", "correct"),
        ("<answer>(B)</answer>", "B", "correct"),
        ("<answer>C. 7</answer>", "B", "wrong"),
        ("It is 4, as everybody knows.", "4", "no_answer"),
        ("", "4", "no_answer"),
        ("<answer></answer>", "4", "wrong"),
        ("4", "4", "correct"),
        ("4", "We add, so $x=\\boxed{4}$.", "correct"),
        ("4", "We add, so $x=\\boxed{5}$.", "wrong"),
        ("0.333333", "0.333", "wrong"),
        ("\\boxed{" + "1+" * 2000 + "1}", "2001", "wrong"),
    ],
)
def test_math_is_graded_from_stated_answers_only(response, gold, status):
    assert grade(Item(response, gold)).status == status


@pytest.mark.parametrize("response", ["<answer>B</answer>", "<answer>5</answer>", "The answer is (B) 5.", "\\boxed{B}"])
@pytest.mark.parametrize("gold", ["B", "5"])
@pytest.mark.parametrize("scorer", ["math", "mathvision", "mathverse", "geometry3k", "choice"])
def test_an_option_is_right_by_letter_or_text(response, gold, scorer):
    assert grade(Item(response, gold, scorer, CHOICES)).correct
    assert not grade(Item(response, "C" if gold == "B" else "12", scorer, CHOICES)).correct


def test_more_options_than_letters_are_read_are_still_told_by_their_text():
    options = tuple(
        f"option {word}"
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
    )
    assert grade(Item("<answer>option eleven</answer>", "option eleven", "choice", options)).correct
    assert not grade(Item("<answer>option ten</answer>", "option eleven", "choice", options)).correct


def test_any_of_several_golds_is_right():
    assert grade(Item("\\boxed{8.7e8}", ("8.7 \\times 10^{8}", "8.7e8"), "minerva_math")).correct


def test_a_gold_of_several_letters_is_a_set_and_a_gold_number_a_number():
    assert grade(Item("<answer>D and C</answer>", "C\nD", "mathverse", CHOICES)).correct
    assert not grade(Item("<answer>C</answer>", "C\nD", "mathverse", CHOICES)).correct
    assert grade(Item("The answer is A and C.", "A, C")).correct
    assert not grade(Item("The answer is A or C.", "A, C")).correct
    assert not grade(Item("\\boxed{A \\text{ or } C}", "A, C", "math500", CHOICES)).correct
    assert grade(Item("<answer>3</answer>", "3", "logicvista")).correct
    assert grade(Item("\\boxed{C}", "\\text{(C)}", "math500")).correct
    assert not grade(Item("\\boxed{D}", "\\text{(C)}", "math500")).correct


@pytest.mark.parametrize("end", ["#### 18", "So the answer is $18$.", "Therefore he has $\\boxed{18}$ of them."])
def test_a_gold_may_be_a_whole_solution(end):
    solution = "He has 3 bags, of which each holds 6 apples, and he sells none of them on the way.\n3 * 6 = 18"
    gold = f"{solution} apples in total\n{end}"
    assert grade(Item("\\boxed{18}", gold)).correct
    assert not grade(Item("\\boxed{3}", gold)).correct
