"""VLMEvalKit: predictions as its .xlsx, its score tables, and the OpenVLM leaderboard's JSON.

Columns and tables follow the kit's `vlmeval/dataset/utils/<benchmark>.py`. Its judge's part of a file name says
`rlfr-<rule>` here, as the verdicts are ours. A sheet holds text only, the response being the column `prediction`.
"""

import csv
import io
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import zip_longest
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
    read_json,
    read_text,
    response_of,
    text_of,
    write_csv,
    write_json,
)
from rlfr_mm.eval.formats.boards import VISULOGIC_TAGS, wemath_scores
from rlfr_mm.tasks.spec import TaskSpec

CELL_LIMIT = 32_767  # characters that a cell of an .xlsx holds

# Columns that say which problem it is, and the record's names of them. The others are text where records have lists.
IDENTIFYING = {name: name for name in ("question", "answer", "pid", "id", "ID", "key", "sample_index")}
IDENTIFYING |= {"qid": "id", "varid": "variant"}

Line = dict[str, Any]


@dataclass(frozen=True)
class Kit:
    """How the kit names a benchmark's dataset and columns, and what its score table says."""

    dataset: Callable[[TaskSpec], str]
    table: Callable[[EvaluatedTask], list[Line]]
    columns: Callable[[SampleRow], Line] = lambda row: {}  # those that differ from the record's fields
    score_suffix: str = "_score"
    metric: str = "accuracy"  # what the kit's leaderboard shows


def _hits(task: EvaluatedTask, head: str, *categories: str) -> list[Line]:
    """Overall and the categories: total, hits, accuracy in percent."""
    groups = [("Overall", task.counts()[()])]
    for category in categories:
        groups += [(values[0], found) for values, found in task.counts(category).items()]
    return [
        {head: name, "tot": total, "hit": correct, "acc": 100 * correct / total} for name, (correct, total) in groups
    ]


def _prefetched(lines: list[Line], head: str) -> list[Line]:
    """With the columns for answers that needed no judge model: none did."""
    return [
        {
            head: line[head],
            "tot": line["tot"],
            "prefetch": line["tot"],
            "hit": line["hit"],
            "prefetch_rate": 100.0,
            "acc": line["acc"],
        }
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
    """Overall and each problem version: accuracy, and that of the subjects and subfields, in percent."""
    table = []
    for version, (correct, total) in (task.counts() | task.counts("version")).items():
        line: Line = {"split": version[0] if version else "Overall", "Overall": 100 * correct / total}
        for category in ("subject", "subfield"):
            found = task.counts(*(["version"] if version else []), category)
            line |= {key[-1]: 100 * hit / tot for key, (hit, tot) in found.items() if key[:-1] == version}
        table.append(line)
    return table


def _dynamath_table(task: EvaluatedTask) -> list[Line]:
    """Average and worst case as fractions; a seed counts in the worst case if all its variants are right."""
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
    """`<model>/T<date>_G<commit>/<model>_<dataset>.xlsx`, the same with verdicts, and the score table, a task each."""
    folder = out / run.file_model
    if run.started:
        commit = (run.manifest.sessions[-1].git_commit or "unknown")[:8]
        folder /= f"T{run.started[:10].replace('-', '')}_G{commit}"
    written = []
    for dataset, task in datasets(run).items():
        kit, stem = KITS[task.spec.benchmark], f"{run.file_model}_{dataset}"
        judge = f"_rlfr-{task.result.rule}"
        lines = [
            {"index": index, **task.record(row), **kit.columns(row), "prediction": row.response, **task.marks}
            for index, row in enumerate(task.rows)
        ]
        judged = [
            line
            | {
                "res": task.verdict(row).extracted or "",
                "log": f"{task.verdict(row).status}: {task.verdict(row).method}",
                "hit": int(task.verdict(row).correct),
            }
            for line, row in zip(lines, task.rows, strict=True)
        ]
        table = [line | task.marks for line in kit.table(task)]
        written += [
            write_sheet(folder / f"{stem}.xlsx", lines),
            write_sheet(folder / f"{stem}{judge}.xlsx", judged),
            write_csv(folder / f"{stem}{judge}{kit.score_suffix}.csv", table, csv.QUOTE_ALL),
        ]
    return written


def datasets(run: EvaluatedRun) -> dict[str, EvaluatedTask]:
    """The tasks by the kit's name of their dataset. Errors: ValueError where two tasks have the same."""
    found: dict[str, EvaluatedTask] = {}
    for task in run.tasks:
        name = KITS[task.spec.benchmark].dataset(task.spec)
        if name in found:
            both = f"{found[name].spec.name} and {task.spec.name}"
            raise ValueError(f"{both} are both {name} in VLMEvalKit: choose one with --tasks")
        found[name] = task
    return found


def write_sheet(path: Path, lines: list[Line]) -> Path:
    """An .xlsx; or a .tsv of that name, which the kit reads as well, where a text is no valid cell of an .xlsx."""
    from openpyxl import Workbook
    from openpyxl.cell import WriteOnlyCell
    from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE

    columns = list(dict.fromkeys(key for line in lines for key in line))
    cells = [[_cell(line.get(column)) for column in columns] for line in lines]
    path.parent.mkdir(parents=True, exist_ok=True)
    texts = [cell for line in cells for cell in line if isinstance(cell, str)]
    if any(len(text) > CELL_LIMIT or ILLEGAL_CHARACTERS_RE.search(text) or "\r" in text for text in texts):
        path = path.with_suffix(".tsv")
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, delimiter="\t", lineterminator="\n").writerows([columns, *cells])
        return path
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    sheet.append(columns)
    for line in cells:
        row = []
        for value in line:
            cell = WriteOnlyCell(sheet, value)
            if isinstance(value, str):
                cell.data_type = "s"  # a response that begins with "=" is no formula
            row.append(cell)
        sheet.append(row)
    book.save(path)
    return path


