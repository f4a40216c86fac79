"""RLFRTrainer on a real tiny Qwen2.5-VL: the advantages in the loss, and the rollouts that update the field."""

import copy
import math
from pathlib import Path

import pytest
import torch

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig, RLFRConfig
from rlfr_mm.config_file import build
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.scores import SCORES, Score, ScoredRollouts
from rlfr_mm.policy import encode_demonstrations
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import CPU, every_third, make_trainer, none_accepted

NO_CHECKPOINTING = {"gradient_checkpointing": False}
REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
NON_REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


def _loss_inputs(trainer) -> list[dict]:
    """The inputs of every micro-batch as TRL's loss reads them."""
    caught = []
    observe = trainer._observe

    def spy(batch, inputs, logps, entropies):
        observe(batch, inputs, logps, entropies)
        caught.append({**inputs, "entropies": entropies})

    trainer._observe = spy
    return caught


def _measured(trainer) -> list:
    """(step, rollouts, latents) of each micro-batch whose deviations are measured."""
    parts = []
    measure = trainer.flow.measure

    def spy(batch, record, index, latents, learns_now=False):
        parts.append((batch.step, index, latents))
        measure(batch, record, index, latents, learns_now)

    trainer.flow.measure = spy
    return parts


def _deviation(field, batch, config, parts) -> torch.Tensor:
    deviation = torch.zeros(batch.mask.shape)
    for step, index, latents in parts:
        if step == batch.step:
            deviation[index] = velocity_deviation(field, latents, config, batch.flow.seeds[index])
    return deviation


def _finished_batches(trainer) -> list:
    """The rollout batches of a run, as they are after their last micro-batch."""
    batches = []
    finish = trainer._finish
    trainer._finish = lambda batch: (batches.append(copy.copy(batch)), finish(batch))
    return batches


@pytest.mark.parametrize("checkpointing", [NO_CHECKPOINTING, REENTRANT, NON_REENTRANT], ids=["none", "re", "non-re"])
def test_online_update_changes_every_field_parameter(checkpointing: dict, tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, update_config=OnlineUpdateConfig(weight_decay=0.0), **checkpointing)
    before = _weights(trainer.flow.field)
    trainer.train()
    unchanged = [name for name, value in _weights(trainer.flow.field).items() if torch.equal(value, before[name])]
    assert unchanged == []


def test_correct_is_what_the_first_reward_says_whatever_the_others_add(tiny_policy: Path, tmp_path: Path):
    def well_formed(completions: list, **kwargs: object) -> list[float]:
        return [1.0] * len(completions)

    trainer = make_trainer(tiny_policy, tmp_path, max_steps=1, reward=[every_third, well_formed])
    batches = _finished_batches(trainer)
    trainer.train()
    (row,) = [log for log in trainer.state.log_history if "accuracy" in log]
    assert row["accuracy"] == 3 / 8 and row["reward"] == 11 / 8
    tokens, layers, draws = batches[0].mask[::3].sum().item(), 3, 4
    assert row["flow/accepted_weight"] == tokens * layers * draws - 3 * layers * draws  # the last has no context
    assert [record.correct for record in read_rollouts(tmp_path)] == [index % 3 == 0 for index in range(8)]


def test_a_field_takes_as_many_steps_with_each_of_the_policy_as_asked(tiny_policy: Path, tmp_path: Path):
    update = OnlineUpdateConfig(passes=3)
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=2, update_config=update)
    trainer.train()
    steps = {state["step"].item() for state in trainer.flow.updater.optimizer.state.values()}
    assert steps == {6.0}


def test_the_update_learns_from_its_own_share_of_tokens_and_number_of_draws(tiny_policy: Path, tmp_path: Path):
    weights = {}
    for name, update in {"all": {}, "one draw": {"batch_multiplier": 1}, "a third": {"token_share": 1 / 3}}.items():
        config = OnlineUpdateConfig(accept_reward=0.0, **update)
        trainer = make_trainer(tiny_policy, tmp_path / name, update_config=config, max_steps=1)
        trainer.train()
        weights[name] = trainer.state.log_history[0]["flow/accepted_weight"]
    assert weights["one draw"] == weights["all"] / 4
    assert 0.15 < weights["a third"] / weights["all"] < 0.55


