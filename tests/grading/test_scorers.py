import subprocess
import sys

import pytest

from rlfr_mm.grading import SCORERS, Item, grade, grade_all, grade_extracted

CHOICES = ("3", "5", "12", "None of them")


def test_every_benchmark_has_a_scorer_with_two_rules():
    assert set(SCORERS) == {
        "math", "choice", "math500", "minerva_math", "gsm8k", "olympiadbench", "mathvista", "mathvision", "mathverse",
        "wemath", "logicvista", "visulogic", "dynamath", "geometry3k",
    }  # fmt: skip
    for name, scorer in SCORERS.items():
        assert scorer.name == name and scorer.version


def test_unknown_scorers_and_rules_are_named():
    with pytest.raises(ValueError, match=r"'mathvistaa'.*mathvista"):
        grade(Item("1", "1", "mathvistaa"))
    with pytest.raises(ValueError, match=r"'lenient'.*strict or official"):
        grade(Item("1", "1"), "lenient")


@pytest.mark.parametrize(
    ("response", "gold", "status"),
    [
        ("<think>2, no 3</think><answer>4</answer>", "4", "correct"),
        ("<answer>\\boxed{4}</answer>", "4", "correct"),
        ("<answer>5</answer> \\boxed{4}", "4", "wrong"),
        ("The answer is 1,234.0.", "1234", "correct"),
        ("\\boxed{50\\%}", "50", "correct"),
        ("\\boxed{35.0\\%}", "35", "correct"),
        ("\\boxed{\\$36}", "36", "correct"),
        ("\\boxed{\\text{Evelyn}}", "\\text{evelyn}", "correct"),
        ("<answer>(B)</answer>", "B", "correct"),
        ("<answer>C. 7</answer>", "B", "wrong"),
        ("It is 4, as everybody knows.", "4", "no_answer"),
        ("", "4", "no_answer"),
        ("<answer></answer>", "4", "wrong"),
        ("4", "4", "correct"),
        ("0.333333", "0.333", "wrong"),
        ("\\boxed{" + "1+" * 2000 + "1}", "2001", "wrong"),
    ],
)
def test_math_is_graded_from_stated_answers_only(response, gold, status):
    assert grade(Item(response, gold)).status == status


@pytest.mark.parametrize("response", ["<answer>B</answer>", "<answer>5</answer>", "The answer is (B) 5.", "\\boxed{B}"])
@pytest.mark.parametrize("gold", ["B", "5"])
@pytest.mark.parametrize("scorer", ["math", "mathvision", "mathverse", "geometry3k", "choice"])
def test_an_option_is_right_by_letter_or_text(response, gold, scorer):
    assert grade(Item(response, gold, scorer, CHOICES)).correct
    assert not grade(Item(response, "C" if gold == "B" else "12", scorer, CHOICES)).correct


def test_more_options_than_letters_are_read_are_still_told_by_their_text():
    options = tuple(
        f"option {word}"
        for word in ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven"]
    )
    assert grade(Item("<answer>option eleven</answer>", "option eleven", "choice", options)).correct
    assert not grade(Item("<answer>option ten</answer>", "option eleven", "choice", options)).correct


def test_any_of_several_golds_is_right():
    assert grade(Item("\\boxed{8.7e8}", ("8.7 \\times 10^{8}", "8.7e8"), "minerva_math")).correct


def test_gsm8k_reads_its_own_format_and_compares_plainly():
    assert grade(Item("so 9 * 2 = <<9*2=18>>18\n#### 18", "18", "gsm8k"), "official").correct
    assert grade(Item("it is 18\nA: 18.0", "18", "gsm8k"), "official").correct
    assert not grade(Item("it is 18\nA: 1800", "18", "gsm8k"), "official").correct
    assert grade(Item("The answer is 0.18.", "18", "gsm8k"), "official").correct  # as the harness does
    assert not grade(Item("The answer is 0.18.", "18", "gsm8k")).correct
    assert grade(Item("it is 18\nA: 18", "18", "gsm8k")).correct


