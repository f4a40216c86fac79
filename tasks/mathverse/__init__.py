"""MathVerse testmini: 788 problems in six versions: five that move more and more text into the image, and text only.

The leaderboard's main score is the accuracy without rating the chain of thought ("w/o"). Its prompt is `query_wo`.
"""

import re
from dataclasses import replace

from rlfr_mm.tasks.spec import Doc, TaskSpec

_CHOICE = re.compile(r"^\s*\(?([A-H])\)?\s*[:.)]\s*(.*)$", re.MULTILINE)


def choices(doc: Doc) -> tuple[str, ...] | None:
    """The option texts of a multiple-choice problem, read from the version of the question that contains them."""
    if doc["question_type"] != "multi-choice":
        return None
    found = _CHOICE.findall(doc["question_for_eval"].split("Choices:")[-1])
    return tuple(text.strip() for _, text in found) or None


_testmini = TaskSpec(
    name="rlfr_mathverse_testmini",
    benchmark="MathVerse",
    dataset="CaraJ/MathVerse-lmmseval",
    config="testmini",
    splits=("testmini",),
    rows=3940,
    scorer="mathverse",
    problem_id=lambda doc: doc["sample_index"],
    question=lambda doc: doc["query_cot"],
    instruction="think_answer",  # also for the version without images
    choices=choices,
    meta=lambda doc: {"question_type": doc["question_type"], "question": doc["question_for_eval"]},
    image="image",
    categories=lambda doc: {
        "version": [doc["problem_version"]],
        "subject": [doc["metadata"]["subject"]],
        "subfield": [doc["metadata"]["subfield"]],
        "problem": [doc["problem_index"]],
    },
    breakdown=("version", "subject", "subfield"),
    cluster="problem",
    paper_column="MathVerse",
)
_versions = tuple(
    replace(
        _testmini,
        name=f"{_testmini.name}_{version}",
        config="testmini_version_split",
        splits=(version,),
        rows=788,
        paper_column=None,
    )
    for version in ("text_dominant", "text_lite", "vision_intensive", "vision_dominant", "vision_only")
)
_text_only = replace(
    _versions[0],
    name=f"{_testmini.name}_text_only",
    config="testmini_text_only",
    splits=("text_only",),
    image=None,
)

TASKS = tuple(
    task for spec in (_testmini, *_versions, _text_only) for task in (spec, spec.official(lambda doc: doc["query_wo"]))
)
