"""What the script of a run's page needs: the rollouts as cards, their images, and colour scales for their tokens."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from rlfr_mm.viewing.messages import parts_of
from rlfr_mm.viewing.page.html import thumbnail
from rlfr_mm.viewing.rollout_records import RolloutRecord
from rlfr_mm.viewing.token_statistics import Rollouts

MAX_TOKENS = 1_000_000  # on one page, about 30 MB; the figures always count all rollouts
MAX_IMAGE_CHARS = 40_000_000  # of all images as data URIs
IMAGE_SIDE = 640  # pixels; a click shows the image in this size
VIEWS = {
    "deviation": "velocity deviation",
    "flow_reward": "flow reward",
    "shaping": "shaping (advantage minus the outcome's)",
    "advantage": "advantage",
    "entropy": "entropy (nats)",
    "surprise": "minus log-probability (nats)",
}
DIVERGING = ("flow_reward", "shaping", "advantage")  # the middle of the scale is 0


def token_views(runs: Sequence[Rollouts]) -> list[dict[str, Any]]:
    """The quantities that can colour tokens: key, label, ends of the colour scale, and whether it diverges from 0.

    One scale covers the middle 96 % of all runs; values beyond it have the colour of its end.
    """
    found = []
    for key, label in VIEWS.items():
        diverging = key in DIVERGING
        columns = [_column(key, run) for run in runs]
        values = np.concatenate([column for column in columns if column is not None] or [np.zeros(0)])
        if diverging:
            values = np.abs(values[values != 0])
        if len(values):
            low, high = np.quantile(values, [0.02, 0.98]).tolist()
            low = -high if diverging else low
            found.append({"key": key, "label": label, "low": low, "high": high, "diverging": diverging})
    return found


def _column(key: str, rollouts: Rollouts) -> Any:
    """The values of all tokens, or of those that have a deviation; None if the run did not record the quantity."""
    if key == "surprise":
        return -rollouts.values["logprob"]
    values = rollouts.values.get(key)
    return values[rollouts.scored] if key == "deviation" and values is not None else values


def group_cards(records: Sequence[RolloutRecord], run: int = 0, max_tokens: int = MAX_TOKENS) -> list[dict[str, Any]]:
    """One card per group, in the order of steps; evenly spaced steps if there are more than about `max_tokens`.

    Args:
        run: the number of the run, which is also in front of the names of its images.
    """
    tokens_by_step: dict[int, int] = {}
    for record in records:
        tokens_by_step[record.step] = tokens_by_step.get(record.step, 0) + len(record.tokens)
    every = -(-sum(tokens_by_step.values()) // max_tokens)
    kept = set(sorted(tokens_by_step)[:: every or 1])
    found: dict[tuple[int, str], dict[str, Any]] = {}
    for record in records:
        if record.step in kept:
            card = {"run": run, "step": record.step, "problem": record.problem_id}
            card["prompt"] = parts_of(record.prompt, len(record.images))
            images = [f"{run}/{name}" for name in record.images]
            card |= {"gold": record.solution, "images": images, "rollouts": []}
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
        name: _three_digits(values) for name, values in figures.items() if values is not None
    }


def _three_digits(values: Sequence[float]) -> list[float]:
    """The values with three significant digits."""
    array = np.asarray(values, dtype=float)
    digits = 2 - np.floor(np.log10(np.abs(array), out=np.zeros(len(array)), where=array != 0))
    # A whole number times or over a power of ten is the double nearest to the decimal number, which is printed shortly.
    rounded = np.round(array * 10.0**digits)
    up, down = 10.0 ** np.maximum(-digits, 0), 10.0 ** np.maximum(digits, 0)
    return (rounded * up / down).tolist()


def thumbnails(
    folder: Path, cards: Sequence[Mapping[str, Any]], max_chars: int = MAX_IMAGE_CHARS
) -> tuple[dict[str, str], str]:
    """The images of one run's cards as data URIs by name, and a line about those that are missing ("" if none is)."""
    wanted = dict.fromkeys(name for card in cards for name in card["images"])
    images: dict[str, str] = {}
    size = 0
    for name in wanted:
        if size > max_chars:
            break
        try:
            with Image.open(folder / "rollouts" / "images" / name.partition("/")[2]) as image:
                images[name] = thumbnail(image, IMAGE_SIDE)
                size += len(images[name])
        except OSError:
            continue
    missing = len(wanted) - len(images)
    reason = "they are missing, broken or more than a page holds"
    return images, f"{missing:,} images are not shown: {reason}" if missing else ""
