"""A run that is killed while it answers held-out problems (`evaluation.steps`) ends as one that was not."""

import os
import signal
from pathlib import Path

import pytest

from rlfr_mm.files import read_json
from tests.faults import tiny_run

# Each measurement takes several batches, so that it is long enough to be hit.
MEASURING = ("evaluation.steps=2", "evaluation.data.limit=16", "evaluation.batch_size=2")
BEST = (*MEASURING, "train.load_best_model_at_end=true")


@pytest.fixture(scope="module")
def measured(config: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that measures during training and is not disturbed."""
    run = tmp_path_factory.mktemp("measured") / "run"
    assert tiny_run.finish(tiny_run.train(config, run, *BEST)) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    return run


@pytest.mark.parametrize("step", [2, 4])  # before the first checkpoint of the run, and after it
def test_a_kill_inside_a_held_out_measurement_changes_nothing(step: int, config: Path, measured: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = tiny_run.train(config, run, *BEST)
    log = run.with_name(run.name + ".log")
    tiny_run.wait_until(
        lambda: log.exists() and f"accuracy at step {step}:" in log.read_text(errors="replace"), process
    )
    os.kill(process.pid, signal.SIGKILL)
    assert tiny_run.finish(process) == -signal.SIGKILL
    assert step not in _answers(run)  # it was hit
    assert tiny_run.finish(tiny_run.train(config, run, *BEST, "--resume")) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    assert tiny_run.results_of(run) == tiny_run.results_of(measured)
    assert _answers(run) == _answers(measured) and set(_answers(run)) == {2, 4, 6}
    assert read_json(run / "summary.json")["best"] == read_json(measured / "summary.json")["best"]


def _answers(run: Path) -> dict[int, str]:
    """The answers of each measurement that was finished, by its step."""
    return {
        int(path.stem.removeprefix("step-")): path.read_text() for path in (run / "evaluation").glob("step-*.jsonl")
    }
