import gzip
import json

import pytest

from rlfr_mm.eval.engine.parity import BARS, compare_set
from rlfr_mm.eval.engine.parity_sets import older_integer_rule, read_sets
from rlfr_mm.eval.parity import main

ROW = {"benchmark": "GSM8K-test", "gold": "18", "prediction": None, "extraction": None}


def write(folder, name, rows):
    with gzip.open(folder / f"{name}.jsonl.gz", "wt", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"id": str(i), **row}) + "\n" for i, row in enumerate(rows))


def gsm8k(answer, right):
    return {**ROW, "response": f"so it is\n#### {answer}", "official_correct": right}


@pytest.mark.parametrize(("flipped", "status"), [(0, 0), (1, 1)])
def test_exit_status_says_whether_the_bars_are_reached(tmp_path, capsys, flipped, status):
    rows = [gsm8k(18, True) for _ in range(50)] + [gsm8k(17, i < flipped) for i in range(50)]
    write(tmp_path, "drawn__set", rows)
    out, docs = tmp_path / "out.json", tmp_path / "docs.md"
    assert main([str(tmp_path), "--json", str(out), "--docs", str(docs)]) == status
    (result,) = json.loads(out.read_text())["sets"]
    assert result["set"] == "drawn__set" and result["rows"] == 100
    assert result["from_official"] == {"n": 0, "agree": 0}
    assert result["from_response"] == {"n": 100, "agree": 100 - flipped}
    assert result["official_wrong"] == 0 and bool(result["missed"]) == bool(flipped)
    assert "drawn__set" in capsys.readouterr().out
    assert ("50: gold `18`" in docs.read_text()) == bool(flipped)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no *.jsonl"),
        ("{", "x.jsonl, after line 0: not JSON Lines"),
        ('{"id": 1, "official_correct": true}', "x.jsonl, line 1: a row needs the field 'benchmark'"),
        (
            '{"id": 1, "official_correct": true, "benchmark": "MMLU", "gold": "1"}',
            "set x: unknown benchmark 'MMLU'; known are MathVista",
        ),
        ('{"id": 1, "official_correct": true, "benchmark": "GSM8K"}', "x.jsonl, line 1: a row needs the field 'gold'"),
        ('{"id": 1, "official_correct": true, "benchmark": "DynaMath"}', "a row needs the field 'group'"),
        (
            '{"id": 1, "official_correct": null, "benchmark": "GSM8K", "gold": "1"}',
            "needs the field 'official_correct'",
        ),
        (
            '{"id": 1, "official_correct": "false", "benchmark": "GSM8K", "gold": "1"}',
            "official_correct must be true or false, not 'false'",
        ),
        (
            '{"id": 1, "official_correct": true, "benchmark": "GSM8K", "gold": "1", "response": ["1"]}',
            "response must be text",
        ),
        (
            '{"id": 1, "official_correct": true, "benchmark": "MathVista", "gold": "1", "choices": "ab"}',
            "choices must be a list",
        ),
        (
            '{"id": 1, "official_correct": true, "benchmark": "MathVista", "gold": "1", "precision": "two"}',
            "precision must be a number",
        ),
        ("[]", "x.jsonl, line 1: a row needs the field 'benchmark'"),
    ],
)
def test_bad_input_is_named_in_one_line_with_status_2(tmp_path, capsys, content, message):
    if content is not None:
        (tmp_path / "x.jsonl").write_text(content + "\n")
    with pytest.raises(SystemExit) as exit_:
        main([str(tmp_path)])
    error = capsys.readouterr().err
    assert exit_.value.code == 2 and message in error and error.count("\n") == 1


def test_a_manifest_of_another_shape_and_a_file_that_cannot_be_written_are_named(tmp_path, capsys):
    write(tmp_path, "drawn__set", [gsm8k(18, True)])
    for arguments, message in (
        (["--json", str(tmp_path / "drawn__set.jsonl.gz" / "out.json")], "cannot write"),
        ([], "manifest.json: needs"),
    ):
        if not arguments:
            (tmp_path / "manifest.json").write_text("{}")
        with pytest.raises(SystemExit) as exit_:
            main([str(tmp_path), *arguments])
        error = capsys.readouterr().err
        assert exit_.value.code == 2 and message in error and error.count("\n") == 1


def test_numbers_are_read_as_text_and_flags_as_truth_values(tmp_path):
    vista = {"benchmark": "MathVista", "answer_type": "float", "precision": "1.0", "extraction": 1.249, "choices": None}
    vision = {"benchmark": "MATH-Vision", "gold": "B", "gold_value": 3, "prediction": "3", "response": 3}
    for name, row in (("vista", {**vista, "gold": 1.2, "response": 1.249}), ("vision", vision)):
        write(tmp_path, name, [{**row, "official_correct": 1}])
    for name, rows in read_sets(tmp_path).items():
        result = compare_set(name, rows, {})
        assert result.missed == [] and result.from_official.agree == result.whole_set.agree == 1


def test_a_set_in_which_nothing_could_be_compared_is_missed():
    nothing = {**ROW, "id": "1", "response": None, "official_correct": True}
    flags = {"benchmark": "DynaMath", "id": "1", "group": "a", "official_correct": True}
    for row in (nothing, flags):
        (reason,) = compare_set("s", [row], {}).missed
        assert reason.startswith("not measured")


def test_an_official_verdict_against_arithmetic_counts_apart():
    row = {"benchmark": "MATH-Vision-test", "id": "1", "gold": "\\frac{4}{3}", "gold_value": "", "response": None}
    result = compare_set("s", [{**row, "prediction": "4/3", "official_correct": False}], {})
    assert len(result.official_wrong) == 1 and result.from_official.n == 0
    assert result.missed  # one of one is over 1.5 %
    lenient = compare_set("s", [{**row, "prediction": "1.331", "official_correct": True}], {})
    assert not lenient.official_wrong and lenient.from_official.n == 1


def test_the_older_integer_rule_is_told_by_its_predictions():
    row = {"answer_type": "integer", "question_type": "free_form", "extraction": "7.5"}
    assert older_integer_rule([{**row, "extraction": "7"}, {**row, "prediction": None}])
    assert not older_integer_rule([{**row, "prediction": "7"}])


def test_flags_alone_give_average_and_worst_case():
    rows = [
        {"benchmark": "DynaMath", "id": f"{seed}-{variant}", "group": seed, "official_correct": right}
        for seed, flags in (("a", (True, True)), ("b", (True, False)))
        for variant, right in enumerate(flags)
    ]
    published = {"checks": {"average_accuracy": 75.0, "worst_case_accuracy": 50.0}}
    assert compare_set("d", rows, published).missed == []
    assert compare_set("d", rows, {"checks": {"worst_case_accuracy": 49.9}}).missed


@pytest.mark.parametrize(
    ("beginning", "rows_of_a_set"),
    [("mathvista", None), ("logicvista", None), ("dynamath", None), ("olympiad", None), ("gsm8k_openai", None),
     ("mathv__", 250), ("rho1", 120)],
)  # fmt: skip
def test_published_verdicts_are_reproduced(shared, beginning, rows_of_a_set):
    published = {entry["set"]: entry for entry in json.loads((shared / "parity/manifest.json").read_text())["sets"]}
    sets = {name: rows for name, rows in read_sets(shared / "parity").items() if name.startswith(beginning)}
    assert sets
    for name, rows in sets.items():
        result = compare_set(name, rows[:rows_of_a_set], published[name])
        assert result.missed == [], name
        assert result.bar in BARS.values() and (result.from_response.n or result.aggregates)
