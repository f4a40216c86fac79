"""Measure the commands that a user waits for: `python benchmarks/command_times.py --json OUT`.

- quickstart: `make quickstart` without the installation, from the start to summary.json, in a new folder
- page: the run page of the first 5,000 rollouts of that run
- misspelt: a training command with a misspelt setting, up to the error that names it

Each has CPU seconds, seconds and peak memory. On a busy machine the CPU seconds are those to read.
"""

import argparse
import json
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from timing import publish, run_command

from rlfr_mm.training.run_folder import environment

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs/rl/quickstart.yaml"
ROLLOUTS = 5000


def first_rollouts(run: Path, out: Path, count: int) -> int:
    """Copy a run with its first `count` rollouts to `out`, and return how many there are."""
    shutil.copytree(run, out, ignore=shutil.ignore_patterns("checkpoint-*", "final", "flow", "*.jsonl"))
    shutil.copy(run / "metrics.jsonl", out)
    left = count
    for records in sorted((run / "rollouts").glob("*.jsonl")):
        lines = records.read_text().splitlines(keepends=True)[:left]
        left -= len(lines)
        if lines:
            (out / "rollouts" / records.name).write_text("".join(lines))
    return count - left


def measure(settings: list[str]) -> dict[str, Any]:
    os.environ["OMP_NUM_THREADS"] = "1"  # as in the Makefile
    train = [sys.executable, "-m", "rlfr_mm.train", "--config", CONFIG]
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        figures: dict[str, Any] = {
            "misspelt": run_command([*train, "train.learningrate=1e-6"], scratch, succeeds=False)
        }
        if "learning_rate" not in (scratch / "output.txt").read_text():
            raise RuntimeError("the error about train.learningrate does not name train.learning_rate")
        run = scratch / "runs/quickstart"
        figures["quickstart"] = run_command([*train, *settings], scratch)
        summary = json.loads((run / "summary.json").read_text())
        for key in ("accuracy_before", "accuracy_after"):
            figures["quickstart"][key] = summary[key]["accuracy"]
        figures["quickstart"]["stages"] = summary["seconds"]
        rollouts = first_rollouts(run, scratch / "page", ROLLOUTS)
        inspect = [sys.executable, "-m", "rlfr_mm.inspect", scratch / "page"]
        figures["page"] = run_command(inspect, scratch) | {"rollouts": rollouts}
        figures["page"]["page_mb"] = (scratch / "page/inspect.html").stat().st_size / 1e6
    return figures | environment()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="settings for a shorter quickstart")
    parser.add_argument("--json", type=Path, help="file for the figures; they are always printed")
    options = parser.parse_args()
    figures = measure(options.settings)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
