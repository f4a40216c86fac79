"""One HTML page of a training run: `python -m rlfr_mm.inspect RUN [--out page.html] [--json tables.json]`.

Curves; what the deviation and the flow reward say about correctness beyond the policy's own probability; the most
rewarded and most punished tokens; and every group of rollouts with its image, each token coloured by deviation, flow
reward, advantage, entropy or log-probability. The page is a single file that loads nothing. A run that is still going
on can be looked at too.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlfr_mm.config_file import one_line_errors

if TYPE_CHECKING:
    from markupsafe import Markup

    from rlfr_mm.training.run_folder import RunFolder
    from rlfr_mm.viewing.page import charts
    from rlfr_mm.viewing.rollout_records import RolloutRecord
    from rlfr_mm.viewing.token_statistics import Bin, Rollouts

TEMPLATE = Path(__file__).parent / "page" / "inspect.html"
SCORES = {
    "logprob": "log-probability",
    "deviation": "minus deviation",
    "flow_reward": "flow reward",
    "entropy": "minus entropy",
    "length": "minus length",
}
QUANTITIES = {
    "deviation": "velocity deviation",
    "flow_reward": "flow reward",
    "entropy": "entropy",
    "logprob": "log-probability",
    "position": "position in the response",
}
OUTCOMES = {True: ("correct", "correct"), False: ("wrong", "wrong"), None: ("not graded", "error")}  # label, colour
COLOURS = {"logprob": "run5", "deviation": "run0", "flow_reward": "run1", "entropy": "run2", "length": "run4"}
# What each chart of the metrics shows: its title, and the names and labels of its curves.
CURVES: dict[str, dict[str, str]] = {
    "Accuracy of the rollouts": {"accuracy": "accuracy"},
    "Within-group AUC": {f"auc/{name}": SCORES[name] for name in ("logprob", "deviation", "flow_reward")},
    "Field loss": {"flow/field_loss": "field loss"},
    "Mean velocity deviation": {"flow/deviation_mean": "velocity deviation"},
    "Mean flow reward of a token": {"flow/reward_mean": "flow reward"},
    "Mean size of a token's shaping": {"flow/shaping_magnitude": "|shaping|"},
    "Response length in tokens": {"completions/mean_length": "mean length"},
    "Entropy in nats": {"entropy": "entropy"},
}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of lengths
MIN_COUNT = 10  # occurrences of a token in the tables
TOP_TOKENS = 20


@dataclass(frozen=True)
class Run:
    """A run folder as it is read."""

    folder: "RunFolder"
    config: dict[str, Any]
    metrics: list[dict[str, Any]]
    records: list["RolloutRecord"]
    broken: list[str]  # lines that are no records

    @property
    def shaping(self) -> str:
        return str(self.config["train"].get("advantage_shaping", "flow"))


def read_run(path: Path) -> Run:
    """The run in a folder; ValueError where there is none, or none with rollouts."""
    import yaml

    from rlfr_mm.training.run_folder import RunFolder
    from rlfr_mm.viewing.rollout_records import read_rollouts

    if not (path / "config.yaml").is_file():
        raise ValueError(f"{path} holds no run: name a folder that rlfr_mm.train wrote (train.output_dir)")
    broken: list[str] = []
    records = list(read_rollouts(path, broken))
    if not records:
        reason = broken[0] if broken else "train with train.rollouts_per_step above 0"
        raise ValueError(f"{path} has no rollouts to show: {reason}")
    folder = RunFolder(path, write=False)
    try:
        metrics = folder.metrics()
    except ValueError as error:
        raise ValueError(f"{path / 'metrics.jsonl'} is broken: {error}") from None
    return Run(folder, yaml.safe_load((path / "config.yaml").read_text()), metrics, records, broken)


# ------------------------------------------------------------------------------------------------------------- tables


def tables(run: Run, rollouts: "Rollouts") -> dict[str, Any]:
    """All figures of the page; those of the flow only where the run has one.

    curves              metrics by step, as the run logged them
    ranking             within-group AUC of each score, and what it adds to the log-probability
    accuracy_by_score   by score: share of correct rollouts by quantile of the score within its group
    lengths             by outcome: number of rollouts and quantiles of their lengths in tokens
    correlations        rank correlations over tokens
    by_deviation        mean entropy and log-probability of tokens by quantile of their deviation
    tokens              flow reward of every token, most rewarded first
    """
    import numpy as np

    from rlfr_mm.viewing import token_statistics as statistics

    shown = [name for curves in [*CURVES.values(), _reward_curves(run.metrics)] for name in curves]
    scores = statistics.rollout_scores(rollouts)
    result = {
        "curves": [{"step": row["step"]} | {name: row[name] for name in shown if name in row} for row in run.metrics],
        "ranking": statistics.rank_rollouts(rollouts),
        "accuracy_by_score": {
            name: statistics.accuracy_by_score(scores[name], rollouts)
            for name in ("logprob", "deviation", "flow_reward")
            if name in scores
        },
        "lengths": {
            label: {"count": len(lengths), "quantiles": np.quantile(lengths, QUANTILES).tolist()}
            for outcome, (label, _) in OUTCOMES.items()
            if (lengths := [len(record.tokens) for record in run.records if record.correct is outcome])
        },
        "correlations": statistics.correlate_tokens(rollouts),
    }
    if rollouts.has_flow:
        by_deviation = {name: statistics.token_bins("deviation", name, rollouts) for name in ("entropy", "logprob")}
        result |= {"by_deviation": by_deviation, "tokens": statistics.reward_tokens(rollouts)}
    return result


def _reward_curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    names = [
        name for name in (metrics[-1] if metrics else {}) if name.startswith("rewards/") and name.endswith("/mean")
    ]
    return {name: name.split("/")[1] for name in names}


# ------------------------------------------------------------------------------------------------------------- charts

Figure = tuple[str, list["charts.Line"], "Markup"]


def curve_figures(metrics: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """Title, curves and chart of each metric that the run logged: moving averages, and thin behind them the steps."""
    import numpy as np

    from rlfr_mm.experiments.curves import smoothed, window_for
    from rlfr_mm.viewing.page.charts import Line, line_chart

    window = window_for(len(metrics))
    steps = np.array([row["step"] for row in metrics])
    figures = []
    for title, names in (CURVES | {"Rewards of a rollout": _reward_curves(metrics)}).items():
        means, thin = [], []
        for place, (name, label) in enumerate(names.items()):
            colour = COLOURS.get(name.removeprefix("auc/"), f"run{place}")
            raw = np.array([np.nan if row.get(name) is None else row[name] for row in metrics], dtype=float)
            mean, known = smoothed(raw.tolist(), window), np.isfinite(raw)
            if known.any():
                means.append(Line(label, colour, steps[known].tolist(), mean[known].tolist()))
                thin.append(Line(label, f"{colour} thin", steps[known].tolist(), raw[known].tolist()))
        if means:
            drawn = thin * (window > 1 and len(means) == 1) + means
            chart = line_chart(title, drawn, "step", shares=title.startswith("Accuracy"))
            figures.append((title, means, chart))
    return figures


def bin_lines(bins: Mapping[str, Sequence["Bin"]]) -> list["charts.Line"]:
    """A curve with its band over the number of the bin, for each list of bins that is not empty."""
    from rlfr_mm.viewing.page.charts import Line

    lines = []
    for name, members in bins.items():
        if members:
            y = [member.y.value for member in members]
            low = [member.y.value if member.y.low is None else member.y.low for member in members]
            high = [member.y.value if member.y.high is None else member.y.high for member in members]
            lines.append(Line(SCORES[name], COLOURS[name], range(1, len(members) + 1), y, low, high))
    return lines


def correctness_figures(figures: Mapping[str, Any]) -> list[Figure]:
    """The share of correct rollouts over each score; none where no group is mixed."""
    from rlfr_mm.viewing.page.charts import line_chart

    title, lines = "Correct rollouts, in percent", bin_lines(figures["accuracy_by_score"])
    label = "tenth by score within the group, lowest to highest"
    return [(title, lines, line_chart(title, lines, label, shares=True))] if lines else []


def deviation_figures(figures: Mapping[str, Any]) -> list[Figure]:
    """Entropy and log-probability of tokens over their deviation."""
    from rlfr_mm.viewing.page.charts import line_chart

    found = []
    for name, bins in figures.get("by_deviation", {}).items():
        title, lines = f"{QUANTITIES[name].capitalize()} by deviation, in nats", bin_lines({name: bins})
        if lines:
            found.append((title, lines, line_chart(title, lines, "tenth of tokens by deviation, lowest to highest")))
    return found


def length_chart(figures: Mapping[str, Any]) -> "Markup":
    """The spread of response lengths, of correct and incorrect rollouts apart."""
    from rlfr_mm.viewing.page.charts import Spread, spread_bars

    colours = dict(OUTCOMES.values())
    rows = [
        Spread(label, colours[label], lengths["count"], tuple(lengths["quantiles"]))
        for label, lengths in figures["lengths"].items()
    ]
    return spread_bars("Response length in tokens", rows, "tokens")


# ------------------------------------------------------------------------------------------------------------ the page


def run_page(run: Run, rollouts: "Rollouts", figures: Mapping[str, Any]) -> tuple[str, list[str]]:
    """The page, and what it had to leave out, one line each (the page says so too)."""
    from rlfr_mm.viewing.page.charts import Bar, interval_strip
    from rlfr_mm.viewing.page.html import render_page
    from rlfr_mm.viewing.rollout_cards import group_cards, thumbnails, token_views

    notes = list(run.broken)
    shown = group_cards(run.records)
    count = sum(len(card["rollouts"]) for card in shown)
    if count < len(run.records):
        steps = len({card["step"] for card in shown})
        notes.append(
            f"{count:,} of {len(run.records):,} rollouts are shown, those of {steps} evenly spaced steps; the figures "
            "count all"
        )
    if not rollouts.has_flow:
        notes.append(f"no deviation and no flow reward: this run was trained with advantage_shaping={run.shaping}")
    images, missing = thumbnails(run.folder.path, shown)
    notes += [missing] if missing else []
    frequent = [token for token in figures.get("tokens", []) if token.count >= MIN_COUNT]
    name = run.folder.path.resolve().name
    page = render_page(
        TEMPLATE,
        TEMPLATE.with_suffix(".js"),
        f"Training run {name}",
        {"cards": shown, "images": images, "views": [asdict(view) for view in token_views(rollouts)]},
        name=name,
        run=run,
        summary=run.folder.summary or {},
        notes=notes,
        has_flow=rollouts.has_flow,
        curves=curve_figures(run.metrics),
        correctness=correctness_figures(figures),
        deviations=deviation_figures(figures),
        lengths=length_chart(figures),
        outcomes={label: lengths["count"] for label, lengths in figures["lengths"].items()},
        ranking=figures["ranking"],
        scores=SCORES,
        strip=lambda score, estimate: interval_strip(
            Bar(SCORES[score], COLOURS[score], estimate.value, (estimate.low, estimate.high))
        ),
        correlations=figures["correlations"],
        quantities=QUANTITIES,
        visible=visible,
        number=lambda value, form: format(value, form).replace("-", "−"),
        rewarded=[token for token in frequent if token.flow_reward > 0][:TOP_TOKENS],
        punished=[token for token in reversed(frequent) if token.flow_reward < 0][:TOP_TOKENS],
        min_count=MIN_COUNT,
        shown=count,
    )
    return page, notes


def visible(text: str) -> str:
    """The text with white space and control characters that can be seen."""
    shown = text.replace(" ", "␣").replace("\n", "↵")
    return "".join(chr(0x2400 + ord(char)) if char < " " else char for char in shown)


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m rlfr_mm.inspect", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder of rlfr_mm.train")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the page (default: RUN/inspect.html)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the page's figures there too, as tables")
    args = parser.parse_args(argv)
    with one_line_errors():
        run = read_run(args.run)
    from rlfr_mm.viewing.token_statistics import flatten

    rollouts = flatten(run.records)
    figures = tables(run, rollouts)
    page, notes = run_page(run, rollouts, figures)
    out = args.out or args.run / "inspect.html"
    with one_line_errors():
        _write(out, page)
        if args.json:
            _write(args.json, json.dumps(figures, default=asdict, indent=1) + "\n")
    for note in notes:
        print(f"warning: {note}", file=sys.stderr)
    print(f"{out}: {len(page.encode()) / 1e6:.1f} MB")


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ValueError(f"cannot write {path}: {error.strerror}") from None


if __name__ == "__main__":
    main()
