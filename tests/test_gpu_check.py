"""The check for GPUs runs at tiny shapes on a CPU, through every part of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoProcessor

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


def test_the_7b_shape_has_the_parameters_of_the_7b_in_bfloat16(tiny_policy: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    weights = dict(gpu_check.policy_of("7b", processor, torch.device("meta")).named_parameters())
    assert sum(weight.numel() for weight in weights.values()) == 8_292_166_656  # as the model on the hub has
    assert {weight.dtype for weight in weights.values()} == {torch.bfloat16}
    assert weights["lm_head.weight"] is not weights["model.language_model.embed_tokens.weight"]


def test_the_small_check_has_no_other_shape(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import gpu_check

    monkeypatch.setattr("sys.argv", ["gpu_check.py", "--small", "--shape=7b"])
    with pytest.raises(SystemExit):
        gpu_check.main()
    assert "--small has a shape of its own: leave --shape out" in capsys.readouterr().err
