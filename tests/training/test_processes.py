"""The documented command on several processes: `accelerate launch ... -m rlfr_mm.train --config ...`, over gloo.

The policy is untrained and ends its turns at random lengths, so that processes hold rollouts of unequal lengths.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

from rlfr_mm.config import ModelArguments
from rlfr_mm.files import MANIFEST, damage
from rlfr_mm.policy import load_policy
from rlfr_mm.training.run_folder import checkpoints, step_of
from tests.conftest import ROOT

# Two groups of four rollouts per step, over all processes.
SETTINGS = [
    "train.learning_rate=1e-3", "train.num_generations=4", "train.max_completion_length=24", "train.max_steps=4",
    "train.save_steps=2", "train.report_to=none", "data.limit=48", "data.levels=[2,3]", "update.accept_reward=0",
    "flow.num_blocks=2",
]  # fmt: skip
WITHOUT_STAGES = ["evaluation=null", "offline=null", "flow.standardise=false", "flow.random_start=true"]


@pytest.fixture(scope="module")
def policy(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The embedded policy, untrained, with an end-of-turn token that is drawn often."""
    folder = tmp_path_factory.mktemp("ends") / "policy"
    subprocess.run(["cp", "-r", str(tiny_policy), str(folder)], check=True)
    end = json.loads((folder / "generation_config.json").read_text())["eos_token_id"]
    weights = load_file(folder / "model.safetensors")
    (name,) = [name for name in weights if name.endswith("embed_tokens.weight")]
    weights[name][end] *= -3  # the untrained logit is negative nearly everywhere
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


FSDP2 = [
    "--use_fsdp", "--fsdp_version=2", "--fsdp_auto_wrap_policy=TRANSFORMER_BASED_WRAP",
    "--fsdp_state_dict_type=SHARDED_STATE_DICT", "--fsdp_reshard_after_forward=true",
]  # fmt: skip


def launched(processes: int, arguments: list[str], fsdp: bool = False) -> list[str]:
    """The command line; `--multi_gpu` is accelerate's name for torchrun, the workers themselves ask for the CPU."""
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--num_processes={processes}"]
    command += ["--num_machines=1", "--dynamo_backend=no", "--mixed_precision=no", "--main_process_port=0"]
    command += [*(FSDP2 if fsdp else ["--multi_gpu"]), "-m", "tests.fsdp_on_cpu" if fsdp else "rlfr_mm.train"]
    return [*command, "--config", str(ROOT / "configs/rl/quickstart.yaml"), *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(command: list[str]) -> None:
    """Run the command to its end; a failure shows the lines that name errors, of all processes."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "rror" in line)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_bf16_trains_without_a_launcher(policy: Path, tmp_path: Path):
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", "train.bf16=true", *SETTINGS]
    arguments += ["train.per_device_train_batch_size=8", "evaluation.data.limit=8", "offline.max_steps=2"]
    command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(ROOT / "configs/rl/quickstart.yaml"), *arguments]
    run(command)
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]


@pytest.mark.parametrize("normalisation", ["sequence", "batch"])
def test_two_processes_with_rollouts_of_unequal_length(policy: Path, tmp_path: Path, normalisation: str):
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", *SETTINGS, *WITHOUT_STAGES]
    arguments += ["train.per_device_train_batch_size=4", f"flow_reward.normalisation={normalisation}"]
    run(launched(2, arguments))
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]


def test_three_processes_share_groups_and_all_stages(policy: Path, tmp_path: Path):
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", *SETTINGS]
    arguments += ["train.per_device_train_batch_size=4", "train.num_generations=6", "evaluation.data.limit=7"]
    arguments += ["offline.max_steps=2", "offline.batch_size=3", "update.accept_reward=1"]
    run(launched(3, arguments))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4 and summary["accuracy_after"]["n"] == 7
    assert (tmp_path / "final" / "flow" / "flow.safetensors").is_file()


@pytest.fixture(scope="module")
def whole(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of two processes that nothing happens to."""
    folder = tmp_path_factory.mktemp("whole")
    run(launched(2, [f"train.output_dir={folder}", *_shared(policy)]))
    return folder


def _shared(policy: Path) -> list[str]:
    return [f"model.name_or_path={policy}", *SETTINGS, *WITHOUT_STAGES, "train.per_device_train_batch_size=4"]


def _start(folder: Path, checkpoint: str, *arguments: str) -> tuple[subprocess.Popen, list[int]]:
    """Start a run of two processes and wait for a checkpoint; returns the launcher and the processes' ids."""
    command = launched(2, [f"train.output_dir={folder}", *arguments])
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, start_new_session=True)
    while not (folder / checkpoint / MANIFEST).exists():
        assert process.poll() is None
        time.sleep(0.02)
    return process, list(map(int, subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()))


