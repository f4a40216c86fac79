"""RLFRTrainer on a real tiny Qwen2.5-VL: the rollouts and latents that update the field, records, and refusals."""

import copy
from pathlib import Path

import pytest
import torch

from rlfr_mm.config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig, RLFRConfig
from rlfr_mm.config_file import build
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import (
    CPU,
    deviation_of,
    every_third,
    finished_batches,
    loss_inputs,
    make_trainer,
    measured_parts,
    none_accepted,
)

NO_CHECKPOINTING = {"gradient_checkpointing": False}
REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": True}}
NON_REENTRANT = {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}}


def _weights(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: parameter.detach().clone() for name, parameter in module.named_parameters()}


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
    batches = finished_batches(trainer)
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


SOURCES = {
    "old_logps": {"per_device_train_batch_size": 4, "steps_per_generation": 2, "max_steps": 2, "beta": 0.01},
    "loss": {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2, "max_steps": 1, "beta": 0.01},
}


@pytest.mark.parametrize("source", SOURCES)
def test_every_pass_records_the_latents_of_the_early_exit(source: str, tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, **SOURCES[source])
    assert trainer._latents_from == source
    parts, early = measured_parts(trainer), []
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
    parts, caught, batches = measured_parts(trainer), loss_inputs(trainer), finished_batches(trainer)
    trainer.train()
    (batch,) = batches
    deviation = deviation_of(
        FlowField.for_policy(trainer.flow.field.config, trainer.model.config), batch, config, parts
    )
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
    batches = finished_batches(trainer)

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
    batches = finished_batches(trainer)
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


@pytest.mark.parametrize("draws, steps", [(8, [1, 2]), (1, [1])])
def test_reliability_of_the_reward_is_logged_for_every_batch_or_if_it_costs_for_every_tenth(
    draws: int, steps: list, tiny_policy: Path, tmp_path: Path
):
    """A single draw needs another one to be compared with. The control arm, without a coefficient, is measured too."""
    config = FlowRewardConfig(noise_draws=draws, flow_coef=0.0, group_noise=True)
    trainer = make_trainer(tiny_policy, tmp_path, max_steps=2, reward_config=config)
    batches = finished_batches(trainer)
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
