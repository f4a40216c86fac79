"""A training run as one HTML page: its figures, and the page that shows them beside every rollout."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from rlfr_mm.files import read_json, read_json_lines
from rlfr_mm.viewing import token_statistics as statistics
from rlfr_mm.viewing.page import charts
from rlfr_mm.viewing.page.html import render_page
from rlfr_mm.viewing.rollout_cards import group_cards, thumbnails, token_views
from rlfr_mm.viewing.rollout_records import RolloutRecord, read_rollouts
from rlfr_mm.viewing.smoothing import smoothed, window_for
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
# The charts of the metrics: their titles, and the names and labels of their curves.
CURVES: dict[str, dict[str, str]] = {
    "Accuracy of the rollouts": {"accuracy": "accuracy"},
    "Within-group AUC": {f"auc/{name}": SCORES[name] for name in ("logprob", "deviation", "flow_reward")},
    "Field loss": {"flow/field_loss": "field loss"},
    "Mean velocity deviation": {"flow/deviation_mean": "velocity deviation"},
    "Mean flow reward per token": {"flow/reward_mean": "flow reward"},
    "Mean size of the shaping per token": {"flow/shaping_magnitude": "|shaping|"},
    "Response length in tokens": {"completions/mean_length": "mean length"},
    "Entropy in nats": {"entropy": "entropy"},
}
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of lengths
MIN_COUNT = 10  # occurrences that a token needs to be in a table
TOP_TOKENS = 20
# Symbols that make white space and control characters visible.
VISIBLE = str.maketrans({chr(code): chr(0x2400 + code) for code in range(ord(" "))} | {" ": "␣", "\n": "↵"})

Figure = tuple[str, list[charts.Line], Markup]  # title, curves, chart


@dataclass(frozen=True)
class Run:
    """What a run folder holds."""

    path: Path
    config: dict[str, Any]
    summary: dict[str, Any]  # empty while the run is not finished
    metrics: list[dict[str, Any]]
    records: list[RolloutRecord]
    broken: list[str]  # a message per line that is not a record

    @property
    def shaping(self) -> str:
        return str(self.config["train"].get("advantage_shaping", "flow"))


def read_run(path: Path) -> Run:
    """The run in a folder, finished or not; ValueError if the folder is not a run or holds no rollouts."""
    if not (path / "config.yaml").is_file():
        raise ValueError(f"{path} is not a run: name a folder that rlfr_mm.train wrote (train.output_dir)")
    broken: list[str] = []
    records = list(read_rollouts(path, broken))
    if not records:
        reason = broken[0] if broken else "train with train.rollouts_per_step above 0"
        raise ValueError(f"{path} has no rollouts to show: {reason}")
    summary, metrics = path / "summary.json", path / "metrics.jsonl"
    return Run(
        path=path,
        config=yaml.safe_load((path / "config.yaml").read_text()),
        summary=read_json(summary) if summary.exists() else {},
        metrics=read_json_lines(metrics, finished_only=True) if metrics.exists() else [],
        records=records,
        broken=broken,
    )


def tables(run: Run, rollouts: Rollouts) -> dict[str, Any]:
    """All figures of the page. The last two entries are there only if the run has a flow.

    - curves: metrics by step, as the run logged them
    - ranking: within-group AUC of each score, and what it adds to the log-probability
    - accuracy_by_score: by score, the fraction of correct rollouts by quantile of the score within its group
    - lengths: by outcome, the number of rollouts and quantiles of their lengths in tokens
    - correlations: rank correlations over tokens
    - by_deviation: mean entropy and log-probability of tokens by quantile of their deviation
    - tokens: flow reward of every token, most rewarded first
    """
    logged = ["step", *(name for names in _curves(run.metrics).values() for name in names)]
    scores = statistics.rollout_scores(rollouts)
    ranked = [name for name in ("logprob", "deviation", "flow_reward") if name in scores]
    result: dict[str, Any] = {
        "curves": [{name: row[name] for name in logged if name in row} for row in run.metrics],
        "ranking": statistics.rank_rollouts(rollouts),
        "accuracy_by_score": {name: statistics.accuracy_by_score(scores[name], rollouts) for name in ranked},
        "lengths": {},
        "correlations": statistics.correlate_tokens(rollouts),
    }
    for outcome, (label, _) in OUTCOMES.items():
        lengths = [len(record.tokens) for record in run.records if record.correct is outcome]
        if lengths:
            quantiles = np.quantile(lengths, QUANTILES).tolist()
            result["lengths"][label] = {"count": len(lengths), "quantiles": quantiles}
    if rollouts.has_flow:
        columns = ("entropy", "logprob")
        result["by_deviation"] = {name: statistics.token_bins("deviation", name, rollouts) for name in columns}
        result["tokens"] = statistics.reward_tokens(rollouts)
    return result


def _curves(metrics: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    """`CURVES`, and those of the reward functions that the run logged."""
    names = [name for name in (metrics[-1] if metrics else {}) if name.startswith("rewards/")]
    return CURVES | {"Rewards per rollout": {name: name.split("/")[1] for name in names if name.endswith("/mean")}}


def curve_figures(metrics: Sequence[Mapping[str, Any]]) -> list[Figure]:
    """A figure for each metric that the run logged: moving averages; a single curve also shows its steps, thinly."""
    window = window_for(len(metrics))
    steps = np.array([row["step"] for row in metrics])
    figures = []
    for title, names in _curves(metrics).items():
        means, thin = [], []
        for place, (name, label) in enumerate(names.items()):
            colour = COLOURS.get(name.removeprefix("auc/"), f"run{place}")
            raw = np.array([np.nan if row.get(name) is None else row[name] for row in metrics], dtype=float)
            mean, known = smoothed(raw.tolist(), window), np.isfinite(raw)
            if known.any():
                means.append(charts.Line(label, colour, steps[known].tolist(), mean[known].tolist()))
                thin.append(charts.Line(label, f"{colour} thin", steps[known].tolist(), raw[known].tolist()))
        if means:
            drawn = thin * (window > 1 and len(means) == 1) + means
            chart = charts.line_chart(title, drawn, "step", shares=title.startswith("Accuracy"))
            figures.append((title, means, chart))
    return figures


def bin_figures(title: str, bins: Mapping[str, Sequence[Bin]], x_label: str, shares: bool = False) -> list[Figure]:
    """The means of each list of bins over the number of the bin, with bands; no figure if all lists are empty."""
    lines = []
    for name, members in bins.items():
        if members:
            y = [member.y.value for member in members]
            low = [member.y.value if member.y.low is None else member.y.low for member in members]
            high = [member.y.value if member.y.high is None else member.y.high for member in members]
            lines.append(charts.Line(SCORES[name], COLOURS[name], range(1, len(members) + 1), y, low, high))
    return [(title, lines, charts.line_chart(title, lines, x_label, shares=shares))] if lines else []


def render(run: Run) -> tuple[str, list[str], dict[str, Any]]:
    """The HTML text; what the page had to leave out, one line each (the page says so, too); and its `tables`."""
    rollouts = statistics.flatten(run.records)
    figures = tables(run, rollouts)
    cards = group_cards(run.records)
    shown = sum(len(card["rollouts"]) for card in cards)
    images, missing = thumbnails(run.path, cards)
    notes = list(run.broken)
    if shown < len(run.records):
        notes.append(
            f"{shown:,} of {len(run.records):,} rollouts are shown, those of {len({card['step'] for card in cards})} "
            "evenly spaced steps; the figures count all of them"
        )
    if not rollouts.has_flow:
        notes.append(f"no deviation and no flow reward: this run was trained with advantage_shaping={run.shaping}")
    notes += [missing] if missing else []
    frequent = [token for token in figures.get("tokens", []) if token.count >= MIN_COUNT]
    page = render_page(
        TEMPLATE,
        TEMPLATE.with_suffix(".js"),
        f"Training run {run.path.resolve().name}",
        {"cards": cards, "images": images, "views": token_views(rollouts)},
        run=run,
        notes=notes,
        shown=shown,
        tables=figures,
        has_flow=rollouts.has_flow,
        scores=SCORES,
        quantities=QUANTITIES,
        rewarded=[token for token in frequent if token.flow_reward > 0][:TOP_TOKENS],
        punished=[token for token in reversed(frequent) if token.flow_reward < 0][:TOP_TOKENS],
        min_count=MIN_COUNT,
        visible=lambda text: text.translate(VISIBLE),
        number=lambda value, form: format(value, form).replace("-", "−"),
        strip=lambda score, estimate: charts.interval_strip(
            charts.Bar(SCORES[score], COLOURS[score], estimate.value, (estimate.low, estimate.high))
        ),
        curves=curve_figures(run.metrics),
        **_chart_figures(figures),
    )
    return page, notes, figures


def _chart_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The charts that are drawn from the tables, by their names in the template."""
    x_label = "tenth by score within the group, lowest to highest"
    correctness = bin_figures("Correct rollouts, in percent", figures["accuracy_by_score"], x_label, shares=True)
    deviations, x_label = [], "tenth of the tokens by deviation, lowest to highest"
    for name, bins in figures.get("by_deviation", {}).items():
        deviations += bin_figures(f"{QUANTITIES[name].capitalize()} by deviation, in nats", {name: bins}, x_label)
    colours = dict(OUTCOMES.values())
    spreads = [
        charts.Spread(label, colours[label], lengths["count"], tuple(lengths["quantiles"]))
        for label, lengths in figures["lengths"].items()
    ]
    lengths = charts.spread_bars("Response length in tokens", spreads, "tokens")
    return {"correctness": correctness, "deviations": deviations, "lengths": lengths}
