"""The paper's tables as printed: their own averages agree with their rows."""

import pytest

from rlfr_mm.eval.engine import published

# Math Avg (first four), Logic Avg (last two) and Avg as printed in the paper.
PRINTED_AVERAGES = {
    "Qwen2.5-VL-3B-Instruct": (39.4, 32.9, 37.2),
    "Qwen2.5-VL-3B-Instruct + RLVR": (46.8, 33.7, 42.5),
    "Qwen2.5-VL-3B-Instruct + RLFR": (49.2, 33.8, 44.1),
    "Qwen2.5-VL-7B-Instruct": (47.4, 37.5, 44.1),
    "R1-OneVision-7B": (46.1, 28.6, 40.2),
    "OpenVLThinker-7B": (46.3, 24.6, 39.1),
    "MM-Eureka-7B": (53.0, 36.2, 47.4),
    "Qwen2.5-VL-7B-Instruct + RLVR": (53.3, 36.5, 47.7),
    "Qwen2.5-VL-7B-Instruct + Entropy Adv.": (53.2, 35.1, 47.1),
    "Qwen2.5-VL-7B-Instruct + RLFR": (55.8, 37.5, 49.7),
}


@pytest.mark.parametrize("model", published.MULTIMODAL)
def test_rows_give_the_printed_averages(model):
    scores = published.MULTIMODAL[model]
    averages = (sum(scores[:4]) / 4, sum(scores[4:]) / 2, sum(scores) / 6)
    assert averages == pytest.approx(PRINTED_AVERAGES[model], abs=0.11)


def test_scores_are_looked_up_as_fractions():
    assert published.published_score("Qwen2.5-VL-7B-Instruct + RLFR", "MathVista") == pytest.approx(0.734)
    assert published.published_score("Qwen2.5-Math-7B + RLFR", "AIME25") == pytest.approx(0.10)
    assert published.published_score("Qwen2.5-Math-7B + RLFR", "AIME25", sampled=True) == pytest.approx(0.333)
    assert published.published_score("Qwen2.5-VL-7B-Instruct", "MathVista", sampled=True) is None
    assert published.published_score("Qwen2.5-VL-7B-Instruct", "AIME25") is None


def test_an_unknown_model_is_named_with_those_that_exist():
    with pytest.raises(ValueError, match=r"'GPT-5'.*Qwen2.5-Math-7B"):
        published.published_score("GPT-5", "MathVista")
