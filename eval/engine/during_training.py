"""Benchmarks that a training run answers at some of its steps, with the engine of `eval.run`."""

from typing import Any

from rlfr_mm import files
from rlfr_mm.config import BenchmarkConfig
from rlfr_mm.eval.engine.backends import PolicyBackend
from rlfr_mm.eval.engine.plan import RunSettings, changed_data, load_docs
from rlfr_mm.eval.engine.records import ModelInfo
from rlfr_mm.eval.engine.running import evaluate
from rlfr_mm.tasks import registry
from rlfr_mm.training.run_folder import BENCHMARKS, RunFolder


def check_benchmarks(benchmarks: BenchmarkConfig, sharded: bool) -> None:
    """ValueError if a task is unknown, its data cannot be read or are only a slice, or the policy is sharded."""
    for spec in registry.expand(benchmarks.eval_tasks):
        changed = changed_data(spec, len(load_docs(spec, benchmarks.data_root)), spec.data_hash or "")
        if changed and not benchmarks.allow_changed_data:
            raise ValueError(f"{spec.name}: {changed}; benchmarks.allow_changed_data runs it and marks the results")
    if sharded:
        raise ValueError(
            "benchmarks cannot be answered by a sharded policy: evaluate its checkpoints with python -m eval.run"
        )


def answer_benchmarks(
    policy: Any, processor: Any, benchmarks: BenchmarkConfig, folder: RunFolder, step: int
) -> dict[str, float]:
    """The headline score of each task at this step, which is also added to benchmarks/results.json."""
    settings = RunSettings(
        samples=benchmarks.samples,
        limit=benchmarks.limit,
        data_root=benchmarks.data_root,
        allow_changed_data=benchmarks.allow_changed_data,
    )
    info = ModelInfo(backend="rlfr", args={"step": step}, name=f"{folder.path.name}, step {step}")
    training = policy.training
    backend = PolicyBackend(policy.eval(), processor, info, benchmarks.batch_size)
    try:
        specs = registry.expand(benchmarks.eval_tasks)
        results, missing = evaluate(backend, specs, folder.path / BENCHMARKS / f"step-{step:06d}", settings)
    finally:
        policy.train(training)
    for line in missing:
        print(f"incomplete at step {step}: {line}")
    scores = {result.task: result.metrics[result.headline] for result in results if result.headline in result.metrics}
    path = folder.path / BENCHMARKS / "results.json"
    before = files.read_json(path) if path.exists() else {}
    files.write_json(path, before | {str(step): scores})
    return scores
