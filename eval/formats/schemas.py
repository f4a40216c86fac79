"""What the boards accept, as JSON schemas written from their published schemas, scripts and templates.

A script fails, or a maintainer asks back, where a file does not keep to them. `checks.py` applies them.
"""

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string"}
NUMBER: Schema = {"type": "number"}
INTEGER: Schema = {"type": "integer"}
DETAILS: Schema = {"type": "object", "additionalProperties": STRING}
TEXTS: Schema = {"type": "array", "items": STRING}
FILLED: Schema = STRING | {"minLength": 1, "not": {"const": "unknown"}}
YES_NO: Schema = {"enum": ["Yes", "No"]}
PERCENT: Schema = NUMBER | {"minimum": 0, "maximum": 100}


def table(required: Schema, optional: Schema | None = None, closed: bool = False) -> Schema:
    """An object with required and optional fields; `closed` where other keys are rejected."""
    properties = required | (optional or {})
    found = {"type": "object", "required": list(required), "properties": properties}
    return found | ({"additionalProperties": False} if closed else {})


# ------------------------------------------------ Every Eval Ever 0.3.0: draft-07, from its list of fields

SOURCE_DATA: Schema = {
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
METRIC: Schema = table(
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
UNCERTAINTY: Schema = table(
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
GENERATION: Schema = table(
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
RESULT: Schema = table(
    {
        "evaluation_name": STRING,
        "source_data": SOURCE_DATA,
        "metric_config": METRIC,
        "score_details": table({"score": NUMBER}, {"details": DETAILS, "uncertainty": UNCERTAINTY}),
    },
    {"evaluation_timestamp": STRING, "generation_config": GENERATION},
)
EVERY_EVAL_EVER: Schema = table(
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
EVERY_EVAL_EVER_SAMPLE: Schema = table(
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


# ------------------------------------------------ .eval_results/*.yaml: huggingface/hub-docs, eval_results.yaml

SOURCE: Schema = table({"url": STRING}, {"name": STRING, "user": STRING, "org": STRING}, closed=True)
EVAL_RESULTS: Schema = {
    "type": "array",
    "minItems": 1,
    "items": table(
        {
            "dataset": table(
                {"id": STRING | {"pattern": "^[^/]+/[^/]+$"}, "task_id": FILLED},
                {"revision": STRING | {"pattern": "^[0-9a-f]{40}$"}},
                closed=True,
            ),
            "value": NUMBER,
        },
        {
            "date": STRING | {"pattern": r"^\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)?$"},
            "source": SOURCE,
            "notes": STRING,
            "verifyToken": STRING,
        },
        closed=True,
    ),
}

# ------------------------------------------------ VLMEvalKit: the board's OpenVLM.json

OPENVLM: Schema = table(
    {
        "results": {
            "type": "object",
            "minProperties": 1,
            "additionalProperties": table(
                {
                    "META": table(
                        {
                            "Method": {"type": "array", "items": STRING, "minItems": 2, "maxItems": 2},
                            "Parameters": FILLED,
                            "Language Model": FILLED,
                            "Vision Model": FILLED,
                            "Org": FILLED,
                            "Time": STRING | {"pattern": r"^\d{4}/\d\d/\d\d$"},
                            "Verified": YES_NO,
                            "OpenSource": YES_NO,
                        }
                    )
                }
            )
            | {"additionalProperties": table({"Overall": PERCENT})},
        }
    },
    {"time": STRING},
)

# ------------------------------------------------ MathVista: evaluation/calculate_score.py and the board's templates

SHARE: Schema = table({"accuracy": NUMBER, "correct": INTEGER, "total": INTEGER | {"minimum": 1}})
MATHVISTA_KEYS = (
    "question_type", "answer_type", "language", "source", "category", "task", "context", "grade", "skills",
)  # fmt: skip
MATHVISTA: Schema = table(
    {
        "question_type": {"enum": ["multi_choice", "free_form"]},
        "answer_type": {"enum": ["text", "integer", "float", "list"]},
        "choices": {"type": ["array", "null"]},
        "precision": {"type": ["integer", "null"]},  # the script rounds with it
        "extraction": STRING,
        "response": STRING,
        "metadata": table({key: {} for key in MATHVISTA_KEYS if not key.endswith("_type")}),
    }
) | {
    "if": {"properties": {"question_type": {"const": "multi_choice"}}},
    "then": {"properties": {"choices": {"type": "array", "minItems": 1}}},
}
MATHVISTA_SCORES: Schema = table({"average": SHARE} | {key: {"additionalProperties": SHARE} for key in MATHVISTA_KEYS})

# ------------------------------------------------ MATH-V: evaluation/evaluate.py

MATHV: Schema = table({"id": STRING, "response": STRING, "model_answer": STRING, "correct": {"type": "boolean"}})
MATHV_SCORES: Schema = {
    "type": "object",
    "required": ["-all"],
    "additionalProperties": STRING | {"pattern": r"^\d+/\d+=\d+(\.\d+)?%?$"},
}

# ------------------------------------------------ MathVerse: evaluation/extract_answer_s1.py and score_answer_s2.py

MATHVERSE: Schema = table(
    {
        "sample_index": STRING,
        "problem_index": STRING,
        "problem_version": {
            "enum": ["Text Dominant", "Text Lite", "Text Only", "Vision Dominant", "Vision Intensive", "Vision Only"]
        },
        "question_type": {"enum": ["multi-choice", "free-form"]},
        "answer": STRING,
        "category": table({"subject": STRING, "subfield": STRING}),
        "model_answer": STRING,
        "extraction": STRING,
        "judgement": {"enum": [0, 1]},
    }
)

# ------------------------------------------------ We-Math: evaluation/four_dimensional_metrics.py

WEMATH: Schema = table(
    {
        "ID": STRING,
        "key": STRING | {"pattern": "^(1step|[23]steps_([123]|multi))$"},
        "answer": STRING,
        "option": STRING,
        "knowledge concept description": STRING,
        "response": STRING,
    }
)

# ------------------------------------------------ LogicVista: eval/answers; VisuLogic: VisuLogic-Eval, evaluation

LOGICVISTA: Schema = table({"answer": STRING, "reasoning": STRING})
VISULOGIC: Schema = table(
    {"id": STRING, "tag": STRING, "answer": {"enum": ["A", "B", "C", "D"]}}
    | {"model_response": STRING, "extracted_answer": STRING}
)
