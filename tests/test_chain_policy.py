"""The pretrained experiment from its first command on: the problems, the warm-up, and RL on what these write."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from tests.conftest import ROOT

TEXT = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 4, "num_attention_heads": 2, "head_dim": 16}
TINY = ["train.max_steps=1", "train.per_device_train_batch_size=8", "train.gradient_accumulation_steps=1",
        "train.max_completion_length=8", "data.limit=32", "evaluation.data.limit=4", "offline.max_steps=2",
        "offline.batch_size=4", "offline.data.limit=8"]  # fmt: skip


@pytest.fixture(scope="module")
def chains(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What benchmarks/chain_policy.py writes, from an untrained Llama."""
    folder = tmp_path_factory.mktemp("chains")
    torch.manual_seed(0)
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    policy = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", vocab_size=len(tokenizer), **TEXT))
    for each in (policy, tokenizer):
        each.save_pretrained(folder / "pretrained")
    command = [sys.executable, str(ROOT / "benchmarks/chain_policy.py"), "--model", str(folder / "pretrained")]
    command += ["--out", str(folder), "--warmup-steps=25", "--check=2", "--tokens=24", "--learning-rate=1e-2"]
    subprocess.run(command, check=True, cwd=ROOT)
    return folder


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
                assert first == at and int(result) == eval(first + sign + second) >= 0
                at = result
            assert len(steps) == 4 and at == row["answer"] and last == f"The answer is \\boxed{{{at}}}."
    assert len(splits["test"] - splits["train"]) > 0.99 * len(splits["test"])


def test_the_warm_up_moves_the_policy_and_reports_its_accuracies(chains: Path):
    before, after = (
        AutoModelForCausalLM.from_pretrained(chains / name).get_input_embeddings().weight
        for name in ("pretrained", "policy")
    )
    assert (after - before).abs().max() > 1e-2
    assert len(json.loads((chains / "warmup.json").read_text())["accuracies"]) == 2


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
