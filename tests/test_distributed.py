"""Two processes on one machine, started with `accelerate launch`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.loss import scored_tokens
from tests.conftest import ROOT
from tests.distributed_worker import train_on_given_rollouts, update


@pytest.fixture(scope="module")
def two_processes(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that both processes of one launch wrote to."""
    out = tmp_path_factory.mktemp("distributed")
    # `--multi_gpu` is accelerate's name for torchrun; the workers themselves ask for the CPU.
    command = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes=2"]
    command += ["--num_machines=1", "--mixed_precision=no", "--dynamo_backend=no", "--main_process_port=29611"]
    command += ["-m", "tests.distributed_worker", str(tiny_policy), str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    result = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert result.returncode == 0, result.stderr[-3000:]
    return out


def test_two_processes_make_the_field_update_of_one(two_processes: Path, tmp_path: Path):
    update(tmp_path)
    one = torch.load(tmp_path / "update-1-0.pt", weights_only=True)
    first, second = (torch.load(two_processes / f"update-2-{index}.pt", weights_only=True) for index in (0, 1))
    for name, value in one["field"].items():
        torch.testing.assert_close(first["field"][name], value, rtol=0, atol=1e-9)
        assert torch.equal(first["field"][name], second["field"][name])
    torch.testing.assert_close(torch.tensor(first["losses"]), torch.tensor(one["losses"]))


def test_two_processes_train_policy_and_field_as_one_on_given_rollouts(
    two_processes: Path, tiny_policy: Path, tmp_path: Path
):
    train_on_given_rollouts(tiny_policy, tmp_path)
    one = torch.load(tmp_path / "given-1-0.pt", weights_only=True)
    before = AutoModelForImageTextToText.from_pretrained(tiny_policy).state_dict()
    assert not torch.equal(one["policy"]["lm_head.weight"], before["lm_head.weight"].double())
    for index in (0, 1):
        ours = torch.load(two_processes / f"given-2-{index}.pt", weights_only=True)
        for part in ("policy", "field"):
            for name, value in one[part].items():
                torch.testing.assert_close(ours[part][name], value, rtol=0, atol=1e-6, msg=f"{part} {name}")


def test_a_group_spread_over_two_processes_is_normalised_as_one(two_processes: Path):
    parts = [torch.load(two_processes / f"train-{index}.pt", weights_only=True) for index in (0, 1)]
    for name, value in parts[0]["field"].items():
        assert torch.equal(value, parts[1]["field"][name])
    length = max(part["mask"].shape[1] for part in parts)

    def joined(name: str) -> torch.Tensor:
        return torch.cat([torch.nn.functional.pad(p[name], (0, length - p[name].shape[1])) for p in parts])

    config = FlowRewardConfig(normalisation="group", flow_coef=0.5)
    expected = flow_reward(joined("deviation"), scored_tokens(joined("mask"), [1]), config, num_generations=4)
    torch.testing.assert_close(joined("flow_reward"), expected)
    assert (two_processes / "run" / "checkpoint-2" / "flow" / "flow.safetensors").is_file()
