import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.item import Found
from rlfr_mm.grading.strict.extract import (
    bare_answer,
    final_part,
    last_answer_tag,
    plain_text,
    stated,
    statements,
    trimmed,
)


def test_last_answer_tag_is_the_last_closed_one_of_any_case():
    assert last_answer_tag("<answer>1</answer> no: <ANSWER> 2 </Answer> <answer>3") == "2"
    assert last_answer_tag("<answer>3") is None
    assert last_answer_tag("İ<answer>5</answer>") == "5"  # its lower case is two letters


def test_statements_end_with_their_sentence_and_keep_their_order():
    text = "The answer is 3.5 cm. Wait. The correct option is (B). So\n**Answer:** 7\n#### 8"
    assert [statement.answer for statement in statements(text)] == ["3.5 cm", "(B)", "7", "8"]
    assert statements("The other options are: (C) no") == []


def test_bare_answer_is_one_short_line_of_answer():
    for answer in ("42 cm", "\\frac{\\sqrt{3}}{2}"):
        assert bare_answer(f" {answer} ") == Found(answer, "response", (1, 1 + len(answer)))
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
    assert stated(response)[0].answer == answer


def test_headings_and_sentences_behind_hash_marks_state_nothing():
    for response in ("#### Step 1: add", "#### Conclusion", "#### 2. Compute the sum", "A: John has 42 apples"):
        assert stated(response) == []


def test_trimmed_takes_away_approximations_and_reasons():
    assert trimmed("approximately 42") == trimmed("\\approx 42, since 6*7=42") == trimmed("**42**, not 43.") == "42"
    assert trimmed(".5") == ".5" and trimmed(">42") == ">42" and trimmed("<<B>>") == "B"


@pytest.mark.parametrize(
    "form",
    [
        "$$\n{}\n$$", "\\[\n{}\n\\]", "\\[{}\\]", "$\n{}\n$", "\\begin{{align*}}\n{}\n\\end{{align*}}",
        "\\begin{{equation}}{}\\end{{equation}}", "\\[\\begin{{aligned}}{}\\end{{aligned}}\\]", "```\n{}\n```",
        "```text\n{}\n```", "> {}", "# {}", "- {}", "**{}**", "{}", "<b>{}</b>",
    ],
)  # fmt: skip
@pytest.mark.parametrize(
    "lead", ["The answer is:\n\n", "## Final Answer\n", "**Answer:**\n\n", "The answer is given by\n"]
)
def test_an_answer_may_stand_on_lines_of_its_own(form, lead):
    assert plain_text(stated(lead + form.format("x = 9"))[0].answer) == "x = 9"


def test_rows_of_a_display_continue_each_other_or_are_several_answers():
    assert stated("The answer is\n\\begin{align}x &= 3+6 \\\\ &= 9\\end{align}")[0].answer == "x = 3+6 = 9"
    for listed in ("- 9\n- 10", "1. 9\n2. 10", "$$9$$\n\n$$10$$", "$$9$$ and $$10$$", "```\n9\n10\n```"):
        assert stated(f"The answers are:\n{listed}")[0].answer == "9, 10"
    assert stated("The answer is:\n$$9$$ or 10")[0].answer == "9 or 10"


TOKENS = [
    "<|im_end|>", "<|eot_id|>", "</s>", "<end_of_turn>", "<｜end▁of▁sentence｜>", "<|endoftext|>", "<eos>", "<|end|>",
    "<|END_OF_TURN_TOKEN|>", "<end_of_utterance>", "[|endofturn|]", " [/INST]",
    "<|im_end|>\n<|im_start|>user\nAnd now?",
]  # fmt: skip


@pytest.mark.parametrize("token", TOKENS)
def test_a_token_that_ends_the_turn_is_no_part_of_the_answer(token):
    for response in ("9", "The answer is 9", "So x = \\boxed{9}", "<answer>9</answer>"):
        found = stated(response + token) or [bare_answer(response + token)]
        assert found[0].answer == "9"


def test_the_final_part_follows_thoughts_and_the_token_that_starts_the_turn():
    assert final_part("<think>8</think> 9<|im_end|>") == (" 9", len("<think>8</think>"))
    assert final_part("<|start_header_id|>assistant<|end_header_id|>\n\n9<|eot_id|>")[0] == "9"
    assert final_part("<|channel|>analysis<|message|>8<|end|><|start|>assistant<|channel|>final<|message|>9")[0] == "9"
    assert (
        final_part("<|begin_of_thought|>8<|end_of_thought|>\n<|begin_of_solution|>9<|end_of_solution|>")[0].count("9")
        == 1
    )


