"""The documented command on several processes: `accelerate launch ... -m rlfr_mm.train --config ...`, over gloo.

The policy is untrained and ends its turns at random lengths, so that processes hold rollouts of unequal lengths.
"""

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pandas
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor

from rlfr_mm.config import ModelArguments
from rlfr_mm.files import MANIFEST, damage
from rlfr_mm.policy import load_policy
from rlfr_mm.training.run_folder import checkpoints, step_of
from tests.conftest import ROOT

# Two groups of four rollouts per step, over all processes, and two steps per epoch: runs resume within the second one.
SETTINGS = [
    "train.learning_rate=1e-3", "train.num_generations=4", "train.max_completion_length=24", "train.max_steps=4",
    "train.save_steps=3", "train.report_to=none", "data.limit=4", "data.levels=[2,3]", "update.accept_reward=0",
    "flow.num_blocks=2",
]  # fmt: skip
WITHOUT_STAGES = ["evaluation=null", "offline=null", "flow.random_start=true", "flow.standardise=false"]


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


ZERO = {2: ["--use_deepspeed", "--zero_stage=2"], 3: [f"--config_file={ROOT / 'configs/accelerate/zero3.yaml'}"]}
REPLICATED = ["--multi_gpu"]  # accelerate's name for torchrun; the workers themselves ask for the CPU


def launched(processes: int, arguments: list[str], how: list[str] = REPLICATED, precision: str = "no") -> list[str]:
    """The command line of `processes` processes on this machine."""
    command = [sys.executable, "-m", "accelerate.commands.launch", *how, f"--num_processes={processes}"]
    command += ["--num_machines=1", "--dynamo_backend=no", f"--mixed_precision={precision}", "--main_process_port=0"]
    command += ["-m", "tests.fsdp_on_cpu" if how == FSDP2 else "rlfr_mm.train"]
    return [*command, "--config", str(ROOT / "configs/rl/quickstart.yaml"), *arguments]


def environment() -> dict[str, str]:
    return os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}


def run(command: list[str]) -> None:
    """Run the command to its end; a failure shows the lines that name errors, of all processes."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "rror" in line)


def metrics(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def assert_same_files(ours: Path, theirs: Path) -> None:
    """Policy and field have the same bits, and the metrics the same values."""
    for name in ("final/model.safetensors", "final/flow/flow.safetensors"):
        saved, expected = load_file(ours / name), load_file(theirs / name)
        assert saved.keys() == expected.keys()
        for key, value in expected.items():
            assert torch.equal(saved[key], value), key
    first, second = ([{k: v for k, v in row.items() if k != "step_time"} for row in metrics(f)] for f in (ours, theirs))
    assert first == second


def rewound(run_folder: Path) -> Path:
    """A copy of a finished run as a kill after checkpoint-3 leaves it."""
    copy = run_folder.with_name(run_folder.name + "-rewound")
    run_folder.rename(copy)  # the settings on record name the folder, so that the original moves away
    shutil.copytree(copy, run_folder)
    for name in ("checkpoint-4", "final"):
        shutil.rmtree(run_folder / name)
    for name in ("summary.json", "stages.json"):
        (run_folder / name).unlink()
    return copy


@pytest.fixture(scope="module")
def replicated(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An unbroken run on two processes, with which the others are compared."""
    folder = tmp_path_factory.mktemp("replicated") / "run"
    run(launched(2, [f"train.output_dir={folder}", *common(policy)]))
    return folder


def common(policy: Path) -> list[str]:
    """Settings of the runs that are compared."""
    return [f"model.name_or_path={policy}", *SETTINGS, *WITHOUT_STAGES, "train.per_device_train_batch_size=4"]


def assert_trained_alike(ours: Path, theirs: Path) -> None:
    for row, expected in zip(metrics(ours), metrics(theirs), strict=True):
        for name in ("loss", "accuracy", "flow/deviation_mean", "flow/field_loss", "entropy"):
            assert row[name] == pytest.approx(expected[name], rel=1e-4, abs=1e-5), name


