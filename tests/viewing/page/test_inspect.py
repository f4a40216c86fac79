"""The page of a real training run in a browser: `inspect.html` and `inspect.js`."""

import json

import numpy as np
import pytest
from PIL import Image

from rlfr_mm import inspect
from rlfr_mm.viewing.rollout_records import read_rollouts

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u202e🙂"


def test_text_of_models_and_data_is_shown_as_text(changed, tmp_path, chromium):
    def hostile(record):
        tokens = [HOSTILE, *record.tokens[1:]]
        return record.model_copy(
            update={"tokens": tokens, "prompt": HOSTILE, "solution": HOSTILE, "problem_id": record.problem_id + HOSTILE}
        )

    out = tmp_path / "run.html"
    inspect.main([str(changed(hostile)), "--out", str(out)])
    chromium.open(out.as_uri())
    assert chromium.evaluate("document.querySelector('.tok').textContent") == HOSTILE
    assert chromium.evaluate("document.querySelector('.text pre').textContent") == HOSTILE
    assert chromium.evaluate("document.querySelectorAll('script').length") == 2  # the data and the page's own
    chromium.evaluate("document.querySelector('.tok').dispatchEvent(new Event('pointerover', {bubbles: true}))")
    assert "alert(1)" in chromium.evaluate("document.querySelector('.readout').textContent")
    assert chromium.dialogs == [] and chromium.requests == [] and chromium.errors == []


def test_tokens_take_the_colour_of_the_chosen_figure(run, page, chromium):
    chromium.open(page.as_uri())
    options = chromium.evaluate("[...document.querySelectorAll('#toolbar option')].map(option => option.value)")
    assert options == ["deviation", "flow_reward", "shaping", "advantage", "entropy", "surprise"]
    records = list(read_rollouts(run))  # all are on the first page

    def classes(view):
        choose = (
            f"s = document.querySelector('#toolbar select'); s.value = '{view}'; s.dispatchEvent(new Event('change'))"
        )
        chromium.evaluate(f"{{let {choose}}}")
        found = chromium.evaluate("[...document.querySelectorAll('.tok')].map(token => token.className)")
        return [name.removeprefix("tok").strip() for name in found]

    rewards = [value for record in records for value in record.flow_reward]
    for name, value in zip(classes("flow_reward"), rewards, strict=True):
        assert name[:1] in {-1: ("l",), 0: ("",), 1: ("h", "")}[int(np.sign(value))], value
    deviations = [value for record in records for value in record.deviation]
    named = dict(zip(deviations, classes("deviation"), strict=True))
    assert named[max(deviations)] == "m5"
    levels = [int(named[value][1:] or 0) for value in sorted(named)]
    assert levels == sorted(levels) and len(set(levels)) >= 4
    assert chromium.errors == []


def test_the_figures_of_a_token_are_read_out(run, page, chromium):
    chromium.open(page.as_uri())
    read = "document.querySelectorAll('.tok')[1].click(), document.querySelector('.readout').textContent"
    told = chromium.evaluate(read)
    chromium.evaluate("document.querySelector('#toolbar select').dispatchEvent(new Event('change'))")
    assert chromium.evaluate(read) == told
    record = next(read_rollouts(run))
    assert f"token 2 of {len(record.tokens)}" in told
    assert f"velocity deviation {float(f'{record.deviation[1]:.3g}'):g} " in told
    assert f"minus log-probability {float(f'{-record.logprob[1]:.3g}'):g}" in told


def test_groups_are_found_by_steps_and_outcome(page, chromium):
    chromium.open(f"{page.as_uri()}#step-from=3&step-to=3&outcome=mixed")
    assert (
        chromium.evaluate("[...document.querySelectorAll('.card header b')].map(b => b.textContent)") == ["Step 3"] * 2
    )
    assert "1–2 of 2 groups (8 in all)" in chromium.evaluate("document.querySelector('.count').textContent")
    assert chromium.evaluate("[...document.querySelectorAll('.status.correct')].length") == 3
    assert chromium.evaluate("[...document.querySelectorAll('.card img')].every(image => image.naturalWidth > 50)")


