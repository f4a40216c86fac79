"""The page of a real training run: what it says, what it shows in a browser, and what it does with bad input."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlfr_mm import inspect
from rlfr_mm.viewing import token_statistics
from rlfr_mm.viewing.rollout_records import read_rollouts
from rlfr_mm.viewing.run_page import SCORES

PLOT = re.compile(r'aria-label="([^"]+)" data-plot="([^"]+)"')
HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\u2028\u202e🙂"


@pytest.fixture(scope="module")
def page(run, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("page") / "run.html"
    inspect.main([str(run), "--out", str(out)])
    return out


def error(capsys, *arguments) -> str:
    with pytest.raises(SystemExit) as stopped:
        inspect.main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


# ---- figures


def test_aucs_of_the_records_are_those_the_run_logged(run):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert len(rows) == 4
    for row in rows:
        rollouts = token_statistics.flatten([r for r in read_rollouts(run) if r.step == row["step"]])
        for ranking in token_statistics.rank_rollouts(rollouts):
            if f"auc/{ranking.score}" in row:
                assert ranking.auc.value == pytest.approx(row[f"auc/{ranking.score}"]), ranking.score
                assert ranking.pairs == 7


def test_tables_and_page_hold_the_same_figures(changed, tmp_path):
    run = changed(lambda record: record, copies=10)  # enough prompts for intervals
    inspect.main([str(run), "--out", str(tmp_path / "run.html"), "--json", str(tmp_path / "tables.json")])
    tables, html = json.loads((tmp_path / "tables.json").read_text()), (tmp_path / "run.html").read_text()
    assert [row["step"] for row in tables["curves"]] == [1, 2, 3, 4]
    for row in tables["ranking"]:
        assert f"{row['auc']['value']:.3f}" in html and f"{row['auc']['low']:.3f} to {row['auc']['high']:.3f}" in html
    assert {row["score"] for row in tables["ranking"]} == set(SCORES)
    assert sum(lengths["count"] for lengths in tables["lengths"].values()) == 320
    for row in tables["correlations"]:
        assert f"{row['rho']['value']:+.3f}".replace("-", "−") in html
    assert sum(row["count"] for row in tables["tokens"]) == sum(len(record.tokens) for record in read_rollouts(run))
    means = [row["flow_reward"] for row in tables["tokens"]]
    assert means == sorted(means, reverse=True) and means[0] > 0 > means[-1]


def test_a_run_with_few_prompts_has_no_intervals(page):
    assert "too few prompts for an interval" in page.read_text()


def test_tokens_of_the_tables_are_frequent_enough(changed, tmp_path):
    def say(record):
        size = len(record.tokens)
        return record.model_copy(
            update={"tokens": ["rare" if record.sample == 0 and i == 0 else "often" for i in range(size)]}
        )

    inspect.main([str(changed(say)), "--out", str(tmp_path / "run.html")])
    html = (tmp_path / "run.html").read_text()
    assert '<code class="token">often</code>' in html and '<code class="token">rare</code>' not in html


def test_a_run_without_flow_says_so_and_shows_the_rest(run_without_flow, tmp_path, capsys):
    inspect.main([str(run_without_flow), "--json", str(tmp_path / "tables.json")])
    assert "no deviation and no flow reward" in capsys.readouterr().err
    html = (run_without_flow / "inspect.html").read_text()
    assert "no deviation and no flow reward" in html and 'id="tokens"' not in html and "velocity deviation" not in html
    tables = json.loads((tmp_path / "tables.json").read_text())
    assert "tokens" not in tables
    assert '"key":"advantage"' in html and '"key":"shaping"' not in html  # nothing was added but rounding
    assert [row["score"] for row in tables["ranking"]] == ["logprob", "entropy", "length"]


def test_curves_of_entropy_say_entropy(page):
    plots = dict(PLOT.findall(page.read_text()))
    (line,) = json.loads(unescape(plots["Entropy by deviation, in nats"]))["lines"]
    assert line["name"] == "entropy" and min(line["y"]) > 0


def test_the_held_out_accuracy_has_an_interval_and_a_band(changed, tmp_path):
    copy = changed(lambda record: record)
    measured = {"accuracy": 0.0, "standard_error": 0.0, "n": 8, "unscored": 0}
    (copy / "summary.json").write_text(json.dumps({"accuracy_before": measured, "accuracy_after": measured}))
    rows = [json.loads(line) for line in (copy / "metrics.jsonl").read_text().splitlines()]
    rows[1] |= {"held_out/accuracy": 0.5, "held_out/standard_error": 0.1, "flow/reward_reliability": 0.8}
    (copy / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    page = (tmp_path / "run.html").read_text()
    assert "0.0 % (95 % interval 0.0 to 32.4, n = 8) before" in page
    plots = {label: json.loads(unescape(plot)) for label, plot in PLOT.findall(page)}
    (line,) = plots["Held-out accuracy"]["lines"]
    assert (line["x"], line["low"], line["high"]) == ([rows[1]["step"]], [0.304], [0.696])
    assert [0.8] in [line["y"][-1:] for line in plots["Reliability under fresh noise"]["lines"]]


def test_all_ungraded_rollouts_leave_nothing_to_rank(changed, tmp_path):
    copy = changed(lambda record: record.model_copy(update={"correct": None, "rewards": {"accuracy": None}}))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    html = (tmp_path / "run.html").read_text()
    assert "No group has both correct and incorrect rollouts" in html and "32 not graded" in html


def test_rollouts_whose_tokens_were_all_masked_are_shown(changed, tmp_path):
    columns = ("tokens", "advantages", "logprob", "entropy", "deviation", "flow_reward")
    copy = changed(lambda record: record.model_copy(update={name: [] for name in columns}))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html"), "--json", str(tmp_path / "tables.json")])
    assert json.loads((tmp_path / "tables.json").read_text())["tokens"] == []


# ---- the command


def test_the_page_is_made_without_torch(run, tmp_path):
    script = f"""
