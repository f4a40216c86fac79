"""Another harness's responses become rows: matched to their problems, never misread."""

import json
import os
import shutil

import pytest

from rlfr_mm.eval import export, score
from rlfr_mm.eval.engine import importing, run_files
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.formats import FORMATS, Response
from rlfr_mm.tasks import registry
from tests.eval.commands import exit_status

GSM8K = registry.task("rlfr_gsm8k")


def imported(tmp_path, entries, task=GSM8K.name, data_root=None):
    """Exit status of `eval.score --from jsonl` of these objects, and the rows."""
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    run = tmp_path / "run"
    arguments = ["--from", "jsonl", str(file), "--task", task, "--output_dir", str(run)]
    status = exit_status(score.main, arguments + (["--data_root", str(data_root)] if data_root else []))
    return status, run_files.read_run(run)[task] if status != 2 else []


def test_responses_are_matched_to_the_records_of_the_mirror(shared, tmp_path):
    spec = registry.task("rlfr_math500")
    doc = registry.load(spec, shared / "hub")[7]
    answer = Response(f"so \\boxed{{{doc['answer']}}}", {"unique_id": doc["unique_id"]})
    importing.import_responses([answer], spec, "test", "model", tmp_path / "run", str(shared / "hub"))
    [row] = run_files.read_run(tmp_path / "run")[spec.name]
    assert (row.doc_id, row.gold, row.verdict.status) == (7, doc["answer"], "correct")
    assert row.doc["problem"] == doc["problem"]


def test_whole_records_carry_several_samples_of_a_problem(tmp_path):
    """All samples answer one record, whatever the file says about each of them."""
    entries = [
        {"question": f"{i} + {i}?", "answer": f"#### {2 * i}", "response": f"#### {i + sample}", "sample_index": sample}
        | {"extraction": str(i + sample)}
        for sample in range(2)
        for i in range(1, 3)
    ]
    status, rows = imported(tmp_path, entries)
    [result] = run_files.read_results(tmp_path / "run")
    assert status == 0 and (result.problems, result.samples, result.rows, result.missing) == (2, 2, 4, 0)
    right = {(row.doc_id, row.sample_index): row.verdict.correct for row in rows}
    assert right == {(0, 0): False, (0, 1): True, (1, 0): False, (1, 1): False}
    assert len({row.doc_hash for row in rows}) == 2
    assert all(row.doc.keys() == {"question", "answer"} for row in rows)


@pytest.mark.parametrize("source", ["mirror", "file"])
@pytest.mark.parametrize("changed", [False, True])
def test_other_records_than_the_registrys_do_not_reach_leaderboards(shared, tmp_path, capsys, source, changed):
    """The same number of records with other golds, in the mirror or in the file itself."""
    spec = registry.task("rlfr_math500")
    docs = registry.load(spec, shared / "hub").remove_columns(registry.TASK_COLUMN)
    if changed:
        docs = docs.map(lambda doc: doc | {"answer": "77"})
    mirror = tmp_path / "mirror" / spec.dataset
    mirror.mkdir(parents=True)
    docs.to_parquet(mirror / "test.parquet")
    entries = [{"doc_id": number} if source == "mirror" else doc for number, doc in enumerate(docs)]
    entries = [entry | {"response": f"\\boxed{{{doc['answer']}}}"} for entry, doc in zip(entries, docs, strict=True)]
    status, rows = imported(tmp_path, entries, spec.name, mirror.parent.parent if source == "mirror" else None)
    [result] = run_files.read_results(tmp_path / "run")
    assert status == 0 and len(rows) == 500 and (result.partial, result.changed_data) == (False, changed)
    assert ("the records have the hash" in capsys.readouterr().err) is changed
    plan = run_files.read_manifest(tmp_path / "run").tasks[spec.name]
    assert (plan.data_hash == spec.data_hash) is not changed
    arguments = [str(tmp_path / "run"), "--to", "hf-eval-results", "--out", str(tmp_path / "out")]
    assert exit_status(export.main, arguments) == exit_status(export.main, [*arguments, "--check"]) == 2 * changed
    assert ("not the whole benchmark (changed data)" in capsys.readouterr().err) is changed


