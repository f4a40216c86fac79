"""Charts: pure functions from numbers to markup.

- Line charts carry their numbers as JSON; plots.js draws them with uPlot, so that one can zoom in and read values.
- All others are inline SVG whose values are also text that can be read and copied. Their widths are in percent, so that
  bars fill a column or a page and text keeps its size.

A `colour` is a class of page.css, such as `run0` or `correct`, so that charts follow light mode, dark mode and print.
Shares are fractions of 1 and are shown in percent.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from markupsafe import Markup

_text = Markup('<text x="{:.2f}%" y="{:.1f}" class="{}">{}</text>').format
_rect = Markup(
    '<rect x="{:.2f}%" y="{:.1f}" width="{:.2f}%" height="{:.1f}" class="{}"><title>{}</title></rect>'
).format
_line = Markup('<line x1="{:.2f}%" y1="{:.1f}" x2="{:.2f}%" y2="{:.1f}" class="{}"/>').format
_point = Markup('<circle cx="{:.2f}%" cy="{:.1f}" r="{}" class="{}"><title>{}</title></circle>').format


@dataclass(frozen=True)
class Bar:
    """One share with its interval."""

    name: str
    colour: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class Part:
    """A number of things of one kind."""

    name: str
    colour: str
    count: int


@dataclass(frozen=True)
class Spread:
    """The 5, 25, 50, 75 and 95 % quantiles of `count` numbers."""

    name: str
    colour: str
    count: int
    quantiles: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Line:
    """A curve, with a band around it if `low` and `high` are given; None is a gap."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float | None]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def interval_bars(label: str, groups: Sequence[tuple[str, str, Sequence[Bar]]]) -> Markup:
    """Horizontal bars from 0 to 100 %. A group is a name, a remark beside it, and one bar per run."""
    parts, y, full = [], 0.0, 88
    for name, remark, bars in groups:
        y += 14
        parts += [_text(0, y, "", name), _text(100, y, "muted end", remark)]
        y += 5
        for bar in bars:
            low, high = (full * share for share in bar.interval)
            tip = f"{name}, {bar.name}: {_with_interval(bar)}"
            parts += [
                _rect(0, y, full, 9, "rail", tip),
                _rect(0, y, full * bar.value, 9, f"fill {bar.colour}", tip),
                _line(low, y + 4.5, high, y + 4.5, "whisker"),
                _text(100, y + 8.5, "end", f"{100 * bar.value:.1f}"),
            ]
            y += 14
        y += 4
    return _svg(label, y, parts)


def interval_strip(bar: Bar) -> Markup:
    """A dot with its interval on a line from 0 to 100 %, small enough for a table cell."""
    x, low, high = (4 + 92 * share for share in (bar.value, *bar.interval))
    label = _with_interval(bar)
    parts = [
        _line(4, 5, 96, 5, "rule"),
        _line(low, 5, high, 5, f"stroke {bar.colour}"),
        _point(x, 5, 3.4, f"fill {bar.colour}", label),
    ]
    return _svg(label, 10, parts, Markup('viewBox="0 0 120 10" class="strip"'))


def stacked_bars(label: str, rows: Sequence[tuple[str, Sequence[Part]]]) -> Markup:
    """One bar per row, divided in proportion to the counts, which are also in the text of the row."""
    parts, y = [], 0.0
    for name, row in rows:
        total = sum(part.count for part in row) or 1
        shown = [part for part in row if part.count]
        y += 14
        parts.append(_text(0, y, "", name))
        parts.append(_text(100, y, "muted end", " · ".join(f"{part.count:,} {part.name}" for part in shown)))
        x = 0.0
        for part in shown:
            width = 100 * part.count / total
            tip = f"{name}: {part.count} of {total} {part.name} ({_percent(part.count / total)})"
            parts.append(_rect(x, y + 5, max(width, 0.3), 11, f"fill part {part.colour}", tip))
            x += width
        y += 24
    return _svg(label, y, parts)


def spread_bars(label: str, rows: Sequence[Spread], unit: str) -> Markup:
    """One row per group: a line over the middle 90 %, a box over the middle half, a tick at the median."""
    longest = max((row.quantiles[4] for row in rows), default=1) or 1
    scale = 96 / longest
    parts, y = [], 0.0
    for row in rows:
        p5, p25, p50, p75, p95 = (scale * value for value in row.quantiles)
        tip = f"{row.name}: middle half {row.quantiles[1]:,.0f} to {row.quantiles[3]:,.0f} {unit}"
        y += 14
        parts += [
            _text(0, y, "", row.name),
            _text(100, y, "muted end", f"median {row.quantiles[2]:,.0f} · n = {row.count:,}"),
            _line(p5, y + 11, p95, y + 11, f"stroke {row.colour}"),
            _rect(p25, y + 6, max(p75 - p25, 0.3), 10, f"fill {row.colour}", tip),
            _line(p50, y + 4, p50, y + 18, "whisker"),
        ]
        y += 24
    parts += [_text(0, y + 12, "muted", "0"), _text(scale * longest, y + 12, "muted middle", f"{longest:,.0f}")]
    return _svg(label, y + 16, parts)


def line_chart(
    label: str, lines: Sequence[Line], x_label: str, log2_x: bool = False, shares: bool = False, smoothed: bool = False
) -> Markup:
    """Curves over a common x.

    Args:
        log2_x: x is on a logarithmic scale with base 2.
        shares: y runs from 0 to 100 %.
        smoothed: the controls of the page set the moving average and the scale of y.

    >>> line_chart("Accuracy", [Line("run", "run0", [1, 2], [0.25, 0.5])], "step", shares=True)
    """
    values = {"x_label": x_label, "log2_x": log2_x, "shares": shares, "smoothed": smoothed}
    text = json.dumps(values | {"lines": [asdict(line) for line in lines]}, allow_nan=False, default=list)
    return Markup('<div class="plot" role="img" aria-label="{}" data-plot="{}"></div>').format(label, text)


def _svg(label: str, height: float, parts: Sequence[Markup], attributes: str = "") -> Markup:
    frame = Markup('<svg height="{}" role="img" aria-label="{}" {}>{}</svg>')
    return frame.format(round(height), label, attributes, Markup("").join(parts))


def _with_interval(bar: Bar) -> str:
    return f"{_percent(bar.value)}, interval {_percent(bar.interval[0])} to {_percent(bar.interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
