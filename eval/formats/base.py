"""What a format is: a writer of evaluated tasks, a reader of responses where its files carry them; and helpers."""

import csv
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, SampleRow, TaskPlan
from rlfr_mm.grading.verdict import Verdict
from rlfr_mm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class EvaluatedTask:
    """One task of a run: its rows, and the result that was computed from them."""

    spec: TaskSpec
    plan: TaskPlan
    rows: Sequence[SampleRow]
    result: BenchmarkResult

    def verdict(self, row: SampleRow) -> Verdict:
        """The verdict under the rule that the result stands for."""
        return row.judged(self.result.rule)

    @property
    def protocol(self) -> str:
        """Whose prompt was answered; an imported file does not say."""
        return self.result.protocol if self.rows[0].prompt is not None else "unknown"

    @property
    def note(self) -> str | None:
        """What keeps the score from being the benchmark's; None for a whole, unchanged benchmark."""
        found = []
        if self.result.partial:
            missing = f", {self.result.missing} responses missing" if self.result.missing else ""
            found.append(f"partial: {self.result.problems} of {self.result.problems_expected} problems{missing}")
        if self.result.changed_data:
            found.append("changed data")
        return "; ".join(found) or None

    @property
    def marks(self) -> dict[str, str]:
        """The note as a field of every record that a file holds."""
        return {"partial": self.note} if self.note else {}

    def record(self, row: SampleRow) -> dict[str, Any]:
        """The dataset's record without its image, which rows do not hold."""
        return {key: value for key, value in row.doc.items() if key != self.spec.image}

    def counts(self, *fields: str) -> dict[tuple[str, ...], tuple[int, int]]:
        """(correct, total) of the rows for each combination of values of the category fields; `()` is all rows."""
        found: dict[tuple[str, ...], tuple[int, int]] = {}
        for row in self.rows:
            keys: list[tuple[str, ...]] = [()]
            for field in fields:
                keys = [(*key, value) for key in keys for value in row.categories[field]]
            for key in keys:
                correct, total = found.get(key, (0, 0))
                found[key] = correct + self.verdict(row).correct, total + 1
        return found


@dataclass(frozen=True)
class EvaluatedRun:
    """What writers get: everything they may say comes from here."""

    manifest: Manifest
    tasks: Sequence[EvaluatedTask]

    @property
    def model(self) -> str:
        return self.manifest.model.name

    @property
    def file_model(self) -> str:
        """The model's name as a part of a path, the organisation before its slash left out."""
        return file_name(self.model.rstrip("/").rpartition("/")[2])

    @property
    def started(self) -> str | None:
        """When the run was last started, UTC in ISO 8601; None for imported rows."""
        return self.manifest.sessions[-1].started if self.manifest.sessions else None


@dataclass(frozen=True)
class Response:
    """One response of another harness's file and what says which problem it answers.

    `fields` are the record's fields as far as the file has them: a task's `problem_id` reads the id from them.
    `problem_id` is that id where the file gives it as such, `doc_id` the position in the dataset split.
    """

    text: str
    fields: Mapping[str, Any]
    doc_id: int | None = None
    sample_index: int = 0
    problem_id: str | None = None


Write = Callable[[EvaluatedRun, Path], list[Path]]  # the files written; errors: ValueError
Read = Callable[[Path, TaskSpec], list[Response]]  # errors: ValueError naming the file and what is missing in it


@dataclass(frozen=True)
class Format:
    """One format. `leaderboard`: read as the score of a whole benchmark, so that a slice must not pass for it."""

    write: Write | None
    read: Read | None = None
    leaderboard: bool = False
    fits: Callable[[TaskSpec], bool] = lambda spec: True
    scope: str = "all tasks"  # what `fits` says, in words
    one_sample: bool = False  # carries one response to each problem


def of_benchmark(*names: str) -> Callable[[TaskSpec], bool]:
    """`fits` of a format that belongs to some benchmarks."""
    return lambda spec: spec.benchmark in names


# ---------------------------------------------------------------------------------------------------- numbers

