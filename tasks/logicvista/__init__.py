"""LogicVista: 448 visual multiple-choice problems over five reasoning skills; some have several right letters.

Its authors send the bare question, which is the `official` protocol. VLMEvalKit leaves out the item `v1_382`.
"""

from rlfr_mm.data.prompts import with_instruction
from rlfr_mm.tasks.records import as_published
from rlfr_mm.tasks.spec import TaskSpec

_logicvista = TaskSpec(
    name="rlfr_logicvista",
    benchmark="LogicVista",
    dataset="lscpku/LogicVista",
    splits=("test",),
    rows=448,
    modality="image",
    scorer="logicvista",
    problem_id=lambda doc: doc["id"],
    prompt=lambda doc: with_instruction(doc["question"], "think_answer"),
    gold=lambda doc: doc["answer"],
    image="image",
    categories=lambda doc: {"skill": list(doc["skill"]), "capability": list(doc["broad_capability"])},
    breakdown=("skill", "capability"),
    paper_column="LogicVista",
)

TASKS = (_logicvista, _logicvista.official(as_published("question")))
