"""Every Eval Ever 0.3.0 (evaleval.github.io): per task one aggregate record, and its samples as JSON Lines."""

import hashlib
import time
import uuid
from pathlib import Path
from typing import Any

from rlfr_mm import __version__
from rlfr_mm.eval.engine.records import SampleRow
from rlfr_mm.eval.formats.base import (
    EvaluatedRun,
    EvaluatedTask,
    Format,
    Response,
    file_name,
    read_jsonl,
    response_of,
    scores,
    write_json,
    write_jsonl,
)
from rlfr_mm.tasks.registry import TASKS
from rlfr_mm.tasks.spec import TaskSpec

SCHEMA_VERSION = "0.3.0"


def write(run: EvaluatedRun, out: Path) -> list[Path]:
    """Per task `data/<collection>/<developer>/<model>/<uuid4>.json` and `<uuid4>_samples.jsonl`.

    The UUID is a digest of the rows and the rule, so that exporting the same verdicts again replaces the files.
    """
    written = []
    developer, _, model = run.model.strip("/").rpartition("/")
    folder = Path(file_name(developer or "unknown"), file_name(model))
    for task in run.tasks:
        judged = task.result.rule + "".join(row.model_dump_json() for row in task.rows)
        name = str(uuid.UUID(bytes=hashlib.sha256(judged.encode()).digest()[:16], version=4))
        place = out / "data" / file_name(task.spec.benchmark.lower()) / folder
        stamp = str(int(time.time()))
        evaluation = f"{task.spec.name}/{run.model}/{stamp}"
        lines = [_sample(run, task, row, evaluation) for row in task.rows]
        samples = write_jsonl(place / f"{name}_samples.jsonl", lines)
        record = _aggregate(run, task, evaluation, stamp)
        record["detailed_evaluation_results"] = {
            "format": "jsonl",
            "file_path": samples.name,
            "hash_algorithm": "sha256",
            "checksum": hashlib.sha256(samples.read_bytes()).hexdigest(),
            "total_rows": len(task.rows),
        }
        written += [write_json(place / f"{name}.json", record), samples]
    return written


def _aggregate(run: EvaluatedRun, task: EvaluatedTask, evaluation: str, stamp: str) -> dict[str, Any]:
    info = run.manifest.model
    details = {"backend": info.backend, "deployment_type": "unknown", "model_availability": "unknown"}
    known = {"revision": info.revision, "weights_sha256": info.weights_sha256}
    details |= {key: value for key, value in known.items() if value}
    when = {"evaluation_timestamp": run.started} if run.started else {}
    return {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation,
        **when,
        "retrieved_timestamp": stamp,
        # The rows do not say who ran the evaluation: fill in the last two before submitting.
        "source_metadata": {
            "source_type": "evaluation_run",
            "source_organization_name": "unknown",
            "evaluator_relationship": "other",
        },
        "eval_library": {"name": "rlfr_mm", "version": __version__},
        "model_info": {"name": run.model, "id": run.model, "additional_details": details},
        "evaluation_results": [_result(task, metric, value) for metric, value in scores(task.result).items()],
    }


def _result(task: EvaluatedTask, metric: str, value: float) -> dict[str, Any]:
    result = task.result
    uncertainty: dict[str, Any] = {"num_samples": result.problems}
    error = result.metrics.get(f"{metric}_stderr")
    if error is not None:
        uncertainty["standard_error"] = {"value": error, "method": "clustered by problem"}
    if metric == result.headline and result.interval:
        uncertainty["confidence_interval"] = {
            "lower": result.interval.low,
            "upper": result.interval.high,
            "confidence_level": result.interval.level,
            "method": result.interval.method,
        }
    counts = {"rows": result.rows, **result.counts, "rows_expected": result.problems_expected}
    return {
        "evaluation_name": task.spec.name,
        "source_data": _source(task),
        "metric_config": {
            "evaluation_description": f"{metric} on {result.benchmark}, {task.protocol} prompt",
            "metric_id": metric,
            "lower_is_better": False,
            "score_type": "continuous",
            "min_score": 0,
            "max_score": 1,
            "additional_details": {
                "scorer": result.scorer,
                "scorer_version": result.scorer_version,
                "rule": result.rule,
                "headline": str(metric == result.headline).lower(),
            },
        },
        "score_details": {
            "score": value,
            "uncertainty": uncertainty,
            "details": {key: str(count) for key, count in counts.items()} | task.marks,
        },
        "generation_config": _generation(task),
    }


