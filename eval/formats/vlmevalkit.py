"""VLMEvalKit: predictions as its .xlsx, its score tables, and the JSON of the OpenVLM leaderboard.

Columns and tables follow `vlmeval/dataset/utils/<benchmark>.py` of the kit. Where the kit puts the name of its judge
into a file name, we put `rlfr-<rule>`. A sheet holds only text; the column `prediction` is the response.
"""

import csv
import json
import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

from openpyxl import Workbook, load_workbook
from openpyxl.cell import WriteOnlyCell
from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

from rlfr_mm.eval.engine.records import SampleRow
from rlfr_mm.eval.formats.base import (
    EvaluatedRun,
    EvaluatedTask,
    Format,
    Response,
    file_name,
    of_benchmark,
    percent,
    read_json,
    response_of,
    text_of,
    write_cells,
    write_csv,
    write_json,
)
from rlfr_mm.eval.formats.boards import VISULOGIC_TAGS, wemath_scores
from rlfr_mm.tasks.spec import TaskSpec

CELL_LIMIT = 32_767  # characters in a cell of an .xlsx
_NOT_XML = re.compile("[\r\ufffe\uffff]")  # XML reads a carriage return as a newline, and has no place for the others

# Columns that identify the problem, with their names in the dataset. Other columns hold lists as text.
IDENTIFYING = {name: name for name in ("question", "answer", "pid", "id", "ID", "key", "sample_index")}
IDENTIFYING |= {"qid": "id", "varid": "variant"}

Line = dict[str, Any]


@dataclass(frozen=True)
class Kit:
    """The names that the kit uses for the dataset and the columns of a benchmark, and its score table."""

    dataset: Callable[[TaskSpec], str]
    table: Callable[[EvaluatedTask], list[Line]]
    columns: Callable[[SampleRow], Line] = lambda row: {}  # columns that differ from the fields of the record
    score_suffix: str = "_score"
    metric: str = "accuracy"  # shown by the leaderboard of the kit


def _hits(task: EvaluatedTask, head: str, *categories: str) -> list[Line]:
    """Total, hits and accuracy in percent, overall and by category."""
    groups = [("Overall", task.counts()[()])]
    for category in categories:
        groups += [(values[0], found) for values, found in task.counts(category).items()]
    return [
        {head: name, "tot": total, "hit": correct, "acc": 100 * correct / total} for name, (correct, total) in groups
    ]


def _prefetched(lines: list[Line], head: str) -> list[Line]:
    """The lines with the columns for answers that needed no judge model, which are all of them."""
    return [
        {head: line[head], "tot": line["tot"], "prefetch": line["tot"], "hit": line["hit"]}
        | {"prefetch_rate": 100.0, "acc": line["acc"]}
        for line in lines
    ]


def _mathvista(row: SampleRow) -> Line:
    metadata = row.doc["metadata"]
    option = ""
    if row.choices and row.gold in row.choices:
        option = chr(ord("A") + row.choices.index(str(row.gold)))
    return {
        "question": row.doc["query"],
        "choices": str(list(row.choices or [])),
        "answer_option": option,
        "skills": str(metadata["skills"]),
        **{key: metadata[key] for key in ("task", "category", "context", "grade", "language", "source")},
    }


def _mathverse_table(task: EvaluatedTask) -> list[Line]:
    """Accuracy in percent, overall and per problem version, with subjects and subfields as columns."""
    table = []
    for version, (correct, total) in (task.counts() | task.counts("version")).items():
        line: Line = {"split": version[0] if version else "Overall", "Overall": 100 * correct / total}
        for category in ("subject", "subfield"):
            found = task.counts(*(["version"] if version else []), category)
            line |= {key[-1]: 100 * hit / tot for key, (hit, tot) in found.items() if key[:-1] == version}
        table.append(line)
    return table


def _dynamath_table(task: EvaluatedTask) -> list[Line]:
    """Average and worst case as fractions. In the worst case a seed counts only if all its variants are correct."""
    average: dict[str, list[bool]] = {}
    worst: dict[str, list[bool]] = {}
    seeds: dict[str, list[SampleRow]] = {}
    for row in task.rows:
        seeds.setdefault(row.categories["seed"][0], []).append(row)
    for rows in seeds.values():
        right = [task.verdict(row).correct for row in rows]
        names = ("Overall", f"Subject-{rows[0].categories['subject'][0]}", f"Level-{rows[0].categories['level'][0]}")
        for name in names:
            average.setdefault(name, []).extend(right)
            worst.setdefault(name, []).append(all(right))
    return [
        {"Setting": setting} | {name: sum(found) / len(found) for name, found in groups.items()}
        for setting, groups in (("Average", average), ("Worst Case", worst))
    ]


def _visulogic_table(task: EvaluatedTask) -> list[Line]:
    lines = {line["category"]: line for line in _hits(task, "category", "category")}
    return [lines[name] for name in ("Overall", *VISULOGIC_TAGS) if name in lines]


