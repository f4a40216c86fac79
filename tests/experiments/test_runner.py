"""`python -m rlfr_mm.experiment` with real runs: stopped, killed, continued, and with a cell that fails."""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from rlfr_mm import experiment
from rlfr_mm.experiments.records import read_results
from rlfr_mm.experiments.runner import open_experiment, places
from rlfr_mm.training.run_folder import RunFolder
from tests.conftest import ROOT
from tests.tiny_trainer import CPU


@pytest.fixture
def config(tiny_policy: Path, tmp_path: Path) -> Path:
    """Two methods on two seeds, two steps each, from the untrained embedded policy."""
    quickstart = {"source": "quickstart", "instruction": "none"}
    base = {
        "model": {"name_or_path": str(tiny_policy), "freeze_vision": False},
        "data": quickstart | {"limit": 8},
        "flow": {"num_blocks": 1},
        "offline": {"data": quickstart | {"limit": 4}, "max_steps": 2},
        "evaluation": {"data": quickstart | {"split": "test", "limit": 4}},
        "train": CPU
        | {
            "max_steps": 2,
            "per_device_train_batch_size": 4,
            "num_generations": 4,
            "max_completion_length": 4,
            "save_strategy": "steps",
            "save_steps": 1,
        },
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    values = {
        "base": "base.yaml",
        "methods": {"rlvr": {"flow_reward.flow_coef": 0}, "paper": {}},
        "seeds": [0, 1],
        "output_dir": str(tmp_path / "runs"),
        "results_dir": str(tmp_path / "results"),
    }
    path = tmp_path / "trial.yaml"
    path.write_text("# Does a stopped experiment go on?\n" + yaml.safe_dump(values, sort_keys=False))
    return path


def _start(config: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "rlfr_mm.experiment", "--config", str(config), "--jobs", "2"]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _wait_until(reached: Callable[[], bool], process: subprocess.Popen) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0].decode()[-3000:]
        time.sleep(0.01)


