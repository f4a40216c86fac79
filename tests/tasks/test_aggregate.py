from itertools import combinations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.statistics import clustered_stderr
from rlfr_mm.tasks.aggregate import Row, majority_score, pass_at_k, summarise


def row(problem: str, sample: int = 0, status: str = "wrong", extracted: str | None = "7", **categories: str) -> Row:
    return {
        "problem_id": problem,
        "sample_index": sample,
        "status": status,
        "score": 1.0 if status == "correct" else 0.0,
        "extracted": extracted,
        "categories": {name: [value] for name, value in categories.items()},
    }


@given(st.integers(1, 7), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_right_sample(n: int, data: st.DataObject) -> None:
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(np.mean([any(subset) for subset in subsets]))


def test_pass_at_k_refuses_more_tries_than_samples() -> None:
    with pytest.raises(ValueError, match="k=5 must be between 1 and the number of samples, n=4"):
        pass_at_k(4, 1, 5)


def test_majority_takes_the_most_frequent_answer_and_splits_ties() -> None:
    assert majority_score(["1/2", "0.5", "3"], [1.0, 1.0, 0.0]) == 1.0  # two ways to write the right answer
    assert majority_score(["3", " 3", "0.5"], [0.0, 0.0, 1.0]) == 0.0
    assert majority_score(["3", "0.5"], [0.0, 1.0]) == 0.5
    assert majority_score([None, None, "0.5"], [0.0, 0.0, 1.0]) == 1.0  # no answer, no vote
    assert majority_score([None], [0.0]) == 0.0


def test_standard_error_of_single_values_is_the_usual_one() -> None:
    values = [1.0, 0.0, 0.0, 1.0, 1.0]
    assert clustered_stderr(values, list("abcde")) == pytest.approx(np.std(values, ddof=1) / np.sqrt(5))


def test_standard_error_sees_that_copies_add_no_information() -> None:
    values, clusters = [1.0, 0.0, 0.0, 1.0, 1.0], list("abcde")
    assert clustered_stderr(values * 3, clusters * 3) == pytest.approx(clustered_stderr(values, clusters))


def test_accuracy_is_a_mean_over_problems_and_counts_what_was_not_graded() -> None:
    rows = [
        row("p", 0, "correct", level="1"),
        row("p", 1, "wrong", level="1"),
        row("p", 2, "wrong", level="1"),
        row("p", 3, "wrong", level="1"),
        row("q", 0, "timeout", level="2"),
        row("q", 1, "correct", level="2"),
        row("r", 0, "no_answer", None, level="2"),
        row("r", 1, "error", level="2"),
    ]
    numbers = summarise(rows, breakdown=["level"])
    assert numbers["accuracy"] == pytest.approx((1 / 4 + 1 / 2 + 0) / 3)
    assert (numbers["level/1"], numbers["level/2"]) == (0.25, 0.25)
    assert (numbers["problems"], numbers["responses"]) == (3, 8)
    assert (numbers["unscored"], numbers["no_answer"]) == (2, 1)
    assert numbers["pass@1"] == pytest.approx((1 / 2 + 1 / 2 + 0) / 3)  # the two samples that every problem has
    assert numbers["pass@2"] == pytest.approx(2 / 3)
    assert "pass@3" not in numbers


def test_one_sample_a_problem_has_no_pass_at_k() -> None:
    assert not [name for name in summarise([row("p"), row("q")]) if "@" in name]


def test_samples_may_come_in_any_order() -> None:
    rows = [row("p", i, "correct" if i == 2 else "wrong", extracted=str(i)) for i in range(4)]
    rows += [row("q", i, "correct") for i in range(2)]
    assert summarise(rows[::-1]) == summarise(rows)


def test_problems_of_one_cluster_share_their_error() -> None:
    rows = [row(f"{seed}{i}", status="correct" if seed < "c" else "wrong", seed=seed) for seed in "abcd" for i in "12"]
    four_values = clustered_stderr([1.0, 1.0, 0.0, 0.0], list("abcd"))
    assert summarise(rows, cluster="seed")["accuracy_stderr"] == pytest.approx(four_values)
    assert summarise(rows)["accuracy_stderr"] < four_values


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rows to aggregate"):
        summarise([])
