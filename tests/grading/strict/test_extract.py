import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.grading.strict.extract import (
    bare_answer,
    last_answer_tag,
    last_boxed,
    stated,
    statements,
    trimmed,
)


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


def test_last_answer_tag_is_the_last_closed_one_of_any_case():
    assert last_answer_tag("<answer>1</answer> no: <ANSWER> 2 </Answer> <answer>3") == "2"
    assert last_answer_tag("<answer>3") is None
    assert last_answer_tag("İ<answer>5</answer>") == "5"  # its lower case is two letters


def test_statements_end_with_their_sentence_and_keep_their_order():
    text = "The answer is 3.5 cm. Wait. The correct option is (B). So\n**Answer:** 7\n#### 8"
    assert statements(text) == ["3.5 cm", "(B)", "7", "8"]
    assert statements("The other options are: (C) no") == []


def test_bare_answer_is_one_short_line_of_answer():
    assert bare_answer(" 42 cm ") == "42 cm"
    assert bare_answer("\\frac{\\sqrt{3}}{2}") == "\\frac{\\sqrt{3}}{2}"
    assert bare_answer("I think that it is 42") is None
    assert bare_answer("4\n2") is None


@pytest.mark.parametrize(
    ("response", "answer"),
    [
        ("#### Step 1\n9\n\n#### Step 2: Find the money\n9*2=18\n\nThe answer is $\\boxed{18}$.", "18"),
        ("#### Final Answer\n\\boxed{42}", "42"),
        ("A: Let's think step by step.\n\\boxed{42}", "42"),
        ("The answer is 42.\n\n#### Verification: 7*6", "42"),
        ("so 6*7\n#### 42 dollars", "42 dollars"),
        ("Answer: 42\n\nSolution: we multiply 6 by 7.", "42"),
        ("### Final Answer\n\n42", "42"),
        ("the answer is 5. 6 is wrong", "5"),
        ("I think the answer is 42? Let me check.", "42?"),
        ("最终答案为 42", "42"),
        ("<think>The answer is 7.</think> The answer is 42.", "42"),
        ("<think>so \\boxed{42}</think> That is all.", "42"),
        ("\\boxed{-1} or $\\boxed{1}$", "-1 or 1"),
        ("\\boxed{2}, \\boxed{3}", "2, 3"),
        ("first \\boxed{2}. Then \\boxed{3}", "3"),
        ("<answer>The answer is 42</answer>", "42"),
    ],
)
def test_the_first_of_the_stated_texts_is_the_most_telling(response, answer):
    assert stated(response)[0][1] == answer


def test_headings_and_sentences_behind_hash_marks_state_nothing():
    for response in ("#### Step 1: add", "#### Conclusion", "#### 2. Compute the sum", "A: John has 42 apples"):
        assert stated(response) == []


def test_trimmed_takes_away_approximations_and_reasons():
    assert trimmed("approximately 42") == trimmed("\\approx 42, since 6*7=42") == trimmed("**42**, not 43.") == "42"
    assert trimmed(".5") == ".5" and trimmed(">42") == ">42" and trimmed("<<B>>") == "B"
