"""All processes of a training run answer its benchmarks, and wait for each other for as long as that takes."""

import os
import subprocess
import sys
import time

import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.during_training import write_leaderboard_files
from rlfr_mm.training.run_folder import RunFolder
from tests.conftest import ROOT
from tests.eval.export_runs import BOARDS, DRAWN, make_run
from tests.training.test_processes import SETTINGS, WITHOUT_STAGES, launched
from tests.training.test_processes import run as train

BARRIER = """
import datetime, os, sys, time
from torch import distributed
from rlfr_mm.eval.engine.during_training import patient_barrier
distributed.init_process_group("gloo", timeout=datetime.timedelta(seconds=2))
with patient_barrier():
    if distributed.get_rank() == 0:
        time.sleep(4)
        if sys.argv[1] == "dies":
            os._exit(9)
print("met")
"""


@pytest.mark.parametrize("end", ["finishes", "dies"])
def test_a_process_waits_longer_than_the_time_out_of_its_group_but_not_for_a_dead_one(end):
    address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29653", "WORLD_SIZE": "2", "OMP_NUM_THREADS": "1"}
    pair = [
        subprocess.Popen(
            [sys.executable, "-c", BARRIER, end],
            cwd=ROOT,
            env=os.environ | address | {"RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    assert pair[0].wait(timeout=120) == (9 if end == "dies" else 0)
    began = time.monotonic()
    out, err = pair[1].communicate(timeout=60)
    assert time.monotonic() - began < 20
    assert out == ("" if end == "dies" else "met\n"), err


def test_benchmarks_of_two_processes_have_the_rows_of_a_run_of_one(tiny_policy, tmp_path):
    two = tmp_path / "two"
    arguments = [f"model.name_or_path={tiny_policy}", f"train.output_dir={two}", *SETTINGS, *WITHOUT_STAGES]
    arguments += ["train.max_steps=2", "train.learning_rate=0", "train.per_device_train_batch_size=4"]
    train(launched(2, [*arguments, "benchmarks={eval_tasks: [rlfr_quickstart], limit: 5, batch_size: 2}"]))
    answered = two / "benchmarks" / "step-000002"
    one = ["--model", f"rlfr={tiny_policy},device=cpu", "--tasks", "rlfr_quickstart", "--limit", "5"]
    assert run.main([*one, "--batch_size", "2", "--output_dir", str(tmp_path / "one")]) == 0
    assert run_files.read_run(answered) == run_files.read_run(tmp_path / "one")
    assert [path.name for path in (answered / "rlfr_quickstart").iterdir()] == ["samples.jsonl"]
    assert {session.shard for session in run_files.read_manifest(answered).sessions} == {"0/2", "1/2"}
    assert RunFolder(two).summary["benchmarks"].keys() == {"2"}


def test_whole_benchmarks_after_the_last_step_become_leaderboard_files(tmp_path):
    benchmarks, final = tmp_path / "run" / "benchmarks", tmp_path / "run" / "final"
    boards = {task: BOARDS[task] for task in ("rlfr_mathvista_testmini", "rlfr_logicvista")}
    make_run(benchmarks / "step-000002", boards | DRAWN)  # a drawn task has no dataset on the hub
    make_run(benchmarks / "step-000003", boards, rows_expected=1000)  # slices
    folder = RunFolder(tmp_path / "run")
    for step, written in ((3, []), (4, []), (2, sorted(f"{task}.yaml" for task in boards))):
        write_leaderboard_files(folder, step, final)
        assert sorted(path.name for path in (final / ".eval_results").glob("*")) == written
