"""What a file format is made of: a writer of evaluated tasks, and a reader of responses if its files hold them."""

import csv
import io
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlfr_mm import files
from rlfr_mm.eval.engine.records import BenchmarkResult, Manifest, SampleRow, TaskPlan, clean_text
from rlfr_mm.grading import Verdict
from rlfr_mm.tasks.spec import TaskSpec


@dataclass(frozen=True)
class EvaluatedTask:
    """One task of a run with its rows and the result computed from them."""

    spec: TaskSpec
    plan: TaskPlan
    rows: Sequence[SampleRow]
    result: BenchmarkResult

    def verdict(self, row: SampleRow) -> Verdict:
        """The verdict by the rule of the result."""
        return row.judged(self.result.rule)

    @property
    def protocol(self) -> str:
        """Whose prompt was answered; "unknown" for imported rows."""
        return self.result.protocol if self.rows[0].prompt is not None else "unknown"

    @property
    def note(self) -> str | None:
        """Why the score is not that of the benchmark; None for a whole, unchanged benchmark."""
        found = []
        if self.result.partial:
            missing = f", {self.result.missing} responses missing" if self.result.missing else ""
            found.append(f"partial: {self.result.problems} of {self.result.problems_expected} problems{missing}")
        if self.result.changed_data:
            found.append("changed data")
        return "; ".join(found) or None

    @property
    def marks(self) -> dict[str, str]:
        """The note as a field that is added to every record in a file."""
        return {"partial": self.note} if self.note else {}

    def record(self, row: SampleRow) -> dict[str, Any]:
        """The dataset record of a row without its image, which rows do not hold."""
        return {key: value for key, value in row.doc.items() if key != self.spec.image}

    def counts(self, *fields: str) -> dict[tuple[str, ...], tuple[int, int]]:
        """(correct, total) rows per combination of values of the category fields; the key `()` counts all rows."""
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
    """The input of a writer, which says nothing that is not in here."""

    manifest: Manifest
    tasks: Sequence[EvaluatedTask]

    @property
    def model(self) -> str:
        return self.manifest.model.name

    @property
    def file_model(self) -> str:
        """The name of the model as a part of a path, without the organisation before its slash."""
        return file_name(self.model.rstrip("/").rpartition("/")[2])

    @property
    def started(self) -> str | None:
        """When the run was last started, UTC in ISO 8601; None for imported rows."""
        return self.manifest.sessions[-1].started if self.manifest.sessions else None


@dataclass(frozen=True)
class Response:
    """One response in the file of another harness, with whatever tells which problem it answers."""

    text: str
    fields: Mapping[str, Any]  # the fields of the dataset record that the file has
    doc_id: int | None = None  # position in the dataset split
    sample_index: int = 0
    problem_id: str | None = None


@dataclass(frozen=True)
class Format:
    """One format. Writers return the files written; writers and readers raise ValueError naming what is wrong."""

    write: Callable[[EvaluatedRun, Path], list[Path]] | None
    read: Callable[[Path, TaskSpec], list[Response]] | None = None
    leaderboard: bool = False  # read as the score of a whole benchmark, so a slice is refused
    fits: Callable[[TaskSpec], bool] = lambda spec: True
    scope: str = "all tasks"  # what `fits` accepts, in words
    one_sample: bool = False  # holds only one response per problem


def of_benchmark(*names: str) -> Callable[[TaskSpec], bool]:
    """The `fits` of a format that belongs to these benchmarks."""
    return lambda spec: spec.benchmark in names


# ---------------------------------------------------------------------------------------------------- numbers

# These metrics are counts; all others are fractions of 1.
COUNTS = frozenset(("problems", "responses", "no_answer", "unscored", "groups", "incomplete_groups"))


def scores(result: BenchmarkResult) -> dict[str, float]:
    """The metrics that are scores, without counts and standard errors; the headline comes first."""
    names = [result.headline, *(name for name in result.metrics if name != result.headline)]
    return {name: result.metrics[name] for name in names if name not in COUNTS and not name.endswith("_stderr")}


def percent(fraction: float, digits: int = 2) -> float:
    return round(100 * fraction, digits)


def settings(task: EvaluatedTask) -> str:
    """Prompt, decoding and grader of a score in one line."""
    generation = ", ".join(f"{key} {value}" for key, value in task.plan.generation.items() if value not in (None, []))
    samples = f"{task.plan.samples} samples, " if task.plan.samples > 1 else ""
    result = task.result
    return (
        f"{task.protocol} prompt; {samples}{generation}; graded by rlfr_mm scorer {result.scorer} "
        f"v{result.scorer_version}, rule {result.rule}"
    )


# ---------------------------------------------------------------------------------------------------- files


