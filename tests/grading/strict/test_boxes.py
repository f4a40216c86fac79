import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.strict.boxes import final_box, last_boxed
from rlfr_mm.grading.strict.extract import stated


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        (r"\boxed{1} then \boxed{2}", "2"),
        (r"\boxed{\frac{1}{2}} is it", r"\frac{1}{2}"),
        (r"\boxed{\boxed{5}}", "5"),
        (r"\fbox{7}", "7"),
        (r"\boxed {3}", "3"),
        (r"\boxed{\{1, 2\}}", r"\{1, 2\}"),
        (r"\boxed{4} and then \boxed{\frac{1}{", "4"),  # the last balanced one
        (r"\boxed{a \\} b", r"a \\"),
        (r"\boxed{", None),
        ("no box", None),
    ],
)
def test_last_boxed_is_the_last_balanced_one(text, answer):
    assert last_boxed(text) == answer


@given(st.text(alphabet="\\boxed{}1a ", max_size=60))
def test_last_boxed_contents_are_balanced_and_from_the_text(text):
    boxed = last_boxed(text)
    assert boxed is None or boxed in text


@pytest.mark.parametrize(
    ("between", "joined"),
    [
        (" and ", ", "), (" or ", " or "), ("", ", "), ("\\quad\\text{and}\\quad ", ", "), ("\\;", ", "), ("\n", ", "),
        (" \\lor ", " or "), ("$ or $x=", " or "), (" or else ", " or "), ("\\text{ or maybe }", " or "),
        ("$\n- $", ", "),
        (", as well as ", ", "), ("$ and the other solution is $", ", "), (" and the larger root is ", ", "),
    ],
)  # fmt: skip
def test_boxes_of_one_statement_are_read_together(between, joined):
    (found,) = stated(f"So $x=\\boxed{{-2}}{between}\\boxed{{1}}$.")
    assert found.answer == f"-2{joined}1"


@pytest.mark.parametrize(
    "between",
    [
        ". Hence ", " so ", " = ", " + 3 = ", ". Step 2 gives ", " \\Rightarrow ", ", which gives ", " gives ",
        " is too small; thus ", ", so we get ", "\\text{ cm} = ", "\nStep 2: ", " in this format: ", "，所以答案是",
    ],
)  # fmt: skip
def test_a_box_before_more_reasoning_was_a_step(between):
    assert stated(f"\\boxed{{-2}}{between}\\boxed{{1}}")[0].answer == "1"


def test_different_labels_are_part_of_the_answer():
    assert stated("$k=\\boxed{45}$ and $n=\\boxed{2}$")[0].answer == "k=45, n=2"


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("So $\\boxed 7$.", "7"), ("So $\\boxed7$.", "7"), ("\\boxed 12, \\boxed{13}", "12, 13"),
        ("\\boxed 7^2", None),
        ("\\boxed 7.5", None), ("\\boxed7x", None),
    ],
)  # fmt: skip
def test_a_box_may_have_no_braces_around_a_number(text, answer):
    found = final_box(text)
    assert (found.answer if found else None) == answer


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("For even n it is \\boxed{5}, for odd n it is \\boxed{6}.", "6"), ("The ratio is $\\boxed{5}:\\boxed{6}$.",
        "6"),
        ("Either \\boxed{5} works, or you can take \\boxed{6}.", "6"), ("From \\boxed{5} to \\boxed{6}.", "6"),
        ("Method 1 gives \\boxed{5}, method 2 gives \\boxed{6}, so I cannot decide.", "6"),
        ("$x=\\boxed{5}$ when n is odd, $x=\\boxed{6}$ otherwise.", "6"),
        ("The minimum is \\boxed{1}, and the maximum is \\boxed{9}.", "9"),
        ("The smaller root is \\boxed{1} and the larger root is \\boxed{3}.", "3"),
        ("It takes $\\boxed{5}$ hours and $\\boxed{30}$ minutes.", "30"),
        ("Ann: \\boxed{5}, Bob: \\boxed{6}", "6"), ("**Area:** $\\boxed{5}$. **Height:** $\\boxed{6}$.", "6"),
        ("$\\boxed{5}, 6$", "5"), ("$\\boxed{5}$, $6$", "5"), ("\\boxed{5} and 6", "5"), ("\\boxed{5}, \\frac{1}{2}.",
        "5"),
        ("So the answer is the sum of \\boxed{5} and 3.", "5"),
    ],
)  # fmt: skip
def test_a_box_is_not_read_without_what_its_sentence_puts_beside_it(response, gold):
    assert not grade(Item(response, gold)).correct


@pytest.mark.parametrize(
    ("response", "gold"),
    [
        ("The smaller root is \\boxed{1} and the larger root is \\boxed{3}.", "1,3"),
        ("It takes $\\boxed{5}$ hours and $\\boxed{30}$ minutes.", "330 \\text{ minutes}"),
        ("Ann: \\boxed{5}, Bob: \\boxed{6}", "5, 6"), ("Step A: \\boxed{5}, Answer: \\boxed{6}", "6"),
        ("The ratio is $\\boxed{5}:\\boxed{6}$.", "5:6"), ("$\\boxed{5}, 6$", "5, 6"),
        ("\\boxed{5}, 3 of which are red.", "5"),
        ("\\boxed{5} and 3 of them are red.", "5"), ("$\\boxed{5}$, since $6$ is too large.", "5"),
        ("$x=\\boxed{5}$ and $y = 6$.", "5"), ("Write it as \\boxed{}: \\boxed{5}", "5"),
    ],
)  # fmt: skip
def test_what_stands_beside_a_box_is_read_with_it_or_is_a_remark(response, gold):
    assert grade(Item(response, gold)).correct
