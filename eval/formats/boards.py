"""The benchmarks' own result files: MathVista, MATH-V, MathVerse, We-Math, LogicVista, VisuLogic; and plain JSON Lines.

They follow the published evaluation scripts and results. A record keeps the fields and names of the dataset.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from rlfr_mm.eval.engine.records import SampleRow
from rlfr_mm.eval.formats.base import (
    EvaluatedRun,
    EvaluatedTask,
    Format,
    Response,
    of_benchmark,
    percent,
    read_entries,
    read_json,
    read_jsonl,
    response_of,
    text_of,
    write_csv,
    write_json,
    write_jsonl,
    write_text,
)
from rlfr_mm.eval.formats.tables import escaped_latex
from rlfr_mm.tasks.spec import TaskSpec


def each(run: EvaluatedRun, out: Path) -> Iterator[tuple[EvaluatedTask, Path]]:
    """Every task with a folder of its own, so that two protocols of one benchmark do not overwrite each other."""
    return ((task, out / task.spec.name) for task in run.tasks)


def chosen(task: EvaluatedTask, row: SampleRow) -> str | None:
    """The answer in the form of the gold: the gold itself if it is correct, the text of an option for its letter."""
    verdict = task.verdict(row)
    if verdict.correct:
        return row.gold if isinstance(row.gold, str) else row.gold[0]
    answer = verdict.extracted
    if answer is not None and row.choices and len(letter := answer.strip("() .")) == 1:
        position = ord(letter.upper()) - ord("A")
        answer = row.choices[position] if 0 <= position < len(row.choices) else answer
    return None if answer == row.gold else answer  # equal but not graded as correct: the grader failed


# -------------------------------------------------- MathVista: lupantech/MathVista, evaluation/calculate_score.py

# Our breakdown by the name that the board uses.
_MATHVISTA_SCORES = {
    "question_type": "question_type", "answer_type": "answer_type", "language": "language", "source": "source",
    "category": "category", "task": "task", "context": "context", "grade": "grade", "skills": "skill",
}  # fmt: skip


def write_mathvista(run: EvaluatedRun, out: Path) -> list[Path]:
    """The output file of records by pid, and the scores file of the board."""
    written = []
    for task, folder in each(run, out):
        output = {}
        for row in task.rows:
            doc = task.record(row)
            precision = doc.get("precision")
            output[row.problem_id] = {
                **doc,
                # The script of the board rounds with it, which needs an int.
                "precision": None if precision is None else int(precision),
                "response": row.response,
                "extraction": task.verdict(row).extracted or "",
                "prediction": chosen(task, row),
                "true_false": task.verdict(row).correct,
                **task.marks,
            }
        correct, total = task.counts()[()]
        scores: dict[str, Any] = {"average": _share(correct, total)}
        for name, field in _MATHVISTA_SCORES.items():
            found = [(values[0], _share(*counts)) for values, counts in task.counts(field).items()]
            scores[name] = dict(sorted(found, key=lambda item: item[1]["accuracy"], reverse=True))
        written += [
            write_json(folder / f"output_{run.file_model}.json", output),
            write_json(folder / f"scores_{run.file_model}.json", scores | task.marks),
        ]
    return written


def _share(correct: int, total: int) -> dict[str, float]:
    return {"accuracy": correct / total, "correct": correct, "total": total}


def read_mathvista(path: Path, spec: TaskSpec) -> list[Response]:
    """The responses in an output file."""
    found = []
    for pid, entry in read_entries(path, "an object of records by pid (a MathVista output)").items():
        where = f"{path}, pid {pid}"
        if str(entry.get("pid", pid)) != pid:
            raise ValueError(f"{where} has the record of pid {entry['pid']!r:.80}")
        found.append(response_of(where, text_of(entry, ("response",), where), {"pid": pid, **_record(entry)}))
    return found


# -------------------------------------------------- MATH-V: mathllm/MATH-V, evaluation/evaluate.py


def write_mathv(run: EvaluatedRun, out: Path) -> list[Path]:
    """The answers, one per line, and the scores by level, by subject and by both in both orders."""
    written = []
    for task, folder in each(run, out):
        lines = [
            {"id": row.problem_id, "model": run.model, "response": row.response}
            | {"model_answer": task.verdict(row).extracted or "", "correct": task.verdict(row).correct}
            | task.marks
            for row in task.rows
        ]
        results = {"-all": _fraction(*task.counts()[()])}
        results |= {f"-level{level}": _fraction(*found) for (level,), found in task.counts("level").items()}
        results |= {subject: _fraction(*found) for (subject,), found in task.counts("subject").items()}
        for (level, subject), found in task.counts("level", "subject").items():
            results |= dict.fromkeys((f"-level{level}_{subject}", f"{subject}_level{level}"), _fraction(*found))
        results = dict(sorted(results.items())) | task.marks
        written += [
            write_jsonl(folder / f"{run.file_model}.jsonl", lines),
            write_json(folder / f"{run.file_model}_result.json", results),
        ]
    return written


def _fraction(correct: int, total: int) -> str:
    return f"{correct}/{total}={percent(correct / total)}%"


# -------------------------------------------------- MathVerse: ZrrSkywalker/MathVerse, evaluation/score_answer_s2.py


def write_mathverse(run: EvaluatedRun, out: Path) -> list[Path]:
    """The records with the answers. The second step of the benchmark's script can start from `extraction`."""
    written = []
    for task, folder in each(run, out):
        entries = [
            task.record(row)
            | {"category": row.doc["metadata"]}  # the name that the script reads
            | {"model_answer": row.response, "extraction": task.verdict(row).extracted or ""}
            | {"judgement": int(task.verdict(row).correct), **task.marks}
            for row in task.rows
        ]
        written.append(write_json(folder / f"{run.file_model}.json", entries))
    return written


