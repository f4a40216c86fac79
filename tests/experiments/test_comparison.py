"""Comparisons against figures worked out by hand or by scipy."""

import numpy as np
import pytest
from scipy.stats import ttest_rel, wilcoxon

from rlfr_mm.experiments.comparison import compare
from tests.experiments.made_records import cell, random_cells, record


def test_gain_is_paired_by_problem_on_the_problems_that_both_could_grade():
    ours, theirs = "1111?1011010", "0101100?1010"
    (found,) = compare(record(cell("paper", correct=ours), cell("rlvr", correct=theirs)))
    kept = [(a == "1", b == "1") for a, b in zip(ours, theirs, strict=True) if "?" not in (a, b)]
    a, b = np.array(kept, dtype=float).T
    assert found.gain.seeds == 1 and found.gain.difference == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue)
    assert found.gain.interval.low < found.gain.difference < found.gain.interval.high


def test_scores_are_shares_of_right_answers():
    """Four answers per problem: 2/4, 4/4, not graded, 0/4 against 1/4, 4/4, 3/4, 1/4."""
    (found,) = compare(record(cell("paper", correct="24?0", samples=4), cell("rlvr", correct="1431", samples=4)))
    assert found.gain.difference == pytest.approx((0.25 + 0 - 0.25) / 3)
    assert found.p == pytest.approx(ttest_rel([0.5, 1, 0], [0.25, 1, 0.25]).pvalue)


def test_seeds_are_paired_and_those_of_one_method_alone_left_out():
    """Seed 1 of both is right everywhere, seed 2 wrong everywhere: the methods do not differ."""
    cells = [cell("rlvr", 1, "1111"), cell("rlvr", 2, "0000"), cell("paper", 2, "0000"), cell("paper", 1, "1111")]
    (found,) = compare(record(*cells, cell("paper", 3, "1111")))
    assert (found.gain.seeds, found.gain.difference, found.p) == (2, 0, 1)


def test_p_is_corrected_for_every_comparison_of_the_experiment():
    cells = [*random_cells("rlvr", 4, 0.4), *random_cells("a", 4, 0.75)]
    (alone,) = compare(record(*cells))
    both = compare(record(*cells, *random_cells("b", 4, 0.42)))
    hard = [*random_cells("rlvr", 4, 0.4, "hard"), *random_cells("a", 4, 0.4, "hard")]
    more = compare(record(*cells, *hard, *random_cells("b", 4, 0.42)))
    assert alone.p < 0.05
    assert [each.p for each in (both[0], more[0])] == pytest.approx([2 * alone.p, 3 * alone.p])


def test_each_pair_is_compared_once():
    cells = [*random_cells("rlvr", 2, 0.4), *random_cells("placebo", 2, 0.4), *random_cells("a", 2, 0.5)]
    found = compare(record(*cells, compare_to=["rlvr", "placebo"]))
    assert [(each.method, each.against) for each in found] == [("placebo", "rlvr"), ("a", "rlvr"), ("a", "placebo")]


def test_steps_saved_are_tested_by_signed_ranks_over_seeds():
    cells = [*random_cells("rlvr", 8, 0.4), *random_cells("paper", 8, 0.5)]
    (found,) = compare(record(*cells, target_accuracy=0.6))
    saved = [cells[seed].steps_to(0.6) - cells[8 + seed].steps_to(0.6) for seed in range(8)]
    assert found.steps_saved == np.median(saved) > 0
    assert found.steps_p == pytest.approx(wilcoxon(saved).pvalue)
