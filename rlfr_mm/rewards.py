"""The verifiable rewards with TRL's signature; `__name__` is what TRL's metrics say: rewards/accuracy/mean."""

from typing import Any


def accuracy_reward(
    completions: list[Any], solution: list[str], choices: list[list[str]] | None = None, **kwargs: Any
) -> list[float | None]:
    """1.0 where the answer equals the solution, 0.0 where it does not, None where grading failed (not the policy)."""
    raise NotImplementedError


def format_reward(completions: list[Any], **kwargs: Any) -> list[float]:
    """1.0 for <think>...</think><answer>...</answer>, each tag once and nothing else around, else 0.0."""
    raise NotImplementedError
