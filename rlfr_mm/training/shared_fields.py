"""Fields that runs share: each finished offline start is kept under a digest of what it was made from."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
from torch import Tensor

from rlfr_mm.files import damage, shared_folder, warn, whole_folder
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.run_folder import environment
from rlfr_mm.training.stopping import StopSignals


def run_or_take(start: OfflineStart, stop: StopSignals) -> None:
    """Run an offline start, or take its field from `offline.shared_dir` if another run has left it there.

    Afterwards the field is in both folders. Runs that begin at the same time each train it, and the first to finish
    leaves it. A field that is damaged is made again, and one that cannot be left there is in the run's folder only.

    >>> run_or_take(OfflineStart(policy, processor, rows, flow, config, "runs/a/flow", accelerator), StopSignals(""))
    flow field: taken from runs/fields/field-0f3c1d9e5a7b2468
    """
    main, kept = start.accelerator.is_main_process, None
    if main:
        kept = Path(str(start.config.shared_dir)) / f"field-{digest(start)}"
        if kept.is_dir() and (reason := damage(kept)):
            warn(f"{reason}; the field is made again")
            _remove(kept)
        if kept.is_dir():
            with whole_folder(start.folder) as folder:
                shutil.copytree(kept, folder, dirs_exist_ok=True)
            print(f"flow field: taken from {kept}")
    start.accelerator.wait_for_everyone()
    start.run(stop)
    if kept is not None and not kept.is_dir():
        try:
            with shared_folder(kept) as folder:
                shutil.copytree(start.folder, folder, dirs_exist_ok=True)
        except OSError as error:
            warn(f"the flow field is in {start.folder} only, and other runs will train their own: {error}")


def digest(start: OfflineStart) -> str:
    """16 hex digits that tell offline starts apart: by policy, demonstrations, settings, processor and versions.

    Weights, rows and images count with their content, so that a policy which was trained again under the same name is
    another. An adapter that adds nothing yet does not count: its random half depends on the seed of the RL.
    """
    offline = start.settings["offline"] | {"output_dir": None}
    found = hashlib.sha256()
    made_by = environment()
    made_by.pop("hardware")
    template = getattr(start.processor, "chat_template", None)
    precision = start.accelerator.mixed_precision
    images = getattr(start.processor, "image_processor", None)
    told = start.settings | {"offline": offline, "template": template, "precision": precision, "by": made_by}
    told |= {"images": images and images.to_dict()}
    found.update(json.dumps(told).encode())
    for row in start.demonstrations.with_format(None):
        images = row.get("images") or []
        found.update(repr({**row, "images": len(images)}).encode())
        for image in images:  # as they are stored: their bytes, or the path of a file
            found.update(image["bytes"] or Path(image["path"]).read_bytes())
    weights = start.policy.state_dict()
    for name, weight in weights.items():
        if not _adds_nothing(name, weights):
            found.update(f"{name} {weight.dtype}".encode())
            found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:16]


def _adds_nothing(name: str, weights: dict[str, Tensor]) -> bool:
    """Whether a weight is the random half of a LoRA adapter whose other half is still zero."""
    other = weights.get(name.replace("lora_A", "lora_B"))
    return "lora_A" in name and other is not None and not other.any()


def _remove(folder: Path) -> None:
    """Remove a folder that another process may be about to remove or to read."""
    aside = folder.with_name(f".{folder.name}-damaged-{os.getpid()}")
    try:
        folder.rename(aside)
    except FileNotFoundError:
        return
    shutil.rmtree(aside, ignore_errors=True)
