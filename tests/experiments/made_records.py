"""Records of cells that were never run, with outcomes and curves chosen for a test."""

import numpy as np

from rlfr_mm.experiments.records import CellRecord, ExperimentRecord


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
