"""Runs to export: records in the datasets' shapes and responses to them, graded by the real graders."""

from pathlib import Path
from typing import Any

from rlfr_mm.eval.engine import records, run_files
from rlfr_mm.eval.engine.records import Manifest, ModelInfo, Session, TaskPlan
from rlfr_mm.eval.engine.scoring import doc_fields, graded_rows
from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks import registry

MODEL = "acme/tiny-vl-3b"
GREEDY = {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "do_sample": False, "until": []}

Answers = list[tuple[dict[str, Any], list[str]]]  # records and the responses to each


def make_run(run: Path, answers: dict[str, Answers], rows_expected: int | None = None, **plan_changes: Any) -> Path:
    """A run folder whose tasks were answered once in full, unless `rows_expected` says that there are more records."""
    plans = {}
    for name, found in answers.items():
        spec = registry.task(name)
        samples = len(found[0][1])
        plan = TaskPlan(
            dataset=spec.dataset,
            config=spec.config,
            splits=list(spec.splits),
            revision="0123456789abcdef0123456789abcdef01234567",
            data_hash=records.digest([doc for doc, _ in found]),
            rows=len(found),
            rows_expected=rows_expected or len(found),
            changed_data=False,
            problems=len(found),
            samples=samples,
            generation=GREEDY,
            scorer=spec.scorer,
            scorer_version=SCORERS[spec.scorer].version,
        ).model_copy(update=plan_changes)
        fields = [
            doc_fields(spec, plan, doc_id, doc, records.doc_hash(doc))
            | {
                "sample_index": index,
                "prompt": spec.text(doc),
                "generation": GREEDY,
                "generation_hash": records.digest(GREEDY),
                "response": response,
                "prompt_tokens": 12,
                "completion_tokens": len(response.split()),
            }
            for doc_id, (doc, responses) in enumerate(found)
            for index, response in enumerate(responses)
        ]
        run_files.write_rows(run / name / run_files.SAMPLES, graded_rows(fields))
        plans[name] = plan
    session = Session(
        started="2026-03-04T05:06:07+00:00",
        command="python -m eval.run --model vllm,pretrained=acme/tiny,api_key=abc123 --gen_kwargs max_new_tokens=64",
        git_commit="fedcba9876543210",
        libraries={"torch": "2.15.0"},
        hardware={"cpu": "16 cores"},
    )
    info = ModelInfo(backend="vllm", name=MODEL, revision="main", weights_sha256="00ff")
    run_files.write_manifest(run, Manifest(model=info, seed=0, batch_size=8, tasks=plans, sessions=[session]))
    return run


def _mathvista(pid: str, answer: str, answer_type: str, choices: list[str] | None, skills: list[str]) -> dict[str, Any]:
    free = choices is None
    return {
        "pid": pid,
        "question": f"How much is it in picture {pid}?",
        "image": f"images/{pid}.jpg",
        "decoded_image": None,
        "choices": choices,
        "unit": None,
        "precision": 1.0 if answer_type == "float" else None,
        "answer": answer,
        "question_type": "free_form" if free else "multi_choice",
        "answer_type": answer_type,
        "metadata": {
            "category": "math-targeted-vqa",
            "context": "scientific figure",
            "grade": "college",
            "img_height": 720,
            "img_width": 1514,
            "language": "english",
            "skills": skills,
            "source": "SciBench",
            "split": "testmini",
            "task": "textbook question answering" if free else "math word problem",
        },
        "query": f"Hint: Answer.\nQuestion: How much is it in picture {pid}?",
    }


def _mathvision(number: str, answer: str, options: list[str], level: int, subject: str) -> dict[str, Any]:
    return {
        "id": number,
        "question": "Which number stands for the sign?\n<image1>",
        "options": options,
        "image": f"images/{number}.jpg",
        "decoded_image": None,
        "answer": answer,
        "solution": None,
        "level": level,
        "subject": subject,
    }


def _mathverse(index: str, problem: str, version: str, answer: str) -> dict[str, Any]:
    question = f"Find the angle of problem {problem}.\nChoices:\nA:30°\nB:45°\nC:60°\nD:90°"
    return {
        "sample_index": index,
        "problem_index": problem,
        "problem_version": version,
        "question": question,
        "image": None,
        "answer": answer,
        "question_type": "multi-choice",
        "metadata": {"split": "testmini", "source": "Geo", "subject": "Plane Geometry", "subfield": "Angle"},
        "query_wo": question,
        "query_cot": question,
        "question_for_eval": question,
    }


def wemath_record(group: str, key: str, answer: str) -> dict[str, Any]:
    return {
        "ID": group,
        "split": "testmini",
        "knowledge concept": "Area of Squares",
        "question": f"The area in {group} {key} is (  ) square metres.",
        "option": "A. 4;B. 9;C. 16; D. No correct answer",
        "answer": answer,
        "image_path": None,
        "key": key,
        "question number": 1,
        "knowledge concept description": "Area of Squares: a side times itself.",
    }


def _logicvista(number: str, answer: str, skill: str) -> dict[str, Any]:
    return {
        "question": "Which choices fit the pattern? Select from A, B, C and D.",
        "answer": answer,
        "reasoning": "The dot moves.",
        "skill": [skill],
        "broad_capability": ["diagram"],
        "specific_capability": ["sequence pattern"],
        "imagesource": "drawn",
        "sourcelink": "",
        "liscenced": "true",
        "id": number,
        "image": None,
    }


