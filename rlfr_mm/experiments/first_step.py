"""What one step of each method gains (benchmarks/step_gain.py), beside what training runs with it gained."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.transforms import Bbox
from scipy.special import stdtrit
from scipy.stats import spearmanr
from tabulate import tabulate

from rlfr_mm.experiments.comparison import FEW_SEEDS, Comparison, compare
from rlfr_mm.experiments.overview import KINDS, kind_of
from rlfr_mm.experiments.records import ExperimentRecord

MARK = 8  # half of the width of a point, in pixels
GAINS = "gain", "over"  # what a record says of a step: points, and points over the first method
TAKEN = {"taken": "a step", "alone": "a step of one batch"}  # the steps that are taken, in a record and in words
PLACES = [(x, y) for y in (8, -8, 18, -18, 28, -28, 38, -38) for x in (7, -7)]  # of a name beside its point, in points


def step_table(steps: dict[str, Any], record: ExperimentRecord | None = None) -> str:
    """Markdown: a row per method, best first; `record` adds what training runs gained over the same first method."""
    first, trained = steps["rows"][0]["method"], _trained(steps, record) if record else {}
    rows = []
    for row in sorted(steps["rows"], key=lambda row: -row["gain"]["value"]):
        found = trained.get(row["method"])
        over = "–" if row["method"] == first else _with_error(row["over"], "+")
        cells = [row["method"], _with_error(row["gain"], ""), over]
        if record:
            cells += (
                ["{:+.1f} [{:+.1f}, {:+.1f}]".format(*found.points), str(found.gain.seeds)] if found else ["–", "–"]
            )
        rows.append(cells)
    header = ["method", "points per step", f"over {first}"] + ["gain of training", "seeds"] * bool(record)
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def taken_table(steps: dict[str, Any]) -> str:
    """Markdown: what steps of several lengths gained when they were taken, beside the straight line; best first.

    Each cell has the gain of the first method, and of the others what they gained over it.
    """
    first = steps["rows"][0]["method"]
    rows = []
    for row in sorted(steps["rows"], key=lambda row: -row["gain"]["value"]):
        key, sign = ("gain", "") if row["method"] == first else ("over", "+")
        cells = [row, *(each for kind in TAKEN for each in row[kind])]
        rows.append([row["method"], *(_with_error(each[key], sign) for each in cells)])
    header = ["method", "straight line"]
    for kind, whose in TAKEN.items():
        header += [
            f"{each['length']:g} of {whose}" if each["length"] != 1 else whose for each in steps["rows"][0][kind]
        ]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def over_policies(records: list[dict[str, Any]]) -> dict[str, Any]:
    """One record of the same methods' steps of several policies: means, with standard errors over the policies.

    ValueError if there are fewer than two policies, or if the records differ in anything but the policy.
    """
    if len(records) < 2:
        raise ValueError(f"at least two policies are needed, not {len(records)}")
    first, methods = records[0], [row["method"] for row in records[0]["rows"]]
    for record in records:
        if [row["method"] for row in record["rows"]] != methods:
            raise ValueError(f"the policies were measured with different methods: {', '.join(methods)}, and others")
        for key in ("experiment", "condition", "prompts", "parts"):
            if record[key] != first[key]:
                raise ValueError(f"records with the {key} {first[key]} and {record[key]} do not belong together")
        if _lengths(record) != _lengths(first):
            raise ValueError(f"steps of the lengths {_lengths(first)} and {_lengths(record)} were taken: measure again")
    policies = [(record["warmup_seed"], record["run"]) for record in records]
    if len(set(policies)) < len(policies):
        raise ValueError(f"two records are of the same policy: {', '.join(str(run or seed) for seed, run in policies)}")

    def values(number: int, key: str) -> list[float]:
        return [record["rows"][number][key]["value"] for record in records]

    def taken(number: int, kind: str) -> list[dict[str, Any]]:
        """By length: the gains, and what is missing to the straight line."""
        line, found = values(number, "gain"), []
        for same in zip(*(record["rows"][number].get(kind, []) for record in records), strict=True):
            length, gains = same[0]["length"], [step["gain"]["value"] for step in same]
            lost = [length * a - b for a, b in zip(line, gains, strict=True)]
            means = {key: _mean([step[key]["value"] for step in same]) for key in GAINS}
            found.append({"length": length, **means, "lost": _mean(lost)})
        return found

    rows = [
        {
            "method": name,
            "gains": values(i, "gain"),
            **{key: _mean(values(i, key)) for key in GAINS},
            **{kind: taken(i, kind) for kind in TAKEN},
        }
        for i, name in enumerate(methods)
    ]
    kept = {key: first[key] for key in ("experiment", "condition", "prompts", "run")}
    signals = [record["praise"]["signal"] / record["blame"]["signal"] for record in records]
    weights = [record["best_negative_weight"]["value"] for record in records]
    return kept | {
        "policies": len(records),
        "rows": rows,
        "praise_over_blame": signals,
        "best_weights": weights,
    }


def _lengths(record: dict[str, Any]) -> dict[str, list[float]]:
    """The lengths of the steps that were taken, in learning rates; older records have none."""
    return {kind: [step["length"] for step in record["rows"][0].get(kind, [])] for kind in TAKEN}


def difference(steps: dict[str, Any], method: str, against: str) -> dict[str, Any]:
    """What a step gains over another method's, policy by policy (`values`) and on average, of `over_policies`."""
    gains = {row["method"]: row["gains"] for row in steps["rows"]}
    values = [a - b for a, b in zip(gains[method], gains[against], strict=True)]
    return {"values": values, **_mean(values)}


