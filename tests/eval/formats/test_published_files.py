"""Published responses come in, are graded, go out in other formats and come back with the same verdicts."""

import gzip
import json

import pytest

from rlfr_mm.eval import score
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.exporting import export
from rlfr_mm.eval.formats import FORMATS
from rlfr_mm.eval.formats.matching import matched
from rlfr_mm.eval.formats.vlmevalkit import write_sheet
from rlfr_mm.grading.official.mathvista import prediction_of
from rlfr_mm.tasks import registry
from tests.eval.commands import exit_status

TASK = "rlfr_mathvista_testmini"


def published(shared, name):
    with gzip.open(shared / "parity" / f"{name}.jsonl.gz", "rt") as file:
        return [json.loads(line) for line in file]


def imported(shared, name, path, out, task=TASK):
    arguments = ["--from", name, str(path), "--task", task, "--output_dir", str(out)]
    assert score.main([*arguments, "--data_root", str(shared / "hub")]) in (0, 1)
    return {row.problem_id: row for row in run_files.read_run(out)[task]}


@pytest.fixture(scope="module")
def bard(shared, tmp_path_factory):
    """The run made of Multimodal Bard's published MathVista responses, and its rows."""
    folder = tmp_path_factory.mktemp("bard")
    output = {row["id"]: {"response": row["response"]} for row in published(shared, "mathvista__bard")}
    (folder / "output_bard.json").write_text(json.dumps(output))
    return folder / "run", imported(shared, "mathvista", folder / "output_bard.json", folder / "run")


@pytest.mark.parametrize(
    ("name", "pattern"),
    [
        ("mathvista", "*/output_*.json"),
        ("vlmevalkit", "*/*MathVista_MINI.*"),
        ("lmms-eval", "*/*_samples_*.jsonl"),
        ("every-eval-ever", "**/*_samples.jsonl"),
    ],
)
def test_a_whole_published_run_keeps_its_verdicts(shared, bard, tmp_path, name, pattern):
    run, rows = bard
    export(run, name, tmp_path / "out")  # 1,000 of 1,000 problems: no leaderboard refuses it
    (path,) = (tmp_path / "out").glob(pattern)
    again = imported(shared, name, path, tmp_path / "run")
    assert len(again) == 1000
    for problem, row in rows.items():
        assert (again[problem].verdict, again[problem].verdict_official) == (row.verdict, row.verdict_official)


def test_the_boards_script_would_reach_the_exported_verdicts(bard, tmp_path):
    """Its rule on our extraction gives our official verdict; where we found no answer, it guesses a choice."""
    run, rows = bard
    export(run, "mathvista", tmp_path, rule="official")
    (path,) = tmp_path.glob("*/output_*.json")
    entries = json.loads(path.read_text())
    checked = 0
    for problem, entry in entries.items():
        if entry["extraction"]:
            prediction = prediction_of(
                entry["extraction"], entry["choices"] or (), entry["answer_type"], entry["precision"] or 0, False
            )
            assert (prediction == entry["answer"]) is entry["true_false"] is rows[problem].verdict_official.correct
            checked += 1
    assert checked > 500


def test_a_sheet_whose_ids_were_shifted_is_matched_by_its_questions(shared, tmp_path):
    """VLMEvalKit's LogicVista leaves out v1_382 and numbers the 447 others from 0: its ids name other problems."""
    from datasets import load_dataset

    rows = published(shared, "logicvista_kit__llava-cot")
    lines = [
        {"index": i, "id": f"v1_{i}", "question": row["question"], "answer": row["gold"], "prediction": row["response"]}
        for i, row in enumerate(rows)
    ]
    responses = FORMATS["vlmevalkit"].read(write_sheet(tmp_path / "kit.xlsx", lines), registry.task("rlfr_logicvista"))
    docs = load_dataset(str(shared / "hub" / "lscpku" / "LogicVista"), "local_text_448", split="test")
    places = matched(responses, docs.remove_columns("image"), registry.task("rlfr_logicvista"))
    assert [docs[place]["id"] for place in places] == [row["official_id"] for row in rows]


def test_math_v_lines_with_their_ids_only_are_matched(shared, tmp_path):
    from datasets import load_dataset

    rows = published(shared, "mathv__Gemini-Pro")
    lines = [json.dumps({"id": row["id"], "response": row["response"]}) for row in reversed(rows)]
    (tmp_path / "outputs.jsonl").write_text("\n".join(lines))
    spec = registry.task("rlfr_mathvision_test")
    responses = FORMATS["math-v"].read(tmp_path / "outputs.jsonl", spec)
    docs = load_dataset(str(shared / "hub" / "MathLLMs" / "MathVision"), "local_text_full", split="test")
    places = matched(responses, docs.remove_columns("decoded_image"), spec)
    by_id = {row["id"]: row["response"] for row in rows}
    assert len(set(places)) == 3040
    ids = docs["id"]
    assert all(by_id[ids[place]] == found.text for place, found in zip(places, responses, strict=True))


def test_responses_to_other_problems_are_refused(shared, tmp_path, capsys):
    path = tmp_path / "answers.jsonl"
    path.write_text('{"pid": "1", "response": "1.2"}\n{"pid": "100001", "response": "2"}\n')
    arguments = ["--from", "jsonl", str(path), "--task", TASK, "--output_dir", str(tmp_path / "run")]
    assert exit_status(score.main, [*arguments, "--data_root", str(shared / "hub")]) == 2
    assert "response 2 fits no record" in capsys.readouterr().err
