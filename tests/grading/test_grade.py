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
