"""Pictures of training: accuracy over the steps and how well scores rank a group's rollouts, of one run or of many."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

AUC_LABELS = {
    "auc/deviation": "minus deviation",
    "auc/flow_reward": "flow reward",
    "auc/logprob": "log-probability",
}


def window_for(steps: int) -> int:
    """How many steps a learning curve is averaged over."""
    return max(1, min(11, steps // 5))


def smoothed(values: Sequence[float | None], window: int) -> np.ndarray:
    """Centred moving average that leaves out missing values; NaN where all of a window are missing."""
    array = np.array([np.nan if value is None else value for value in values], dtype=float)
    present = np.isfinite(array)
    ones = np.ones(window)
    total = np.convolve(np.where(present, array, 0), ones, "same")
    count = np.convolve(present.astype(float), ones, "same")
    return np.divide(total, count, out=np.full(len(array), np.nan), where=count > 0)


def plot_run(metrics: list[dict[str, Any]], summary: dict[str, Any], path: str | Path) -> None:
    """Write the curve of one run as PNG: held-out accuracy with its standard error at both ends."""
    steps = [row["step"] for row in metrics]
    window = window_for(len(steps))
    shown = [key for key in AUC_LABELS if any(row.get(key) is not None for row in metrics)]
    figure, (accuracy, auc) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    raw = [row.get("accuracy") for row in metrics]
    accuracy.plot(steps, raw, color="0.8", linewidth=0.8, label="each step's rollouts")
    accuracy.plot(steps, smoothed(raw, window), color="C0", label=f"mean of {window} steps")
    for name, step in (("accuracy_before", 0), ("accuracy_after", steps[-1] if steps else 0)):
        point = summary.get(name)
        if point:
            label = f"held out, n = {point['n']}" if step else None
            accuracy.errorbar(
                step, point["accuracy"], point["standard_error"], fmt="o", color="C3", capsize=3, label=label
            )
    accuracy.set(xlabel="step", ylabel="accuracy", ylim=(0, 1), title=f"{summary['method']}, seed {summary['seed']}")
    accuracy.legend(frameon=False, fontsize=8, loc="lower right")
    for index, key in enumerate(shown):
        values = smoothed([row.get(key) for row in metrics], window)
        auc.plot(steps, values, color=f"C{index}", label=AUC_LABELS[key])
    auc.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--")
    auc.set(xlabel="step", ylabel="within-group AUC", ylim=(0, 1), title="P(correct scores above incorrect)")
    if shown:
        auc.legend(frameon=False, fontsize=8, loc="lower right")
    for axes in (accuracy, auc):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def plot_experiment(
    curves: dict[str, dict[str, list[np.ndarray]]],
    gains: dict[str, dict[str, tuple[float, float, float]]],
    baseline: str,
    path: str | Path,
) -> None:
    """Write the curves of an experiment as PNG: a column for each condition.

    Args:
        curves: condition -> method -> one smoothed accuracy curve per seed; shown as mean and standard error.
        gains: condition -> method -> held-out gain over `baseline` with the ends of its interval.
    """
    methods = list(dict.fromkeys(method for shown in curves.values() for method in shown))
    few = len(methods) <= 10  # that many lines can be told apart; of more the dots below are the legend
    tab10, rainbow = plt.get_cmap("tab10"), plt.get_cmap("turbo")
    colours = {method: tab10(i) if few else rainbow(i / len(methods)) for i, method in enumerate(methods)}
    height = 3.2 + 0.6 + 0.22 * len(methods)
    figure, grid = plt.subplots(
        2, len(curves), figsize=(max(6, 4.6 * len(curves)), height), squeeze=False, layout="constrained",
        height_ratios=[3.2, 0.6 + 0.22 * len(methods)],
    )  # fmt: skip
    for column, (condition, shown) in enumerate(curves.items()):
        top, bottom = grid[0, column], grid[1, column]
        for method, seeds in shown.items():
            length = min(map(len, seeds))
            values = np.stack([seed[:length] for seed in seeds])
            mean, steps = values.mean(0), np.arange(1, length + 1)
            top.plot(steps, mean, color=colours[method], linewidth=1.2, label=method)
            if len(seeds) > 1:
                error = values.std(0, ddof=1) / np.sqrt(len(seeds))
                top.fill_between(steps, mean - error, mean + error, color=colours[method], alpha=0.2, linewidth=0)
        top.set(xlabel="step", ylabel="accuracy of rollouts", title=f"{condition}: mean ± standard error over seeds")
        for row, method in enumerate(reversed(methods)):
            if method in gains[condition]:
                gain, low, high = (100 * value for value in gains[condition][method])
                bottom.errorbar(
                    gain, row, xerr=[[gain - low], [high - gain]], fmt="o", color=colours[method], capsize=3
                )
            elif method == baseline and method in shown:
                bottom.plot(0, row, "o", color=colours[method])
        bottom.axvline(0, color="0.6", linewidth=0.8, linestyle="--")
        bottom.set(ylim=(-0.7, len(methods) - 0.3), yticks=range(len(methods)), yticklabels=list(reversed(methods)))
        bottom.set(xlabel=f"held-out gain over {baseline}, points, 95 % interval")
        for axes in (top, bottom):
            axes.spines[["top", "right"]].set_visible(False)
    if few:
        grid[0, 0].legend(frameon=False, fontsize=7, loc="best")
    figure.savefig(path, dpi=150)
    plt.close(figure)