def test_policy_learns_under_the_flow_reward_and_the_vision_tower_too(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=2)
    before = _weights(trainer.model)
    trainer.train()
    unchanged = [name for name, value in _weights(trainer.model).items() if torch.equal(value, before[name])]
    assert unchanged == []


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
    caught, parts = _loss_inputs(trainer), _measured(trainer)
    batches = _finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    deviation = _deviation(trainer.flow.field, batch, config, parts)
    reward = flow_reward(deviation, scored_tokens(batch.mask, [1]), config, 4)
    expected = batch.outcome[:, None] * batch.mask + flow_advantages(reward, batch.outcome, batch.mask, config, 4)
    assert (reward != 0).any() and reward.std() > 0
    assert len(caught) == 8  # four micro-batches, two iterations
    for inputs in caught:
        index = inputs["rollout_index"]
        assert torch.equal(inputs["completion_ids"], batch.completion_ids[index])
        torch.testing.assert_close(inputs["advantages"], expected[index])


SOURCES = {
    "old_logps": {"per_device_train_batch_size": 4, "steps_per_generation": 2, "max_steps": 2, "beta": 0.01},
    "loss": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1, "beta": 0.01},
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_pass_records_the_latents_of_the_early_exit(source: str, tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, **SOURCES[source])
    assert trainer._latents_from == source
    parts, early = _measured(trainer), []
    generate = trainer._generate_and_score_completions

    def spy(inputs):
        output = generate(inputs)
        free = parts.copy()
        parts.clear()
        trainer._run_for_latents(trainer.flow, trainer.batch, copy.deepcopy(trainer.batch.flow), output)
        early.extend(parts)
        parts[:] = free
        return output

    trainer._generate_and_score_completions = spy
    trainer.train()
    assert len(parts) == len(early) == 2

    def rows(recorded) -> dict:
        return {
            i: latents.keep(torch.arange(len(index))[:, None].expand(latents.mask.shape) == row).values
            for _, index, latents in recorded
            for row, i in enumerate(index.tolist())
        }

    ours, theirs = rows(parts), rows(early)
    assert sorted(ours) == sorted(theirs) == list(range(8))
    for i, values in ours.items():
        torch.testing.assert_close(values, theirs[i])


def test_a_reward_that_compares_rollouts_takes_a_pass_of_its_own(tiny_policy: Path, tmp_path: Path):
    config = FlowRewardConfig(normalisation="group", flow_coef=0.5)
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=config, max_steps=1)
    assert trainer._latents_from == "own"
    parts, caught, batches = _measured(trainer), _loss_inputs(trainer), _finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    deviation = _deviation(FlowField.for_policy(trainer.flow.field.config, trainer.model.config), batch, config, parts)
    torch.testing.assert_close(batch.flow.deviation, deviation)
    reward = flow_reward(deviation, scored_tokens(batch.mask, [1]), config, 4)
    expected = batch.outcome[:, None] * batch.mask + flow_advantages(reward, batch.outcome, batch.mask, config, 4)
    torch.testing.assert_close(caught[0]["advantages"], expected[caught[0]["rollout_index"]])


@pytest.mark.parametrize(
    ("update", "kept"),
    [
        ({}, {0, 3, 6}),
        ({"rejected_weight": 0.5}, set(range(8))),
        ({"accept": ["entropy"]}, set(range(8))),
        ({"enabled": False}, set()),
    ],
    ids=["correct", "rejected too", "by entropy", "no update"],
)
def test_only_latents_that_the_field_may_learn_from_are_kept(
    update: dict, kept: set, tiny_policy: Path, tmp_path: Path
):
    """In micro-batches, so that some wait for the policy's step."""
    trainer = make_trainer(
        tiny_policy, tmp_path, max_steps=1, per_device_train_batch_size=2, gradient_accumulation_steps=4,
        update_config=OnlineUpdateConfig(**update),
    )  # fmt: skip
    seen, learn = [], trainer.flow.update
    batches = _finished_batches(trainer)

    def spy(batch, record):
        seen.extend((index[latents.mask.any(1)].tolist(), len(latents.values)) for index, latents in record.kept)
        result = learn(batch, record)
        assert not record.kept  # what has been learnt is dropped at once
        return result

    trainer.flow.update = spy
    trainer.train()
    (batch,) = batches
    assert {i for rollouts, _ in seen for i in rollouts} == kept
    positions = batch.mask.sum(1) + batch.mask.any(1)  # the response and the last prompt token
    assert sum(rows for _, rows in seen) == sum(positions[i].item() for i in kept)


