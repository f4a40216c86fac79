"""Metrics from graded rows: accuracy by category, pass@k and maj@n, with standard errors clustered by problem.

lmms-eval's aggregation and the re-scoring of a finished run both use these functions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence

import numpy as np

from rlfr_mm.statistics import clustered_stderr
from rlfr_mm.tasks.spec import Row


def summarise(rows: Sequence[Row], breakdown: Iterable[str] = (), cluster: str | None = None) -> dict[str, float]:
    """The metrics that every benchmark reports.

    - `accuracy` with `accuracy_stderr`: a mean over problems, so that every problem has the same weight. A response
      that could not be graded (`timeout`, `error`) scores 0, and `unscored` counts these.
    - `problems`, `responses`, `no_answer`: counts.
    - `field/value`: the mean over the problems with that value, for each category in `breakdown`.
    - `mean@n`, `maj@n` and `pass@1` ... `pass@n`, if every problem has n >= 2 samples.

    Problems that share a value of the category `cluster`, for example variants of one seed question, are not
    independent; the standard errors take this into account. Raises ValueError if there are no rows.
    """
    if not rows:
        raise ValueError("no rows to aggregate; a task needs at least one graded response")
    by_problem = group_by_problem(rows)
    means = {problem: float(np.mean([row["score"] for row in group])) for problem, group in by_problem.items()}
    clusters = [cluster_of(group[0], cluster) for group in by_problem.values()]
    statuses = Counter(row["status"] for row in rows)
    numbers = {
        "accuracy": float(np.mean(list(means.values()))),
        "accuracy_stderr": clustered_stderr(list(means.values()), clusters),
        "problems": float(len(by_problem)),
        "responses": float(len(rows)),
        "no_answer": float(statuses["no_answer"]),
        "unscored": float(statuses["timeout"] + statuses["error"]),
    }
    for field in breakdown:
        members = defaultdict(list)
        for problem, group in by_problem.items():
            for value in group[0]["categories"].get(field, ()):
                members[value].append(means[problem])
        numbers |= {f"{field}/{value}": float(np.mean(members[value])) for value in sorted(members)}
    n = min(len(group) for group in by_problem.values())
    return numbers | (sampled_metrics(list(by_problem.values()), n, clusters) if n > 1 else {})


def sampled_metrics(groups: Sequence[Sequence[Row]], n: int, clusters: Sequence[str]) -> dict[str, float]:
    """`mean@n`, `maj@n` and `pass@k` for k = 1 ... n with clustered standard errors, from the first n samples each."""
    groups = [group[:n] for group in groups]
    correct = [sum(row["status"] == "correct" for row in group) for group in groups]
    per_problem = {
        f"mean@{n}": [float(np.mean([row["score"] for row in group])) for group in groups],
        f"maj@{n}": [
            majority_score([row["extracted"] for row in group], [row["score"] for row in group]) for group in groups
        ],
        **{f"pass@{k}": [pass_at_k(n, c, k) for c in correct] for k in range(1, n + 1)},
    }
    numbers: dict[str, float] = {}
    for name, values in per_problem.items():
        numbers[name] = float(np.mean(values))
        numbers[f"{name}_stderr"] = clustered_stderr(values, clusters)
    return numbers


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The unbiased estimate of P(at least one of k samples is right), from n samples (arXiv 2107.03374, eq. 1).

    >>> pass_at_k(n=4, correct=1, k=2)
    0.5
    """
    if not 1 <= k <= n:
        raise ValueError(f"k={k} must be between 1 and the number of samples, n={n}")
    if not 0 <= correct <= n:
        raise ValueError(f"correct={correct} must be between 0 and the number of samples, n={n}")
    if n - correct < k:
        return 1.0
    return float(1.0 - np.prod(1.0 - k / np.arange(n - correct + 1, n + 1)))


def majority_score(answers: Sequence[str | None], scores: Sequence[float]) -> float:
    """The score of the most frequent answer (arXiv 2203.11171); a tie gives the mean over the tied answers.

    All right answers count as one answer, however they are written; wrong answers are compared as text. A response
    without an answer does not vote, and without any vote the score is 0.

    >>> majority_score(["1/2", "0.5", "3"], [1.0, 1.0, 0.0])
    1.0
    """
    votes: Counter[str] = Counter()
    score_of: dict[str, float] = {}
    for answer, score in zip(answers, scores, strict=True):
        if answer is not None:
            ballot = "right" if score == 1.0 else f"wrong: {' '.join(answer.split()).casefold()}"
            votes[ballot] += 1
            score_of[ballot] = score
    if not votes:
        return 0.0
    most = max(votes.values())
    return float(np.mean([score_of[ballot] for ballot, count in votes.items() if count == most]))


def group_by_problem(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """The rows of each problem, ordered by sample; problems are in order of appearance."""
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["problem_id"]].append(row)
    return {problem: sorted(group, key=lambda row: row["sample_index"]) for problem, group in groups.items()}


def cluster_of(row: Row, cluster: str | None) -> str:
    """The row's value of the category `cluster`, or its problem id if problems are independent (None)."""
    return row["problem_id"] if cluster is None else row["categories"][cluster][0]