def test_harness_normalises_units_names_and_words():
    assert grade(Item("\\boxed{x = 12 \\text{ cm}}", "12", "math500"), "official").extracted == "12"
    assert grade(Item("The answer is twelve inches.", "12", "math500"), "official").correct
    assert grade(Item("\\boxed{\\frac34}", "\\frac{3}{4}", "math500"), "official").correct
    assert grade(Item("\\boxed{0.02}", "2", "math500"), "official").correct
    assert not grade(Item("\\boxed{0.02}", "2", "math500")).correct


def test_olympiadbench_takes_a_text_precision_and_all_boxes():
    meta = {"precision": "1e-1"}
    assert grade(Item("\\boxed{1.41}", "$\\sqrt{2}$", "olympiadbench", meta=meta), "official").correct
    assert grade(Item("\\boxed{1.41}", "$\\sqrt{2}$", "olympiadbench", meta=meta)).correct
    assert grade(Item("\\boxed{2} and \\boxed{1}", "1,2", "olympiadbench"), "official").correct
    text = "So the final answer is 7.\nSo the final answer is 8."
    assert grade(Item(text, "8", "olympiadbench"), "official").correct


def mathvista(response, gold, choices=None, **meta):
    return Item(response, gold, "mathvista", choices, meta)


def test_mathvista_official_takes_the_nearest_choice_and_strict_none():
    item = mathvista("Sorry, no.", "None of them", CHOICES, question_type="multi_choice", answer_type="text")
    assert grade_extracted(item, "None of those", "official").correct
    assert grade(item).status == "no_answer"
    assert not grade_extracted(item, "None of those").correct


def test_mathvista_official_knows_both_rules_for_integers():
    item = mathvista("", "7", answer_type="integer")
    older = mathvista("", "7", answer_type="integer", whole_numbers_only=True)
    assert grade_extracted(item, "7.9", "official").correct and not grade_extracted(older, "7.9", "official").correct
    assert not grade_extracted(item, "7.9").correct


def test_mathvista_rounds_floats_to_the_precision_of_the_record():
    item = mathvista("The answer is 1.249 m.", "1.2", answer_type="float", precision=1.0)
    assert grade(item).correct and grade(item, "official").correct
    assert grade(mathvista("<answer>[1, 2.0]</answer>", "[1, 2]", answer_type="list")).correct
    assert not grade(mathvista("<answer>3 or 4</answer>", "3", answer_type="integer")).correct


def test_mathvision_official_takes_letter_or_text_of_the_option():
    choices = ("$\\frac{1}{6}$", "$\\frac{1}{3}$")
    for response in ("so \\boxed{B}", "so \\boxed{\\frac{2}{6}}", "the answer is (B).", "it is (B)."):
        assert grade(Item(response, "B", "mathvision", choices), "official").correct
        assert not grade(Item(response, "A", "mathvision", choices), "official").correct


def test_logicvista_compares_letters_as_sets():
    for response in ("<answer>D, B</answer>", "The answer is B and D.", "BD"):
        assert grade(Item(response, "B, D", "logicvista")).correct
    assert not grade(Item("The answer is B.", "B, D", "logicvista")).correct
    options = {"question": "Which? (A) red (B) blue"}
    assert grade(Item("It must be blue", "B", "logicvista", meta=options), "official").correct
    assert grade(Item("It must be blue, or so they say.", "B", "logicvista", meta=options)).status == "no_answer"


def test_wemath_official_reads_behind_the_word_answer():
    assert grade(Item("<Thought process>: <<A?>> <Answer>: <<C. 3>>", "C", "wemath", CHOICES), "official").correct
    assert grade(Item("<Answer>: ?", "C", "wemath", CHOICES), "official").status == "no_answer"