def test_turning_the_flow_on_does_not_change_what_the_policy_samples(tiny_policy: Path, tmp_path: Path):
    samples = {}
    for shaping in ("flow", "none"):
        folder = tmp_path / shaping
        zero = FlowRewardConfig(flow_coef=0.0)
        trainer = make_trainer(tiny_policy, folder, advantage_shaping=shaping, reward_config=zero)
        trainer.train()
        samples[shaping] = [(record.completion, record.logprob) for record in read_rollouts(folder)]
        assert len(samples[shaping]) == 24
    assert samples["flow"] == samples["none"]


def test_zero_flow_coef_gives_plain_grpo_advantages(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=FlowRewardConfig(flow_coef=0.0), max_steps=1)
    trainer.train()
    for record in read_rollouts(tmp_path):
        assert record.advantages == pytest.approx([record.advantage] * len(record.tokens), rel=1e-4)


def test_entropy_shaping_adds_the_clipped_entropy_of_each_token(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, advantage_shaping="entropy", num_iterations=2, max_steps=2)
    caught, batches = _loss_inputs(trainer), _finished_batches(trainer)
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
    caught, batches = _loss_inputs(trainer), _finished_batches(trainer)
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
    (caught, batches), wanted = (_loss_inputs(trainer), _finished_batches(trainer)), {}
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
    caught = _loss_inputs(trainer)
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
    batches = _finished_batches(trainer)
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
    batches = _finished_batches(trainer)
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
    batches = _finished_batches(trainer)
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
    batches = _finished_batches(trainer)
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
        batches = _finished_batches(trainer)
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
        batches = _finished_batches(trainer)
        trainer.train()
        found[baseline] = batches[0].flow.reward
    ids, scored = batches[0].completion_ids, found[False] != 0
    for token in ids[scored].unique():
        same = scored & (ids == token)
        torch.testing.assert_close(found[True][same], found[False][same] - found[False][same].mean())
    assert found[True].any() and not found[True][~scored].any()


def test_a_step_without_accepted_rollouts_leaves_the_field_alone(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, reward=none_accepted, max_steps=2)
    before = _weights(trainer.flow.field)
    trainer.train()
    assert all(torch.equal(value, before[name]) for name, value in _weights(trainer.flow.field).items())
    assert trainer.state.log_history[0]["flow/accepted_weight"] == 0


def test_the_field_steps_with_every_step_of_the_policy_on_the_rollouts_of_that_step(tiny_policy: Path, tmp_path: Path):
    """Four policy steps per batch of rollouts, as in the paper's runs (1024 rollouts, 128 per step)."""
    trainer = make_trainer(
        tiny_policy, tmp_path, per_device_train_batch_size=2, steps_per_generation=4, max_steps=8,
        update_config=OnlineUpdateConfig(accept_reward=0.0),
    )  # fmt: skip
    offered = []
    updater = trainer.flow.updater
    step = updater.step

    def spy(parts):
        parts = list(parts)
        seeds = [seed for _, weights, own in parts for seed in own[weights.any(1)].tolist()]
        offered.append((trainer.state.global_step, seeds))
        return step(parts)

    updater.step = spy
    batches = _finished_batches(trainer)
    trainer.train()
    assert [at for at, _ in offered] == list(range(8))
    for batch, updates in zip(batches, (offered[:4], offered[4:]), strict=True):
        assert sorted(seed for _, seeds in updates for seed in seeds) == sorted(batch.flow.seeds.tolist())


@pytest.mark.parametrize("accept", [["entropy"], ["correct", "entropy"]])
def test_entropy_acceptance_weighs_fewer_tokens_than_all(accept: list, tiny_policy: Path, tmp_path: Path):
    weights = {}
    for name, update in {"all": ["correct"], "fewer": accept}.items():
        config = OnlineUpdateConfig(accept=update, entropy_quantile=0.8)
        trainer = make_trainer(tiny_policy, tmp_path / name, update_config=config, max_steps=1)
        trainer.train()
        weights[name] = trainer.state.log_history[0]["flow/accepted_weight"]
    assert 0 < weights["fewer"] < weights["all"]


def test_every_step_logs_the_metrics_of_the_method(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=2)
    trainer.train()
    rows = [row for row in trainer.state.log_history if "reward" in row]
    assert [row["step"] for row in rows] == [1, 2]
    for row in rows:
        assert row["accuracy"] == pytest.approx(3 / 8)
        assert row["flow/field_loss"] > 0 and row["flow/deviation_mean"] > 0
        assert 0 < row["flow/rewarded_share"] < 1
        for name in ("auc/deviation", "auc/flow_reward", "auc/logprob"):
            assert 0 <= row[name] <= 1


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
    batches = _finished_batches(trainer)
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


