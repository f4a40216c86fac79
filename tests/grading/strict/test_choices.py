import pytest

from rlfr_mm.grading.strict.choices import find_choice, letters_in, listed_options

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
    assert (choice and choice.answer) == letters


@pytest.mark.parametrize("response", ["B, D", "(D) and (B)", "BD", "The answer is B and D.", "<answer>D; B</answer>"])
def test_several_letters_are_read_as_a_set(response):
    choice = find_choice(response, several=True)
    assert choice is not None and choice.answer == "BD"
    assert find_choice(response) is None


def test_a_number_is_not_the_beginning_of_a_longer_one():
    assert find_choice("The answer is 12.", ("1", "2")) is None
    assert find_choice("The answer is 1.0", ("1", "2")).answer == "A"


def test_listed_options_come_from_the_question():
    assert listed_options("What? Select from A, B. (A) 1 cm (B)2 cm ") == ("1 cm", "2 cm")
    assert listed_options("Which of A-E?") == ()
    assert listed_options("(B) before (A)") == ()


NUMBERS = ("45", "12", "145", "5\\sqrt{2}")


@pytest.mark.parametrize(
    "answer",
    [
        "45\\sqrt{2}", "45\\pi", "45/2", "45,000", "45:1", "45 million", "45 is wrong; 145", "45x", "45^2",
        "45 times 10", "145 or 45", "45%", "12, 15", "12 \\text{ and } 145", "45.5", "450", "-45",
    ],
)  # fmt: skip
@pytest.mark.parametrize("form", ["<answer>{}</answer>", "\\boxed{{{}}}", "The answer is {}"])
def test_an_answer_that_only_begins_with_an_option_is_not_that_option(form, answer):
    assert find_choice(form.format(answer), NUMBERS) is None


@pytest.mark.parametrize(
    ("answer", "letters"),
    [
        ("45 cm", "A"), ("45^\\circ", "A"), ("45.0", "A"), ("45, since 145 is too large", "A"), ("5√2", "D"),
        ("5\\sqrt2", "D"), ("5 sqrt(2)", "D"), ("C) 145", "C"), ("(C) 145 cm", "C"), ("[C]", "C"), ("“C”", None),
        ("'C'", "C"), ("picture C", "C"), ("C. 45", None), ("Option C is correct", "C"), ("145 (C)", "C"),
    ],
)  # fmt: skip
def test_options_are_compared_as_formulas_up_to_a_unit(answer, letters):
    choice = find_choice(f"<answer>{answer}</answer>", NUMBERS)
    assert (choice and choice.answer) == letters


@pytest.mark.parametrize("answer", ["none", "nothing", "North", "Not necessarily", "no, it is yes", "yesterday"])
def test_yes_and_no_are_words_and_no_beginnings(answer):
    assert find_choice(f"<answer>{answer}</answer>", ("yes", "no")) is None
    assert find_choice(answer + ".", ("yes", "no")) is None


def test_a_first_word_yes_or_no_is_an_answer_unless_the_other_is_said():
    for response in ("No, there are fewer.", "The answer is no, there are fewer.", "Yes or no? It is longer.\n\nNo."):
        assert find_choice(response, ("yes", "no")).answer == "B"
    assert find_choice("No problem! It is larger.", ("yes", "no")) is None


@pytest.mark.parametrize(
    ("response", "letters"),
    [
        ("The answer is (A) or (B).", None),
        ("Answer: A/B", None),
        ("The answer is neither A nor B", None),
        ("<answer>not B</answer>", None),
        ("<answer>A and B are not it</answer>", None),
        ("A. 45 cm is wrong", None),
        ("A. 45 is impossible because of the angle", None),
        ("Option B is correct? No, option C", None),
        ("I think the answer is B? Let me see.", None),
        ("A. 45 cm is too small, so the answer must be B.", "B"),
        ("The answer is B, not A.", "B"),
        ("Option B is not correct. Option C is correct.", "C"),
        ("A, B and C are wrong, so D.", "D"),
        ("The figure that is a rotation of the first is (D).", "D"),
        ("Answer: C\nBecause A and B are wrong.", "C"),
        ("故选：B", "B"),
        ("因此选 B。", "B"),
        ("所以正确选项是B。", "B"),
        ("正确答案是（B）12", "B"),
        ("不选B", None),
        ("### Final Answer\n\n**(B) 12**", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "B"),
        ("<think>The answer is A.</think>\n\nB", "B"),
        ("\\boxed{A} or \\boxed{B}", None),
    ],
)
def test_what_is_left_open_or_denied_is_no_answer(response, letters):
    choice = find_choice(response, NUMBERS)
    assert (choice and choice.answer) == letters


def test_chinese_lists_of_letters_are_sets():
    assert find_choice("<answer>B、D</answer>", several=True).answer == "BD"
    assert find_choice("<answer>Both B and D</answer>", several=True).answer == "BD"
    assert find_choice("The answer is (B) A, B, D.", several=True).answer == "B"
    assert letters_in("C\nD") == "CD" and letters_in("\\text{(C)}") == "C"
    assert letters_in("BD") == letters_in("TEXT") == ""