def test_groups_are_sorted_by_what_their_tokens_say(run, page, chromium):
    chromium.open(f"{page.as_uri()}#order=deviation")
    shown = chromium.evaluate("[...document.querySelectorAll('.card header')].map(header => header.textContent)")
    groups: dict[tuple[int, str], list[float]] = {}
    for record in read_rollouts(run):
        groups.setdefault((record.step, record.problem_id), []).extend(record.deviation)
    expected = sorted(groups, key=lambda group: -np.mean(groups[group]))
    for text, (step, problem) in zip(shown, expected, strict=True):
        assert text.startswith(f"Step {step}{problem}")


def test_all_steps_of_a_problem_can_stand_together(changed, chromium, tmp_path):
    copy = changed(lambda record: record.model_copy(update={"problem_id": f"problem {record.step % 2}"}))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    for order, steps in (("", "1234"), ("problem", "1324")):
        chromium.open(f"{(tmp_path / 'run.html').as_uri()}#order={order}")
        shown = chromium.evaluate("[...document.querySelectorAll('.card header b')].map(step => step.textContent)")
        assert shown == [f"Step {step}" for step in steps]


def test_images_stand_where_the_problem_has_them(changed, tmp_path, chromium):
    def asked(record):
        (image,) = record.images
        prompt = {1: "<image>Count.", 2: "Is <image> or <image> larger?"}.get(record.step, "Count.")
        rewards = record.rewards | {"brief": None}
        return record.model_copy(
            update={"prompt": prompt, "images": [image] * prompt.count("<image>") or [image], "rewards": rewards}
        )

    inspect.main([str(changed(asked)), "--out", str(tmp_path / "run.html")])
    chromium.open((tmp_path / "run.html").as_uri())
    beside, inside = (
        chromium.evaluate(f"[...document.querySelectorAll('.question')].map(q => q.querySelectorAll('{path}').length)")
        for path in (":scope > .picture", "pre .picture")
    )
    assert (beside, inside) == ([1, 1, 0, 0, 1, 1, 1, 1], [0, 0, 2, 2, 0, 0, 0, 0])
    facts = chromium.evaluate("[...document.querySelectorAll('.answer dd')].map(value => value.textContent)")
    assert "none" in facts and "not graded" not in facts  # a reward that says nothing is no failed grading


def test_an_image_opens_large(page, chromium):
    chromium.open(page.as_uri())
    assert chromium.evaluate("document.querySelector('.picture').click(), document.querySelector('dialog').open")
    sources = "[document.querySelector('dialog img').src, document.querySelector('.picture img').src]"
    large, small = chromium.evaluate(sources)
    assert large == small and large.startswith("data:image/webp")
    assert not chromium.evaluate("document.querySelector('dialog').click(), document.querySelector('dialog').open")


def test_curves_are_drawn_smoothed_and_zoomed(page, chromium):
    chromium.open(page.as_uri())
    titles = chromium.evaluate("[...document.querySelectorAll('.plot')].map(plot => plot.ariaLabel)")
    assert {"Accuracy of the rollouts", "Loss", "Gradient norm", "Groups without signal", "Learning rate"} <= {*titles}
    ink = "document.querySelector('.plot[aria-label=Loss] canvas').toDataURL()"
    before = chromium.evaluate(ink)
    change = "(value) => { const c = document.querySelector('#plot-controls input'); c.value = value; "
    chromium.evaluate(f"({change} c.dispatchEvent(new Event('input')) }})(3)")
    assert chromium.evaluate("document.querySelector('#plot-controls output').textContent") == "3 steps"
    assert chromium.evaluate(ink) != before
    smooth = chromium.evaluate(ink)
    chromium.evaluate("document.querySelector('#plot-controls input[type=checkbox]').click()")
    assert chromium.evaluate(ink) != smooth
    chromium.evaluate("document.querySelector('[aria-label=Loss]').scrollIntoView()")
    area = "document.querySelector('[aria-label=Loss] .u-over').getBoundingClientRect()"
    x, y, width = (chromium.evaluate(f"{area}.{side}") for side in ("x", "y", "width"))
    logarithmic = chromium.evaluate(ink)
    chromium.drag((x + 0.2 * width, y + 20), (x + 0.6 * width, y + 20))
    assert chromium.evaluate(ink) != logarithmic
    assert chromium.errors == []


