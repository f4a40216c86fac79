"""The picture of an experiment, curves.png."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from scipy.optimize import isotonic_regression

from rlfr_mm.experiments.comparison import Comparison
from rlfr_mm.experiments.records import CellRecord, ExperimentRecord, how_many_seeds

COLOURS = [colour for index, colour in enumerate(plt.get_cmap("tab10").colors) if index != 7]  # type: ignore[attr-defined]
GREY = "0.6"
LABEL_HEIGHT = 0.14  # inches, of a label at the end of a curve


def plot_experiment(record: ExperimentRecord, comparisons: Sequence[Comparison], path: str | Path) -> None:
    """Write a PNG with one column per condition: learning curves above, held-out gains below.

    The curves are labelled at their ends; bands are standard errors over seeds. The gains are those over the first
    method of `compare_to`, with 95 % intervals.
    """
    baseline = record.compare_to[0]
    shown = [each for each in comparisons if each.against == baseline]
    methods = list(dict.fromkeys(cell.method for cell in record.cells))
    colours = _colours(methods, baseline, shown)
    curves_height, gains_height = max(2.6, LABEL_HEIGHT * len(methods)), 0.2 * len(methods)
    figure, grid = plt.subplots(
        2, len(record.conditions), squeeze=False, layout="constrained", height_ratios=(curves_height, gains_height),
        figsize=(max(7.5, 6 * len(record.conditions)), curves_height + gains_height + 1.4),
    )  # fmt: skip
    for top, bottom, condition in zip(*grid, record.conditions, strict=True):
        counts = [len(by_seed) for by_seed in record.of(condition).values()]
        _plot_curves(top, record.of(condition), colours, LABEL_HEIGHT / curves_height)
        top.set_title(
            f"{condition}: moving average" + f", mean ± standard error of {how_many_seeds(counts)}" * (max(counts) > 1)
        )
        bottom.axvline(0, color=GREY, linewidth=0.8, linestyle="--")
        if baseline in record.of(condition):
            bottom.plot(0, methods.index(baseline), "o", color=colours[baseline])
        for each in shown:
            if each.condition == condition:
                gain, low, high = each.points
                row, colour = methods.index(each.method), colours[each.method]
                bottom.errorbar(gain, row, xerr=[[gain - low], [high - gain]], fmt="o", color=colour, capsize=3)
        bottom.set(ylim=(len(methods) - 0.3, -0.7), yticks=range(len(methods)), yticklabels=methods)
        bottom.set(xlabel=f"held-out gain over {baseline} in points, 95 % interval")
        for axes in (top, bottom):
            axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _colours(methods: list[str], baseline: str, comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """A colour per method. If there are too many, those whose 95 % interval of the gain contains 0 are grey."""
    vivid = methods
    if len(methods) > len(COLOURS):
        differ = {each.method for each in comparisons if each.points[1] > 0 or each.points[2] < 0}
        vivid = [method for method in methods if method == baseline or method in differ]
    return dict.fromkeys(methods, GREY) | dict(zip(vivid, itertools.cycle(COLOURS), strict=False))


def _plot_curves(axes: Axes, methods: dict[str, dict[int, CellRecord]], colours: dict[str, Any], gap: float) -> None:
    """Draw the learning curves of a condition; `gap` is the height of a label as a fraction of that of the axes."""
    ends = {}
    for method in sorted(methods, key=lambda method: colours[method] != GREY):  # grey curves lie below the others
        seeds = [cell.smoothed_accuracy for cell in methods[method].values()]
        length = min(map(len, seeds))
        values = np.stack([seed[:length] for seed in seeds])
        mean, steps = values.mean(0), np.arange(1, length + 1)
        if not (known := np.flatnonzero(np.isfinite(mean))).size:
            continue  # no rollout could be graded
        axes.plot(steps, mean, color=colours[method], linewidth=0.9 if colours[method] == GREY else 1.4)
        if len(seeds) > 1:
            error = values.std(0, ddof=1) / np.sqrt(len(seeds))
            axes.fill_between(steps, mean - error, mean + error, color=colours[method], alpha=0.2, linewidth=0)
        ends[method] = int(steps[known[-1]]), float(mean[known[-1]])
    low, high = axes.get_ylim()
    places = _spread([value for _, value in ends.values()], gap * (high - low), low, high)
    right = max((step for step, _ in ends.values()), default=1)
    for (method, end), place in zip(ends.items(), places, strict=True):
        line = {"arrowstyle": "-", "color": colours[method], "linewidth": 0.5, "shrinkA": 0, "relpos": (0, 0.5)}
        axes.annotate(
            method, end, (1.08 * right, place), arrowprops=line, annotation_clip=False, verticalalignment="center",
            fontsize=8, color="0.3" if colours[method] == GREY else colours[method],
        )  # fmt: skip
    axes.set(xlabel="step", ylabel="accuracy of rollouts", xlim=(0, right), ylim=(low, high))


def _spread(values: Sequence[float], gap: float, low: float, high: float) -> np.ndarray:
    """The positions between `low` and `high` nearest to the values, in their order and at least `gap` apart."""
    order = np.argsort(values)
    offsets = gap * np.arange(len(values))
    placed = np.empty(len(values))
    if not len(values):
        return placed
    nearest = isotonic_regression(np.asarray(values)[order] - offsets).x
    placed[order] = np.clip(nearest, low, high - offsets[-1]) + offsets
    return placed
