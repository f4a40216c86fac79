"""The log files of lmms-eval 0.7.3: `<model>/<date>_results.json` and `<model>/<date>_samples_<task>.jsonl`."""

from pathlib import Path
from typing import Any

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


def write(run: EvaluatedRun, out: Path) -> list[Path]:
    """Both kinds of files, in the folder of the harness. The filter is "none", and --baseline reads `score`."""
    folder = out / file_name(run.model.replace("/", "__"))
    date = file_name((run.started or "imported")[:19].replace("-", "").replace(":", "").replace("T", "_"))
    tasks = {task.spec.name: task for task in run.tasks}
    results = {
        "results": {name: _metrics(task) for name, task in tasks.items()},
        "group_subtasks": {name: [] for name in tasks},
        "configs": {name: _config(task) for name, task in tasks.items()},
        "versions": {name: task.result.scorer_version for name, task in tasks.items()},
        "n-shot": dict.fromkeys(tasks, 0),
        "higher_is_better": {name: dict.fromkeys(scores(task.result), True) for name, task in tasks.items()},
        "n-samples": {
            name: {"original": task.result.problems_expected, "effective": task.result.problems}
            for name, task in tasks.items()
        },
        "config": {"model": run.manifest.model.backend, "model_args": run.manifest.model.args},
        "date": date,
        "model_name": run.model,
        "model_name_sanitized": folder.name,
    }
    written = [write_json(folder / f"{date}_results.json", results)]
    for name, task in tasks.items():
        written.append(write_jsonl(folder / f"{date}_samples_{name}.jsonl", _samples(task)))
    return written


def _metrics(task: EvaluatedTask) -> dict[str, Any]:
    return (
        {"alias": task.spec.name} | {f"{name},none": value for name, value in task.result.metrics.items()} | task.marks
    )


def _config(task: EvaluatedTask) -> dict[str, Any]:
    return {
        "task": task.spec.name,
        "dataset_path": task.plan.dataset,
        "dataset_name": task.plan.config,
        "test_split": "+".join(task.plan.splits),
        "output_type": "generate_until",
        "generation_kwargs": task.plan.generation,
        "repeats": task.plan.samples,
    }


def _samples(task: EvaluatedTask) -> list[dict[str, Any]]:
    groups: dict[str, list[SampleRow]] = {}
    for row in task.rows:
        groups.setdefault(row.problem_id, []).append(row)
    found = []
    for group in groups.values():
        rows = sorted(group, key=lambda row: row.sample_index)
        first, texts = rows[0], [row.response for row in rows]
        found.append(
            {
                "doc_id": first.doc_id,
                "target": str(first.gold),
                # As in lmms-eval: a single response is a text, several are a list.
                "filtered_resps": texts[0] if task.plan.samples == 1 else texts,
                "token_counts": [{"output_tokens": row.completion_tokens} for row in rows],
                "doc_hash": first.doc_hash,
                "score": sum(task.verdict(row).score for row in rows) / len(rows),
                "input": first.prompt or "",
                **task.marks,
            }
        )
    return found


def read(path: Path, spec: TaskSpec) -> list[Response]:
    """The responses of a samples file, which names problems by their position in the same dataset and split."""
    named = TASKS.get(path.stem.rpartition("_samples_")[2])  # one of ours; other names of files say nothing
    if named and (named.dataset, named.config, named.splits) != (spec.dataset, spec.config, spec.splits):
        raise ValueError(f"{path} holds the samples of {named.name}, whose records are not those of {spec.name}")
    found = []
    for where, entry in read_jsonl(path):
        answers: Any = entry.get("resps", entry.get("filtered_resps"))
        if entry.get("doc_id") is None or answers is None:
            raise ValueError(f"{where} has no doc_id or no resps: not a samples file of lmms-eval")
        # One text, the samples of a request, or a list of those per request.
        parts = answers if isinstance(answers, list) else [answers]
        texts = [text for part in parts for text in (part if isinstance(part, list) else [part])]
        found += [response_of(where, text, {}, entry["doc_id"], index) for index, text in enumerate(texts)]
    return found


FORMATS = {"lmms-eval": Format(write, read)}
