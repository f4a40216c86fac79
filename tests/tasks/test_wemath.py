"""The four dimensions by hand, and compared with lmms-eval's copy of the official script on random verdicts."""

import random

import pandas as pd
import pytest
from lmms_eval.tasks.wemath.wemath_utils import calculate_metrics, compute_final_scores, process_steps_data

from rlfr_mm.statistics import jackknife_stderr, wilson_interval
from rlfr_mm.tasks.aggregate import Row
from rlfr_mm.tasks.registry import task
from rlfr_mm.tasks.wemath import choices, four_dimensions


def group(steps: int, number: int, right: str, sample: int = 0) -> list[Row]:
    """The rows of one problem group; `right` has a 1 or 0 for each step and, last, for the composite."""
    names = [f"{steps}steps_{i}" for i in range(1, steps + 1)] + [f"{steps}steps_multi"]
    return [
        {
            "problem_id": f"{steps}steps_{number}/{name}",
            "sample_index": sample,
            "status": "correct" if bit == "1" else "wrong",
            "score": float(bit),
            "extracted": "A",
            "categories": {"group": [f"{steps}steps_{number}"], "step": [name], "steps": ["1"], "knowledge": ["k"]},
        }
        for name, bit in zip(names, right, strict=True)
    ]


def test_each_dimension_by_hand() -> None:
    rows = [
        *group(2, 1, "111"),  # mastery under both rules
        *group(2, 2, "101"),  # mastery loosely, rote memorisation strictly
        *group(2, 3, "001"),  # rote memorisation under both
        *group(3, 1, "1110"),  # inadequate generalisation
        *group(3, 2, "0110"),  # insufficient knowledge
    ]
    numbers = four_dimensions(rows)
    assert numbers["groups"] == 5
    assert (numbers["IK"], numbers["IG"]) == (0.2, 0.2)
    assert (numbers["CM strict"], numbers["RM strict"]) == (0.2, 0.4)
    assert (numbers["CM loose"], numbers["RM loose"]) == (0.4, 0.2)
    assert numbers["strict"] == pytest.approx(0.3)  # 1 - 0.1 - 0.4 - 0.2
    assert numbers["loose"] == pytest.approx(0.5)


def test_everything_wrong_is_a_score_of_zero() -> None:
    numbers = four_dimensions([*group(2, 1, "000"), *group(3, 1, "0000")])
    assert (numbers["strict"], numbers["loose"], numbers["IK"]) == (0.0, 0.0, 1.0)


@pytest.mark.parametrize("right", ["001", "101", "111", "110"])
@pytest.mark.parametrize("count", range(2, 12))
def test_a_score_of_some_wrong_and_some_rote_groups_has_an_interval(count: int, right: str) -> None:
    rows = [row for i in range(count) for row in group(2, i, "000" if i else right)]
    numbers = four_dimensions(rows)
    shares = {"001": (0, 0), "101": (0, 1), "111": (1, 1), "110": (0.5, 0.5)}[right]
    assert (numbers["strict"], numbers["loose"]) == tuple(share / count for share in shares)
    groups = [[row for row in rows if row["categories"]["group"][0] == f"2steps_{i}"] for i in range(count)]
    for rule in ("strict", "loose"):
        error = jackknife_stderr(lambda chosen, rule=rule: four_dimensions(chosen)[rule], groups)
        interval = wilson_interval(numbers[rule], error, count)
        assert 0 <= interval.low <= numbers[rule] <= interval.high <= 1 and interval.high > interval.low


def test_incomplete_groups_are_left_out_and_counted() -> None:
    numbers = task("rlfr_wemath_testmini").aggregate([*group(2, 1, "111"), *group(3, 1, "1111")[:-1]])
    assert (numbers["groups"], numbers["incomplete_groups"], numbers["strict"]) == (1, 1, 1.0)


def test_scores_without_a_complete_group_are_left_undefined() -> None:
    numbers = task("rlfr_wemath_testmini").aggregate(group(3, 1, "1111")[:2])
    assert "loose" not in numbers and numbers["accuracy"] == 1.0


def test_samples_of_a_group_go_together() -> None:
    assert four_dimensions([*group(2, 1, "111", 0), *group(2, 1, "000", 1)])["strict"] == 0.5


def test_the_full_set_agrees_with_the_official_script() -> None:
    rng = random.Random(0)
    rows = []
    for steps, groups in ((2, 360), (3, 165)):
        for number in range(groups):
            rows += group(steps, number, "".join(rng.choice("011") for _ in range(steps + 1)))
    frame = pd.DataFrame(
        [
            {"ID": r["categories"]["group"][0], "key": r["categories"]["step"][0], "joker": r["status"] == "correct"}
            for r in rows
        ]
    )
    two, three = (frame[frame["key"].str.contains(kind)] for kind in ("2steps", "3steps"))
    official, _ = compute_final_scores(calculate_metrics(process_steps_data(two, 2), process_steps_data(three, 3)), 525)
    ours = four_dimensions(rows)
    names = {
        "IG": "InadequateGeneralization",
        "IK": "InsufficientKnowledge",
        "CM strict": "CompleteMastery_strict",
        "CM loose": "CompleteMastery_loose",
        "RM strict": "RoteMemorization_strict",
        "RM loose": "RoteMemorization_loose",
    }
    assert {name: round(525 * ours[name]) for name in names} == {name: official[key] for name, key in names.items()}


def test_options_are_read_from_one_line() -> None:
    assert choices({"option": "A. 15π;B. 10π; C. (3, 4);   D. No correct answer"}) == (
        "15π",
        "10π",
        "(3, 4)",
        "No correct answer",
    )
