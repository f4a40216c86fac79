"""The disk refuses: every writer of a training run says which file, and the run continues when there is room."""

import os
import re
import resource
import shutil
import signal
from pathlib import Path

import pytest

from tests.faults import tiny_run


def _limited(config: Path, run: Path, size: int, *arguments: str) -> int:
    """The exit status of a run whose process cannot write files of more than `size` bytes."""
    log = run.with_name(run.name + ".log")
    process = tiny_run.forks.Process(
        target=_run_limited,
        args=(size, str(log), "rlfr_mm.train", ["--config", str(config), f"train.output_dir={run}", *arguments]),
    )
    process.start()
    return tiny_run.finish(process)


def _run_limited(size: int, *command: object) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    tiny_run.run_command(*command)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("size", "name"),
    [
        (100_000, r"flow/checkpoint-1|flow\.safetensors"),  # the offline start: torch
        (2_500_000, r"checkpoint-2"),  # the policy: safetensors
    ],
)
def test_a_full_disk_is_one_line_that_names_the_file_and_nothing_half_written_counts(
    size: int, name: str, config: Path, whole: Path, tmp_path: Path
):
    run = tmp_path / "run"
    assert _limited(config, run, size) == 2, "\n".join(tiny_run.log_of(run)[-20:])
    errors = [line for line in tiny_run.log_of(run) if line.startswith("error: ")]
    assert len(errors) == 1 and re.search(name, errors[0]) and "Traceback" not in "\n".join(tiny_run.log_of(run))
    assert tiny_run.finish(tiny_run.train(config, run, *["--resume"] * (run / "config.yaml").exists())) == 0
    assert tiny_run.results_of(run) == tiny_run.results_of(whole)


def test_a_folder_deleted_during_the_run_is_one_line(config: Path, tmp_path: Path):
    run = tmp_path / "run"
    process = tiny_run.train(config, run)
    tiny_run.wait_until(lambda: tiny_run.steps_of(run) >= 1, process)
    shutil.rmtree(run, ignore_errors=True)
    assert tiny_run.finish(process) == 2
    assert tiny_run.log_of(run)[-1].startswith("error: ") and str(run) in tiny_run.log_of(run)[-1]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write to read-only folders")
def test_a_read_only_folder_is_one_line(config: Path, tmp_path: Path):
    (tmp_path / "parent").mkdir(mode=0o555)
    run = tmp_path / "parent" / "run"
    assert (
        tiny_run.finish(
            tiny_run.start(tmp_path / "log", "rlfr_mm.train", "--config", config, f"train.output_dir={run}")
        )
        == 2
    )