import sys
from rlfr_mm import inspect
try:
    inspect.main(["--help"])
except SystemExit:
    pass
inspect.main([{str(run)!r}, "--out", {str(tmp_path / "run.html")!r}])
assert not {{"torch", "transformers"}} & set(sys.modules)
"""
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert "--json FILE" in result.stdout


def test_bad_input_is_one_line(run, tmp_path, capsys):
    assert error(capsys, tmp_path / "absent") == (
        f"error: {tmp_path / 'absent'} is not a run: name a folder that rlfr_mm.train wrote (train.output_dir)"
    )
    shutil.copy(run / "config.yaml", tmp_path)
    assert "no rollouts to show: train with train.rollouts_per_step above 0" in error(capsys, tmp_path)
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "000001.jsonl").write_text('{"step": 1\n')
    assert "000001.jsonl, line 1, is not a rollout record" in error(capsys, tmp_path)
    assert "cannot write" in error(capsys, run, "--out", tmp_path / "no" / "folder.html")
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    with (broken / "metrics.jsonl").open("a") as file:
        file.write("{\n")
    assert "metrics.jsonl, line 5, is not valid JSON" in error(capsys, broken)


def test_damaged_rollouts_are_named_and_a_run_that_goes_on_is_shown(changed, tmp_path, capsys):
    copy = changed(lambda record: record)
    with (copy / "metrics.jsonl").open("a") as file:
        file.write('{"step": 5, "accu')
    path = copy / "rollouts" / "000002.jsonl"
    path.write_text(path.read_text().replace('{"step":2', '{"stop":2', 1))
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    output = capsys.readouterr()
    assert output.err.startswith(f"warning: {path} is damaged: ")
    html = (tmp_path / "run.html").read_text()
    assert (
        "rollouts of step 2 are left out" in html
        and "24 rollouts recorded" in html
        and "the run is not finished" in html
    )


def test_a_run_that_has_logged_no_step_is_shown(changed, tmp_path):
    copy = changed(lambda record: record)
    (copy / "metrics.jsonl").write_text("")
    inspect.main([str(copy), "--out", str(tmp_path / "run.html")])
    assert "No step has been logged yet." in (tmp_path / "run.html").read_text()


# ---- in a browser


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