def file_name(text: str) -> str:
    """The text as a file name: everything but letters, digits, `.`, `-` and `_` is replaced."""
    return re.sub(r"[^\w.-]+", "_", text).strip("_.") or "model"


def write_text(path: Path, text: str) -> Path:
    """Write a file whole and return its path."""
    files.write_whole(path, text)
    return path


def write_json(path: Path, value: Any) -> Path:
    return write_text(path, json.dumps(value, indent=4, ensure_ascii=False) + "\n")


def write_jsonl(path: Path, lines: Iterable[Mapping[str, Any]]) -> Path:
    return write_text(path, "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))


def write_csv(path: Path, lines: Sequence[Mapping[str, Any]]) -> Path:
    """Write a table for spreadsheets whose columns are the keys of the lines, in order of appearance."""
    columns = list(dict.fromkeys(key for line in lines for key in line))
    rows = [columns, *([line.get(column, "") for column in columns] for line in lines)]
    return write_cells(path, [[plain_cell(cell) for cell in row] for row in rows])


def write_cells(path: Path, rows: Iterable[Sequence[Any]], delimiter: str = ",") -> Path:
    """Write a CSV file of these rows, all cells quoted: csv leaves a lone carriage return bare before Python 3.13."""
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=delimiter, quoting=csv.QUOTE_ALL, lineterminator="\n").writerows(rows)
    return write_text(path, text.getvalue())


_FORMULA = re.compile(r"'*[=+\-@\t\r\n]")
_NUMBER = re.compile(r"[+-]\d+(\.\d*)?([eE][+-]?\d+)?")


def plain_cell(value: Any) -> Any:
    """The value of a cell; text that a spreadsheet would run as a formula gets an apostrophe before it.

    >>> plain_cell("=HYPERLINK(1)"), plain_cell("-5"), plain_cell("x = 1")
    ("'=HYPERLINK(1)", '-5', 'x = 1')
    """
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return value


DEEPEST = 100  # levels of a value that is read: the rows of a run cannot hold 200


def read_json(path: Path) -> Any:
    """The value of a JSON file, as `parsed` gives it."""
    return parsed(files.read_bytes(path), str(path))


def parsed(text: str | bytes, where: str) -> Any:
    """The value of a text of another project in JSON, with lone surrogates written as escapes, as in responses.

    ValueError naming the place if it is not JSON, is nested too deep, or has two values under one key of an object.
    """
    try:
        return _clean(json.loads(text, object_pairs_hook=_object))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{where} is not valid JSON: {error}") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        key = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
        raise ValueError(f"an object has the key {key!r:.80} twice")
    return found


def _clean(value: Any, levels: int = DEEPEST) -> Any:
    if isinstance(value, str):
        return clean_text(value)
    if isinstance(value, dict | list) and not levels:
        raise ValueError(f"it is more than {DEEPEST} levels deep")
    if isinstance(value, dict):
        return {clean_text(key): _clean(inner, levels - 1) for key, inner in value.items()}
    return [_clean(inner, levels - 1) for inner in value] if isinstance(value, list) else value


def read_entries(path: Path, expected: str) -> dict[str, dict[str, Any]]:
    """The objects by id in a JSON file. ValueError with what was expected if the file holds anything else."""
    entries = read_json(path)
    if not isinstance(entries, dict) or not all(isinstance(entry, dict) for entry in entries.values()):
        raise ValueError(f"{path}: expected {expected}")
    return entries


def read_jsonl(path: Path) -> list[tuple[str, dict[str, Any]]]:
    """(place, object) per line of a JSON Lines file. ValueError naming a line that is not a JSON object."""
    found = []
    for number, line in files.read_lines(path):
        where = f"{path}, line {number}"
        value = parsed(line, where)
        if not isinstance(value, dict):
            raise ValueError(f"{where} is not a JSON object")
        found.append((where, value))
    return found


def text_of(entry: Mapping[str, Any], names: Sequence[str], where: str) -> Any:
    """The value of the first of these fields that the entry has, for `response_of`. ValueError if it has none."""
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
    """A Response from the values in a file. Null and NaN become an empty text, a number becomes its text.

    ValueError naming the place and a value of another type.
    """
    if text is None or text != text:
        text = ""
    if isinstance(text, bool) or not isinstance(text, str | int | float):
        raise ValueError(f"{where}: the response is not text but a {type(text).__name__}")
    for name, number in (("doc_id", 0 if doc_id is None else doc_id), ("sample_index", sample_index)):
        if type(number) is not int or number < 0:
            raise ValueError(f"{where}: {name}={number!r} must be a whole number >= 0")
    if problem_id is not None and (isinstance(problem_id, bool) or not isinstance(problem_id, str | int)):
        raise ValueError(f"{where}: the id of the problem, {problem_id!r}, must be text")
    return Response(str(text), fields, doc_id, sample_index, None if problem_id is None else str(problem_id))
