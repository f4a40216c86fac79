"""Moving averages, by hand."""

import numpy as np
import pytest

from rlfr_mm.viewing.smoothing import smoothed, window_for


def test_missing_values_are_left_out_of_their_windows():
    assert smoothed([0.0, None, 1.0, 0.5], window=3) == pytest.approx([0.0, 0.5, 0.75, 0.75])
    assert smoothed([], window=1).tolist() == []
    assert np.isnan(smoothed([None, None, None, 1.0], window=3)).tolist() == [True, True, False, False]


def test_the_window_grows_with_the_run_up_to_a_limit():
    assert [window_for(steps) for steps in (0, 9, 10, 55, 1000)] == [1, 1, 2, 11, 11]
