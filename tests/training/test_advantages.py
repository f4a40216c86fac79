"""What a real RLFRTrainer puts into TRL's loss: the advantages of each shaping, and the rewards of each score."""

import math
from pathlib import Path

import pytest
import torch

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.method.scores import SCORES, Score, ScoredRollouts
from rlfr_mm.policy import encode_demonstrations
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import deviation_of, finished_batches, loss_inputs, make_trainer, measured_parts


def test_the_loss_gets_outcome_plus_flow_advantages_of_the_same_rollout(tiny_policy: Path, tmp_path: Path):
    """Through TRL's shuffle and split: recompute from each rollout's own tokens and compare."""
    config = FlowRewardConfig(flow_coef=0.5, threshold=0.2, topk=4)
    trainer = make_trainer(
        tiny_policy,
        tmp_path,
        reward_config=config,
        per_device_train_batch_size=2,
        gradient_accumulation_steps=4,
        num_iterations=2,
        max_steps=2,
        update_config=OnlineUpdateConfig(enabled=False),
    )
    caught, parts = loss_inputs(trainer), measured_parts(trainer)
    batches = finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    deviation = deviation_of(trainer.flow.field, batch, config, parts)
    reward = flow_reward(deviation, scored_tokens(batch.mask, [1]), config, 4)
    expected = batch.outcome[:, None] * batch.mask + flow_advantages(reward, batch.outcome, batch.mask, config, 4)
    assert (reward != 0).any() and reward.std() > 0
    assert len(caught) == 8  # four micro-batches, two iterations
    for inputs in caught:
        index = inputs["rollout_index"]
        assert torch.equal(inputs["completion_ids"], batch.completion_ids[index])
        torch.testing.assert_close(inputs["advantages"], expected[index])


def test_zero_flow_coef_gives_plain_grpo_advantages(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=FlowRewardConfig(flow_coef=0.0), max_steps=1)
    trainer.train()
    for record in read_rollouts(tmp_path):
        assert record.advantages == pytest.approx([record.advantage] * len(record.tokens), rel=1e-4)


def test_entropy_shaping_adds_the_clipped_entropy_of_each_token(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, advantage_shaping="entropy", num_iterations=2, max_steps=2)
    caught, batches = loss_inputs(trainer), finished_batches(trainer)
    trainer.train()
    assert len(caught) == 2
    for inputs in caught:
        outcome = batches[0].outcome[inputs["rollout_index"], None].expand_as(inputs["entropies"])
        expected = outcome + torch.minimum(0.4 * inputs["entropies"], outcome.abs() / 2)
        torch.testing.assert_close(inputs["advantages"], expected)
        assert not torch.allclose(expected, outcome)


@pytest.mark.parametrize("shaping", ["none", "flow", "scale"])
def test_the_weight_of_negative_advantages_changes_the_blame_and_not_the_praise(
    shaping: str, tiny_policy: Path, tmp_path: Path
):
    settings = {"advantage_shaping": shaping, "negative_weight": 0.25, "max_steps": 1}
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=FlowRewardConfig(flow_coef=0), **settings)
    caught, batches = loss_inputs(trainer), finished_batches(trainer)
    trainer.train()
    assert (trainer.flow is None) == (shaping == "none")
    outcome = batches[0].outcome[caught[0]["rollout_index"]]
    advantages = caught[0]["advantages"]  # one per rollout, or the same one at each of its tokens
    factors = (advantages if shaping == "none" else advantages[:, 0]) / outcome
    assert set(zip((outcome > 0).tolist(), factors.tolist(), strict=True)) == {(True, 1.0), (False, 0.25)}
    logged = trainer.state.log_history[0]
    assert (logged["shaping/praise"], logged["shaping/blame"]) == pytest.approx((1, 0.25))
    assert logged.get("flow/shaping_magnitude", 0) == 0  # the flow adds nothing to that


def test_praise_and_blame_are_what_shaping_does_where_the_policy_chooses(tiny_policy: Path, tmp_path: Path):
    config = FlowRewardConfig(threshold=None, topk=None, flow_coef=0.5)
    trainer = make_trainer(tiny_policy, tmp_path, advantage_shaping="scale", reward_config=config, max_steps=1)
    (caught, batches), wanted = (loss_inputs(trainer), finished_batches(trainer)), {}
    trainer.train()
    outcome = batches[0].outcome[caught[0]["rollout_index"]]
    for name, rollouts in (("praise", outcome > 0), ("blame", outcome < 0)):
        weight, factors = (
            caught[0]["entropies"] * caught[0]["completion_mask"],
            caught[0]["advantages"] / outcome[:, None],
        )
        weight = weight[rollouts] * outcome[rollouts, None].abs()
        wanted[name] = ((weight * factors[rollouts]).sum() / weight.sum()).item()
    logged = trainer.state.log_history[0]
    assert {name: logged[f"shaping/{name}"] for name in wanted} == pytest.approx(wanted, rel=1e-4)
    assert all(abs(value - 1) > 1e-4 for value in wanted.values())


