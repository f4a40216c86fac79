"""A real training run, and copies of it whose records have been changed."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rlfr_mm import inspect
from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.training.run_folder import open_run
from rlfr_mm.viewing.rollout_records import RolloutRecord, RolloutWriter, read_rollouts
from tests.conftest import ROOT
from tests.tiny_trainer import make_trainer


def train_run(policy: Path, folder: Path, **settings) -> Path:
    """A run folder with two groups of four rollouts per step, each with correct and incorrect ones."""
    from rlfr_mm.training.callbacks import MetricsWriter

    overrides = [f"model.name_or_path={policy}", f"train.output_dir={folder}"]
    overrides += [f"train.{name}={value}" for name, value in settings.items()]
    open_run(load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), overrides), False)
    trainer = make_trainer(policy, folder, **settings)
    trainer.add_callback(MetricsWriter(folder))
    trainer.train()
    return folder


@pytest.fixture(scope="session")
def run_without_flow(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tiny_policy, tmp_path_factory.mktemp("inspect") / "none", advantage_shaping="none", max_steps=1)


@pytest.fixture(scope="session")
def run(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train_run(tiny_policy, tmp_path_factory.mktemp("inspect") / "run", max_steps=4)


@pytest.fixture(scope="session")
def page(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("page") / "run.html"
    inspect.main([str(run), "--out", str(out)])
    return out


@pytest.fixture
def changed(run: Path, tmp_path: Path) -> Callable[..., Path]:
    """Makes a copy of the run whose records went through a function, `copies` times under prompts of their own."""

    def change(function: Callable[[RolloutRecord], RolloutRecord], copies: int = 1) -> Path:
        copy = tmp_path / "changed"
        shutil.copytree(run, copy, ignore=shutil.ignore_patterns("*.jsonl"))
        shutil.copy(run / "metrics.jsonl", copy)
        for path in sorted((run / "rollouts").glob("[0-9]*.jsonl")):
            records = [function(record) for record in read_rollouts(run) if record.step == int(path.stem)]
            repeated = [
                record.model_copy(update={"problem_id": record.problem_id + f", copy {i}" * bool(i)})
                for i in range(copies)
                for record in records
            ]
            RolloutWriter(copy).write(repeated, {})
        return copy

    return change
