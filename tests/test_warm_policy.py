"""A pretrained policy from its first command on: problems, warm-up, and RL and measurements on what these write."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlfr_mm.config import DataArguments
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import read_json
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from tests.conftest import ROOT

TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2, "head_dim": 16}
TINY = ["train.max_steps=1", "train.per_device_train_batch_size=8", "train.gradient_accumulation_steps=1",
        "train.max_completion_length=8", "data.limit=32", "evaluation.data.limit=4", "offline.max_steps=2",
        "offline.batch_size=4", "offline.data.limit=8"]  # fmt: skip


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained Llama."""
    folder = tmp_path_factory.mktemp("untrained")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    policy = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=len(tokenizer), **TEXT))
    for each in (policy, tokenizer):
        each.save_pretrained(folder)
    return folder


def warm_up_command(untrained: Path, folder: Path, *options: str) -> list[str]:
    """benchmarks/warm_policy.py."""
    command = [sys.executable, str(ROOT / "benchmarks/warm_policy.py"), "--model", str(untrained), "--out", str(folder)]
    return [*command, "--tokens=24", *options]


def warmed_up(untrained: Path, folder: Path, *options: str) -> Path:
    """What it writes."""
    subprocess.run(warm_up_command(untrained, folder, *options), check=True, cwd=ROOT)
    return folder


