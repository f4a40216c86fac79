"""Whatever stands in the file of another harness or in a run folder, importing and exporting is one line at worst."""

import functools
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from openpyxl import Workbook

from rlfr_mm.eval.engine.exporting import export
from rlfr_mm.eval.engine.importing import import_file
from rlfr_mm.eval.engine.reporting import write_report
from rlfr_mm.eval.formats import FORMATS
from rlfr_mm.tasks import registry
from tests.eval.export_runs import BOARDS, DRAWN, SAMPLED, make_run
from tests.eval.export_runs import TEXT as TEXTS
from tests.faults.fuzzing import JSON, fuzz, one_line, scratch

READERS = sorted(name for name, one in FORMATS.items() if one.read is not None)
WRITERS = sorted(name for name, one in FORMATS.items() if one.write is not None)
TASKS = {name: found[0][0] for name, found in (BOARDS | TEXTS | DRAWN).items()}
NAMES = sorted({key for doc in TASKS.values() for key in doc} | {
    "index", "prediction", "response", "resps", "filtered_resps", "doc_id", "sample_id", "sample_index", "problem_id",
    "metadata", "output", "raw", "model_answer", "qid", "varid", "text", "extraction",
})  # fmt: skip
MATHVISTA = "rlfr_mathvista_testmini"
CELL = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False)
CELL |= st.text(st.characters(exclude_categories=["Cs", "Cc"], exclude_characters="\ufffe\uffff"), max_size=30)
ENTRY = st.dictionaries(st.sampled_from(NAMES), JSON, max_size=6)


pytestmark = pytest.mark.usefixtures("offline")


@st.composite
def entries(draw: st.DrawFn) -> tuple[str, list[dict[str, Any]]]:
    """A task, and objects that hold one of its records as a harness would write it, apart from a few fields."""
    task = draw(st.sampled_from(sorted(TASKS)))
    said = {"response": "1", "prediction": "1", "resps": [["1"]], "doc_id": 0, "index": 0, "model_answer": "1"}
    said |= {"sample_id": "1", "output": {"raw": ["1"]}}
    return task, [draw(st.just({}) | st.just(TASKS[task] | said)) | draw(ENTRY) for _ in range(draw(st.integers(1, 3)))]


def _import(reader: str, path: Path, task: str, folder: Path) -> Path | None:
    """The run that was made of a file; None if the file was refused in one line."""
    run = folder / "run"
    for old in sorted(run.rglob("*"), reverse=True):
        old.unlink() if old.is_file() else old.rmdir()
    try:
        import_file(reader, str(path), task, run, None)
    except (ValueError, OSError) as error:
        one_line(error)
        return None
    return run


@fuzz
@given(st.sampled_from(READERS), st.sampled_from([".json", ".jsonl", ".tsv", ".xlsx"]), st.binary(max_size=80))
@example("vlmevalkit", ".xlsx", b"PK\x05\x06" + bytes(18))
def test_any_bytes_are_the_file_of_a_harness_or_one_line(reader: str, suffix: str, data: bytes):
    folder = scratch()
    path = folder / f"fuzzed{suffix}"
    path.write_bytes(data)
    _import(reader, path, MATHVISTA, folder)


@fuzz
@given(st.sampled_from(READERS), entries(), st.sampled_from(["lines", "list", "by id", "columns", "tsv"]))
@example("jsonl", ("rlfr_visulogic", [TASKS["rlfr_visulogic"] | {"question": None, "response": "1"}]), "lines")
@example(
    "jsonl", ("rlfr_mathvista_testmini", [TASKS["rlfr_mathvista_testmini"] | {"pid": [], "response": "1"}]), "lines"
)
def test_any_entries_of_a_harness_become_a_run_that_can_be_shown_or_one_line(
    reader: str, drawn: tuple[str, list[dict[str, Any]]], layout: str
):
    folder, (task, found) = scratch(), drawn
    layouts = {
        "lines": (".jsonl", lambda: "\n".join(map(json.dumps, found))),
        "list": (".json", lambda: json.dumps(found)),
        "by id": (".json", lambda: json.dumps({str(i): entry for i, entry in enumerate(found)})),
        "columns": (".json", lambda: json.dumps({key: {"0": value} for key, value in found[0].items()})),
        "tsv": (".tsv", lambda: "\n".join("\t".join(map(str, row)) for row in (found[0], found[0].values()))),
    }
    suffix, text = layouts[layout]
    path = folder / f"fuzzed{suffix}"
    path.write_text(text(), encoding="utf-8", errors="surrogatepass")
    if (run := _import(reader, path, task, folder)) is not None:
        write_report([run], folder / "page.html")


