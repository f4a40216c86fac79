import subprocess
import sys

import pytest

from rlfr_mm.grading import Item, Problem, grade, grade_all


def test_unknown_scorers_and_rules_are_named():
    with pytest.raises(ValueError, match=r"'mathvistaa'.*mathvista"):
        grade(Item("1", "1", "mathvistaa"))
    with pytest.raises(ValueError, match=r"'lenient'.*strict or official"):
        grade(Item("1", "1"), "lenient")


def test_verdicts_come_in_the_order_of_their_items():
    items = [Item(f"\\boxed{{{i}+x}}", f"x+{i % 3}") for i in range(6)]
    assert [verdict.correct for verdict in grade_all(items)] == [True, True, True, False, False, False]


def test_grading_loads_neither_torch_nor_sympy():
    heavy = "[name for name in ('torch', 'sympy', 'transformers') if name in sys.modules]"
    code = f"import sys, rlfr_mm.grading; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("rule", ["strict", "official"])
def test_a_record_without_an_answer_is_ungradable(rule):
    verdict = grade(Item("The answer is B.", "", "logicvista"), rule)
    assert verdict.unscored and "no answer" in verdict.detail


def test_a_problem_with_a_response_is_an_item():
    problem = Problem("B", "choice", ("3", "5"), {"question": "Which?"}, "7")
    assert problem.answered("B") == Item("B", "B", "choice", ("3", "5"), {"question": "Which?"}, "7")


@pytest.mark.parametrize(
    "gold", ["nan", "NaN", "None", "null", "N/A", "n/a", " ", "?", "{'value': '2'}", '{"a": 1}', "['2']", "[]"]
)
def test_a_missing_value_is_no_gold(gold):
    for response in (f"\\boxed{{{gold}}}", f"<answer>{gold}</answer>", "\\boxed{2}"):
        verdict = grade(Item(response, gold))
        assert verdict.status == "error" and "no answer to grade by" in verdict.detail


def test_a_missing_value_among_several_golds_is_left_out():
    assert grade(Item("\\boxed{8}", ("nan", "8"))).correct
    assert grade(Item("\\boxed{nan}", ("nan", "8"))).status == "wrong"


def test_words_that_mean_an_answer_are_golds():
    for gold in ("\\text{No solution}", "\\text{undefined}", "\\{1,2\\}", "[2, 0, 6]"):
        assert grade(Item(f"\\boxed{{{gold}}}", gold)).correct
    assert grade(Item("<answer>None</answer>", "None", "choice", ("one", "None"))).correct


def test_a_gold_that_is_no_option_is_an_error():
    for gold in ("F", "f", "2", "cherry"):
        verdict = grade(Item("<answer>A</answer>", gold, "choice", ("apple", "pear")))
        assert verdict.status == "error" and "not one of the 2 options" in verdict.detail
    assert grade(Item("<answer>B</answer>", "b", "choice", ("apple", "pear"))).correct
    assert grade(Item("<answer>pear</answer>", "B", "choice", ("A. apple", "B. pear"))).correct


@pytest.mark.parametrize(
    ("response", "gold", "read"),
    [
        ("So \\boxed{7} it is.", "7", "7"),
        ("So \\boxed{x+1} it is.", "1+x", "x+1"),
        ("So \\boxed{x+2} it is.", "1+x", "x+2"),
        ("It is 7, I believe.", "7", None),
    ],
)
def test_the_verdict_says_where_the_answer_was_read(response, gold, read):
    span = grade(Item(response, gold)).span
    assert (span and response[slice(*span)]) == read
