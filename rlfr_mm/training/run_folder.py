"""The folder of one training run: what it holds, what is done, and how a killed run is taken up again."""

import json
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
from rlfr_mm.viewing.rollout_records import RolloutWriter

LIBRARIES = ("rlfr_mm", "torch", "transformers", "trl", "accelerate", "datasets")


class RunFolder:
    """Paths of a run and the record of its stages, stages.json: seconds and result of each finished one."""

    def __init__(self, path: str | Path, write: bool = True):
        self.path = Path(path)
        self.write = write  # one process writes
        record = self.path / "stages.json"
        self.stages: dict[str, dict[str, Any]] = json.loads(record.read_text()) if record.exists() else {}

    def stage(self, name: str, work: Callable[[], Any]) -> Any:
        """The JSON result of `work`, which is not done again where the record has it."""
        if name not in self.stages:
            if self.write:
                print(f"== {self.path.name}: {name}", flush=True)
            started = time.monotonic()
            result = work()
            self.done(name, time.monotonic() - started, result)
        return self.stages[name]["result"]

    def done(self, name: str, seconds: float, result: Any) -> None:
        """Record a stage, unless the record has it."""
        if name not in self.stages:
            self.stages[name] = {"seconds": round(seconds, 1), "result": result}
            if self.write:
                write_whole(self.path / "stages.json", json.dumps(self.stages, indent=2) + "\n")

    @property
    def summary(self) -> dict[str, Any] | None:
        """What summary.json holds; None while the run is not finished."""
        path = self.path / "summary.json"
        return json.loads(path.read_text()) if path.exists() else None

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest checkpoint; each appears under its name only when it is whole."""
        found = sorted(self.path.glob("checkpoint-*"), key=lambda folder: int(folder.name.removeprefix("checkpoint-")))
        return found[-1] if found else None

    def cut_after(self, step: int) -> None:
        """Drop the records of steps that a resumed run makes again."""
        if (self.path / "metrics.jsonl").exists():
            kept = [row for row in self.metrics() if row["step"] <= step]
            write_whole(self.path / "metrics.jsonl", "".join(json.dumps(row) + "\n" for row in kept))
        RolloutWriter(self.path).cut_after(step)
        for answered in self.path.glob("benchmarks/step-*"):
            if int(answered.name.removeprefix("step-")) > step:
                shutil.rmtree(answered)

    def metrics(self) -> list[dict[str, Any]]:
        """The whole rows of metrics.jsonl; a kill may have left half of one at its end."""
        path = self.path / "metrics.jsonl"
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        return [json.loads(line) for line in lines if line.endswith("\n")]


def check_run(config: RunConfig, overwrite: bool, resume: bool) -> None:
    """ValueError where `open_run` would lose or mix something; nothing is changed."""
    path = Path(config.train["output_dir"])
    saved = path / "config.yaml"
    if not path.exists() or not any(path.iterdir()):
        return
    if not saved.exists():
        raise ValueError(f"{path} is not empty and holds no run: name another train.output_dir")
    if not overwrite and not resume:
        state = "a finished run" if (path / "summary.json").exists() else "an unfinished run"
        raise ValueError(f"{path} holds {state}: --resume goes on with it, --overwrite starts again")
    if resume:
        before, now = yaml.safe_load(saved.read_text()), as_dict(config)
        changed = [key for key in now if now[key] != before.get(key)]
        if changed:
            raise ValueError(f"--resume with other settings than {saved} under {', '.join(changed)}")


def open_run(config: RunConfig, overwrite: bool) -> None:
    """Make or empty the run's folder, or take it up; `check_run` comes first."""
    path = Path(config.train["output_dir"])
    if overwrite:
        shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True, exist_ok=True)
    write_whole(path / "config.yaml", yaml.safe_dump(as_dict(config), sort_keys=False))


def write_whole(path: Path, text: str) -> None:
    """Write a file so that a kill leaves the old one or the new one."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(text)
    partial.replace(path)


def environment() -> dict[str, Any]:
    """Where a figure was made: versions, hardware and the commit, `-dirty` where more than the docs differs from it."""
    import torch

    def git(*command: str) -> str | None:
        done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    known = git("ls-files", "--error-unmatch", Path(__file__).name)  # an installed package is in no repository
    commit = known and git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "hardware": {"cpu_cores": os.cpu_count(), "gpu": gpu},
        "git_commit": commit and commit + "-dirty" * bool(changed),
    }
