"""Published verdicts: sets of rows as JSON Lines with their manifest, and rows as items for the official scorer."""

import gzip
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from rlfr_mm.grading import Problem

Row = Mapping[str, Any]  # has benchmark, id, official_correct (a bool), and gold or group; texts are str or None

FLAGS_ONLY = "DynaMath"  # publishes only whether each response is correct


def read_sets(folder: Path) -> dict[str, list[Row]]:
    """The rows of every `*.jsonl` and `*.jsonl.gz` in the folder, by the name of the set.

    Raises:
        ValueError: the folder has no such file, or a line is not a row; the message names the file and the line.
    """
    sets: dict[str, list[Row]] = {}
    for path in sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")]):
        rows = sets.setdefault(path.name.split(".jsonl")[0], [])
        open_text = gzip.open if path.suffix == ".gz" else open
        try:
            with open_text(path, "rt", encoding="utf-8") as lines:
                for number, line in enumerate(lines, start=1):
                    rows.append(_checked(json.loads(line), f"{path}, line {number}"))
        except (json.JSONDecodeError, OSError, EOFError, UnicodeDecodeError) as problem:
            raise ValueError(f"{path}, after line {len(rows)}: not JSON Lines ({problem})") from problem
    if not sets:
        raise ValueError(f"no *.jsonl or *.jsonl.gz files in {folder}: give a folder of published verdicts")
    return sets


def read_manifest(path: Path) -> dict[str, Mapping[str, Any]]:
    """The entries of the manifest by set; empty if there is no such file. ValueError if it has another structure."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))["sets"] if path.is_file() else []
        return {entry["set"]: entry for entry in entries}
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f'{path}: needs {{"sets": [{{"set": NAME, ...}}, ...]}} ({problem!r})') from None


_TEXTS = ("gold", "gold_value", "response", "extraction", "prediction", "question", "group")


def _checked(row: Any, where: str) -> Row:
    """The row with numbers in text fields as text. ValueError naming the place if a field is missing or unusable."""
    known = set(row) if isinstance(row, dict) else set()
    needed = ["benchmark", "id", "official_correct"]
    needed += ["group" if known and str(row.get("benchmark")).startswith(FLAGS_ONLY) else "gold"]
    missing = [name for name in needed if name not in known or (row[name] is None and name != "benchmark")]
    if missing:
        raise ValueError(f"{where}: a row needs the field {missing[0]!r}")
    row = dict(row)
    if row["official_correct"] not in (True, False):
        raise ValueError(f"{where}: official_correct must be true or false, not {row['official_correct']!r}")
    for name in _TEXTS:
        if isinstance(row.get(name), int | float):
            row[name] = str(row[name])
    for name in ("gold", "response"):
        if not isinstance(row.get(name), str | None):
            raise ValueError(f"{where}: {name} must be text, not {row[name]!r}")
    if not isinstance(row.get("choices"), list | None):
        raise ValueError(f"{where}: choices must be a list, not {row['choices']!r}")
    for part in _precisions(row.get("precision")):
        try:
            float(part or 0)
        except (TypeError, ValueError):
            raise ValueError(f"{where}: precision must be a number, not {row['precision']!r}") from None
    return row


def _precisions(precision: Any) -> list[Any]:
    if isinstance(precision, str):
        return precision.split(",")
    return precision if isinstance(precision, list) else [precision]


def problem_of(row: Row, scorer: str, whole_numbers_only: bool = False) -> Problem:
    """The problem of a row, in the form that the official scorer reads."""
    choices = None if row.get("choices") is None else tuple(map(str, row["choices"]))
    golds = [str(row["gold"])]
    if scorer == "mathvision":  # both the letter of an option and its text are right answers
        golds, choices = [gold for gold in (*golds, row.get("gold_value")) if gold], None
    meta = {name: row.get(name) for name in ("question_type", "answer_type", "precision", "unit", "question")}
    meta["question"] = meta["question"] or ""
    if scorer == "mathvista":
        meta["whole_numbers_only"] = whole_numbers_only
    return Problem(tuple(golds), scorer, choices, meta, str(row["id"]))


def older_integer_rule(rows: Iterable[Row]) -> bool:
    """Whether these MathVista predictions were written by the older of the benchmark's two rules for integers.

    The older rule does not accept a text like "7.5" as an integer (prediction null); the current one makes it "7".
    """
    for row in rows:
        if row.get("answer_type") == "integer" and row.get("question_type") != "multi_choice":
            extraction = str(row.get("extraction") or "")
            if extraction.count(".") == 1 and extraction.replace(".", "").removeprefix("-").isdecimal():
                return row.get("prediction") is None
    return False
