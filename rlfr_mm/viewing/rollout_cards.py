"""The browser's part of a training run's page: groups of rollouts as cards, their images, scales for their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlfr_mm.viewing.page.html import thumbnail
from rlfr_mm.viewing.rollout_records import RolloutRecord
from rlfr_mm.viewing.token_statistics import Rollouts

MAX_TOKENS = 1_000_000  # of the rollouts in a page, about 30 MB; the figures are always those of all
MAX_IMAGE_CHARS = 40_000_000  # of all images as data URIs
IMAGE_SIDE = 320  # pixels


@dataclass(frozen=True)
class View:
    """One way to colour tokens, from `low` to `high` and flat beyond; a diverging one has 0 in its middle."""

    key: str
    label: str
    low: float
    high: float
    diverging: bool


def token_views(rollouts: Rollouts) -> list[View]:
    """What the rollouts can be coloured by, each on one scale for the whole run: its middle 96 %."""
    labels = {
        "deviation": "velocity deviation",
        "flow_reward": "flow reward",
        "shaping": "shaping (advantage minus the outcome's)",
        "advantage": "advantage",
        "entropy": "entropy (nats)",
        "surprise": "minus log-probability (nats)",
    }
    columns = rollouts.values | {"surprise": -rollouts.values["logprob"]}
    found = []
    for key, label in labels.items():
        if key not in columns:
            continue
        values, diverging = columns[key], key in ("flow_reward", "shaping", "advantage")
        if key == "deviation":
            values = values[rollouts.scored]
        if diverging:
            values = np.abs(values[values != 0])
        if len(values):
            low, high = np.quantile(values, [0.02, 0.98]).tolist()
            found.append(View(key, label, -high if diverging else low, high, diverging))
    return found


def group_cards(records: Sequence[RolloutRecord], max_tokens: int = MAX_TOKENS) -> list[dict[str, Any]]:
    """One card a group, in the order of steps; of more than about `max_tokens` tokens those of evenly spaced steps."""
    tokens_by_step: dict[int, int] = {}
    for record in records:
        tokens_by_step[record.step] = tokens_by_step.get(record.step, 0) + len(record.tokens)
    every = -(-sum(tokens_by_step.values()) // max_tokens)
    kept = set(sorted(tokens_by_step)[:: every or 1])
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for record in records:
        if record.step in kept:
            card = found.setdefault(
                (record.step, record.problem_id),
                {
                    "step": record.step,
                    "problem": record.problem_id,
                    "prompt": record.prompt,
                    "gold": record.solution,
                    "image": record.image,
                    "rollouts": [],
                },
            )
            card["rollouts"].append(_rollout(record))
    return list(found.values())


def _rollout(record: RolloutRecord) -> dict[str, Any]:
    figures = {
        "shaping": record.shaping,
        "entropy": record.entropy,
        "surprise": [-value for value in record.logprob],
        "deviation": record.deviation,
        "flow_reward": record.flow_reward,
    }
    return {
        "correct": record.correct,
        "rewards": record.rewards,
        "advantage": record.advantage,
        "tokens": record.tokens,
        **{name: [float(f"{value:.3g}") for value in values] for name, values in figures.items() if values is not None},
    }


def thumbnails(folder: Path, shown: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], str]:
    """Images of the cards as data URIs by name, and one line on those that are missing ("" for none)."""
    wanted = dict.fromkeys(card["image"] for card in shown if card["image"])
    images: dict[str, str] = {}
    for name in wanted:
        if sum(map(len, images.values())) > MAX_IMAGE_CHARS:
            break
        try:
            with Image.open(folder / "rollouts" / "images" / name) as image:
                images[name] = thumbnail(image, IMAGE_SIDE)
        except OSError:
            continue
    missing = len(wanted) - len(images)
    reason = "they are missing, broken or more than a page holds"
    return images, f"{missing:,} images are not shown: {reason}" if missing else ""
