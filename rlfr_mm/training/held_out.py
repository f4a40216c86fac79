"""Held-out accuracy: answers to problems that the policy is not trained on, graded as the training reward grades."""

import math
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset

from rlfr_mm.config import EvaluationConfig
from rlfr_mm.policy import Processor, answer_problems
from rlfr_mm.precheck import HELD_OUT
from rlfr_mm.training.rewards import accuracy_reward


def held_out_answers(
    policy: Any,
    processor: Processor,
    problems: Dataset,
    evaluation: EvaluationConfig,
    max_new_tokens: int,
    accelerator: Accelerator,
    description: str,
) -> list[dict[str, Any]]:
    """One row per problem, in order: problem_id, completion, and `correct`, which is None if grading failed.

    Each process answers its share, and every process gets all rows.
    """
    share = problems.shard(accelerator.num_processes, accelerator.process_index, contiguous=True)
    training = policy.training
    completions = answer_problems(
        policy.eval(),
        processor,
        share,
        batch_size=evaluation.batch_size,
        max_new_tokens=max_new_tokens,
        temperature=evaluation.temperature,
        seed=evaluation.seed + accelerator.process_index,
        description=description,
    )
    policy.train(training)
    rewards = accuracy_reward(completions=completions, solution=share["solution"], choices=share["choices"])
    return gather_object(
        [
            {"problem_id": problem_id, "correct": None if reward is None else reward == 1, "completion": completion}
            for problem_id, reward, completion in zip(share["problem_id"], rewards, completions, strict=True)
        ]
    )


def best_step(metrics: list[dict[str, Any]]) -> dict[str, Any] | None:
    """The first step with the highest held-out accuracy, that accuracy and the number of steps measured; None if none.

    >>> best_step([{"step": 5, "held_out/accuracy": 0.5}, {"step": 10, "held_out/accuracy": 0.4}])
    {'step': 5, 'accuracy': 0.5, 'measured': 2}
    """
    found = [row for row in metrics if row.get(HELD_OUT) is not None]
    if not found:
        return None
    best = max(found, key=lambda row: row[HELD_OUT])
    return {"step": best["step"], "accuracy": best[HELD_OUT], "measured": len(found)}


def accuracy(correct: list[bool | None]) -> dict[str, Any]:
    """The share of correct answers among the graded ones, its standard error, and both counts.

    >>> accuracy([True, False, None])
    {'accuracy': 0.5, 'standard_error': 0.3536, 'n': 2, 'unscored': 1}
    """
    graded = [right for right in correct if right is not None]
    mean = sum(graded) / len(graded) if graded else math.nan
    error = math.sqrt(mean * (1 - mean) / len(graded)) if graded else math.nan
    unscored = len(correct) - len(graded)
    return {"accuracy": round(mean, 4), "standard_error": round(error, 4), "n": len(graded), "unscored": unscored}
