"""The verifiable rewards with TRL's signature, graded as the evaluation grades."""

import re
from typing import Any

from rlfr_mm.grading import Item, Verdict, grade_all

_FORMAT = re.compile(r"<think>(.+?)</think>\s*<answer>(.+?)</answer>", re.DOTALL)
_TAGS = ("<think>", "</think>", "<answer>", "</answer>")


def accuracy_reward(
    completions: list[Any], solution: list[str], choices: list[list[str]] | None = None, **kwargs: Any
) -> list[float | None]:
    """1.0 where the answer equals the solution, 0.0 where it does not, None where grading failed (not the policy).

    `completions` are texts or messages; `solution` and `choices` are columns of the data. Equality is math-verify's, or
    that of option letters where the problem has choices.
    """
    verdicts = _verdicts(completions, solution, choices)
    return [None if verdict.unscored else verdict.score for verdict in verdicts]


def extracted_answers(
    completions: list[Any], solution: list[str], choices: list[list[str]] | None = None, **kwargs: Any
) -> list[str | None]:
    """The answer that `accuracy_reward` reads in each completion, as it stands there; None where there is none."""
    return [verdict.extracted for verdict in _verdicts(completions, solution, choices)]


def format_reward(completions: list[Any], **kwargs: Any) -> list[float | None]:
    """1.0 for <think>...</think><answer>...</answer>, each tag once and nothing else around it, else 0.0."""
    return [float(_has_format(completion_text(completion).strip())) for completion in completions]


# TRL names its metrics after the function: rewards/accuracy/mean, rewards/format/mean.
accuracy_reward.__name__ = "accuracy"
format_reward.__name__ = "format"


def completion_text(completion: Any) -> str:
    """The text of a completion: plain, or that of its messages, whose contents are text or parts."""
    if isinstance(completion, str):
        return completion
    contents = [message["content"] or "" for message in completion]
    return "".join(
        content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)
        for content in contents
    )


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
