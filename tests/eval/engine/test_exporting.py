"""Exports: what the readers of each format look for is there, what was answered comes back, a slice never passes."""

import ast
import csv
import json
import re
import shutil
import subprocess
import sys

import huggingface_hub
import openpyxl
import pytest
import yaml

from rlfr_mm.eval import export as command
from rlfr_mm.eval import score
from rlfr_mm.eval.engine import run_files, scoring
from rlfr_mm.eval.engine.exporting import export
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.formats import FORMATS
from rlfr_mm.eval.formats.base import plain_cell
from rlfr_mm.eval.formats.matching import matched
from rlfr_mm.tasks import registry
from tests.eval.commands import exit_status
from tests.eval.export_runs import BOARDS, DRAWN, MODEL, ODD_TEXTS, SAMPLED, TEXT, make_run

WRITABLE = [name for name, one in FORMATS.items() if one.write]
LEADERBOARDS = [name for name, one in FORMATS.items() if one.leaderboard]
KIT = "tiny-vl-3b/T20260304_Gfedcba98/tiny-vl-3b"


@pytest.fixture(scope="module")
def boards(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "boards", BOARDS)


@pytest.fixture(scope="module")
def exported(boards, tmp_path_factory):
    """The folder of each format that the boards' run was written to."""
    out = tmp_path_factory.mktemp("exports")
    for name in WRITABLE:
        written = export(boards, name, out / name)
        assert written and all(path.is_file() for path in written)
    return out


