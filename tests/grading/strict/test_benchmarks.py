import pytest

from rlfr_mm.grading import Item, grade


def mathvista(response, gold, choices=None, **meta):
    return Item(response, gold, "mathvista", choices, meta)


@pytest.mark.parametrize(
    "answer",
    ["\\sqrt{5}", "5\\pi", "x^5", "5x", "5!", "5k", "5 million", "minus 5", "not 5", "more than 5", "5 or 6", "2/5"],
)
def test_mathvista_takes_a_number_that_stands_alone(answer):
    assert not grade(mathvista(f"<answer>{answer}</answer>", "5", answer_type="integer")).correct


@pytest.mark.parametrize("answer", ["5 apples", "about 5", "five", "5 cm", "3 + 2 = 5", "x = 5", "5\\%", "5.0"])
def test_mathvista_takes_a_number_with_its_unit(answer):
    assert grade(mathvista(f"<answer>{answer}</answer>", "5", answer_type="integer")).correct


def test_mathvista_compares_lists_by_their_numbers():
    item = mathvista("<answer>2014 and 2016</answer>", "[2014, 2016]", answer_type="list")
    assert grade(item).correct
    assert not grade(mathvista("<answer>(2014, 2016]</answer>", "[2014, 2016]", answer_type="list")).correct
    assert not grade(mathvista("<answer>2016, 2014</answer>", "[2014, 2016]", answer_type="list")).correct


def test_gsm8k_ends_where_a_base_model_asks_the_next_question():
    assert grade(Item("#### 42\n\nQ: next question\nA: 50", "42", "gsm8k")).correct
    assert grade(Item("Q: x\nA: 42", "42", "gsm8k")).correct


def test_dynamath_allows_a_thousandth_also_for_formulas():
    number = {"answer_type": "float"}
    for answer in ("\\frac{2\\pi}{3}", "2\\pi/3", "2.094 cm", "x = 2.094", "approximately 2.094"):
        assert grade(Item(f"<answer>{answer}</answer>", "2.0944", "dynamath", meta=number)).correct, answer


def test_the_templates_of_benchmarks_are_read_where_they_are_filled():
    for scorer, choices, response, read in (
        ("wemath", ("3", "4"), "<Thought process>: 1<Answer>: <<B>>", "B"),
        ("wemath", ("3", "4"), "The answer is (B).", "(B)"),
        ("dynamath", None, '{"solution": "2 and 2", "short answer": "4"}', "4"),
        ("mathvista", ("yes", "no"), "So: No, there are fewer.", None),
        ("mathvista", ("yes", "no"), "No, there are fewer.", "No"),
    ):
        gold = "4" if scorer == "dynamath" else "B"
        verdict = grade(Item(response, "no" if scorer == "mathvista" else gold, scorer, choices))
        assert (verdict.span and response[slice(*verdict.span)]) == read
        assert verdict.correct is (read is not None)


@pytest.mark.parametrize("scorer", ["mathvista", "minerva_math", "dynamath", "olympiadbench", "gsm8k", "mathvision"])
def test_what_stands_around_a_number_counts_for_every_scorer(scorer):
    def right(response):
        return grade(Item(response, "6", scorer, meta={"answer_type": "integer"})).correct

    assert right("So $x = \\boxed{6}$.")
    for formula in (
        "\\boxed{6} \\pmod{97}",
        "2\\cdot \\boxed{6}",
        "\\boxed{6} + 1",
        "\\boxed{6}^2",
        "f(\\boxed{6})",
        "\\boxed{6g}",
    ):
        assert not right(f"So ${formula}$.")


@pytest.mark.parametrize("written", ["\\\\frac{1}{2}", "\\frac{1}{2}", "1/2"])
def test_a_short_answer_of_dynamath_keeps_its_backslashes(written):
    response = f'{{"solution": "\\\\alpha \\"x\\"", "short answer": "{written}"}}'
    assert grade(Item(response, "\\frac{1}{2}", "dynamath", meta={"answer_type": "text"})).correct
    assert not grade(Item(response, "frac12", "dynamath", meta={"answer_type": "text"})).correct


@pytest.mark.parametrize("behind", ["th", " millionths", " squared", "\\text{ dozen}", " octal"])
def test_words_behind_a_box_that_change_its_number_count(behind):
    assert not grade(Item(f"So it is \\boxed{{7}}{behind}.", "7")).correct
