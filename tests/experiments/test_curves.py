"""Labels at the ends of curves can be told apart."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from rlfr_mm.experiments.comparison import compare
from rlfr_mm.experiments.curves import _spread, plot_experiment
from tests.experiments.made_records import cell, record


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_labels_keep_their_order_and_distance_within_the_axes(values: list[float]):
    placed = _spread(values, gap=0.05, low=0, high=1)
    assert (np.diff(placed[np.argsort(values)]) > 0.05 - 1e-9).all()
    assert placed.min() > -1e-9 and placed.max() < 1 + 1e-9


def test_labels_that_are_apart_stay_where_they_are():
    assert _spread([0.5, 0.1, 0.9], gap=0.1, low=0, high=1) == pytest.approx([0.5, 0.1, 0.9])


@pytest.mark.parametrize("graded", [(), ("rlvr",)])
def test_methods_whose_rollouts_could_not_be_graded_have_no_curve(graded: tuple[str, ...], tmp_path: Path):
    curves = {name: [0.1, 0.5, 0.9] if name in graded else [None] * 3 for name in ("rlvr", "paper")}
    made = record(*(cell(name, seed, curve=curve) for name, curve in curves.items() for seed in (0, 1)))
    plot_experiment(made, compare(made), tmp_path / "curves.png")
    with Image.open(tmp_path / "curves.png") as picture:
        assert picture.width == 1125
