"""Every Eval Ever 0.3.0: its schema in draft-07, written from its field list; other root keys are errors."""

import hashlib
import json
import re

import jsonschema
import pytest

from rlfr_mm.eval.engine.exporting import export
from tests.eval.export_runs import BOARDS, DRAWN, SAMPLED, TEXT, make_run

STRING = {"type": "string"}
NUMBER = {"type": "number"}
INTEGER = {"type": "integer"}
DETAILS = {"type": "object", "additionalProperties": STRING}
TEXTS = {"type": "array", "items": STRING}


def table(required, optional=None, closed=False):
    """An object with required and optional fields; `closed` where other keys are rejected."""
    properties = required | (optional or {})
    found = {"type": "object", "required": list(required), "properties": properties}
    return found | ({"additionalProperties": False} if closed else {})


SOURCE_DATA = {
    "oneOf": [
        table(
            {"dataset_name": STRING, "source_type": {"const": "hf_dataset"}},
            {
                "hf_repo": STRING,
                "hf_split": STRING,
                "samples_number": INTEGER,
                "sample_ids": TEXTS,
                "additional_details": DETAILS,
            },
        ),
        table(
            {"dataset_name": STRING, "source_type": {"const": "url"}, "url": TEXTS | {"minItems": 1}},
            {"additional_details": DETAILS},
        ),
        table({"dataset_name": STRING, "source_type": {"const": "other"}}, {"additional_details": DETAILS}),
    ]
}
METRIC = table(
    {"lower_is_better": {"type": "boolean"}},
    {
        "evaluation_description": STRING,
        "metric_id": STRING,
        "score_type": {"enum": ["binary", "continuous", "levels"]},
        "min_score": NUMBER,
        "max_score": NUMBER,
        "additional_details": DETAILS,
    },
) | {
    "if": {"properties": {"score_type": {"const": "continuous"}}, "required": ["score_type"]},
    "then": {"required": ["min_score", "max_score"]},
}
UNCERTAINTY = table(
    {},
    {
        "standard_error": table({"value": NUMBER}, {"method": STRING}),
        "confidence_interval": table(
            {"lower": NUMBER, "upper": NUMBER},
            {"confidence_level": NUMBER | {"minimum": 0, "maximum": 1}, "method": STRING},
        ),
        "standard_deviation": NUMBER,
        "num_samples": INTEGER,
        "num_bootstrap_samples": INTEGER,
    },
)
GENERATION = table(
    {},
    {
        "generation_args": table(
            {},
            {
                "temperature": {"type": ["null", "number"]},
                "top_p": {"type": ["null", "number"]},
                "top_k": {"type": ["null", "number"]},
                "max_tokens": INTEGER | {"minimum": 1},
                "execution_command": STRING,
                "reasoning": {"type": "boolean"},
                "prompt_template": STRING,
            },
            closed=True,
        ),
        "additional_details": DETAILS,
    },
)
RESULT = table(
    {
        "evaluation_name": STRING,
        "source_data": SOURCE_DATA,
        "metric_config": METRIC,
        "score_details": table({"score": NUMBER}, {"details": DETAILS, "uncertainty": UNCERTAINTY}),
    },
    {"evaluation_timestamp": STRING, "generation_config": GENERATION},
)
AGGREGATE = table(
    {
        "schema_version": {"const": "0.3.0"},
        "evaluation_id": STRING,
        "retrieved_timestamp": STRING | {"pattern": "^[0-9]+$"},
        "source_metadata": table(
            {
                "source_type": {"enum": ["documentation", "evaluation_run"]},
                "source_organization_name": STRING,
                "evaluator_relationship": {"enum": ["first_party", "third_party", "collaborative", "other"]},
            },
            {"source_name": STRING, "source_organization_url": STRING, "additional_details": DETAILS},
        ),
        "eval_library": table({"name": STRING, "version": STRING}, {"additional_details": DETAILS}),
        "model_info": table(
            {"name": STRING, "id": STRING, "additional_details": DETAILS},
            {"developer": STRING, "inference_platform": STRING},
        ),
        "evaluation_results": {"type": "array", "items": RESULT, "minItems": 1},
    },
    {
        "evaluation_timestamp": STRING,
        "detailed_evaluation_results": table(
            {},
            {
                "format": {"enum": ["jsonl", "json"]},
                "file_path": STRING,
                "hash_algorithm": {"enum": ["sha256", "md5"]},
                "checksum": STRING,
                "total_rows": INTEGER,
                "additional_details": DETAILS,
            },
        ),
    },
    closed=True,
) | {"$schema": "http://json-schema.org/draft-07/schema#"}
SAMPLE = table(
    {
        "schema_version": STRING,
        "evaluation_id": STRING,
        "model_id": STRING,
        "evaluation_name": STRING,
        "sample_id": STRING,
        "interaction_type": {"const": "single_turn"},
        "input": table(
            {"raw": STRING, "reference": TEXTS},
            {"formatted": {"type": ["string", "null"]}, "choices": {"type": ["array", "null"], "items": STRING}},
        ),
        "output": table({"raw": TEXTS}),
        "answer_attribution": {
            "type": "array",
            "items": table(
                {
                    "turn_idx": INTEGER,
                    "source": STRING,
                    "extracted_value": STRING,
                    "extraction_method": STRING,
                    "is_terminal": {"type": "boolean"},
                }
            ),
        },
        "evaluation": table({"score": NUMBER, "is_correct": {"type": "boolean"}}),
    },
    {
        "sample_hash": {"type": ["string", "null"]},
        "token_usage": table({"input_tokens": INTEGER, "output_tokens": INTEGER, "total_tokens": INTEGER}),
        "error": {"type": ["string", "null"]},
        "metadata": DETAILS,
    },
    closed=True,
) | {"$schema": "http://json-schema.org/draft-07/schema#"}


@pytest.mark.parametrize("answers", [BOARDS, TEXT, SAMPLED, DRAWN], ids=["boards", "text", "sampled", "drawn"])
def test_records_and_samples_keep_to_the_schema(tmp_path, answers):
    export(make_run(tmp_path / "run", answers), "every-eval-ever", tmp_path / "out")
    paths = sorted((tmp_path / "out" / "data").glob("*/acme/tiny-vl-3b/*.json"))
    assert len(paths) == len(answers)
    for path in paths:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", path.stem)
        record = json.loads(path.read_text())
        jsonschema.Draft7Validator(AGGREGATE).validate(record)
        details = record["detailed_evaluation_results"]
        samples = path.with_name(details["file_path"])
        assert samples.name == f"{path.stem}_samples.jsonl"
        assert details["checksum"] == hashlib.sha256(samples.read_bytes()).hexdigest()
        lines = [json.loads(line) for line in samples.read_text().split("\n") if line]
        assert details["total_rows"] == len(lines)
        for line in lines:
            jsonschema.Draft7Validator(SAMPLE).validate(line)
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


@pytest.mark.parametrize(
    "change",
    [{"surprise": 1}, {"schema_version": "0.2.1"}, {"retrieved_timestamp": 3}, {"evaluation_results": []}],
)
def test_the_schema_of_this_test_rejects_what_it_should(text_run, tmp_path, change):
    path, _ = export(text_run, "every-eval-ever", tmp_path / "out")
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft7Validator(AGGREGATE).validate(json.loads(path.read_text()) | change)
