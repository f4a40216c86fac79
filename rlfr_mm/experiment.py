"""Run an experiment: methods x seeds, each cell a training run, several side by side; then compare them.

    python -m rlfr_mm.experiment --config configs/experiments/search_flow.yaml

The same command goes on where it was stopped: unfinished cells resume from their checkpoints, finished ones stay, also
those of which only the record is left. Writes results.json (one record per cell), table.md and curves.png.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import yaml
from tqdm import tqdm

from rlfr_mm.config_file import load_config, one_line_errors, parser_for
from rlfr_mm.experiments.grid import Cell, ExperimentConfig, cells, opening_comment, read_base, resolved
from rlfr_mm.results import CURVES, UNGRADED, CellRecord, ExperimentRecord, read_results, write_report, write_results
from rlfr_mm.training.run_folder import RunFolder

POLL_S = 0.2
GRACE_S = 10  # for a run to end when it is asked to


@dataclass(frozen=True)
class Experiment:
    """What is to be run, and where."""

    cells: list[Cell]
    base: Path
    runs: Path
    results: Path

    def run_of(self, cell: Cell) -> RunFolder:
        return RunFolder(self.runs / cell.name)

    def log_of(self, cell: Cell) -> Path:
        return self.runs / f"{cell.name}.log"

    def start(self, cell: Cell, lock: IO[str]) -> subprocess.Popen:
        """A training run in a process of its own, which holds the lock as long as it lives."""
        command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(self.base), "--resume", *cell.overrides]
        with self.log_of(cell).open("a") as log:
            return subprocess.Popen(
                [*command, f"train.output_dir={self.run_of(cell).path}"],
                env={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | os.environ,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )


def run_cells(
    experiment: Experiment, queue: list[Cell], jobs: int, progress: tqdm, keep: Callable[[], None]
) -> list[Cell]:
    """Run the cells, `jobs` at a time, call `keep` as each is finished, and return those that failed.

    A run goes on if this process is killed outright, and holds the lock of its cell: whoever starts the experiment
    again counts it among its jobs, and waits until it is over. Otherwise no run is left behind.
    """
    queue, failed = list(queue), []
    running: dict[subprocess.Popen, tuple[Cell, IO[str]]] = {}
    try:
        while queue or running:
            elsewhere = 0
            for cell in list(queue):
                if len(running) + elsewhere >= jobs:
                    break
                lock = _try_lock(experiment.log_of(cell).with_suffix(".lock"))
                if lock is None:  # a run of another process, on these cores
                    elsewhere += 1
                    continue
                queue.remove(cell)
                if experiment.run_of(cell).summary is None:
                    running[experiment.start(cell, lock)] = (cell, lock)
                else:  # that process has finished it
                    lock.close()
                    keep()
                    progress.update()
            for process in [process for process in running if process.poll() is not None]:
                cell, lock = running.pop(process)
                lock.close()
                if process.returncode:
                    failed.append(cell)
                    log = experiment.log_of(cell)
                    progress.write(f"{cell.name} failed with status {process.returncode}: {_reason(log)} ({log})")
                keep()
                progress.set_postfix(failed=len(failed), refresh=False)
                progress.update()
            time.sleep(POLL_S)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(GRACE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
    return failed


def _try_lock(path: Path) -> IO[str] | None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


def _reason(log: Path) -> str:
    """Why a run ended: its one-line error, or the last line of its output; earlier attempts stand above."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-5:]
    return ([line for line in lines if line.startswith("error: ")] or lines or ["no output"])[-1][:300]


def check_unchanged(experiment: Experiment, record: ExperimentRecord, before: ExperimentRecord | None) -> None:
    """ValueError where a cell has been run with other settings than it would be now: results are never mixed."""
    stored = {cell.key: cell.settings for cell in before.cells} if before else {}
    run_before = {(condition, method) for condition, method, _ in stored}
    wanted: dict[tuple[str, str], dict[str, Any]] = {}
    for cell in experiment.cells:
        method = (cell.condition, cell.method)
        if method not in wanted:
            wanted[method] = resolved(cell, record.base)
            if before and method in run_before and resolved(cell, before.base) != wanted[method]:
                raise ValueError(
                    f"{experiment.results} was made with another {experiment.base}: name another experiment"
                )
            if wanted[method]["evaluation"] is None:
                raise ValueError(f"{experiment.base} has no evaluation section: experiments compare held-out accuracy")
        if stored.get(cell.key, cell.settings) != cell.settings:
            raise ValueError(f"{experiment.results} has {cell.name} with other settings: rename the method")
        saved = experiment.run_of(cell).path / "config.yaml"
        if saved.exists():
            found = yaml.safe_load(saved.read_text())
            found["train"] = {**found["train"], "seed": wanted[method]["train"]["seed"]}
            found["train"].pop("output_dir")
            changed = [section for section in found if found[section] != wanted[method].get(section)]
            if changed:
                where = ", ".join(changed)
                raise ValueError(f"{saved.parent} was run with other settings under {where}: remove it, or rename")


