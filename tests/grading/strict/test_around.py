import pytest

from rlfr_mm.grading.strict.extract import stated


def answers(response):
    return [found.answer for found in stated(response)]


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("\\boxed{5}\\text{ cm}", "5\\text{ cm}"), ("$\\boxed{5}$ cm.", "5 cm"), ("\\boxed{5}\\pi", "5\\pi"),
        ("x = -\\boxed{5}", "-5"), ("x=-\\,\\boxed{5}", "-5"), ("-(\\boxed{5})", "-5"), ("$-\\boxed{5}$", "-5"),
        ("\\boxed{5} million", "5 million"), ("\\boxed{5}, or maybe 6.", "5, or maybe 6"),
        ("\\boxed{5} (6 also works)", "5 (6 also works)"), ("\\boxed{5}\n\nIf you have questions, ask.", "5"),
        ("\\boxed{5} \\checkmark", "5"), ("\\boxed{5} in total", "5"), ("\\boxed{5}. But 6 is near.", "5"),
        ("x \\equiv \\boxed{5} \\pmod{7}", "5"), ("(\\boxed{1},\\boxed{2})", "(1, 2)"), ("\\boxed{5} + 2 = 7", "5"),
        ("| sum | \\boxed{5} |", "5"), ("{\\color{red}\\boxed{5}}", "5"), ("\\textbf{\\boxed{5}}", "5"),
        ("|-2| + 3 = \\boxed{5}", "5"), ("f(2) = \\boxed{5}", "5"), ("\\boxed{5} to 2 decimal places", "5"),
        ("\\boxed{5} - the number of cats", "5"), ("\\boxed{5}: the cats", "5"), ("'\\boxed{5}'", "5"),
        ("\\boxed{5} (apples)", "5"), ("Question 3: \\boxed{5}", "5"), ("the $\\boxed{5}$th floor", "5"),
        ("\\boxed{5}'s sign", "5"), ("a root of $\\boxed{5}$", "5"),
        ("one half \\boxed{0.5}", "0.5"), ("the number of times \\boxed{5}", "5"),
        ("(x = \\boxed{5})", "5"),
        ("(so it is \\boxed{5}, as above)", "5"), ("\\boxed{5} \\text{ is the sum}", "5"),
    ],
)  # fmt: skip
def test_what_changes_a_box_belongs_to_it_and_nothing_else_does(response, answer):
    assert stated(response)[0].answer == answer


@pytest.mark.parametrize(
    "formula",
    [
        # numbers and operators on either side
        "13{}", "0.{}", "{}.5", "{}{{,}}345", "{}x", "{}+1", "{} + 1", "{} - x", "2 \\times {}", "2\\cdot\\,{}",
        "20 - {}", "x + {}",
        "5/{}", "{}/7", "{}\\div 7", "{}:30", "{} : 5", "5 : {}", "{} \\pm 1", "(x+1){}", "{}(x+1)", "{}*3", "{} * 3",
        # powers, roots, functions, brackets
        "\\frac{{{}}}{{13}}", "\\frac{{13}}{{{}}}", "\\binom{{{}}}{{3}}", "\\sqrt{{{}}}", "\\overline{{{}}}",
        "x^{{{}}}", "{}^2",
        "({})^2", "\\left({}\\right)^{{-1}}", "({}) \\cdot 2", "{}!", "{}'", "{}_5", "\\log_2 {}", "\\ln({})", "f({})",
        "P({})",
        "|{}|+1", "\\lfloor {} \\rfloor", "\\sin {}",
        # moduli, relations, sets, dots
        "{} \\bmod 5", "{} \\pmod{{13}}", "{} \\pmod 7", "{} (mod 13)", "x \\ge {}", "x \\ne {}", "{} < x",
        "{} \\cup \\{{3\\}}",
        "{}, \\ldots", "{} \\cdots", "({}, 2)", "[{}, 40]", "\\{{{}, 40\\}}", "\\gcd(72, {})", "\\text{{gcd}}({}, 72)",
        "{} x^2",
        "\\pi{}", "x{}", "{}5", "{}\\overline{{3}}", "{} + C", "{}^{{\\text{{th}}}}",
        "180^\\circ - {}",
        "x = ({} + 1)", "\\{{1, {}\\}}", "{}\\% of 50",
    ],
)  # fmt: skip
def test_a_box_inside_a_number_or_formula_is_not_its_value(formula):
    for response in (f"${formula}$", f"So \\[ {formula} \\]"):
        assert answers(response.format("\\boxed{12}")) != ["12"]


@pytest.mark.parametrize(
    "response",
    [
        "$\\boxed{12}$ + 1", "$\\boxed{12}$ mod 5", "\\(\\boxed{12}\\) - 3", "twice \\boxed{12}",
        "$3$ times \\boxed{12}", "3 plus $\\boxed{12}$",
        "half of $\\boxed{12}$",
        "the square root of \\boxed{12}", "minus \\boxed{12}", "\\boxed{12} squared", "\\boxed{12} \\text{ squared}",
        "\\boxed{12} choose 3", "\\boxed{12} times 5", "\\boxed{12} and up", "\\boxed{12} to 15",
        "\\boxed{12} thousand",
        "\\boxed{12} --> wrong", "\\boxed{12} ✗", "\\boxed{12} is a hint, not the answer.", "Ignore \\boxed{12}.",
    "\\boxed{12} would be wrong", "\\boxed{12}, and also 9", "\\boxed{12} is too small",
        "\\boxed{12} is only an upper bound", "\\boxed{12}, which I doubt", "Nobody would answer \\boxed{12}.",
    ],
)  # fmt: skip
def test_words_around_a_box_that_change_or_deny_its_value_count(response):
    assert answers(response) != ["12"]


def test_a_step_number_or_figure_before_a_box_is_no_part_of_it():
    for before in ("- ", "Answer - ", "**", "<b>", "> ", "a -> ", "The answer is ", "Step 4\n", "as in figure 1.\n",
                   "= 3 \\cdot 4 = ", "The answer is 12. ", "1. We add.\n2. ", "Question 4 : ", "(a) "):  # fmt: skip
        assert stated(before + "\\boxed{12}")[0].answer == "12"
