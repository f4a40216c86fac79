"""The verifiable rewards, with TRL's signature. They grade as the evaluation grades."""

import re
from typing import Any

from rlfr_mm.data.prompts import content_text
from rlfr_mm.grading import Item, Verdict, grade_all

_FORMAT = re.compile(r"<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def accuracy_reward(
    completions: list[Any], solution: list[str], choices: list[list[str]] | None = None, **kwargs: Any
) -> list[float | None]:
    """1.0 if the answer equals the solution, 0.0 if not, None if it could not be graded, which is not a wrong answer.

    Answers are graded by the rule `strict` (docs/grading.md), which compares option letters if the problem has choices.

    Args:
        completions: texts or messages.
        solution, choices: columns of the data.

    >>> accuracy_reward(["<answer>1/2</answer>"], solution=["0.5"])
    [1.0]
    """
    verdicts = _verdicts(completions, solution, choices)
    return [None if verdict.unscored else verdict.score for verdict in verdicts]


def format_reward(completions: list[Any], **kwargs: Any) -> list[float | None]:
    """1.0 for <think>...</think><answer>...</answer> with each tag once and nothing around them, else 0.0."""
    return [float(_has_format(completion_text(completion).strip())) for completion in completions]


# TRL names its metrics after the function: rewards/accuracy/mean, rewards/format/mean.
accuracy_reward.__name__ = "accuracy"
format_reward.__name__ = "format"


def completion_text(completion: Any) -> str:
    """The text of a completion, which is a string or a list of messages."""
    if isinstance(completion, str):
        return completion
    return "".join(content_text(message["content"]) for message in completion)


def _verdicts(completions: list[Any], solution: list[str], choices: list[list[str]] | None) -> list[Verdict]:
    options = choices or [[]] * len(completions)
    items = [
        Item(completion_text(completion), gold, choices=tuple(texts) or None)
        for completion, gold, texts in zip(completions, solution, options, strict=True)
    ]
    return grade_all(items)


def _has_format(text: str) -> bool:
    match = _FORMAT.fullmatch(text)
    return match is not None and all(text.count(tag) == 1 for tag in _TAGS) and all(s.strip() for s in match.groups())
