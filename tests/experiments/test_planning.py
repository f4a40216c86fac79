"""The plan of an experiment: its power is the share of experiments of that size in which the test finds the gain."""

import numpy as np
import pytest

from rlfr_mm import experiment
from rlfr_mm.experiments.planning import Spread, plan, spread
from rlfr_mm.experiments.records import write_results
from rlfr_mm.statistics import paired_seeds
from tests.experiments.made_records import cell, random_cells, record


def drawn(rng: np.random.Generator, gain: float, seeds: int, problems: int, samples: int) -> list[np.ndarray]:
    """(seeds, problems) shares of right answers of two methods: problems differ, and seeds change what they gain."""
    difficulty = rng.beta(2, 2, problems)
    gains = gain + rng.normal(0, 0.03, (seeds, 1)) + rng.normal(0, 0.1, problems)
    chances = [np.broadcast_to(difficulty, (seeds, problems)), np.clip(difficulty + gains, 0, 1)]
    return [rng.binomial(samples, chance) / samples for chance in chances]


def cells(name: str, scores: np.ndarray, samples: int) -> list:
    rows = (np.round(scores * samples).astype(int)).tolist()
    return [cell(name, seed, "".join(map(str, row)), samples=samples) for seed, row in enumerate(rows)]


def test_components_of_a_pilot_predict_the_power_of_another_size():
    rng = np.random.default_rng(0)
    a, b = drawn(rng, 0.1, seeds=40, problems=400, samples=4)
    found = spread(cells("b", b, 4), cells("a", a, 4))
    power = found.power(0.1, seeds=6, problems=150, samples=2, comparisons=4)
    p = [paired_seeds(*drawn(rng, 0.1, seeds=6, problems=150, samples=2)).p for _ in range(200)]
    assert 0.3 < power < 0.95
    assert power == pytest.approx(np.mean([4 * each < 0.05 for each in p]), abs=0.1)


def test_more_seeds_problems_and_answers_give_more_power_and_more_comparisons_less():
    found = Spread(seeds=0.001, problems=0.02, both=0.01, answers=0.3)
    least = found.power(0.03, 5, 200, 1, 10)
    assert least < min(
        found.power(0.03, *more) for more in ((6, 200, 1, 10), (5, 400, 1, 10), (5, 200, 4, 10), (5, 200, 1, 2))
    )
    seeds = found.seeds_for(0.1, 200, 1, 10)
    assert found.power(0.1, seeds - 1, 200, 1, 10) < 0.8 <= found.power(0.1, seeds, 200, 1, 10)
    assert found.seeds_for(0.0001, 200, 1, 10) is None


def test_the_plan_names_a_design_per_condition(tmp_path, capsys):
    methods = [*random_cells("rlvr", 4, 0.4), *random_cells("paper", 4, 0.5)]
    results = tmp_path / "results" / "results.json"
    write_results(record(*methods), results)
    (tmp_path / "pilot.yaml").write_text(
        "base: b.yaml\nmethods: {rlvr: {}}\nseeds: [0]\n" + f"results_dir: {results.parent}\n"
    )
    experiment.main(["--config", str(tmp_path / "pilot.yaml"), "--plan", "4"])
    printed = capsys.readouterr().out
    assert printed.strip() == plan(record(*methods), 4.0).strip()
    assert "### base" in printed and "To find a gain of 4 points with 80 % power takes" in printed
    assert "with p corrected for 1 comparison. Fewer than 5 seeds prove nothing." in printed


def test_a_plan_leaves_out_conditions_that_have_one_seed_so_far():
    unfinished = [cell for name in ("rlvr", "paper") for cell in random_cells(name, 1, 0.4, "second")]
    cells = [*random_cells("rlvr", 4, 0.4), *random_cells("paper", 4, 0.5), *unfinished]
    printed = plan(record(*cells), 4.0)
    assert "### base" in printed and "### second" not in printed


def test_a_plan_has_as_many_seeds_as_a_table_needs_to_show_p():
    assert Spread(seeds=0, problems=0.01, both=0, answers=0.1).seeds_for(0.5, 256, 1, 1) == 5


def test_a_pilot_without_any_spread_is_named():
    alike = [cell(name, seed, "1" * 40) for name in ("rlvr", "paper") for seed in range(4)]
    with pytest.raises(ValueError, match="trial, base: a plan needs a pilot whose answers vary; all are alike"):
        plan(record(*alike), 4.0)


def test_a_plan_without_a_pilot_says_what_is_missing(tmp_path, capsys):
    with pytest.raises(ValueError, match="two methods share two seeds"):
        plan(record(*random_cells("rlvr", 1, 0.4), *random_cells("paper", 1, 0.5)), 2.0)
    (tmp_path / "pilot.yaml").write_text(
        f"base: b.yaml\nmethods: {{rlvr: {{}}}}\nseeds: [0]\nresults_dir: {tmp_path}\n"
    )
    with pytest.raises(SystemExit):
        experiment.main(["--config", str(tmp_path / "pilot.yaml"), "--plan", "2"])
    assert "run the experiment first" in capsys.readouterr().err