def test_bf16_trains_without_a_launcher(policy: Path, tmp_path: Path):
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", "train.bf16=true", *SETTINGS]
    arguments += ["train.per_device_train_batch_size=8", "evaluation.data.limit=8", "offline.max_steps=2"]
    command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(ROOT / "configs/rl/quickstart.yaml"), *arguments]
    run(command)
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]


def test_an_adapter_is_trained_on_rollouts_of_unequal_length_that_are_normalised_as_one_batch(
    policy: Path, tmp_path: Path
):
    arguments = [*common(policy), f"train.output_dir={tmp_path}", "flow_reward.normalisation=batch"]
    arguments += ["evaluation={steps: 2, data: {split: test, limit: 9}}"]  # answered by both
    run(launched(2, [*arguments, "model.lora={r: 4, target_modules: [q_proj, v_proj]}"]))
    assert [row["step"] for row in metrics(tmp_path)] == [1, 2, 3, 4]
    assert [row["step"] for row in metrics(tmp_path) if "held_out/accuracy" in row] == [2, 4]
    for step in (2, 4):
        lines = (tmp_path / "evaluation" / f"step-00000{step}.jsonl").read_text().splitlines()
        assert len({json.loads(line)["problem_id"] for line in lines}) == len(lines) == 9
    adapter = load_file(tmp_path / "final" / "adapter_model.safetensors")
    assert all(value.any() for value in adapter.values())  # lora_B starts at zero
    assert load_policy(ModelArguments(str(tmp_path / "final"))).active_adapter == "default"


def test_three_processes_share_groups_and_all_stages(policy: Path, tmp_path: Path):
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", *SETTINGS]
    arguments += ["train.per_device_train_batch_size=4", "train.num_generations=6", "evaluation.data.limit=7"]
    arguments += ["offline.max_steps=2", "offline.batch_size=3", "update.accept_reward=1", "train.log_completions=true"]
    arguments += ["train.generation_kwargs={min_new_tokens: 8}"]
    run(launched(3, arguments))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["steps"] == 4 and summary["accuracy_after"]["n"] == 7
    assert (tmp_path / "final" / "flow" / "flow.safetensors").is_file()
    for logged in (tmp_path / "completions").iterdir():
        sampled = pandas.read_parquet(logged)["completion"].tolist()
        assert len(set(sampled)) == len(sampled) == 12  # no process samples what another does


def _start(folder: Path, checkpoint: str, *arguments: str) -> tuple[subprocess.Popen, list[int]]:
    """Start a run of two processes and wait for a checkpoint; returns the launcher and the processes' ids."""
    command = launched(2, [f"train.output_dir={folder}", *arguments])
    process = subprocess.Popen(command, cwd=ROOT, env=environment(), stderr=subprocess.PIPE, start_new_session=True)
    while not (folder / checkpoint / MANIFEST).exists():
        assert process.poll() is None
        time.sleep(0.02)
    return process, list(map(int, subprocess.check_output(["pgrep", "-P", str(process.pid)], text=True).split()))


def test_a_killed_process_ends_the_run_and_the_resumed_run_ends_like_an_unbroken_one(
    policy: Path, replicated: Path, tmp_path: Path
):
    broken = tmp_path / "broken"
    process, children = _start(broken, "checkpoint-3", *common(policy))
    os.kill(children[-1], signal.SIGKILL)
    process.communicate(timeout=60)  # the other process is not left waiting in a gather
    assert process.returncode != 0
    assert not (broken / "final").exists()

    run([*launched(2, [f"train.output_dir={broken}", *common(policy)]), "--resume"])
    assert_same_files(broken, replicated)


def test_a_signal_to_one_process_saves_and_damage_that_one_process_finds_is_seen_by_all(
    policy: Path, replicated: Path, tmp_path: Path
):
    broken, often = tmp_path / "broken", [*common(policy), "train.save_steps=1"]
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
    assert_same_files(broken, replicated)


