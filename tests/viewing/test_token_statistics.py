"""Statistics of recorded tokens: by hand, against scipy, and against the trainer's own AUC."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from rlfr_mm.method.flow_reward import within_group_auc
from rlfr_mm.statistics import BOOTSTRAP_MINIMUM, within_group_pairs
from rlfr_mm.viewing import token_statistics as statistics
from rlfr_mm.viewing.rollout_records import RolloutRecord


def record(step=1, problem="p", sample=0, correct=True, tokens=("a", "b"), deviation=(1.0, 2.0), **changes):
    size = len(tokens)
    values = {
        "prompt": "?",
        "solution": "1",
        "completion": "".join(tokens),
        "rewards": {},
        "advantage": 0.0,
        "advantages": [0.0] * size,
        "logprob": [-1.0] * size,
        "entropy": [1.0] * size,
        "flow_reward": [0.0] * size,
    }
    changes = {"deviation": None if deviation is None else list(deviation)} | changes
    return RolloutRecord(
        step=step, problem_id=problem, sample=sample, correct=correct, tokens=list(tokens), **(values | changes)
    )


def groups(seed: int, prompts: int, size: int, signal: float) -> statistics.Rollouts:
    """Groups whose log-probability and deviation both carry the outcome, each with noise of its own."""
    draw = np.random.default_rng(seed)
    records = []
    for prompt in range(prompts):
        for sample in range(size):
            correct = bool(draw.random() < 0.5)
            logprob = float(-3 + correct + draw.normal())
            deviation = float(9 - signal * correct + draw.normal())
            records.append(
                record(
                    problem=f"p{prompt}",
                    sample=sample,
                    correct=correct,
                    deviation=[deviation] * 2,
                    logprob=[logprob] * 2,
                )
            )
    return statistics.flatten(records)


def ranking(rollouts: statistics.Rollouts) -> dict[str, statistics.Ranking]:
    return {row.score: row for row in statistics.rank_rollouts(rollouts)}


@given(st.integers(0, 1000), st.integers(1, 5), st.integers(1, 5))
def test_auc_is_the_trainers(seed: int, prompts: int, size: int):
    rollouts = groups(seed, prompts, size, signal=0.5)
    correct = torch.tensor(rollouts.correct == 1)
    for name, row in ranking(rollouts).items():
        expected = within_group_auc(torch.tensor(statistics.rollout_scores(rollouts)[name]), correct, size)
        assert (row.auc.value if row.auc else np.nan) == pytest.approx(expected, nan_ok=True)


def test_a_token_without_a_deviation_and_a_rollout_without_tokens_say_nothing():
    """The last token has none where the following one is the context: short rollouts would seem to deviate less."""
    short, long = (record(correct=size == 4, tokens="x" * size, deviation=[1.0] * (size - 1) + [0]) for size in (4, 10))
    rollouts = statistics.flatten([short, long, record(correct=True, tokens=(), deviation=())])
    assert statistics.rollout_scores(rollouts)["deviation"].tolist()[:2] == [-1.0, -1.0]
    assert {row.pairs for row in statistics.rank_rollouts(rollouts)} == {1}
    assert ranking(rollouts)["deviation"].auc.value == 0.5


def test_pairs_lie_within_a_group_and_leave_out_the_ungraded():
    outcomes = [("p", 1, True), ("q", 1, False), ("p", 1, False), ("p", 2, False), ("p", 1, None), ("q", 1, None)]
    rollouts = statistics.flatten([record(step, problem, correct=right) for problem, step, right in outcomes])
    assert within_group_pairs(rollouts.correct, rollouts.group).tolist() == [[0, 2]]


def test_a_second_view_of_the_outcome_adds_to_the_log_probability_and_noise_does_not():
    informed, noise = (ranking(groups(1, prompts=300, size=6, signal=signal))["deviation"] for signal in (1.0, 0.0))
    assert informed.gain.low > 0.03
    assert noise.gain.low < 0 < noise.gain.high + 0.005 and abs(noise.gain.value) < 0.01
    assert noise.auc.low < 0.5 < noise.auc.high
    assert informed.pairs > 1000 and informed.prompts > 250


def test_the_log_probability_adds_nothing_to_itself():
    differences = np.random.default_rng(0).normal(1, 1, size=200)
    prompt = np.arange(200) // 4
    both = statistics.combine(np.stack([differences, differences], axis=1), prompt)
    assert (np.sign(both) == np.sign(differences)).all()


def test_no_prompt_has_a_say_in_its_own_weights():
    differences = np.random.default_rng(0).normal(0.5, 1, size=(400, 2))
    prompt = np.arange(400) // 4
    before = statistics.combine(differences, prompt)
    differences[0] = [-20, 20]  # a pair of prompt 0
    changed = statistics.combine(differences, prompt)[1:] != before[1:]
    assert not changed[:3].any() and changed.sum() == 200  # all of the half that prompt 0 is not in


def test_a_mean_has_the_interval_of_its_standard_error():
    values = np.random.default_rng(3).normal(5, 2, size=400)
    totals = np.stack([values, np.ones(400)], axis=1)
    found = statistics.estimate(totals, lambda sums: sums[..., 0] / sums[..., 1])
    error = values.std() / 20
    assert found.value == pytest.approx(values.mean())
    assert found.high - found.low == pytest.approx(2 * 1.96 * error, rel=0.1)


def test_few_prompts_have_no_interval_and_one_sided_groups_no_auc():
    few, enough = (groups(0, prompts=BOOTSTRAP_MINIMUM + more, size=8, signal=1) for more in (-1, 10))
    assert ranking(few)["logprob"].auc.low is None and ranking(few)["logprob"].auc.high is None
    assert ranking(enough)["logprob"].auc.low is not None
    assert ranking(statistics.flatten([record(), record(sample=1)]))["logprob"].auc is None


def test_rollouts_of_one_prompt_widen_the_interval():
    """The same thousand values, of as many prompts or of fifty."""
    wins = (np.random.default_rng(0).normal(size=50).repeat(20) > 0).astype(float)
    totals = np.stack([wins, np.ones(1000)], axis=1)
    apart, together = (
        statistics.estimate(sums, lambda sums: sums[..., 0] / sums[..., 1])
        for sums in (totals, totals.reshape(50, 20, 2).sum(axis=1))
    )
    assert apart.value == together.value
    assert together.high - together.low == pytest.approx((apart.high - apart.low) * 20**0.5, rel=0.2)


def test_rank_correlations_are_scipys_and_leave_out_tokens_without_deviation():
    draw = np.random.default_rng(0)
    records = []
    for i in range(60):
        deviation = draw.integers(1, 9, size=10).astype(float)  # with ties
        entropy = deviation + draw.normal(size=10) * 3
        deviation[-1], entropy[-1] = 0, 1000
        records.append(record(problem=f"p{i}", tokens="0123456789", deviation=deviation, entropy=entropy.tolist()))
    rollouts = statistics.flatten(records)
    row = next(row for row in statistics.correlate_tokens(rollouts) if (row.x, row.y) == ("deviation", "entropy"))
    kept = rollouts.position < 9
    expected = stats.spearmanr(rollouts.values["deviation"][kept], rollouts.values["entropy"][kept]).statistic
    assert row.rho.value == pytest.approx(expected) and row.tokens == 540
    assert row.rho.low < expected < row.rho.high


def test_values_that_do_not_vary_have_no_correlation():
    rows = statistics.correlate_tokens(statistics.flatten([record(problem=f"p{i}") for i in range(9)]))
    assert {(row.x, row.y) for row in rows if row.rho} == {("deviation", "position")}


def test_accuracy_rises_with_a_score_that_tells_the_outcome_within_its_group():
    """Prompts differ in their level of the score, which must not matter, and groups of one outcome are left out."""
    records = []
    for prompt in range(20):
        for sample in range(10):
            right = sample < 5
            level = [-100.0 * prompt - 10.0 * (not right) - sample * 0.1] * 2
            records.append(record(problem=f"p{prompt}", sample=sample, correct=right, logprob=level))
    records += [record(problem="all", sample=i, correct=True, logprob=[-1e6 * i] * 2) for i in range(10)]
    rollouts = statistics.flatten(records)
    bins = statistics.accuracy_by_score(statistics.rollout_scores(rollouts)["logprob"], rollouts)
    assert [(found.count, found.y.value) for found in bins] == [(20, 0.0)] * 5 + [(20, 1.0)] * 5
    assert [found.x for found in bins] == sorted(found.x for found in bins)


def test_bins_hold_at_least_ten_values():
    assert [found.count for found in statistics.binned(np.arange(25.0), np.arange(25.0), np.arange(25))] == [13, 12]
    assert statistics.binned(np.arange(9.0), np.arange(9.0), np.arange(9)) == []


def test_tokens_are_listed_by_their_mean_reward_over_the_run_and_its_thirds():
    def at(step, tokens, reward, deviation):
        return record(step, tokens=tokens, flow_reward=list(reward), deviation=deviation)

    rollouts = statistics.flatten(
        [
            at(1, ("so", "3"), (0.5, 0.0), (1.0, 4.0)),
            at(2, ("so", "3"), (0.1, -0.3), (3.0, 0.0)),
            at(3, ("3",), (-0.3,), (6.0,)),
        ]
    )
    so, three = statistics.reward_tokens(rollouts)
    assert (so.token, so.count, so.flow_reward, so.thirds, so.rewarded, so.deviation) == (
        "so", 2, pytest.approx(0.3), [0.5, 0.1, None], 1.0, 2.0,
    )  # fmt: skip
    assert (three.token, three.count, three.thirds) == ("3", 3, [0.0, -0.3, -0.3])
    assert three.flow_reward == pytest.approx(-0.2) and three.rewarded == pytest.approx(2 / 3)
    assert three.deviation == 5.0  # of the two occurrences that have one


def test_shaping_is_what_was_added_to_the_outcomes_advantage():
    """Records round advantages to 5 digits, the outcome's to 6 decimals: what they differ by then is no shaping."""
    advantages = [1.4649, 1.2149]
    rollouts = statistics.flatten([record(advantage=1.214939, advantages=advantages, deviation=None, flow_reward=None)])
    assert rollouts.values["shaping"].tolist() == [pytest.approx(0.25, abs=1e-4), 0.0]
    assert not rollouts.has_flow
