import math
from dataclasses import replace

import pytest
import torch

from rlfr_mm.method.scores import (
    SCORES,
    ScoredRollouts,
    first_departure,
    shuffled,
    value_differences,
)

SCORED = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, True]])


def test_first_departure_by_hand():
    """Rollouts with a wrong token, with a token after the end, equal to the expert, and truncated before an error."""
    ids = torch.tensor([[5, 6, 9, 8], [5, 6, 2, 7], [5, 6, 2, 0], [5, 0, 0, 0]])
    mask = torch.tensor([[True] * 4, [True] * 4, [True, True, True, False], [True, False, False, False]])
    experts = [[5, 6, 7, 8, 2], [5, 6, 2], [5, 6, 2], [5, 6, 2]]
    assert first_departure(ids, mask, experts).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("scope", ["sequence", "group"])
def test_placebo_hands_out_the_same_rewards_to_other_scored_tokens(scope: str):
    reward = torch.arange(1.0, 13.0).view(3, 4).masked_fill(~SCORED, 0)
    among = torch.arange(3)[:, None].expand_as(SCORED) // (3 if scope == "group" else 1)
    draws = [shuffled(reward, SCORED, among, torch.Generator().manual_seed(seed)) for seed in range(200)]
    for placebo in draws:
        assert not placebo[~SCORED].any()
        assert torch.equal(placebo.flatten().sort()[0], reward.flatten().sort()[0])
        if scope == "sequence":
            assert torch.equal(placebo.sum(1), reward.sum(1))
    seen = {placebo[0, 0].item() for placebo in draws}  # the first token gets every reward of its scope at some time
    assert seen == set((reward[:1] if scope == "sequence" else reward).flatten().tolist()) - {0}


def test_placebo_of_a_tokens_kind_hands_out_the_rewards_of_the_same_token():
    ids = torch.tensor([[5, 6, 5, 5], [6, 7, 5, 5], [5, 6, 7, 8]])
    reward = torch.arange(1.0, 13.0).view(3, 4).masked_fill(~SCORED, 0)
    draws = [shuffled(reward, SCORED, ids, torch.Generator().manual_seed(seed)) for seed in range(200)]
    for placebo in draws:
        assert not placebo[~SCORED].any()
        for kind in (5, 6, 7, 8):
            assert torch.equal(placebo[SCORED & (ids == kind)].sort()[0], reward[SCORED & (ids == kind)].sort()[0])
    # The first token gets every reward of its kind at some time, and the only one of its kind keeps its own.
    assert {placebo[0, 0].item() for placebo in draws} == set(reward[SCORED & (ids == 5)].tolist())
    assert {placebo[2, 3].item() for placebo in draws} == {12.0}


def test_changes_of_value_end_in_the_outcome_and_start_at_a_given_value():
    values = torch.tensor([[0.5, 0.9, 0.6, 9.0], [0.2, 9.0, 0.4, 0.1], [9.0, 9.0, 9.0, 9.0], [0.5, 0.5, 0.5, 0.5]])
    scored = torch.tensor([[True, True, True, False], [True, False, True, True], [False] * 4, [True] * 4])
    outcomes, start = torch.tensor([1.0, 0.0, 1.0, math.nan]), torch.full((4,), 0.25)
    changes = value_differences(values, outcomes, start, scored)
    expected = [[0.25, 0.4, 0.1, 0], [-0.05, 0, 0.2, -0.4], [0] * 4, [0.25, 0, 0, -0.25]]
    torch.testing.assert_close(changes, torch.tensor(expected))
    torch.testing.assert_close(changes.sum(1), torch.tensor([0.75, -0.25, 0, 0]))


def test_the_true_value_is_the_chance_to_complete_the_only_solution():
    """The solution 5 6 7: one rollout finds it, one leaves it, one is cut, and one leaves it at once."""
    ids = torch.tensor([[5, 6, 7, 0], [5, 9, 7, 7], [5, 6, 0, 0], [8, 6, 7, 0]])
    mask, experts, solution = ids > 0, [[5, 6, 7]] * 4, torch.tensor([[0.5, 0.4, 0.9]] * 3 + [[0.2, 0.5, 1.0]])
    rollouts = ScoredRollouts(
        torch.zeros(4, 4), ids, mask, mask, 2, lambda values: values, experts=experts, expert_logps=solution.log(),
        outcomes=torch.tensor([1.0, 0, 0, 0]),
    )  # fmt: skip
    expected = torch.zeros(4, 4)
    expected[0] = torch.tensor([0.36 - 0.18, 0.9 - 0.36, 1 - 0.9, 0])
    expected[1] = torch.tensor([0.36 - 0.18, -0.36, 0, 0])
    expected[2] = torch.tensor([0.36 - 0.18, -0.36, 0, 0])  # cut before its end, and therefore wrong
    expected[3] = torch.tensor([-0.1, 0, 0, 0])  # its group has no right rollout
    torch.testing.assert_close(-SCORES["expert_value"](rollouts), expected)
    longer = replace(rollouts, expert_logps=torch.nn.functional.pad(solution.log(), (0, 5)))
    torch.testing.assert_close(-SCORES["expert_value"](longer), expected)
