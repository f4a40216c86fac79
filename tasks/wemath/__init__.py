"""We-Math testmini: 525 groups of a problem with two or three steps and of one-step problems for each of its steps.

Each group falls into one of four classes (arXiv 2407.01284; We-Math/We-Math, evaluation/four_dimensional_metrics.py):

- insufficient knowledge (IK): the composite problem and at least one step are wrong,
- inadequate generalisation (IG): the composite is wrong although all steps are right,
- complete mastery (CM) or rote memorisation (RM): the composite is right; the steps decide (`four_dimensions`).
"""

import re
from collections import Counter, defaultdict
from collections.abc import Sequence

from rlfr_mm.tasks.spec import Doc, Row, TaskSpec

_OPTION = re.compile(r"(?:^|;)\s*([A-I])\.\s*")


def choices(doc: Doc) -> tuple[str, ...]:
    """The option texts of "A. 15π;B. 10π;C. 5π; D. No correct answer"."""
    return tuple(text.strip() for text in _OPTION.split(doc["option"])[2::2])


def official_prompt(doc: Doc) -> str:
    """The prompt of We-Math/We-Math's README."""
    return (
        "Now, we require you to solve a multiple-choice math question. Please briefly describe your thought process "
        "and provide the final answer(option).\n"
        f"Question: {doc['question']}\n"
        f"Option: {doc['option']}\n"
        "Regarding the format, please answer following the template below, and be sure to include two <> symbols:\n"
        "<Thought process>: <<your thought process>> <Answer>: <<your option>>"
    )


def four_dimensions(rows: Sequence[Row]) -> dict[str, float]:
    """IK, IG, CM and RM as fractions of the groups, and the scores (groups - 0.5 IG - RM - IK) / groups.

    A right composite is mastery if all steps are right (strict) or if at least one is (loose); otherwise it is rote
    memorisation. The official script divides by the constant 525. Here, groups that lack a step or the composite are
    left out and counted as `incomplete_groups`; without a complete group the fractions are NaN. With several samples
    per problem, the i-th samples of a group's problems form one group.
    """
    groups: defaultdict[tuple[str, int], dict[str, bool]] = defaultdict(dict)
    for row in rows:
        group, step = row["categories"]["group"][0], row["categories"]["step"][0]
        groups[group, row["sample_index"]][step] = row["status"] == "correct"
    counts: Counter[str] = Counter()
    for (group, _), right in groups.items():
        steps = int(group[0])
        one_step = [right.get(f"{steps}steps_{i}") for i in range(1, steps + 1)]
        composite = right.get(f"{steps}steps_multi")
        if None in (*one_step, composite):
            counts["incomplete"] += 1
        elif composite:
            counts["CM strict" if all(one_step) else "RM strict"] += 1
            counts["CM loose" if any(one_step) else "RM loose"] += 1
        else:
            counts["IG" if all(one_step) else "IK"] += 1
    total = sum(counts[kind] for kind in ("CM strict", "RM strict", "IG", "IK"))

    def share(*kinds: str) -> float:
        return sum(counts[kind] for kind in kinds) / total if total else float("nan")

    numbers = {"groups": float(total), "incomplete_groups": float(counts["incomplete"])}
    numbers |= {"IK": share("IK"), "IG": share("IG")}
    for rule in ("strict", "loose"):
        numbers[f"CM {rule}"] = share(f"CM {rule}")
        numbers[f"RM {rule}"] = share(f"RM {rule}")
        numbers[rule] = numbers[f"CM {rule}"] + 0.5 * numbers["IG"]  # 1 - IG / 2 - RM - IK, within [0, 1] as computed
    return numbers


def _steps(doc: Doc) -> str:
    return doc["key"][0] if doc["key"].endswith("multi") else "1"


_testmini = TaskSpec(
    name="rlfr_wemath_testmini",
    benchmark="We-Math",
    dataset="We-Math/We-Math",
    splits=("testmini",),
    rows=1740,
    scorer="wemath",
    problem_id=lambda doc: f"{doc['ID']}/{doc['key']}",
    question=lambda doc: f"{doc['question']}\nOptions: {doc['option']}",
    choices=choices,
    image="image_path",
    categories=lambda doc: {
        "group": [doc["ID"]],
        "step": [doc["key"]],
        "steps": [_steps(doc)],
        "knowledge": [doc["knowledge concept"]],
    },
    breakdown=("steps", "knowledge"),
    cluster="group",
    extra=four_dimensions,
    # The paper does not say which score it reports; its 53.4 for Qwen2.5-VL-7B fits the loose one, not the strict one.
    headline="loose",
    paper_column="WeMath",
)

TASKS = (_testmini, _testmini.official(official_prompt))
