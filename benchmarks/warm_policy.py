"""Teach a pretrained policy the format of problems, and write it with the problems.

    python benchmarks/warm_policy.py --model .cache/real_model/policy --out .cache/chains
    python benchmarks/warm_policy.py --model .cache/real_model/policy --out .cache/gsm8k --gsm8k openai/gsm8k

The problems are arithmetic chains in words, or the questions of GSM8K with the shortest solutions. The folder then
holds `policy`, and the problems with expert solutions in `train.jsonl` and `test.jsonl`: `pretrained_signal.py`
measures on them, and configs/experiments/pretrained_chains.yaml trains on chains. `make real-model` makes the
pretrained policy.
"""

import argparse
import itertools
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from arithmetic_chains import TEST, TRAIN, problems
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import write_json, write_whole
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment

BATCH, PASS = 32, 8  # solutions per step of the warm-up, and at once
CHECK_EVERY = 25
EASY = {"train": 2560, "test": 440}  # a third of each split of GSM8K
HELD_OUT = 512  # the last questions of train.jsonl, which the warm-up does not see

Row = dict[str, Any]


@dataclass(frozen=True)
class Problems:
    """Rows with prompt, solution and completion, by their use."""

    name: str
    warm_up: list[Row]  # the warm-up learns these over and over
    check: list[Row]  # for the accuracies of the warm-up
    train: list[Row]
    test: list[Row]


def chains(options: argparse.Namespace) -> Problems:
    """Arithmetic chains; no problem is in two of the splits, however short the chains are."""
    name = f"arithmetic chains of {options.steps} operations in words"
    asked = [(1024, TEST), (options.check, TEST - 1_000_000), (BATCH * options.warmup_steps, TRAIN + 5_000_000)]
    seen: set[str] = set()
    parts = []
    for number, first in [*asked, (8192, TRAIN)]:
        rows = [row for row in problems(number, options.steps, first) if row["prompt"][0]["content"] not in seen]
        seen.update(row["prompt"][0]["content"] for row in rows)
        parts.append(rows)
    test, check, warm_up, train = parts
    return Problems(name, warm_up, check, train, test)


def easy_gsm8k(options: argparse.Namespace) -> Problems:
    """The questions with the shortest solutions; all of train.jsonl but its last `HELD_OUT` are for the warm-up."""
    if options.check > HELD_OUT:
        raise ValueError(f"--check {options.check}: {HELD_OUT} questions are held out of the warm-up")
    rows = {}
    for split, number in EASY.items():
        data = DataArguments(source=options.gsm8k, name="main", split=split, instruction="boxed")
        rows[split] = sorted(load_demonstrations(data), key=lambda row: len(row["completion"]))[:number]
        if len(rows[split]) < number:
            raise ValueError(f"--gsm8k {options.gsm8k}: {split} has {len(rows[split])} questions, fewer than {number}")
    train = random.Random(0).sample(rows["train"], EASY["train"])
    name = "the third of GSM8K's questions with the shortest solutions"
    return Problems(name, train[:-HELD_OUT], train[-HELD_OUT:][: options.check], train, rows["test"])


def warm_up(
    policy: Any, tokenizer: Any, given: Problems, options: argparse.Namespace, accelerator: Accelerator
) -> list[float]:
    """Train the policy on expert solutions until it reaches the wanted accuracy; returns the accuracies on the way."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=options.learning_rate)
    solutions, accuracies = itertools.cycle(given.warm_up), []
    for step in range(options.warmup_steps + 1):
        if step % CHECK_EVERY == 0:
            policy.eval()
            with accelerator.autocast():
                texts = answer_problems(
                    policy, tokenizer, given.check, batch_size=options.batch, max_new_tokens=options.tokens,
                    temperature=1.0, seed=1,
                )  # fmt: skip
            rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in given.check])
            accuracies.append(round(sum(reward == 1 for reward in rewards) / len(rewards), 4))
            print(f"warm-up step {step}: accuracy {accuracies[-1]}", flush=True)
            if accuracies[-1] >= options.accuracy:
                break
        if step == options.warmup_steps:
            break
        policy.train()
        rows = sorted(itertools.islice(solutions, BATCH), key=lambda row: len(row["prompt"][-1]["content"]))
        for start in range(0, BATCH, PASS):
            with accelerator.autocast():
                loss = mean_loss(policy, tokenizer, rows[start : start + PASS], options.tokens)
            (loss * PASS / BATCH).backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    policy.eval()
    return accuracies


def mean_loss(policy: Any, tokenizer: Any, rows: list[Row], tokens: int) -> torch.Tensor:
    """The policy's mean negative log-probability of a token of the rows' expert solutions."""
    inputs, mask = encode_demonstrations(rows, tokenizer, tokens)
    inputs, mask = {name: value.to(policy.device) for name, value in inputs.items()}, mask.to(policy.device)
    length = mask.shape[1]
    logits = policy(**inputs, logits_to_keep=length + 1).logits[:, :-1].float()
    return cross_entropy(logits[mask], inputs["input_ids"][:, -length:][mask])


def line(row: Row) -> str:
    """The problem as a line of a data file."""
    return json.dumps(
        {
            "problem_id": row["problem_id"],
            "problem": row["prompt"][-1]["content"],
            "answer": row["solution"],
            "completion": row["completion"],
        }
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a pretrained text policy")
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument("--gsm8k", metavar="NAME", help="openai/gsm8k or a folder with a copy; without it, chains")
    parser.add_argument("--steps", type=int, default=4, help="operations per chain")
    parser.add_argument("--accuracy", type=float, default=0.35, help="ends the warm-up")
    parser.add_argument("--warmup-steps", type=int, default=400, help="at most")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="of the warm-up")
    parser.add_argument("--check", type=int, default=256, help="problems of each accuracy during the warm-up")
    parser.add_argument("--tokens", type=int, default=96, help="longest response")
    parser.add_argument("--batch", type=int, default=256, help="problems answered at once")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    options = parser.parse_args()
    for name in ("check", "tokens", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} must be at least 1")
    try:
        write(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def write(options: argparse.Namespace) -> None:
    """Warm the policy up, and write it and its problems."""
    torch.manual_seed(0)
    began, accelerator = time.monotonic(), Accelerator(mixed_precision=options.mixed_precision)
    given = easy_gsm8k(options) if options.gsm8k else chains(options)
    policy = load_policy(ModelArguments(name_or_path=options.model)).to(accelerator.device)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    accuracies = warm_up(policy, tokenizer, given, options, accelerator)
    policy.save_pretrained(options.out / "policy")
    tokenizer.save_pretrained(options.out / "policy")
    for name, rows in (("train", given.train), ("test", given.test)):
        write_whole(options.out / f"{name}.jsonl", "\n".join(map(line, rows)) + "\n")
    record = {"model": Path(options.model).name, "problems": given.name, "accuracies": accuracies}
    record |= {"seconds": round(time.monotonic() - began, 1), **environment()}
    write_json(options.out / "warmup.json", record, indent=1)


if __name__ == "__main__":
    main()
