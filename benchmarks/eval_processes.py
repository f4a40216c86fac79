"""Measure the rows per second of an evaluation on several processes against those of one.

python benchmarks/eval_processes.py [--processes 2] [--rounds 3] [--json OUT] [--note TEXT]

In turn, `accelerate launch -m rlfr_mm.eval.run` answers the same problems with one process and with several, each with
one thread. Only the time after every process has written its first batch counts, so that loading libraries does not.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.shards import Shard
from rlfr_mm.quickstart.policy import build_policy

TASK = "rlfr_quickstart"


def rows_in(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except FileNotFoundError:  # not begun, or merged already
        return 0


def rows_per_second(policy: Path, folder: Path, processes: int, limit: int) -> float:
    """The rate of a whole run between the first batch of its slowest starter and its end."""
    command = [sys.executable, "-m", "accelerate.commands.launch", f"--num_processes={processes}", "--num_machines=1"]
    command += ["--dynamo_backend=no", "--mixed_precision=no", "--main_process_port=0"]
    command += ["--multi_gpu"] if processes > 1 else ["--cpu"]
    command += ["-m", "rlfr_mm.eval.run", "--model", f"rlfr={policy},device=cpu", "--tasks", TASK]
    command += ["--limit", str(limit), "--gen_kwargs", "max_new_tokens=256", "--output_dir", str(folder)]
    process = subprocess.Popen(
        command, env=os.environ | {"OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    began, first, last, rows = 0.0, 0, 0.0, 0
    while process.poll() is None:
        written = [rows_in(run_files.samples_path(folder, TASK, Shard(i, processes))) for i in range(processes)]
        if sum(written) > rows:
            rows, last = sum(written), time.perf_counter()
            if not began and all(written):
                began, first = last, rows
        time.sleep(0.01)
    if process.returncode != 0 or rows != limit:
        raise SystemExit(f"error: {rows} of {limit} rows: {process.communicate()[1][-2000:]}")
    return (rows - first) / (last - began)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=int, default=160, help="problems")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--note", default="", help="remark about the machine, kept in the record")
    args = parser.parse_args()
    rounds = []
    with tempfile.TemporaryDirectory() as folder:
        policy = build_policy(Path(folder) / "policy")
        for number in range(args.rounds):
            rates = [
                rows_per_second(policy, Path(folder) / f"run{number}-{count}", count, args.limit)
                for count in (1, args.processes)
            ]
            rounds.append({"one": rates[0], "several": rates[1], "ratio": rates[1] / rates[0]})
            print({key: round(value, 2) for key, value in rounds[-1].items()}, flush=True)
    ratio = statistics.median(one["ratio"] for one in rounds)
    summary = {"processes": args.processes, "rows": args.limit, "cpu_cores": os.cpu_count()}
    summary |= {"note": args.note} if args.note else {}
    summary |= {"ratio": round(ratio, 3), "rounds": rounds}
    print(f"{args.processes} processes answer {ratio:.2f} times as many rows per second as one")
    if args.json:
        args.json.write_text(json.dumps(summary, indent=1) + "\n")
    return 0 if ratio >= 0.85 * args.processes else 1


if __name__ == "__main__":
    sys.exit(main())
