"""CPU seconds of work, of pairs of works in turn, and of commands.

CPU seconds count only what the process computes, so that other work on the machine matters less. They say nothing about
parallel work; figures about that use the clock.
"""

import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rlfr_mm.files import write_json


def cpu_seconds(work: Callable[[], object]) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def in_turn(slow: Callable[[], object], fast: Callable[[], object], rounds: int) -> dict[str, Any]:
    """The median over rounds of slow / fast, and the fewest seconds of each; both run once before."""
    slow(), fast()
    pairs = [(cpu_seconds(slow), cpu_seconds(fast)) for _ in range(rounds)]
    fewest = [min(times) for times in zip(*pairs, strict=True)]
    return {"ratio": statistics.median(a / b for a, b in pairs), "seconds": fewest, "rounds": rounds}


def run_command(command: Sequence[str | Path], cwd: Path, succeeds: bool = True) -> dict[str, float]:
    """CPU seconds, seconds and peak memory of a command with all its children; RuntimeError if it ends otherwise."""
    started = time.perf_counter()
    with (cwd / "output.txt").open("w+") as output:
        process = subprocess.Popen(command, cwd=cwd, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if succeeds is not (process.returncode == 0):
            output.seek(0)
            raise RuntimeError(f"{command} ended with status {process.returncode}: {output.read()[-3000:]}")
    return {
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.perf_counter() - started,
        "peak_mib": usage.ru_maxrss / 1024,
    }


def publish(figures: dict[str, Any], path: Path | None) -> None:
    """Print the figures of a benchmark, and write them to a file if one is given."""
    print(json.dumps(figures, indent=2))
    if path:
        write_json(path, figures)
