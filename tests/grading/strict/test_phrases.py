import pytest

from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.strict.phrases import concluded, worded


@pytest.mark.parametrize(
    ("text", "answers"),
    [
        ("Thus 12 is the answer.", ["12"]), ("So $x = 12$ is our final answer.", ["$x = 12$"]),
        ("**12 cm** must be the correct answer", ["**12 cm**"]), ("12 is not the answer.", []),
        ("12 is the answer to part (a).", []), ("Nobody thinks that 12 is the answer.", []),
        ("12 is the wrong answer.", []), ('{"answer": 12}', ["12"]), ("{'final_answer': 'B'}", ["B"]),
        ('{"answer": [12, 13]}', []), ('{"answer": 12 or 13}', []),
    ],
)  # fmt: skip
def test_an_answer_may_stand_before_the_words_that_call_it_one(text, answers):
    assert [found.answer for found in worded(text)] == answers


@pytest.mark.parametrize(
    ("text", "answer", "method"),
    [
        ("She sells 9 for $2. So she makes $18.", "$18", "conclusion"), ("Therefore, x = 12.", "12", "conclusion"),
        ("$y = 6$ So, the ordered pair $(x, y)$ is $(7, 6)$.", "$(7, 6)$", "conclusion"),
        ("Thus, 12.", "12", "conclusion"),
        ("Hence there are 12 ways to do that. I hope it is correct.", "12", "conclusion"),
        ("So x is 5 and y is 7, so z is 12.", "12", "conclusion"),
        ("So, since x is 5 and y is 7, z is 12.", "12", "conclusion"),
        ("So he sold 5 and kept 7, which makes 12.", "12", "conclusion"),
        ("So there is 1 block that has exactly 36 houses.", "1", "conclusion"),
        ("So there are 3 rows, each with 4, so there are 12 seats.", "12 seats", "conclusion"),
        ("As a result, the error grows by 100%.", "100%", "conclusion"),
        ("We find that $x < 3$.", "$x < 3$", "response"), ("Answer \\[ \n 9 \n \\]", "\\[ \n 9 \n \\]", "response"),
        ("The zero matrix: $\\begin{pmatrix}0&0\\end{pmatrix}$", "$\\begin{pmatrix}0&0\\end{pmatrix}$", "response"),
        ("Ans. 12", "12", "response"), ("We add both.\n\n**12 cm**", "12 cm", "last line"),
    ],
)  # fmt: skip
def test_a_conclusion_a_labelled_formula_and_a_last_line_state_their_value(text, answer, method):
    found = concluded(text)
    assert (found.answer, found.method, text[slice(*found.span)]) == (answer, method, answer)


@pytest.mark.parametrize(
    "text",
    [
        "She has 12 eggs.", "So it is not 12.", "So it may be 12.", "Thus it is 12 or 13.", "Hence it is at least 12.",
        "So is it 12?", "So if it were 12.", "Therefore x = 12, which is wrong.", "Given: $x = 12$",
        "Suppose that $x$ is $12$.",
        "Step one: $12$", "4\n2", "The given numbers:\n12", "So 12 apples were left. But they were bad.", "- 11\n- 12",
        "x = 11\ny = 12", "So they say that it is 12.", "So Ann has 9 and Bob has 12.", "So x is 9, y is 12.",
        "So x is 9; y is 12.", "Therefore Tom makes $9 but Ann makes $12.", "So there are 12 boys and 9 girls.",
        "So the mean is 9, and the variance is 12.",
        "So Ann has 9 and Bob has a total of 12.",
        "So Ann has **9** and Bob has **12**.",
        "So there are 12 rows and each has 4 seats.",
        "So there are 12 apples and each costs $3.",
    ],
)  # fmt: skip
def test_nothing_else_is_a_conclusion(text):
    assert concluded(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "Thus 2x = 12.", "Hence x^2 = 12.", "So we now have x + 3 = 12.", "So the equation becomes 3x = 12.",
        "So 3(x+1) = 12.", "Hence xy = 12.", "So x = 3 and y = 12.", "So x = 3, x = 12.", "So twice the number is 12.",
        "So half the students are 12.", "So the square of the number is 12.", "So we multiply everything by 12.",
        "Therefore, we divide both sides by 12.", "So far we have 12.", "So we try x = 12.",
        "So the next case is n = 12.",
        "So the question is 12", "So for n = 1 we get 12.", "Thus we start by setting n = 12.",
        "So x is a multiple of something that equals 12.",
    ],
)  # fmt: skip
def test_an_equation_to_solve_a_step_a_case_or_a_multiple_is_not_concluded(text):
    assert concluded(text) is None
    assert not grade(Item(text, "12")).correct


@pytest.mark.parametrize(
    "text",
    [
        "Therefore, x = 12.", "So she makes 3 * 4 = 12.", "So the total is 3 + 9 = 12.", "Thus f(2) = 12.",
        "Hence AB = 12.",
        "So x = 3 * 4 = 12.", "So A = lw = 3 * 4 = 12.", "So the perimeter = 12.", "Thus, a_1 = 12.", "Thus $x$ = 12.",
        "So the cost is 2 * $6 = $12.", "So 24 / 2 = 12 apples.", "Therefore, when x = 3, y = 12.",
        "So half of 24 is 12.",
        "So the cost = 4 dollars * 3 = 12 dollars.", "So the number grows by 12.", "So it is shortened by 12.",
        "So he pays $4 x 3 = $12.", "Therefore, ∠AEC's degree is 70° - 58° = 12°.",
    ],
)  # fmt: skip
def test_a_named_or_calculated_value_is_concluded(text):
    assert grade(Item(text, "12")).correct
