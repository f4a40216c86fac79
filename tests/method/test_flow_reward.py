import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.flow_reward import (
    agreement,
    flow_advantages,
    flow_reward,
    keep_ends,
    keep_topk,
    normalise,
    reliability,
    reward_to_go,
    within_group_auc,
)

# Two rollouts of one prompt; the second has two tokens.
DEVIATION = torch.tensor([[1.0, 3.0, 2.0], [8.0, 4.0, 99.0]])
MASK = torch.tensor([[True, True, True], [True, True, False]])
OUTCOME = torch.tensor([1.0, -1.0])
OUTCOMES = torch.tensor(
    [1.0, 0.0, -1.0, 2e-3, 2e-3, 2e-3]
)  # of two groups of three, the second unanimous: its mean reward was rounded


def config(**changes) -> FlowRewardConfig:
    """A configuration without threshold and top-k, plus the changes of a test."""
    return FlowRewardConfig(**{"threshold": None, "topk": None, **changes})


@st.composite
def batches(draw, groups=2, num_generations=3, tokens=6):
    """Deviations and a right-padded mask of `groups` prompts; some rollouts are empty or have one token."""
    seed = draw(st.integers(0, 2**20))
    lengths = draw(st.lists(st.integers(0, tokens), min_size=6, max_size=6))
    deviation = torch.rand(6, tokens, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 5
    mask = torch.arange(tokens) < torch.tensor(lengths)[:, None]
    return deviation, mask


SETTINGS = st.fixed_dictionaries(
    {
        "normalisation": st.sampled_from(["sequence", "group", "batch", "none"]),
        "scale": st.sampled_from(["minmax", "zscore"]),
        "range": st.sampled_from([[-1.0, 1.0], [0.0, 1.0]]),
        "power": st.sampled_from([None, 0.5, 2.0]),
        "threshold": st.sampled_from([None, 0.3, 0.6]),
        "topk": st.sampled_from([None, 2, 3]),
        "topk_sides": st.sampled_from(["magnitude", "both"]),
        "gamma": st.sampled_from([0.0, 0.9, 1.0]),
        "centre": st.booleans(),
        "groups": st.sampled_from(["all", "unanimous"]),
    }
)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"normalisation": "sequence"}, [[-1, 1, 0], [1, -1, 0]]),
        ({"normalisation": "sequence", "range": [0, 1]}, [[0, 1, 0.5], [1, 0, 0]]),
        ({"normalisation": "group", "range": [0, 1]}, [[0, 2 / 7, 1 / 7], [1, 3 / 7, 0]]),
        ({"normalisation": "none"}, [[1, 3, 2], [8, 4, 0]]),
        ({"scale": "zscore"}, [[-math.sqrt(1.5), math.sqrt(1.5), 0], [1, -1, 0]]),
    ],
)
def test_normalised_scores_by_hand(changes, expected):
    score = normalise(DEVIATION, MASK, config(**changes), num_generations=2)
    torch.testing.assert_close(score, torch.tensor(expected, dtype=torch.float32))


def test_group_and_batch_scopes_differ_by_who_is_in_them():
    deviation = torch.tensor([[0.0, 1.0], [2.0, 4.0], [0.0, 10.0], [5.0, 20.0]])
    mask = torch.ones(4, 2, dtype=torch.bool)
    group = normalise(deviation, mask, config(normalisation="group", range=[0, 1]), num_generations=2)
    batch = normalise(deviation, mask, config(normalisation="batch", range=[0, 1]), num_generations=2)
    torch.testing.assert_close(group, torch.tensor([[0, 0.25], [0.5, 1], [0, 0.5], [0.25, 1]]))
    torch.testing.assert_close(batch, deviation / 20)


def test_reward_of_the_paper_by_hand():
    """Min-max to [-1, 1], |r| > 0.6, coefficient 0.01: large deviations are punished, small ones rewarded."""
    deviation = torch.tensor([[0.0, 10.0, 5.0, 7.9, 8.0, 8.1, 2.0, 1.9, 0.0]])
    scored = torch.tensor([[True] * 8 + [False]])
    reward = flow_reward(deviation, scored, FlowRewardConfig(), num_generations=1)
    expected = torch.tensor([[0.01, -0.01, 0, 0, 0, -0.0062, 0, 0.0062, 0]])
    torch.testing.assert_close(reward, expected, rtol=1e-4, atol=1e-7)


def test_threshold_is_strict():
    deviation = torch.tensor([[0.0, 0.5, 0.75, 1.0]])
    reward = flow_reward(deviation, deviation >= 0, config(range=[0, 1], threshold=0.5, flow_coef=1.0), 1)
    assert reward.tolist() == [[0, 0, -0.75, -1]]