def test_scale_with_the_average_by_entropy_leaves_praise_and_blame_as_they_are(tiny_policy: Path, tmp_path: Path):
    config = FlowRewardConfig(threshold=None, topk=None, flow_coef=0.5)
    settings = {"advantage_shaping": "scale", "scale_average": "entropy", "negative_weight": 0.5, "max_steps": 1}
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=config, **settings)
    caught = loss_inputs(trainer)
    trainer.train()
    logged = trainer.state.log_history[0]
    assert (logged["shaping/praise"], logged["shaping/blame"]) == pytest.approx((1, 0.5), rel=1e-4)
    assert caught[0]["advantages"].std(1).max() > 0.01


def test_a_score_that_compares_rollouts_is_computed_on_those_of_all_micro_batches(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    class Centred(Score):
        compares_rollouts = True

        def __call__(self, rollouts: ScoredRollouts) -> torch.Tensor:
            deviation = rollouts.gather(rollouts.deviation)
            return deviation - deviation[rollouts.scored].mean()

    monkeypatch.setitem(SCORES, "deviation", Centred())
    config = FlowRewardConfig(normalisation="none", threshold=None, topk=None, flow_coef=1.0)
    trainer = make_trainer(
        tiny_policy, tmp_path, reward_config=config, per_device_train_batch_size=4, gradient_accumulation_steps=2,
        max_steps=1,
    )  # fmt: skip
    assert trainer._latents_from == "own"
    batches = finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    deviation, scored = batch.flow.deviation, scored_tokens(batch.mask, [1])
    centred = torch.where(scored, deviation[scored].mean() - deviation, 0)
    torch.testing.assert_close(batch.flow.reward, centred)
    assert len(batch.mask) == 8 and not torch.isclose(deviation[:4][scored[:4]].mean(), deviation[scored].mean())


@pytest.mark.parametrize(
    ("steps_per_generation", "groups", "source"), [(1, "all", "loss"), (1, "unanimous", "own"), (2, "all", "old_logps")]
)
def test_log_probability_as_the_score_is_that_of_the_policy_that_sampled(
    steps_per_generation: int, groups: str, source: str, tiny_policy: Path, tmp_path: Path
):
    config = FlowRewardConfig(score="logprob", normalisation="none", threshold=None, topk=None, groups=groups)
    trainer = make_trainer(
        tiny_policy, tmp_path, reward_config=config, steps_per_generation=steps_per_generation,
        per_device_train_batch_size=8 // steps_per_generation, max_steps=steps_per_generation,
    )  # fmt: skip
    assert trainer._latents_from == source
    batches = finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    scored = scored_tokens(batch.mask, [1])
    torch.testing.assert_close(batch.flow.reward, torch.where(scored, 0.01 * batch.logps, 0))
    assert scored.any()


def test_the_true_value_reads_the_policys_probabilities_of_the_solutions(tiny_policy: Path, tmp_path: Path):
    config = FlowRewardConfig(score="expert_value", normalisation="none", threshold=None, topk=None, flow_coef=1.0)
    trainer = make_trainer(
        tiny_policy, tmp_path, reward_config=config, max_steps=1, learning_rate=0.0,
        per_device_train_batch_size=4, gradient_accumulation_steps=2,
    )  # fmt: skip
    batches = finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    start = batch.flow.expert_logps.sum(1).exp()
    torch.testing.assert_close(batch.flow.reward.sum(1), (batch.accuracy - start).float())  # of its own outcome
    assert 0 < batch.accuracy.sum() < len(batch.accuracy)
    rows = [{**row, "completion": row["expert"]} for row in batch.inputs]
    inputs, mask = encode_demonstrations(rows, trainer.processing_class, 48)
    length = mask.shape[1]
    with torch.no_grad():
        logits = trainer.model(**inputs, use_cache=False).logits[:, -length - 1 : -1]
    expected = logits.log_softmax(-1).gather(-1, inputs["input_ids"][:, -length:, None])[..., 0]
    torch.testing.assert_close(batch.flow.expert_logps, expected.masked_fill(~mask, 0), rtol=1e-3, atol=1e-3)


def test_departure_score_marks_the_first_token_that_the_expert_would_not_have_said(tiny_policy: Path, tmp_path: Path):
    config = FlowRewardConfig(score="departure", normalisation="none", threshold=None, topk=None, flow_coef=1.0)
    flow_config = FlowConfig(num_blocks=1, context_shifts=[-1])
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=config, flow_config=flow_config, max_steps=1)
    batches = finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    tokenizer = trainer.processing_class.tokenizer
    for row, ids, mask, reward in zip(batch.inputs, batch.completion_ids, batch.mask, batch.flow.reward, strict=True):
        expert = tokenizer(row["expert"])["input_ids"] + [tokenizer.eos_token_id]
        same = [said == right for said, right in zip(ids[mask].tolist(), expert, strict=False)]
        wanted = [0.0] * len(ids)
        if False in same:
            wanted[same.index(False)] = -1.0
        assert reward.tolist() == wanted
    assert batch.flow.reward.any()  # an untrained policy does not reproduce the expert solution