@pytest.mark.parametrize("draws, steps", [(8, [1, 2]), (1, [1])])
def test_reliability_of_the_reward_is_logged_for_every_batch_or_if_it_costs_for_every_tenth(
    draws: int, steps: list, tiny_policy: Path, tmp_path: Path
):
    """A single draw needs another one to be compared with. The control arm, without a coefficient, is measured too."""
    config = FlowRewardConfig(noise_draws=draws, flow_coef=0.0, group_noise=True)
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=2, reward_config=config)
    batches = _finished_batches(trainer)
    trainer.train()
    for name in ("flow/score_reliability", "flow/reward_reliability"):
        found = {row["step"]: row[name] for row in trainer.state.log_history if name in row}
        assert list(found) == steps
        assert all(-1 <= value <= 1 for value in found.values())
    seeds, scoring = batches[0].flow.seeds.tolist(), batches[0].flow.scoring_seeds.tolist()
    assert len(set(seeds)) == 8  # updates have fresh noise for each rollout
    assert scoring == [seeds[0]] * 4 + [seeds[4]] * 4


def test_rollout_records_hold_each_token_once(tiny_policy: Path, tmp_path: Path):
    make_trainer(tiny_policy, tmp_path, max_steps=1, rollouts_per_step=5).train()
    records = list(read_rollouts(tmp_path))
    assert [record.sample for record in records] == [0, 1, 2, 3, 0]
    for record in records:
        lengths = {len(getattr(record, name)) for name in ("tokens", "advantages", "logprob", "entropy", "flow_reward")}
        assert len(lengths) == 1 and 1 <= lengths.pop() <= 10
        assert (tmp_path / "rollouts" / "images" / record.images[0]).is_file()
        assert record.prompt.startswith("<image>Count ")


def test_flow_shaping_without_a_field_is_refused(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, advantage_shaping="none")
    trainer.args.advantage_shaping = "flow"
    with pytest.raises(ValueError, match="needs a field"):
        type(trainer)(
            model=trainer.model,
            reward_funcs=trainer.reward_funcs,
            args=trainer.args,
            train_dataset=trainer.train_dataset,
            processing_class=trainer.processing_class,
        )


def test_a_field_made_for_another_policy_is_refused(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path)
    other = FlowField(FlowConfig(hidden_size=64, num_policy_layers=4, rms_norm_eps=1e-6))
    with pytest.raises(ValueError, match="hidden_size=64"):
        other.check_matches(trainer.model.config)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"loss_type": "cispo"}, "train.loss_type=cispo must be one of grpo, bnpo, dr_grpo, dapo"),
        ({"loss_type": "vespo"}, "train.loss_type=vespo"),
        ({"loss_type": "sapo"}, "train.loss_type=sapo"),
        ({"importance_sampling_level": "sequence"}, "train.importance_sampling_level=sequence"),
        ({"off_policy_mask_threshold": 0.5}, "train.off_policy_mask_threshold=0.5"),
        (
            {"save_strategy": "steps", "save_steps": 3, "num_iterations": 2},
            "train.save_steps=3 must be a multiple of 2",
        ),
    ],
)
def test_settings_that_do_not_hold_with_token_advantages_are_refused(settings: dict, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message):
        build(RLFRConfig, CPU | {"output_dir": str(tmp_path)} | settings, "train")
    if "save_steps" not in settings:
        build(RLFRConfig, CPU | {"output_dir": str(tmp_path), "advantage_shaping": "none"} | settings, "train")


@pytest.mark.parametrize("loss_type", ["grpo", "bnpo", "dr_grpo", "dapo"])
def test_token_advantages_change_the_loss_of_each_supported_type(loss_type: str, tiny_policy: Path, tmp_path: Path):
    losses = []
    for coef in (0.0, 0.5):
        reward_config = FlowRewardConfig(flow_coef=coef)
        trainer = make_trainer(tiny_policy, tmp_path, loss_type=loss_type, reward_config=reward_config, max_steps=1)
        trainer.train()
        losses.append(trainer.state.log_history[0]["loss"])
    assert all(math.isfinite(loss) for loss in losses) and abs(losses[0] - losses[1]) > 1e-6
