"""Cards hold every rollout of a run, or whole steps of it where there are too many."""

import numpy as np
import pytest

from rlfr_mm.viewing.rollout_cards import group_cards
from rlfr_mm.viewing.rollout_records import read_rollouts


def test_cards_hold_every_rollout_with_its_group_and_figures(run):
    records = list(read_rollouts(run))
    cards = group_cards(records)
    assert len(cards) == 8 and all(len(card["rollouts"]) == 4 for card in cards)
    shown = [rollout for card in cards for rollout in card["rollouts"]]
    for record, rollout in zip(records, shown, strict=True):
        assert rollout["tokens"] == record.tokens and rollout["correct"] == record.correct
        assert np.add(rollout["shaping"], rollout["advantage"]) == pytest.approx(record.advantages, abs=1e-3)
        assert rollout["deviation"] == pytest.approx(record.deviation, rel=5e-3)


def test_of_too_many_tokens_whole_steps_are_shown_evenly_spaced(run):
    records = list(read_rollouts(run))
    half = sum(len(record.tokens) for record in records) // 2 + 10
    assert [card["step"] for card in group_cards(records, max_tokens=half)] == [1, 1, 3, 3]


def test_all_images_of_a_problem_are_on_its_card_under_the_name_of_its_run(run):
    record = next(read_rollouts(run)).model_copy(update={"images": ["a-0.png", "a-1.png"]})
    (card,) = group_cards([record], run=1)
    assert card["images"] == ["1/a-0.png", "1/a-1.png"]
