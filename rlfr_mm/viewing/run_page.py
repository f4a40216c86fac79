"""Training runs as one HTML page: their figures, and the page that shows them beside every rollout."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from markupsafe import Markup

from rlfr_mm.config_file import read_settings
from rlfr_mm.files import checked, read_json, read_json_lines
from rlfr_mm.viewing import token_statistics as statistics
from rlfr_mm.viewing.accuracy import accuracy_text
from rlfr_mm.viewing.learning_curves import NUM_COLOURS, curve_charts, curves_of
from rlfr_mm.viewing.page import charts
from rlfr_mm.viewing.page.html import render_page
from rlfr_mm.viewing.rollout_cards import MAX_IMAGE_CHARS, MAX_TOKENS, group_cards, thumbnails, token_views
from rlfr_mm.viewing.rollout_records import RolloutRecord, read_rollouts
from rlfr_mm.viewing.smoothing import window_for
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
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)  # of lengths
MIN_COUNT = 10  # occurrences that a token needs to be in a table
TOP_TOKENS = 20
# Symbols that make white space and control characters visible.
VISIBLE = str.maketrans({chr(code): chr(0x2400 + code) for code in range(ord(" "))} | {" ": "␣", "\n": "↵"})
METHODS = {
    "flow": "Flow reward",
    "redistribute": "Flow reward instead of the outcome",
    "scale": "Advantage weighted by the flow",
    "entropy": "Entropy advantage",
    "none": "GRPO without shaping",
}

Figure = tuple[str, Markup]  # title, chart


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

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def title(self) -> str:
        method = METHODS.get(self.shaping, self.shaping) + blame_text(self.config["train"])
        return f"{method}, {self.config['model']['name_or_path']}"

    @property
    def settings(self) -> str:
        """The settings as YAML, without sections that are off."""
        return yaml.safe_dump({name: value for name, value in self.config.items() if value}, sort_keys=False)


def read_run(path: Path) -> Run:
    """The run in a folder, finished or not; ValueError if the folder is not a run, is damaged or holds no rollouts."""
    saved = path / "config.yaml"
    if not saved.is_file():
        hint = "name a folder that rlfr_mm.train wrote (train.output_dir)"
        if (path / "manifest.json").is_file():
            hint = "this is an evaluation, which rlfr_mm.eval.report shows"
        raise ValueError(f"{path} is not a run: {hint}")
    config = read_settings(saved)
    sections = [config.get(name) for name in ("train", "model")]
    if not all(isinstance(section, dict) for section in sections) or "name_or_path" not in config["model"]:
        raise ValueError(f"{saved} is not that of a run: it has no train or no model.name_or_path")
    broken: list[str] = []
    records = list(read_rollouts(path, broken))
    if not records:
        reason = "train with train.rollouts_per_step above 0"
        if broken:
            reason = f"{broken[0]}; if nothing damaged it, the run is of another version of rlfr_mm"
        raise ValueError(f"{path} has no rollouts to show: {reason}")
    summary, metrics = path / "summary.json", path / "metrics.jsonl"
    return Run(
        path=path,
        config=config,
        summary=checked(read_json(summary), summary) if summary.exists() else {},
        metrics=_rows(metrics) if metrics.exists() else [],
        records=records,
        broken=broken,
    )


def _rows(path: Path) -> list[dict[str, Any]]:
    """The rows of metrics.jsonl; ValueError naming the first line that has no step or holds anything but numbers."""
    rows = read_json_lines(path, finished_only=True)
    for number, row in enumerate(rows, start=1):
        if not (
            isinstance(row, dict) and "step" in row and all(isinstance(x, int | float | None) for x in row.values())
        ):
            raise ValueError(f"{path}, line {number}, is not a row of metrics: {json.dumps(row):.80}")
    return rows


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
    logged = ["step", *(name for names in curves_of(run.metrics).values() for name in names)]
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


def bin_figures(
    title: str, bins: Mapping[str, Sequence[Bin]], names: Mapping[str, str], x_label: str, shares: bool = False
) -> list[Figure]:
    """The means of each list of bins over the number of the bin, with bands; no figure if all lists are empty."""
    lines = []
    for name, members in bins.items():
        if members:
            y = [member.y.value for member in members]
            low = [member.y.value if member.y.low is None else member.y.low for member in members]
            high = [member.y.value if member.y.high is None else member.y.high for member in members]
            lines.append(charts.Line(names[name], COLOURS[name], range(1, len(members) + 1), y, low, high))
    return [(title, charts.line_chart(title, lines, x_label, shares=shares))] if lines else []


def render(runs: Sequence[Run]) -> tuple[str, list[str], dict[str, Any]]:
    """The HTML text; what the page had to leave out, one line each (the page says so, too); and the runs' `tables`.

    With one run the last value is its tables, with several it has the tables of each by the run's label.
    """
    labels = _labels(runs)
    rollouts = [statistics.flatten(run.records) for run in runs]
    cards: list[dict[str, Any]] = []
    images: dict[str, str] = {}
    notes: list[str] = []
    parts: list[dict[str, Any]] = []
    for number, (label, run, flat) in enumerate(zip(labels, runs, rollouts, strict=True)):
        found = group_cards(run.records, number, MAX_TOKENS // len(runs))
        pictures, missing = thumbnails(run.path, found, MAX_IMAGE_CHARS // len(runs))
        cards, images = cards + found, images | pictures
        remarks = _notes(run, found, flat.has_flow) + ([missing] if missing else [])
        notes += [f"{label}: {remark}" if len(runs) > 1 else remark for remark in remarks]
        figures = tables(run, flat)
        parts.append({"label": label, "run": run, "tables": figures, "has_flow": flat.has_flow})
        parts[-1] |= _chart_figures(figures) | _token_tables(figures)
    shown = sum(len(card["rollouts"]) for card in cards)
    page = render_page(
        TEMPLATE,
        TEMPLATE.with_suffix(".js"),
        "Training run " + labels[0] if len(runs) == 1 else "Training runs " + ", ".join(labels),
        {
            "runs": [{"label": label, "colour": f"run{i % NUM_COLOURS}"} for i, label in enumerate(labels)],
            "cards": cards,
            "images": images,
            "views": token_views(rollouts),
        },
        parts=parts,
        notes=notes,
        shown=shown,
        differences=_differences(runs),
        scores=SCORES,
        quantities=QUANTITIES,
        min_count=MIN_COUNT,
        visible=lambda text: text.translate(VISIBLE),
        number=lambda value, form: format(value, form).replace("-", "−"),
        strip=lambda score, estimate: charts.interval_strip(
            charts.Bar(SCORES[score], COLOURS[score], estimate.value, (estimate.low, estimate.high))
        ),
        accuracy=accuracy_text,
        curves=curve_charts({label: run.metrics for label, run in zip(labels, runs, strict=True)}),
        window=window_for(max(len(run.metrics) for run in runs)),
    )
    by_run: dict[str, Any] = {part["label"]: part["tables"] for part in parts}
    return page, notes, by_run if len(runs) > 1 else by_run[labels[0]]


def blame_text(train: Mapping[str, Any]) -> str:
    """What the name of a method says of `train.negative_weight`, nothing if it is 1.

    >>> blame_text({"negative_weight": 0.5})
    ', negative advantages times 0.5'
    """
    weight = train.get("negative_weight", 1)
    return "" if weight == 1 else f", negative advantages times {weight:g}"


def _labels(runs: Sequence[Run]) -> list[str]:
    """The names of the run folders, or their paths where names are equal."""
    names = [run.name for run in runs]
    return [name if names.count(name) == 1 else str(run.path) for name, run in zip(names, runs, strict=True)]


def _notes(run: Run, cards: Sequence[Mapping[str, Any]], has_flow: bool) -> list[str]:
    notes = list(run.broken)
    shown = sum(len(card["rollouts"]) for card in cards)
    if shown < len(run.records):
        notes.append(
            f"{shown:,} of {len(run.records):,} rollouts are shown, those of {len({card['step'] for card in cards})} "
            "evenly spaced steps; the figures count all of them"
        )
    if not has_flow:
        notes.append(f"no deviation and no flow reward: this run was trained with advantage_shaping={run.shaping}")
    return notes


def _differences(runs: Sequence[Run]) -> dict[str, list[Any]]:
    """The settings in which the runs differ, by dotted name: one value per run, None where it is not set."""
    flat = [_dotted(run.config) for run in runs]
    names = dict.fromkeys(name for settings in flat for name in settings)
    values = {name: [settings.get(name) for settings in flat] for name in names}
    return {name: row for name, row in values.items() if any(value != row[0] for value in row)}


def _dotted(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in settings.items():
        found |= _dotted(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {prefix + name: value}
    return found


def _token_tables(figures: Mapping[str, Any]) -> dict[str, Any]:
    frequent = [token for token in figures.get("tokens", []) if token.count >= MIN_COUNT]
    return {
        "rewarded": [token for token in frequent if token.flow_reward > 0][:TOP_TOKENS],
        "punished": [token for token in reversed(frequent) if token.flow_reward < 0][:TOP_TOKENS],
    }


def _chart_figures(figures: Mapping[str, Any]) -> dict[str, Any]:
    """The charts that are drawn from the tables, by their names in the template."""
    x_label = "tenth by score within the group, lowest to highest"
    correctness = bin_figures(
        "Correct rollouts, in percent", figures["accuracy_by_score"], SCORES, x_label, shares=True
    )
    deviations, x_label = [], "tenth of the tokens by deviation, lowest to highest"
    for name, bins in figures.get("by_deviation", {}).items():
        deviations += bin_figures(
            f"{QUANTITIES[name].capitalize()} by deviation, in nats", {name: bins}, QUANTITIES, x_label
        )
    colours = dict(OUTCOMES.values())
    spreads = [
        charts.Spread(label, colours[label], lengths["count"], tuple(lengths["quantiles"]))
        for label, lengths in figures["lengths"].items()
    ]
    lengths = charts.spread_bars("Response length in tokens", spreads, "tokens")
    return {"correctness": correctness, "deviations": deviations, "lengths": lengths}
