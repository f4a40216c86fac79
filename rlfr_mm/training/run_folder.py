"""The folder of one training run: what it holds, which stages are done, and how a killed run is resumed."""

import os
import platform
import shutil
import subprocess
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import as_dict
from rlfr_mm.files import read_json, read_json_lines, write_json, write_json_lines, write_whole
from rlfr_mm.viewing.rollout_records import RolloutWriter

LIBRARIES = ("rlfr_mm", "torch", "transformers", "trl", "accelerate", "datasets")
BENCHMARKS = "benchmarks"  # holds a run folder of eval.run per evaluated step, and results.json


class RunFolder:
    """The paths of a run, and stages.json: the seconds and the result of each finished stage.

    `write` is true on one process only.
    """

    def __init__(self, path: str | Path, write: bool = True):
        self.path = Path(path)
        self.write = write
        record = self.path / "stages.json"
        self.stages: dict[str, dict[str, Any]] = read_json(record) if record.exists() else {}

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """The result of `work`, a JSON value, from the record if the stage is already done."""
        if name not in self.stages:
            if self.write:
                print(f"== {self.path.name}: {name}", flush=True)
            started = time.monotonic()
            result = work()
            self.done(name, time.monotonic() - started, result)
        return self.stages[name]["result"]

    def done(self, name: str, seconds: float, result: Any) -> None:
        """Record a finished stage, unless it is on record."""
        if name not in self.stages:
            self.stages[name] = {"seconds": round(seconds, 1), "result": result}
            if self.write:
                write_json(self.path / "stages.json", self.stages)

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json; None until the run is finished."""
        path = self.path / "summary.json"
        return read_json(path) if path.exists() else None

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint, which is always complete (see `WholeCheckpoints`)."""
        found = sorted(self.path.glob("checkpoint-*"), key=lambda folder: int(folder.name.removeprefix("checkpoint-")))
        return found[-1] if found else None

    def cut_after(self, step: int) -> None:
        """Delete the records of later steps, which a resumed run repeats."""
        if (self.path / "metrics.jsonl").exists():
            kept = [row for row in self.metrics() if row["step"] <= step]
            write_json_lines(self.path / "metrics.jsonl", kept)
        RolloutWriter(self.path).cut_after(step)
        for answered in (self.path / BENCHMARKS).glob("step-*"):
            if int(answered.name.removeprefix("step-")) > step:
                shutil.rmtree(answered)

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, without a last one that a kill left unfinished."""
        path = self.path / "metrics.jsonl"
        return read_json_lines(path, finished_only=True) if path.exists() else []


def check_run(config: RunConfig, overwrite: bool, resume: bool) -> None:
    """ValueError if the run's folder holds other files, another run, or settings that --resume does not match."""
    path = Path(config.train["output_dir"])
    saved = path / "config.yaml"
    if path.exists() and not path.is_dir():
        raise ValueError(f"train.output_dir={path} is not a folder: choose another one")
    if not path.exists() or not any(path.iterdir()):
        if resume:
            what = "is empty" if path.exists() else "does not exist"
            raise ValueError(
                f"--resume has nothing to continue: train.output_dir={path} {what}; start without --resume"
            )
        return
    if not saved.exists():
        raise ValueError(f"{path} is not empty and is not a run folder: choose another train.output_dir")
    if not overwrite and not resume:
        state = "a finished run" if (path / "summary.json").exists() else "an unfinished run"
        raise ValueError(f"{path} holds {state}: --resume continues it, --overwrite starts again")
    if resume:
        before, now = yaml.safe_load(saved.read_text()), as_dict(config)
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            where = ", ".join(changed)
            raise ValueError(f"--resume with settings other than {saved} under {where}: use the same, or --overwrite")


def open_run(config: RunConfig, overwrite: bool) -> None:
    """Create, empty or keep the run's folder and write its config.yaml; `check_run` must come first."""
    path = Path(config.train["output_dir"])
    if overwrite:
        shutil.rmtree(path, ignore_errors=True)
    write_whole(path / "config.yaml", yaml.safe_dump(as_dict(config), sort_keys=False))


def environment() -> dict[str, Any]:
    """Versions, hardware and git commit, to record with results.

    The commit ends in `-dirty` if a tracked file outside docs/ differs from it, and is None for an installed package.
    """
    import torch

    def git(*command: str) -> str | None:
        done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    known = git("ls-files", "--error-unmatch", Path(__file__).name)  # fails for an installed package
    commit = known and git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "hardware": {"cpu_cores": os.cpu_count(), "gpu": gpu},
        "git_commit": commit and commit + "-dirty" * bool(changed),
    }