def collect(experiment: Experiment, record: ExperimentRecord) -> None:
    """Add to the record what runs have finished since, and write it."""
    known = {cell.key for cell in record.cells}
    for cell in experiment.cells:
        run = experiment.run_of(cell)
        if cell.key not in known and run.summary is not None:
            record.cells.append(_cell_record(cell, run, record.problems))
    keys = [*(cell.key for cell in experiment.cells), *(cell.key for cell in record.cells)]
    order = list(dict.fromkeys((condition, method) for condition, method, _ in keys))
    record.cells.sort(key=lambda cell: (order.index((cell.condition, cell.method)), cell.seed))
    write_results(record, experiment.results / "results.json")


def _cell_record(cell: Cell, run: RunFolder, problems: dict[str, list[str]]) -> CellRecord:
    summary, rows = run.summary or {}, run.metrics()
    correct = {}
    for stage in ("before", "after"):
        lines = (run.path / f"evaluation_{stage}.jsonl").read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        ids = [answer["problem_id"] for answer in answers]
        if problems.setdefault(cell.condition, ids) != ids:
            raise ValueError(f"{run.path} was evaluated on other problems than the other runs of {cell.condition}")
        correct[stage] = "".join(
            UNGRADED if answer["correct"] is None else str(int(answer["correct"])) for answer in answers
        )
    curves = {name: [_rounded(row.get(name)) for row in rows] for name in CURVES if any(name in row for row in rows)}
    return CellRecord(
        condition=cell.condition,
        method=cell.method,
        seed=cell.seed,
        settings=cell.settings,
        accuracy_before=_rounded(summary["accuracy_before"]["accuracy"]),
        accuracy_after=_rounded(summary["accuracy_after"]["accuracy"]),
        correct_before=correct["before"],
        correct_after=correct["after"],
        curves=curves,
        auc_gain=_auc_gain(run),
        **{key: summary[key] for key in ("seconds", "hardware", "versions", "git_commit")},
    )


def _auc_gain(run: RunFolder) -> float | None:
    """What the run's flow reward adds to the log-probability in ranking rollouts; None where it recorded none."""
    from rlfr_mm.viewing.rollout_records import read_rollouts
    from rlfr_mm.viewing.token_statistics import flatten, rank_rollouts

    records = list(read_rollouts(run.path))
    rankings = {ranking.score: ranking for ranking in rank_rollouts(flatten(records))} if records else {}
    gain = rankings["flow_reward"].gain if "flow_reward" in rankings else None
    return _rounded(gain.value) if gain else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 4)


def main(argv: list[str] | None = None) -> None:
    parser = parser_for("rlfr_mm.experiment", __doc__, ExperimentConfig)
    parser.add_argument("--jobs", type=int, help="runs side by side; default: the cores this process may use")
    parser.add_argument("--collect-only", action="store_true", help="run nothing; write results from what is there")
    arguments = parser.parse_args(argv)

    with one_line_errors():
        path = Path(arguments.config)
        config: ExperimentConfig = load_config(ExperimentConfig, path, arguments.overrides)
        jobs = len(os.sched_getaffinity(0)) if arguments.jobs is None else arguments.jobs
        if jobs < 1:
            raise ValueError(f"--jobs {jobs} must be >= 1")
        experiment = Experiment(
            cells=cells(config),
            base=path.parent / config.base,
            runs=Path(config.output_dir or f"runs/experiments/{path.stem}"),
            results=Path(config.results_dir or f"docs/results/experiments/{path.stem}"),
        )
        file = experiment.results / "results.json"
        before = read_results(file) if file.exists() else None
        record = ExperimentRecord(
            name=path.stem,
            about=opening_comment(path),
            base=read_base(experiment.base),
            compare_to=config.compare_to,
            target_accuracy=config.target_accuracy,
            problems=before.problems if before else {},
            cells=before.cells if before else [],
        )
        check_unchanged(experiment, record, before)
        collect(experiment, record)

    done = {cell.key for cell in record.cells}
    waiting = [cell for cell in experiment.cells if cell.key not in done]
    failed: list[Cell] = []
    if waiting and not arguments.collect_only:
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill ends the runs, as Ctrl-C does
        with tqdm(total=len(experiment.cells), initial=len(experiment.cells) - len(waiting), unit="cell") as progress:
            progress.set_description(path.stem)
            try:
                failed = run_cells(experiment, waiting, jobs, progress, lambda: collect(experiment, record))
            except KeyboardInterrupt:
                progress.close()
                print("stopped; the same command goes on", file=sys.stderr)
                raise SystemExit(130) from None
    if record.cells:
        write_report(experiment.results)
        print(f"{len(record.cells)} cells: {experiment.results / 'table.md'}")
    if failed:
        print(f"{len(failed)} cells failed: {', '.join(cell.name for cell in failed)}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
