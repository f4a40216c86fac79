"""Scores printed in arXiv 2510.10201 ("RLFR: Extending Reinforcement Learning for LLMs with Flow Environment").

In percent. We did not measure them: they are shown beside measured scores and never mixed with them. The multimodal
table gives accuracy, the language table pass@32 and greedy pass@1. Its column AMC23 covers 83 problems.
"""

MULTIMODAL_COLUMNS = ("MathVista", "MathVision", "MathVerse", "WeMath", "LogicVista", "VisuLogic")
MULTIMODAL = {
    "Qwen2.5-VL-3B-Instruct": (62.0, 21.1, 33.7, 40.7, 38.9, 26.8),
    "Qwen2.5-VL-3B-Instruct + RLVR": (65.9, 24.1, 42.2, 55.2, 41.1, 26.4),
    "Qwen2.5-VL-3B-Instruct + RLFR": (67.7, 29.6, 42.6, 56.9, 42.3, 25.4),
    "Qwen2.5-VL-7B-Instruct": (65.6, 23.4, 47.3, 53.4, 47.8, 27.1),
    "R1-OneVision-7B": (63.7, 22.4, 45.2, 52.9, 38.9, 18.3),
    "OpenVLThinker-7B": (64.5, 24.3, 46.1, 50.3, 38.7, 10.6),
    "MM-Eureka-7B": (73.5, 27.9, 51.9, 58.7, 46.9, 25.5),
    "Qwen2.5-VL-7B-Instruct + RLVR": (73.1, 27.6, 48.0, 64.6, 48.3, 24.8),
    "Qwen2.5-VL-7B-Instruct + Entropy Adv.": (71.1, 26.3, 52.1, 63.1, 44.5, 25.7),
    "Qwen2.5-VL-7B-Instruct + RLFR": (73.4, 31.6, 52.0, 66.1, 48.3, 26.7),
}

LANGUAGE_COLUMNS = ("AIME25", "AIME24", "AMC23", "MATH500", "OlympiadBench")
# model: (pass@32, greedy pass@1)
LANGUAGE = {
    "Qwen2.5-Math-1.5B": ((26.7, 43.3, 79.5, 90.2, 61.9), (0.0, 13.3, 32.5, 31.8, 22.8)),
    "Qwen2.5-Math-1.5B + RLVR": ((23.3, 46.7, 81.9, 91.8, 62.7), (3.3, 16.7, 41.4, 71.0, 33.5)),
    "Qwen2.5-Math-1.5B + RLFR": ((30.0, 50.0, 83.1, 92.4, 63.1), (6.7, 13.3, 44.6, 72.0, 35.7)),
    "Qwen2.5-Math-7B": ((30.0, 56.6, 80.7, 94.2, 61.2), (3.3, 16.6, 37.3, 50.8, 17.2)),
    "Qwen2.5-Math-7B + RLVR": ((30.0, 56.6, 80.7, 92.0, 64.8), (10.0, 26.7, 57.8, 79.2, 40.1)),
    "Qwen2.5-Math-7B + Entropy Adv.": ((26.6, 53.3, 75.9, 93.0, 61.2), (6.6, 20.0, 54.2, 75.6, 36.4)),
    "Qwen2.5-Math-7B + RLFR": ((33.3, 56.6, 83.1, 92.6, 66.1), (10.0, 30.0, 59.0, 80.6, 41.7)),
    "Llama3.1-8B": ((0.0, 0.0, 14.4, 28.2, 5.9), (0.0, 0.0, 0.0, 0.6, 0.0)),
    "Llama3.1-8B + RLVR": ((6.7, 6.7, 25.3, 46.0, 18.6), (0.0, 0.0, 7.2, 18.0, 4.0)),
    "Llama3.1-8B + RLFR": ((13.3, 16.7, 27.7, 46.4, 19.3), (6.7, 6.7, 12.0, 18.8, 11.3)),
}

MODELS = (*MULTIMODAL, *LANGUAGE)


def published_score(model: str, column: str, sampled: bool = False) -> float | None:
    """The printed score of a model as a fraction; None if the paper does not print one.

    Args:
        column: the `paper_column` of a TaskSpec.
        sampled: pass@32 instead of greedy pass@1; only the language table has it.

    Raises:
        ValueError: the paper does not have this model.

    >>> round(published_score("Qwen2.5-VL-7B-Instruct + RLFR", "MathVista"), 4)
    0.734
    """
    if model in LANGUAGE:
        scores = dict(zip(LANGUAGE_COLUMNS, LANGUAGE[model][0 if sampled else 1], strict=True))
    elif model in MULTIMODAL:
        scores = {} if sampled else dict(zip(MULTIMODAL_COLUMNS, MULTIMODAL[model], strict=True))
    else:
        raise ValueError(f"the paper has no model {model!r}; it has {', '.join(MODELS)}")
    return scores[column] / 100 if column in scores else None
