"""Trackers get the metrics of a run, and a table of its rollouts with their images. They run without a network here."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.tiny_trainer import make_trainer


def test_wandb_gets_the_metrics_and_a_table_of_the_rollouts_with_their_images(
    tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    wandb = pytest.importorskip("wandb", reason="wandb is not installed")
    for name, value in {"MODE": "offline", "SILENT": "true", "DIR": tmp_path, "DATA_DIR": tmp_path / "data"}.items():
        monkeypatch.setenv(f"WANDB_{name}", str(value))
    trainer = make_trainer(tiny_policy, tmp_path / "run", report_to="wandb", log_completions=True, max_steps=1)
    trainer.train()
    logged = dict(wandb.run.summary)
    wandb.finish()
    assert logged["train/accuracy"] == 3 / 8 and logged["train/flow/reward_mean"] != 0
    staged = [path.read_bytes() for path in (tmp_path / "data").rglob("staging/*")]  # what would be uploaded
    table = next(json.loads(content) for content in staged if content.startswith(b'{"_type": "table"'))
    assert {"prompt", "completion", "every_third", "advantage", "image"} <= set(table["columns"])
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["every_third"] for row in rows] == [1, 0, 0, 1, 0, 0, 1, 0]
    assert all(row["prompt"].startswith("Count ") and row["image"][0]["_type"] == "image-file" for row in rows)
    assert sum(content.startswith(b"\x89PNG") for content in staged) >= 2


def test_tensorboard_gets_the_metrics(tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    monkeypatch.setenv("TENSORBOARD_LOGGING_DIR", str(tmp_path / "events"))
    make_trainer(tiny_policy, tmp_path / "run", report_to="tensorboard", max_steps=1).train()
    (events,) = (tmp_path / "events").rglob("events.out.tfevents.*")
    assert b"train/flow/reward_mean" in events.read_bytes()


TRACKIO = """
import sys
from pathlib import Path
from tests.tiny_trainer import make_trainer
policy, run = map(Path, sys.argv[1:])
make_trainer(policy, run, report_to="trackio", log_completions=True, max_steps=1).train()
"""


def test_trackio_gets_the_metrics_and_a_table_of_the_rollouts_with_their_images(tiny_policy: Path, tmp_path: Path):
    """In a process of its own, because trackio reads where to write when it is imported."""
    pytest.importorskip("trackio", reason="trackio is not installed")
    environment = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio"), "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", TRACKIO, str(tiny_policy), str(tmp_path / "run")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    (database,) = (tmp_path / "trackio").glob("*.db")
    assert b"flow/reward_mean" in database.read_bytes()
    assert len(list((tmp_path / "trackio").rglob("*.png"))) >= 8
