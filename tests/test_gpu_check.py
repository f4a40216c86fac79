"""The check for GPUs runs at tiny shapes on a CPU, through every part of it."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_the_small_check_writes_a_record_of_every_part(tmp_path: Path):
    record = tmp_path / "record.json"
    command = [sys.executable, str(ROOT / "benchmarks/gpu_check.py"), "--small", "--steps=1", "--json", str(record)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    figures = json.loads(record.read_text())
    assert figures["field"] == {"velocity": 0, "gradient": 0}  # the CPU against itself
    assert figures["command"]["steps"] == 4
    assert 0 <= figures["precision"]["shared_top15"] <= 1
    step = figures["step"]
    assert step["ratio"] == step["flow"]["seconds"] / step["none"]["seconds"] > 0
