"""OlympiadBench: its English, text-only competition maths problems with open answers (OE_TO_maths_en_COMP)."""

from rlfr_mm.tasks.spec import Doc, TaskSpec

_ANSWER_TYPES = {
    "Numerical": "a numerical value",
    "Expression": "an expression",
    "Equation": "an equation",
    "Interval": "an interval",
    "Tuple": "a tuple",
}


def official_prompt(doc: Doc) -> str:
    """The prompt of OpenBMB/OlympiadBench's inference code, which names the answer's type and unit."""
    kind = _ANSWER_TYPES.get(doc["answer_type"], "")
    if doc["is_multiple_answer"]:
        wanted = f"The problem has multiple answers, each of them should be {kind}. " if kind else ""
        box = "\\boxed{multiple answers connected with commas}"
    else:
        wanted = f"The answer of The problem should be {kind}. " if kind else ""
        box = "\\boxed{answer}"
    unit = "(unit)" if doc["unit"] else ""
    note = ", note that the unit of the answer should not be included in \\boxed{}" if doc["unit"] else ""
    return (
        f"The following is an open-ended problem from an International Math competition. {wanted}Please calculate the "
        "answer according to the given requirements and the information provided. Please use LaTeX format to "
        "represent the variables and formulas used in the solution process and results. Please end your solution with "
        f'"So the final answer is {box}{unit}." and give the result explicitly{note}.\n'
        f"{_question(doc)}"
    )


def _question(doc: Doc) -> str:
    return f"{doc['context']}\n{doc['question']}" if doc["context"] else doc["question"]


_olympiadbench = TaskSpec(
    name="rlfr_olympiadbench",
    benchmark="OlympiadBench",
    dataset="Hothan/OlympiadBench",
    config="OE_TO_maths_en_COMP",
    splits=("train",),
    rows=674,
    scorer="olympiadbench",
    problem_id=lambda doc: str(doc["id"]),
    question=_question,
    gold=lambda doc: doc["final_answer"][0],
    meta=lambda doc: {
        "answer_type": doc["answer_type"],
        "is_multiple_answer": doc["is_multiple_answer"],
        "precision": doc["error"],
        "unit": doc["unit"],
    },
    categories=lambda doc: {"subfield": [doc["subfield"]], "answer_type": [doc["answer_type"]]},
    breakdown=("subfield", "answer_type"),
    paper_column="OlympiadBench",
)

TASKS = (_olympiadbench, _olympiadbench.pass32(), _olympiadbench.official(official_prompt))
