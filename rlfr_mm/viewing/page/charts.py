"""Charts as inline SVG: pure functions from numbers to markup, with every value as text that can be read and copied.

All but the strip are 400 units wide: a narrow screen, or a column of a wide one. `colour` is a class of page.css, such
as `run0` or `correct`, so that a chart follows light, dark and print. Shares are fractions of 1, shown in percent.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup
from matplotlib.ticker import MaxNLocator

WIDTH = 400
_svg = Markup('<svg viewBox="0 0 {} {}" role="img" aria-label="{}" class="{}">{}</svg>')
_text = Markup('<text x="{:.1f}" y="{:.1f}" class="{}">{}</text>')
_rect = Markup('<rect x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:.1f}" class="{}"><title>{}</title></rect>')
_path = Markup('<path d="{}" class="{}"/>')
_point = Markup('<circle cx="{:.1f}" cy="{:.1f}" r="{}" class="{}"><title>{}</title></circle>')


@dataclass(frozen=True)
class Bar:
    """One share with its interval; `name` says whose it is."""

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
    """How `count` numbers are spread: their 5, 25, 50, 75 and 95 % quantiles."""

    name: str
    colour: str
    count: int
    quantiles: tuple[float, float, float, float, float]


@dataclass(frozen=True)
class Line:
    """A curve, and where `low` and `high` are given the band between them."""

    name: str
    colour: str
    x: Sequence[float]
    y: Sequence[float]
    low: Sequence[float] = ()
    high: Sequence[float] = ()


def interval_bars(label: str, groups: Sequence[tuple[str, str, Sequence[Bar]]]) -> Markup:
    """Horizontal bars from 0 to 100 %: a group is a name, a remark beside it, and one bar a run."""
    parts, y, full = [], 0.0, WIDTH - 48
    for name, remark, bars in groups:
        y += 14
        parts += [_text.format(0, y, "", name), _text.format(WIDTH, y, "muted end", remark)]
        y += 5
        for bar in bars:
            low, high = (full * share for share in bar.interval)
            tip = f"{name}, {bar.name}: {_with_interval(bar)}"
            parts += [
                _rect.format(0, y, full, 9, "rail", tip),
                _rect.format(0, y, full * bar.value, 9, f"fill {bar.colour}", tip),
                _path.format(f"M{low:.1f} {y + 4.5}H{high:.1f}", "whisker"),
                _text.format(WIDTH, y + 8.5, "end", f"{100 * bar.value:.1f}"),
            ]
            y += 12
        y += 4
    return _svg.format(WIDTH, round(y), label, "", Markup("").join(parts))


def interval_strip(bar: Bar) -> Markup:
    """A dot with its interval on a line from 0 to 100 %, small enough for a table cell."""
    x, (low, high) = 4 + 112 * bar.value, (4 + 112 * share for share in bar.interval)
    label = _with_interval(bar)
    parts = (
        _path.format("M4 5H116", "rule"),
        _path.format(f"M{low:.1f} 5H{high:.1f}", f"stroke {bar.colour}"),
        _point.format(x, 5, 3.4, f"fill {bar.colour}", label),
    )
    return _svg.format(120, 10, label, "strip", Markup("").join(parts))


def stacked_bars(label: str, rows: Sequence[tuple[str, Sequence[Part]]]) -> Markup:
    """One bar a row, divided as the counts are; counts that find no room are in the row's text."""
    parts, y = [], 0.0
    for name, row in rows:
        total = sum(part.count for part in row) or 1
        shown = [part for part in row if part.count]
        y += 14
        parts.append(_text.format(0, y, "", name))
        parts.append(_text.format(WIDTH, y, "muted end", " · ".join(f"{part.count:,} {part.name}" for part in shown)))
        x = 0.0
        for part in shown:
            width = WIDTH * part.count / total
            tip = f"{name}: {part.count} of {total} {part.name} ({_percent(part.count / total)})"
            parts.append(_rect.format(x, y + 5, max(width - 1, 0.8), 11, f"fill {part.colour}", tip))
            x += width
        y += 24
    return _svg.format(WIDTH, round(y), label, "", Markup("").join(parts))


def spread_bars(label: str, rows: Sequence[Spread], unit: str) -> Markup:
    """One row a group: a line over the middle 90 %, a box over the middle half, a tick at the median."""
    end = max((row.quantiles[4] for row in rows), default=1) or 1
    ticks = _ticks(0, end)
    scale = (WIDTH - 16) / ticks[-1]
    parts, y = [], 0.0
    for row in rows:
        p5, p25, p50, p75, p95 = (scale * value for value in row.quantiles)
        remark = f"median {row.quantiles[2]:,.0f} · n = {row.count:,}"
        tip = f"{row.name}: middle half {row.quantiles[1]:,.0f} to {row.quantiles[3]:,.0f} {unit}"
        y += 14
        parts += [
            _text.format(0, y, "", row.name),
            _text.format(WIDTH, y, "muted end", remark),
            _path.format(f"M{p5:.1f} {y + 11}H{p95:.1f}", f"stroke {row.colour}"),
            _rect.format(p25, y + 6, max(p75 - p25, 1), 10, f"fill {row.colour}", tip),
            _path.format(f"M{p50:.1f} {y + 4}V{y + 18}", "whisker"),
        ]
        y += 24
    for tick in ticks:
        parts.append(_text.format(scale * tick, y + 12, "muted middle" if tick else "muted", f"{tick:,.0f}"))
    return _svg.format(WIDTH, round(y + 16), label, "", Markup("").join(parts))


def line_chart(label: str, lines: Sequence[Line], x_label: str, log2_x: bool = False, shares: bool = False) -> Markup:
    """Curves over a common x. With `log2_x` it has ticks at powers of two, with `shares` y runs from 0 to 100 %."""
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
        parts.append(_path.format(f"M{left} {up(tick):.1f}H{right}", "rule"))
        parts.append(_text.format(left - 6, up(tick) + 4, "muted end", f"{100 * tick:.0f}" if shares else f"{tick:g}"))
    parts += [_text.format(at(tick), bottom + 16, "muted middle", f"{tick:g}") for tick in x_ticks]
    parts.append(_text.format((left + right) / 2, height - 4, "muted middle", x_label))
    for line in lines:
        if line.low:
            outline = track([*line.x, *reversed(line.x)], [*line.high, *reversed(line.low)])
            parts.append(_path.format(f"M{outline}Z", f"soft {line.colour}"))
        parts.append(_path.format(f"M{track(line.x, line.y)}", f"stroke {line.colour}"))
        for x, y in zip(line.x, line.y, strict=True):
            if x in x_ticks:
                tip = f"{line.name}, {x_label} {x:g}: {_percent(y) if shares else f'{y:.4g}'}"
                parts.append(_point.format(at(x), up(y), 2.6, f"fill {line.colour}", tip))
    return _svg.format(WIDTH, height, label, "", Markup("").join(parts))


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers from at or below `low` to at or above `high`; where these are one number, 0 is the other end."""
    if low == high:
        low, high = (min(low, 0), max(high, 0)) if low else (0, 1)
    return [float(tick) for tick in MaxNLocator(5).tick_values(low, high)]


def _with_interval(bar: Bar) -> str:
    return f"{_percent(bar.value)}, interval {_percent(bar.interval[0])} to {_percent(bar.interval[1])}"


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"
