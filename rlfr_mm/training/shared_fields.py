"""Fields that runs share: each finished offline start is kept under a digest of what it was made from."""

import hashlib
import json
import shutil
from pathlib import Path

import torch

from rlfr_mm.files import damage, shared_folder, warn, whole_folder
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.stopping import StopSignals


def run_or_take(start: OfflineStart, stop: StopSignals) -> None:
    """Run an offline start, or take its field from `offline.shared_dir` if another run has left it there.

    Afterwards the field is in both folders. Runs that begin at the same time each train it, and the first to finish
    leaves it. A field that is damaged is made again.

    >>> run_or_take(OfflineStart(policy, processor, rows, flow, config, "runs/a/flow", accelerator), StopSignals(""))
    flow field: taken from runs/fields/field-0f3c1d9e5a7b2468
    """
    main, kept = start.accelerator.is_main_process, None
    if main:
        kept = Path(str(start.config.shared_dir)) / f"field-{digest(start)}"
        if kept.is_dir() and (reason := damage(kept)):
            warn(f"{reason}; the field is made again")
            shutil.rmtree(kept)
        if kept.is_dir():
            with whole_folder(start.folder) as folder:
                shutil.copytree(kept, folder, dirs_exist_ok=True)
            print(f"flow field: taken from {kept}")
    start.accelerator.wait_for_everyone()
    start.run(stop)
    if kept is not None and not kept.is_dir():
        with shared_folder(kept) as folder:
            shutil.copytree(start.folder, folder, dirs_exist_ok=True)


def digest(start: OfflineStart) -> str:
    """16 hex digits that tell offline starts apart: by policy, demonstrations, settings, chat template and precision.

    Weights and rows count with their content, so that a policy which was trained again under the same name is another.
    """
    offline = start.settings["offline"] | {"output_dir": None, "shared_dir": None}
    template = getattr(start.processor, "chat_template", None)
    told = start.settings | {"offline": offline, "template": template, "precision": start.accelerator.mixed_precision}
    found = hashlib.sha256(json.dumps(told).encode())
    for row in start.demonstrations.with_format(None):  # images as they are stored
        found.update(repr(row).encode())
    for name, weight in start.policy.state_dict().items():
        found.update(f"{name} {weight.dtype}".encode())
        found.update(weight.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:16]