def _mathverse_dataset(spec: TaskSpec) -> str:
    version = spec.name.removesuffix("_official").removeprefix("rlfr_mathverse_testmini").strip("_")
    return "_".join(["MathVerse_MINI", *(part.title() for part in version.split("_") if part)])


KITS: dict[str, Kit] = {
    "MathVista": Kit(
        lambda spec: "MathVista_MINI",
        lambda task: _prefetched(_hits(task, "Task&Skill", "task", "skill"), "Task&Skill"),
        _mathvista,
    ),
    "MathVision": Kit(
        lambda spec: "MathVision_MINI" if spec.splits == ("testmini",) else "MathVision",
        lambda task: _prefetched(_hits(task, "Subject", "subject"), "Subject"),
        lambda row: {"category": row.doc["subject"], "choices": str(list(row.doc["options"]))},
    ),
    "MathVerse": Kit(_mathverse_dataset, _mathverse_table, lambda row: {"metadata": json.dumps(row.doc["metadata"])}),
    "We-Math": Kit(lambda spec: "WeMath", lambda task: [wemath_scores(task)], metric="strict"),
    "LogicVista": Kit(
        lambda spec: "LogicVista",
        lambda task: _hits(task, "Task&Skill", "skill"),
        lambda row: {"skill": ", ".join(row.doc["skill"])},
    ),
    "VisuLogic": Kit(
        lambda spec: "VisuLogic",
        _visulogic_table,
        lambda row: {"category": row.doc["tag"], "answer": row.doc["label"]},
        score_suffix="_acc",
    ),
    "DynaMath": Kit(
        lambda spec: "DynaMath",
        _dynamath_table,
        lambda row: {"qid": row.doc["id"], "varid": row.doc["variant"], "answer": row.doc["ground_truth"]},
    ),
}


def write(run: EvaluatedRun, out: Path) -> list[Path]:
    """Per task `<model>/T<date>_G<commit>/<model>_<dataset>.xlsx`, a copy of it with verdicts, and the score table."""
    folder = out / run.file_model
    if run.started:
        commit = (run.manifest.sessions[-1].git_commit or "unknown")[:8]
        folder /= file_name(f"T{run.started[:10].replace('-', '')}_G{commit}")
    written = []
    for dataset, task in datasets(run).items():
        kit, stem = KITS[task.spec.benchmark], f"{run.file_model}_{dataset}"
        judge = f"_rlfr-{task.result.rule}"
        lines = [
            {"index": index, **task.record(row), **kit.columns(row), "prediction": row.response, **task.marks}
            for index, row in enumerate(task.rows)
        ]
        verdicts = [task.verdict(row) for row in task.rows]
        judged = [
            line | {"res": one.extracted or "", "log": f"{one.status}: {one.method}", "hit": int(one.correct)}
            for line, one in zip(lines, verdicts, strict=True)
        ]
        table = [line | task.marks for line in kit.table(task)]
        written += [
            write_sheet(folder / f"{stem}.xlsx", lines),
            write_sheet(folder / f"{stem}{judge}.xlsx", judged),
            write_csv(folder / f"{stem}{judge}{kit.score_suffix}.csv", table),
        ]
    return written


def datasets(run: EvaluatedRun) -> dict[str, EvaluatedTask]:
    """The tasks by the name of their dataset in the kit. ValueError if two tasks have the same name."""
    found: dict[str, EvaluatedTask] = {}
    for task in run.tasks:
        name = KITS[task.spec.benchmark].dataset(task.spec)
        if name in found:
            both = f"{found[name].spec.name} and {task.spec.name}"
            raise ValueError(f"{both} are both {name} in VLMEvalKit: choose one with --tasks")
        found[name] = task
    return found


def write_sheet(path: Path, lines: list[Line]) -> Path:
    """Write an .xlsx; or a .tsv, which the kit reads as well, if a text cannot be a cell of an .xlsx.

    The other one of an earlier export is removed, since the kit might read it.
    """
    columns = list(dict.fromkeys(key for line in lines for key in line))
    cells = [[_cell(line.get(column)) for column in columns] for line in lines]
    texts = [cell for line in cells for cell in line if isinstance(cell, str)]
    if any(len(text) > CELL_LIMIT or ILLEGAL_CHARACTERS_RE.search(text) or _NOT_XML.search(text) for text in texts):
        path.unlink(missing_ok=True)
        return write_cells(path.with_suffix(".tsv"), [columns, *cells], delimiter="\t")
    path.with_suffix(".tsv").unlink(missing_ok=True)
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(columns)
    for line in cells:
        row = [WriteOnlyCell(sheet, value) for value in line]
        for cell, value in zip(row, line, strict=True):
            if isinstance(value, str):
                cell.data_type = "s"  # otherwise a response that begins with "=" would be a formula
        sheet.append(row)
    path.parent.mkdir(parents=True, exist_ok=True)
    book.save(path)
    return path