def test_rows_whose_manifest_is_lost_and_foreign_folders_are_not_overwritten(tmp_path, capsys):
    entries = [{"question": "1 + 1?", "answer": "#### 2", "response": "2"}]
    _, rows = imported(tmp_path, entries)
    (tmp_path / "run" / run_files.MANIFEST).unlink()
    assert imported(tmp_path, entries)[0] == 2 and "already holds a run" in capsys.readouterr().err
    assert run_files.read_rows(tmp_path / "run" / GSM8K.name / run_files.SAMPLES) == (rows, [])
    (tmp_path / "run" / GSM8K.name / run_files.SAMPLES).rename(tmp_path / "run" / "notes.txt")
    assert imported(tmp_path, entries)[0] == 2 and "is not empty and is not a run folder" in capsys.readouterr().err


def test_problems_answered_twice_and_folders_with_a_run_are_refused(tmp_path):
    fields = {"question": "1 + 1?", "answer": "#### 2"}
    with pytest.raises(RunError, match="answered twice"):
        importing.import_responses([Response("2", fields, 0)] * 2, GSM8K, "test", "model", tmp_path / "a", None)
    importing.import_responses([Response("2", fields, 0)], GSM8K, "test", "model", tmp_path / "b", None)
    with pytest.raises(RunError, match="already holds a run"):
        importing.import_responses([Response("2", fields, 0)], GSM8K, "test", "model", tmp_path / "b", None)


def test_one_problem_answered_twice_is_no_two_problems(tmp_path, capsys):
    fields = {"id": "1", "problem": "q", "answer": "5"}
    status, _ = imported(tmp_path, [fields | {"response": "6"}, fields | {"response": "5"}], "rlfr_aime24")
    assert status == 2 and "problem 1 is answered twice with sample_index 0" in capsys.readouterr().err


def test_two_records_under_one_id_are_refused(tmp_path, capsys):
    entries = [
        {"id": "1", "problem": "q", "answer": answer, "response": "5", "sample_index": i}
        for i, answer in enumerate("56")
    ]
    status, _ = imported(tmp_path, entries, "rlfr_aime24")
    assert status == 2 and "different records for problem 1" in capsys.readouterr().err
    record = {"unique_id": "1", "problem": "q", "answer": "5", "level": 1}
    entries = [
        record | {"subject": name, "response": "5", "sample_index": i} for i, name in enumerate(("Algebra", "Sets"))
    ]
    status, _ = imported(tmp_path, entries, "rlfr_math500")
    assert status == 2 and "different records for problem 1" in capsys.readouterr().err


CONTRADICTIONS = [
    ({"doc_id": 1, "problem_id": "{0}"}, "its doc_id 1 is that of {1}, its problem_id '{0}' is that of {0}"),
    ({"doc_id": 1, "question": "{0}"}, "its doc_id 1 is that of {1}, its record is that of {0}"),
    ({"problem_id": "{1}", "question": "{0}"}, "its problem_id '{1}' is that of {1}, its record is that of {0}"),
    ({"doc_id": 1, "question": "Another?"}, "has the question of another problem of rlfr_gsm8k: its doc_id 1 is that"),
    ({"doc_id": 0, "problem_id": "unknown"}, "its problem_id 'unknown' is unknown"),
    ({"doc_id": 1319, "problem_id": "{0}"}, "its doc_id 1319 is unknown"),
]


@pytest.mark.parametrize(("fields", "told"), CONTRADICTIONS)
def test_ids_that_contradict_each_other_are_named(shared, tmp_path, capsys, fields, told):
    docs = registry.load(GSM8K, shared / "hub").select(range(2)).to_list()
    ids = [GSM8K.problem_id(doc) for doc in docs]
    texts = [doc["question"] for doc in docs] if "question" in fields else ids
    entry = {name: value.format(*texts) if name == "question" else value for name, value in fields.items()}
    entry |= {"problem_id": fields["problem_id"].format(*ids)} if "problem_id" in fields else {}
    good = {"doc_id": 1, "problem_id": ids[1], "question": docs[1]["question"], "response": "1"}
    status, _ = imported(tmp_path, [good, entry | {"response": "1"}], data_root=shared / "hub")
    message = capsys.readouterr().err
    assert status == 2 and message.count("\n") == 1
    assert "error: response 2" in message and told.format(*ids) in message