def _cell(value: Any) -> str | int | float | None:
    """Numbers as they are, everything else as text."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value if not isinstance(value, float) or math.isfinite(value) else str(value)
    return value if isinstance(value, str) else str(value)


def read(path: Path, spec: TaskSpec) -> list[Response]:
    """The predictions of a file of the kit, .xlsx, .tsv or .json, in its order, with what identifies the problems."""
    found = []
    for number, line in enumerate(_lines(path), start=1):
        where = f"{path}, row {number}"
        fields = {name: line[column] for column, name in IDENTIFYING.items() if line.get(column) is not None}
        if "variant" in fields:
            try:
                fields["variant"] = int(fields["variant"])
            except (TypeError, ValueError):
                raise ValueError(f"{where}: varid={fields['variant']!r} must be a whole number") from None
        found.append(response_of(where, text_of(line, ("prediction",), where), fields))
    return found


def _lines(path: Path) -> list[Line]:
    if path.suffix == ".xlsx":
        lines = _xlsx_lines(path)
    elif path.suffix == ".tsv":
        csv.field_size_limit(2**31 - 1)
        try:
            lines = list(csv.DictReader(io.StringIO(read_text(path), newline=""), delimiter="\t"))
        except csv.Error as error:
            raise ValueError(f"{path} is no .tsv file: {error}") from None
    elif path.suffix == ".json":
        lines = _json_lines(path)
    else:
        raise ValueError(f"{path} is no file of VLMEvalKit: it must end in .xlsx, .tsv or .json")
    if not lines or "index" not in lines[0]:
        raise ValueError(f"{path} has no column `index`")
    return lines


def _json_lines(path: Path) -> list[Line]:
    """A list of rows; or as pandas writes it, an object of columns, each an object of cells by position."""
    lines = read_json(path)
    if isinstance(lines, dict) and all(isinstance(column, dict) for column in lines.values()):
        columns = list(lines.values())
        if any(column.keys() != columns[0].keys() for column in columns):
            raise ValueError(f"{path}: its columns are not of one length")
        lines = [dict(zip(lines, cells, strict=True)) for cells in zip(*(c.values() for c in columns), strict=True)]
    if not isinstance(lines, list) or not all(isinstance(line, dict) for line in lines):
        raise ValueError(f"{path} is no table: expected a list of rows, or columns of cells by position")
    return lines


def _xlsx_lines(path: Path) -> list[Line]:
    import zipfile

    from openpyxl import load_workbook

    try:
        sheet = load_workbook(path, read_only=True).worksheets[0]
    except (zipfile.BadZipFile, KeyError) as error:
        raise ValueError(f"{path} is no .xlsx file: {error}") from None
    rows = sheet.iter_rows(values_only=True)
    columns = [str(name) for name in next(rows, ())]
    # Cells that are empty at the end of a row may be left out.
    return [dict(zip_longest(columns, values)) for values in rows]


def write_openvlm(run: EvaluatedRun, out: Path) -> list[Path]:
    """OpenVLM.json with this model: the leaderboard's structure, percent, only what the run knows in META."""
    info: Line = {"Method": [run.model, ""], "Verified": "No"}
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


_FITS = of_benchmark(*KITS)
_SCOPE = f"{', '.join(KITS)} tasks"

FORMATS = {
    "vlmevalkit": Format(write, read, leaderboard=True, fits=_FITS, scope=_SCOPE, one_sample=True),
    "openvlm": Format(write_openvlm, leaderboard=True, fits=_FITS, scope=_SCOPE, one_sample=True),
}
