import pytest

from rlfr_mm.grading.strict.choices import find_choice, letters_in, listed_options, read_choice

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
        ("I choose B.", "B"),
        ("It's B.", "B"),
        ("I'm going with B.", "B"),
        ("I'm not going with B.", None),
        ("I'm going with B or C.", None),
        ("B项正确", "B"),
        ("A错误,B正确,C错误,所以B选项正确。", "B"),
        ("所以B选项不正确。", None),
        ("I weighed all of them, B is correct.", "B"),
        ('{"answer": "B"}', "B"),
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
        ("5\\sqrt2", "D"), ("5 sqrt(2)", "D"), ("C) 145", "C"), ("(C) 145 cm", "C"), ("[C]", "C"), ("“C”", "C"),
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


@pytest.mark.parametrize(
    "answer",
    [
        "B. pear or C. plum", "B; C",
        "B, but more likely C", "(B) and also (C)", "B: possible, C: certain", "B, else C",
        "B. Actually C.", "B (or maybe C)", "B, unless it is C", "B = 12", "B(1,2)", "B > C", "B'", "B^2", "B_1", "2B",
        "B + C", "B, C being just as good", "B. plum", "B plum", "plum (B)", "All of them", "Banana", "B with 60 %",
    ],
)  # fmt: skip
@pytest.mark.parametrize("choices", [FRUIT, ()])
def test_a_letter_counts_only_if_the_whole_statement_reads_as_that_option(answer, choices):
    if choices or "plum" not in answer:  # without option texts, "B. plum" is one
        assert find_choice(f"<answer>{answer}</answer>", choices) is None


@pytest.mark.parametrize(
    ("answer", "letter"),
    [
        ("x = 12", "B"), ("\\angle C = 12", "B"), ("3 \\times 4 = 12", "B"), ("a = b = 12", "B"), ("A = 45", "A"),
        ("A = 12", None), ("x = 12 or x = 45", None), ("x > 12", None), ("x \\ne 12", None), ("x = 13", None),
    ],
)  # fmt: skip
def test_a_named_value_is_the_option_with_that_value(answer, letter):
    choice = find_choice(f"<answer>{answer}</answer>", NUMBERS)
    assert (choice and choice.answer) == letter


def test_an_option_text_may_be_explained_or_slightly_misspelt_but_not_changed():
    options = ("The spider population would decrease", "The spider population would increase", "No")
    assert find_choice("The answer is (A) the spiders population would decrease.", options).answer == "A"
    assert find_choice("The answer is (A) the spiders population would increase.", options) is None
    assert find_choice("The answer is (C) No, because it is not an insect.", options).answer == "C"
    assert find_choice("The answer is (C) No, it is an insect.", options).answer == "C"


def test_options_that_are_only_letters_say_nothing_about_their_texts():
    assert find_choice("The answer is (C), a sector of a circle.", ("A", "B", "C", "D")).answer == "C"
    assert find_choice("The answer is (C), or rather (D).", ("A", "B", "C", "D")) is None


@pytest.mark.parametrize(
    "response",
    [
        "The answer is B. Wait, that is wrong.", "The answer is B. Or C.", "The answer is B. Actually it is C.",
        "I doubt that option B is correct.", "A student says that the answer is B.", "If the answer is B, why?",
    ],
)  # fmt: skip
def test_a_choice_that_is_taken_back_or_quoted_is_none(response):
    assert find_choice(response, FRUIT) is None


def test_the_case_of_a_variable_in_an_option_matters_and_the_case_of_words_does_not():
    formulas, words = ("x^2", "2x", "x+2"), ("Red", "Dark blue", "No")
    assert read_choice("2x", formulas) == "B" and read_choice("2X", formulas) is None
    assert read_choice("1600 G", ("16 g", "1600 g")) == "B"
    assert read_choice("dark BLUE", words) == "B" and read_choice("no", words) == "C"


@pytest.mark.parametrize(
    ("said", "options", "letter"),
    [
        ("25\\%", ("20%", "25%"), "B"), ("B. $25\\%$", ("20%", "25%"), "B"), ("(B) 31%", ("$30\\%$", "$31\\%$"), "B"),
        ("n^{2}", ("n^2", "2^n"), "A"), ("(A) $n^{2}$", ("n^2", "2^n"), "A"), ("B. $a_{1}$", ("a_2", "a_1"), "B"),
        ("\\frac{\\pi}{2}", ("1", "π/2"), "B"), ("B. $n^{2}$", ("n^2", "2^n"), None), ("n^{12}", ("n^1", "2^n"), None),
        ("A. 16π/5", ("16*\\pi/5", "2"), "A"), ("30\\%", ("20%", "25%"), None),
    ],
)  # fmt: skip
def test_an_option_is_its_text_in_any_spelling_of_latex(said, options, letter):
    assert read_choice(said, options) == letter


@pytest.mark.parametrize(
    "said",
    ["The answer cannot be determined.", "It can't be determined from the information given.", "Cannot be determined"],
)
def test_that_an_answer_cannot_be_determined_is_an_option_where_one_says_so(said):
    assert find_choice(said, ("3", "5", "cannot be determined")).answer == "C"
    assert find_choice(said, ("3", "5", "It cannot be determined from the given information")).answer == "C"
    assert find_choice(said, ("3", "5", "7")) is None


@pytest.mark.parametrize(
    ("said", "options", "letter"),
    [
        ("bb", ("BB", "Bb", "bb"), "C"), ("Bb", ("BB", "Bb", "bb"), "B"), ("bB", ("BB", "Bb", "bb"), None),
        ("B. bb", ("BB", "bb"), "B"), ("APPLE", ("apple", "pear"), "A"), ("2*x", ("2x", "x"), "A"),
        ("3*4", ("3*4", "34"), "A"), ("3 \\times 4", ("3*4", "34"), "A"), ("34", ("3*4", "34"), "B"),
        ("18", ("9", "18", "18"), "B"),
    ],
)  # fmt: skip
def test_options_that_differ_in_case_or_an_asterisk_alone_are_different(said, options, letter):
    assert read_choice(said, options) == letter
