"""GSM8K: 1,319 grade-school word problems. The answer is the number after `####`.

The `official` protocol here is the bare problem, without the worked examples of the authors' prompt.
"""

from rlfr_mm.tasks.records import text_digest
from rlfr_mm.tasks.spec import TaskSpec

_gsm8k = TaskSpec(
    name="rlfr_gsm8k",
    benchmark="GSM8K",
    dataset="openai/gsm8k",
    revision="740312add88f781978c0658806c59bc2815b9866",
    config="main",
    rows=1319,
    data_hash="e502d1eed118002d",
    scorer="gsm8k",
    problem_id=lambda doc: text_digest(doc["question"]),
    gold=lambda doc: doc["answer"].split("####")[-1].strip().replace(",", ""),
)

TASKS = (_gsm8k, _gsm8k.pass32(), _gsm8k.official())
