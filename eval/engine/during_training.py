"""Benchmarks that are evaluated while a policy is trained; `rlfr_mm.train` passes this module into the run."""

from typing import Any

from accelerate import Accelerator
from accelerate.utils import DistributedType

from rlfr_mm.config import BenchmarkConfig
from rlfr_mm.eval.engine.backends import PolicyBackend
from rlfr_mm.eval.engine.plan import RunSettings, changed_data, load_docs
from rlfr_mm.eval.engine.records import ModelInfo, RunError
from rlfr_mm.eval.run import evaluate
from rlfr_mm.files import read_json, write_json
from rlfr_mm.tasks import registry
from rlfr_mm.training.run_folder import BENCHMARKS, RunFolder


def check_benchmarks(benchmarks: BenchmarkConfig, accelerator: Accelerator) -> None:
    """ValueError for an unknown task, data that cannot be read or are incomplete, and a policy that is sharded."""
    for spec in registry.expand(benchmarks.eval_tasks):
        try:
            changed = changed_data(spec, len(load_docs(spec, benchmarks.data_root)), spec.data_hash or "")
        except RunError as error:
            raise ValueError(str(error)) from None
        if changed and not benchmarks.allow_changed_data:
            raise ValueError(f"{spec.name}: {changed}; benchmarks.allow_changed_data runs it and marks the results")
    if accelerator.distributed_type in (DistributedType.FSDP, DistributedType.DEEPSPEED):
        raise ValueError("benchmarks needs a policy that is not sharded: evaluate checkpoints with python -m eval.run")


def answer_benchmarks(
    policy: Any, processor: Any, benchmarks: BenchmarkConfig, folder: RunFolder, step: int
) -> dict[str, float]:
    """The headline metric of each task at this step, also added to RUN/benchmarks/results.json."""
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
    write_json(path, (read_json(path) if path.exists() else {}) | {str(step): scores})
    return scores
