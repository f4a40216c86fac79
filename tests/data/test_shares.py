"""The checks of a dataset on several processes: each record once, and an error reaches all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from rlfr_mm.data.shares import divided
from tests.conftest import ROOT

WORKER = """
import json, os, sys
from accelerate import PartialState
from rlfr_mm.data.shares import divided
from rlfr_mm.grading.pool import available_cores

state, seen = PartialState(cpu=True), []

def check(indices):
    seen.extend(indices)
    return [index**2 for index in indices]

def refuse(indices):
    for index in indices:
        if index >= 3:
            raise ValueError(f"record {index} is broken")
    return list(indices)

found = {"all": divided(7, check), "mine": seen, "cores": available_cores()}
try:
    divided(7, refuse)
except ValueError as error:
    found["error"] = str(error)
open(f"{sys.argv[1]}/{state.process_index}.json", "w").write(json.dumps(found))
"""


def test_one_process_checks_everything():
    assert divided(4, lambda indices: [index + 1 for index in indices]) == [1, 2, 3, 4]
    assert divided(0, lambda indices: list(indices)) == []


def test_processes_share_the_checks_and_all_learn_of_the_first_error(tmp_path: Path):
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command += [str(tmp_path / "worker.py"), str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert all(one["all"] == [index**2 for index in range(7)] for one in found)
    assert [index for one in found for index in one["mine"]] == list(range(7))
    assert max(len(one["mine"]) for one in found) == 3
    assert all(one["error"] == "record 3 is broken" for one in found)
    assert all(one["cores"] == max(1, len(os.sched_getaffinity(0)) // 3) for one in found)
