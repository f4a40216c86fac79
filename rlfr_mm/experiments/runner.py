"""Run the cells of an experiment side by side, each as a training run in its own process, and keep their records."""

import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

import torch
import yaml
from tqdm import tqdm

from rlfr_mm.config_file import load_config
from rlfr_mm.experiments.grid import Cell, ExperimentConfig, cells, opening_comment, read_base, resolved
from rlfr_mm.experiments.records import CURVES, UNGRADED, CellRecord, ExperimentRecord, read_results, write_results
from rlfr_mm.files import read_json_lines, try_lock, warn
from rlfr_mm.secrets import without_secrets
from rlfr_mm.training.held_out import by_problem
from rlfr_mm.training.run_folder import RunFolder
from rlfr_mm.viewing.rollout_records import read_rollouts
from rlfr_mm.viewing.token_statistics import flatten, rank_rollouts

POLL_S = 0.2
SHOWN_EVERY_S = 1  # the steps of the running cells
GRACE_S = 10  # for a run to end after it is asked to


@dataclass(frozen=True)
class Experiment:
    """The cells to run, the folders they use, and the record of those that have finished."""

    cells: list[Cell]
    base: Path
    runs: Path
    results: Path
    record: ExperimentRecord

    @property
    def waiting(self) -> list[Cell]:
        """The cells that have no record yet."""
        done = {cell.key for cell in self.record.cells}
        return [cell for cell in self.cells if cell.key not in done]

    def run_of(self, cell: Cell) -> RunFolder:
        return RunFolder(self.runs / cell.name)

    def log_of(self, cell: Cell) -> Path:
        return self.runs / f"{cell.name}.log"

    def progress_of(self, cell: Cell) -> str:
        """Where a running cell is, such as "base/rlvr/seed0: step 12 of 150"."""
        rows, settings = self.run_of(cell).metrics(), resolved(cell, self.record.base)["train"]
        last = settings.get("max_steps", -1)
        step = f"step {rows[-1]['step']}" + (f" of {last}" if last > 0 else "") if rows else "before its first step"
        return f"{cell.name}: {step}"

    def start(self, cell: Cell, lock: IO[str], gpu: str | None) -> subprocess.Popen:
        """Start the cell's training run in a process of its own, which holds the lock for as long as it lives.

        Args:
            gpu: the only one that it sees; None leaves it what this process sees.
        """
        run = self.run_of(cell).path
        command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(self.base), *cell.overrides]
        command += ["--resume"] if (run / "config.yaml").exists() else []
        offline = resolved(cell, self.record.base)["offline"]
        if offline and offline["shared_dir"] is None:
            command.append(f"offline.shared_dir={self.runs / 'fields'}")
        one_gpu = {"CUDA_VISIBLE_DEVICES": gpu} if gpu is not None else {}
        with self.log_of(cell).open("a") as log:
            return subprocess.Popen(
                [*command, f"train.output_dir={run}"],
                env={"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"} | os.environ | one_gpu,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[lock.fileno()],
            )

    def collect(self) -> None:
        """Add newly finished runs to the record and write it to results.json."""
        for cell in self.waiting:
            run = self.run_of(cell)
            if run.summary is not None:
                self.record.cells.append(_cell_record(cell, run, self.record.problems))
        keys = [*(cell.key for cell in self.cells), *(cell.key for cell in self.record.cells)]
        order = list(dict.fromkeys((condition, method) for condition, method, _ in keys))
        self.record.cells.sort(key=lambda cell: (order.index((cell.condition, cell.method)), cell.seed))
        write_results(self.record, self.results / "results.json")


def open_experiment(path: Path, overrides: list[str]) -> Experiment:
    """The experiment of a YAML file with the records of its finished cells; ValueError for settings that cannot be run.

    >>> len(open_experiment(Path("configs/experiments/search_flow.yaml"), []).waiting)
    14
    """
    config: ExperimentConfig = load_config(ExperimentConfig, path, overrides)
    base, file = path.parent / config.base, _results_file(config, path)
    results = file.parent
    before = read_results(file) if file.exists() else None
    record = ExperimentRecord(
        name=path.stem,
        about=opening_comment(path),
        base=without_secrets(read_base(base)),
        compare_to=config.compare_to,
        target_accuracy=config.target_accuracy,
        problems=before.problems if before else {},
        cells=before.cells if before else [],
    )
    runs = Path(config.output_dir or f"runs/experiments/{path.stem}")
    experiment = Experiment(cells(config), base, runs, results, record)
    check_unchanged(experiment, before)
    experiment.collect()
    return experiment