def _mean(values: list[float]) -> dict[str, float]:
    """The mean, with its standard error."""
    return {"value": float(np.mean(values)), "error": float(np.std(values, ddof=1) / len(values) ** 0.5)}


def agreement(steps: dict[str, Any], record: ExperimentRecord, seeds: int = 1) -> float:
    """Spearman's correlation between what a step gains and what training gained, over methods with so many seeds."""
    trained = _trained(steps, record)
    pairs = [
        (row["over"]["value"], trained[row["method"]].points[0])
        for row in steps["rows"]
        if row["method"] in trained and trained[row["method"]].gain.seeds >= seeds
    ]
    if len(pairs) < 2:
        where = f"{record.name}, {steps['condition']}"
        raise ValueError(f"{where}: at least two methods need {seeds} seeds, and to be compared with the first method")
    return float(spearmanr(*zip(*pairs, strict=True)).statistic)


def plot_steps(steps: dict[str, Any], record: ExperimentRecord, path: Path) -> None:
    """Write a figure with a point per method: what a step and what training gained over the first method."""
    trained, methods = _trained(steps, record), record.of(steps["condition"])
    units = steps.get("policies") or steps["parts"]  # that the errors are over
    quantile = stdtrit(units - 1, 0.975)
    figure, axes = plt.subplots(figsize=(7, 5), layout="constrained")
    points: dict[str, tuple[float, float]] = {}
    for row in steps["rows"]:
        if (each := trained.get(row["method"])) is None:
            continue
        gain, low, high = each.points
        few = each.gain.seeds < FEW_SEEDS
        colour = KINDS[kind_of(next(iter(methods[each.method].values())))]
        x, ends = row["over"]["value"], None if few else [[gain - low], [high - gain]]
        axes.errorbar(x, gain, xerr=quantile * row["over"]["error"], yerr=ends, fmt="o", color=colour, markersize=5,
                      markerfacecolor="white" if few else colour, linewidth=1, capsize=2)  # fmt: skip
        points[each.method] = x, gain
    axes.axhline(0, color="0.7", linewidth=0.8, zorder=0)
    axes.axvline(0, color="0.7", linewidth=0.8, zorder=0)
    first = steps["rows"][0]["method"]
    axes.set_xlabel(f"what one step gains over {first}, points, 95 % interval")
    axes.set_ylabel(f"what training gained over {first}, points, 95 % interval")
    axes.spines[["top", "right"]].set_visible(False)
    marks = [Line2D([], [], color=colour, marker="o", label=kind) for kind, colour in KINDS.items()]
    hollow = Line2D([], [], color="0.3", marker="o", markerfacecolor="white", label=f"fewer than {FEW_SEEDS} seeds")
    figure.legend(handles=[*marks, hollow], loc="outside lower center", ncols=5, frameon=False, fontsize=8)
    _label(axes, points)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _label(axes: Axes, points: dict[str, tuple[float, float]]) -> None:
    """Write the names beside their points, each at the first place where it covers no point and no other name."""
    figure: Any = axes.figure
    figure.draw_without_rendering()
    taken = [Bbox([spot - MARK, spot + MARK]) for spot in axes.transData.transform(list(points.values()))]
    for name, point in points.items():
        for dx, dy in PLACES:
            label = axes.annotate(name, point, (dx, dy), textcoords="offset points", fontsize=8,
                                  ha="left" if dx > 0 else "right", va="center")  # fmt: skip
            box = label.get_window_extent()
            if not any(box.overlaps(other) for other in taken):
                break
            label.remove()
        else:
            label = axes.annotate(name, point, PLACES[0], textcoords="offset points", fontsize=8, va="center")
        taken.append(label.get_window_extent())


def _trained(steps: dict[str, Any], record: ExperimentRecord) -> dict[str, Comparison]:
    """By method: the comparison with the first method in the condition that the steps were measured in."""
    wanted = steps["condition"], steps["rows"][0]["method"]
    return {each.method: each for each in compare(record) if (each.condition, each.against) == wanted}


def _with_error(estimate: dict[str, float], sign: str) -> str:
    return f"{estimate['value']:{sign}.2f} ± {estimate['error']:.2f}"
