"""From record files to tables, pages and pictures."""

import json
from pathlib import Path

import pytest

from rlfr_mm import results
from rlfr_mm.experiments.comparison import compare
from rlfr_mm.experiments.records import read_results, write_results
from rlfr_mm.experiments.tables import experiment_table, write_results_page
from tests.conftest import ROOT
from tests.experiments.made_records import cell, random_cells, record


def cells_of(line: str) -> list[str]:
    """The cells of a row of a Markdown table."""
    return [text.strip() for text in line.strip("| ").split("|")] if line.count("|") > 1 else []


def test_table_holds_the_figures_of_the_records():
    cells = [cell("rlvr", seed, "0011") for seed in (0, 1)] + [cell("paper", seed, "0111") for seed in (0, 1)]
    lines = experiment_table(record(*cells, target_accuracy=0.5)).splitlines()
    header, rlvr, paper = (cells_of(lines[i]) for i in (2, 4, 5))
    row = dict(zip(header, paper, strict=True))
    assert row["method"] == "paper" and row["seeds"] == "2" and row["before"] == "25.0 ± 0.0"
    assert row["after"] == "75.0 ± 0.0" and row["gain over rlvr"].startswith("+25.0 [")
    assert row["AUC of log-probability"] == "0.700 ± 0.000"  # the step without pairs is left out
    assert row["within-group AUC"] == "–" and row["minutes"] == "1.5 ± 0.0"
    assert rlvr[header.index("gain over rlvr")] == ""
    assert "commits 0123456789-dirty" in lines[-1] and " runs on 2 CPU cores" in lines[-1]


def test_a_run_without_graded_answers_shows_no_accuracy():
    cells = [cell(correct="????", accuracy_after=None), cell("paper", correct="1111")]
    assert compare(record(*cells)) == []
    (rlvr,) = (cells_of(line) for line in experiment_table(record(*cells)).splitlines() if line.startswith("| rlvr"))
    assert rlvr[:4] == ["rlvr", "1", "25.0", "–"]


def test_comparisons_that_find_nothing_are_counted():
    """Ten seeds with little difference, and two that go apart: with one degree of freedom nothing is found."""
    apart = [cell("two", 0, "1" * 40), cell("two", 1, "0" * 40)]
    many = [*random_cells("rlvr", 10, 0.4), *random_cells("ten", 10, 0.5)]
    whole = experiment_table(record(*many, *apart))
    assert "proves nothing" in whole and "proves nothing" not in experiment_table(record(*many))
    (line,) = (line for line in whole.splitlines() if "80 % power" in line)
    assert line.endswith("with the same correction; comparisons with too few seeds to say: 1.")