def _is_running(runs: Path, cell: str) -> bool:
    """Whether a process holds the cell's lock."""
    with (runs / f"{cell}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _run(config: Path, *arguments: str) -> int:
    """The exit status of the command in this process."""
    handler = signal.getsignal(signal.SIGTERM)
    try:
        experiment.main(["--config", str(config), *arguments])
    except SystemExit as stopped:
        return int(stopped.code or 0)
    finally:
        signal.signal(signal.SIGTERM, handler)
    return 0


def test_an_experiment_that_is_stopped_and_killed_ends_with_every_cell_run_once(
    config: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    runs, records = tmp_path / "runs", tmp_path / "results" / "results.json"

    # Killed outright when the first two runs have begun: they go on by themselves.
    process = _start(config)
    _wait_until(lambda: len(list(runs.glob("base/*/seed0/config.yaml"))) == 2, process)
    process.kill()
    process.wait()
    assert all(_is_running(runs, f"base/{method}/seed0") for method in ("rlvr", "paper"))

    # The next waits for them, runs what is left, and is stopped in the middle: its runs end with it.
    process = _start(config)
    _wait_until(lambda: RunFolder(runs / "base/rlvr/seed1").last_checkpoint is not None, process)
    process.send_signal(signal.SIGTERM)
    told = process.communicate()[0].decode()
    assert process.wait() == 130 and "run the same command again to continue" in told
    assert f"base/rlvr/seed1 begins; its log is {runs}/base/rlvr/seed1.log" in told
    assert "base/rlvr/seed1: step 1 of 2" in told or "base/rlvr/seed1: before its first step" in told
    assert not any(_is_running(runs, f"base/{method}/seed1") for method in ("rlvr", "paper"))
    assert not (runs / "base/rlvr/seed1/summary.json").exists()
    assert ("base", "rlvr", 0) in {cell.key for cell in read_results(records).cells}
    answered = {path.parent for path in runs.glob("base/*/*/stages.json")}  # the first stage was over
    assert runs / "base/rlvr/seed1" in answered

    assert _run(config, "--jobs", "2") == 0
    record = read_results(records)
    assert [cell.key for cell in record.cells] == [("base", m, s) for m in ("rlvr", "paper") for s in (0, 1)]
    for cell in record.cells:
        run = RunFolder(runs / cell.condition / cell.method / f"seed{cell.seed}")
        assert [row["step"] for row in run.metrics()] == [1, 2]
        assert len(cell.correct_after) == len(record.problems["base"]) == 4
        assert cell.samples == 4 and set(cell.correct_after) <= set("01234")
        assert cell.curves["accuracy"] == [round(row["accuracy"], 4) for row in run.metrics()]
        # Started once, or resumed, but never started again.
        log = run.path.with_name(f"seed{cell.seed}.log").read_text()
        assert log.count(": accuracy before") == 1 or run.path not in answered
    by_method = {(cell.method, cell.seed): cell for cell in record.cells}
    # The field of the first run was there for the others.
    [kept] = (runs / "fields").iterdir()
    for method, seed in (("paper", 0), ("paper", 1)):
        start = runs / "base" / method / f"seed{seed}" / "flow"
        assert (start / "flow.safetensors").read_bytes() == (kept / "flow.safetensors").read_bytes()
    assert f"flow field: taken from {kept}" in (runs / "base/paper/seed1.log").read_text()
    assert by_method["rlvr", 0].curves["auc/logprob"] and by_method["paper", 0].settings["train.seed"] == 0
    assert (tmp_path / "results" / "curves.png").stat().st_size > 10_000
    assert "Does a stopped experiment go on?" in (tmp_path / "results" / "table.md").read_text()

    # Once more, with a method that cannot start: it is named, and nothing else is run.
    values = yaml.safe_load(config.read_text())
    values["methods"]["broken"] = {"train.loss_type": "cispo"}
    config.write_text(yaml.safe_dump(values | {"seeds": [0]}, sort_keys=False))
    before = {path: path.stat().st_mtime_ns for path in runs.glob("base/*/seed*/summary.json")}
    capfd.readouterr()
    assert _run(config) == 1
    output = capfd.readouterr()
    assert "base/broken/seed0 failed with status 2: error: train.loss_type=cispo must be one of" in output.out
    assert "1 cells failed: base/broken/seed0" in output.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert read_results(records).cells == record.cells  # seed 1 is still there

    _refuses_to_mix_results(config, values, capfd)


def _refuses_to_mix_results(config: Path, values: dict, capfd: pytest.CaptureFixture) -> None:
    """A method, or a base, that has changed since its cells were run, with and without the runs' folders."""

    def error() -> str:
        capfd.readouterr()
        assert _run(config, "--collect-only") == 2
        return capfd.readouterr().err

    runs, base = Path(values["output_dir"]), config.parent / "base.yaml"
    values["methods"] = {"rlvr": {"flow_reward.flow_coef": 0.5}}
    config.write_text(yaml.safe_dump(values))
    assert "has base/rlvr/seed0 with other settings: rename the method" in error()
    values["results_dir"] += "_elsewhere"
    config.write_text(yaml.safe_dump(values))
    assert "seed0 was run with other settings in the sections flow_reward: remove that folder" in error()
    values["methods"], values["results_dir"] = {"rlvr": {"flow_reward.flow_coef": 0}}, str(config.parent / "results")
    values["output_dir"] = str(runs.parent / "gone")
    config.write_text(yaml.safe_dump(values))
    assert _run(config) == 0 and not Path(values["output_dir"]).exists()  # the records are enough
    base.write_text(base.read_text().replace("limit: 8", "limit: 16"))
    assert "was made with another version of" in error()


@pytest.mark.parametrize(
    "change, message",
    [
        ({"methods": {"rlvr": {"flow_reward.flow_coeff": 0}}}, "did you mean flow_reward.flow_coef?"),
        ({"base": "nowhere.yaml"}, "base: no configuration file"),
        ({"seeds": []}, "seeds is missing"),
        ({"settings": {"evaluation": None}}, "has no evaluation section"),
        ({"metods": {}}, "unknown key metods; did you mean methods?"),
    ],
)
def test_a_bad_experiment_is_one_line_before_any_run(
    change: dict, message: str, config: Path, tmp_path: Path, capfd: pytest.CaptureFixture
):
    config.write_text(yaml.safe_dump(yaml.safe_load(config.read_text()) | change))
    assert _run(config) == 2
    (error,) = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert message in error
    assert not (tmp_path / "runs").exists() and not (tmp_path / "results").exists()


def test_record_files_are_json(config: Path, tmp_path: Path):
    assert _run(config, "--collect-only") == 0
    assert json.loads((tmp_path / "results" / "results.json").read_text())["cells"] == []


@pytest.mark.parametrize("command", ["experiment", "results", "inspect"])
def test_help_loads_nothing_heavy(command: str):
    script = (
        f"import sys\nfrom rlfr_mm.{command} import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "assert not {'torch', 'transformers', 'datasets', 'scipy', 'matplotlib'} & set(sys.modules), 'heavy'"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert command != "experiment" or "seeds ([])" in result.stdout


def test_each_run_side_by_side_has_a_gpu_of_those_that_are_visible():
    assert places(None, 3) == ["0", "1", "2"]
    assert places(None, 2, "4,GPU-6f") == ["4", "GPU-6f"]
    assert places(1, 2, "4,6") == ["4"]
    assert places(3, 2, "4,6") == ["4", "6", "4"]
    assert places(2, 0) == [None, None]
    assert places(None, 0) == [None] * len(os.sched_getaffinity(0))


@pytest.mark.parametrize("gpu", ["6", None])
def test_a_run_sees_its_gpu_only(gpu: str | None, config: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,6")
    opened = open_experiment(config, [])
    log = opened.log_of(opened.cells[0])
    log.parent.mkdir(parents=True)
    with log.with_suffix(".lock").open("w") as lock:
        process = opened.start(opened.cells[0], lock, gpu)
    environment = Path(f"/proc/{process.pid}/environ")
    while not (variables := environment.read_bytes()):  # it has just begun
        time.sleep(0.01)
    process.kill()
    process.wait()
    assert f"CUDA_VISIBLE_DEVICES={gpu or '4,6'}".encode() in variables.split(b"\0")


@pytest.mark.parametrize("samples", [0, 10])
def test_a_number_of_answers_that_no_run_takes_is_refused_before_any_run(config: Path, samples: int):
    with pytest.raises(ValueError, match=rf"evaluation.samples={samples} must be in \[1, 9\]"):
        open_experiment(config, [f"samples={samples}"])
