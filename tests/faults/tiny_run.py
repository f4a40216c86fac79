"""Small whole runs of `rlfr_mm.train` and `eval.run` that start at once, to be killed, damaged and compared.

Each command runs in a fork of a process that has loaded the libraries but has not used them.
"""

import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable
from importlib import import_module
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file

from rlfr_mm.training.run_folder import answer_files
from rlfr_mm.viewing.rollout_records import read_rollouts

PRELOADED = ["rlfr_mm.training.run", "rlfr_mm.eval.engine.harness", "rlfr_mm.eval.engine.running", __name__]
STEPS = 6

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(PRELOADED)


def write_config(policy: Path, folder: Path) -> Path:
    """The YAML file of a run of six steps with an offline start and held-out accuracy; every rollout is accepted."""
    quickstart = {"source": "quickstart", "instruction": "none"}
    train = {
        "use_cpu": True, "bf16": False, "gradient_checkpointing": False, "dataloader_pin_memory": False,
        "report_to": "none", "disable_tqdm": True, "max_steps": STEPS, "per_device_train_batch_size": 4,
        "num_generations": 4, "max_completion_length": 6, "learning_rate": 1e-3, "save_strategy": "steps",
        "save_steps": 2, "save_total_limit": 3,
    }  # fmt: skip
    values = {
        "model": {"name_or_path": str(policy), "dtype": "float32"},
        "data": quickstart | {"limit": 4},
        "flow": {"num_blocks": 1},
        "offline": {"data": quickstart | {"limit": 8}, "batch_size": 4, "max_steps": 4, "save_steps": 1},
        "evaluation": {"data": quickstart | {"split": "test", "limit": 4}, "steps": 2},
        "update": {"accept_reward": 0.0},
        "train": train,
    }
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def start(log: Path, module: str, *arguments: str | Path) -> ForkServerProcess:
    """Start a command of the project; its output is appended to `log`."""
    process = forks.Process(target=run_command, args=(str(log), module, [str(argument) for argument in arguments]))
    process.start()
    return process


def run_command(log: str, module: str, arguments: list[str]) -> None:
    """Run a command in this process, which ends with its exit status."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    torch.set_num_threads(1)
    sys.orig_argv = [sys.executable, "-m", module, *arguments]
    sys.exit(import_module(module).main(arguments))


def finish(process: ForkServerProcess, seconds: float = 300) -> int:
    """Wait for the command and return its exit status; minus the number of the signal that killed it."""
    process.join(seconds)
    assert process.exitcode is not None, "the command is still running"
    return process.exitcode


def wait_until(reached: Callable[[], bool], process: ForkServerProcess) -> None:
    """Wait until something has happened; AssertionError if the command ends first."""
    deadline = time.monotonic() + 300
    while not reached():
        assert process.is_alive() and time.monotonic() < deadline, "the command ended before it got there"
        time.sleep(0.005)


def train(config: Path, run: Path, *arguments: str) -> ForkServerProcess:
    """Start a training run; its output is in the file RUN.log beside the folder."""
    return start(
        run.with_name(run.name + ".log"), "rlfr_mm.train", "--config", config, f"train.output_dir={run}", *arguments
    )


def log_of(run: Path) -> list[str]:
    return run.with_name(run.name + ".log").read_text(errors="replace").splitlines()


def steps_of(run: Path) -> int:
    """How many steps have a row in metrics.jsonl."""
    path = run / "metrics.jsonl"
    return path.read_bytes().count(b"\n") if path.exists() else 0


def results_of(run: Path) -> dict[str, Any]:
    """Everything that a finished run must have in common with the run that was never disturbed."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    summary = json.loads((run / "summary.json").read_text())
    names = ("flow/flow.safetensors", "final/model.safetensors", "final/flow/flow.safetensors")
    return {
        "metrics": [{name: value for name, value in row.items() if name != "step_time"} for row in rows],
        "rollouts": _rollouts_of(run),
        "answers": [(run / f"evaluation_{stage}.jsonl").read_text() for stage in ("before", "after")],
        "answers during training": _answers_of(run),
        "summary": {key: summary[key] for key in ("steps", "bad_steps", "accuracy_before", "accuracy_after")},
        "weights": {name: _digest(run / name) for name in names},
    }


def _rollouts_of(run: Path) -> dict[int, list[dict[str, Any]]]:
    """The rollout records by step; a step whose records are damaged or missing has none."""
    found: dict[int, list[dict[str, Any]]] = {}
    for record in read_rollouts(run, broken=[]):
        found.setdefault(record.step, []).append(record.model_dump())
    return found


def _answers_of(run: Path) -> dict[int, str]:
    """The held-out answers at steps during training; a step whose answers are damaged or missing has none."""
    return {step: path.read_text() for step, path, reason in answer_files(run).by_step() if reason is None}


def _digest(path: Path) -> list[tuple[str, bytes]]:
    return sorted((name, value.contiguous().numpy().tobytes()) for name, value in load_file(path).items())