def test_the_page_has_every_experiment_with_its_picture_and_notes(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "results"
    for name in ("first", "second"):
        path = folder / "experiments" / name / "results.json"
        write_results(record(*random_cells("rlvr", 2, 0.4), *random_cells("a b", 2, 0.5), name=name), path)
    (folder / "experiments" / "second" / "notes.md").write_text("It shows little.\n")
    results.main([str(folder)])
    page = (tmp_path / "results.md").read_text()
    for name in ("first", "second"):
        assert (folder / "experiments" / name / "curves.png").stat().st_size > 10_000
        assert (
            experiment_table(read_results(folder / "experiments" / name / "results.json"))
            in (folder / "experiments" / name / "table.md").read_text()
        )
    assert page.index("## first") < page.index("## second") < page.index("It shows little.")
    assert "](results/experiments/first/curves.png)" in page and ["a b", "2"] in [
        cells_of(line)[:2] for line in page.splitlines()
    ]
    with pytest.raises(SystemExit) as stopped:
        results.main([str(tmp_path / "nothing")])
    assert (
        stopped.value.code == 2
        and "has no record files; it should hold experiments/NAME/results.json" in capsys.readouterr().err
    )


def test_the_first_page_can_ask_for_other_answers_of_the_same_policies(tmp_path: Path):
    folder = tmp_path / "results"
    sampled = record(
        *(cell(name, seed, correct) for name, correct in (("rlvr", "0011"), ("paper", "0111")) for seed in (0, 1))
    )
    greedy = record(
        *(cell(name, seed, correct) for name, correct in (("rlvr", "0001"), ("paper", "1111")) for seed in (0, 1))
    )
    write_results(sampled, folder / "experiments/trial/results.json")
    write_results(greedy, folder / "again/trial.json")
    asked = '{{ gain("trial", "base", "paper") }} and {{ gain("again/trial", "base", "paper") }}'
    asked += '{% set later = comparison("trial", "base", "paper", seeds=range(1, 5)) %}, later {{ later.gain.seeds }}'
    asked += ', of {{ accuracy("again/trial", "base", "rlvr", "before") }}'
    (folder / "notes.md").write_text(asked)
    results.main([str(folder)])
    page = (tmp_path / "results.md").read_text()
    assert "+25.0 points" in page and "and +75.0 points" in page and ", later 1, of 25.0 %" in page
    assert page.count("## trial") == 1  # the greedy record has no section of its own
    assert "| +25.0 [" in page and "their p proves nothing" in page  # of two seeds
    row = next(cells_of(line) for line in page.splitlines() if line.startswith("| paper"))
    assert row[5] == "–"
    (folder / "notes.md").write_text('{{ gain("trial", "base", "papre") }}')
    with pytest.raises(
        ValueError, match=r"notes.md asks trial for .'base', 'papre', 'rlvr'., which it does not compare"
    ):
        write_results_page(folder)


def test_rankings_of_scores_stand_in_the_page_best_gain_first(tmp_path: Path):
    def row(score: str, time: float | None, gain: float) -> dict:
        place = {"field": "all layers", "context": "previous", "time": time, "tokens": "all"}
        estimates = {
            key: {"value": value, "low": value - 0.02, "high": value + 0.02}
            for key, value in (("auc", 0.6), ("gain", gain))
        }
        return {"score": score, **place, **estimates}

    rows = [row("log-probability", None, 0.0), row("deviation", 0.8, -0.01), row("log-ratio", 0.8, 0.03)]
    shares = {"accuracy": 0.4, "groups_all_wrong": 0.17, "groups_all_right": 0.05}
    record = {"level": 3, "prompts": 256, "rollouts": 2048, "rows": rows, **shares}
    (tmp_path / "score_ranking").mkdir()
    (tmp_path / "score_ranking" / "level3.json").write_text(json.dumps(record))
    results.main([str(tmp_path)])
    text = tmp_path.with_suffix(".md").read_text()
    assert "2048 rollouts of 256 prompts. The policy answers 40.0% correctly" in text
    lines = [line for line in text.splitlines() if "all layers" in line]
    assert [cells_of(line)[0] for line in lines] == ["log-ratio", "log-probability", "deviation"]
    assert cells_of(lines[0])[-4:] == ["0.8", "all", "0.600 [0.580, 0.620]", "+0.030 [+0.010, +0.050]"]
    few = [row | {"auc": {"value": 0.6, "low": None, "high": None}} for row in rows]
    (tmp_path / "score_ranking" / "level4.json").write_text(json.dumps(record | {"level": 4, "rows": few}))
    results.main([str(tmp_path)])
    assert [cells_of(line)[-2] for line in tmp_path.with_suffix(".md").read_text().splitlines() if "+0.03" in line] == [
        "0.600 [0.580, 0.620]",
        "0.600",
    ]
    (tmp_path / "score_ranking" / "level4.json").unlink()
    probed = [{"learner": "probe", "prompts learnt": 512, "auc": rows[0]["auc"], "gain": rows[2]["gain"]}]
    (tmp_path / "latent_probe").mkdir()
    (tmp_path / "latent_probe" / "level3.json").write_text(json.dumps(record | {"rows": probed}))
    results.main([str(tmp_path)])
    after = tmp_path.with_suffix(".md").read_text()
    assert after.startswith(text.strip())
    last = after.rstrip().splitlines()[-1]
    assert cells_of(last) == ["probe", "512", "0.600 [0.580, 0.620]", "+0.030 [+0.010, +0.050]"]


def test_runs_beside_each_other_become_the_table_of_the_quickstart(tmp_path: Path):
    for name in ("none", "flow"):
        summary = json.loads((ROOT / "docs" / "results" / "quickstart" / name / "summary.json").read_text())
        (tmp_path / "quickstart" / name).mkdir(parents=True)
        (tmp_path / "quickstart" / name / "summary.json").write_text(json.dumps(summary))
    results.main([str(tmp_path)])
    text = (tmp_path / "quickstart" / "README.md").read_text()
    rows = [cells_of(line) for line in text.splitlines()]
    before, after = (summary[f"accuracy_{stage}"] for stage in ("before", "after"))
    shown = [f"{100 * each['accuracy']:.1f} ± {100 * each['standard_error']:.1f}" for each in (before, after)]
    gain = f"{100 * (after['accuracy'] - before['accuracy']):+.1f}"
    assert ["flow", "flow", "42", "150", *shown, gain, f"{sum(summary['seconds'].values()) / 60:.1f}"] in rows
    assert f"python -m rlfr_mm.results {tmp_path}" in text and "- none: `python -m rlfr_mm.train --config" in text
    assert not tmp_path.with_suffix(".md").exists()  # there is no experiment to write about


def test_the_first_page_says_how_long_runs_were_and_no_p_smaller_than_its_tails_allow(tmp_path: Path):
    folder = tmp_path / "results"
    answers = {"rlvr": "0001" * 8, "paper": "0111" * 8}
    cells = [cell(name, seed, correct) for name, correct in answers.items() for seed in range(12)]
    cells = [each.model_copy(update={"settings": {"train.max_steps": 180}}) for each in cells]
    trial = record(*cells, base={"train": {"max_steps": 150, "learning_rate": 3e-5}})
    write_results(trial, folder / "experiments/trial/results.json")
    asked = (
        '{{ p("trial", "base", "paper") }}',
        '{{ p_is("trial", "base", "paper") }}',
        '{{ training("trial", "base") }}',
    )
    (folder / "notes.md").write_text("; ".join(asked))
    results.main([str(folder)])
    assert "<0.001; p < 0.001; 180 steps at a learning rate of 3e-5" in (tmp_path / "results.md").read_text()
