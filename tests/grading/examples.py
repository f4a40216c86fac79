"""Examples of what the strict rule accepts and refuses. Tests grade them; `python -m tests.grading.examples` writes
docs/grading.md from them.
"""

from pathlib import Path
from textwrap import fill
from typing import NamedTuple

from tabulate import tabulate

from rlfr_mm.grading import Item, Status

PAGE = Path(__file__).parents[2] / "docs" / "grading.md"
FRUIT = ("apple", "pear", "plum")
ANGLES = ("30°", "45°", "60°")


class Example(NamedTuple):
    """A response, the gold, the verdict, and why; `choices` are the texts of the options A, B, C."""

    response: str
    gold: str
    status: Status
    why: str = ""
    choices: tuple[str, ...] | None = None

    @property
    def item(self) -> Item:
        """The example for the grader."""
        return Item(self.response, self.gold, "choice" if self.choices else "math", self.choices)


class Section(NamedTuple):
    """Examples of one kind."""

    title: str
    text: str
    examples: list[Example]


SECTIONS = [
    Section(
        "Where the answer is read",
        "A closed `<answer>` tag counts alone. Without one it is the `<CONCLUSION>`, else whatever comes last: "
        'a box, or a sentence such as "the answer is 9". Without any of them, it is the whole response if that is one '
        "short line. Nothing else is read.",
        [
            Example("<think>8? No.</think><answer>9</answer>", "9", "correct", "tag"),
            Example("<answer>9</answer> or \\boxed{8}", "9", "correct", "nothing outside the tag is read"),
            Example("So $x = \\boxed{9}$.", "9", "correct", "box"),
            Example("The final answer is $9$. I hope it is correct.", "9", "correct", "statement"),
            Example("所以答案是 9。", "9", "correct", "statement"),
            Example("... so she pays 18.\n#### 18", "18", "correct", "GSM8K's format"),
            Example("9", "9", "correct", "one short line"),
            Example("It is 9, as everybody knows.", "9", "no_answer", "no statement of the answer"),
            Example("<think>The answer is 9.</think> I am not sure.", "9", "no_answer", "thoughts are no answer"),
        ],
    ),
    Section(
        "Displayed and styled answers",
        "How an answer is displayed does not matter, nor do tokens that end the turn.",
        [
            Example("The answer is:\n\n$$\n9\n$$", "9", "correct"),
            Example("## Final Answer\n\\[ x = 9 \\]", "9", "correct"),
            Example("The answer is\n\\begin{align*}x &= 3+6 \\\\ &= 9\\end{align*}", "9", "correct"),
            Example("**Answer:**\n```\n9\n```", "9", "correct"),
            Example("The answer is:\n\n> **9**", "9", "correct"),
            Example("The answer is 9.<|im_end|>", "9", "correct"),
            Example("\\boxed{9}<end_of_turn>\n<start_of_turn>user", "9", "correct"),
        ],
    ),
    Section(
        "Steps and the last word",
        "The last explicit answer counts. A box before it was a step.",
        [
            Example("The first part gives \\boxed{8}. The final answer is 9.", "9", "correct"),
            Example("\\boxed{8} hence \\boxed{9}", "9", "correct"),
            Example("\\boxed{9}. The answer is correct to the last digit.", "9", "correct", "a remark, not an answer"),
            Example("The answer is 8. No, the answer is 9.", "9", "correct"),
            Example("The answer is 9. Wait, that is wrong. The correct result is 8.", "9", "wrong"),
            Example("The answer is 9. Actually, it is 8.", "9", "no_answer", "taken back"),
            Example("The answer is 9. Wait, let me check: 3 * 3 = 9. Yes.", "9", "correct", "confirmed"),
        ],
    ),
    Section(
        "Several answers",
        "All boxes of one statement are read together, whatever joins them.",
        [
            Example("$x=\\boxed{1}$ or $x=\\boxed{-2}$", "1,-2", "correct"),
            Example("$x=\\boxed{1}$ or $x=\\boxed{-2}$", "1", "wrong"),
            Example("\\boxed{1} \\quad\\text{and}\\quad \\boxed{-2}", "1,-2", "correct"),
            Example("The answers are:\n- 1\n- -2", "1,-2", "correct"),
            Example("The answers are:\n- 1\n- -2", "1", "wrong"),
            Example("\\boxed{9}, or maybe 8", "9", "wrong"),
            Example("The answer is 9 (8 also works).", "9", "wrong"),
        ],
    ),
    Section(
        "Questions, quotations, conditions and denials",
        "An answer that the response does not assert is none.",
        [
            Example("The question asks whether the answer is 9.", "9", "no_answer"),
            Example("If the answer is 9, what is n?", "9", "no_answer"),
            Example("One may think the answer is 9, but it is 8.", "9", "no_answer"),
            Example("A student claims that the answer is 9.", "9", "no_answer"),
            Example("The answer is 9?", "9", "no_answer"),
            Example("The answer is not 9.", "9", "wrong"),
            Example("It is not \\boxed{9}.", "9", "no_answer"),
            Example("I think the answer is 9.", "9", "correct"),
        ],
    ),
    Section(
        "Options",
        "The options here are A apple, B pear, C plum, or A 30°, B 45°, C 60°. A letter counts only if the whole "
        "statement reads as that option. The option's text or value is as good as its letter.",
        [
            *(
                Example(response, "B", "correct", why, FRUIT)
                for response, why in (
                    ("B", ""),
                    ("\\boxed{\\textbf{(B)}}", ""),
                    ("<answer>B. pear</answer>", ""),
                    ("The answer is (B), because plums are blue.", "the reason is not read"),
                    ("<answer>a pear</answer>", ""),
                    ("The answer is B, not A.", ""),
                    ("Option B is correct.", ""),
                    ("I weighed them.\n\n**B**", "the last line"),
                )
            ),
            Example("<answer>x = 45°</answer>", "B", "correct", "the value of the option", ANGLES),
            Example("The answer is 45 degrees.", "B", "correct", "", ANGLES),
            *(
                Example(response, "B", "no_answer", why, FRUIT)
                for response, why in (
                    ("<answer>B or C</answer>", "open"),
                    ("<answer>B, but more likely C</answer>", ""),
                    ("<answer>B. pear C. plum</answer>", ""),
                    ("<answer>B. plum</answer>", "the text is another option's"),
                    ("<answer>not B</answer>", ""),
                    ("\\boxed{B = \\pi r^2}", "a formula"),
                    ("<answer>B(2,1)</answer>", "a point"),
                    ("<answer>All of them</answer>", ""),
                    ("The answer might be B.", ""),
                )
            ),
            Example("<answer>B = 60°</answer>", "B", "no_answer", "not the value of option B", ANGLES),
        ],
    ),
    Section(
        "Values",
        "Numbers are equal by value, formulas if they are the same function, lists element by element.",
        [
            Example("\\boxed{\\frac{1}{2}}", "0.5", "correct"),
            Example("\\boxed{1,234.0}", "1234", "correct"),
            Example("\\boxed{(x+1)(x-1)}", "x^2-1", "correct"),
            Example("\\boxed{x<2}", "(-\\infty,2)", "correct"),
            Example("\\boxed{0.333}", "\\frac{1}{3}", "wrong", "rounded"),
            Example("\\boxed{(2,1)}", "(1,2)", "wrong", "order counts in a point"),
            Example("\\boxed{(0,1]}", "(0,1)", "wrong", "open and closed ends differ"),
        ],
    ),
    Section(
        "Units",
        "A unit may be missing. If both sides have one, they must agree, also where it stands behind the box.",
        [
            Example("\\boxed{5}", "5 \\text{ cm}", "correct"),
            Example("\\boxed{5 \\text{ centimeters}}", "5 \\text{ cm}", "correct"),
            Example("$\\boxed{5}$ cm.", "5 \\text{ cm}", "correct"),
            Example("$\\boxed{5}$ m.", "5 \\text{ cm}", "wrong"),
        ],
    ),
    Section(
        "Records without an answer",
        "Text that stands for a missing value is no gold. The verdict is an error, which is neither right nor wrong.",
        [
            Example("\\boxed{nan}", "nan", "error"),
            Example("The answer is None.", "None", "error"),
            Example("<answer>{'value': '2'}</answer>", "{'value': '2'}", "error", "the value was not unpacked"),
            Example("<answer>None</answer>", "None", "correct", "an option may be called None", ("one", "None")),
        ],
    ),
]

_OUTCOMES = {"correct": "accepted", "wrong": "refused", "no_answer": "refused: no answer", "error": "ungradable"}
_HEAD = """# What the strict rule accepts

Written by `python -m tests.grading.examples`, whose examples are tests; do not edit.

`strict` is the rule of the training reward and the default of every score. It reads an answer only where the response
states one, compares it with the gold by value, and never guesses: what it cannot read is not right. The verdict says
what was read, how (`boxed+symbolic`), and where in the response (`span`), which the report marks. `official` is the
benchmark's own scorer instead ([parity](parity.md)).

In the tables, ⏎ is a line break.
"""


def page() -> str:
    """The text of docs/grading.md."""
    parts = [_HEAD]
    for section in SECTIONS:
        rows = [[_code(one.response), _code(one.gold), _OUTCOMES[one.status], one.why] for one in section.examples]
        table = tabulate(rows, ["response", "gold", "verdict", "why"], tablefmt="github", disable_numparse=True)
        parts.append(f"## {section.title}\n\n{fill(section.text, 118)}\n\n{table}\n")
    return "\n".join(parts)


def _code(text: str) -> str:
    text = text.replace("\n", " ⏎ ").replace("  ", " ").replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