# Metrics that count something; all others are fractions of 1.
COUNTS = frozenset(("problems", "responses", "no_answer", "unscored", "groups", "incomplete_groups"))


def scores(result: BenchmarkResult) -> dict[str, float]:
    """The metrics that are scores, the headline first; without counts and standard errors."""
    names = [result.headline, *(name for name in result.metrics if name != result.headline)]
    return {name: result.metrics[name] for name in names if name not in COUNTS and not name.endswith("_stderr")}


def percent(fraction: float, digits: int = 2) -> float:
    return round(100 * fraction, digits)


def split_name(result: BenchmarkResult) -> str:
    """The dataset's split, or the first and the last of several."""
    return result.splits[0] if len(result.splits) == 1 else f"{result.splits[0]}..{result.splits[-1]}"


def settings(task: EvaluatedTask) -> str:
    """How the score came about, in one line: prompt, decoding, grader."""
    generation = ", ".join(f"{key} {value}" for key, value in task.plan.generation.items() if value not in (None, []))
    samples = f"{task.plan.samples} samples, " if task.plan.samples > 1 else ""
    result = task.result
    return (
        f"{task.protocol} prompt; {samples}{generation}; graded by rlfr_mm scorer {result.scorer} "
        f"v{result.scorer_version}, rule {result.rule}"
    )


# ---------------------------------------------------------------------------------------------------- files


def file_name(text: str) -> str:
    """The text with everything but letters, digits, `.`, `-` and `_` replaced, usable as a file name."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"


def write_text(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def write_json(path: Path, value: Any) -> Path:
    return write_text(path, json.dumps(value, indent=4, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    return write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]], quoting: int = csv.QUOTE_MINIMAL) -> Path:
    """A CSV whose columns are the keys of the lines, in order of appearance."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        columns = list(dict.fromkeys(key for line in lines for key in line))
        writer = csv.DictWriter(file, columns, restval="", quoting=quoting, lineterminator="\n")  # type: ignore[arg-type]
        writer.writeheader()
        writer.writerows(lines)
    return path


def read_text(path: Path) -> str:
    """The file's text, line ends as they are. Errors: ValueError naming a file that is no UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is no UTF-8 text: {error.reason} at byte {error.start}") from None


def read_json(path: Path) -> Any:
    text = read_text(path)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is no JSON file: {error}") from None


def read_jsonl(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """The objects of a JSON Lines file, each with its place. Errors: ValueError naming a line that is none."""
    found = []
    # Not splitlines(): U+2028 and its like may stand inside a string.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            where = f"{path}, line {number}"
            try:
                value = json.loads(line)
            except (ValueError, RecursionError) as error:
                raise ValueError(f"{where} is no JSON: {error}") from None
            if not isinstance(value, dict):
                raise ValueError(f"{where} is no JSON object")
            found.append((where, value))
    return found


def text_of(entry: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    """What stands in the first of the fields that the entry has, for `response_of`. Errors: ValueError."""
    for name in names:
        if name in entry:
            return entry[name]
    raise ValueError(f"{where} has no response: none of the fields {', '.join(names)}, only {', '.join(entry)}")


def response_of(
    where: str,
    text: Any,
    fields: Mapping[str, Any],
    doc_id: Any = None,
    sample_index: Any = 0,
    problem_id: Any = None,
) -> Response:
    """A Response of values as they stand in a file. Nothing (null, NaN) is an empty text, a number the text of it.

    Errors: ValueError naming the place and the value that is of another kind.
    """
    if text is None or text != text:
        text = ""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{where}: the response is no text but a {type(text).__name__}")
    for name, number in (("doc_id", 0 if doc_id is None else doc_id), ("sample_index", sample_index)):
        if type(number) is not int or number < 0:
            raise ValueError(f"{where}: {name}={number!r} must be a whole number from 0 on")
    if problem_id is not None and (isinstance(problem_id, bool) or not isinstance(problem_id, str | int)):
        raise ValueError(f"{where}: the problem's id {problem_id!r} must be a text")
    return Response(str(text), fields, doc_id, sample_index, None if problem_id is None else str(problem_id))
