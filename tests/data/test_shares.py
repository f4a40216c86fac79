"""The checks of a dataset on several processes: each record once, and an error reaches all of them."""

import json
import os
import subprocess
import sys
from pathlib import Path

from rlfr_mm.data.shares import divided
from tests.conftest import ROOT
from tests.data.rows import bad_records

WORKER = """
import json, os, sys
from accelerate import PartialState
from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.load import LeftOut, load_problems
from rlfr_mm.data.processor import check_prompts, load_processor
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

policy, source, limit = sys.argv[2], sys.argv[3], int(sys.argv[4])
for name, allowed in (("left_out", limit), ("one_too_many", limit - 1), ("many_too_many", limit - 4)):
    args = DataArguments(source, instruction="none", skip_bad_records=allowed, max_prompt_tokens=100)
    left_out = LeftOut(allowed)
    try:
        problems = load_problems(args, left_out)
        kept, _ = check_prompts(problems, load_processor(ModelArguments(policy), args), args, left_out)
        found[name] = left_out.reasons, list(kept["problem_id"])
    except ValueError as error:
        found[name] = str(error)
open(f"{sys.argv[1]}/{state.process_index}.json", "w").write(json.dumps(found))
"""


def test_one_process_checks_everything():
    assert divided(4, lambda indices: [index + 1 for index in indices]) == [1, 2, 3, 4]
    assert divided(0, lambda indices: list(indices)) == []


def test_processes_share_the_checks_and_all_learn_of_the_same_errors(tmp_path: Path, folder: Path, tiny_policy: Path):
    source, reasons = bad_records(folder)
    (tmp_path / "worker.py").write_text(WORKER)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=3"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    command += [str(tmp_path / "worker.py"), str(tmp_path), str(tiny_policy), source, str(len(reasons))]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    found = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(3)]
    assert all(one["all"] == [index**2 for index in range(7)] for one in found)
    assert [index for one in found for index in one["mine"]] == list(range(7))
    assert max(len(one["mine"]) for one in found) == 3
    assert all(one["error"] == "record 3 is broken" for one in found)
    for one in found:
        said, kept = one["left_out"]
        assert [reason in line for reason, line in zip(reasons, said, strict=True)] == [True] * len(reasons)
        assert kept == ["first", "last"] and said == found[0]["left_out"][0]
        assert reasons[-1] in one["one_too_many"] and "skip_bad_records=9 were left out" in one["one_too_many"]
        assert one["many_too_many"] == found[0]["many_too_many"] and "=6 were left out" in one["many_too_many"]
    assert all(one["cores"] == max(1, len(os.sched_getaffinity(0)) // 3) for one in found)