def test_moving_averages_are_over_steps_and_not_over_what_is_logged(changed, tmp_path, chromium):
    copy = changed(lambda record: record)
    name = "flow/score_reliability"
    rows = [
        {"step": 10 * i, name: value, "flow/reward_reliability": value / 2} for i, value in enumerate([0.2, 0.9, 0.4])
    ]
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    chromium.open((tmp_path / "run.html").as_uri())
    drawn = []
    for window in (1, 19, 21):
        slider = "(value) => { const c = document.querySelector('#plot-controls input'); c.value = value; "
        chromium.evaluate(f"({slider} c.dispatchEvent(new Event('input')) }})({window})")
        drawn.append(chromium.evaluate("document.querySelector('.plot canvas').toDataURL()"))
    assert drawn[0] == drawn[1] != drawn[2]


def test_several_runs_share_their_charts_and_say_what_differs(run, run_without_flow, tmp_path, chromium):
    out, tables = tmp_path / "both.html", tmp_path / "tables.json"
    inspect.main([str(run), str(run_without_flow), "--out", str(out), "--json", str(tables)])
    assert set(json.loads(tables.read_text())) == {"run", "none"}
    chromium.open(f"{out.as_uri()}#run=1")

    def texts(selector):
        return chromium.evaluate(f"[...document.querySelectorAll('{selector}')].map(found => found.textContent)")

    assert "train.advantage_shaping" in texts("#differences + .scroll th code")
    assert texts(".plot .u-label")[:3] == ["step", "run", "none"]
    assert set(texts(".card .run")) == {"none"}
    read = "document.querySelector('.tok').click(), document.querySelector('.readout').textContent"
    assert "deviation" not in chromium.evaluate(read)  # what this run did not record
    assert chromium.errors == []


def test_long_rollouts_are_few_on_a_page(changed, tmp_path, chromium):
    def longer(record):
        names = ("tokens", "advantages", "logprob", "entropy", "deviation", "flow_reward")
        return record.model_copy(update={name: getattr(record, name) * 300 for name in names})

    inspect.main([str(changed(longer)), "--out", str(tmp_path / "run.html")])
    chromium.open((tmp_path / "run.html").as_uri())
    assert chromium.evaluate("document.querySelectorAll('.card').length") == 1
    assert "of 8 groups" in chromium.evaluate("document.querySelector('.count').textContent")


@pytest.mark.parametrize("dark", [False, True])
def test_tokens_can_be_read_on_every_colour(page, chromium, dark: bool):
    """Contrast of at least 4.5 (WCAG AA) between the text and each colour over the page's background."""
    chromium.open(page.as_uri(), dark=dark)
    contrasts = chromium.evaluate(
        """(() => {
        const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
        const drawn = (...colours) => {
          for (const colour of colours) { canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1); }
          return [...canvas.getImageData(0, 0, 1, 1).data].slice(0, 3);
        };
        const light = (rgb) => rgb.map((c) => c / 255).map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
          .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
        const token = document.querySelector(".tok");
        return ["h", "l", "m"].flatMap((kind) => [1, 2, 3, 4, 5].map((level) => {
          token.className = `tok ${kind}${level}`;
          const paper = getComputedStyle(document.body).backgroundColor;
          const style = getComputedStyle(token);
          const ground = light(drawn(paper, style.backgroundColor)), ink = light(drawn(style.color));
          return (Math.max(ground, ink) + .05) / (Math.min(ground, ink) + .05);
        }));
        })()"""
    )
    assert len(set(contrasts)) == 15  # each level is a colour of its own
    assert min(contrasts) >= 4.5


def test_the_page_fits_its_window_in_light_and_dark(page, chromium, tmp_path):
    brightness = {}
    for dark in (False, True):
        for width in (1280, 400):
            chromium.open(page.as_uri(), width=width, dark=dark)
            assert chromium.evaluate("document.documentElement.scrollWidth") == width
            chromium.screenshot(tmp_path / "page.png")
            with Image.open(tmp_path / "page.png") as image:
                assert image.width == width and len(image.convert("RGB").getcolors(1 << 24)) > 50
                brightness[dark, width] = np.asarray(image.convert("L")).mean()
    assert all(brightness[False, width] > 200 and brightness[True, width] < 80 for width in (1280, 400))