def _assert_same(broken: Path, whole: Path) -> None:
    for name in ("model.safetensors", "flow/flow.safetensors"):
        ours, theirs = load_file(broken / "final" / name), load_file(whole / "final" / name)
        for key, value in theirs.items():
            assert torch.equal(ours[key], value), key
    times = {"step_time"}
    rows = [[{k: v for k, v in row.items() if k not in times} for row in metrics(folder)] for folder in (broken, whole)]
    assert rows[0] == rows[1]


def test_a_killed_process_ends_the_run_and_the_resumed_run_ends_like_an_unbroken_one(
    policy: Path, whole: Path, tmp_path: Path
):
    broken = tmp_path / "broken"
    process, children = _start(broken, "checkpoint-2", *_shared(policy))
    os.kill(children[-1], signal.SIGKILL)
    process.communicate(timeout=60)  # the other process is not left waiting in a gather
    assert process.returncode != 0
    assert not (broken / "final").exists()
    run([*launched(2, [f"train.output_dir={broken}", *_shared(policy)]), "--resume"])
    _assert_same(broken, whole)


def test_a_signal_to_one_process_saves_and_damage_that_one_process_finds_is_seen_by_all(
    policy: Path, whole: Path, tmp_path: Path
):
    broken, often = tmp_path / "broken", [*_shared(policy), "train.save_steps=1"]
    process, children = _start(broken, "checkpoint-1", *often)
    os.kill(children[-1], signal.SIGTERM)
    said = process.communicate(timeout=60)[1].decode()
    assert said.count("stopped by ") == 1 and process.returncode != 0
    newest = checkpoints(broken)[-1]
    assert damage(newest) is None and len(metrics(broken)) == step_of(newest) and not (broken / "final").exists()
    (newest / "rng_state_1.pth").write_bytes(b"")
    command = [*launched(2, [f"train.output_dir={broken}", *often]), "--resume"]
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0 and done.stderr.count("rng_state_1.pth is damaged: it has 0 bytes") == 1, done.stderr
    assert f"continuing from {broken / f'checkpoint-{step_of(newest) - 1}'}" in done.stderr
    _assert_same(broken, whole)


def test_a_sharded_policy_trains_like_a_replicated_one_and_its_checkpoints_open(
    policy: Path, whole: Path, tmp_path: Path
):
    sharded = tmp_path / "sharded"
    run(launched(2, [f"train.output_dir={sharded}", *_shared(policy)], fsdp=True))
    for ours, theirs in zip(metrics(sharded), metrics(whole), strict=True):
        for name in ("loss", "accuracy", "flow/deviation_mean", "flow/field_loss", "entropy"):
            assert ours[name] == pytest.approx(theirs[name], rel=1e-4, abs=1e-5), name

    checkpoint = sharded / "checkpoint-4"
    assert damage(checkpoint) is None and damage(sharded / "final") is None
    with pytest.raises(ValueError, match=r"run `accelerate merge-weights .*pytorch_model_fsdp_0"):
        load_policy(ModelArguments(str(checkpoint)))
    merge = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "merge-weights"]
    run([*merge, str(checkpoint / "pytorch_model_fsdp_0"), str(checkpoint)])
    final = load_policy(ModelArguments(str(sharded / "final"))).state_dict()
    for name, value in load_policy(ModelArguments(str(checkpoint))).state_dict().items():
        assert torch.equal(value, final[name]), name
    assert AutoProcessor.from_pretrained(checkpoint).tokenizer.eos_token == "<|im_end|>"
