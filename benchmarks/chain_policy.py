"""Teach a pretrained policy the format of the arithmetic chains, and write it with the problems for RL.

    python benchmarks/chain_policy.py --model .cache/real_model/policy --out .cache/chains

The folder then holds `policy`, and the problems in `train.jsonl` (with expert solutions) and `test.jsonl`;
configs/experiments/pretrained_chains.yaml trains from it. `make real-model` makes the pretrained policy.
"""

import argparse
import json
from pathlib import Path
from typing import Any

import torch
from arithmetic_chains import TEST, TRAIN, problems
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer

from rlfr_mm.config import ModelArguments
from rlfr_mm.files import write_json, write_whole
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment

FILES = {"train": (TRAIN, 8192), "test": (TEST, 1024)}  # first seed and number of the problems


def warm_up(policy: Any, tokenizer: Any, options: argparse.Namespace) -> list[float]:
    """Train the policy on expert solutions until it reaches the wanted accuracy; returns the accuracies on the way."""
    optimizer = torch.optim.AdamW(policy.parameters(), lr=options.learning_rate)
    held_out, accuracies = problems(options.check, options.steps, TEST - 1_000_000), []
    for step in range(options.warmup_steps + 1):
        if step % 25 == 0:
            policy.eval()
            texts = answer_problems(
                policy, tokenizer, held_out, batch_size=options.batch, max_new_tokens=options.tokens, temperature=1.0,
                seed=1,
            )  # fmt: skip
            rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in held_out])
            accuracies.append(round(sum(reward == 1 for reward in rewards) / len(rewards), 4))
            print(f"warm-up step {step}: accuracy {accuracies[-1]}", flush=True)
            if accuracies[-1] >= options.accuracy:
                break
        if step == options.warmup_steps:
            break
        policy.train()
        rows = problems(32, options.steps, TRAIN + 5_000_000 + 32 * step)
        inputs, mask = encode_demonstrations(rows, tokenizer, options.tokens)
        inputs, mask = {name: value.to(policy.device) for name, value in inputs.items()}, mask.to(policy.device)
        length = mask.shape[1]
        logits = policy(**inputs, logits_to_keep=length + 1).logits[:, :-1].float()
        loss = cross_entropy(logits[mask], inputs["input_ids"][:, -length:][mask])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
    policy.eval()
    return accuracies


def add_warm_up_options(parser: argparse.ArgumentParser) -> None:
    """The options of `warm_up`, with their defaults."""
    parser.add_argument("--steps", type=int, default=4, help="operations per problem")
    parser.add_argument("--accuracy", type=float, default=0.35, help="ends the warm-up")
    parser.add_argument("--warmup-steps", type=int, default=400, help="at most")
    parser.add_argument("--learning-rate", type=float, default=2e-5, help="of the warm-up")
    parser.add_argument("--check", type=int, default=256, help="problems of each accuracy during the warm-up")
    parser.add_argument("--tokens", type=int, default=96, help="longest response")
    parser.add_argument("--batch", type=int, default=256, help="problems answered at once")


def row(problem: dict[str, Any]) -> dict[str, Any]:
    """The problem as a line of a data file."""
    return {
        "problem_id": problem["problem_id"],
        "problem": problem["prompt"][0]["content"],
        "answer": problem["solution"],
        "completion": problem["completion"],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="folder of a pretrained text policy")
    parser.add_argument("--out", type=Path, default=Path(".cache/chains"))
    add_warm_up_options(parser)
    options = parser.parse_args()
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load_policy(ModelArguments(name_or_path=options.model)).to(device)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    accuracies = warm_up(policy, tokenizer, options)
    policy.save_pretrained(options.out / "policy")
    tokenizer.save_pretrained(options.out / "policy")
    for name, (first, number) in FILES.items():
        lines = [json.dumps(row(problem)) for problem in problems(number, options.steps, first)]
        write_whole(options.out / f"{name}.jsonl", "\n".join(lines) + "\n")
    write_json(options.out / "warmup.json", {"accuracies": accuracies, **environment()}, indent=1)


if __name__ == "__main__":
    main()