def table(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_runs_hold_right_wrong_and_unanswered_responses(boards):
    statuses = {row.verdict.status for rows in run_files.read_run(boards).values() for row in rows}
    assert {"correct", "wrong", "no_answer"} <= statuses


# ---------------------------------------------------------------------------------------------------- there and back

CARRIERS = {
    "mathvista": ("rlfr_mathvista_testmini", "*/output_*.json"),
    "math-v": ("rlfr_mathvision_test", "*/*.jsonl"),
    "mathverse": ("rlfr_mathverse_testmini", "*/*.json"),
    "we-math": ("rlfr_wemath_testmini", "*/*.json"),
    "logicvista": ("rlfr_logicvista", "*/*.json"),
    "visulogic": ("rlfr_visulogic", "*/*.jsonl"),
}
GENERAL = {
    "every-eval-ever": "**/{benchmark}/**/*_samples.jsonl",
    "lmms-eval": "*/*_samples_{task}.jsonl",
    "vlmevalkit": "**/*_{dataset}.xlsx",
}
KIT_NAMES = {
    "rlfr_mathvista_testmini": "MathVista_MINI",
    "rlfr_mathvision_test": "MathVision",
    "rlfr_mathverse_testmini": "MathVerse_MINI",
    "rlfr_wemath_testmini": "WeMath",
    "rlfr_logicvista": "LogicVista",
    "rlfr_visulogic": "VisuLogic",
    "rlfr_dynamath": "DynaMath",
}
ROUND_TRIPS = [(name, task, pattern) for name, (task, pattern) in CARRIERS.items()]
ROUND_TRIPS += [
    (name, task, pattern.format(task=task, dataset=dataset, benchmark=registry.task(task).benchmark.lower()))
    for name, pattern in GENERAL.items()
    for task, dataset in KIT_NAMES.items()
]


def test_every_format_with_a_reader_is_read_back_below():
    assert {name for name, one in FORMATS.items() if one.read} - {"jsonl"} == {name for name, _, _ in ROUND_TRIPS}


def read_back(name, path, task, docs):
    """(problem id, sample index): response, joined to the records as eval.score --from does it."""
    spec = registry.task(task)
    responses = FORMATS[name].read(path, spec)
    places = matched(responses, docs, spec)
    return {
        (spec.problem_id(docs[place]), response.sample_index): response.text
        for place, response in zip(places, responses, strict=True)
    }


@pytest.mark.parametrize(("name", "task", "pattern"), ROUND_TRIPS)
def test_what_was_answered_comes_back(boards, exported, name, task, pattern):
    (path,) = (exported / name).glob(pattern)
    rows = run_files.read_run(boards)[task]
    back = read_back(name, path, task, [doc for doc, _ in BOARDS[task]])
    assert back == {(row.problem_id, row.sample_index): row.response for row in rows}
    again = scoring.regrade([row.model_copy(update={"response": back[row.problem_id, 0]}) for row in rows])
    assert [row.verdict for row in again] == [row.verdict for row in rows]
    assert [row.verdict_official for row in again] == [row.verdict_official for row in rows]


@pytest.mark.parametrize(
    ("name", "task", "pattern"), [entry for entry in ROUND_TRIPS if entry[0] in ("mathvista", "we-math")]
)
def test_a_board_file_becomes_a_run_with_the_same_verdicts(boards, exported, tmp_path, capsys, name, task, pattern):
    """The records are in the file, so that no dataset is needed."""
    (path,) = (exported / name).glob(pattern)
    source = ["--from", name, str(path), "--task", task, "--output_dir", str(tmp_path / "run"), "--model", MODEL]
    score.main(source)
    again = {row.problem_id: row for row in run_files.read_run(tmp_path / "run")[task]}
    for row in run_files.read_run(boards)[task]:
        assert again[row.problem_id].verdict == row.verdict
        assert again[row.problem_id].verdict_official == row.verdict_official


@pytest.mark.parametrize("name", ["every-eval-ever", "lmms-eval"])
def test_several_samples_of_a_problem_come_back_in_their_order(tmp_path, name):
    run = make_run(tmp_path / "run", SAMPLED)
    written = export(run, name, tmp_path / "out")
    (path,) = (path for path in written if "_samples" in path.name)
    back = read_back(name, path, "rlfr_math500_pass32", [doc for doc, _ in SAMPLED["rlfr_math500_pass32"]])
    assert back == {
        (row.problem_id, row.sample_index): row.response for row in run_files.read_run(run)["rlfr_math500_pass32"]
    }


@pytest.mark.parametrize("name", ["every-eval-ever", "lmms-eval"])
def test_odd_texts_come_back_from_lines_of_json(tmp_path, name):
    written = export(make_run(tmp_path / "run", TEXT), name, tmp_path / "out")
    (path,) = (path for path in written if "_samples" in path.name)
    back = read_back(name, path, "rlfr_math500", [doc for doc, _ in TEXT["rlfr_math500"]])
    assert tuple(back.values()) == ODD_TEXTS


def sheet_of(tmp_path, texts):
    """The kit's predictions of three responses, and what is read back from them."""
    task = "rlfr_mathvision_test"
    answers = {task: [(doc, [text]) for (doc, _), text in zip(BOARDS[task], texts, strict=True)]}
    path = export(make_run(tmp_path / "run", answers), "vlmevalkit", tmp_path / "out")[0]
    return path, tuple(read_back("vlmevalkit", path, task, [doc for doc, _ in BOARDS[task]]).values())


def test_odd_texts_come_back_from_sheets_and_are_no_formulas(tmp_path):
    path, back = sheet_of(tmp_path, ODD_TEXTS[:3])
    assert path.suffix == ".xlsx" and back == ODD_TEXTS[:3]
    head, first, *_ = openpyxl.load_workbook(path, data_only=True).active.iter_rows(values_only=True)
    assert first[head.index("prediction")] == ODD_TEXTS[0]


@pytest.mark.parametrize(
    "text", ["carriage\rreturn\r\n", "step one\rAnswer: A", "x" * 40_000, "control \x07 sign", "\ufffe", "\uffff"]
)
def test_texts_that_no_cell_holds_turn_the_sheet_into_a_tsv(tmp_path, text):
    path, back = sheet_of(tmp_path, ("a", text, "b"))
    assert path.suffix == ".tsv" and back == ("a", text, "b")


FORMULAS = ('=HYPERLINK("http://x","y")', "@SUM(1+1)", "+cmd|' /C calc'!A0", "-1+1", "\t=1", "'=1", "''@x")


@pytest.mark.parametrize(("more", "suffix"), [("", ".xlsx"), ("\r", ".tsv")])
def test_the_kit_reads_golds_and_responses_as_they_are(tmp_path, more, suffix):
    """Both kinds of sheets through pandas, which the kit loads them with, and through our reader."""
    pandas = pytest.importorskip("pandas", reason="VLMEvalKit reads sheets with pandas")
    task = "rlfr_mathvision_test"
    texts = (r"-\frac{24}{25}", "- step one", "a\nb", '"a" "b', "tab\t", " b ", "\u2028c\x85", "_x000D_", *FORMULAS)
    texts += ("a\rb", "a\r\nb", "nul \0") if more else ()
    docs = [{**BOARDS[task][0][0], "id": str(number), "answer": text} for number, text in enumerate(texts)]
    answers = {task: [(doc, [text + more]) for doc, text in zip(docs, texts, strict=True)]}
    path = export(make_run(tmp_path / "run", answers), "vlmevalkit", tmp_path / "out")[0]
    assert path.suffix == suffix
    sheet = pandas.read_csv(path, sep="\t") if more else pandas.read_excel(path)
    assert tuple(sheet["answer"]) == texts and tuple(sheet["prediction"]) == tuple(text + more for text in texts)
    assert tuple(read_back("vlmevalkit", path, task, docs).values()) == tuple(sheet["prediction"])


def test_no_cell_of_a_score_table_is_a_formula_and_numbers_stay_numbers(tmp_path):
    (scores,) = export(make_run(tmp_path / "run", TEXT), "csv", tmp_path / "out", model="=A1\ry")
    assert {line["model"] for line in table(scores)} == {"'=A1\ry"}
    assert [plain_cell(text)[0] for text in FORMULAS] == ["'"] * len(FORMULAS)
    assert [plain_cell(value) for value in ("-5", "+3.5e-2", "x = 1", -5, None)] == ["-5", "+3.5e-2", "x = 1", -5, None]


@pytest.mark.parametrize("name", ["vlmevalkit", "lmms-eval", "openvlm"])
def test_nothing_of_a_manifest_leaves_the_output_folder(boards, tmp_path, name):
    run = shutil.copytree(boards, tmp_path / "run")
    manifest = run_files.read_manifest(run)
    manifest.model.name = "../../model"
    manifest.sessions[-1].git_commit = "../x/../../y"
    manifest.sessions[-1].started = "../../../elsewhere"
    run_files.write_manifest(run, manifest)
    tasks = ["rlfr_logicvista"] if name != "lmms-eval" else None
    for path in export(run, name, tmp_path / "deep" / "er" / "out", tasks=tasks, allow_partial=True):
        assert path.resolve().is_relative_to(tmp_path / "deep" / "er" / "out") and ".." not in path.parts


def test_a_sheet_of_an_earlier_export_is_not_left_beside_the_new_one(tmp_path):
    task = "rlfr_logicvista"
    for number, (text, suffix) in enumerate((("A", ".xlsx"), ("A\x07", ".tsv"), ("B", ".xlsx"))):
        run = make_run(tmp_path / f"run{number}", {task: [(doc, [text]) for doc, _ in BOARDS[task]]})
        written = export(run, "vlmevalkit", tmp_path / "out")
        assert sorted(path for path in (tmp_path / "out").rglob("*.*") if path.is_file()) == sorted(written)
        assert written[0].suffix == suffix


def test_the_json_files_of_the_kit_are_read_in_both_of_their_layouts(tmp_path):
    rows = [{"index": 0, "id": "2", "prediction": "b"}, {"index": 1, "id": "1", "prediction": "a"}]
    columns = {key: {str(i): row[key] for i, row in enumerate(rows)} for key in rows[0]}
    columns["prediction"] = dict(reversed(columns["prediction"].items()))  # cells are found by their position
    docs = [doc for doc, _ in BOARDS["rlfr_mathvision_test"]]
    for layout in (rows, columns):
        (tmp_path / "predictions.json").write_text(json.dumps(layout))
        back = read_back("vlmevalkit", tmp_path / "predictions.json", "rlfr_mathvision_test", docs)
        assert back == {("2", 0): "b", ("1", 0): "a"}


def test_rows_of_a_sheet_do_not_pass_for_records(exported):
    """Their lists are text: read as records, a skill would be its letters."""
    responses = FORMATS["vlmevalkit"].read(
        exported / "vlmevalkit" / f"{KIT}_LogicVista.xlsx", registry.task("rlfr_logicvista")
    )
    assert responses[0].fields.keys() == {"question", "answer", "id"}


# ---------------------------------------------------------------------------------------------------- golden keys


def test_hub_entries_are_parsed_by_huggingface_hub(exported):
    paths = sorted((exported / "hf-eval-results" / ".eval_results").glob("*.yaml"))
    assert len(paths) == len(BOARDS)
    (entry,) = huggingface_hub.parse_eval_result_entries(yaml.safe_load(paths[3].read_text()))
    assert entry.dataset_id == "MathLLMs/MathVision" and entry.task_id == "mathvision"
    assert entry.value == 66.67 and entry.date == "2026-03-04T05:06:07+00:00"
    assert entry.dataset_revision == "0123456789abcdef0123456789abcdef01234567"
    assert "95 % interval" in entry.notes and "rule strict" in entry.notes and "partial" not in entry.notes


def test_the_model_card_has_a_model_index_and_says_how_to_do_it_again(exported):
    card = huggingface_hub.ModelCard.load(exported / "model-index" / "README.md")
    assert card.data.model_name == MODEL and len(card.data.eval_results) == len(BOARDS)
    by_name = {result.dataset_name: result for result in card.data.eval_results}
    assert by_name["MathVista"].metric_value == 50.0 and by_name["MathVista"].dataset_type == "AI4Math/MathVista"
    assert by_name["We-Math"].metric_name.startswith("loose")
    for part in (
        f"# {MODEL}",
        "python -m eval.run",
        "15.0 - 85.0",
        "torch 2.15.0",
        "max_new_tokens 64",
        "scorer mathvista",
    ):
        assert part in card.text
    assert "abc123" not in card.content and "max_new_tokens=64" in card.text  # only the command line's key is hidden


def test_the_model_card_of_an_imported_run_claims_no_command(boards, exported, tmp_path):
    path = exported / "mathvista" / "rlfr_mathvista_testmini" / "output_tiny-vl-3b.json"
    score.main(
        ["--from", "mathvista", str(path), "--task", "rlfr_mathvista_testmini", "--output_dir", str(tmp_path / "run")]
    )
    export(tmp_path / "run", "model-index", tmp_path / "card", allow_partial=True, model="acme/judged-again")
    text = (tmp_path / "card" / "README.md").read_text()
    assert "unknown prompt" in text and "rlfr prompt" not in text  # the file does not say what was asked
    assert "import:mathvista" in text and "python -m eval.run" not in text and "# acme/judged-again" in text


def test_mathvista_files_have_the_keys_of_the_board(exported):
    folder = exported / "mathvista" / "rlfr_mathvista_testmini"
    output = json.loads((folder / "output_tiny-vl-3b.json").read_text())
    assert list(output) == ["1", "2", "3", "4"]
    assert {"question", "choices", "precision", "answer", "answer_type", "metadata", "query"} <= output["1"].keys()
    assert {"response", "extraction", "prediction", "true_false"} <= output["1"].keys()
    assert output["1"]["precision"] == 1 and isinstance(output["1"]["precision"], int)
    assert [entry["prediction"] for entry in output.values()] == ["1.2", "7.4", "145°", None]
    for entry in output.values():  # what the board's script looks at
        assert (entry["prediction"] == entry["answer"]) is entry["true_false"]
    scores = json.loads((folder / "scores_tiny-vl-3b.json").read_text())
    assert list(scores) == [
        "average", "question_type", "answer_type", "language", "source", "category", "task", "context", "grade",
        "skills",
    ]  # fmt: skip
    assert scores["average"] == {"accuracy": 0.5, "correct": 2, "total": 4}
    assert scores["skills"]["geometry reasoning"] == {"accuracy": 1.0, "correct": 1, "total": 1}
    shares = [found["accuracy"] for found in scores["skills"].values()]
    assert shares == sorted(shares, reverse=True)


def test_mathv_results_count_levels_and_subjects(exported):
    folder = exported / "math-v" / "rlfr_mathvision_test"
    lines = [json.loads(line) for line in (folder / "tiny-vl-3b.jsonl").read_text().splitlines()]
    assert [set(line) for line in lines] == [{"id", "model", "response", "model_answer", "correct"}] * 3
    assert json.loads((folder / "tiny-vl-3b_result.json").read_text()) == {
        "-all": "2/3=66.67%",
        "-level1": "1/1=100.0%",
        "-level1_arithmetic": "1/1=100.0%",
        "-level2": "1/2=50.0%",
        "-level2_arithmetic": "1/1=100.0%",
        "-level2_topology": "0/1=0.0%",
        "arithmetic": "2/2=100.0%",
        "arithmetic_level1": "1/1=100.0%",
        "arithmetic_level2": "1/1=100.0%",
        "topology": "0/1=0.0%",
        "topology_level2": "0/1=0.0%",
    }


def test_mathverse_records_have_what_the_scoring_script_reads(exported):
    entries = json.loads((exported / "mathverse" / "rlfr_mathverse_testmini" / "tiny-vl-3b.json").read_text())
    assert [entry["judgement"] for entry in entries] == [1, 0, 1]
    for entry in entries:
        assert entry["category"].keys() >= {"subject", "subfield"}
        assert entry["problem_version"] and entry["model_answer"] and entry["extraction"] and entry["question"]


def test_wemath_scores_are_those_of_three_groups(exported):
    """One mastered, one solved without its first step, one whose steps are right and whose composite is wrong."""
    folder = exported / "we-math" / "rlfr_wemath_testmini"
    (line,) = table(folder / "four_dimensional_metrics.csv")
    assert line == {
        "Model": MODEL,
        "Score (Strict)": "50.00%",
        "InsufficientKnowledge (Strict)": "0.00% (0)",
        "InadequateGeneralization (Strict)": "33.33% (1)",
        "CompleteMastery (Strict)": "33.33% (1)",
        "RoteMemorization (Strict)": "50.00% (1)",
        "Score (Loose)": "83.33%",
        "InsufficientKnowledge (Loose)": "0.00% (0)",
        "InadequateGeneralization (Loose)": "33.33% (1)",
        "CompleteMastery (Loose)": "66.67% (2)",
        "RoteMemorization (Loose)": "0.00% (0)",
    }
    entries = json.loads((folder / "tiny-vl-3b.json").read_text())
    assert {"ID", "key", "answer", "knowledge concept", "response"} <= entries[0].keys()


def test_logicvista_answers_and_visulogic_lines(exported):
    answers = json.loads((exported / "logicvista" / "rlfr_logicvista" / "tiny-vl-3b-answers.json").read_text())
    assert list(answers) == ["v1_0", "v1_1", "v1_2"]
    assert all(entry.keys() == {"answer", "reasoning"} for entry in answers.values())
    folder = exported / "visulogic" / "rlfr_visulogic"
    lines = [json.loads(line) for line in (folder / "tiny-vl-3b.jsonl").read_text().splitlines()]
    assert [(line["answer"], line["extracted_answer"], line["tag"]) for line in lines] == [
        ("A", "A", "Quantitative Reasoning"),
        ("D", "B", "Other"),
    ]
    row = (folder / "tiny-vl-3b.tex").read_text()
    assert row == f"{MODEL} & 50.0 & 100.0 & 0.0 & 0.0 & 0.0 & 0.0 & 0.0 \\\\\n"


def test_the_kits_sheets_have_the_columns_it_evaluates_by(exported):
    folder = exported / "vlmevalkit"
    wanted = {
        "MathVista_MINI": {"question_type", "answer_type", "answer", "answer_option", "choices", "task", "skills"},
        "MathVision": {"answer", "choices", "category"},
        "MathVerse_MINI": {"answer", "question_for_eval", "metadata", "problem_version"},
        "WeMath": {"ID", "key", "answer", "knowledge concept"},
        "LogicVista": {"question", "answer", "skill"},
        "VisuLogic": {"category", "answer"},
        "DynaMath": {"qid", "varid", "answer", "answer_type", "subject", "knowledge_level"},
    }
    for dataset, columns in wanted.items():
        sheet = openpyxl.load_workbook(folder / f"{KIT}_{dataset}.xlsx").active
        head, *rows = sheet.iter_rows(values_only=True)
        assert {"index", "question", "prediction", *columns} <= set(head), dataset
        assert not {"hit", "res", "log"} & set(head)  # the kit takes `hit` for its own judge's
        assert [row[head.index("index")] for row in rows] == list(range(len(rows)))
    sheet = openpyxl.load_workbook(folder / f"{KIT}_MathVista_MINI_rlfr-strict.xlsx").active
    head, *rows = sheet.iter_rows(values_only=True)
    assert [row[head.index("hit")] for row in rows] == [1, 0, 1, 0]
    assert [row[head.index("answer_option")] for row in rows] == [None, None, "C", "A"]


def test_the_kits_own_reading_of_its_columns_works(exported):
    """pandas is what it loads sheets with; the rest is what its evaluation does with the cells."""
    pandas = pytest.importorskip("pandas", reason="VLMEvalKit reads sheets with pandas")
    folder = exported / "vlmevalkit"
    vista = pandas.read_excel(folder / f"{KIT}_MathVista_MINI.xlsx")
    assert [ast.literal_eval(cell) for cell in vista["skills"]][1] == ["arithmetic reasoning", "numeric commonsense"]
    assert [len(ast.literal_eval(cell)) for cell in vista["choices"]] == [0, 0, 4, 2]
    vision = pandas.read_excel(folder / f"{KIT}_MathVision.xlsx")
    assert [len(ast.literal_eval(cell)) for cell in vision["choices"]] == [0, 5, 5]
    verse = pandas.read_excel(folder / f"{KIT}_MathVerse_MINI.xlsx")
    assert json.loads(verse["metadata"][0].replace("'", '"'))["subfield"] == "Angle"
    logic = pandas.read_excel(folder / f"{KIT}_LogicVista.xlsx")
    assert logic["skill"].str.contains("inductive").sum() == 2


def test_lmms_evals_own_loader_takes_a_run_for_its_baseline(exported):
    from lmms_eval.baselines.loader import load_baseline

    (path,) = (exported / "lmms-eval").glob("*/*_samples_rlfr_mathvista_testmini.jsonl")
    scores, results = load_baseline(str(path), "rlfr_mathvista_testmini")
    assert scores == {0: 1.0, 1: 0.0, 2: 1.0, 3: 0.0}
    assert results["results"]["rlfr_mathvista_testmini"]["accuracy,none"] == 0.5


def test_the_kits_score_tables_have_its_columns(exported):
    folder = exported / "vlmevalkit"
    vista = table(folder / f"{KIT}_MathVista_MINI_rlfr-strict_score.csv")
    assert list(vista[0]) == ["Task&Skill", "tot", "prefetch", "hit", "prefetch_rate", "acc"]
    assert vista[0] == dict(zip(vista[0], ("Overall", "4", "4", "2", "100.0", "50.0"), strict=True))
    vision = table(folder / f"{KIT}_MathVision_rlfr-strict_score.csv")
    assert list(vision[0]) == ["Subject", "tot", "prefetch", "hit", "prefetch_rate", "acc"]
    verse = table(folder / f"{KIT}_MathVerse_MINI_rlfr-strict_score.csv")
    assert list(verse[0]) == ["split", "Overall", "Plane Geometry", "Angle"]
    assert {line["split"]: float(line["Angle"]) for line in verse[1:]} == {"Text Dominant": 100.0, "Text Lite": 0.0}
    assert next(iter(table(folder / f"{KIT}_WeMath_rlfr-strict_score.csv")[0])) == "Score (Strict)"
    logic = table(folder / f"{KIT}_LogicVista_rlfr-strict_score.csv")
    assert [(line["Task&Skill"], line["tot"], line["hit"]) for line in logic] == [
        ("Overall", "3", "2"),
        ("inductive", "2", "2"),
        ("spatial", "1", "0"),
    ]
    visual = table(folder / f"{KIT}_VisuLogic_rlfr-strict_acc.csv")
    assert list(visual[0]) == ["category", "tot", "hit", "acc"]
    assert [line["category"] for line in visual] == ["Overall", "Quantitative Reasoning", "Other"]
    dyna = table(folder / f"{KIT}_DynaMath_rlfr-strict_score.csv")
    assert [(line["Setting"], line["Overall"]) for line in dyna] == [("Average", "0.75"), ("Worst Case", "0.5")]
    assert {"Subject-analytic geometry", "Level-high school"} <= dyna[0].keys()


def test_the_openvlm_board_gets_the_scores_it_ranks_by(exported):
    board = json.loads((exported / "openvlm" / "OpenVLM.json").read_text())
    entry = board["results"][MODEL]
    assert entry["META"]["Method"][0] == MODEL
    overall = {name: found["Overall"] for name, found in entry.items() if name != "META"}
    assert overall == {
        "MathVista": 50.0, "MathVision": 66.67, "MathVerse": 66.67, "WeMath": 50.0, "LogicVista": 66.67,
        "VisuLogic": 50.0, "DynaMath": 75.0,
    }  # fmt: skip
    assert entry["LogicVista"]["inductive"] == 100.0


def test_lmms_eval_results_name_metrics_with_their_filter(exported):
    (path,) = (exported / "lmms-eval" / "acme__tiny-vl-3b").glob("*_results.json")
    assert re.fullmatch(r"20260304_050607_results\.json", path.name)
    results = json.loads(path.read_text())
    assert {
        "results",
        "configs",
        "versions",
        "n-shot",
        "higher_is_better",
        "n-samples",
        "config",
        "date",
    } <= results.keys()
    assert results["results"]["rlfr_mathvista_testmini"]["accuracy,none"] == 0.5
    assert results["results"]["rlfr_mathvista_testmini"]["accuracy_stderr,none"] == pytest.approx(0.5 / 3**0.5)
    assert results["n-samples"]["rlfr_logicvista"] == {"original": 3, "effective": 3}


def test_tables_show_headlines_with_intervals(exported):
    lines = table(exported / "csv" / "scores.csv")
    headline = next(line for line in lines if line["task"] == "rlfr_wemath_testmini" and line["headline"] == "True")
    assert headline["metric"] == "loose" and float(headline["value"]) == pytest.approx(5 / 6)
    assert float(headline["interval_low"]) < 5 / 6 < float(headline["interval_high"])
    assert any(line["metric"] == "skill/inductive" and line["value"] == "1.0" for line in lines)
    markdown = " ".join((exported / "markdown" / "scores.md").read_text().split())
    assert "| rlfr_mathvista_testmini | accuracy | 50.0 | 15.0 - 85.0 | 4 | 1 | 0 |" in markdown
    latex = " ".join((exported / "latex" / "scores.tex").read_text().split())
    assert r"rlfr\_mathvista\_testmini & accuracy & 50.0 & 15.0 - 85.0 & 4 & 1 & 0" in latex
    assert latex.count(r"\\") == 2 + len(BOARDS)  # head, tasks, the mean of the logic group


def test_the_official_rule_is_what_is_asked_for(boards, tmp_path):
    """MathVista's own scorer truncates: 7.4 is right where the answer is the integer 7."""
    export(boards, "mathvista", tmp_path, rule="official")
    scores = json.loads((tmp_path / "rlfr_mathvista_testmini" / "scores_tiny-vl-3b.json").read_text())
    rows = run_files.read_run(boards)["rlfr_mathvista_testmini"]
    correct = sum(row.verdict_official.correct for row in rows)
    assert (correct, sum(row.verdict.correct for row in rows)) == (3, 2)
    assert scores["average"]["correct"] == correct


# ---------------------------------------------------------------------------------------------------- slices


@pytest.mark.parametrize("name", LEADERBOARDS)
def test_a_slice_is_refused_by_leaderboards_and_marked_where_it_is_allowed(tmp_path, name):
    run = make_run(tmp_path / "run", BOARDS, rows_expected=1000)
    with pytest.raises(RunError, match=r"not the whole benchmark \(partial: \d of 1000 problems\).*--allow-partial"):
        export(run, name, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    for path in export(run, name, tmp_path / "out", allow_partial=True):
        if path.suffix == ".xlsx":
            head, first, *_ = openpyxl.load_workbook(path).active.iter_rows(values_only=True)
            assert re.match(r"partial: \d of 1000 problems", first[head.index("partial")])
        else:
            assert re.search(r"partial: \d of 1000 problems", path.read_text()), path


def test_slices_have_no_part_in_averages(boards, tmp_path):
    part = make_run(tmp_path / "part", BOARDS, rows_expected=1000)
    for run, shown in ((boards, True), (part, False)):
        export(run, "markdown", tmp_path / "out")
        assert ("Logic Avg" in (tmp_path / "out" / "scores.md").read_text()) is shown


def test_changed_data_is_refused_like_a_slice(tmp_path):
    run = make_run(tmp_path / "run", TEXT, changed_data=True)
    with pytest.raises(RunError, match="changed data"):
        export(run, "hf-eval-results", tmp_path / "out")
    export(run, "markdown", tmp_path / "out")
    assert "changed data" in (tmp_path / "out" / "scores.md").read_text()


# ---------------------------------------------------------------------------------------------------- bad input


def refused(capsys, *arguments):
    """The message of a command line that ends with status 2 and one line on stderr."""
    assert exit_status(command.main, [str(argument) for argument in arguments]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ")
    return lines[0]


def test_the_command_writes_and_lists_the_files(boards, tmp_path, capsys):
    assert command.main([str(boards), "--to", "logicvista", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "rlfr_logicvista" / "tiny-vl-3b-answers.json")


def test_bad_input_is_one_line(boards, tmp_path, capsys):
    text = make_run(tmp_path / "text", TEXT)
    out = tmp_path / "out"
    assert "mathvista" in refused(capsys, boards, "--to", "mathvist", "--out", out)
    assert "model-index" in refused(capsys, boards, "--to", "zzz", "--out", out)
    assert "jsonl" not in refused(capsys, boards, "--to", "jsonl", "--out", out).split(":", 2)[2]
    assert "not a run folder" in refused(capsys, tmp_path / "absent", "--to", "csv", "--out", out)
    message = refused(capsys, text, "--to", "mathvista", "--out", out)
    assert "MathVista tasks" in message and "rlfr_math500" in message
    message = refused(capsys, boards, "--to", "mathvista", "--tasks", "rlfr_logicvista", "--out", out)
    assert "MathVista tasks, not for rlfr_logicvista" in message
    assert "rlfr_dynamath" in refused(capsys, boards, "--to", "csv", "--tasks", "rlfr_aime24", "--out", out)
    assert not out.exists()
    out.write_text("a file, no folder")
    assert "cannot write" in refused(capsys, boards, "--to", "csv", "--out", out)


@pytest.mark.parametrize("name", ["hf-eval-results", "model-index"])
def test_a_drawn_task_has_no_dataset_on_the_hub(tmp_path, name):
    with pytest.raises(RunError, match="dataset is on the hub, not for rlfr_quickstart"):
        export(make_run(tmp_path / "run", DRAWN), name, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "pattern"), [("every-eval-ever", "data/mathvista/**/*.jsonl"), ("lmms-eval", "*/*_samples_*mathvista*")]
)
def test_samples_of_another_task_are_refused(exported, tmp_path, capsys, name, pattern):
    (path,) = (exported / name).glob(pattern)
    for task, told in (("rlfr_mathvision_test", True), ("rlfr_mathvista_testmini_official", False)):
        arguments = ["--from", name, str(path), "--task", task, "--output_dir", str(tmp_path / "run")]
        assert exit_status(score.main, [*arguments, "--data_root", str(tmp_path)]) == 2
        assert ("of rlfr_mathvista_testmini, wh" in capsys.readouterr().err) is told


def test_a_name_of_a_model_that_is_not_text_is_written_with_escapes(boards, tmp_path):
    for name in ("csv", "openvlm", "model-index"):
        (path,) = export(boards, name, tmp_path, model="a\udcff")
        assert r"a\udcff" in path.read_text().replace("\\\\", "\\")


def test_a_run_without_rows_is_refused(tmp_path, capsys):
    run = make_run(tmp_path / "run", TEXT)
    (run / "rlfr_math500" / run_files.SAMPLES).write_text("")
    assert "no rows" in refused(capsys, run, "--to", "csv", "--out", tmp_path / "out")


def test_two_tasks_of_one_dataset_do_not_overwrite_each_other(tmp_path):
    task = "rlfr_logicvista"
    run = make_run(tmp_path / "run", dict.fromkeys((task, f"{task}_official"), BOARDS[task]))
    assert len(set(export(run, "logicvista", tmp_path / "out"))) == 2
    with pytest.raises(ValueError, match="both LogicVista in VLMEvalKit"):
        export(run, "vlmevalkit", tmp_path / "out")
    export(run, "vlmevalkit", tmp_path / "out", tasks=[task])


def test_formats_of_one_response_refuse_several_samples(tmp_path):
    doc, (text,) = BOARDS["rlfr_logicvista"][0]
    run = make_run(tmp_path / "run", {"rlfr_logicvista": [(doc, [text, "\\boxed{A}"])]})
    with pytest.raises(RunError, match="one response to each problem, rlfr_logicvista has 2"):
        export(run, "logicvista", tmp_path / "out")


def test_wemath_without_a_complete_group_is_refused(tmp_path):
    task = "rlfr_wemath_testmini"
    run = make_run(tmp_path / "run", {task: BOARDS[task][:2]})
    for name in ("we-math", "vlmevalkit", "openvlm"):
        with pytest.raises(ValueError, match="no problem group is complete"):
            export(run, name, tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "suffix", "text", "message"),
    [
        ("mathvista", ".json", "[1]", "expected an object of records by pid"),
        ("mathvista", ".json", '{"1": {"pid": "1"}}', "pid 1 has no response"),
        ("mathvista", ".json", "{", "is not valid JSON"),
        ("math-v", ".jsonl", '{"id": "1", "response": "x"}\nnonsense', "line 2 is not valid JSON"),
        ("logicvista", ".json", "[]", "expected an object of answers by id"),
        ("lmms-eval", ".jsonl", '{"id": 3}', "line 1 has no doc_id"),
        ("every-eval-ever", ".jsonl", '{"sample_id": "1"}', "line 1 is not a single-turn sample"),
        ("vlmevalkit", ".xlsx", "no zip", "is not an .xlsx file"),
        ("vlmevalkit", ".tsv", "id\tprediction\n1\tx\n", "has no column `index`"),
        ("vlmevalkit", ".tsv", "index\tid\n1\t1\n", "row 1 has no response"),
        ("vlmevalkit", ".tsv", "index\tprediction\n1\tx\n2\n3\ty\n", "row 2 has 1 cells under 2 columns"),
        ("vlmevalkit", ".tsv", "index\tprediction\n1\tx\ty\n", "row 1 has 3 cells under 2 columns"),
        ("vlmevalkit", ".tsv", 'index\tprediction\n1\t"x\n2\ty\n', "is not a .tsv file in UTF-8: unexpected end"),
        ("vlmevalkit", ".tsv", "index\tprediction\tprediction\n1\tx\ty\n", "has the column `prediction` twice"),
        ("vlmevalkit", ".json", '[{"index": 1, "varid": 1.5, "prediction": "x"}]', "varid=1.5 must be a whole number"),
        ("vlmevalkit", ".pkl", "", "must end in .xlsx, .tsv or .json"),
    ],
)
def test_unreadable_files_name_what_is_wrong(tmp_path, name, suffix, text, message):
    path = tmp_path / f"file{suffix}"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        FORMATS[name].read(path, registry.task("rlfr_mathvision_test"))
    assert str(path) in str(error.value)


def test_the_help_lists_every_format_that_can_be_written():
    assert list(command.FORMATS) == WRITABLE


def test_help_loads_neither_torch_nor_transformers():
    code = (
        "import sys; from rlfr_mm.eval import export\n"
        "try: export.main(['--help'])\n"
        "except SystemExit: print(sorted({'torch', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]" and "hf-eval-results" in done.stdout
