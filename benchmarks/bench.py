"""Measure what fits on two cores in ten minutes, and write the table of docs/performance.md: `make bench`.

Each benchmark is a command of its own that writes a record to benchmarks/results. The table is made from the records,
including those of benchmarks/gpu_check.py and of others that need more time; `--only` measures some, and `--only none`
just writes the table.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlfr_mm.files import read_json, write_whole

ROOT = Path(__file__).resolve().parent.parent
RESULTS, PAGE = ROOT / "benchmarks/results", ROOT / "docs/performance.md"
MARKS = "<!-- figures: written by benchmarks/bench.py -->\n", "<!-- end of figures -->\n"
CHANGES = RESULTS / "changes.json"  # kept by hand: each change, what was predicted and what was measured
PARITY = Path(os.environ.get("RLFR_SHARED", ROOT.parent / "shared")) / "parity"
COMMANDS: dict[str, list[str]] = {  # by the name of the script and of its record
    "naive": [],
    "response_length": [],
    "flow_cost": ["--rounds", "5"],
    "verdict_pool": [str(PARITY)],
    "command_times": [],
}


@dataclass(frozen=True)
class Figure:
    """A row of the table: `value` reads the figure from the record, `goal` is (relation, number) or None."""

    name: str
    record: str
    value: Callable[[Any], float]
    how: str
    goal: tuple[str, float] | None = None
    form: str = "{:.2f}x"

    def cells(self, record: Any) -> list[str]:
        value = self.value(record)
        goal = "" if self.goal is None else f"{self.goal[0]} {self.form.format(self.goal[1])}"
        missed = self.goal is not None and not (value <= self.goal[1] if self.goal[0] == "≤" else value >= self.goal[1])
        measured = self.form.format(value) + (" (missed)" if missed else "")
        hardware = record.get("hardware", {})
        where = hardware.get("gpu") or f"{hardware.get('cpu_cores') or record['cores']} CPU cores"
        return [self.name, goal, measured, f"{self.how}; {where} (`{self.record}`)"]


SECONDS = "{:.1f} s"
FIGURES = [
    Figure(
        "scoring, against the public formulation", "naive", lambda r: r["scoring"]["ratio"],
        "one layer of width 2,048, 4 blocks, prompts of 200 tokens, responses of 128 and 64; all positions, two passes",
        ("≥", 7),
    ),
    Figure(
        "largest relative difference of the two", "naive", lambda r: r["scoring"]["largest_relative_difference"],
        "at the response tokens, same weights and noise", ("≤", 1e-5), "{:.0e}",
    ),
    Figure(
        "scoring, over the same matrix products alone, float32", "flow_cost",
        lambda r: r["scoring"]["float32"]["ratio"], "width 1,024, 4 blocks, 8 responses of at most 48 tokens",
        ("≤", 1.25),
    ),
    Figure(
        "the same in bfloat16", "flow_cost", lambda r: r["scoring"]["bfloat16"]["ratio"], "as before", ("≤", 1.35)
    ),
    Figure(
        "RLFR step over plain TRL GRPO, quickstart", "flow_cost", lambda r: r["step"]["ratio"],
        "whole steps on equal rollouts; a policy of 1M parameters with a field of 0.3M", ("≤", 1.10),
    ),
    Figure(
        "RLFR step over plain TRL GRPO, 3B shape", "gpu_check", lambda r: r["step"]["ratio"],
        "random weights, bf16, fixed rollouts of up to 512 tokens, no generation", ("≤", 1.05),
    ),
    Figure(
        "peak memory of that step, over plain TRL GRPO", "gpu_check",
        lambda r: r["step"]["flow"]["peak_gib"] / r["step"]["none"]["peak_gib"], "same runs",
    ),
    Figure(
        "offline start, tokens per second against the naive way", "naive", lambda r: r["offline"]["ratio"],
        "12 layers of width 512; whole forward with loss, field at all positions; prompts of 380 tokens", ("≥", 3),
    ),
    Figure(
        "time per response token, 4,096 tokens over 512", "response_length", lambda r: r["time"],
        "scores, rewards, advantages and update, width 256", ("≤", 1.15),
    ),
    Figure(
        "peak memory per response token, 4,096 tokens over 512", "response_length", lambda r: r["memory"],
        "the same work", ("≤", 1.15),
    ),
    Figure(
        "field update with one draw over one with four", "draws_per_latent", lambda r: r["one draw"]["time"],
        "`update.batch_multiplier`, field of the quickstart",
    ),
    Figure(
        "what that adds to the field's held-out loss", "draws_per_latent", lambda r: r["one draw"]["excess"],
        "after 128 updates on demonstrations, mean of three seeds", None, "{:.1%}",
    ),
    Figure(
        "one draw for half of the tokens, over four for all", "draws_per_latent",
        lambda r: r["half of the tokens"]["time"], "`update.token_share`, in the same way",
    ),
    Figure(
        "what that adds to the field's held-out loss", "draws_per_latent",
        lambda r: r["half of the tokens"]["excess"], "in the same way", None, "{:.1%}",
    ),
    Figure(
        "grading pool against math-verify", "verdict_pool", lambda r: r["speed_up"],
        "1,000 responses to MATH500, elapsed time", ("≥", 5),
    ),
    Figure(
        "grading pool against lmms-eval's scoring", "verdict_pool", lambda r: r["speed_up_over_lmms_eval"],
        "the same responses, `compute_score` of its reasoning tasks",
    ),
    Figure(
        "quickstart, start to summary", "command_times", lambda r: r["quickstart"]["cpu_seconds"],
        "CPU seconds, one thread, empty cache", ("≤", 200), "{:.0f} s",
    ),
    Figure(
        "run page of 5,000 rollouts", "command_times", lambda r: r["page"]["cpu_seconds"],
        "CPU seconds, rollouts of the quickstart", ("≤", 8), SECONDS,
    ),
    Figure(
        "a misspelt setting under `train`", "command_times", lambda r: r["misspelt"]["cpu_seconds"],
        "CPU seconds up to the error", ("≤", 2), SECONDS,
    ),
]  # fmt: skip


def measure(names: Sequence[str]) -> list[str]:
    """Run these benchmarks one after the other; the names of those that failed, whose records stay as they were."""
    failed = []
    for name in names:
        if name == "verdict_pool" and not PARITY.is_dir():
            print(f"{name}: skipped, no published verdicts at {PARITY} (RLFR_SHARED)", flush=True)
            continue
        command = [sys.executable, str(ROOT / f"benchmarks/{name}.py"), *COMMANDS[name]]
        started = time.perf_counter()
        done = subprocess.run(
            [*command, "--json", str(RESULTS / f"{name}.json")], cwd=ROOT, capture_output=True, text=True
        )
        print(f"{name}: {time.perf_counter() - started:.0f} s", flush=True)
        if done.returncode:
            failed.append(name)
            print(done.stderr[-3000:], file=sys.stderr)
    return failed


def figures() -> str:
    """The table of all figures that have a record, and that of the changes."""
    records = {figure.record: RESULTS / f"{figure.record}.json" for figure in FIGURES}
    found = {name: read_json(path) for name, path in records.items() if path.is_file()}
    rows = [figure.cells(found[figure.record]) for figure in FIGURES if figure.record in found]
    columns = ["change", "predicted", "measured"]
    changes = [[change[column] for column in columns] for change in read_json(CHANGES)]
    tables = (["figure", "goal", "measured", "how"], rows), (columns, changes)
    return "\n".join(table(header, rows) for header, rows in tables)


def table(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=[*COMMANDS, "none"], default=list(COMMANDS), metavar="NAME",
                        help=f"of {', '.join(COMMANDS)}, none")  # fmt: skip
    parser.add_argument("--page", type=Path, default=PAGE, help="page whose table is rewritten")
    options = parser.parse_args()
    failed = measure([name for name in options.only if name != "none"])
    start, end = MARKS
    before, _, rest = options.page.read_text(encoding="utf-8").partition(start)
    write_whole(options.page, before + start + figures() + end + rest.partition(end)[2])
    if failed:
        print(f"error: {', '.join(failed)} failed; the table has their old figures", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