def _source(task: EvaluatedTask) -> dict[str, Any]:
    result = task.result
    details = {"config": result.config, "revision": result.revision, "splits": "+".join(result.splits)}
    common = {
        "dataset_name": result.benchmark,
        "additional_details": {key: value for key, value in details.items() if value},
    }
    if "/" not in result.dataset:  # generated, not a dataset on the hub
        return common | {"source_type": "other"}
    return common | {
        "source_type": "hf_dataset",
        "hf_repo": result.dataset,
        "hf_split": result.splits[0],
        "samples_number": result.problems,
    }


# Names of generation settings: in lmms-eval, in the schema.
_GENERATION_ARGS = {"temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "max_new_tokens": "max_tokens"}


def _generation(task: EvaluatedTask) -> dict[str, Any]:
    found = {key: value for key, value in task.plan.generation.items() if value is not None}
    known = {theirs: found[ours] for ours, theirs in _GENERATION_ARGS.items() if ours in found}
    rest = {key: str(value) for key, value in found.items() if key not in _GENERATION_ARGS}
    return {"generation_args": known, "additional_details": rest | {"samples": str(task.plan.samples)}}


def _sample(run: EvaluatedRun, task: EvaluatedTask, row: SampleRow, evaluation: str) -> dict[str, Any]:
    verdict = task.verdict(row)
    golds = [row.gold] if isinstance(row.gold, str) else row.gold
    prompt = task.spec.text(row.doc)
    found: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": evaluation,
        "model_id": run.model,
        "evaluation_name": task.spec.name,
        "sample_id": row.problem_id,
        "sample_hash": hashlib.sha256((prompt + "".join(golds)).encode()).hexdigest(),
        "interaction_type": "single_turn",
        "input": {"raw": prompt, "formatted": row.prompt, "reference": golds, "choices": row.choices},
        "output": {"raw": [row.response]},
        "answer_attribution": [],
        "evaluation": {"score": verdict.score, "is_correct": verdict.correct},
        "error": f"{verdict.status}: {verdict.detail}" if verdict.unscored else None,
        "metadata": {"sample_index": str(row.sample_index), "status": verdict.status, **task.marks},
    }
    if verdict.extracted is not None:
        attribution = {"turn_idx": 0, "source": "output.raw", "extracted_value": verdict.extracted}
        attribution |= {"extraction_method": verdict.method, "is_terminal": True}
        found["answer_attribution"] = [attribution]
    if row.prompt_tokens is not None and row.completion_tokens is not None:
        found["token_usage"] = {
            "input_tokens": row.prompt_tokens,
            "output_tokens": row.completion_tokens,
            "total_tokens": row.prompt_tokens + row.completion_tokens,
        }
    return found


def read(path: Path, spec: TaskSpec) -> list[Response]:
    """The responses in a samples file of ours, or of another library that uses the ids of the benchmark."""
    found = []
    for where, entry in read_jsonl(path):
        named = TASKS.get(str(entry.get("evaluation_name")))  # one of ours; other libraries have other names
        if named and named.benchmark != spec.benchmark:
            raise ValueError(f"{where} is a sample of {named.name}, which is not of {spec.benchmark}")
        try:
            first = int(str((entry.get("metadata") or {}).get("sample_index", 0)))  # a fraction is not an index
            problem, texts = entry["sample_id"], entry["output"]["raw"]
        except (KeyError, TypeError, ValueError, AttributeError):
            raise ValueError(f"{where} is not a single-turn sample with sample_id and output.raw") from None
        if problem is None or not isinstance(texts, list):
            raise ValueError(f"{where}: sample_id must be a text and output.raw a list of texts")
        found += [
            response_of(where, text, {}, sample_index=first + offset, problem_id=problem)
            for offset, text in enumerate(texts)
        ]
    return found


FORMATS = {"every-eval-ever": Format(write, read, leaderboard=True)}
