"""Benchmarks that a training run answers at some of its steps, with the engine of `eval.run`."""

import contextlib
import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from accelerate import PartialState
from torch import distributed

from rlfr_mm import files
from rlfr_mm.config import BenchmarkConfig
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.backends import PolicyBackend, check_modality, reads_text_only
from rlfr_mm.eval.engine.exporting import export
from rlfr_mm.eval.engine.plan import RunSettings, changed_data, load_docs
from rlfr_mm.eval.engine.records import ModelInfo, RunError
from rlfr_mm.eval.engine.running import evaluate
from rlfr_mm.eval.engine.shards import Shard
from rlfr_mm.tasks import registry
from rlfr_mm.training.run_folder import BENCHMARKS, RunFolder

LONGEST_WAIT = datetime.timedelta(days=1)  # of one process for the others, after the same number of batches


def check_benchmarks(benchmarks: BenchmarkConfig, sharded: bool) -> None:
    """ValueError if a task is unknown, its data cannot be read or are only a slice, or the policy is sharded."""
    for spec in registry.expand(benchmarks.eval_tasks):
        changed = changed_data(spec, len(load_docs(spec, benchmarks.data_root)), spec.data_hash or "")
        if changed and not benchmarks.allow_changed_data:
            raise ValueError(f"{spec.name}: {changed}; benchmarks.allow_changed_data runs it and marks the results")
    if sharded:
        raise ValueError(
            "benchmarks cannot be answered by a sharded policy: evaluate its checkpoints with rlfr_mm.eval.run"
        )


def check_policy(benchmarks: BenchmarkConfig, name: str, processor: Any) -> None:
    """RunError if a task has images and the policy of that name and processor reads text only."""
    check_modality(name, reads_text_only(processor), registry.expand(benchmarks.eval_tasks))


def answer_benchmarks(
    policy: Any, processor: Any, benchmarks: BenchmarkConfig, folder: RunFolder, step: int
) -> dict[str, float]:
    """The headline score of each task at this step, which the main process also adds to benchmarks/results.json.

    All processes of the training run call this and answer a share each, in a run folder that all of them can write to.
    Only the main process gets scores.
    """
    settings = RunSettings(
        samples=benchmarks.samples,
        limit=benchmarks.limit,
        data_root=benchmarks.data_root,
        allow_changed_data=benchmarks.allow_changed_data,
    )
    processes = PartialState()
    shard = Shard(processes.process_index, processes.num_processes)
    run = folder.path / BENCHMARKS / f"step-{step:06d}"
    info = ModelInfo(backend="rlfr", args={"step": step}, name=f"{folder.path.name}, step {step}")
    training = policy.training
    backend = PolicyBackend(policy.eval(), processor, info, benchmarks.batch_size)
    specs = registry.expand(benchmarks.eval_tasks)
    try:
        with patient_barrier():
            found = evaluate(backend, specs, run, settings, shard, progress=folder.write)
    finally:
        policy.train(training)
    for line in [*found.incomplete, *found.failures]:
        print(f"incomplete at step {step}: {line}")
    if not folder.write:
        return {}
    results = run_files.read_results(run)
    scores = {result.task: result.metrics[result.headline] for result in results if result.headline in result.metrics}
    path = folder.path / BENCHMARKS / "results.json"
    before = files.read_json(path) if path.exists() else {}
    files.write_json(path, before | {str(step): scores})
    return scores


def write_leaderboard_files(folder: RunFolder, step: int, out: Path) -> None:
    """Write `.eval_results` into `out` for each benchmark that was answered in full after this step, the last one.

    The hub would take anything less for the score of the benchmark.
    """
    run = folder.path / BENCHMARKS / f"step-{step:06d}"
    for task in run_files.read_manifest(run).tasks if run.is_dir() else ():
        with contextlib.suppress(RunError):  # it is a slice, or its dataset is not on the hub
            export(run, "hf-eval-results", out, [task])


@contextlib.contextmanager
def patient_barrier() -> Iterator[None]:
    """Wait for all processes after the body, for as long as the slowest one takes.

    The barrier of the training run's own process group would end the run after that group's timeout, which for NCCL is
    ten minutes. A process that dies breaks the connection, and ends the wait of the others at once.
    """
    if not distributed.is_initialized():
        yield
        return
    group: Any = distributed.new_group(backend="gloo", timeout=LONGEST_WAIT)
    yield
    distributed.barrier(group)
    distributed.destroy_process_group(group)
