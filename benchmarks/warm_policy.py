"""Teach a pretrained policy the format of problems, and write it with the problems.

    python benchmarks/warm_policy.py --model .cache/real_model/policy --out .cache/chains
    python benchmarks/warm_policy.py --model .cache/real_model/policy --out .cache/gsm8k --gsm8k openai/gsm8k

The problems are arithmetic chains in words, or the questions of GSM8K with the shortest solutions. The folder then
holds `policy`, and the problems with expert solutions in `train.jsonl` and `test.jsonl`: `pretrained_signal.py`
measures on them, and configs/experiments/pretrained_chains.yaml trains on chains. `make real-model` makes the
pretrained policy.
"""

import argparse
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from arithmetic_chains import TEST, TRAIN, problems
from datasets import Dataset
from transformers import AutoTokenizer, TrainerCallback, TrainerControl, TrainerState
from trl import SFTConfig, SFTTrainer

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import read_json, write_json, write_whole
from rlfr_mm.policy import answer_problems, load_policy
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment

PASS = 8  # solutions of the warm-up at once
CHECK_EVERY = 25
EASY = {"train": 2560, "test": 440}  # a third of each split of GSM8K
SETTINGS = ("model", "gsm8k", "steps", "solutions", "learning_rate", "mixed_precision")  # one warm-up has one of each
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
    learnt = options.solutions * options.warmup_steps
    asked = [(1024, TEST), (options.check, TEST - 1_000_000), (learnt, TRAIN + 5_000_000)]
    seen: set[str] = set()
    parts = []
    for number, first in [*asked, (8192, TRAIN)]:
        rows = [row for row in problems(number, options.steps, first) if row["prompt"][0]["content"] not in seen]
        seen.update(row["prompt"][0]["content"] for row in rows)
        parts.append(rows)
    if not all(parts):
        raise ValueError(f"--steps {options.steps}: there are too few different problems; ask for more steps")
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


class AccuracyCheck(TrainerCallback):
    """Answers the problems for it before the first step and every CHECK_EVERY steps; ends a warm-up that does well."""

    def __init__(self, given: Problems, tokenizer: Any, options: argparse.Namespace):
        self.given, self.tokenizer, self.options = given, tokenizer, options
        self.trainer: SFTTrainer | None = None

    def on_train_begin(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step == 0:
            self.check(control)

    def on_step_end(self, args: SFTConfig, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        if state.global_step % CHECK_EVERY == 0:
            self.check(control)

    def check(self, control: TrainerControl) -> None:
        assert self.trainer is not None
        policy, rows = self.trainer.model.eval(), self.given.check
        sampling: dict[str, Any] = {"max_new_tokens": self.options.tokens, "temperature": 1.0, "seed": 1}
        with self.trainer.accelerator.autocast():
            texts = answer_problems(policy, self.tokenizer, rows, batch_size=self.options.batch, **sampling)
        policy.train()
        rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in rows])
        accuracy = round(sum(reward == 1 for reward in rewards) / len(rewards), 4)
        self.trainer.log({"accuracy": accuracy})
        control.should_training_stop |= accuracy >= self.options.accuracy


def warm_up(policy: Any, tokenizer: Any, given: Problems, options: argparse.Namespace) -> list[float]:
    """Train the policy on expert solutions until it reaches the wanted accuracy; returns the accuracies on the way.

    A warm-up that was ended goes on from its last checkpoint in the folder `warm-up`.
    """
    working = options.out / "warm-up"
    config = SFTConfig(
        str(working), learning_rate=options.learning_rate, lr_scheduler_type="constant", max_steps=options.warmup_steps,
        per_device_train_batch_size=PASS, gradient_accumulation_steps=options.solutions // PASS, weight_decay=0.01,
        save_steps=CHECK_EVERY, save_total_limit=1, logging_steps=CHECK_EVERY, report_to="none", seed=0,
        train_sampling_strategy="group_by_length", gradient_checkpointing=False, max_length=None,
        bf16=options.mixed_precision == "bf16", use_cpu=not torch.cuda.is_available(), dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [
        {"prompt": row["prompt"], "completion": [{"role": "assistant", "content": row["completion"]}]}
        for row in given.warm_up
    ]
    check = AccuracyCheck(given, tokenizer, options)
    trainer = check.trainer = SFTTrainer(
        policy, config, train_dataset=Dataset.from_list(rows), processing_class=tokenizer, callbacks=[check]
    )
    trainer.train(resume_from_checkpoint=any(working.glob("checkpoint-*")))
    policy.eval()
    return [row["accuracy"] for row in trainer.state.log_history if "accuracy" in row]


def keep_settings(options: argparse.Namespace) -> None:
    """Write the settings of a new warm-up; ValueError if one that goes on was begun with others."""
    settings, file = {name: getattr(options, name) for name in SETTINGS}, options.out / "warm-up" / "settings.json"
    if file.exists():
        begun = read_json(file)
        other = [f"--{name.replace('_', '-')} {begun[name]}" for name in SETTINGS if begun[name] != settings[name]]
        if other:
            raise ValueError(
                f"--out {options.out} holds a warm-up begun with {', '.join(other)}: choose another folder"
            )
    write_json(file, settings)


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
    parser.add_argument("--solutions", type=int, default=32, help=f"per step of the warm-up, a multiple of {PASS}")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="of the warm-up")
    parser.add_argument("--check", type=int, default=256, help="problems of each accuracy during the warm-up")
    parser.add_argument("--tokens", type=int, default=96, help="longest response")
    parser.add_argument("--batch", type=int, default=256, help="problems answered at once")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    options = parser.parse_args()
    for name in ("warmup_steps", "check", "tokens", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if options.solutions < PASS or options.solutions % PASS:
        parser.error(f"--solutions {options.solutions}: give a multiple of {PASS}")
    try:
        write(options)
    except (OSError, ValueError) as error:
        parser.error(str(error))


def write(options: argparse.Namespace) -> None:
    """Warm the policy up, and write it and its problems."""
    if (options.out / "warmup.json").exists():
        raise ValueError(f"--out {options.out} holds a policy already: choose another folder")
    torch.manual_seed(0)
    began, device = time.monotonic(), "cuda" if torch.cuda.is_available() else "cpu"
    given = easy_gsm8k(options) if options.gsm8k else chains(options)
    keep_settings(options)
    policy = load_policy(ModelArguments(name_or_path=options.model)).to(device)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    accuracies = warm_up(policy, tokenizer, given, options)
    policy.save_pretrained(options.out / "policy")
    tokenizer.save_pretrained(options.out / "policy")
    for name, rows in (("train", given.train), ("test", given.test)):
        write_whole(options.out / f"{name}.jsonl", "\n".join(map(line, rows)) + "\n")
    record = {"model": Path(options.model).name, "problems": given.name, "accuracies": accuracies}
    record |= {"learning_rate": options.learning_rate, "solutions_per_step": options.solutions}
    record |= {"seconds": round(time.monotonic() - began, 1), **environment()}
    write_json(options.out / "warmup.json", record, indent=1)


if __name__ == "__main__":
    main()