@pytest.fixture(scope="module")
def chains(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Chains of four operations, of which the policy answers none."""
    folder = tmp_path_factory.mktemp("chains")
    return warmed_up(untrained, folder, "--warmup-steps=25", "--check=2", "--learning-rate=1e-2")


def signal(folder: Path, record: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """benchmarks/pretrained_signal.py on a few prompts."""
    command = [sys.executable, str(ROOT / "benchmarks/pretrained_signal.py"), "--problems", str(folder)]
    command += ["--prompts=32", "--learn-prompts=16", "--demonstrations=64", "--epochs=1", "--times", "0.8"]
    command += ["--tokens=24", f"--json={record}", *options]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_steps_of_every_problem_lead_to_its_answer(chains: Path):
    splits = {}
    for name in ("train", "test"):
        rows = [json.loads(line) for line in (chains / f"{name}.jsonl").read_text().splitlines()]
        splits[name] = {row["problem"] for row in rows}
        for row in rows:
            *steps, last = row["completion"].splitlines()
            at = re.search(r"has (\d+)", row["problem"])[1]
            for step in steps:
                first, sign, second, result = re.fullmatch(r"(\d+) ([-+*]) (\d+) = (\d+)", step).groups()
                assert first == at and int(result) == eval(first + sign + second) >= 1
                at = result
            assert len(steps) == 4 and at == row["answer"] and last == f"The answer is \\boxed{{{at}}}."
    assert len(splits["test"] - splits["train"]) > 0.99 * len(splits["test"])


def test_the_warm_up_moves_the_policy_and_reports_its_accuracies(untrained: Path, chains: Path):
    before, after = (
        AutoModelForCausalLM.from_pretrained(name).get_input_embeddings().weight
        for name in (untrained, chains / "policy")
    )
    assert (after - before).abs().max() > 1e-2
    assert len(json.loads((chains / "warmup.json").read_text())["accuracies"]) == 2


def test_a_killed_warm_up_goes_on_from_its_last_checkpoint_and_ends_the_same(untrained: Path, tmp_path: Path):
    folder, options = tmp_path / "killed", ("--warmup-steps=40", "--check=2", "--learning-rate=1e-2")
    command = warm_up_command(untrained, folder, *options)
    running = subprocess.Popen(command, cwd=ROOT)
    while not (folder / "warm-up" / "checkpoint-25" / "trainer_state.json").exists():
        assert running.poll() is None
        time.sleep(0.05)
    running.kill()
    running.wait()
    assert not (folder / "warmup.json").exists()
    other = warm_up_command(untrained, folder, *options, "--learning-rate=1e-3", "--solutions=16")
    refused = subprocess.run(other, capture_output=True, text=True, cwd=ROOT)
    begun = f"--out {folder} holds a warm-up begun with --solutions 32, --learning-rate 0.01: choose another folder"
    assert refused.returncode == 2 and begun in refused.stderr
    whole = warmed_up(untrained, tmp_path / "whole", *options)
    warmed_up(untrained, folder, *options)
    ours, theirs = (AutoModelForCausalLM.from_pretrained(each / "policy").state_dict() for each in (folder, whole))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    assert read_json(folder / "warmup.json")["accuracies"] == read_json(whole / "warmup.json")["accuracies"]
    again = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert again.returncode == 2 and f"--out {folder} holds a policy already" in again.stderr


def test_rl_runs_on_what_it_writes(chains: Path, tmp_path: Path):
    sources = [f"{key}={chains / name}" for key, name in (
        ("model.name_or_path", "policy"), ("data.source", "train.jsonl"), ("offline.data.source", "train.jsonl"),
        ("evaluation.data.source", "test.jsonl"),
    )]  # fmt: skip
    command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(ROOT / "configs/rl/base_chains.yaml")]
    run = tmp_path / "run"
    subprocess.run([*command, *sources, *TINY, "train.use_cpu=true", f"train.output_dir={run}"], check=True, cwd=ROOT)
    summary = json.loads((run / "summary.json").read_text())
    assert summary["steps"] == 1 and summary["accuracy_after"]["n"] == 4


@pytest.fixture(scope="module")
def counts(untrained: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Counts without operations, which the policy answers now and then."""
    options = "--steps=0", "--warmup-steps=150", "--check=64", "--learning-rate=5e-3", "--accuracy=0.05"
    return warmed_up(untrained, tmp_path_factory.mktemp("counts"), *options)


def test_short_chains_do_not_occur_in_two_splits(counts: Path):
    train, test = (
        {json.loads(line)["problem"] for line in (counts / f"{name}.jsonl").read_text().splitlines()}
        for name in ("train", "test")
    )
    assert len(test) > 800 and len(train) > 400 and not train & test


def test_the_signal_of_a_policy_that_is_sometimes_right_is_measured_and_goes_on_where_it_was_ended(
    counts: Path, tmp_path: Path
):
    records = []
    for name in ("first", "again"):
        done = signal(counts, tmp_path / f"{name}.json", "--mixed-precision=bf16")
        assert not done.returncode, done.stderr
        assert ("rollouts, test" in done.stderr) == (name == "first")
        records.append(json.loads((tmp_path / f"{name}.json").read_text()) | {"seconds": 0})
    record = records[0]
    assert record == records[1]
    (kept,) = counts.glob("rollouts-test-*.json")
    answers = [json.loads(line)["answer"] for line in (counts / "test.jsonl").read_text().splitlines()][:32]
    right = [
        sum(f"\\boxed{{{answer}}}" in text for text in json.loads(kept.read_text())[8 * i : 8 * i + 8])
        for i, answer in enumerate(answers)
    ]
    assert record["accuracy"] == round(sum(right) / 256, 4)
    assert record["mixed_groups"] == round(sum(0 < each < 8 for each in right) / 32, 4)
    assert {row["score"] for row in record["ranking"]} >= {"log-probability", "minus deviation", "log-ratio"}
    assert "arithmetic chains of 0 operations" in (tmp_path / "first.md").read_text()


def test_without_a_group_of_both_outcomes_nothing_is_ranked(chains: Path, tmp_path: Path):
    done = signal(chains, tmp_path / "record.json")
    error = "error: no group of 8 has both outcomes (accuracy 0.0%): warm the policy up for longer"
    assert done.returncode == 1 and done.stderr.splitlines()[-1] == error
    assert not (tmp_path / "record.json").exists()


def test_bad_input_is_named_before_anything_runs(chains: Path, tmp_path: Path):
    out = tmp_path / "record.json"
    test = chains / "test.jsonl"
    for options, reason in (
        (["--prompts=1025"], f"error: --prompts 1025: {test} has 1024"),
        (["--learn-prompts=8192"], f"error: --learn-prompts 8192: {chains / 'train.jsonl'} has 8192"),
        (["--prompts=0"], "error: --prompts must be at least 1"),
        (["--times=0.5"], "one of them 0.8, at which the layers are compared"),
        ([f"--problems={tmp_path}"], f"error: {tmp_path} holds no warmup.json: benchmarks/warm_policy.py"),
    ):
        done = signal(chains, out, *options)
        assert done.returncode and reason in done.stderr.splitlines()[-1], done.stderr
    out.write_text("{}")
    command = [sys.executable, str(ROOT / "benchmarks/pretrained_signal.py")]
    for options, reason in (([], "give --problems"), ([f"--json={out}"], "is not a record of this benchmark")):
        done = subprocess.run([*command, *options], capture_output=True, text=True, cwd=ROOT)
        assert done.returncode and reason in done.stderr.splitlines()[-1], done.stderr


def test_the_easy_questions_of_gsm8k_have_the_shortest_solutions(untrained: Path, shared: Path, tmp_path: Path):
    options = f"--gsm8k={shared / 'hub' / 'openai/gsm8k'}", "--warmup-steps=1", "--check=2"
    folder = warmed_up(untrained, tmp_path / "gsm8k", *options)
    splits = {name: DataArguments(str(folder / f"{name}.jsonl"), instruction="none") for name in ("train", "test")}
    rows = {name: list(load_demonstrations(data)) for name, data in splits.items()}
    assert {name: len(found) for name, found in rows.items()} == {"train": 2560, "test": 440}
    lengths = [len(row["completion"]) for row in rows["test"]]
    whole = load_demonstrations(DataArguments(str(shared / "hub" / "openai/gsm8k"), name="main", split="test"))
    assert lengths == sorted(len(row["completion"]) for row in whole)[:440]
    for row in rows["test"]:
        assert row["completion"].endswith(f"\\boxed{{{row['solution']}}}") and "<<" not in row["completion"]
        assert row["prompt"][-1]["content"].endswith("put your final answer within \\boxed{}.")