def test_power_acts_on_the_magnitude_and_before_the_threshold():
    deviation = torch.tensor([[0.0, 1.0, 8.0, 9.0, 10.0]])  # -1, -0.8, 0.6, 0.8, 1
    mask = torch.ones(1, 5, dtype=torch.bool)
    reward = flow_reward(deviation, mask, config(power=2.0, threshold=0.6, flow_coef=1.0), 1)
    torch.testing.assert_close(reward, torch.tensor([[1.0, 0.64, 0, -0.64, -1.0]]))


def test_topk_takes_magnitudes_and_among_equals_the_earlier_token():
    score = torch.tensor([[-1.0, 0.5, 1.0, -0.9, 0.5, 0.5]])
    assert keep_topk(score, 2).tolist() == [[-1, 0, 1, 0, 0, 0]]
    torch.testing.assert_close(keep_topk(score, 4), torch.tensor([[-1, 0.5, 1, -0.9, 0, 0]]))
    assert torch.equal(keep_topk(score, 99), score)


def test_both_ends_get_half_each_in_rows_with_enough_survivors():
    score = torch.tensor(
        [
            [-0.9, 0.7, 0.8, 1.0, -0.7, -1.0, 0.9],  # 7 survivors: two at each end
            [-0.9, 0.7, 0.8, 1.0, 0.0, 0.0, 0.9],  # 5 survivors, one of them negative: one and two
            [-0.9, 0.7, 0.8, 1.0, 0.0, 0.0, 0.0],  # 4 survivors: as they are
        ]
    )
    expected = torch.tensor(
        [[-0.9, 0, 0, 1.0, 0, -1.0, 0.9], [-0.9, 0, 0, 1.0, 0, 0, 0.9], [-0.9, 0.7, 0.8, 1.0, 0, 0, 0]]
    )
    assert torch.equal(keep_ends(score, 5), expected)


def test_released_bilateral_setting_keeps_fourteen_tokens():
    deviation = torch.linspace(0, 1, 200)[None]
    reward = flow_reward(deviation, deviation >= 0, FlowRewardConfig(topk_sides="both"), 1)
    assert reward.nonzero()[:, 1].tolist() == [*range(7), *range(193, 200)]
    assert (reward[0, :7] > 0).all() and (reward[0, 193:] < 0).all()


def test_one_token_at_each_end_is_the_least_that_both_sides_allow():
    with pytest.raises(ValueError, match=r"flow_reward.topk=1 with topk_sides: both must be >= 2"):
        FlowRewardConfig(topk=1, topk_sides="both")


@pytest.mark.parametrize("scale", ["minmax", "zscore"])
@pytest.mark.parametrize("scope", ["sequence", "group", "batch"])
def test_tokens_that_are_all_alike_get_no_reward(scale, scope):
    deviation = torch.full((2, 3), 0.1)
    deviation[~MASK] = 7.0
    settings = config(scale=scale, normalisation=scope)
    assert not flow_reward(deviation, MASK, settings, num_generations=2).any()


def test_single_token_and_empty_rollouts_get_no_reward():
    mask = torch.tensor([[True, False, False], [False, False, False]])
    assert not flow_reward(DEVIATION, mask, config(), num_generations=1).any()


def test_token_without_context_takes_no_part_in_the_normalisation():
    """The last token has deviation 0 because no token follows; this 0 is not the minimum of the row."""
    deviation = torch.tensor([[4.0, 6.0, 5.0, 0.0]])
    scored = torch.tensor([[True, True, True, False]])
    assert normalise(deviation, scored, config(), 1).tolist() == [[-1, 1, 0, 0]]


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_diverged_deviations_are_an_error_and_not_a_zero_reward(value):
    deviation = DEVIATION.clone()
    deviation[0, 1] = value
    with pytest.raises(ValueError, match="diverged"):
        flow_reward(deviation, MASK, FlowRewardConfig(), num_generations=2)


@settings(max_examples=100, deadline=None)
@given(batches(), SETTINGS, st.sampled_from([math.nan, math.inf, -1e30]))
def test_values_outside_the_mask_never_matter(batch, changes, garbage):
    deviation, mask = batch
    chosen = FlowRewardConfig(**changes)
    dirty = deviation.masked_fill(~mask, garbage)
    reward, same = (flow_reward(values, mask, chosen, 3) for values in (deviation, dirty))
    assert torch.equal(reward, same) and not reward[~mask].any()
    advantages = flow_advantages(reward, OUTCOMES, mask, chosen, 3)
    assert torch.equal(advantages, flow_advantages(reward.masked_fill(~mask, garbage), OUTCOMES, mask, chosen, 3))
    assert not advantages[~mask].any() and advantages.isfinite().all()


