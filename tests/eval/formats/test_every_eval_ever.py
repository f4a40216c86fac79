"""Every Eval Ever 0.3.0: every record keeps to its schema, in which other root keys are errors."""

import hashlib
import json
import re

import jsonschema
import pytest

from rlfr_mm.eval.engine.exporting import export
from rlfr_mm.eval.formats.schemas import EVERY_EVAL_EVER, EVERY_EVAL_EVER_SAMPLE
from tests.eval.export_runs import BOARDS, DRAWN, SAMPLED, TEXT, make_run


@pytest.mark.parametrize("answers", [BOARDS, TEXT, SAMPLED, DRAWN], ids=["boards", "text", "sampled", "drawn"])
def test_records_and_samples_keep_to_the_schema(tmp_path, answers):
    export(make_run(tmp_path / "run", answers), "every-eval-ever", tmp_path / "out")
    paths = sorted((tmp_path / "out" / "data").glob("*/acme/tiny-vl-3b/*.json"))
    assert len(paths) == len(answers)
    for path in paths:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", path.stem)
        record = json.loads(path.read_text())
        jsonschema.Draft7Validator(EVERY_EVAL_EVER).validate(record)
        details = record["detailed_evaluation_results"]
        samples = path.with_name(details["file_path"])
        assert samples.name == f"{path.stem}_samples.jsonl"
        assert details["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
        lines = [json.loads(line) for line in samples.read_text().split("\n") if line]
        assert details["total_rows"] == len(lines)
        for line in lines:
            jsonschema.Draft7Validator(EVERY_EVAL_EVER_SAMPLE).validate(line)
            assert line["evaluation_id"] == record["evaluation_id"]
            assert line["evaluation_name"] == record["evaluation_results"][0]["evaluation_name"]


def test_the_headline_comes_first_with_its_interval_and_scores_are_fractions(tmp_path):
    export(make_run(tmp_path / "run", SAMPLED), "every-eval-ever", tmp_path / "out")
    (path,) = (tmp_path / "out").glob("data/math500/*/*/*[0-9a-f].json")
    results = json.loads(path.read_text())["evaluation_results"]
    metrics = {result["metric_config"]["metric_id"]: result for result in results}
    assert results[0]["metric_config"]["metric_id"] == "pass@4"  # of the four samples there are
    assert "confidence_interval" in results[0]["score_details"]["uncertainty"]
    assert {"accuracy", "maj@4", "pass@1", "subject/Algebra"} <= metrics.keys()
    assert not {"problems", "unscored", "accuracy_stderr"} & metrics.keys()
    assert all(0 <= result["score_details"]["score"] <= 1 for result in results)
    # Each problem's first sample is right, and the first problem's last one as well.
    assert metrics["pass@1"]["score_details"]["score"] == pytest.approx((2 / 4 + 1 / 4 + 1 / 4) / 3)


@pytest.fixture(scope="module")
def text_run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("runs") / "text", TEXT)


def test_the_same_rows_give_the_same_file_names(text_run, tmp_path):
    first, again = (export(text_run, "every-eval-ever", tmp_path / "out") for _ in range(2))
    assert first == again


def test_the_verdicts_of_another_rule_do_not_replace_the_first(text_run, tmp_path):
    written = [export(text_run, "every-eval-ever", tmp_path, rule=rule) for rule in ("strict", "official")]
    assert len({path for paths in written for path in paths}) == 4


@pytest.mark.parametrize(
    "change",
    [{"surprise": 1}, {"schema_version": "0.2.1"}, {"retrieved_timestamp": 3}, {"evaluation_results": []}],
)
def test_the_schema_rejects_what_it_should(text_run, tmp_path, change):
    path, _ = export(text_run, "every-eval-ever", tmp_path / "out")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(EVERY_EVAL_EVER).validate(json.loads(path.read_text()) | change)
