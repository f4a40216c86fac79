"""The first page of the results."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rlfr_mm import results
from rlfr_mm.experiments.overview import chance, credit_table, kind_of, room_table
from rlfr_mm.experiments.records import how_many_seeds, write_results
from tests.experiments.made_records import cell, random_cells, record
from tests.experiments.test_tables import cells_of

CEILING = {"flow_reward.score": "departure"}


def test_room_is_what_the_ceiling_gains_over_rlvr_in_its_errors():
    """Of eight problems, RLVR solves two and the ceiling five: a gain of 37.5 points with error sqrt(3 * 5 / 7) / 8."""
    cells = [cell("rlvr", correct="11000000"), cell("flow", correct="11100000")]
    cells += [cell("ceiling", correct="11111000", settings=CEILING)]
    (row,) = (cells_of(line) for line in room_table([record(*cells)]).splitlines()[2:])
    assert row == ["trial, base", "1", row[2], "25.0", "+0.0", "departure", "+37.5 ± 18.3", "+2.0"]


def test_chance_is_the_share_of_the_commonest_answer():
    """13 answers, equally common by default; with longer chains and larger answers it is a few cases in a hundred."""
    trial = record(cell())
    assert 1 / 13 < chance(trial, cell()) < 0.11
    longer = {"evaluation.data.operations": 4, "evaluation.data.max_value": 99}
    assert 0.01 < chance(trial, cell(settings=longer)) < 0.06


def test_kinds_of_methods():
    half_blame = {"train.advantage_shaping": "none", "train.negative_weight": 0.5}
    settings = (CEILING, {"flow_reward.shuffle": "sequence"}, half_blame, {"flow_reward.score": "logprob"}, {})
    kinds = ["ceiling", "placebo", "without a field", "without a field", "flow"]
    assert [kind_of(cell(settings=each)) for each in settings] == kinds


def test_the_first_page_takes_its_figures_from_the_records(tmp_path: Path):
    folder = tmp_path / "results"
    for experiment, seeds in (("trial", 10), ("search", 2)):
        means = {"rlvr": 0.4, "flow": 0.5, "placebo": 0.3}
        cells = [each for name, mean in means.items() for each in random_cells(name, seeds, mean)]
        problems = {"base": [str(number) for number in range(40)]}
        made = record(*cells, name=experiment, compare_to=["rlvr", "placebo"], problems=problems)
        write_results(made, folder / "experiments" / experiment / "results.json")
    (folder / "notes.md").write_text(
        "{{ gains }}\n{{ searches }}\n\nIt gains {{ gain('trial', 'base', 'flow') }}, "
        "{{ gain('trial', 'base', 'flow', 'placebo') }}.\n\n"
        "{{ record('token_credit/one.json').prompts }} prompts\n\n"
        "Of {{ problems('search', 'base') }}, ahead on {{ ahead('search', 'base', 'flow', 'rlvr') }}, "
        "and {{ rollout_gain('search', 'base', 'flow', 'rlvr', 2, 5) }}."
    )
    (folder / "token_credit").mkdir()
    (folder / "token_credit" / "one.json").write_text('{"prompts": 64}')
    results.main([str(folder)])
    page = (tmp_path / "results.md").read_text()
    section = page[page.index("## trial") :]
    row = next(cells_of(line) for line in section.splitlines() if line.startswith("| flow"))
    over_rlvr, over_placebo = (row[i].replace(" [", " points [") for i in (4, 6))
    assert f"It gains {over_rlvr}, {over_placebo}." in page and "64 prompts" in page
    assert page.index("It gains") < page.index("## trial")
    ours, theirs = random_cells("flow", 2, 0.5), random_cells("rlvr", 2, 0.4)
    pairs = list(zip(ours, theirs, strict=True))
    ahead = sum(a.correct_after.count("1") > b.correct_after.count("1") for a, b in pairs)
    first, second = (100 * np.mean(np.subtract(*(x.curves["accuracy"][1:5] for x in pair))) for pair in pairs)
    assert f"Of 40, ahead on {ahead} of 2, and {(first + second) / 2:+.1f} ± {abs(first - second) / 2:.1f}." in page
    for name in ("gains.png", "searches.png"):
        assert f"](results/{name})" in page
        with Image.open(folder / name) as picture:
            assert picture.width == pytest.approx(1500, abs=5)


def test_scores_stand_by_how_well_they_find_the_fall():
    def estimate(value: float) -> dict:
        return {"value": value, "low": value - 0.1, "high": value + 0.1}

    rows = []
    for name, auc in (("worse", 0.5), ("better", 0.7)):
        others = {column: estimate(0.5) for column in ("auc", "auc_matched", "correlation")}
        rows.append({"score": name, "auc_uncertain": estimate(auc), **others})
    lines = [cells_of(line) for line in credit_table({"rows": rows}).splitlines()[2:]]
    assert [line[0] for line in lines] == ["better", "worse"] and lines[0][2] == "0.700 [0.600, 0.800]"


def test_a_title_says_how_many_seeds_each_method_has():
    assert [how_many_seeds(counts) for counts in ([1], [4, 4], [14, 2, 3])] == ["1 seed", "4 seeds", "2 to 14 seeds"]
