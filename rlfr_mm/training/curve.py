"""The picture of one training run, curve.png."""

import io
import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from rlfr_mm.files import write_whole
from rlfr_mm.precheck import HELD_OUT
from rlfr_mm.viewing.smoothing import smoothed, window_for

AUC_LABELS = {
    "auc/deviation": "minus deviation",
    "auc/flow_reward": "flow reward",
    "auc/logprob": "log-probability",
}


STAGES = ("accuracy_before", "accuracy_after")


def _held_out(metrics: list[dict[str, Any]], summary: dict[str, Any]) -> list[tuple[float, float, float]]:
    """(step, accuracy, standard error) of every held-out accuracy: before, during and after training."""
    during = [(row["step"], row[HELD_OUT], row["held_out/standard_error"]) for row in metrics if HELD_OUT in row]
    ends = [(summary.get("accuracy_before"), 0)]
    if not during:  # of which the last one would stand at the same step
        ends.append((summary.get("accuracy_after"), metrics[-1]["step"] if metrics else 0))
    points = [*during, *((step, found["accuracy"], found["standard_error"]) for found, step in ends if found)]
    return sorted((step, *(math.nan if value is None else value for value in found)) for step, *found in points)


def plot_run(metrics: list[dict[str, Any]], summary: dict[str, Any], path: str | Path) -> None:
    """Write a PNG with the accuracy of rollouts and held-out problems, and the within-group AUC, over steps.

    Args:
        metrics: the rows of metrics.jsonl.
        summary: what summary.json holds. Held-out accuracies are drawn with one standard error.
    """
    steps = [row["step"] for row in metrics]
    window = window_for(len(steps))
    figure, (accuracy, auc) = plt.subplots(1, 2, figsize=(9, 3.4), layout="constrained")
    raw = [row.get("accuracy") for row in metrics]
    accuracy.plot(steps, raw, color="0.8", linewidth=0.8, label="rollouts of each step")
    accuracy.plot(steps, smoothed(raw, window), color="C0", label=f"moving average over {window} steps")
    if held_out := _held_out(metrics, summary):
        count = next(point["n"] for name in STAGES if (point := summary.get(name)))
        at, means, errors = zip(*held_out, strict=True)
        accuracy.errorbar(at, means, errors, fmt="o-", color="C3", capsize=3, label=f"held out, n = {count}")
    accuracy.set(xlabel="step", ylabel="accuracy", ylim=(0, 1), title=f"{summary['method']}, seed {summary['seed']}")
    shown = [key for key in AUC_LABELS if any(row.get(key) is not None for row in metrics)]
    for index, key in enumerate(shown):
        values = smoothed([row.get(key) for row in metrics], window)
        auc.plot(steps, values, color=f"C{index}", label=AUC_LABELS[key])
    auc.axhline(0.5, color="0.6", linewidth=0.8, linestyle="--")
    auc.set(xlabel="step", ylabel="within-group AUC", ylim=(0, 1), title="P(correct scores above incorrect)")
    for axes in (accuracy, auc):
        axes.spines[["top", "right"]].set_visible(False)
        if axes.get_legend_handles_labels()[0]:
            axes.legend(frameon=False, fontsize=8, loc="lower right")
    image = io.BytesIO()
    figure.savefig(image, dpi=150, format="png")
    plt.close(figure)
    write_whole(path, image.getvalue())