def pilot(path: Path, overrides: list[str]) -> ExperimentRecord:
    """The record of the experiment of a YAML file; ValueError if none of it has been run."""
    file = _results_file(load_config(ExperimentConfig, path, overrides), path)
    if not file.exists():
        raise ValueError(f"{file} does not exist: a plan needs the results of a pilot; run the experiment first")
    return read_results(file)


def _results_file(config: ExperimentConfig, path: Path) -> Path:
    return Path(config.results_dir or f"docs/results/experiments/{path.stem}") / "results.json"


def check_unchanged(experiment: Experiment, before: ExperimentRecord | None) -> None:
    """ValueError if a cell was run with settings other than its settings now: results are never mixed."""
    stored = {cell.key: cell.settings for cell in before.cells} if before else {}
    methods = {key[:2] for key in stored}
    for cell in experiment.cells:
        wanted = resolved(cell, experiment.record.base)
        held_out = experiment.record.base.get("evaluation") or any(
            key.startswith("evaluation.data") for key in cell.settings
        )
        if wanted["evaluation"] is None or not held_out:
            raise ValueError(f"{experiment.base} has no evaluation section; experiments compare held-out accuracy")
        if before and cell.key[:2] in methods and resolved(cell, before.base) != wanted:
            raise ValueError(
                f"{experiment.results} was made with another version of {experiment.base}: "
                "give the experiment another name or results_dir"
            )
        if stored.get(cell.key, cell.settings) != cell.settings:
            raise ValueError(f"{experiment.results} has {cell.name} with other settings: rename the method")
        saved = experiment.run_of(cell).path / "config.yaml"
        if saved.exists():
            found, kept = yaml.safe_load(saved.read_text()), without_secrets(wanted)
            found["train"].pop("output_dir")
            if found["offline"] and wanted["offline"]:
                found["offline"]["shared_dir"] = wanted["offline"]["shared_dir"]  # `start` sets it
            if changed := [section for section in found if found[section] != kept.get(section)]:
                raise ValueError(
                    f"{saved.parent} was run with other settings in the sections {', '.join(changed)}: "
                    "remove that folder or rename the method"
                )


def places(jobs: int | None, gpus: int, visible: str = "") -> list[str | None]:
    """The GPU of each of the runs side by side, by its name in CUDA_VISIBLE_DEVICES; None for runs on CPUs.

    Args:
        jobs: how many runs; None for one per GPU, or without GPUs one per core that this process may use.
        gpus: how many this process sees.
        visible: its own CUDA_VISIBLE_DEVICES.

    >>> places(None, 2, "4,6")
    ['4', '6']
    """
    if not gpus:
        return [None] * (jobs or len(os.sched_getaffinity(0)))
    names = visible.split(",") if visible else [str(number) for number in range(gpus)]
    return [names[number % gpus] for number in range(jobs or gpus)]


