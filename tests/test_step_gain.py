"""What benchmarks/step_gain.py says of a step: the gradient of the accuracy, and the advantages of real training."""

import argparse
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from datasets import Dataset
from transformers import AutoProcessor

from rlfr_mm.config import FlowConfig, ModelArguments, RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.files import read_json
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.method.scores import ScoredRollouts
from rlfr_mm.policy import load_policy
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.warmup import QUICKSTART_SETTINGS, prepare_policy
from tests.conftest import ROOT
from tests.tiny_trainer import make_trainer

RLVR = {"advantage_shaping": "none", "num_generations": 2, "per_device_train_batch_size": 16, "learning_rate": 1e-4}


@pytest.fixture
def step_gain(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import step_gain

    return step_gain


@pytest.fixture
def shipped(step_gain: ModuleType, tmp_path: Path) -> Any:
    """The measurement on 16 problems and the shipped policy, with a random field."""
    folder = prepare_policy(tmp_path, **QUICKSTART_SETTINGS)
    processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    policy, rows = load_policy(ModelArguments(name_or_path=str(folder))).eval(), world.rows(16, "test", [2])
    setting = step_gain.Setting(policy, processor, Dataset.from_list(rows), rows, Accelerator(cpu=True))
    field = FlowField.for_policy(FlowConfig(num_blocks=2, context_shifts=[-1]), policy.config)
    return lambda methods, **more: step_gain.Measured(setting, methods, field, **more)


def test_a_step_up_the_gradient_raises_the_chance_of_the_solutions_by_what_it_says(shipped: Any):
    measured, prompts = shipped({}), torch.arange(16)
    gradient, before = measured.accuracy_gradient(prompts), [weight.clone() for weight in measured.weights]
    step = 1e-3 * gradient / gradient.norm()
    higher, lower = (measured.accuracies([prompts], sign * step).item() for sign in (1, -1))
    assert (higher - lower) / 2e-3 == pytest.approx(gradient.norm().item(), rel=0.02)
    assert lower < measured.accuracies([prompts]).item() < higher
    assert all(map(torch.equal, measured.weights, before))  # the policy is as it was


def test_short_steps_that_are_taken_gain_what_the_straight_line_says(
    shipped: Any, step_gain: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """The mean step does, and so do the steps of all batches on average."""
    for name, value in {"PROMPTS_PER_PART": 4, "LENGTHS": (-0.01, 0.01), "ALONE": 4}.items():
        monkeypatch.setattr(step_gain, name, value)
    methods = {
        name: build(RunConfig, {"train": RLVR | {"learning_rate": 1e-3, "negative_weight": weight}})
        for name, weight in {"rlvr": 1, "praise": 0}.items()
    }
    options = argparse.Namespace(
        experiment=Path("trial.yaml"),
        condition="pairs",
        run=None,
        prompts=16,
        taken=True,
        json=tmp_path / "record.json",
    )
    step_gain.write(options, methods, shipped(methods))
    for row in read_json(options.json)["rows"]:
        for kind in ("taken", "alone"):
            back, forth = row[kind]
            for key in ("gain", "over"):  # half of the way from one to the other, in which curvature cancels out
                line = (forth[key]["value"] - back[key]["value"]) / 2
                assert line == pytest.approx(0.01 * row[key]["value"], rel=0.02, abs=5e-4), (kind, key)
        bent = {kind: sum(step["gain"]["value"] for step in row[kind]) for kind in ("taken", "alone")}
        assert bent["alone"] < bent["taken"] < 0  # single batches lose more to curvature than their mean
    assert abs(row["gain"]["value"]) > 0.5 and abs(row["over"]["value"]) > 0.5
    options.taken = False
    step_gain.write(options, methods, shipped(methods))
    assert all(row["taken"] == row["alone"] == [] for row in read_json(options.json)["rows"])


def test_the_ceiling_gains_more_in_a_step_than_rlvr_and_what_pays_nobody_gains_nothing(
    shipped: Any, step_gain: ModuleType
):
    reward = {"normalisation": "batch", "scale": "zscore", "threshold": None, "topk": None, "gamma": 0, "flow_coef": 1}
    token = RLVR | {"advantage_shaping": "flow"}
    methods = {
        "rlvr": build(RunConfig, {"train": RLVR}),
        "ceiling": build(RunConfig, {"train": token, "flow_reward": reward | {"score": "departure", "centre": True}}),
        "nothing": build(
            RunConfig, {"train": token | {"negative_weight": 0}, "flow_reward": reward | {"flow_coef": 0}}
        ),
        "no blame": build(RunConfig, {"train": RLVR | {"negative_weight": 0}}),
    }
    measured = shipped(methods)
    learnt, others = torch.arange(8), torch.arange(8, 16)
    gradient = measured.accuracy_gradient(others)
    steps = step_gain.adam_steps(measured, methods, learnt)
    gains = {name: (gradient @ step.mean(0)).item() for name, step in steps.items()}
    assert gains["ceiling"] > gains["rlvr"]
    assert torch.equal(steps["nothing"], steps["no blame"])
    assert steps["rlvr"].mean(0).abs().max() <= 1.001 < steps["rlvr"].abs().max()
    torch.testing.assert_close(steps["rlvr"].square().mean(0).amax(), torch.tensor(1.0), rtol=1e-3, atol=1e-3)


def test_the_rival_moves_an_advantage_to_the_tokens_that_are_far_from_the_other_outcome(
    shipped: Any, step_gain: ModuleType
):
    methods = {"rlvr": build(RunConfig, {"train": RLVR})}
    measured = shipped(methods, shear=True)
    index, group = next(iter(step_gain.batches_of(torch.arange(16), methods["rlvr"])))
    batch = measured.batch(index, group)
    found, mask = step_gain.all_shaped(methods, batch), batch.rollouts.mask
    right = batch.rollouts.outcomes.unflatten(0, (-1, 2)).sum(1).repeat_interleave(2) == 1
    assert 0 < right.sum() < len(right)
    torch.testing.assert_close(found["shear"].sum(1), found["rlvr"].sum(1))  # weights are 1 on average
    assert ((found["shear"] != found["rlvr"]).any(1) == right).all()
    assert torch.equal(found["shear_half"], torch.where(found["shear"] < 0, found["shear"] / 2, found["shear"]))
    far = (batch.transport * mask).argmax(1)
    share = (found["shear"].abs() / found["rlvr"].abs())[right]
    assert torch.equal(share.nan_to_num().argmax(1), far[right])
    assert list(step_gain.adam_steps(measured, methods, torch.arange(8))) == ["rlvr", "shear", "shear_half"]


def test_errors_are_from_leaving_out_a_part_in_rows_and_columns(step_gain: ModuleType):
    values = torch.tensor([[9.0, 1.0, 2.0], [3.0, 9.0, 4.0], [5.0, 6.0, 9.0]])
    found = step_gain.jackknife(lambda part: step_gain.off_diagonal(values, part).item(), 3)
    without = torch.tensor([5.0, 3.5, 2.0])  # what is left without the first, the second and the third part
    error = (2 / 3 * (without - without.mean()).square().sum()).sqrt().item()
    assert found["value"] == 3.5 and found["error"] == pytest.approx(error, abs=1e-3)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["thirds"], "condition thirds must be one of pairs, fast"),
        (["pairs", "--prompts=100"], "--prompts=100 must be a multiple of 64"),
        (["pairs", "--seed=201"], "--seed=201 must be left out: all seeds of search_steps have the same policy"),
        (["pairs", "--prompts=128"], "--prompts=128 must be a multiple of 64, and at least three of them"),
        (["pairs", "--seed=200", "--run=nowhere"], "--seed and --run both name a policy: leave one out"),
        (["pairs", "--run=nowhere"], "--run nowhere holds no folder final"),
    ],
)
def test_what_does_not_fit_the_experiment_is_refused_first(
    arguments: list[str],
    message: str,
    step_gain: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    experiment = str(ROOT / "configs/experiments/search_steps.yaml")
    monkeypatch.setattr("sys.argv", ["step_gain.py", experiment, *arguments])
    with pytest.raises(SystemExit):
        step_gain.main()
    assert message in capsys.readouterr().err


def test_the_policy_is_the_one_that_the_experiment_names(step_gain: ModuleType):
    found = step_gain.methods_of(ROOT / "configs/experiments/search_steps.yaml", "pairs")
    shared = {"level": 2, "operations": 4, "max_value": 99, "warmup_accuracy": 0.25}
    assert step_gain.drawn_world(found["rlvr"]) == shared | {"warmup_seed": 0}
    other = step_gain.methods_of(ROOT / "configs/experiments/confirm_policies.yaml", "pairs", seed=402)
    assert step_gain.drawn_world(other["rlvr"]) == shared | {"warmup_seed": 402}
    with pytest.raises(ValueError, match="--seed=7 must be one of 400, 401, "):
        step_gain.methods_of(ROOT / "configs/experiments/confirm_policies.yaml", "pairs", seed=7)
    with pytest.raises(ValueError, match="/policy must be quickstart: only its problems"):
        step_gain.methods_of(ROOT / "configs/experiments/pretrained_chains.yaml", "base")


@pytest.mark.parametrize(
    "changes, message",
    [
        ({}, None),
        ({"train.num_generations": 4}, "other: num_generations and the batch size must be the same for all methods"),
        ({"train.gradient_accumulation_steps": 2}, "other: num_generations and the batch size must be the same"),
        ({"rewards": ["accuracy"]}, "other: rewards must be the same for all methods"),
        ({"flow.flow_layers": [0.5]}, "other: flow must be the same for all methods"),
        ({"offline.learning_rate": 1e-3}, "other: offline must be the same for all methods"),
        ({"flow_reward.context_shifts": [1]}, r"other: flow_reward.context_shifts=\[1\] must be \[-1\]"),
    ],
)
def test_methods_that_learn_from_other_rollouts_or_fields_are_refused(
    changes: dict, message: str | None, step_gain: ModuleType, tmp_path: Path
):
    content = yaml.safe_load((ROOT / "configs/experiments/confirm_policies.yaml").read_text())
    content["base"] = str(ROOT / "configs/rl/base_experiments.yaml")
    content |= {"methods": {"rlvr": content["methods"]["rlvr"], "flow": {}, "other": changes}, "compare_to": ["rlvr"]}
    (tmp_path / "trial.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    if message is None:
        assert list(step_gain.methods_of(tmp_path / "trial.yaml", "pairs")) == ["rlvr", "flow", "other"]
    else:
        with pytest.raises(ValueError, match=message):
            step_gain.methods_of(tmp_path / "trial.yaml", "pairs")


def test_the_weights_that_step_are_those_that_training_moves(step_gain: ModuleType, tmp_path: Path):
    """The vision tower, too, where a run does not freeze it."""
    config = step_gain.methods_of(ROOT / "configs/experiments/confirm_policies.yaml", "pairs")["rlvr"]
    folder = prepare_policy(tmp_path, **QUICKSTART_SETTINGS)
    assert all(weight.requires_grad for weight in step_gain.trained_policy(config, folder).parameters())
    frozen = step_gain.trained_policy(replace(config, model=replace(config.model, freeze_vision=True)), folder)
    assert not all(weight.requires_grad for weight in frozen.parameters())


def test_the_best_weight_of_blame_has_most_signal_for_its_noise(shipped: Any, step_gain: ModuleType):
    methods = {"rlvr": build(RunConfig, {"train": RLVR})}
    measured, prompts = shipped(methods), torch.arange(16)
    direction = torch.nn.functional.normalize(measured.accuracy_gradient(prompts), dim=0)
    moments = step_gain.praise_and_blame(measured, methods["rlvr"], prompts, direction)
    gradients = []
    for index, group in step_gain.batches_of(prompts, methods["rlvr"]):
        batch = measured.batch(index, group)
        gradients.append(batch.gradient(step_gain.shaped(methods["rlvr"], batch), measured.weights))
    whole = torch.stack(gradients)
    torch.testing.assert_close(moments[:2].sum(), (whole @ direction).mean(), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(moments[2:4].sum() + 2 * moments[4], whole.square().sum(1).mean(), rtol=1e-3, atol=1e-4)

    def signal(weight: float) -> float:
        praised, blamed, praise, blame, both = moments.tolist()
        return (praised + weight * blamed) / (praise + 2 * weight * both + weight**2 * blame) ** 0.5

    best = step_gain.best_weight(moments)
    assert signal(best) > max(signal(best - 0.05), signal(best + 0.05))


@pytest.mark.parametrize(
    "shaping, reward",
    [
        ("scale", {"normalisation": "sequence", "scale": "zscore", "threshold": None, "topk": None, "gamma": 0}),
        ("flow", {"normalisation": "batch", "centre": True, "gamma": 0.9, "token_baseline": True, "threshold": 0.2}),
        ("entropy", {}),
        ("none", {}),
    ],
)
def test_a_method_shapes_advantages_as_training_does(
    shaping: str, reward: dict, step_gain: ModuleType, tiny_policy: Path, tmp_path: Path
):
    train = {"advantage_shaping": shaping, "negative_weight": 0.5}
    if shaping == "scale":
        train["scale_average"] = "entropy"
    config = build(RunConfig, {"train": train, "flow_reward": reward | {"flow_coef": 0.3}})
    trainer = make_trainer(tiny_policy, tmp_path, reward_config=config.flow_reward, max_steps=1, **train)
    seen: list[Any] = []
    finish = trainer._finish
    trainer._finish = lambda batch: (seen.append((batch, batch.flow and batch.flow.deviation.clone())), finish(batch))
    trainer.train()
    ((batch, deviation),) = seen
    known = torch.zeros(batch.mask.shape) if deviation is None else deviation
    rollouts = ScoredRollouts(
        known, batch.completion_ids, batch.mask, scored_tokens(batch.mask, [1]), 4, lambda values: values,
        outcomes=batch.accuracy,
    )  # fmt: skip
    by_draw = {step_gain.draws_of(config): known}
    made = step_gain.Batch(batch.rewards[:, 0], batch.logps, batch.entropies, rollouts, by_draw)
    torch.testing.assert_close(made.outcome, batch.outcome)
    torch.testing.assert_close(step_gain.shaped(config, made) * batch.mask, batch.advantages)
