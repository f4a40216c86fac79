"""Check an installed wheel outside the checkout: its commands answer, and has the YAML files and weights."""

import subprocess
import sys
from importlib.resources import files

import rlfr_mm

assert "site-packages" in rlfr_mm.__file__, rlfr_mm.__file__
for command in ("rlfr_mm.train", "rlfr_mm.train_flow", "rlfr_mm.eval.run", "rlfr_mm.eval.report"):
    subprocess.run([sys.executable, "-m", command, "--help"], check=True, stdout=subprocess.DEVNULL)
listed = subprocess.run([sys.executable, "-m", "rlfr_mm.tasks.list"], check=True, capture_output=True, text=True).stdout

from rlfr_mm.tasks.registry import TASKS  # noqa: E402

yaml_files = {path.stem for path in files("rlfr_mm.tasks").rglob("rlfr_*.yaml")}  # type: ignore[attr-defined]
missing = [name for name in TASKS if name not in yaml_files or name not in listed]
assert not missing, f"tasks without a YAML in the wheel: {missing}"
assert files("rlfr_mm.configs").joinpath("rl", "quickstart.yaml").is_file()
assert files("rlfr_mm.quickstart").joinpath("warm_policy.safetensors").is_file()
print(f"the wheel works: {len(TASKS)} tasks")
