"""`eval.export --check`: what a run exports keeps to the rules of the boards, and what breaks them is named."""

import json
from pathlib import Path
from typing import Any

import pytest

from rlfr_mm.eval import export as command
from rlfr_mm.eval.engine.exporting import check, export
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.formats import FORMATS
from rlfr_mm.eval.formats.checks import BOARDS as SUBMITTED
from tests.conftest import ROOT
from tests.eval.commands import exit_status
from tests.eval.export_runs import BOARDS, MODEL, make_run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("runs") / "boards", BOARDS)


def changed(path: Path, change: Any) -> None:
    """Change the value of a JSON or JSON Lines file, as one does by hand."""
    lines = path.suffix == ".jsonl"
    value = [json.loads(line) for line in path.read_text().splitlines()] if lines else json.loads(path.read_text())
    change(value)
    path.write_text("\n".join(map(json.dumps, value)) + "\n" if lines else json.dumps(value))


BY_HAND = {
    "META": {
        "Parameters": "3B",
        "Language Model": "Qwen2.5",
        "Vision Model": "ViT",
        "Org": "acme",
        "OpenSource": "Yes",
    },
    "source_metadata": {"source_organization_name": "acme"},
    "additional_details": {"deployment_type": "local", "model_availability": "open_weights"},
}


def fill_in(name: str, out: Path) -> None:
    """Add what only a person knows."""
    if name == "openvlm":
        changed(out / "OpenVLM.json", lambda board: board["results"][MODEL]["META"].update(BY_HAND["META"]))
    for path in out.rglob("*[0-9a-f].json") if name == "every-eval-ever" else ():
        changed(path, lambda record: record["source_metadata"].update(BY_HAND["source_metadata"]))
        changed(path, lambda record: record["model_info"]["additional_details"].update(BY_HAND["additional_details"]))


@pytest.mark.parametrize("name", SUBMITTED)
def test_what_a_run_exports_keeps_to_the_rules_once_it_is_filled_in(name: str, run: Path, tmp_path: Path) -> None:
    export(run, name, tmp_path)
    before, _ = check(run, name, tmp_path)
    assert all("fill in" in line for line in before) and bool(before) == (name in ("openvlm", "every-eval-ever"))
    fill_in(name, tmp_path)
    found, submit = check(run, name, tmp_path)
    assert found == [] and submit


def drop_first(value: Any) -> None:
    value.pop(next(iter(value)) if isinstance(value, dict) else 0)


BROKEN = [
    ("mathvista", "*/output_*.json", drop_first, "0 records of 1, of which there must be one"),
    (
        "mathvista",
        "*/output_*.json",
        lambda all_: all_["1"].update(precision=1.0, extraction=None),
        "1: extraction: None",
    ),
    ("mathvista", "*/scores_*.json", lambda scores: scores["average"].update(correct=99), "average says 99 of"),
    ("mathvista", "*/scores_*.json", lambda scores: scores.pop("skills"), "'skills' is a required property"),
    ("math-v", "*/*.jsonl", lambda lines: lines.append(lines[0]), "2 records of"),
    ("math-v", "*/*.jsonl", lambda lines: lines[0].update(correct="yes"), "correct: 'yes' is not of type 'boolean'"),
    ("math-v", "*/*_result.json", lambda scores: scores.update({"-all": "0.5"}), "-all: '0.5' does not match"),
    ("mathverse", "*/*.json", lambda all_: all_[0].pop("category"), "'category' is a required property"),
    (
        "mathverse",
        "*/*.json",
        lambda all_: all_[0].update(problem_version="Text"),
        "problem_version: 'Text' is not one",
    ),
    ("we-math", "*/*.json", lambda all_: all_[0].update(key="4steps_1"), "key: '4steps_1' does not match"),
    (
        "logicvista",
        "*/*-answers.json",
        lambda all_: all_.update(v1_99={"answer": "A"}),
        "v1_99 is not a problem of the run",
    ),
    ("visulogic", "*/*.jsonl", lambda lines: lines[0].pop("model_response"), "'model_response' is a required property"),
    ("openvlm", "OpenVLM.json", lambda board: board.pop("results"), "'results' is a required property"),
    (
        "every-eval-ever",
        "data/mathvista/*/*/*[0-9a-f].json",
        lambda record: record.update(mine=1),
        "'mine' was unexpected",
    ),
    (
        "every-eval-ever",
        "data/mathvista/*/*/*.jsonl",
        lambda lines: lines[0]["metadata"].update(x="y"),
        "checksum is not",
    ),
]


@pytest.mark.parametrize(("name", "pattern", "change", "told"), BROKEN)
def test_what_breaks_a_rule_is_named_with_its_place(
    name: str, pattern: str, change: Any, told: str, run: Path, tmp_path: Path
) -> None:
    export(run, name, tmp_path)
    fill_in(name, tmp_path)
    (path,) = [found for found in tmp_path.glob(pattern) if "_result" in pattern or "_result" not in found.name]
    changed(path, change)
    found, _ = check(run, name, tmp_path)
    assert any(str(path.parent) in line and told in line for line in found), found


def test_yaml_and_a_card_are_checked_too(run: Path, tmp_path: Path) -> None:
    for name in ("hf-eval-results", "model-index"):
        export(run, name, tmp_path)
    entry = tmp_path / ".eval_results" / "rlfr_mathvista_testmini.yaml"
    entry.write_text(entry.read_text().replace("AI4Math/MathVista", "MathVista").replace("value:", "score:"))
    (tmp_path / "README.md").write_text("---\npipeline_tag: text-generation\n---\n# A model\n")
    found = check(run, "hf-eval-results", tmp_path)[0]
    assert any("dataset.id: 'MathVista' does not match" in line for line in found)
    assert any("'value' is a required property" in line for line in found)
    assert "'model-index' is a required property" in check(run, "model-index", tmp_path)[0][0]


def test_the_command_tells_what_is_missing_and_where_to_submit(run: Path, tmp_path: Path, capsys: Any) -> None:
    arguments = [str(run), "--to", "mathvista", "--out", str(tmp_path)]
    assert command.main([*arguments, "--check"]) == 1
    assert "output_tiny-vl-3b.json is missing: write it by leaving --check out" in capsys.readouterr().out
    assert not any(tmp_path.iterdir())
    assert command.main(arguments) == 0
    assert command.main([*arguments, "--check"]) == 0
    assert "keeps to the rules. To submit it: send both files" in capsys.readouterr().out
    path = tmp_path / "rlfr_mathvista_testmini" / "output_tiny-vl-3b.json"
    path.write_text("{")
    assert command.main([*arguments, "--check"]) == 1
    assert "is not valid JSON" in capsys.readouterr().out
    assert exit_status(command.main, [str(run), "--to", "csv", "--out", str(tmp_path), "--check"]) == 2
    assert "csv is no submission" in capsys.readouterr().err


def test_a_slice_is_refused_whatever_its_files_say(tmp_path: Path) -> None:
    part = make_run(tmp_path / "part", BOARDS, rows_expected=1000)
    export(part, "mathvista", tmp_path / "out", allow_partial=True)
    with pytest.raises(RunError, match="is not the whole benchmark"):
        check(part, "mathvista", tmp_path / "out")


def test_the_docs_say_where_each_format_is_submitted() -> None:
    page = " ".join((ROOT / "docs" / "exports.md").read_text().split())
    assert {name for name, one in FORMATS.items() if one.leaderboard} - {"vlmevalkit"} <= SUBMITTED.keys()
    for name, board in SUBMITTED.items():
        assert f"**{name}**: {board.submit}" in page, name
