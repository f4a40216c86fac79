"""The metrics of one or several runs as line charts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from rlfr_mm.viewing.page import charts

# The titles of the charts, and the names and labels of their curves.
CURVES: dict[str, dict[str, str]] = {
    "Accuracy of the rollouts": {"accuracy": "accuracy"},
    "Held-out accuracy": {"held_out/accuracy": "held-out accuracy"},
    "Groups without signal": {"frac_reward_zero_std": "all rewards equal"},
    "Within-group AUC": {
        "auc/logprob": "log-probability", "auc/deviation": "minus deviation", "auc/flow_reward": "flow reward"
    },
    "Loss": {"loss": "loss"},
    "Gradient norm": {"grad_norm": "gradient norm"},
    "Share of the tokens that the loss clipped": {"clip_ratio/region_mean": "clipped tokens"},
    "Learning rate": {"learning_rate": "learning rate"},
    "Field loss": {"flow/field_loss": "field loss"},
    "Mean velocity deviation": {"flow/deviation_mean": "velocity deviation"},
    "Mean flow reward per token": {"flow/reward_mean": "flow reward"},
    "Mean size of the shaping per token": {"flow/shaping_magnitude": "|shaping|"},
    "Praise and blame where the policy chooses": {"shaping/praise": "praise", "shaping/blame": "blame"},
    "Reliability under fresh noise": {
        "flow/score_reliability": "score", "flow/reward_reliability": "flow reward"
    },
    "Response length in tokens": {"completions/mean_length": "mean length"},
    "Entropy in nats": {"entropy": "entropy"},
}  # fmt: skip
SHARES = ("Accuracy of the rollouts", "Held-out accuracy", "Groups without signal")  # shown in percent, from 0 to 100
COLOURS = {
    "auc/logprob": "run5", "auc/deviation": "run0", "auc/flow_reward": "run1",
    "flow/score_reliability": "run0", "flow/reward_reliability": "run1",
}  # fmt: skip
ERRORS = {"held_out/accuracy": "held_out/standard_error"}  # of the metrics that have one
NUM_COLOURS = 6

Metrics = Sequence[Mapping[str, Any]]  # rows of metrics.jsonl


def curves_of(metrics: Metrics) -> dict[str, dict[str, str]]:
    """`CURVES`, and those of the reward functions that the run logged."""
    names = dict.fromkeys(name for row in metrics for name in row if name.startswith("rewards/"))
    return CURVES | {"Rewards per rollout": {name: name.split("/")[1] for name in names if name.endswith("/mean")}}


def curve_charts(runs: Mapping[str, Metrics]) -> list[tuple[str, str]]:
    """(title, chart) of each metric that a run logged, by the runs' labels.

    One run has the curves of a title in one chart; several runs have one chart per metric, with a curve per run.
    """
    titles: dict[str, dict[str, str]] = {}
    for metrics in runs.values():
        for title, names in curves_of(metrics).items():
            titles.setdefault(title, {}).update(names)
    found = []
    for title, names in titles.items():
        if len(runs) == 1:
            ((_, metrics),) = runs.items()
            lines = [
                _line(label, COLOURS.get(name, f"run{place % NUM_COLOURS}"), metrics, name)
                for place, (name, label) in enumerate(names.items())
            ]
            found.append((title, title, lines))
            continue
        for name, label in names.items():
            lines = [
                _line(run, f"run{place % NUM_COLOURS}", metrics, name)
                for place, (run, metrics) in enumerate(runs.items())
            ]
            found.append((title, title if len(names) == 1 else f"{title}: {label}", lines))
    return [
        (name, charts.line_chart(name, logged, "step", shares=title in SHARES, smoothed=True))
        for title, name, lines in found
        if (logged := [line for line in lines if any(value is not None for value in line.y)])
    ]


def _line(label: str, colour: str, metrics: Metrics, name: str) -> charts.Line:
    rows = [row for row in metrics if name in row]  # some metrics are logged at some steps only
    finite = [None if row[name] is None or not math.isfinite(row[name]) else row[name] for row in rows]
    low: list[float] = []
    high: list[float] = []
    if name in ERRORS and all(row.get(ERRORS[name]) is not None for row in rows) and None not in finite:
        low = [max(0.0, row[name] - 1.96 * row[ERRORS[name]]) for row in rows]
        high = [min(1.0, row[name] + 1.96 * row[ERRORS[name]]) for row in rows]
    return charts.Line(label, colour, [row["step"] for row in rows], finite, low, high)
