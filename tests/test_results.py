"""From records to comparisons, tables and pictures: against figures worked out by hand or by scipy."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import ttest_rel, wilcoxon

from rlfr_mm import results
from rlfr_mm.results import CellRecord, ExperimentRecord, compare, read_results, steps_to, table, write_results


def cell(method: str = "rlvr", seed: int = 0, correct: str = "0011", curve: list | None = None, **changes):
    values = {
        "condition": "base",
        "method": method,
        "seed": seed,
        "settings": {"train.seed": seed},
        "accuracy_before": 0.25,
        "accuracy_after": correct.count("1") / len(correct),
        "correct_before": "0" * len(correct),
        "correct_after": correct,
        "curves": {"accuracy": curve or [0.1, 0.5, 0.9], "auc/logprob": [None, 0.6, 0.8]},
        "auc_gain": 0.03,
        "seconds": {"training": 90.0},
        "hardware": {"gpu": None, "cpu_cores": 2},
        "versions": {"torch": "2"},
        "git_commit": "0123456789abcdef-dirty",
    }
    return CellRecord(**values | changes)


def record(*cells: CellRecord, **changes) -> ExperimentRecord:
    values = {"name": "trial", "about": "Why.", "base": {"train": {"learning_rate": 3e-5}}, "compare_to": ["rlvr"]}
    return ExperimentRecord(**values | {"target_accuracy": None, "problems": {}, "cells": list(cells)} | changes)


def random_cells(method: str, seeds: int, share: float, condition: str = "base") -> list[CellRecord]:
    rng = np.random.default_rng(sum(map(ord, method)))
    made = []
    for seed in range(seeds):
        correct = "".join("01"[int(draw < share)] for draw in rng.random(40))
        curve = list(np.clip(share + 0.02 * np.arange(20) + rng.normal(0, 0.05, 20), 0, 1))
        made.append(cell(method, seed, correct, curve, condition=condition))
    return made


def test_record_round_trips_through_its_file_with_one_line_a_cell(tmp_path: Path):
    written = record(cell(), cell("paper", 1), problems={"base": ["a", "b", "c", "d"]})
    write_results(written, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == written
    assert len((tmp_path / "results.json").read_text().splitlines()) == 4
    (tmp_path / "results.json").write_text('{"name": "trial"}')
    with pytest.raises(ValueError, match="is no record of an experiment"):
        read_results(tmp_path / "results.json")


def test_gain_is_paired_by_problem_on_the_problems_that_both_could_grade():
    ours, theirs = "1111?1011010", "0101100?1010"
    (found,) = compare(record(cell("paper", correct=ours), cell("rlvr", correct=theirs)))
    kept = [(a == "1", b == "1") for a, b in zip(ours, theirs, strict=True) if "?" not in (a, b)]
    a, b = np.array(kept, dtype=float).T
    assert found.seeds == 1 and found.gain == pytest.approx((a - b).mean())
    assert found.p == pytest.approx(ttest_rel(a, b).pvalue)
    assert found.low < found.gain < found.high


def test_seeds_are_paired_and_those_of_one_method_alone_left_out():
    """Seed 1 of both is right everywhere, seed 2 wrong everywhere: the methods do not differ."""
    cells = [cell("rlvr", 1, "1111"), cell("rlvr", 2, "0000"), cell("paper", 2, "0000"), cell("paper", 1, "1111")]
    (found,) = compare(record(*cells, cell("paper", 3, "1111")))
    assert (found.seeds, found.gain, found.p) == (2, 0, 1)


def test_p_is_corrected_for_every_comparison_of_the_experiment():
    cells = [*random_cells("rlvr", 4, 0.4), *random_cells("a", 4, 0.75)]
    (alone,) = compare(record(*cells))
    both = compare(record(*cells, *random_cells("b", 4, 0.42)))
    hard = [*random_cells("rlvr", 4, 0.4, "hard"), *random_cells("a", 4, 0.4, "hard")]
    more = compare(record(*cells, *hard, *random_cells("b", 4, 0.42)))
    assert alone.p < 0.05
    assert [each.p for each in (both[0], more[0])] == pytest.approx([2 * alone.p, 3 * alone.p])


def test_each_pair_is_compared_once():
    cells = [*random_cells("rlvr", 2, 0.4), *random_cells("placebo", 2, 0.4), *random_cells("a", 2, 0.5)]
    found = compare(record(*cells, compare_to=["rlvr", "placebo"]))
    assert [(each.method, each.against) for each in found] == [("placebo", "rlvr"), ("a", "rlvr"), ("a", "placebo")]


def test_steps_to_the_target_by_hand():
    assert steps_to(cell(curve=[0.1, 0.6, 0.4, 0.7]), 0.6) == 2
    assert steps_to(cell(curve=[0.1, 0.6, 0.4, 0.7]), 0.8) == 5  # not reached
    assert steps_to(cell(curve=[0.1, None, 0.8, 0.9]), 0.5) == 3
    # Ten steps are averaged over two: one lucky step is not enough.
    assert steps_to(cell(curve=[0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.6, 0.8, 0.8]), 0.65) == 9


def test_steps_saved_are_tested_by_signed_ranks_over_seeds():
    cells = [*random_cells("rlvr", 8, 0.4), *random_cells("paper", 8, 0.5)]
    (found,) = compare(record(*cells, target_accuracy=0.6))
    saved = [steps_to(cells[seed], 0.6) - steps_to(cells[8 + seed], 0.6) for seed in range(8)]
    assert found.steps_saved == np.median(saved) > 0
    assert found.steps_p == pytest.approx(wilcoxon(saved).pvalue)


def test_table_holds_the_figures_of_the_records():
    cells = [cell("rlvr", seed, "0011") for seed in (0, 1)] + [cell("paper", seed, "0111") for seed in (0, 1)]
    lines = table(record(*cells, target_accuracy=0.5)).splitlines()
    header, rlvr, paper = (lines[i].split(" | ") for i in (2, 4, 5))
    row = dict(zip(header, paper, strict=True))
    assert row["| method"] == "| paper" and row["seeds"] == "2" and row["before"] == "25.0 ± 0.0"
    assert row["after"] == "75.0 ± 0.0" and row["gain over rlvr"].startswith("+25.0 [")
    assert row["AUC of log-probability"] == "0.700 ± 0.000"  # the step without pairs is left out
    assert row["within-group AUC"] == "–" and row["minutes |"] == "1.5 ± 0.0 |"
    assert rlvr[header.index("gain over rlvr")] == ""
    assert "commits 0123456789-dirty" in lines[-1] and "no GPU, 2 CPU cores" in lines[-1]


def test_a_run_without_graded_answers_shows_no_accuracy():
    cells = [cell(correct="????", accuracy_after=None), cell("paper", correct="1111")]
    assert compare(record(*cells)) == []
    assert "| rlvr | 1 | 25.0 | – |" in table(record(*cells))


def test_the_page_has_every_experiment_with_its_picture_and_notes(tmp_path: Path, capsys: pytest.CaptureFixture):
    folder = tmp_path / "results"
    for name in ("first", "second"):
        path = folder / "experiments" / name / "results.json"
        write_results(record(*random_cells("rlvr", 2, 0.4), *random_cells("a b", 2, 0.5), name=name), path)
        results.write_report(path.parent)
        assert (path.parent / "curves.png").stat().st_size > 10_000
    (folder / "experiments" / "second" / "notes.md").write_text("It shows little.\n")
    results.main([str(folder)])
    page = (tmp_path / "results.md").read_text()
    assert page.index("## first") < page.index("## second") < page.index("It shows little.")
    assert "](results/experiments/first/curves.png)" in page and "| a b | 2 |" in page
    with pytest.raises(SystemExit) as stopped:
        results.main([str(tmp_path / "nothing")])
    assert stopped.value.code == 2 and "error: no experiments/NAME/results.json" in capsys.readouterr().err


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
    assert "2048 rollouts of 256 prompts. The policy is right in 40.0%" in text
    lines = [line for line in text.splitlines() if "all layers" in line]
    assert [line.split(" | ")[0] for line in lines] == ["| log-ratio", "| log-probability", "| deviation"]
    assert lines[0].endswith("| 0.8 | all | 0.600 [0.580, 0.620] | +0.030 [+0.010, +0.050] |")
    probed = [{"learner": "probe", "prompts learnt": 512, "auc": rows[0]["auc"], "gain": rows[2]["gain"]}]
    (tmp_path / "latent_probe").mkdir()
    (tmp_path / "latent_probe" / "level3.json").write_text(json.dumps(record | {"rows": probed}))
    results.main([str(tmp_path)])
    after = tmp_path.with_suffix(".md").read_text()
    assert after.startswith(text.strip())
    assert after.rstrip().endswith("| probe | 512 | 0.600 [0.580, 0.620] | +0.030 [+0.010, +0.050] |")
