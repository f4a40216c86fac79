"""Responses that break graders: every one gets a verdict, in time. RLFR_FUZZ=10000 draws that many of them."""

import itertools
import os
import random
from typing import get_args

import pytest

from rlfr_mm.grading import SCORERS, Item, RuleName, grade, grade_all

BIG = 100_000
DEADLINE_S = 5.0


def _big(unit: str) -> str:
    return unit * (BIG // len(unit))


# 100 kB of what a parser or a regular expression could stumble over
BIG_RESPONSES = {
    "digits": _big("7"),
    "digits with commas": _big("7,"),
    "boxed digits": f"\\boxed{{{_big('7')}}}",
    "opening boxes": _big("\\boxed{"),
    "closing braces": _big("}"),
    "nested braces in a box": f"\\boxed{{{_big('{')}1{_big('}')}}}",
    "nested boxes": _big("\\boxed{1") + _big("}"),
    "empty boxes": _big("\\boxed{}"),
    "opening tags": _big("<answer>"),
    "tags": _big("<answer>1</answer>"),
    "backslashes": _big("\\"),
    "dollars": _big("$"),
    "spaces": " " * BIG,
    "lines": "\n" * BIG,
    "letters": _big("A"),
    "spaced letters": _big("A "),
    "options": _big("(A) 1 "),
    "multi-select": _big("A, B and "),
    "statements": _big("the answer is "),
    "statements of options": _big("Option A is the correct answer. "),
    "equal signs": _big("x="),
    "brackets": _big("("),
    "fractions": _big("\\frac"),
    "roots": _big("\\sqrt"),
    "text commands": _big("\\text{"),
    "closed text commands": _big("\\text{a}"),
    "stars": _big("*"),
    "bold": _big("**a** "),
    "minus signs": _big("-"),
    "points": _big("."),
    "point digits": _big("1."),
    "json": _big('{"short answer": '),
    "json lists": "{" + _big("[") + "}",
    "answer words": _big("Answer: "),
    "hash marks": _big("####"),
    "sentences": _big("So it is 3. "),
    "conclusions": _big("<CONCLUSION>"),
    "final answers": _big("So the final answer is "),
    "minerva endings": _big("final answer is $"),
    "array environments": _big("\\begin{array}{"),
    "units": _big(" cm"),
    "chinese": _big("答案是"),
    "degree signs": _big("^{\\circ}"),
    "infinities": _big("\\infty,"),
    "spaces behind a letter": "A" + " " * BIG + "x",
    "lines behind a letter": "A" + "\n" * BIG + "x",
    "words": _big("word "),
    "clauses": "The area " + _big("is a ") + "5",
    "compound units": _big("5 m/s "),
    "commas behind a letter": "A, " + _big(", ") + "!",
    "ampersands": _big(" & ") + "!",
    "ampersands behind a letter": "A" + _big(" & ") + "!",
    "a long number in OpenAI's form": "#### 1" + _big("2") + "!",
    "zeros behind a point": "1." + _big("0") + "1",
    "opening roman commands": _big("\\mathrm{"),
    "opening displays": _big("\\["),
    "opening environments": _big("\\begin{align}"),
    "lines behind a dollar": "$" + _big("\n"),
    "dollars on lines": _big("$\n"),
    "corrections": _big("Wait, no. "),
    "list items": _big("- a\n"),
    "boxed intervals": "\\boxed{" + _big("(1,2)\\cup") + "}",
}
SMALL_PIECES = [
    "\\boxed{", "}", "{", "<answer>", "</answer>", "\\frac{1}{0}", "\\sqrt[3]{-8}", "x=",
    "the answer is ", "(B)", "B, D", "1,234.50", "50\\%", "$", "\\$", "\\infty", "\\int_0^1 x dx", "12!",
    "\x00", "\x1b[31m", "😀", "\udcff", "\u202e", "٣", "Ω", "答案是", "１２",
    "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}", "nan", "inf", "1e999", "-0", "--1", "1/0", "\\pm",
    "[1,2)", "(-\\infty,1]\\cup", "i^i", "__import__('os').system('true')", "\\left", "\\\\", "\n", " ",
    "####", "A:", ".", ",", "=", "\\text{ cm}", "^{\\circ}", "x^2+y^2", "3:4", '{"short answer": "B"}',
    "<CONCLUSION>", "</CONCLUSION>", "%s%n", "a" * 300, "\\input{/etc/passwd}", "I hope it is correct.",
    "7" * 300,
]  # fmt: skip
SLOW_PIECES = ["9^{9^{9^{9}}}", "10^{10^{10^{10}}}", "\\sum_{i=1}^{10^9} \\sin(i)", "20000!"]
GOLDS = ["5", "\\frac{1}{2}", "B", "(1,2]", "x^2", "\\text{Monday}", "1,-2", ""]


def draw_items(count: int, seed: int) -> list[Item]:
    random_ = random.Random(seed)
    items = []
    for _ in range(count):
        pieces = random_.choices(SMALL_PIECES, k=random_.randint(1, 12))
        if random_.random() < 0.03:
            pieces[-1] = f"\\boxed{{{random_.choice(SLOW_PIECES)}}}"
        response = "".join(pieces)
        choices = random_.choice([None, None, ("5", "B", "\\frac{1}{2}", "")])
        meta = {
            "answer_type": random_.choice([None, "float", "integer", "list", "text", "multiple choice"]),
            "precision": random_.choice([None, 1, 2]),
            "question": random_.choice(["", "Which year? (_) dots in each", "(A) 5 (B) 7"]),
        }
        items.append(Item(response, random_.choice(GOLDS), random_.choice(sorted(SCORERS)), choices, meta))
    return items


def assert_read_in_time(items: list[Item], rule: RuleName) -> None:
    """Each answer is looked for in under a second of CPU time; the comparison has what is left of it."""
    for item, verdict in zip(items, grade_all(items, rule, deadline_s=1.0), strict=True):
        told = (item.scorer, rule, item.choices, len(item.response), verdict.detail)
        assert verdict.status != "error" or "the gold" in verdict.detail, told  # a gold that no option has
        assert not (verdict.status == "timeout" and verdict.extracted is None), told


@pytest.mark.parametrize("name", BIG_RESPONSES)
def test_hundred_kilobytes_of_anything_are_read_in_little_time(name):
    seen = set()
    for scorer, rule in itertools.product(SCORERS, get_args(RuleName)):
        if SCORERS[scorer].rule(rule) not in seen:
            seen.add(SCORERS[scorer].rule(rule))
            items = [Item(BIG_RESPONSES[name], "7", scorer, choices) for choices in (None, ("1", "B", "seven"))]
            assert_read_in_time(items, rule)


@pytest.mark.parametrize("form", ["<answer>{}</answer>", "The answer is {}", "\\boxed{{{}}}", "#### {}"])
def test_hundred_kilobytes_of_a_stated_answer_are_read_in_little_time(form):
    kinds = (("math", None), ("mathvista", None), ("mathvista", ("1", "B", "seven")))
    assert_read_in_time(
        [Item(form.format(big), "7", *kind) for big in BIG_RESPONSES.values() for kind in kinds], "strict"
    )


def test_of_a_huge_response_the_end_is_read():
    for response in ("\\boxed{1} " + "and so on, " * 10**6 + "The answer is 7.", "The answer is 7. " + "7" * 10**7):
        assert grade(Item(response, "7")).correct == response.endswith("7."), response[:20]


def test_every_hostile_response_gets_a_verdict_in_time():
    items = draw_items(int(os.environ.get("RLFR_FUZZ", "120")), seed=0)
    for rule in get_args(RuleName):
        for item, verdict in zip(items, grade_all(items, rule, DEADLINE_S), strict=True):
            assert verdict.score == float(verdict.status == "correct")
            assert verdict.unscored == bool(verdict.detail), (item, verdict)
            assert verdict.status != "timeout" or "CPU time" in verdict.detail, (item, verdict)
            assert not (verdict.status == "timeout" and verdict.extracted is None), (item, verdict)
