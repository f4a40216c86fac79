"""The warmed-up policy that comes with the package, so that a first run starts without the minutes of the warm-up.

`python -m rlfr_mm.quickstart.warmup` makes its file. Another processor would end with slightly other weights, so the
file also holds what the warm-up measured, and a test measures it again.
"""

import json
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file, save, save_file

from rlfr_mm.files import write_json, write_whole

SHIPPED = Path(__file__).with_name("warm_policy.safetensors")


def settings() -> dict[str, Any]:
    """The settings of the warm-up that made the file: levels, seed and target_accuracy."""
    return json.loads(_metadata()["settings"])


def measured() -> dict[str, float]:
    """What that warm-up measured: the content of its warmup.json."""
    return json.loads(_metadata()["measured"])


def pack(folder: str | Path, settings: dict[str, Any], file: Path = SHIPPED) -> None:
    """Write the weights of a policy from `warm_up`, which bfloat16 holds exactly, with their settings and measures."""
    weights = {name: tensor.bfloat16() for name, tensor in load_file(Path(folder) / "model.safetensors").items()}
    measured = json.loads((Path(folder) / "warmup.json").read_text())
    write_whole(file, save(weights, {"settings": json.dumps(settings), "measured": json.dumps(measured)}))


def unpack(untrained: str | Path, out: str | Path) -> None:
    """Write to `out` the folder that `warm_up` would, given the folder of the untrained policy."""
    for file in Path(untrained).iterdir():
        (Path(out) / file.name).write_bytes(file.read_bytes())
    weights = {name: tensor.float() for name, tensor in load_file(SHIPPED).items()}
    save_file(weights, Path(out) / "model.safetensors", {"format": "pt"})
    write_json(Path(out) / "warmup.json", measured())


def _metadata() -> dict[str, str]:
    with safe_open(SHIPPED, "pt") as file:
        return file.metadata()