@settings(max_examples=100, deadline=None)
@given(batches(), SETTINGS, st.floats(0.1, 10), st.floats(-100, 100))
def test_units_of_the_deviation_do_not_matter_once_normalised(batch, changes, factor, offset):
    deviation, mask = batch
    changes = {**changes, "threshold": None, "topk": None}
    if changes["normalisation"] == "none":
        changes["normalisation"] = "sequence"
    reward, same = (
        flow_reward(values, mask, FlowRewardConfig(**changes), 3) for values in (deviation, factor * deviation + offset)
    )
    torch.testing.assert_close(reward, same, rtol=1e-6, atol=1e-6)


@settings(max_examples=100, deadline=None)
@given(batches(), SETTINGS)
def test_at_most_topk_tokens_of_a_rollout_are_rewarded_and_none_below_the_threshold(batch, changes):
    deviation, mask = batch
    chosen = FlowRewardConfig(**{**changes, "flow_coef": 1.0})
    reward = flow_reward(deviation, mask, chosen, 3)
    if chosen.topk is not None:
        assert ((reward != 0).sum(1) <= chosen.topk).all()
    if chosen.threshold is not None:
        assert (reward[reward != 0].abs() > chosen.threshold).all()


@settings(max_examples=50, deadline=None)
@given(batches(), SETTINGS)
def test_groups_are_independent_and_their_rollouts_exchangeable(batch, changes):
    deviation, mask = batch
    if changes["normalisation"] == "batch":
        changes = {**changes, "normalisation": "group"}
    chosen = FlowRewardConfig(**changes)

    def advantages(rows):
        reward = flow_reward(deviation[rows], mask[rows], chosen, 3)
        return flow_advantages(reward, OUTCOMES[rows], mask[rows], chosen, 3)

    whole = advantages(list(range(6)))
    torch.testing.assert_close(advantages([3, 4, 5]), whole[3:])
    order = [2, 0, 1, 5, 4, 3]
    torch.testing.assert_close(advantages(order), whole[order])


def test_reward_to_go_by_hand():
    reward = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    assert reward_to_go(reward, MASK, 1.0).tolist() == [[7, 6, 4], [3, 2, 0]]
    assert reward_to_go(reward, MASK, 0.5).tolist() == [[3, 4, 4], [2, 2, 0]]
    assert reward_to_go(reward, MASK, 0.0).tolist() == [[1, 2, 4], [1, 2, 0]]


def test_reward_to_go_passes_over_masked_tokens_within_a_rollout():
    mask = torch.tensor([[True, False, True]])
    assert reward_to_go(torch.tensor([[1.0, 2.0, 4.0]]), mask, 1.0).tolist() == [[5, 0, 4]]


@settings(max_examples=50, deadline=None)
@given(batches(), st.sampled_from([0.0, 0.3, 0.99, 1.0]))
def test_reward_is_the_difference_of_successive_rewards_to_go(batch, gamma):
    reward, mask = batch
    to_go = reward_to_go(reward, mask, gamma)
    later = torch.nn.functional.pad(to_go[:, 1:], (0, 1))
    torch.testing.assert_close(torch.where(mask, to_go - gamma * later, 0), torch.where(mask, reward, 0))


@settings(max_examples=50, deadline=None)
@given(batches(), SETTINGS)
def test_centred_advantages_push_no_group_up_or_down(batch, changes):
    deviation, mask = batch
    chosen = FlowRewardConfig(**{**changes, "centre": True})
    advantages = flow_advantages(flow_reward(deviation, mask, chosen, 3), OUTCOMES, mask, chosen, 3)
    assert advantages[:3].sum().abs() < 1e-9 and advantages[3:].sum().abs() < 1e-9


def test_centring_subtracts_one_number_from_the_reward_to_go_of_a_group():
    reward = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 4.0]])
    advantages = flow_advantages(reward, OUTCOME, MASK, config(centre=True), num_generations=2)
    torch.testing.assert_close(advantages, torch.tensor([[2.6, 1.6, -0.4], [-1.4, -2.4, 0.0]]))


def test_credit_says_from_which_token_on_a_reward_counts():
    """A reward of token 1 alone: with gamma 0 it is that token's own, or the next one's."""
    reward, mask = torch.tensor([[0.0, 1.0, 0.0, 8.0]]), torch.tensor([[True, True, True, True]])
    for credit, gamma, expected in (
        ("same_token", 0.0, [0, 1, 0, 8]),
        ("next_token", 0.0, [0, 0, 1, 0]),  # the last token has no next one
        ("same_token", 1.0, [9, 9, 8, 8]),
        ("next_token", 1.0, [1, 1, 1, 0]),
    ):
        config = FlowRewardConfig(credit=credit, gamma=gamma)
        assert flow_advantages(reward, torch.zeros(1), mask, config, 1).tolist() == [expected]