def _cell(value: Any) -> str | int | float | None:
    """Numbers unchanged, everything else as text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    return value if isinstance(value, str) else str(value)


def read(path: Path, spec: TaskSpec) -> list[Response]:
    """The predictions in an .xlsx, .tsv or .json of the kit, in their order, with the fields that identify problems."""
    found = []
    for number, line in enumerate(table_lines(path), start=1):
        where = f"{path}, row {number}"
        fields = {name: line[column] for column, name in IDENTIFYING.items() if line.get(column) is not None}
        if "variant" in fields:
            if not re.fullmatch(r"\d+(\.0)?", str(fields["variant"])):  # pandas writes 1.0 where a cell is missing
                raise ValueError(f"{where}: varid={fields['variant']!r} must be a whole number")
            fields["variant"] = int(float(fields["variant"]))
        found.append(response_of(where, text_of(line, ("prediction",), where), fields))
    return found


def table_lines(path: Path) -> list[Line]:
    """The rows of a table of the kit, .xlsx, .tsv or .json. ValueError if it is none."""
    readers = {".xlsx": _xlsx_lines, ".tsv": _tsv_lines, ".json": _json_lines}
    if path.suffix not in readers:
        raise ValueError(f"{path} is not a file of VLMEvalKit: it must end in .xlsx, .tsv or .json")
    lines = readers[path.suffix](path)
    if not lines or "index" not in lines[0]:
        raise ValueError(f"{path} has no column `index`")
    return lines


def _tsv_lines(path: Path) -> list[Line]:
    csv.field_size_limit(2**31 - 1)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns, *rows = [row for row in csv.reader(file, delimiter="\t", strict=True) if row] or [[]]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not a .tsv file in UTF-8: {error}") from None
    for number, row in enumerate(rows, start=1):
        if len(row) != len(columns):
            raise ValueError(f"{path}, row {number} has {len(row)} cells under {len(columns)} columns")
    _check_columns(path, columns)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _check_columns(path: Path, columns: list[str]) -> None:
    """ValueError naming a column that is read and that is there twice."""
    for name in ("index", "prediction", *IDENTIFYING):
        if columns.count(name) > 1:
            raise ValueError(f"{path} has the column `{name}` twice")


def _json_lines(path: Path) -> list[Line]:
    """A list of rows; or, as pandas writes it, an object of columns that are objects of cells by position."""
    lines = read_json(path)
    if isinstance(lines, dict) and all(isinstance(column, dict) for column in lines.values()):
        cells = list(next(iter(lines.values()), Line()))
        if any(column.keys() != set(cells) for column in lines.values()):
            raise ValueError(f"{path}: its columns do not have the same cells")
        lines = [{name: column[cell] for name, column in lines.items()} for cell in cells]
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path} is not a table: expected a list of rows, or columns of cells by position")
    return lines


def _xlsx_lines(path: Path) -> list[Line]:
    try:
        rows = iter(list(load_workbook(path, read_only=True).worksheets[0].iter_rows(values_only=True)))
    except Exception as error:  # of its zip file, its XML, or openpyxl, which raises all kinds on damaged files
        reason = " ".join(f"{error or type(error).__name__}".split())[:300]
        raise ValueError(f"{path} is not an .xlsx file: {reason}") from None
    columns = [str(name) for name in next(rows, ())]
    _check_columns(path, columns)
    # A row may leave out empty cells at its end.
    return [dict(zip_longest(columns, values)) for values in rows]


def write_openvlm(run: EvaluatedRun, out: Path) -> list[Path]:
    """OpenVLM.json with this model, in percent and in the structure of the leaderboard."""
    by_hand = dict.fromkeys(("Parameters", "Language Model", "Vision Model", "Org", "OpenSource"), "")
    info: Line = {"Method": [run.model, ""], **by_hand, "Verified": "No"}
    if run.started:
        info["Time"] = run.started[:10].replace("-", "/")
    entry: Line = {"META": info}
    for dataset, task in datasets(run).items():
        kit = KITS[task.spec.benchmark]
        lines = kit.table(task)
        scores: Line = {"Overall": percent(task.result.metrics[kit.metric])}
        if "acc" in lines[0]:
            scores |= {next(iter(line.values())): round(line["acc"], 2) for line in lines[1:]}
        entry[dataset.removesuffix("_MINI")] = scores | task.marks
    return [write_json(out / "OpenVLM.json", {"time": run.started, "results": {run.model: entry}})]


_KIT: Line = {"fits": of_benchmark(*KITS), "scope": f"{', '.join(KITS)} tasks", "leaderboard": True, "one_sample": True}

FORMATS = {"vlmevalkit": Format(write, read, **_KIT), "openvlm": Format(write_openvlm, **_KIT)}
