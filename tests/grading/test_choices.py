import pytest

from rlfr_mm.grading.choices import find_choice, listed_options

FRUIT = ("apple", "pear", "plum")


@pytest.mark.parametrize(
    ("response", "letters"),
    [
        ("B", "B"),
        ("(B)", "B"),
        ("b)", "B"),
        ("B. pear", "B"),
        ("pear", "B"),
        ("The answer is (B).", "B"),
        ("Answer: **B**", "B"),
        ("The correct option is B because of C.", "B"),
        ("I weighed A, B and C.\nOption B is the correct one", "B"),
        ("<think>maybe A</think><answer>B</answer>", "B"),
        ("<answer>\\boxed{\\text{B}}</answer> The answer is (C).", "B"),
        ("so \\boxed{B}", "B"),
        ("The answer is A. No: the answer is B.", "B"),
        ("<CONCLUSION> B </CONCLUSION>", "B"),
        ("after a long thought\n\n**(B) pear**", "B"),
        ("The answer is (A) and (B).", None),
        ("A pear is a fruit", None),  # an article
        ("The answer is unclear.", None),
        ("It could be A or B.", None),
        ("The other options are: (B) pear", None),
        ("<answer>cherry</answer> The answer is (B).", None),  # the tag is the answer
        ("", None),
    ],
)
def test_find_choice_reads_statements_and_nothing_else(response, letters):
    choice = find_choice(response, FRUIT)
    assert (choice and choice.letters) == letters


@pytest.mark.parametrize("response", ["B, D", "(D) and (B)", "BD", "The answer is B and D.", "<answer>D; B</answer>"])
def test_several_letters_are_read_as_a_set(response):
    choice = find_choice(response, several=True)
    assert choice is not None and choice.letters == "BD"
    assert find_choice(response) is None


def test_a_number_is_not_the_beginning_of_a_longer_one():
    assert find_choice("The answer is 12.", ("1", "2")) is None
    assert find_choice("The answer is 1.0", ("1", "2")).letters == "A"


def test_listed_options_come_from_the_question():
    assert listed_options("What? Select from A, B. (A) 1 cm (B)2 cm ") == ("1 cm", "2 cm")
    assert listed_options("Which of A-E?") == ()
    assert listed_options("(B) before (A)") == ()