def test_next_token_credit_ends_with_the_rollout():
    reward, mask = torch.tensor([[2.0, 3.0, 0.0]]), torch.tensor([[True, True, False]])
    config = FlowRewardConfig(credit="next_token")
    assert flow_advantages(reward, torch.zeros(1), mask, config, 1).tolist() == [[2, 2, 0]]


def test_reliability_is_the_correlation_within_sequences():
    rng = np.random.default_rng(0)
    offsets = torch.tensor([[0.0], [5.0], [-9.0]])  # between sequences, which say nothing
    x = torch.tensor(rng.normal(size=(3, 50))) + offsets
    y = x + torch.tensor(rng.normal(size=(3, 50)))
    scored = torch.ones(3, 50, dtype=torch.bool)
    scored[1, 20:] = False
    x[1, 20:] = math.nan
    rows = [(x[i][scored[i]] - x[i][scored[i]].mean(), y[i][scored[i]] - y[i][scored[i]].mean()) for i in range(3)]
    a, b = (torch.cat(each) for each in zip(*rows, strict=True))
    r = float((a * b).sum() / (a.norm() * b.norm()))
    sums = agreement(x, y, scored).sum(0)
    assert reliability(sums, halves=False) == pytest.approx(r)
    assert reliability(sums, halves=True) == pytest.approx(2 * r / (1 + r))
    assert math.isnan(reliability(agreement(0 * y, y, scored).sum(0), halves=False))


def test_unanimous_groups_alone_get_the_reward_where_asked():
    reward, mask = torch.ones(6, 2), torch.ones(6, 2, dtype=torch.bool)
    advantages = flow_advantages(reward, OUTCOMES, mask, config(gamma=0.0, groups="unanimous"), 3)
    assert advantages[:, 0].tolist() == [0, 0, 0, 1, 1, 1]


@given(weight=st.floats(0, 10), reward=st.floats(0, 10), size=st.integers(2, 16), odd=st.sampled_from([0.0, 0.01, 1.0]))
def test_a_group_is_unanimous_if_and_only_if_its_rewards_are_equal(weight, reward, size, odd):
    rewards = torch.full((size,), 1.0) + torch.full((size,), weight) * torch.full((size,), reward)
    rewards[0] += odd
    outcome = (rewards - rewards.mean()) / (rewards.std() + 1e-4)  # as TRL's GRPOTrainer
    mask = torch.ones(size, 1, dtype=torch.bool)
    advantages = flow_advantages(mask.float(), outcome, mask, config(gamma=0.0, groups="unanimous"), size)
    assert advantages.any() == (odd == 0)


def test_zero_coefficient_gives_zero_advantages():
    reward = flow_reward(DEVIATION, MASK, config(flow_coef=0.0), num_generations=2)
    assert not flow_advantages(reward, OUTCOME, MASK, config(), num_generations=2).any()


@pytest.mark.parametrize("num_generations", [0, 4])
def test_batches_that_are_not_whole_groups_are_an_error(num_generations):
    with pytest.raises(ValueError, match=f"2 rollouts are not whole groups of num_generations={num_generations}"):
        flow_reward(DEVIATION, MASK, config(normalisation="group"), num_generations)


def test_auc_by_hand():
    score = torch.tensor([3.0, 1.0, 2.0, 5.0, 5.0, 5.0])
    correct = torch.tensor([True, False, False, True, False, False])
    assert within_group_auc(score, correct, 3) == (2 + 2 * 0.5) / 4
    assert within_group_auc(-score, correct, 3) == (0 + 2 * 0.5) / 4


def test_auc_compares_rollouts_of_one_prompt_only_and_leaves_out_missing_scores():
    score = torch.tensor([1.0, 0.0, 100.0, 99.0, math.nan, 7.0])
    correct = torch.tensor([True, False, False, False, True, False])
    assert within_group_auc(score, correct, 2) == 1.0


def test_auc_is_nan_without_a_mixed_group():
    assert math.isnan(within_group_auc(torch.tensor([1.0, 2.0]), torch.tensor([True, True]), 2))


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=8, max_size=8))
def test_auc_counts_pairs(rollouts):
    score = torch.tensor([float(value) for value, _ in rollouts])
    correct = torch.tensor([right for _, right in rollouts])
    outcomes = [
        1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0
        for group in (range(4), range(4, 8))
        for i in group
        for j in group
        if correct[i] and not correct[j]
    ]
    auc = within_group_auc(score, correct, 4)
    assert math.isnan(auc) if not outcomes else auc == pytest.approx(sum(outcomes) / len(outcomes))
