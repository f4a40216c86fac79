"""Records come back from their files as they were, and know when a run reached a target."""

from pathlib import Path

import pytest

from rlfr_mm.experiments.records import read_results, write_results
from tests.experiments.made_records import cell, record


def test_record_round_trips_through_its_file_with_one_line_a_cell(tmp_path: Path):
    written = record(cell(), cell("paper", 1), problems={"base": ["a", "b", "c", "d"]})
    write_results(written, tmp_path / "results.json")
    assert read_results(tmp_path / "results.json") == written
    assert len((tmp_path / "results.json").read_text().splitlines()) == 4
    (tmp_path / "results.json").write_text('{"name": "trial"}')
    with pytest.raises(ValueError, match="is not the record of an experiment"):
        read_results(tmp_path / "results.json")


def test_steps_to_the_target_by_hand():
    assert cell(curve=[0.1, 0.6, 0.4, 0.7]).steps_to(0.6) == 2
    assert cell(curve=[0.1, 0.6, 0.4, 0.7]).steps_to(0.8) == 5  # not reached
    assert cell(curve=[0.1, None, 0.8, 0.9]).steps_to(0.5) == 3
    # Ten steps are averaged over two: one lucky step is not enough.
    assert cell(curve=[0.0, 0.0, 0.9, 0.0, 0.0, 0.0, 0.0, 0.6, 0.8, 0.8]).steps_to(0.65) == 9
