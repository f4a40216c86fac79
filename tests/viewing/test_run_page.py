"""The page of a real training run: what it says, and what it does with bad input."""

import json
import re
import shutil
import subprocess
import sys
from html import unescape

import pytest

from rlfr_mm import inspect
from rlfr_mm.viewing import token_statistics
from rlfr_mm.viewing.rollout_records import read_rollouts
from rlfr_mm.viewing.run_page import SCORES

PLOT = re.compile(r'aria-label="([^"]+)" data-plot="([^"]+)"')


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
    (tmp_path / "manifest.json").write_text("{}")
    assert "this is an evaluation, which rlfr_mm.eval.report shows" in error(capsys, tmp_path)
    shutil.copy(run / "config.yaml", tmp_path)
    assert "no rollouts to show: train with train.rollouts_per_step above 0" in error(capsys, tmp_path)
    (tmp_path / "rollouts").mkdir()
    (tmp_path / "rollouts" / "000001.jsonl").write_text('{"step": 1\n')
    told = error(capsys, tmp_path)
    assert "000001.jsonl, line 1, is not a rollout record" in told and "of another version of rlfr_mm" in told
    assert "cannot write" in error(capsys, run, "--out", tmp_path / "no" / "folder.html")
    broken = tmp_path / "broken"
    shutil.copytree(run, broken)
    with (broken / "metrics.jsonl").open("a") as file:
        file.write("{\n")
    assert "metrics.jsonl, line 5, is not valid JSON" in error(capsys, broken)
    rows = (run / "metrics.jsonl").read_text()
    for bad in ('{"step": 5, "loss": "low"}', "[5]", '{"loss": 1}'):
        (broken / "metrics.jsonl").write_text(f"{rows}{bad}\n")
        assert f"metrics.jsonl, line 5, is not a row of metrics: {bad}" in error(capsys, broken)
    for bad, message in {
        "": "has no train",
        "model: {}\ntrain: {}": "has no train",
        "a:\n\tb": "not valid YAML",
    }.items():
        (broken / "config.yaml").write_text(bad)
        assert message in error(capsys, broken)


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
