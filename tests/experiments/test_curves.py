"""Labels at the ends of curves can be told apart."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rlfr_mm.experiments.curves import _spread


@given(st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_labels_keep_their_order_and_distance_within_the_axes(values: list[float]):
    placed = _spread(values, gap=0.05, low=0, high=1)
    assert (np.diff(placed[np.argsort(values)]) > 0.05 - 1e-9).all()
    assert placed.min() > -1e-9 and placed.max() < 1 + 1e-9


def test_labels_that_are_apart_stay_where_they_are():
    assert _spread([0.5, 0.1, 0.9], gap=0.1, low=0, high=1) == pytest.approx([0.5, 0.1, 0.9])
