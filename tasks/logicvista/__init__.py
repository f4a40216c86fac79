"""LogicVista: 448 visual multiple-choice problems over five reasoning skills, some with several right letters.

The authors' prompt, and so the `official` protocol, is the bare question. VLMEvalKit leaves out the item `v1_382`.
"""

from rlfr_mm.tasks.spec import TaskSpec

_logicvista = TaskSpec(
    name="rlfr_logicvista",
    benchmark="LogicVista",
    dataset="lscpku/LogicVista",
    rows=448,
    scorer="logicvista",
    problem_id=lambda doc: doc["id"],
    image="image",
    categories=lambda doc: {"skill": list(doc["skill"]), "capability": list(doc["broad_capability"])},
    breakdown=("skill", "capability"),
    paper_column="LogicVista",
)

TASKS = (_logicvista, _logicvista.official())
