"""Trackers get the metrics of a run, and a table of its rollouts with their images. They run without a network here."""

import json
from pathlib import Path

import pytest

from tests.tiny_trainer import make_trainer


def test_wandb_gets_the_metrics_and_a_table_of_the_rollouts_with_their_images(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setenv("WANDB_SILENT", "true")
    trainer = make_trainer(tiny_policy, tmp_path / "run", report_to="wandb", log_completions=True, max_steps=1)
    trainer.train()
    logged = dict(wandb.run.summary)
    wandb.finish()
    assert logged["train/accuracy"] == 3 / 8 and logged["train/flow/reward_mean"] != 0
    table = next((tmp_path / "wandb").glob("offline-run-*/files/media/table/completions_*.json"))
    content = json.loads(table.read_text())
    assert {"prompt", "completion", "every_third", "advantage", "image"} <= set(content["columns"])
    assert len(content["data"]) == 8
    assert list(table.parent.parent.glob("images/**/*.png"))


def test_tensorboard_gets_the_metrics(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    make_trainer(tiny_policy, tmp_path / "run", report_to="tensorboard", max_steps=1).train()
    (events,) = (tmp_path / "events").rglob("events.out.tfevents.*")
    assert b"train/flow/reward_mean" in events.read_bytes()
