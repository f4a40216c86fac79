"""Held-out accuracy from graded answers."""

import math

from rlfr_mm.training.held_out import accuracy


def test_accuracy_leaves_out_what_could_not_be_graded():
    assert accuracy([True, False, None]) == {"accuracy": 0.5, "standard_error": 0.3536, "n": 2, "unscored": 1}


def test_accuracy_of_nothing_is_not_a_number():
    result = accuracy([None])
    assert math.isnan(result["accuracy"]) and math.isnan(result["standard_error"])
    assert (result["n"], result["unscored"]) == (0, 1)