@pytest.mark.parametrize(
    ("response", "read"),
    [
        ("So <answer> 9 cm </answer>", "9 cm"),
        ("<think>8</think>\nThe answer is 9.", "9"),
        ("x = \\boxed{ 9 } cm", "9 } cm"),
        ("x=\\boxed{-2} or x=\\boxed{1}", "-2} or x=\\boxed{1"),
        ("The answer is:\n$$\n9\n$$\nDone.", "$$\n9\n$$"),
        ("<CONCLUSION>\nThe answer is 9.\n</CONCLUSION>", "9"),
        ("答案：９。", "９"),
        ("<|begin_of_box|>9<|end_of_box|>", "9"),
    ],
)
def test_the_span_is_where_the_answer_stands_in_the_response(response, read):
    start, end = stated(response)[0].span
    assert response[start:end] == read


@given(st.text(alphabet="answer is: \n\\boxed{}1$.<>/", max_size=80))
def test_every_span_lies_in_the_response(text):
    for found in stated("The answer is " + text):
        assert 0 <= found.span[0] <= found.span[1] <= len(text) + 14


def test_a_question_is_an_answer_only_as_the_long_text_of_an_option():
    assert stated("The answer is 12, or is it 13?") == [] == stated("So \\boxed{12}?")
    question = "Does the board slide down the hill in less time with wax?"
    assert stated(f"\\boxed{{{question}}}")[0].answer == question


def test_programs_state_nothing_and_displayed_values_do():
    program = "```python\nanswer = 12\nprint(f'\\\\boxed{12}')\n```"
    assert stated(program) == [] and bare_answer(program) is None
    assert stated(f"{program}\n\nThe answer is 13.")[0].answer == "13"
    assert stated("The answer is:\n```python\n12\n```")[0].answer == "12"


@pytest.mark.parametrize(
    "response",
    [
        "<b>Answer:</b> 12", "__Answer:__ 12", "**Answer**: 12", "答案是：「12」。", "所以，答案為12。", "答え：12",
        "答：12", "답은 12", "答案是12，过程如上。",
        "The answer is 12; no other value works.", "The answer is the number 12.",
    ],
)  # fmt: skip
def test_markup_and_remarks_around_a_stated_answer_do_not_matter(response):
    assert grade(Item(response, "12")).correct


def test_an_answer_that_goes_on_is_not_cut():
    assert statements("The answer is 9...")[0].answer == "9..."
    assert statements("The answer is 9..")[0].answer == "9"


@pytest.mark.parametrize(
    "text",
    [
        "No one has 5", "Nobody has 5", "Nothing is 5", "None is 5", "Twice x is 5", "The square of x is 5",
        "Half the number is 5", "The negative of x is 5",
    ],
)  # fmt: skip
def test_a_clause_about_nobody_or_another_quantity_is_no_lead(text):
    assert trimmed(text) == text
    assert not grade(Item(f"<answer>{text}</answer>", "5")).correct


@pytest.mark.parametrize("text", ["The area is 5", "Janet has 5", "The negative of -5 is 5", "She has 5", "Thus 5"])
def test_a_clause_that_says_the_value_is_a_lead(text):
    assert trimmed(text) == "5"


@pytest.mark.parametrize(
    ("response", "gold", "right"),
    [
        ("The answer is 12 (apples).", "12", True), ("The answer is 12 (spurious).", "12", False),
        ("The answer is 12 (mod 7).", "12", False), ("<answer>No, it is not.</answer>", "No", True),
        ("<answer>Yes, it does.</answer>", "Yes", True), ("<answer>Yes, it is not.</answer>", "Yes", False),
        ("<answer>No, it is.</answer>", "No", False), ("The statement is true.", "True", True),
        ("Therefore, the assertion is false.", "False", True), ("The statement is not true.", "True", False),
        ("The answer is that Ann has 9 and Bob has 12.", "12", False),
        ("The answer is 90 minutes (1.5 hours).", "90", True), ("The answer is 90 minutes (2 hours).", "90", False),
        ("The answer is 3/4, i.e. 75%.", "3/4", True), ("The answer is 3/4 (i.e. 0.75).", "0.75", True),
        ("The answer is 7, i.e. 8.", "7", False), ("The answer is 7, i.e. wrong.", "7", False),
        ("The statement is true if x > 0.", "True", False), ("They say the statement is true.", "True", False),
    ],
)  # fmt: skip
def test_counted_things_in_brackets_and_full_sentences_are_read(response, gold, right):
    assert grade(Item(response, gold)).correct is right
