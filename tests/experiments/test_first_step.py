"""Tables and figures of what one step of a method gains, beside what training gained."""

from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from rlfr_mm import results
from rlfr_mm.experiments.first_page import read_steps
from rlfr_mm.experiments.first_step import agreement, difference, over_policies, step_table, taken_table
from rlfr_mm.experiments.records import write_results
from rlfr_mm.files import write_json
from tests.experiments.made_records import random_cells, record
from tests.experiments.test_tables import cells_of

STEP_GAINS = {"rlvr": 2.0, "flow": 3.0, "placebo": 1.5, "untrained": 2.5}


def steps(gains: dict[str, float] = STEP_GAINS, seed: int = 0) -> dict[str, Any]:
    def points(gain: float) -> dict[str, Any]:
        return {"gain": {"value": gain, "error": 0.1}, "over": {"value": gain - gains["rlvr"], "error": 0.05}}

    rows = [
        {
            "method": name,
            **points(gain),
            "taken": [{"length": 0.5, **points(gain / 2)}, {"length": 1, **points(gain)}],
            "alone": [{"length": 1, **points(gain / 4)}],
        }
        for name, gain in gains.items()
    ]
    policy = {
        "warmup_seed": seed,
        "run": None,
        "praise": {"signal": 0.5 + seed},
        "blame": {"signal": 0.25},
        "best_negative_weight": {"value": 0.1 * seed},
    }
    return {"experiment": "trial", "condition": "base", "prompts": 512, "parts": 8, "rows": rows} | policy


@pytest.fixture
def trained() -> Any:
    means = {"rlvr": 0.4, "flow": 0.6, "placebo": 0.2}
    return record(*(cell for name, mean in means.items() for cell in random_cells(name, 4, mean)), compare_to=["rlvr"])


def test_the_table_has_the_best_first_and_training_where_there_is_some(trained: Any):
    rows = [cells_of(line) for line in step_table(steps(), trained).splitlines()[2:]]
    assert [row[0] for row in rows] == ["flow", "untrained", "rlvr", "placebo"]
    assert rows[0][1:3] == ["3.00 ± 0.10", "+1.00 ± 0.05"] and rows[2][2] == "–"
    assert float(rows[0][3].split()[0]) > 10 > -10 > float(rows[3][3].split()[0]) and rows[0][4] == "4"
    assert rows[1][3:] == rows[2][3:] == ["–", "–"]
    assert len(cells_of(step_table(steps()).splitlines()[0])) == 3


def test_steps_agree_with_training_if_they_rank_methods_alike(trained: Any):
    assert agreement(steps(), trained) == pytest.approx(1)
    assert agreement(steps(STEP_GAINS | {"placebo": 9.0}), trained) == pytest.approx(-1)
    with pytest.raises(ValueError, match="trial, base: at least two methods need 20 seeds"):
        agreement(steps(), trained, seeds=20)


def test_policies_are_averaged_with_the_error_over_them():
    together = over_policies([steps(STEP_GAINS | {"flow": gain}, seed) for seed, gain in enumerate((3.0, 4.0, 5.0))])
    flow = together["rows"][1]
    assert together["policies"] == 3 and flow["method"] == "flow"
    assert flow["gain"] == pytest.approx({"value": 4.0, "error": 3**-0.5})
    assert flow["over"] == pytest.approx({"value": 2.0, "error": 3**-0.5})
    assert together["rows"][2]["over"] == pytest.approx({"value": -0.5, "error": 0})
    assert together["praise_over_blame"] == [2, 6, 10] and together["best_weights"] == [0, 0.1, 0.2]
    paired = difference(together, "flow", "placebo")
    assert paired["values"] == pytest.approx([1.5, 2.5, 3.5])
    assert paired["value"] == pytest.approx(2.5) and paired["error"] == pytest.approx(3**-0.5)