def test_visulogic_official_reads_boxes_then_phrases():
    assert grade(Item("Answer: \\boxed{\\text{C}}", "C", "visulogic"), "official").correct
    assert grade(Item("\\boxed{LETTER}\nThe correct answer is: b.", "B", "visulogic"), "official").correct
    assert not grade(Item("\\boxed{A or B}", "A", "visulogic"), "official").correct
    assert grade(Item("<think>no</think><answer>D</answer>", "D", "visulogic"), "official").correct


def test_dynamath_reads_json_and_allows_a_thousandth():
    number = {"answer_type": "float"}
    response = '{"solution": "two pi over three", "short answer": "2.095"}'
    assert grade(Item(response, "2.0944", "dynamath", meta=number), "official").correct
    assert grade(Item(response, "2.0944", "dynamath", meta=number)).correct
    assert not grade(Item(response, "2.0934", "dynamath", meta=number)).correct
    assert grade(Item('{"short answer": "2π"}', "6.2832", "dynamath", meta=number), "official").correct
    letter = {"answer_type": "multiple choice"}
    assert grade(Item('{"short answer": "(B) 5"}', "B", "dynamath", meta=letter), "official").correct
    assert grade(Item("<answer>B</answer>", "B", "dynamath", CHOICES, letter)).correct


def test_verdicts_come_in_the_order_of_their_items():
    items = [Item(f"\\boxed{{{i}+x}}", f"x+{i % 3}") for i in range(6)]
    assert [verdict.correct for verdict in grade_all(items)] == [True, True, True, False, False, False]


def test_grading_loads_neither_torch_nor_sympy():
    heavy = "[name for name in ('torch', 'sympy', 'transformers') if name in sys.modules]"
    code = f"import sys, rlfr_mm.grading; print({heavy})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_minerva_reads_powers_of_ten_with_its_own_tolerance():
    def verdict(answer, gold, rule):
        return grade(Item(f"\\boxed{{{answer}}}", gold, "minerva_math"), rule).correct

    for rule in ("strict", "official"):
        for answer in ("4.5 \\times 10^{33}", "4.5 \\cdot 10^{33} \\text{ erg}", "4.5\\times10^{33}\\,\\mathrm{m}"):
            assert verdict(answer, "4.5e33", rule), answer
        assert not verdict("4.6 \\times 10^{33}", "4.5e33", rule)
        assert not verdict("0", "1.325e-27", rule) and not verdict("1e-20", "7.4e-12", rule)
        assert verdict("0.00150001", "0.0015", rule) and not verdict("0.0016", "0.0015", rule)


@pytest.mark.parametrize("rule", ["strict", "official"])
def test_a_record_without_an_answer_is_ungradable(rule):
    verdict = grade(Item("The answer is B.", "", "logicvista"), rule)
    assert verdict.unscored and "no answer" in verdict.detail


def test_a_gold_of_several_letters_is_a_set_and_a_gold_number_a_number():
    assert grade(Item("<answer>D and C</answer>", "C\nD", "mathverse", CHOICES)).correct
    assert not grade(Item("<answer>C</answer>", "C\nD", "mathverse", CHOICES)).correct
    assert grade(Item("<answer>3</answer>", "3", "logicvista")).correct
    assert grade(Item("\\boxed{C}", "\\text{(C)}", "math500")).correct
    assert not grade(Item("\\boxed{D}", "\\text{(C)}", "math500")).correct


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
    assert not grade(mathvista("<answer>2016, 2014</answer>", "[2014, 2016]", answer_type="list")).correct


def test_gsm8k_ends_where_a_base_model_asks_the_next_question():
    assert grade(Item("#### 42\n\nQ: next question\nA: 50", "42", "gsm8k")).correct
    assert grade(Item("Q: x\nA: 42", "42", "gsm8k")).correct


def test_dynamath_allows_a_thousandth_also_for_formulas():
    number = {"answer_type": "float"}
    for answer in ("\\frac{2\\pi}{3}", "2\\pi/3", "2.094 cm", "x = 2.094", "approximately 2.094"):
        assert grade(Item(f"<answer>{answer}</answer>", "2.0944", "dynamath", meta=number)).correct, answer
