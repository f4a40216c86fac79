"""Kill an evaluation run with SIGKILL at random moments, resume it, and count how often the rows are the same.

python benchmarks/eval_kill.py [--kills 20] [--json OUT]

The run answers a greedy and a sampled task with a tiny real policy. Each moment is drawn uniformly between the start
of the first task and the end of a run that is not killed. Runs are forked from this process, which has loaded the
libraries but has not used them; starting Python 41 times would take most of the time.
"""

import argparse
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import harness, run_files, running  # noqa: F401 - loaded once, for all forks
from rlfr_mm.quickstart.policy import build_policy

TASKS = ("rlfr_quickstart", "rlfr_quickstart_pass32")


def start(policy: Path, folder: Path) -> int:
    """Start a run, wait until it begins to answer, and return its process id."""
    options = f"--model rlfr={policy},device=cpu --tasks {','.join(TASKS)} --limit 4 --batch_size 8"
    process = os.fork()
    if process == 0:
        with open(os.devnull, "w") as nowhere:
            os.dup2(nowhere.fileno(), 1)
            os.dup2(nowhere.fileno(), 2)
        os._exit(run.main([*options.split(), "--gen_kwargs", "max_new_tokens=12", "--output_dir", str(folder)]))
    while not (folder / run_files.MANIFEST).exists() and alive(process):
        time.sleep(0.005)
    return process


def alive(process: int) -> bool:
    return os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def finish(process: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    generator = random.Random(args.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        policy = root / "policy" / "final"
        builder = os.fork()  # in a process of its own, because one that has run the model must not be forked
        if builder == 0:
            build_policy(policy)
            os._exit(0)
        finish(builder)
        process = start(policy, root / "reference")
        began = time.monotonic()
        if finish(process) != 0:
            raise SystemExit("error: the run that is not killed fails")
        duration = time.monotonic() - began
        reference = run_files.read_run(root / "reference")
        total = sum(map(len, reference.values()))
        kills: list[dict] = []
        while len(kills) < args.kills:
            killed = root / f"run{len(kills)}"
            process = start(policy, killed)
            time.sleep(generator.uniform(0, duration))
            done = not alive(process)  # it was faster than the reference, so there is nothing to kill
            os.kill(process, signal.SIGKILL)
            finish(process)
            if done:
                shutil.rmtree(killed)
                continue
            journals = [killed / task / run_files.SAMPLES for task in TASKS]
            found = [run_files.read_rows(path) for path in journals if path.exists()]
            same = finish(start(policy, killed)) == 0 and run_files.read_run(killed) == reference
            left = sum(len(rows) for rows, _ in found)
            kills.append({"rows_left": left, "torn_lines": sum(len(bad) for _, bad in found), "same_rows": same})
            print(f"kill {len(kills)}: {left} of {total} rows left, same after resuming: {same}", flush=True)
    equal = sum(kill["same_rows"] for kill in kills)
    print(f"{equal} of {len(kills)} runs have the rows of the run that was never killed")
    if args.json:
        summary = {"rows": total, "kills": len(kills), "same_rows": equal, "each": kills}
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if equal == len(kills) else 1


if __name__ == "__main__":
    sys.exit(main())