def test_a_whole_record_with_the_id_of_another_problem_is_refused(tmp_path, capsys):
    record = {"id": "1", "problem": "q", "answer": "5", "response": "5"}
    status, _ = imported(tmp_path, [record, record | {"id": "2", "problem_id": "3"}], "rlfr_aime24")
    assert status == 2 and "response 2 has the problem_id '3', but the record of problem 2" in capsys.readouterr().err
    assert imported(tmp_path, [record | {"problem_id": "1"}], "rlfr_aime24")[0] == 0


def test_mathverse_takes_several_samples_of_a_problem(shared, tmp_path):
    task = "rlfr_mathverse_testmini"
    doc = next(iter(registry.load(registry.task(task), shared / "hub").remove_columns(["image"])))
    for named in ({"problem_id": doc["sample_index"]}, {"doc_id": 0}):
        entries = [named | {"sample_index": n, "response": f"Answer: {text}"} for n, text in enumerate("AB")]
        shutil.rmtree(tmp_path / "run", ignore_errors=True)
        status, rows = imported(tmp_path, entries, task, shared / "hub")
        assert status == 0 and [(row.doc_id, row.sample_index) for row in rows] == [(0, 0), (0, 1)]
        assert [row.response for row in rows] == ["Answer: A", "Answer: B"]
    for named in ({}, {"problem_id": doc["sample_index"]}):  # a text is the id, as in the records
        shutil.rmtree(tmp_path / "run")
        entry = named | {"sample_index": doc["sample_index"], "response": "A"}
        status, [row] = imported(tmp_path, [entry], task, shared / "hub")
        assert (status, row.problem_id, row.sample_index) == (0, doc["sample_index"], 0)


@pytest.mark.parametrize("field", ["question", "answer", "note", "\ud800"])
def test_lone_surrogates_of_records_and_names_are_written_as_escapes(tmp_path, field):
    entry = {"question": "1 + 1?", "answer": "#### 2", "response": "\udfff 2", field: ["\ud800 #### 2"]}
    entry |= {field: entry[field][0]} if field in ("question", "answer") else {}
    status, [row] = imported(tmp_path, [entry])
    escaped = field.encode("utf-8", "backslashreplace").decode()
    assert status == 0 and (row.response, row.gold) == ("\\udfff 2", "2")
    assert json.dumps(row.doc[escaped]).count(r"\\ud800 #### 2") == 1
    shutil.rmtree(tmp_path / "run")
    (tmp_path / "answers.jsonl").rename(tmp_path / os.fsdecode(b"\xff.jsonl"))
    importing.import_file("jsonl", str(tmp_path / os.fsdecode(b"\xff.jsonl")), GSM8K.name, tmp_path / "run", None)
    assert run_files.read_manifest(tmp_path / "run").model.name == "\\udcff"


@pytest.mark.parametrize("answer", [5, None, ["#### 5"]])
def test_a_record_whose_answer_is_no_text_is_one_line(tmp_path, capsys, answer):
    status, _ = imported(tmp_path, [{"question": "2 + 3?", "answer": answer, "response": "5"}])
    lines = capsys.readouterr().err.splitlines()
    assert status == 2 and len(lines) == 1 and lines[0].startswith("error: rlfr_gsm8k: ")


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("jsonl", '{"doc_id": 0, "response": 204}\n\n{"doc_id": 1, "response": null}', ["204", ""]),
        ("every-eval-ever", '{"sample_id": 60, "output": {"raw": ["204", null]}}', ["204", ""]),
        ("lmms-eval", '{"doc_id": 0, "resps": [["204", null]]}', ["204", ""]),
        ("lmms-eval", '{"doc_id": 0, "resps": [["204"], ["1"]]}', ["204", "1"]),
        ("lmms-eval", '{"doc_id": 0, "filtered_resps": "204"}', ["204"]),
        ("lmms-eval", '{"doc_id": 0, "filtered_resps": ["204"]}', ["204"]),
        ("jsonl", '\ufeff{"doc_id": 0, "response": "204"}', ["204"]),
    ],
)
def test_nothing_is_an_empty_text_and_numbers_are_their_text(tmp_path, name, text, expected):
    (tmp_path / "file.jsonl").write_text(text, encoding="utf-8")
    responses = FORMATS[name].read(tmp_path / "file.jsonl", registry.task("rlfr_aime24"))
    assert [response.text for response in responses] == expected


