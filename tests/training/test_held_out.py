"""Held-out accuracy from graded answers."""

import math

from rlfr_mm.training.held_out import accuracy, best_step, by_problem


def test_accuracy_leaves_out_what_could_not_be_graded():
    expected = {"accuracy": 0.5, "standard_error": 0.5, "n": 2, "unscored": 1}
    assert accuracy([[True], [False], [None]]) == expected


def test_answers_to_one_problem_count_as_one_problem():
    one, four = accuracy([[True], [False], [True]]), accuracy([[True] * 4, [False] * 4, [True] * 4])
    assert one == four
    assert accuracy([[True, False], [False, True]])["standard_error"] == 0
    assert math.isnan(accuracy([[True, False]])["standard_error"])


def test_accuracy_of_nothing_is_not_a_number():
    result = accuracy([[None]])
    assert math.isnan(result["accuracy"]) and math.isnan(result["standard_error"])
    assert (result["n"], result["unscored"]) == (0, 1)


def test_answers_are_collected_by_problem_whatever_their_order():
    answers = [("a", True), ("b", None), ("a", False), ("b", True)]
    rows = [{"problem_id": name, "correct": correct} for name, correct in answers]
    assert by_problem(rows) == {"a": [True, False], "b": [None, True]}


def test_the_best_step_is_the_first_with_the_highest_accuracy():
    rows = [{"step": 1}, {"step": 2, "held_out/accuracy": None}]
    assert best_step(rows) is None
    rows += [{"step": step, "held_out/accuracy": value} for step, value in ((4, 0.5), (6, 0.75), (8, 0.75))]
    assert best_step(rows) == {"step": 6, "accuracy": 0.75, "measured": 3}
