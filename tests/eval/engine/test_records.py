"""Results contradict themselves nowhere, and the hash of a record covers all of it."""

import pytest
from PIL import Image

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import BenchmarkResult, ModelInfo, Session


def make_result(**changes) -> BenchmarkResult:
    fields = {
        "task": "rlfr_gsm8k",
        "benchmark": "GSM8K",
        "protocol": "rlfr",
        "model": "m",
        "dataset": "openai/gsm8k",
        "config": "main",
        "splits": ["test"],
        "revision": None,
        "scorer": "gsm8k",
        "scorer_version": "1",
        "rule": "strict",
        "problems_expected": 3,
        "problems": 3,
        "samples": 1,
        "rows": 3,
        "missing": 0,
        "counts": {"correct": 1, "wrong": 1, "no_answer": 1, "timeout": 0, "error": 0},
        "empty_responses": 0,
        "truncated": None,
        "headline": "accuracy",
        "metrics": {"accuracy": 1 / 3},
        "standard_error": 0.1,
        "interval": {"low": 0.1, "high": 0.6, "level": 0.95, "method": "wilson"},
        "partial": False,
    }
    return BenchmarkResult(**(fields | changes))


def test_result_record_round_trips_through_json(tmp_path):
    results = [make_result(), make_result(task="other", metrics={"accuracy": 0.5, "skill/algebra": 0.25})]
    run_files.write_results(tmp_path, results)
    assert run_files.read_results(tmp_path) == results


@pytest.mark.parametrize(
    "changes",
    [{"rows": 4}, {"partial": True}, {"problems": 2}, {"missing": 1}, {"headline": "loose"}, {"surprise": 1}],
)
def test_a_result_that_contradicts_itself_is_refused(changes):
    with pytest.raises(ValueError):
        make_result(**changes)


def test_the_hash_of_a_record_covers_fields_and_images():
    red, blue = Image.new("RGB", (4, 4), "red"), Image.new("RGB", (4, 4), "blue")
    doc = {"question": "q", "answer": 1, "image": red, "views": [{"bytes": b"png", "path": None}]}
    base = records.doc_hash(doc)
    assert base == records.doc_hash(dict(reversed(doc.items())) | {"image": red.copy()})
    changed = [{"answer": 2}, {"image": blue}, {"views": [{"bytes": b"gif", "path": None}]}, {"views": []}]
    assert base not in [records.doc_hash(doc | change) for change in changed]
    assert records.plain_doc(doc) == {"question": "q", "answer": 1, "image": None, "views": [None]}


@pytest.mark.parametrize(
    ("command", "kept"),
    [
        ("run --model 'openai,api_key=sk-1,model=x' --seed 1", "run --model 'openai,api_key=***,model=x' --seed 1"),
        ("run --model openai,API_KEY=sk-12", "run --model openai,API_KEY=***"),
        ("run --model azure,azure_password=abc,x=1", "run --model azure,azure_password=***,x=1"),
        ("serve --auth-token 'abc' --max_new_tokens=64", "serve --auth-token '***' --max_new_tokens=64"),
    ],
)
def test_no_manifest_holds_a_secret_of_the_command(command, kept):
    session = Session(started="2026", command=command, git_commit=None, libraries={}, hardware={})
    assert session.command == kept and Session.model_validate_json(session.model_dump_json()) == session


def test_no_manifest_holds_a_secret_of_the_models_arguments():
    args = {"model": "x", "API_KEY": "sk-12", "azure_password": "abc", "hf_token": "t", "max_new_tokens": 4}
    assert ModelInfo(backend="openai", name="x", args=args).args == {"model": "x", "max_new_tokens": 4}
