import pytest
from hypothesis import given
from hypothesis import strategies as st

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
        (", as well as ", ", "), ("$ and the other solution is $", ", "),
    ],
)  # fmt: skip
def test_boxes_of_one_statement_are_read_together(between, joined):
    (found,) = stated(f"So $x=\\boxed{{-2}}{between}\\boxed{{1}}$.")
    assert found.answer == f"-2{joined}1"


@pytest.mark.parametrize("between", [". Hence ", " so ", " = ", " + 3 = ", ". Step 2 gives ", " \\Rightarrow "])
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
