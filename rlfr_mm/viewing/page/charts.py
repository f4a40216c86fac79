"""Charts as inline SVG: pure functions from numbers to markup. Every value is also text that can be read and copied.

All charts but the strip are 400 units wide, which fits a narrow screen or a column of a wide one. A `colour` is a class
of page.css, such as `run0` or `correct`, so that charts follow light mode, dark mode and print. Shares are fractions of
1 and are shown in percent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH = 400
_text = Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>').format
_rect = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"><title>{}</title></rect>').format
_path = Markup('<path d="{}" class="{}"/>').format
_point = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"><title>{}</title></circle>').format


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
    """A curve, with a band around it if `low` and `high` are given."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def interval_bars(label: str, groups: Sequence[tuple[str, str, Sequence[Bar]]]) -> Markup:
    """Horizontal bars from 0 to 100 %. A group is a name, a remark beside it, and one bar per run."""
    parts, y, full = [], 0.0, WIDTH - 48
    for name, remark, bars in groups:
        y += 14
        parts += [_text(0, y, "", name), _text(WIDTH, y, "muted end", remark)]
        y += 5
        for bar in bars:
            low, high = (full * share for share in bar.interval)
            tip = f"{name}, {bar.name}: {_with_interval(bar)}"
            parts += [
                _rect(0, y, full, 9, "rail", tip),
                _rect(0, y, full * bar.value, 9, f"fill {bar.colour}", tip),
                _path(f"M{low:.1f} {y + 4.5}H{high:.1f}", "whisker"),
                _text(WIDTH, y + 8.5, "end", f"{100 * bar.value:.1f}"),
            ]
            y += 12
        y += 4
    return _svg(label, y, parts)


def interval_strip(bar: Bar) -> Markup:
    """A dot with its interval on a line from 0 to 100 %, small enough for a table cell."""
    x, low, high = (4 + 112 * share for share in (bar.value, *bar.interval))
    label = _with_interval(bar)
    parts = [
        _path("M4 5H116", "rule"),
        _path(f"M{low:.1f} 5H{high:.1f}", f"stroke {bar.colour}"),
        _point(x, 5, 3.4, f"fill {bar.colour}", label),
    ]
    return _svg(label, 10, parts, width=120, style="strip")


def stacked_bars(label: str, rows: Sequence[tuple[str, Sequence[Part]]]) -> Markup:
    """One bar per row, divided in proportion to the counts, which are also in the text of the row."""
    parts, y = [], 0.0
    for name, row in rows:
        total = sum(part.count for part in row) or 1
        shown = [part for part in row if part.count]
        y += 14
        parts.append(_text(0, y, "", name))
        parts.append(_text(WIDTH, y, "muted end", " · ".join(f"{part.count:,} {part.name}" for part in shown)))
        x = 0.0
        for part in shown:
            width = WIDTH * part.count / total
            tip = f"{name}: {part.count} of {total} {part.name} ({_percent(part.count / total)})"
            parts.append(_rect(x, y + 5, max(width - 1, 0.8), 11, f"fill {part.colour}", tip))
            x += width
        y += 24
    return _svg(label, y, parts)


def spread_bars(label: str, rows: Sequence[Spread], unit: str) -> Markup:
    """One row per group: a line over the middle 90 %, a box over the middle half, a tick at the median."""
    ticks = _ticks(0, max((row.quantiles[4] for row in rows), default=1) or 1)
    scale = (WIDTH - 16) / ticks[-1]
    parts, y = [], 0.0
    for row in rows:
        p5, p25, p50, p75, p95 = (scale * value for value in row.quantiles)
        tip = f"{row.name}: middle half {row.quantiles[1]:,.0f} to {row.quantiles[3]:,.0f} {unit}"
        y += 14
        parts += [
            _text(0, y, "", row.name),
            _text(WIDTH, y, "muted end", f"median {row.quantiles[2]:,.0f} · n = {row.count:,}"),
            _path(f"M{p5:.1f} {y + 11}H{p95:.1f}", f"stroke {row.colour}"),
            _rect(p25, y + 6, max(p75 - p25, 1), 10, f"fill {row.colour}", tip),
            _path(f"M{p50:.1f} {y + 4}V{y + 18}", "whisker"),
        ]
        y += 24
    parts += [_text(scale * tick, y + 12, "muted middle" if tick else "muted", f"{tick:,.0f}") for tick in ticks]
    return _svg(label, y + 16, parts)


def line_chart(label: str, lines: Sequence[Line], x_label: str, log2_x: bool = False, shares: bool = False) -> Markup:
    """Curves over a common x. `log2_x` puts ticks at powers of two; with `shares`, y runs from 0 to 100 %."""
    left, right, top, height = 34, WIDTH - 12, 8, 230
    bottom = height - 36
    xs = [x for line in lines for x in line.x]
    ys = [y for line in lines for y in (*line.y, *line.low, *line.high)]
    y_ticks = [0, 0.25, 0.5, 0.75, 1] if shares else _ticks(min(ys), max(ys))
    if log2_x:
        x_ticks = [2.0**i for i in range(math.ceil(math.log2(min(xs))), math.floor(math.log2(max(xs))) + 1)]
    else:
        x_ticks = [tick for tick in _ticks(min(xs), max(xs)) if min(xs) <= tick <= max(xs)]

    def at(value: float) -> float:
        scaled, low, high = (math.log2(v) if log2_x else v for v in (value, min(xs), max(xs)))
        return left + (right - left) * (scaled - low) / ((high - low) or 1)

    def up(value: float) -> float:
        return bottom - (bottom - top) * (value - y_ticks[0]) / ((y_ticks[-1] - y_ticks[0]) or 1)

    def track(x: Sequence[float], y: Sequence[float]) -> str:
        return "L".join(f"{at(a):.1f} {up(b):.1f}" for a, b in zip(x, y, strict=True))

    parts = []
    for tick in y_ticks:
        parts.append(_path(f"M{left} {up(tick):.1f}H{right}", "rule"))
        parts.append(_text(left - 6, up(tick) + 4, "muted end", f"{100 * tick:.0f}" if shares else f"{tick:g}"))
    parts += [_text(at(tick), bottom + 16, "muted middle", f"{tick:g}") for tick in x_ticks]
    parts.append(_text((left + right) / 2, height - 4, "muted middle", x_label))
    for line in lines:
        if line.low:
            outline = track([*line.x, *reversed(line.x)], [*line.high, *reversed(line.low)])
            parts.append(_path(f"M{outline}Z", f"soft {line.colour}"))
        parts.append(_path(f"M{track(line.x, line.y)}", f"stroke {line.colour}"))
        for x, y in zip(line.x, line.y, strict=True):
            if x in x_ticks:
                tip = f"{line.name}, {x_label} {x:g}: {_percent(y) if shares else f'{y:.4g}'}"
                parts.append(_point(at(x), up(y), 2.6, f"fill {line.colour}", tip))
    return _svg(label, height, parts)


def _svg(label: str, height: float, parts: Sequence[Markup], width: float = WIDTH, style: str = "") -> Markup:
    frame = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="{}">{}</svg>')
    return frame.format(width, round(height), label, style, Markup("").join(parts))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`; if the two are equal, the other end is 0."""
    if low == high:
        low, high = (min(low, 0), max(high, 0)) if low else (0, 1)
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high)]


def _with_interval(bar: Bar) -> str:
    return f"{_percent(bar.value)}, interval {_percent(bar.interval[0])} to {_percent(bar.interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
