"""Held-out accuracy: answers to problems that the policy is not trained on, graded as the training reward grades."""

import math
from collections.abc import Iterable
from typing import Any

from accelerate import Accelerator
from accelerate.utils import gather_object
from datasets import Dataset

from rlfr_mm.config import EvaluationConfig
from rlfr_mm.policy import Processor, answer_problems
from rlfr_mm.precheck import HELD_OUT
from rlfr_mm.statistics import clustered_stderr
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
    """One row per answer: problem_id, sample, completion, and `correct`, which is None if grading failed.

    Each process answers its share of the problems, once per sample, and every process gets all rows.
    """
    share = problems.shard(accelerator.num_processes, accelerator.process_index, contiguous=True)
    samples = [sample for sample in range(evaluation.samples) for _ in range(len(share))]
    share = share.select(list(range(len(share))) * evaluation.samples)
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
            {
                "problem_id": problem_id,
                "sample": sample,
                "correct": None if reward is None else reward == 1,
                "completion": completion,
            }
            for problem_id, sample, reward, completion in zip(
                share["problem_id"], samples, rewards, completions, strict=True
            )
        ]
    )


def by_problem(answers: list[dict[str, Any]]) -> dict[str, list[bool | None]]:
    """The verdicts of the answers to each problem, the problems in the order of their first answers."""
    found: dict[str, list[bool | None]] = {}
    for answer in answers:
        found.setdefault(answer["problem_id"], []).append(answer["correct"])
    return found


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


def accuracy(verdicts: Iterable[list[bool | None]]) -> dict[str, Any]:
    """The share of correct answers, averaged over problems, with its standard error over problems.

    `n` counts the problems with a graded answer, and `unscored` the answers that could not be graded. The error of one
    problem is NaN.

    >>> accuracy([[True, True], [False, True], [None, None]])
    {'accuracy': 0.75, 'standard_error': 0.25, 'n': 2, 'unscored': 2}
    """
    answers = list(verdicts)
    graded = [[right for right in each if right is not None] for each in answers]
    shares = [sum(each) / len(each) for each in graded if each]
    mean = sum(shares) / len(shares) if shares else math.nan
    error = clustered_stderr(shares, list(map(str, range(len(shares))))) if shares else math.nan
    return {
        "accuracy": round(mean, 4),
        "standard_error": round(error, 4),
        "n": len(shares),
        "unscored": sum(right is None for each in answers for right in each),
    }