def test_the_documented_slurm_script_stops_the_launcher_with_a_checkpoint_and_continues_the_run(
    policy: Path, replicated: Path, tmp_path: Path
):
    folder, page = tmp_path / "run", (ROOT / "docs" / "reliability.md").read_text()
    (script,) = [block for block in re.findall(r"(?:^    .+\n)+", page, re.MULTILINE) if "accelerate launch" in block]
    command = shlex.join(launched(2, [f"train.output_dir={folder}", *common(policy)]))
    script = re.sub(r"accelerate launch .*my_run\.yaml", lambda _: command, script).replace("runs/my_run", str(folder))
    script = f"scontrol() {{ echo $*; }}\nSLURM_JOB_ID=7\n{script}"
    start = partial(subprocess.Popen, ["bash", "-c", script], cwd=ROOT, env=environment(), stdout=subprocess.PIPE)
    job = start(stderr=subprocess.PIPE, start_new_session=True)
    while not (folder / "metrics.jsonl").exists():
        assert job.poll() is None
        time.sleep(0.02)
    job.send_signal(signal.SIGUSR1)
    said, errors = job.communicate(timeout=300)
    assert said.decode().endswith("requeue 7\n") and errors.decode().count("stopped by SIGTERM after step ") == 1
    assert len(metrics(folder)) == step_of(checkpoints(folder)[-1]) < 4
    job = start()
    assert "requeue" not in job.communicate(timeout=500)[0].decode()
    assert_same_files(folder, replicated)


def test_a_sharded_policy_trains_like_a_replicated_one_resumes_exactly_and_its_checkpoints_open(
    policy: Path, replicated: Path, tmp_path: Path
):
    sharded = tmp_path / "sharded"
    command = launched(2, [f"train.output_dir={sharded}", *common(policy)], FSDP2)
    run(command)
    assert_trained_alike(sharded, replicated)
    unbroken = rewound(sharded)
    run([*command, "--resume"])
    assert_same_files(sharded, unbroken)

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


@pytest.mark.parametrize("stage", [2, 3])
def test_deepspeed_trains_like_replicated_policies_and_resumes_exactly(
    policy: Path, replicated: Path, tmp_path: Path, stage: int
):
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    folder = tmp_path / "zero"
    command = launched(2, [f"train.output_dir={folder}", *common(policy)], ZERO[stage])
    run(command)
    assert_trained_alike(folder, replicated)
    final, expected = (load_policy(ModelArguments(str(f / "final"))).state_dict() for f in (folder, replicated))
    for name, value in expected.items():
        torch.testing.assert_close(final[name], value, rtol=0, atol=1e-4, msg=name)
    unbroken = rewound(folder)
    run([*command, "--resume"])
    assert_same_files(folder, unbroken)


def test_zero_3_runs_the_stages_around_training_on_the_whole_policy(policy: Path, tmp_path: Path):
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    arguments = [f"model.name_or_path={policy}", f"train.output_dir={tmp_path}", *SETTINGS]
    arguments += ["train.per_device_train_batch_size=4", "evaluation.data.limit=7", "offline.max_steps=2"]
    run(launched(2, arguments, ZERO[3]))
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["accuracy_before"]["n"] == summary["accuracy_after"]["n"] == 7


def test_zero_3_in_bf16_saves_a_finite_bf16_policy_and_resumes_exactly(policy: Path, tmp_path: Path):
    pytest.importorskip("deepspeed", reason="deepspeed is not installed")
    folder = tmp_path / "zero"
    arguments = [f"train.output_dir={folder}", *common(policy), "train.bf16=true"]
    command = launched(2, arguments, ZERO[3], precision="bf16")
    run(command)
    assert [row["step"] for row in metrics(folder)] == [1, 2, 3, 4]
    for name, value in load_file(folder / "final/model.safetensors").items():
        assert value.dtype == torch.bfloat16 and value.isfinite().all(), name
    unbroken = rewound(folder)
    run([*command, "--resume"])
    assert_same_files(folder, unbroken)