def test_placebo_gives_other_tokens_the_rewards_of_the_flow(tiny_policy: Path, tmp_path: Path):
    rewards = {}
    for shuffle in ("none", "sequence", "group", "token_id"):
        config = FlowRewardConfig(shuffle=shuffle, threshold=None, topk=None)
        trainer = make_trainer(tiny_policy, tmp_path / shuffle, reward_config=config, max_steps=1)
        batches = finished_batches(trainer)
        trainer.train()
        rewards[shuffle] = batches[0].flow.reward
    assert not torch.equal(rewards["none"], rewards["sequence"])
    for row, placebo in zip(rewards["none"], rewards["sequence"], strict=True):
        assert torch.equal(row.sort()[0], placebo.sort()[0])
    groups = {name: each.view(-1, trainer.num_generations * each.shape[1]) for name, each in rewards.items()}
    assert torch.equal(groups["none"].sort(1)[0], groups["group"].sort(1)[0])
    assert not torch.allclose(rewards["none"].sum(1), rewards["group"].sum(1))
    ids, found = batches[0].completion_ids, rewards["token_id"]
    assert not torch.equal(rewards["none"], found)
    for token in ids[batches[0].mask].unique():
        assert torch.equal(rewards["none"][ids == token].sort()[0], found[ids == token].sort()[0])


def test_the_token_baseline_leaves_what_a_score_says_beyond_the_token(tiny_policy: Path, tmp_path: Path):
    found = {}
    for baseline in (False, True):
        config = FlowRewardConfig(
            token_baseline=baseline, normalisation="none", threshold=None, topk=None, flow_coef=1, noise_draws=4
        )
        trainer = make_trainer(tiny_policy, tmp_path / str(baseline), reward_config=config, max_steps=1)
        batches = finished_batches(trainer)
        trainer.train()
        found[baseline] = batches[0].flow.reward
    ids, scored = batches[0].completion_ids, found[False] != 0
    for token in ids[scored].unique():
        same = scored & (ids == token)
        torch.testing.assert_close(found[True][same], found[False][same] - found[False][same].mean())
    assert found[True].any() and not found[True][~scored].any()


@pytest.mark.parametrize(
    "shaping, changes",
    [
        ("redistribute", {"score": "expert_value"}),
        ("redistribute", {"score": "expert_value", "shuffle": "sequence"}),  # the placebo: the same values elsewhere
        ("scale", {"gamma": 0.0}),
    ],
)
def test_advantages_are_redistributed_or_scaled(shaping: str, changes: dict, tiny_policy: Path, tmp_path: Path):
    """In a real run, a rollout's tokens share its outcome minus the chance of it, or the advantage that it has."""
    raw = {"normalisation": "none", "threshold": None, "topk": None, "flow_coef": 1.0, "context_shifts": [-1]}
    trainer = make_trainer(
        tiny_policy, tmp_path, max_steps=2, advantage_shaping=shaping,
        reward_config=FlowRewardConfig(**raw | changes), flow_config=FlowConfig(num_blocks=1, context_shifts=[-1]),
    )  # fmt: skip
    batches = finished_batches(trainer)
    trainer.train()
    assert len(batches) == 2
    for batch in batches:
        lengths = batch.mask.sum(1)
        if shaping == "scale":
            torch.testing.assert_close(batch.advantages.sum(1), batch.outcome * lengths, rtol=1e-3, atol=1e-3)
            assert (batch.advantages * batch.outcome[:, None] >= 0).all()
            assert any(row[mask].std() > 0 for row, mask in zip(batch.advantages, batch.mask, strict=True))
            continue
        gained = (batch.accuracy - batch.flow.expert_logps.sum(1).exp()).float()
        torch.testing.assert_close(batch.flow.reward.sum(1), gained, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(batch.advantages[:, 0], gained, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_token_advantages_change_the_loss_of_each_supported_type(loss_type: str, tiny_policy: Path, tmp_path: Path):
    losses = []
    for coef in (0.0, 0.5):
        reward_config = FlowRewardConfig(flow_coef=coef)
        trainer = make_trainer(tiny_policy, tmp_path, loss_type=loss_type, reward_config=reward_config, max_steps=1)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert all(math.isfinite(loss) for loss in losses) and abs(losses[0] - losses[1]) > 1e-6