@fuzz
@given(st.lists(st.lists(CELL, max_size=4), max_size=3))
def test_any_sheet_is_read_or_one_line(rows: list[list[Any]]):
    folder = scratch()
    book, path = Workbook(write_only=True), folder / "fuzzed.xlsx"
    sheet = book.create_sheet("Sheet1")
    for row in rows:
        sheet.append(row)
    book.save(path)
    _import("vlmevalkit", path, MATHVISTA, folder)


@fuzz
@given(st.data())
def test_a_damaged_sheet_is_one_line(data: st.DataObject):
    folder = scratch()
    book, path = Workbook(), folder / "fuzzed.xlsx"
    book.active.append(["index", "question", "prediction"])
    book.active.append([0, "How much?", "1"])
    book.save(path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    name = data.draw(st.sampled_from(sorted(parts)))
    at = data.draw(st.integers(0, len(parts[name]) - 1))
    change = data.draw(st.sampled_from(["removed", "cut", "changed"]))
    rest = b"" if change == "cut" else data.draw(st.binary(max_size=3)) + parts[name][at + 1 :]
    parts[name] = parts[name][:at] + rest
    with zipfile.ZipFile(path, "w") as archive:
        for part, content in parts.items():
            if part != name or change != "removed":
                archive.writestr(part, content)
    _import("vlmevalkit", path, MATHVISTA, folder)


def _written(run: Path, writer: str, out: Path) -> None:
    if writer == "report":
        write_report([run], out / "page.html")
    else:
        export(run, writer, out, allow_partial=True)


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """The paths of everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    return [path] * bool(path) + [place for key, one in inner for place in _places(one, (*path, key))]


@functools.cache
def whole_run() -> Path:
    return make_run(scratch() / "whole", BOARDS | TEXTS | SAMPLED | DRAWN)


@fuzz
@given(st.data(), JSON, st.sampled_from([*WRITERS, "report"]))
def test_a_run_with_any_field_changed_is_exported_or_one_line(data: st.DataObject, value: Any, writer: str):
    run = whole_run()
    path = data.draw(st.sampled_from(sorted(run.rglob("*.json*"))))
    whole = path.read_bytes()
    lines = [json.loads(whole)] if path.suffix == ".json" else list(map(json.loads, whole.splitlines()))
    number = data.draw(st.integers(0, len(lines) - 1))
    *parents, last = data.draw(st.sampled_from(_places(lines[number])))
    target = lines[number]
    for key in parents:
        target = target[key]
    if isinstance(target, dict) and data.draw(st.booleans()):
        del target[last]
    else:
        target[last] = value
    path.write_text("\n".join(json.dumps(line) for line in lines))
    out = scratch() / "exported"
    try:
        _written(run, writer, out)
    except ValueError as error:
        assert str(error)
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize(("field", "writer"), [("categories", "csv"), ("doc", "vlmevalkit")])
def test_rows_without_what_their_task_needs_are_named(field: str, writer: str, tmp_path: Path):
    folder = make_run(tmp_path / "run", {"rlfr_mathverse_testmini": BOARDS["rlfr_mathverse_testmini"]})
    path = folder / "rlfr_mathverse_testmini" / "samples.jsonl"
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text("".join(json.dumps(row | {field: {}}) + "\n" for row in rows))
    with pytest.raises(ValueError, match="a row lacks what its task needs") as error:
        _written(folder, writer, tmp_path)
    one_line(error.value)


def test_every_format_is_fuzzed_on_a_task_it_fits():
    tasks = [registry.task(name) for name in BOARDS | TEXTS | SAMPLED | DRAWN]
    assert all(any(FORMATS[name].fits(spec) for spec in tasks) for name in WRITERS)
