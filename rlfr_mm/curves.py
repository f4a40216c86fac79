"""The picture of a training run: accuracy over the steps, and how well three scores rank a group's rollouts."""

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
    window = max(1, min(11, len(steps) // 5))
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