@pytest.mark.parametrize(
    ("name", "suffix", "text", "named"),
    [
        ("jsonl", ".jsonl", '\n{"doc_id": 0, "response": ["204"]}', "line 2: the response is not text but a list"),
        ("jsonl", ".json", '[{"doc_id": 0, "response": {}}]', "record 1: the response is not text but a dict"),
        ("jsonl", ".jsonl", '{"doc_id": 0, "response": true}', "line 1: the response is not text but a bool"),
        ("jsonl", ".jsonl", '{"doc_id": "0", "response": "204"}', "line 1: doc_id='0' must be a whole number"),
        ("jsonl", ".jsonl", '{"doc_id": 0, "response": "1", "sample_index": "a"}', "line 1: sample_index='a' must be"),
        ("jsonl", ".jsonl", '{"doc_id": 0, "response": "1", "sample_index": null}', "line 1: sample_index=None must"),
        (
            "jsonl",
            ".jsonl",
            '{"problem_id": [60], "response": "1"}',
            "1: the id of the problem, [60], must be text",
        ),
        ("jsonl", ".jsonl", b"\xff\xfe{", "line 1 is not valid JSON"),
        ("jsonl", ".jsonl", '{"doc_id": 0, "response": "1", "response": "2"}', "has the key 'response' twice"),
        (
            "jsonl",
            ".jsonl",
            '{"doc_id": 0, "response": "1", "x": ' + "[" * 150 + "]" * 150 + "}",
            "line 1 is not valid",
        ),
        ("jsonl", ".json", '[{"doc_id": 0, "response": "1", "response": "2"}]', "has the key 'response' twice"),
        ("lmms-eval", ".jsonl", '{"doc_id": 0, "resps": [[["204"]]]}', "line 1: the response is not text but a list"),
        ("every-eval-ever", ".jsonl", '{"sample_id": "60", "output": {"raw": "204"}}', "line 1: sample_id must be"),
        (
            "every-eval-ever",
            ".jsonl",
            '{"sample_id": "60", "output": {"raw": [[1]]}}',
            "line 1: the response is not text",
        ),
        ("every-eval-ever", ".jsonl", '{"sample_id": "60", "metadata": [1]}', "line 1 is not a single-turn sample"),
        (
            "every-eval-ever",
            ".jsonl",
            '{"sample_id": "1", "output": {"raw": ["1"]}, "metadata": {"sample_index": 1.5}}',
            "line 1 is not a single-turn sample",
        ),
        ("mathvista", ".json", '{"1": {"response": ["x"]}}', "pid 1: the response is not text but a list"),
        ("mathvista", ".json", '{"1": {"response": "x", "pid": "2"}}', "pid 1 has the record of pid '2'"),
        ("mathvista", ".json", '{"1": {"response": "x"}, "1": {"response": "y"}}', "has the key '1' twice"),
        ("logicvista", ".json", '{"v1_0": {"answer": "C"}, "v1_0": {"answer": "D"}}', "has the key 'v1_0' twice"),
        ("vlmevalkit", ".json", '[{"index": 1, "prediction": "x", "prediction": "y"}]', "the key 'prediction' twice"),
        ("logicvista", ".json", '{"v1_0": {"answer": ["C"]}}', "v1_0: the response is not text but a list"),
        ("vlmevalkit", ".json", '[{"index": 1}, 3]', "is not a table"),
        ("vlmevalkit", ".json", '{"index": {"0": 1}, "prediction": 5}', "is not a table"),
        ("vlmevalkit", ".json", '{"index": {"0": 1, "1": 2}, "prediction": {"0": "5"}}', "do not have the same cells"),
        ("vlmevalkit", ".json", '[{"index": 1, "varid": "a", "prediction": "5"}]', "row 1: varid='a' must be"),
        ("vlmevalkit", ".tsv", b"index\tprediction\n1\t\xff\n", "is not a .tsv file in UTF-8"),
    ],
)
def test_what_is_no_response_is_named_with_its_place(tmp_path, capsys, name, suffix, text, named):
    file = tmp_path / f"file{suffix}"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    arguments = ["--from", name, str(file), "--task", "rlfr_aime24", "--output_dir", str(tmp_path / "run")]
    assert exit_status(score.main, arguments) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"error: {file}") and named in lines[0]
    assert not (tmp_path / "run").exists()