# -------------------------------------------------- We-Math: We-Math/We-Math, evaluation/four_dimensional_metrics.py

_DIMENSIONS = {
    "InsufficientKnowledge": ("IK", "IK"),
    "InadequateGeneralization": ("IG", "IG"),
    "CompleteMastery": ("CM strict", "CM loose"),
    "RoteMemorization": ("RM strict", "RM loose"),
}


def wemath_scores(task: EvaluatedTask) -> dict[str, str]:
    """The line of the benchmark's score table. ValueError if no group of problems is complete.

    As in the benchmark, rote memorisation is a share of the solved composite problems, all else a share of the groups.
    """
    metrics, found = task.result.metrics, {}
    if not {"strict", "loose"} <= metrics.keys():
        raise ValueError(f"{task.spec.name}: no problem group is complete, so We-Math's scores are not defined")
    for position, rule in enumerate(("strict", "loose")):
        found[f"Score ({rule.title()})"] = f"{100 * metrics[rule]:.2f}%"
        for name, keys in _DIMENSIONS.items():
            share = metrics[keys[position]]
            solved = metrics[f"CM {rule}"] + metrics[f"RM {rule}"]
            shown = share if name != "RoteMemorization" else share / solved if solved else 0.0
            found[f"{name} ({rule.title()})"] = f"{100 * shown:.2f}% ({round(share * metrics['groups'])})"
    return found


def write_wemath(run: EvaluatedRun, out: Path) -> list[Path]:
    """The records with responses, and the score table."""
    written = []
    for task, folder in each(run, out):
        entries = [task.record(row) | {"response": row.response} | task.marks for row in task.rows]
        written += [
            write_json(folder / f"{run.file_model}.json", entries),
            write_csv(
                folder / "four_dimensional_metrics.csv", [{"Model": run.model} | wemath_scores(task) | task.marks]
            ),
        ]
    return written


# -------------------------------------------------- LogicVista: Yijia-Xiao/LogicVista, eval/answers


def write_logicvista(run: EvaluatedRun, out: Path) -> list[Path]:
    """The responses by id. As in the published files the reasoning is "none", because it is part of the answer."""
    written = []
    for task, folder in each(run, out):
        found = {row.problem_id: {"answer": row.response, "reasoning": "none", **task.marks} for row in task.rows}
        written.append(write_json(folder / f"{run.file_model}-answers.json", found))
    return written


def read_logicvista(path: Path, spec: TaskSpec) -> list[Response]:
    """The responses in an answers file. Its `answer` is the response, unlike the field of that name in the dataset."""
    found = []
    for problem, entry in read_entries(path, "an object of answers by id (LogicVista answers)").items():
        where = f"{path}, {problem}"
        found.append(response_of(where, text_of(entry, ("answer",), where), {}, problem_id=problem))
    return found