def _visulogic(number: str, label: str, tag: str) -> dict[str, Any]:
    return {
        "image_path": f"images/{number}.png",
        "question": "<image> Choose the figure that comes next: A, B, C or D.",
        "label": label,
        "id": number,
        "tag": tag,
        "image": None,
    }


def _dynamath(seed: str, variant: int, truth: str) -> dict[str, Any]:
    return {
        "id": seed,
        "question": f"What is the period of y = sin({variant} x)? (seed {seed})",
        "image": f"image/{seed}.png",
        "decoded_image": None,
        "ground_truth": truth,
        "answer_type": "float",
        "subject": "analytic geometry",
        "knowledge_level": "high school",
        "variant": variant,
    }


def _boxed(answer: str) -> list[str]:
    return [f"<think>I look at it.</think><answer>\\boxed{{{answer}}}</answer>"]


BOARDS: dict[str, Answers] = {
    "rlfr_mathvista_testmini": [
        (_mathvista("1", "1.2", "float", None, ["scientific reasoning"]), _boxed("1.2")),
        (_mathvista("2", "7", "integer", None, ["arithmetic reasoning", "numeric commonsense"]), _boxed("7.4")),
        (_mathvista("3", "145°", "text", ["135°", "140°", "145°", "150°"], ["geometry reasoning"]), _boxed("C")),
        (_mathvista("4", "Yes", "text", ["Yes", "No"], ["logical reasoning"]), ["I can not see anything here"]),
    ],
    "rlfr_mathvision_test": [
        (_mathvision("1", "60", [], 2, "arithmetic"), _boxed("60")),
        (_mathvision("2", "C", ["1", "2", "3", "4", "5"], 1, "arithmetic"), _boxed("C")),
        (_mathvision("3", "A", ["A", "B", "C", "D", "E"], 2, "topology"), _boxed("D")),
    ],
    "rlfr_mathverse_testmini": [
        (_mathverse("1", "1", "Text Dominant", "A"), _boxed("A")),
        (_mathverse("2", "1", "Text Lite", "A"), _boxed("B")),
        (_mathverse("6", "2", "Text Dominant", "D"), _boxed("D")),
    ],
    "rlfr_wemath_testmini": [
        (wemath_record("2steps_1", "2steps_1", "A"), _boxed("A")),
        (wemath_record("2steps_1", "2steps_2", "B"), _boxed("B")),
        (wemath_record("2steps_1", "2steps_multi", "C"), _boxed("C")),
        (wemath_record("2steps_2", "2steps_1", "A"), _boxed("B")),
        (wemath_record("2steps_2", "2steps_2", "B"), _boxed("B")),
        (wemath_record("2steps_2", "2steps_multi", "C"), _boxed("C")),
        (wemath_record("2steps_3", "2steps_1", "A"), _boxed("A")),
        (wemath_record("2steps_3", "2steps_2", "B"), _boxed("B")),
        (wemath_record("2steps_3", "2steps_multi", "C"), _boxed("A")),
    ],
    "rlfr_logicvista": [
        (_logicvista("v1_0", "C", "inductive"), _boxed("C")),
        (_logicvista("v1_1", "B, D", "inductive"), _boxed("B, D")),
        (_logicvista("v1_2", "A", "spatial"), _boxed("B")),
    ],
    "rlfr_visulogic": [
        (_visulogic("00000", "A", "Quantitative Reasoning"), _boxed("A")),
        (_visulogic("00001", "D", "Other"), _boxed("B")),
    ],
    "rlfr_dynamath": [
        (_dynamath("1", 1, "6.2832"), _boxed("6.2832")),
        (_dynamath("1", 2, "3.1416"), _boxed("3.1416")),
        (_dynamath("2", 1, "6.2832"), _boxed("6.2832")),
        (_dynamath("2", 2, "3.1416"), _boxed("9")),
    ],
}


def math500(count: int) -> list[dict[str, Any]]:
    return [
        {
            "problem": f"Compute ${number} + 1$.",
            "solution": "",
            "answer": str(number + 1),
            "subject": "Algebra",
            "level": 1 + number % 2,
            "unique_id": f"test/algebra/{number}.json",
        }
        for number in range(count)
    ]


# Responses that formats must carry as they are; those without an answer are graded alike.
ODD_TEXTS = (
    "=SUM(A1:A2) \\boxed{1}",
    " leading and trailing \n",
    'quotes "here", tabs\there\nand lines; \\boxed{3}',
    "\u2028 separator, emoji \U0001f600, null",
    "",
    "\\boxed{6}",
    "12",
    "#NAME? +1 -1 @x \\boxed{8}",
)

TEXT: dict[str, Answers] = {
    "rlfr_math500": [(doc, [text]) for doc, text in zip(math500(len(ODD_TEXTS)), ODD_TEXTS, strict=True)]
}
SAMPLED: dict[str, Answers] = {
    "rlfr_math500_pass32": [
        (doc, [f"\\boxed{{{n + 1}}}", "\\boxed{0}", "none", "\\boxed{1}"]) for n, doc in enumerate(math500(3))
    ]
}
DRAWN: dict[str, Answers] = {
    "rlfr_quickstart": [
        (
            {"id": f"q{n}", "level": 1, "question": f"{n} + 1 =", "solution": str(n + 1), "image": None},
            [f"\\boxed{{{n + 1}}}"],
        )
        for n in range(2)
    ]
}
