"""Rows, manifest and results: what is written is what is read, and damage costs only what is damaged."""

import multiprocessing
import resource

import pytest

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import RunError, SampleRow
from rlfr_mm.eval.engine.run_files import Journal
from rlfr_mm.grading.verdict import Verdict


def make_row(index: int = 0, sample: int = 0, **changes) -> SampleRow:
    fields = {
        "task": "rlfr_gsm8k",
        "doc_id": index,
        "problem_id": str(index),
        "doc_hash": records.digest(f"doc {index}"),
        "sample_index": sample,
        "dataset": "openai/gsm8k",
        "generation_hash": records.digest({"temperature": 0.0}),
        "response": f"The answer is {index}.",
        "gold": str(index),
        "scorer": "gsm8k",
        "scorer_version": "1",
        "verdict": Verdict("correct", 1.0, str(index), "number"),
        "verdict_official": Verdict("correct", 1.0, str(index), "number"),
    }
    return SampleRow(**(fields | changes))


def test_rows_round_trip_with_every_kind_of_text(tmp_path):
    odd = ["", "line\nbreak\r\n", "\u2028 separator", "emoji \U0001f600", "null \x00", "x" * 100_000]
    rows = [make_row(i, response=text) for i, text in enumerate(odd)]
    journal = Journal(tmp_path / "samples.jsonl")
    journal.append_rows(rows[:2])
    journal.append_rows(rows[2:])
    journal.close()
    assert run_files.read_rows(tmp_path / "samples.jsonl") == (rows, [])


def test_lone_surrogates_are_written_as_escapes():
    row = make_row(response=records.clean_text("a\ud800b"))
    assert SampleRow.model_validate_json(row.model_dump_json()).response == "a\\ud800b"


def test_a_torn_last_line_costs_that_line_only(tmp_path):
    path = tmp_path / "samples.jsonl"
    run_files.write_rows(path, [make_row(0), make_row(1)])
    whole = path.read_bytes()
    for cut in (1, 40, len(whole) // 4):
        path.write_bytes(whole[:-cut])
        _, bad = run_files.read_rows(path)
        rows = run_files.repair_rows(path)
        # Cutting the newline alone leaves a line that is whole.
        assert [row.doc_id for row in rows] == ([0, 1] if cut == 1 else [0])
        assert len(bad) == (cut != 1)
        journal = Journal(path)
        journal.append_rows([make_row(2)])
        journal.close()
        assert [row.doc_id for row in run_files.read_rows(path)[0]] == [row.doc_id for row in rows] + [2]


def test_an_unreadable_line_is_named_and_moved_aside(tmp_path, capsys):
    path = tmp_path / "samples.jsonl"
    lines = [make_row(i).model_dump_json() for i in range(3)]
    path.write_bytes(b"\n".join([lines[0].encode(), b'{"task": "x"}', b"\xff\xfe garbage", lines[2].encode(), b""]))
    rows, bad = run_files.read_rows(path)
    assert [row.doc_id for row in rows] == [0, 2] and [line.number for line in bad] == [2, 3]
    assert run_files.repair_rows(path) == rows
    assert f"{path}, line 2 cannot be used" in capsys.readouterr().err
    aside = (tmp_path / "samples.bad.jsonl").read_text().splitlines()
    assert len(aside) == 2 and '"line": 2' in aside[0] and "garbage" in aside[1]
    assert run_files.repair_rows(path) == rows and run_files.read_rows(path) == (rows, [])


def test_a_repeated_key_counts_once(tmp_path):
    path = tmp_path / "samples.jsonl"
    run_files.write_rows(path, [make_row(0), make_row(0), make_row(0, sample=1)])
    assert [row.sample_index for row in run_files.read_rows(path)[0]] == [0, 1]


def _append_until_full(path, limit):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    journal = Journal(path)
    for i in range(100):
        try:
            journal.append_rows([make_row(2 * i), make_row(2 * i + 1)])
        except RunError as error:
            path.with_name("message").write_text(str(error))
            return


def test_a_full_disk_loses_nothing_and_says_so(tmp_path):
    path = tmp_path / "samples.jsonl"
    process = multiprocessing.get_context("fork").Process(target=_append_until_full, args=(path, 10_000))
    process.start()
    process.join(30)
    message = (tmp_path / "message").read_text()
    assert str(path) in message and "again" in message and "\n" not in message
    rows, bad = run_files.read_rows(path)
    assert bad == [] and [row.doc_id for row in rows] == list(range(len(rows)))
    # The batch that did not fit is absent as a whole.
    assert len(rows) > 4 and len(rows) % 2 == 0 and path.read_bytes().endswith(b"\n")


def _hold(run, held, release):
    with run_files.locked(run):
        held.set()
        release.wait(30)


def test_a_second_process_on_a_run_folder_is_refused_by_name(tmp_path):
    context = multiprocessing.get_context("fork")
    held, release = context.Event(), context.Event()
    process = context.Process(target=_hold, args=(tmp_path, held, release))
    process.start()
    assert held.wait(30)
    with pytest.raises(ValueError, match=f"in use by process {process.pid}"), run_files.locked(tmp_path):
        pass
    release.set()
    process.join(30)
    with run_files.locked(tmp_path):
        pass


def test_a_folder_that_is_no_run_is_named(tmp_path):
    with pytest.raises(RunError, match="not a run folder"):
        run_files.read_manifest(tmp_path)