# -------------------------------------------------- VisuLogic: VisuLogic-Benchmark/VisuLogic-Eval, evaluation

VISULOGIC_TAGS = (
    "Quantitative Reasoning", "Spatial Reasoning", "Positional Reasoning", "Attribute Reasoning",
    "Stylistic Reasoning", "Other",
)  # fmt: skip


def write_visulogic(run: EvaluatedRun, out: Path) -> list[Path]:
    """The records with responses, one per line, and the row of the paper's table."""
    written = []
    for task, folder in each(run, out):
        lines = [
            task.record(row)
            | {"answer": row.gold, "model_response": row.response}  # the names that the script reads
            | {"extracted_answer": task.verdict(row).extracted or "N", "extractor": task.verdict(row).method}
            | task.marks
            for row in task.rows
        ]
        found = task.counts("category")
        shares = [task.counts()[()], *(found.get((tag,), (0, 0)) for tag in VISULOGIC_TAGS)]
        cells = [f"{100 * correct / total:.1f}" if total else "0.0" for correct, total in shares]
        comment = f"% {task.note}\n" if task.note else ""
        line = " & ".join([escaped_latex(run.model), *cells])
        written += [
            write_jsonl(folder / f"{run.file_model}.jsonl", lines),
            write_text(folder / f"{run.file_model}.tex", f"{comment}{line} \\\\\n"),
        ]
    return written


# -------------------------------------------------- readers of dataset records with a response as a further field

_RESPONSE_FIELDS = ("response", "model_answer", "model_response", "prediction", "output", "completion")
# Fields about the response, or that identify the problem; they are not fields of the dataset record.
_ADDED_FIELDS = frozenset(
    (*_RESPONSE_FIELDS, "extraction", "true_false", "judgement", "extracted_answer", "extractor", "partial")
) | {"doc_id", "problem_id"}


def _record(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of the dataset record, which are the same for all responses to it."""
    return {name: value for name, value in entry.items() if name not in _ADDED_FIELDS}


def read_records(path: Path, spec: TaskSpec) -> list[Response]:
    """The responses in JSON Lines or a JSON list, whose objects hold record fields, or `problem_id` or `doc_id`."""
    if path.suffix == ".jsonl":
        entries = read_jsonl(path)
    else:
        listed = read_json(path)
        if not isinstance(listed, list) or not all(isinstance(entry, dict) for entry in listed):
            raise ValueError(f"{path} does not hold a list of records")
        entries = [(f"{path}, record {number}", entry) for number, entry in enumerate(listed, start=1)]
    # In MathVerse, model_answer is the response (in MATH-V the extracted answer), and sample_index is the id of the
    # problem. A number beside another id is that of the sample, as elsewhere.
    mathverse = spec.benchmark == "MathVerse"
    names = sorted(_RESPONSE_FIELDS, key=lambda name: name != "model_answer") if mathverse else _RESPONSE_FIELDS
    found = []
    for where, entry in entries:
        text, record = text_of(entry, names, where), _record(entry)
        numbered = not mathverse or (
            {"doc_id", "problem_id"} & entry.keys() and not isinstance(record.get("sample_index"), str)
        )
        sample_index = record.pop("sample_index", 0) if numbered else 0
        found.append(response_of(where, text, record, entry.get("doc_id"), sample_index, entry.get("problem_id")))
    return found


def _board(benchmark: str, write: Callable, read: Callable) -> Format:
    return Format(write, read, True, of_benchmark(benchmark), scope=f"{benchmark} tasks", one_sample=True)


FORMATS = {
    "mathvista": _board("MathVista", write_mathvista, read_mathvista),
    "math-v": _board("MathVision", write_mathv, read_records),
    "mathverse": _board("MathVerse", write_mathverse, read_records),
    "we-math": _board("We-Math", write_wemath, read_records),
    "logicvista": _board("LogicVista", write_logicvista, read_logicvista),
    "visulogic": _board("VisuLogic", write_visulogic, read_records),
    "jsonl": Format(None, read_records),
}
