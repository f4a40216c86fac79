"""Charts say their numbers in text and draw them to scale."""

import json
from xml.etree import ElementTree

import pytest

from rlfr_mm.viewing.page import charts
from rlfr_mm.viewing.page.charts import Bar, Line, Part, Spread


def elements(svg, tag, **attributes):
    return [
        element
        for element in ElementTree.fromstring(svg).iter(tag)
        if all(value in element.get(name, "") for name, value in attributes.items())
    ]


def percent(element, name):
    return float(element.get(name).removesuffix("%"))


def texts(svg):
    return [element.text for element in elements(svg, "text")]


def test_bars_are_as_long_as_their_shares():
    svg = charts.interval_bars(
        "x", [("algebra", "n = 4", [Bar("a", "run0", 0.25, (0.1, 0.5)), Bar("b", "run1", 0.5, (0, 1))])]
    )
    first, second = (percent(bar, "width") for bar in elements(svg, "rect", **{"class": "fill"}))
    assert second == pytest.approx(2 * first)
    assert {"algebra", "n = 4", "25.0", "50.0"} <= set(texts(svg))
    whisker, _ = elements(svg, "line", **{"class": "whisker"})
    assert [percent(whisker, "x1"), percent(whisker, "x2")] == pytest.approx([0.4 * first, 2 * first])


def test_an_interval_strip_says_its_numbers():
    svg = charts.interval_strip(Bar("a", "run0", 0.5, (0.4, 0.65)))
    assert ElementTree.fromstring(svg).get("aria-label") == "50.0 %, interval 40.0 % to 65.0 %"


def test_a_stack_is_divided_as_the_counts_are_and_leaves_out_none():
    parts = [Part("correct", "correct", 30), Part("wrong", "wrong", 10), Part("grader error", "error", 0)]
    svg = charts.stacked_bars("x", [("run", parts)])
    right, wrong = elements(svg, "rect")
    assert percent(right, "width") == pytest.approx(3 * percent(wrong, "width"))
    assert percent(wrong, "x") == pytest.approx(percent(right, "width"))
    assert "30 correct · 10 wrong" in texts(svg)


def test_a_row_without_responses_is_drawn_empty():
    svg = charts.stacked_bars("x", [("run", [Part("correct", "correct", 0)])])
    assert elements(svg, "rect") == [] and "run" in texts(svg)


def test_spreads_share_one_scale():
    rows = [Spread("a", "correct", 3, (0, 10, 20, 30, 100)), Spread("b", "wrong", 1, (5, 5, 5, 5, 5))]
    svg = charts.spread_bars("x", rows, "tokens")
    box, thin = elements(svg, "rect")
    assert percent(box, "width") == pytest.approx(2 * percent(box, "x"), abs=0.2)
    assert percent(thin, "width") == 0.3  # a single number is still seen
    assert "median 20 · n = 3" in texts(svg)


def test_a_line_chart_carries_its_numbers():
    line = Line("a", "run0", range(1, 3), [0.5, None], [0.4, None], [0.6, None])
    html = charts.line_chart("pass@k", [line], "k", log2_x=True, shares=True)
    element = ElementTree.fromstring(html)
    plot = json.loads(element.get("data-plot"))
    assert (element.get("aria-label"), plot["x_label"], plot["log2_x"], plot["shares"]) == ("pass@k", "k", True, True)
    assert plot["lines"] == [
        {"name": "a", "colour": "run0", "x": [1, 2], "y": [0.5, None], "low": [0.4, None], "high": [0.6, None]}
    ]


def test_names_are_escaped():
    name = '<script>"&'
    bar, spread = Bar(name, "run0", 0.5, (0.4, 0.6)), Spread(name, "correct", 1, (1, 1, 1, 1, 1))
    for svg in (
        charts.interval_bars(name, [(name, name, [bar])]),
        charts.stacked_bars(name, [(name, [Part(name, "correct", 1)])]),
        charts.spread_bars(name, [spread], "tokens"),
        charts.line_chart(name, [Line(name, "run0", [1, 2], [0, 1])], name),
    ):
        assert "<script" not in svg
        assert ElementTree.fromstring(svg).get("aria-label") == name
