import math

import numpy as np
import pytest
import torch

from rlfr_mm.method.scores import first_departure, majority_disagreement, residual, shuffled

SCORED = torch.tensor([[True, True, True, False], [True, True, False, False], [True, True, True, True]])


def test_residual_is_that_of_a_linear_fit_over_the_scored_tokens():
    generator = torch.Generator().manual_seed(0)
    deviation, logps = (torch.randn(3, 4, generator=generator, dtype=torch.float64) for _ in range(2))
    x, y = logps[SCORED].numpy(), deviation[SCORED].numpy()
    slope, intercept = np.polyfit(x, y, 1)
    result = residual(deviation, logps, SCORED)
    torch.testing.assert_close(result[SCORED], torch.tensor(y - intercept - slope * x))
    assert not result[~SCORED].any()
    dirty = residual(deviation, logps.masked_fill(~SCORED, math.nan), SCORED)
    assert torch.equal(result, dirty)


def test_residual_of_what_the_log_probability_says_already_is_zero():
    logps = torch.tensor([[-1.0, -2.0, -4.0, 9.0], [-3.0, -0.5, 9.0, 9.0], [-1.0, -1.0, -2.0, -3.0]])
    assert residual(5 - 3 * logps, logps, SCORED).abs().max() < 1e-5
    constant = torch.full((3, 4), -1.0)  # nothing to fit on: the deviations are centred
    torch.testing.assert_close(residual(logps, constant, SCORED)[SCORED], logps[SCORED] - logps[SCORED].mean())


def test_disagreement_with_the_majority_by_hand():
    """Two groups of four; a missing answer agrees with none, not even with another missing one."""
    answers = ["7", "7", "8", "7", None, "8", None, "7"]
    assert majority_disagreement(answers, 4).tolist() == [0.25, 0.25, 0.75, 0.25, 1, 0.75, 1, 0.75]


def test_first_departure_by_hand():
    """Rollouts with a wrong token, with a token after the end, equal to the expert, and truncated before an error."""
    ids = torch.tensor([[5, 6, 9, 8], [5, 6, 2, 7], [5, 6, 2, 0], [5, 0, 0, 0]])
    mask = torch.tensor([[True] * 4, [True] * 4, [True, True, True, False], [True, False, False, False]])
    experts = [[5, 6, 7, 8, 2], [5, 6, 2], [5, 6, 2], [5, 6, 2]]
    assert first_departure(ids, mask, experts).tolist() == [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize("scope", ["sequence", "group"])
def test_placebo_hands_out_the_same_rewards_to_other_scored_tokens(scope: str):
    reward = torch.arange(1.0, 13.0).view(3, 4).masked_fill(~SCORED, 0)
    draws = [shuffled(reward, SCORED, scope, 3, torch.Generator().manual_seed(seed)) for seed in range(200)]
    for placebo in draws:
        assert not placebo[~SCORED].any()
        assert torch.equal(placebo.flatten().sort()[0], reward.flatten().sort()[0])
        if scope == "sequence":
            assert torch.equal(placebo.sum(1), reward.sum(1))
    seen = {placebo[0, 0].item() for placebo in draws}  # the first token gets every reward of its scope at some time
    assert seen == set((reward[:1] if scope == "sequence" else reward).flatten().tolist()) - {0}