def test_steps_that_were_taken_are_shown_by_length_and_averaged_over_policies():
    together = over_policies([steps(STEP_GAINS | {"flow": gain}, seed) for seed, gain in enumerate((3.0, 5.0))])
    header, _, *rows = [cells_of(line) for line in taken_table(together).splitlines()]
    assert header == ["method", "straight line", "0.5 of a step", "a step", "a step of one batch"]
    assert [row[0] for row in rows] == ["flow", "untrained", "rlvr", "placebo"]
    assert rows[0][1:] == ["+2.00 ± 1.00", "+0.00 ± 0.50", "+2.00 ± 1.00", "-1.00 ± 0.25"]
    assert rows[2][1:] == ["2.00 ± 0.00", "1.00 ± 0.00", "2.00 ± 0.00", "0.50 ± 0.00"]
    (alone,) = together["rows"][1]["alone"]  # of the steps of 3 and 5 points, three quarters
    assert alone["lost"] == pytest.approx({"value": 3.0, "error": 0.75})


def test_only_different_policies_of_one_setting_are_averaged():
    with pytest.raises(ValueError, match="at least two policies are needed, not 1"):
        over_policies([steps()])
    with pytest.raises(ValueError, match="two records are of the same policy: 4, 5, 4"):
        over_policies([steps(seed=4), steps(seed=5), steps(seed=4)])
    with pytest.raises(ValueError, match="the condition base and pairs do not belong together"):
        over_policies([steps(), steps(seed=1) | {"condition": "pairs"}])
    with pytest.raises(ValueError, match="measured with different methods: rlvr, flow, placebo, untrained, and others"):
        over_policies([steps(), steps({"rlvr": 1.0}, seed=1)])
    with pytest.raises(ValueError, match="the parts 8 and 4 do not belong together"):
        over_policies([steps(), steps(seed=1) | {"parts": 4}])
    older = steps(seed=1)
    for row in older["rows"]:
        del row["taken"], row["alone"]
    with pytest.raises(ValueError, match=r"lengths \{'taken': \[0.5, 1\], 'alone': \[1\]\} and .* were taken"):
        over_policies([steps(), older])


def test_a_folder_of_policies_that_cannot_be_shown_is_named(tmp_path: Path):
    write_json(tmp_path / "policies" / "1.json", steps())
    with pytest.raises(ValueError, match=r"policies: at least two policies are needed, not 1"):
        read_steps(tmp_path)
    write_json(tmp_path / "policies" / "2.json", steps(seed=1))
    assert read_steps(tmp_path)["policies"]["policies"] == 2
    write_json(tmp_path / "policies.json", steps())
    with pytest.raises(ValueError, match=r"policies.json have the same name: rename one"):
        read_steps(tmp_path)


def test_the_page_shows_table_and_figure(trained: Any, tmp_path: Path):
    folder = tmp_path / "results"
    write_results(trained, folder / "experiments" / "trial" / "results.json")
    write_json(folder / "step_gain" / "base.json", steps())
    for seed in (1, 2):
        write_json(folder / "step_gain" / "policies" / f"{seed}.json", steps(seed=seed))
    write_json(folder / "step_gain" / "without_training.json", steps() | {"experiment": "another"})
    write_json(folder / "step_gain" / "after_training.json", steps() | {"run": "base/flow/seed0"})
    (folder / "notes.md").write_text(
        '{{ step_table("base") }}\n\n{{ "%.1f" % step_agreement("base", 4) }}\n\n{{ step_table("policies") }}\n'
    )
    results.main([str(folder)])
    page = (tmp_path / "results.md").read_text()
    assert page.count("points per step") == 2 and "\n1.0\n" in page
    for name in ("base", "policies"):
        with Image.open(folder / "step_gain" / f"{name}.png") as picture:
            assert picture.width == 1050
    assert not any((folder / "step_gain" / f"{name}_training.png").exists() for name in ("without", "after"))
