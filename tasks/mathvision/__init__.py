"""MATH-V: 3,040 competition problems with images from 16 subjects at 5 levels. Its testmini has 304 of them."""

from dataclasses import replace

from rlfr_mm.data.prompts import with_options
from rlfr_mm.tasks.records import without_image_markers
from rlfr_mm.tasks.spec import Doc, TaskSpec


def options(doc: Doc) -> str:
    """The option lines of the official prompt; "" if the options are letters, whose meaning the picture shows."""
    texts = list(doc["options"])
    if "".join(texts) in ("", "ABCDE"):
        return ""
    return "".join(f"({letter}) {text}\n" for letter, text in zip("ABCDE", texts, strict=True))


def question(doc: Doc) -> str:
    return with_options(without_image_markers(doc["question"]), list(doc["options"]))


def official_prompt(doc: Doc) -> str:
    """The prompt of mathllm/MATH-V, models/GPT4V.py."""
    return (
        'Please solve the problem and put your answer in one "\\boxed{}". If it is a multiple choice question, only '
        f'one letter is allowed in the "\\boxed{{}}".\n{doc["question"]}\n{options(doc)}'
    )


_test = TaskSpec(
    name="rlfr_mathvision_test",
    benchmark="MathVision",
    dataset="MathLLMs/MathVision",
    rows=3040,
    scorer="mathvision",
    problem_id=lambda doc: doc["id"],
    question=question,
    choices=lambda doc: tuple(doc["options"]) or None,
    image="decoded_image",
    categories=lambda doc: {"subject": [doc["subject"]], "level": [str(doc["level"])]},
    breakdown=("subject", "level"),
)
# The paper's scripts evaluate MathVision_MINI, and nearly all of its MathVision scores are multiples of 1/304.
_testmini = replace(_test, name="rlfr_mathvision_testmini", splits=("testmini",), rows=304, paper_column="MathVision")

TASKS = (_test, _test.official(official_prompt), _testmini, _testmini.official(official_prompt))