def run_experiment(experiment: Experiment, jobs: int | None = None) -> list[Cell]:
    """Run the cells that are waiting, `jobs` at a time, and return those that failed. Ctrl-C or a kill ends the runs.

    Each run has one GPU, unless all runs are on CPUs; `places` says how many there are without `jobs`.

    Names the log of each cell that begins, and shows the steps of those that are running.

    If this process is killed outright (SIGKILL), its runs go on and hold the locks of their cells. Whoever starts the
    experiment again counts them among its jobs and waits until they are over.
    """
    waiting, failed, stop = experiment.waiting, [], threading.Event()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # a kill raises KeyboardInterrupt, as Ctrl-C does
    done, name = len(experiment.cells) - len(waiting), experiment.record.name
    on_cpus = all(resolved(cell, experiment.record.base)["train"].get("use_cpu") for cell in waiting)
    side_by_side = places(jobs, 0 if on_cpus else torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES", ""))
    free: SimpleQueue[str | None] = SimpleQueue()
    for gpu in side_by_side:
        free.put(gpu)
    with (
        ThreadPoolExecutor(len(side_by_side)) as pool,
        tqdm(total=len(experiment.cells), initial=done, unit="cell", desc=name) as progress,
    ):
        running = {pool.submit(_run_cell, experiment, cell, stop, free): cell for cell in waiting}
        try:
            begun: set[Future] = set()
            while running:
                finished, _ = wait(running, SHOWN_EVERY_S, FIRST_COMPLETED)
                for future in (future for future in running if future.running() and future not in begun):
                    begun.add(future)
                    progress.write(f"{running[future].name} begins; its log is {experiment.log_of(running[future])}")
                for future in finished:
                    cell, status = running.pop(future), future.result()
                    begun.discard(future)
                    if status:
                        failed.append(cell)
                        log = experiment.log_of(cell)
                        progress.write(f"{cell.name} failed with status {status}: {_reason(log)} ({log})")
                    experiment.collect()
                    progress.update()
                shown = [f"{len(failed)} failed"] * bool(failed) + [experiment.progress_of(running[f]) for f in begun]
                progress.set_postfix_str(", ".join(shown))
        except BaseException:
            stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    return failed


def _run_cell(experiment: Experiment, cell: Cell, stop: threading.Event, free: SimpleQueue[str | None]) -> int:
    """Run a cell unless another process finishes it first, and return the exit status; `stop` ends the run.

    The run takes one of the `free` GPUs, and gives it back.
    """
    while (lock := try_lock(experiment.log_of(cell).with_suffix(".lock"))) is None:  # another process is running it
        if stop.wait(POLL_S):
            return 0
    with lock:
        if experiment.run_of(cell).summary is not None:
            return 0
        gpu = free.get()
        try:
            process = experiment.start(cell, lock, gpu)
            while process.poll() is None:
                if stop.wait(POLL_S):
                    process.terminate()
                    try:
                        process.wait(GRACE_S)
                    except subprocess.TimeoutExpired:
                        process.kill()
            return process.wait()
        finally:
            free.put(gpu)


def _reason(log: Path) -> str:
    """Why a run ended: its one-line error, or else the last line of its log (earlier attempts are above it)."""
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-5:]
    return ([line for line in lines if line.startswith("error: ")] or lines or ["no output"])[-1][:300]


def _cell_record(cell: Cell, run: RunFolder, problems: dict[str, list[str]]) -> CellRecord:
    """The record of a finished run; adds the ids of its held-out problems to `problems` if they are not there yet."""
    summary, rows = run.summary or {}, run.metrics()
    figures: dict[str, Any] = {}
    for stage in ("before", "after"):
        answers = read_json_lines(run.path / f"evaluation_{stage}.jsonl")
        verdicts = by_problem(answers)
        if problems.setdefault(cell.condition, [*verdicts]) != [*verdicts]:
            raise ValueError(f"{run.path} was evaluated on other problems than the other runs of {cell.condition}")
        figures["samples"] = max(map(len, verdicts.values()))
        figures[f"correct_{stage}"] = "".join(
            UNGRADED if None in each else str(sum(map(bool, each))) for each in verdicts.values()
        )
        figures[f"accuracy_{stage}"] = _rounded(summary[f"accuracy_{stage}"]["accuracy"])
    return CellRecord(
        condition=cell.condition,
        method=cell.method,
        seed=cell.seed,
        settings=cell.settings,
        curves={name: [_rounded(row.get(name)) for row in rows] for name in CURVES if any(name in row for row in rows)},
        auc_gain=_auc_gain(run),
        **figures,
        **{key: summary[key] for key in ("seconds", "hardware", "versions", "git_commit")},
    )


def _auc_gain(run: RunFolder) -> float | None:
    """The AUC that the run's flow reward adds to the log-probability; None if it recorded no rollouts or no reward."""
    broken: list[str] = []
    records = list(read_rollouts(run.path, broken))
    for message in broken:
        warn(message)
    gains = {ranking.score: ranking.gain for ranking in rank_rollouts(flatten(records))} if records else {}
    gain = gains.get("flow_reward")
    return _rounded(gain.value) if gain else None


def _rounded(value: float | None) -> float | None:
    return None if value is None or value != value else round(value, 4)
