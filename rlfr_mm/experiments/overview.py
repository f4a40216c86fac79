"""The gains of all methods in one figure, and where there is room for a dense reward: for the first page."""

from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from tabulate import tabulate

from rlfr_mm.experiments.comparison import Comparison, compare
from rlfr_mm.experiments.records import CellRecord, ExperimentRecord, how_many_seeds
from rlfr_mm.quickstart import world

CEILINGS = ("departure", "expert_value")  # values of flow_reward.score that know the solution
WITHOUT_FIELD = {  # settings and values with which no flow field has a say
    "train.advantage_shaping": ("entropy", "none"),
    "flow_reward.score": ("logprob", "transport"),  # the second, a rival, was removed when it lost
    "flow_reward.flow_coef": (0,),
}
KINDS = {"flow": "tab:blue", "without a field": "tab:orange", "placebo": "0.55", "ceiling": "tab:green"}  # and colours
CONFIRMED_SEEDS = 10  # a comparison with fewer belongs to a search
WIDEST = 15  # points; a gain outside is drawn at the edge
ROW = 0.19  # inches
Panel = tuple[ExperimentRecord, str, list[Comparison]]  # an experiment, one of its conditions, and what is shown of it


def kind_of(cell: CellRecord) -> str:
    """What a method is in the figure: one of KINDS."""
    if cell.settings.get("flow_reward.score") in CEILINGS:
        return "ceiling"
    if cell.settings.get("flow_reward.shuffle", "none") != "none":
        return "placebo"
    return "without a field" if any(cell.settings.get(n) in values for n, values in WITHOUT_FIELD.items()) else "flow"


def plot_gains(records: Sequence[ExperimentRecord], folder: Path) -> None:
    """Write each method's gain over RLVR and its 95 % interval, in a panel per experiment and condition.

    gains.png has what was run on at least CONFIRMED_SEEDS seeds, and searches.png the rest.
    """
    panels: dict[str, list[Panel]] = {"gains.png": [], "searches.png": []}
    for record in records:
        for condition in record.conditions:
            shown = [each for each in compare(record) if _is_shown(each, record, condition)]
            confirmed = [each for each in shown if each.gain.seeds >= CONFIRMED_SEEDS]
            searched = [each for each in shown if each not in confirmed]
            for name, chosen in (("gains.png", confirmed), ("searches.png", searched)):
                if chosen:
                    panels[name].append((record, condition, chosen))
    for name, found in panels.items():
        (folder / name).unlink(missing_ok=True)
        if found:
            _plot_panels(found, folder / name)


def _plot_panels(panels: list[Panel], path: Path) -> None:
    columns: list[list[int]] = [[], []]
    heights = [len(shown) + 2.2 for *_, shown in panels]
    for i, _ in sorted(enumerate(heights), key=lambda pair: -pair[1]):
        min(columns, key=lambda column: sum(heights[j] for j in column)).append(i)
    tallest = max(sum(heights[i] for i in column) for column in columns)
    figure = plt.figure(figsize=(10, ROW * tallest + 0.8), layout="constrained")
    halves: Any = figure.subfigures(1, 2)
    for half, column in zip(halves, columns, strict=True):
        if column:
            ratios = [heights[i] for i in sorted(column)]
            grid = half.subplots(len(column), 1, squeeze=False, height_ratios=ratios)
            for axes, i in zip(grid[:, 0], sorted(column), strict=True):
                _plot_panel(axes, *panels[i])
            grid[-1, 0].set_xlabel("held-out gain over RLVR in points, 95 % interval", fontsize=7)
    marks = [Line2D([], [], color=colour, marker="o", label=kind) for kind, colour in KINDS.items()]
    figure.legend(handles=marks, loc="outside lower center", ncols=len(marks), frameon=False, fontsize=8)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _is_shown(comparison: Comparison, record: ExperimentRecord, condition: str) -> bool:
    return comparison.condition == condition and comparison.against == record.compare_to[0]


