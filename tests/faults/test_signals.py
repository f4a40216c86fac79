"""Signals: SIGTERM and SIGUSR1 save first, Ctrl-C says how to continue, and nothing is lost."""

import os
import re
import signal
from pathlib import Path

import pytest

from rlfr_mm.files import damage
from rlfr_mm.training.stopping import INTERRUPTED, STOPPED
from tests.faults import tiny_run

HOW = "the same command with --resume continues the run in"
RARELY = "train.save_steps=6"  # no checkpoint before the last step, unless a signal asks for one


def test_a_signal_saves_at_the_next_step_and_the_resumed_run_ends_as_if_undisturbed(
    config: Path, whole: Path, tmp_path: Path
):
    run = tmp_path / "run"
    process = tiny_run.train(config, run, RARELY)
    tiny_run.wait_until(lambda: tiny_run.steps_of(run) >= 2, process)
    os.kill(process.pid, signal.SIGTERM)
    assert tiny_run.finish(process) == STOPPED
    step = tiny_run.steps_of(run)
    assert step < tiny_run.STEPS
    checkpoint = run / f"checkpoint-{step}"
    said = f"stopped by SIGTERM after step {step}, which is saved in {checkpoint}"
    (line,) = [line for line in tiny_run.log_of(run) if line.startswith("stopped by")]
    assert line.startswith(f"{said}; {HOW} {run}: python -m rlfr_mm.train --config {config} ")
    assert line.endswith(" --resume")
    assert damage(checkpoint) is None and not (run / "final").exists()
    assert tiny_run.finish(tiny_run.train(config, run, RARELY, "--resume")) == 0
    assert tiny_run.results_of(run) == tiny_run.results_of(whole)


def test_a_signal_during_the_offline_start_saves_the_field_too(config: Path, whole: Path, tmp_path: Path):
    run, rarely = tmp_path / "run", "offline.save_steps=100"
    process = tiny_run.train(config, run, rarely)
    log = run / "flow" / "log.jsonl"
    tiny_run.wait_until(lambda: log.exists() and log.stat().st_size > 0, process)
    os.kill(process.pid, signal.SIGUSR1)
    assert tiny_run.finish(process) == STOPPED
    assert len(list((run / "flow").glob("checkpoint-*"))) == 1
    assert re.match(r"stopped by SIGUSR1 after step \d of the flow field, which is saved in ", tiny_run.log_of(run)[-1])
    assert tiny_run.finish(tiny_run.train(config, run, rarely, "--resume")) == 0
    assert tiny_run.results_of(run) == tiny_run.results_of(whole)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, INTERRUPTED), (signal.SIGTERM, STOPPED)])
def test_outside_of_steps_a_signal_ends_the_run_at_once_with_one_line(
    number: signal.Signals, status: int, config: Path, tmp_path: Path
):
    run = tmp_path / "run"
    process = tiny_run.train(config, run, "evaluation.data.limit=1000", "evaluation.batch_size=4")
    tiny_run.wait_until(lambda: any("accuracy before" in line for line in _lines(run)), process)
    os.kill(process.pid, number)
    assert tiny_run.finish(process, 30) == status
    assert f"; {HOW} {run}: python -m rlfr_mm.train --config {config} " in tiny_run.log_of(run)[-1]
    assert not any("Traceback" in line for line in tiny_run.log_of(run))


def test_ctrl_c_between_checkpoints_is_one_line(config: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = tiny_run.train(config, run)
    tiny_run.wait_until(lambda: tiny_run.steps_of(run) >= 3, process)
    os.kill(process.pid, signal.SIGINT)
    assert tiny_run.finish(process) == INTERRUPTED
    assert tiny_run.log_of(run)[-1].startswith(f"interrupted; {HOW} {run}: python -m rlfr_mm.train --config {config} ")
    assert not any("Traceback" in line for line in tiny_run.log_of(run))


def _lines(run: Path) -> list[str]:
    return tiny_run.log_of(run) if run.with_name(run.name + ".log").exists() else []
