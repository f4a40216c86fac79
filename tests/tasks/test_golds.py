"""Every gold answer of every task, given as a response, is graded correct."""

from pathlib import Path

import pytest

from rlfr_mm.grading import grade_all
from rlfr_mm.tasks.registry import TASKS, TaskSpec, load

# the sampled tasks and those with the benchmark's own prompt have the same golds; Geometry3K's has options
DIFFERENT = {
    name: spec
    for name, spec in TASKS.items()
    if spec.samples == 1 and (spec.protocol == "rlfr" or spec.scorer == "geometry3k")
}
FORMS = {
    "boxed": "So $\\boxed{{{}}}$.",
    "tag": "<think>\nThe answer is 7? No.\n</think>\n<answer>{}</answer>",
    "statement": "Let me see.\n\nThe final answer is {}",
}


@pytest.mark.parametrize("spec", DIFFERENT.values(), ids=DIFFERENT)
def test_every_gold_is_graded_correct(spec: TaskSpec, mirror: Path) -> None:
    docs = load(spec, mirror)
    docs = docs.remove_columns([spec.image] if spec.image else [])
    golds = [spec.gold(doc) for doc in docs]
    for form, text in FORMS.items():
        # a statement ends with its line
        said = [gold.replace("\n", ", ") if form == "statement" else gold for gold in golds]
        verdicts = grade_all([spec.item(doc, text.format(gold)) for doc, gold in zip(docs, said, strict=True)])
        wrong = [
            (gold, verdict)
            for gold, verdict in zip(golds, verdicts, strict=True)
            # LogicVista's v1_382 has no answer, which is ungradable and no answer of the model's
            if not (verdict.correct if gold else verdict.status == "error")
        ]
        assert not wrong, (form, wrong[:5])
