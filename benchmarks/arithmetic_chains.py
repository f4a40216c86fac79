"""Arithmetic chains in words: problems that a small pretrained policy answers now and then, with expert solutions."""

import random
from typing import Any

NAMES = ("Ana", "Ben", "Chen", "Dina", "Emil", "Fatima", "Goran", "Hana", "Ivan", "Julia", "Kofi", "Lena")
THINGS = ("apples", "marbles", "stamps", "coins", "shells", "cards", "pencils", "books", "stickers", "beads")
GAINS = ("buys {} more", "finds {} more", "gets {} more from a friend")
LOSSES = ("gives {} away", "loses {}", "sells {}")
TRAIN, TEST = 0, 20_000_000  # first seeds of the splits
QUESTION = "Work step by step and put the final answer in \\boxed{{}}."


def problem(steps: int, seed: int) -> dict[str, Any]:
    """A row with prompt, solution (the number) and completion (the expert's response).

    >>> problem(steps=2, seed=0)["solution"]
    '1'
    """
    draw = random.Random(seed)
    name, things = draw.choice(NAMES), draw.choice(THINGS)
    count = draw.randint(5, 40)
    sentences, lines = [f"{name} has {count} {things}."], []
    for _ in range(steps):
        # A loss leaves at least 1, so that from 1 there is none.
        kinds = ("gain", "double") if count == 1 else ("gain", "loss", "double") if count < 60 else ("loss",)
        kind = draw.choice(kinds)
        if kind == "double":
            sentences.append(f"Then the number of {things} doubles.")
            lines.append(f"{count} * 2 = {2 * count}")
            count *= 2
            continue
        change = draw.randint(2, 20) if kind == "gain" else draw.randint(1, count - 1)
        sentences.append(f"{name} {draw.choice(GAINS if kind == 'gain' else LOSSES).format(change)}.")
        after = count + change if kind == "gain" else count - change
        lines.append(f"{count} {'+' if kind == 'gain' else '-'} {change} = {after}")
        count = after
    text = " ".join([*sentences, f"How many {things} does {name} have now?", QUESTION.format()])
    return {
        "problem_id": f"chain-{steps}-{seed}",
        "prompt": [{"role": "user", "content": text}],
        "solution": str(count),
        "completion": "\n".join([*lines, f"The answer is \\boxed{{{count}}}."]),
    }


def problems(number: int, steps: int, first_seed: int) -> list[dict[str, Any]]:
    """`number` problems whose seeds count from `first_seed`; splits take seeds far apart."""
    return [problem(steps, first_seed + i) for i in range(number)]
