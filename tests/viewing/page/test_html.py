"""Pages hold what they are given as text, whatever it looks like, and load nothing."""

import base64
import io
import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rlfr_mm.viewing.page.html import embedded_json, render_page, thumbnail

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.text()
    | st.sampled_from(["</script>", "<!--<script>", "]]>", "\u2028"]),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@given(values)
def test_embedded_json_is_the_value_and_cannot_end_its_element(value):
    text = embedded_json(value)
    assert json.loads(text) == value
    assert "<" not in text


def test_numbers_without_a_json_name_are_refused():
    with pytest.raises(ValueError, match="JSON"):
        embedded_json({"score": float("nan")})


@pytest.fixture
def page(tmp_path):
    (tmp_path / "small.html").write_text(
        '{% extends "page.html" %}{% block body %}'
        '<p>{{ told }}</p>{{ 0.1234 | percent }}<div id="root"></div>{% endblock %}'
    )
    (tmp_path / "small.js").write_text(
        'browse({root: document.getElementById("root"), items: pageData(), noun: "words", filters: [], '
        'text: (item) => item, render: (item) => el("p", {class: "item"}, item)});'
    )

    def write(told, items):
        path = tmp_path / "page.html"
        html = render_page(tmp_path / "small.html", tmp_path / "small.js", "a <title>", items, told=told)
        path.write_text(html)
        return path, html

    return write


def test_templates_escape_and_name_what_is_missing(page, tmp_path):
    _, html = page("<b>bold</b>", [])
    assert "&lt;b&gt;bold&lt;/b&gt;" in html and "<title>a &lt;title&gt;</title>" in html and "12.3" in html
    (tmp_path / "small.html").write_text('{% extends "page.html" %}{% block body %}{{ untold }}{% endblock %}')
    with pytest.raises(Exception, match="untold"):
        page("", [])


def test_a_page_refers_to_nothing_outside_itself(page):
    _, html = page("", [])
    assert re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?([^"')\s>]+)""", html) == ["data:,"]
    assert "default-src 'none'" in html


def test_the_policy_stops_markup_that_was_not_escaped(page, chromium):
    """The second line of defence: even raw markup in a page neither runs nor loads."""
    attack = '<img src="http://127.0.0.1:9/a.png" onerror="alert(1)"><script>alert(2)</script>'
    path, html = page("@attack@", ["one", "two"])
    path.write_text(html.replace("@attack@", attack))
    chromium.open(path.as_uri())
    assert chromium.dialogs == [] and chromium.requests == []
    assert chromium.evaluate("document.querySelectorAll('.item').length") == 2
    # The same markup without the policy does both: the check above can fail.
    path.write_text(attack)
    chromium.open(path.as_uri())
    assert "2" in chromium.dialogs and chromium.requests == ["http://127.0.0.1:9/a.png"]


def test_search_and_page_are_kept_in_the_address(page, chromium):
    path, _ = page("", [f"word {i}" for i in range(1000)])
    chromium.open(f"{path.as_uri()}#q=word+5&page=3")
    shown = "[...document.querySelectorAll('.item')].map(item => item.textContent)"
    assert chromium.evaluate(shown) == [f"word {i}" for i in range(509, 519)]
    assert chromium.evaluate("document.querySelector('.count').textContent") == "21–30 of 111 words (1,000 in all)"
    chromium.evaluate("document.querySelector('.pager button').click()")
    assert chromium.evaluate("location.hash") == "#q=word+5&page=2"
    assert chromium.evaluate(shown)[0] == "word 59"
    assert chromium.errors == []


def test_a_page_number_beyond_the_last_shows_the_last(page, chromium):
    path, _ = page("", [f"word {i}" for i in range(25)])
    for wanted, first in (("99", "word 20"), ("0", "word 0"), ("x", "word 0")):
        chromium.open(f"{path.as_uri()}#page={wanted}")
        assert chromium.evaluate("document.querySelector('.item').textContent") == first


@pytest.mark.parametrize("size", [(1000, 400), (30, 900), (84, 84)])
def test_a_thumbnail_is_no_larger_than_asked_and_keeps_its_shape(size):
    uri = thumbnail(Image.new("RGB", size, "red"), 200)
    with Image.open(io.BytesIO(base64.b64decode(uri.removeprefix("data:image/webp;base64,")))) as small:
        assert max(small.size) == min(200, max(size))
        assert small.width / small.height == pytest.approx(size[0] / size[1], rel=0.2)
        red, green, blue = small.convert("RGB").getpixel((0, 0))
    assert red > 200 and green < 50 and blue < 50
