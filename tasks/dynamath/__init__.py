"""DynaMath: 501 seed questions in 10 variants each. It reports the average and the worst case over the variants."""

import json
from collections import defaultdict
from collections.abc import Sequence
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rlfr_mm.tasks.spec import Doc, Row, TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset

_TEMPLATE = json.dumps(
    {"solution": "[Detailed step-by-step explanation]", "short answer": "[Concise Answer]"}, indent=4
)


def official_prompt(doc: Doc) -> str:
    """The prompt of DynaMath/DynaMath, evaluation/opensource_json_eval.py, which asks for the answer as JSON."""
    number = "Please answer in a floating-point number." if doc["answer_type"] == "float" else ""
    return (
        f"## Question\n{doc['question']}{number}\n"
        "## Answer Instruction Please provide an answer to the question outlined above. Your response should adhere "
        "to the following JSON format, which includes two keys: 'solution' and 'short answer'. The 'solution' key can "
        "contain detailed steps needed to solve the question, and the 'short answer' key should provide a concise "
        "response. If the problem is a multiple choice problem, just provide the corresponing choice option, such as "
        "'A', 'B', 'C', or 'D'. If the answer is a numerical value, format it as a three-digit floating-point number.\n"
        f"\nExample of expected JSON response format:\n\n{_TEMPLATE}"
    )


def with_variants(dataset: "Dataset", root: Path) -> "Dataset":
    """The records with a column `variant`. Each split is one variant, so a seed's i-th record is its variant i."""
    seen: defaultdict[str, count] = defaultdict(lambda: count(1))
    return dataset.add_column("variant", [next(seen[seed]) for seed in dataset["id"]])


def worst_case(rows: Sequence[Row]) -> dict[str, float]:
    """`average`, `worst` (the share of seeds whose variants are all right) and `robustness` = worst / average.

    See arXiv 2411.00836, section 3. With several samples per problem, the i-th samples of a seed's variants form one
    group. The robustness is NaN if the average is 0.
    """
    scores: defaultdict[tuple[str, int], list[float]] = defaultdict(list)
    for row in rows:
        scores[row["categories"]["seed"][0], row["sample_index"]].append(row["score"])
    average = float(np.mean([score for group in scores.values() for score in group]))
    worst = float(np.mean([min(group) for group in scores.values()]))
    return {"average": average, "worst": worst, "robustness": worst / average if average else float("nan")}


_dynamath = TaskSpec(
    name="rlfr_dynamath",
    benchmark="DynaMath",
    dataset="DynaMath/DynaMath_Sample",
    splits=tuple(f"sample_variant{i}" for i in range(1, 11)),
    rows=5010,
    scorer="dynamath",
    problem_id=lambda doc: f"{doc['id']}/variant{doc['variant']}",
    gold=lambda doc: doc["ground_truth"],
    meta=lambda doc: {"answer_type": doc["answer_type"]},
    image="decoded_image",
    categories=lambda doc: {
        "seed": [doc["id"]],
        "variant": [str(doc["variant"])],
        "subject": [doc["subject"]],
        "level": [doc["knowledge_level"]],
    },
    breakdown=("variant", "subject", "level"),
    cluster="seed",
    prepare=with_variants,
    extra=worst_case,
)

TASKS = (_dynamath, _dynamath.official(official_prompt))
