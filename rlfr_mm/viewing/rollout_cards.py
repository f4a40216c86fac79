"""What the script of a run's page needs: the rollouts as cards, their images, and colour scales for their tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlfr_mm.viewing.page.html import thumbnail
from rlfr_mm.viewing.rollout_records import RolloutRecord
from rlfr_mm.viewing.token_statistics import Rollouts

MAX_TOKENS = 1_000_000  # on one page, about 30 MB; the figures always count all rollouts
MAX_IMAGE_CHARS = 40_000_000  # of all images as data URIs
IMAGE_SIDE = 320  # pixels
VIEWS = {
    "deviation": "velocity deviation",
    "flow_reward": "flow reward",
    "shaping": "shaping (advantage minus the outcome's)",
    "advantage": "advantage",
    "entropy": "entropy (nats)",
    "surprise": "minus log-probability (nats)",
}
DIVERGING = ("flow_reward", "shaping", "advantage")  # the middle of the scale is 0


def token_views(rollouts: Rollouts) -> list[dict[str, Any]]:
    """The quantities that can colour tokens: key, label, ends of the colour scale, and whether it diverges from 0.

    One scale covers the middle 96 % of the whole run; values beyond it have the colour of its end.
    """
    columns = rollouts.values | {"surprise": -rollouts.values["logprob"]}
    found = []
    for key, label in VIEWS.items():
        if key not in columns:
            continue
        values, diverging = columns[key], key in DIVERGING
        if key == "deviation":
            values = values[rollouts.scored]
        if diverging:
            values = np.abs(values[values != 0])
        if len(values):
            low, high = np.quantile(values, [0.02, 0.98]).tolist()
            low = -high if diverging else low
            found.append({"key": key, "label": label, "low": low, "high": high, "diverging": diverging})
    return found


def group_cards(records: Sequence[RolloutRecord], max_tokens: int = MAX_TOKENS) -> list[dict[str, Any]]:
    """One card per group, in the order of steps; evenly spaced steps if there are more than about `max_tokens`."""
    tokens_by_step: dict[int, int] = {}
    for record in records:
        tokens_by_step[record.step] = tokens_by_step.get(record.step, 0) + len(record.tokens)
    every = -(-sum(tokens_by_step.values()) // max_tokens)
    kept = set(sorted(tokens_by_step)[:: every or 1])
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for record in records:
        if record.step in kept:
            card = {"step": record.step, "problem": record.problem_id, "prompt": record.prompt}
            card |= {"gold": record.solution, "image": record.image, "rollouts": []}
            found.setdefault((record.step, record.problem_id), card)["rollouts"].append(_rollout(record))
    return list(found.values())


def _rollout(record: RolloutRecord) -> dict[str, Any]:
    figures = {
        "shaping": record.shaping,
        "entropy": record.entropy,
        "surprise": [-value for value in record.logprob],
        "deviation": record.deviation,
        "flow_reward": record.flow_reward,
    }
    return record.model_dump(include={"correct", "rewards", "advantage", "tokens"}) | {
        name: [float(f"{value:.3g}") for value in values] for name, values in figures.items() if values is not None
    }


def thumbnails(folder: Path, cards: Sequence[Mapping[str, Any]]) -> tuple[dict[str, str], str]:
    """The images of the cards as data URIs by name, and a line about those that are missing ("" if none is)."""
    wanted = dict.fromkeys(card["image"] for card in cards if card["image"])
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
