"""`evaluation.steps`: held-out accuracy during training, and the best checkpoint kept by it."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from rlfr_mm import train
from rlfr_mm.training.run_folder import RunFolder, checkpoints
from tests.tiny_trainer import CPU, make_trainer

FAILING = """
def steady(completions, trainer_state, **kwargs):
    if trainer_state.global_step == 3:
        raise RuntimeError("the judge is away")
    return [float(len(completion[0]["content"]) % 3) for completion in completions]
"""


def _config(policy: Path, folder: Path) -> Path:
    (folder / "judge_that_fails.py").write_text(FAILING.replace("== 3", "== 30"))
    quickstart = {"source": "quickstart", "instruction": "none"}
    values = {
        "model": {"name_or_path": str(policy)},
        "data": quickstart | {"limit": 8},
        "rewards": ["accuracy", "judge_that_fails:steady"],
        "evaluation": {"data": quickstart | {"split": "test", "limit": 6}},
        "train": CPU
        | {
            "output_dir": str(folder / "run"),
            "advantage_shaping": "none",
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "save_strategy": "steps",
            "save_steps": 3,
            "save_total_limit": 2,
            "load_best_model_at_end": True,
        },
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def _rows(run: RunFolder) -> list[dict[str, Any]]:
    left_out = ("step_time", "held_out/accuracy", "held_out/standard_error")
    return [{key: value for key, value in row.items() if key not in left_out} for row in run.metrics()]


@pytest.fixture(scope="module")
def runs(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunFolder]:
    """A run without measurements, one with, and one whose reward fails in the fourth step and that is then resumed."""
    folder = tmp_path_factory.mktemp("runs")
    config, module = _config(tiny_policy, folder), folder / "judge_that_fails.py"
    made = {name: RunFolder(folder / name) for name in ("plain", "whole", "failed")}
    command = ["--config", str(config)]
    plain = ["train.load_best_model_at_end=false"]
    train.main([*command, *plain, f"train.output_dir={made['plain'].path}"])
    command += ["evaluation.steps=1"]
    train.main([*command, f"train.output_dir={made['whole'].path}"])
    command += [f"train.output_dir={made['failed'].path}"]
    module.write_text(FAILING)
    del sys.modules["judge_that_fails"]
    with pytest.raises(SystemExit):
        train.main(command)
    assert len(made["failed"].metrics()) == 3 and made["failed"].last_checkpoint is not None
    module.write_text(FAILING.replace("== 3", "== 30") + "\n# mended\n")
    del sys.modules["judge_that_fails"]
    train.main([*command, "--resume"])
    return {name: RunFolder(run.path) for name, run in made.items()}


def test_each_measurement_is_in_the_row_of_its_step_and_in_a_file(runs: dict[str, RunFolder]):
    run = runs["whole"]
    assert [row["step"] for row in run.metrics() if "held_out/accuracy" in row] == [1, 2, 3, 4]
    for row in run.metrics():
        lines = (run.path / "evaluation" / f"step-{row['step']:06d}.jsonl").read_text().splitlines()
        right = [json.loads(line)["correct"] for line in lines]
        assert len(right) == 6 and row["held_out/accuracy"] == round(sum(right) / 6, 4)


def test_measuring_changes_nothing_else(runs: dict[str, RunFolder]):
    assert _rows(runs["plain"]) == _rows(runs["whole"])


def test_the_best_checkpoint_is_kept_and_final_is_its_policy(runs: dict[str, RunFolder]):
    run = runs["whole"]
    accuracies = {row["step"]: row["held_out/accuracy"] for row in run.metrics()}
    best = run.summary["best"]
    assert best == {"step": best["step"], "accuracy": max(accuracies.values()), "measured": 4}
    assert run.summary["final_is_best"] and best["step"] < 4  # the untrained policy is hardly ever right
    kept = run.path / f"checkpoint-{best['step']}"
    assert kept.is_dir() and [path.name for path in checkpoints(run.path)] == [kept.name, "checkpoint-4"]
    saved, final = (load_file(folder / "model.safetensors") for folder in (kept, run.path / "final"))
    assert all(torch.equal(value, final[name]) for name, value in saved.items())
    last = load_file(runs["plain"].path / "final" / "model.safetensors")
    assert not all(torch.equal(value, final[name]) for name, value in last.items())
    assert run.summary["accuracy_after"]["accuracy"] == best["accuracy"]
    assert f"that of step {best['step']}" in (run.path / "final" / "README.md").read_text()


def test_a_resumed_run_knows_the_best_of_before(runs: dict[str, RunFolder]):
    whole, failed = runs["whole"], runs["failed"]
    rows = [[{k: v for k, v in row.items() if k != "step_time"} for row in run.metrics()] for run in (whole, failed)]
    assert rows[0] == rows[1]
    assert failed.summary["best"] == whole.summary["best"]
    weights = [load_file(run.path / "final" / "model.safetensors") for run in (whole, failed)]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_only_a_higher_accuracy_is_a_new_best(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, advantage_shaping="none")
    trainer.args.metric_for_best_model, trainer.args.greater_is_better = "held_out/accuracy", True
    found = [{"accuracy": value, "standard_error": 0.1} for value in (0.5, 0.25, 0.5, 0.75, float("nan"))]
    assert [trainer.log_held_out(each) for each in found] == [True, False, False, True, False]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["evaluation.steps=0"], "evaluation.steps=0 must be >= 1, or null"),
        ([], "train.load_best_model_at_end=true needs evaluation.steps"),
        (["evaluation.steps=2", "train.save_strategy=no"], "train.load_best_model_at_end=true needs checkpoints"),
        (["evaluation.steps=2", "train.eval_strategy=steps"], "train.eval_strategy and evaluation.steps are both set"),
        (["evaluation.steps=2", "train.metric_for_best_model=loss"], "must be held_out/accuracy, or left out"),
        (
            ["evaluation.steps=3", "train.num_iterations=2", "train.save_steps=2"],
            "evaluation.steps=3 must be a multiple of 2, the policy steps per batch",
        ),
    ],
)
def test_settings_that_cannot_be_followed_are_refused_in_one_line(
    overrides: list[str], message: str, tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    config = _config(tiny_policy, tmp_path)
    with pytest.raises(SystemExit) as stopped:
        train.main(["--config", str(config), "rewards=null", *overrides])
    assert stopped.value.code == 2 and message in capsys.readouterr().err


def test_a_sharded_policy_is_refused(tiny_policy: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    config = _config(tiny_policy, tmp_path)
    with pytest.raises(SystemExit):
        train.main(["--config", str(config), "evaluation.steps=2", "--check"])
    assert "evaluation.steps: a sharded policy cannot answer during training" in capsys.readouterr().err