def _plot_panel(axes: Axes, record: ExperimentRecord, condition: str, shown: list[Comparison]) -> None:
    axes.axvline(0, color="0.6", linewidth=0.8, linestyle="--")
    for row, each in enumerate(shown):
        first, *_ = record.of(condition)[each.method].values()
        colour, (gain, low, high) = KINDS[kind_of(first)], each.points
        if abs(gain) > WIDEST:
            axes.plot(WIDEST if gain > 0 else -WIDEST, row, ">" if gain > 0 else "<", color=colour, markersize=4)
            axes.annotate(f"{gain:+.0f}", (WIDEST if gain > 0 else -WIDEST, row), (6, -3), textcoords="offset points",
                          fontsize=7, color=colour)  # fmt: skip
        else:
            ends = [[gain - low], [high - gain]]  # a wider one leaves the panel, without a cap
            axes.errorbar(gain, row, xerr=ends, fmt="o", color=colour, markersize=3.5, linewidth=1.2, capsize=2)
    seeds = how_many_seeds([each.gain.seeds for each in shown])
    axes.set_title(f"{record.name}, {condition}: {seeds}", fontsize=8, loc="left")
    axes.set(xlim=(-WIDEST - 1, WIDEST + 1), ylim=(len(shown) - 0.4, -0.6), yticks=range(len(shown)))
    axes.set_yticklabels([each.method for each in shown], fontsize=7)
    axes.tick_params(axis="x", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def room_table(records: Sequence[ExperimentRecord]) -> str:
    """Markdown: a row per condition and ceiling, with what RLVR gains there and what the ceiling gains over it.

    The last column is that gain in standard errors, over seeds and problems; with one seed they are over problems.
    """
    rows = []
    for record in records:
        for each in compare(record):
            methods, against = record.of(each.condition), record.compare_to[0]
            first, *_ = methods[each.method].values()
            if each.against != against or kind_of(first) != "ceiling":
                continue
            cells = [methods[against][seed] for seed in methods[each.method] if seed in methods[against]]
            before, after = (_mean(cells, f"accuracy_{stage}") for stage in ("before", "after"))
            gain, error = 100 * each.gain.difference, 100 * each.gain.standard_error
            rows.append(
                [
                    f"{record.name}, {each.condition}", str(each.gain.seeds), f"{100 * chance(record, first):.1f}",
                    f"{before:.1f}", f"{after - before:+.1f}", str(first.settings["flow_reward.score"]),
                    f"{gain:+.1f} ± {error:.1f}", f"{gain / error:+.1f}" if error else "–",
                ]
            )  # fmt: skip
    header = ["setting", "seeds", "chance", "before", "RLVR gains", "ceiling", "gains over RLVR", "in standard errors"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)


def _mean(cells: list[CellRecord], name: str) -> float:
    values = [getattr(cell, name) for cell in cells if getattr(cell, name) is not None]
    return 100 * sum(values) / len(values) if values else float("nan")


def chance(record: ExperimentRecord, cell: CellRecord) -> float:
    """How often the best constant guess is right in the drawn world that a cell was held out on."""
    base = record.base.get("evaluation", {}).get("data", {})

    def setting(name: str, default: Any) -> Any:
        return cell.settings.get(f"evaluation.data.{name}", base.get(name, default))

    rules = world.Rules(setting("operations", None), setting("max_value", world.DEFAULT_RULES.max_value))
    return _chance(tuple(setting("levels", [2])), rules)


@cache
def _chance(levels: tuple[int, ...], rules: world.Rules) -> float:
    solutions = [problem.solution for problem in world.problems(1024, "train", levels, rules=rules)]
    return Counter(solutions).most_common(1)[0][1] / len(solutions)


def credit_table(record: dict[str, Any]) -> str:
    """Markdown: how well each score finds the tokens with which the value falls, best first (token_credit.py)."""
    rows = []
    for row in sorted(record["rows"], key=lambda row: -row["auc_uncertain"]["value"]):
        found = [row[name] for name in ("auc", "auc_uncertain", "auc_matched", "correlation")]
        rows.append([row["score"], *(f"{x['value']:.3f} [{x['low']:.3f}, {x['high']:.3f}]" for x in found)])
    header = ["score", "AUC, all tokens", "AUC, uncertain tokens", "AUC at equal probability", "rank correlation"]
    return tabulate(rows, header, tablefmt="github", disable_numparse=True)
