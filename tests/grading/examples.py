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
        "short line, else its conclusion (see below). Nothing else is read.",
        [
            Example("<think>8? No.</think><answer>9</answer>", "9", "correct", "tag"),
            Example("<answer>9</answer> or \\boxed{8}", "9", "correct", "nothing outside the tag is read"),
            Example("So $x = \\boxed{9}$.", "9", "correct", "box"),
            Example("The final answer is $9$. I hope it is correct.", "9", "correct", "statement"),
            Example("所以答案是 9。", "9", "correct", "statement"),
            Example("... so she pays 18.\n#### 18", "18", "correct", "GSM8K's format"),
            Example("... so she pays 18. #### 18", "18", "correct", "the same in one line"),
            Example("9", "9", "correct", "one short line"),
            Example("It is 9, as everybody knows.", "9", "no_answer", "no statement of the answer"),
            Example("<think>The answer is 9.</think> I am not sure.", "9", "no_answer", "thoughts are no answer"),
            Example("```python\nanswer = 9\n```", "9", "no_answer", "a program states nothing"),
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
            Example("\\boxed{9}. But this contradicts the condition.", "9", "no_answer", "rejected"),
            Example("\\boxed{9}. So x = 8.", "8", "correct", "the last word"),
            Example("\\boxed{9}. Note that 8 is too small.", "9", "correct", "an explanation"),
            Example("答案是9。不对，应该是8。", "9", "wrong"),
        ],
    ),
    Section(
        "Several answers",
        "All boxes of one sentence are read together with what joins them, unless the first was a step.",
        [
            Example("$x=\\boxed{1}$ or $x=\\boxed{-2}$", "1,-2", "correct"),
            Example("$x=\\boxed{1}$ or $x=\\boxed{-2}$", "1", "wrong"),
            Example("\\boxed{1} \\quad\\text{and}\\quad \\boxed{-2}", "1,-2", "correct"),
            Example("The answers are:\n- 1\n- -2", "1,-2", "correct"),
            Example("The answers are:\n- 1\n- -2", "1", "wrong"),
            Example("\\boxed{5} hours and \\boxed{30} minutes", "330 \\text{ minutes}", "correct"),
            Example("\\boxed{5} hours and \\boxed{30} minutes", "30", "wrong"),
            Example("For even n it is \\boxed{5}, for odd n \\boxed{6}.", "6", "wrong"),
            Example("The answer is 9. But 8 also works.", "9", "no_answer"),
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
            Example("The answer is 9, which is impossible.", "9", "wrong", "denied"),
            Example("The answer is 9, since 8 is impossible.", "9", "correct", "a reason"),
            Example("Twice the answer is 9.", "9", "no_answer"),
            Example("有人认为答案是9。", "9", "wrong", "quoted"),
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
            Example("<answer>bb</answer>", "C", "correct", "options BB, Bb, bb", ("BB", "Bb", "bb")),
        ],
    ),
    Section(
        "Conclusions",
        "Without a tag, a box or a statement, the last sentence counts if it begins like a conclusion and ends in its "
        "value, and so does a last line that is only a value.",
        [
            Example("She sells 9 eggs for $2 each. So she makes $18.", "18", "correct"),
            Example("Therefore, the probability is 2/3.", "\\frac{2}{3}", "correct"),
            Example("We multiply 6 by 7.\n\n**42**", "42", "correct", "the last line"),
            Example("Thus 12 is the answer.", "12", "correct"),
            Example('{"answer": "12"}', "12", "correct", "JSON"),
            Example("Thus 2x = 12.", "12", "no_answer", "still unsolved"),
            Example("So we divide both sides by 12.", "12", "no_answer", "a step"),
            Example("Therefore, it is not 12.", "12", "no_answer"),
            Example("So Ann has 5 and Bob has 12.", "12", "no_answer", "one of two values"),
            Example("So it could be 12.", "12", "no_answer"),
            Example("12 is the answer to part (a).", "12", "no_answer", "one part"),
            Example("We are given 12 apples.", "12", "no_answer", "no conclusion"),
        ],
    ),
    Section(
        "Signs around a box",
        "A box inside a calculation is not the answer. What follows a box and changes its value belongs to it, in the "
        "formula and in words. Brackets alone, remarks and the rest of the sentence change nothing.",
        [
            Example("x = -\\boxed{12}", "-12", "correct"),
            Example("The answer is \\boxed{12}!", "12", "correct", "the end of a sentence"),
            Example("\\boxed{12}!", "12", "wrong", "a factorial"),
            Example("2 \\times \\boxed{12}", "12", "no_answer"),
            Example("20 - \\boxed{12}", "12", "no_answer"),
            Example("$\\boxed{12}$ + 1", "12", "wrong"),
            Example("|\\boxed{12}| + 1", "12", "no_answer", "inside a formula"),
            Example("f(\\boxed{12})", "12", "no_answer"),
            Example("twice \\boxed{12}", "12", "no_answer"),
            Example("\\boxed{12} \\text{ squared}", "12", "wrong"),
            Example("(\\boxed{12})", "12", "correct"),
            Example("\\boxed{12} (apples)", "12", "correct"),
            Example("\\boxed{12} + 5 = 17", "12", "correct", "it fills a gap"),
            Example("x \\equiv \\boxed{3} \\pmod 7", "3", "correct", "the residue is in the box"),
            Example("\\boxed{3} \\pmod 7", "3", "wrong", "all numbers of this kind, not 3"),
            Example("\\boxed{12} \\bmod 5", "12", "wrong"),
            Example("x \\ge \\boxed{12}", "12", "no_answer", "an inequality"),
        ],
    ),
    Section(
        "Numbers",
        "Numbers are equal by value, exactly: a rounded value is another number. Only a decimal of more than twelve "
        "digits may stand for a number whose decimals have no end.",
        [
            Example("\\boxed{\\frac{1}{2}}", "0.5", "correct"),
            Example("\\boxed{2\\frac{1}{3}}", "\\frac{7}{3}", "correct", "mixed number"),
            Example("The answer is two thirds.", "\\frac{2}{3}", "correct", "in words"),
            Example("<answer>one hundred and five</answer>", "105", "correct"),
            Example("答案是三分之二。", "\\frac{2}{3}", "correct"),
            Example("共9个", "9", "correct"),
            Example("The answer is two thirds.", "\\frac{3}{2}", "wrong"),
            Example("The answer is the twelfth.", "12", "wrong", "an ordinal"),
            Example("\\boxed{5 \\text{ sixteenths}}", "5", "wrong", "another number"),
            Example("\\boxed{101 \\text{ in binary}}", "101", "wrong", "another base"),
            Example("\\boxed{1,234.0}", "1234", "correct"),
            Example("\\boxed{1.2 \\times 10^{3}}", "1200", "correct", "scientific notation"),
            Example("\\boxed{1.2e3}", "1200", "correct"),
            Example("\\boxed{1.2 \\times 10^{-3}}", "1200", "wrong"),
            Example("\\boxed{0.\\overline{3}}", "\\frac{1}{3}", "correct"),
            Example("\\boxed{0.333}", "\\frac{1}{3}", "wrong", "rounded"),
            Example("\\boxed{3.14}", "\\pi", "wrong", "rounded"),
            Example("\\boxed{3.1415926535898}", "\\pi", "correct", "fourteen digits"),
            Example("\\boxed{0.9999999999999}", "1", "wrong"),
            Example("\\boxed{50\\%}", "0.5", "correct"),
            Example("\\boxed{50\\%}", "50", "correct", "the percent sign may be missing"),
            Example("\\boxed{0.5\\%}", "0.5", "wrong", "0.5 is 50%"),
            Example("\\boxed{5}", "50\\%", "wrong"),
            Example("\\boxed{2,74}", "2.74", "correct", "a decimal comma"),
            Example("\\boxed{1,2}", "1.2", "wrong", "two numbers"),
            Example("\\boxed{7 \\approx 8}", "7", "wrong", "two numbers"),
            Example("\\boxed{9...}", "9", "wrong", "it goes on"),
            Example("\\boxed{C(5,2)}", "10", "correct", "combinations"),
            Example("\\boxed{101_2}", "101_{2}", "correct"),
            Example("\\boxed{12_5}", "12", "wrong", "another base"),
            Example("\\boxed{3 \\text{ to } 4}", "3:4", "correct"),
            Example("\\boxed{4:3}", "3:4", "wrong"),
        ],
    ),
    Section(
        "Formulas and equations",
        "Formulas are equal if they are the same function, equations if they say the same. Letters keep their case, "
        "their order in a name and their primes.",
        [
            Example("\\boxed{(x+1)(x-1)}", "x^2-1", "correct"),
            Example("\\boxed{1+2x+x^2}", "x^2+2x+1", "correct", "another order"),
            Example("\\boxed{2\\sqrt{2}}", "\\sqrt{8}", "correct"),
            Example("\\boxed{2x+1=y}", "y=2x+1", "correct", "sides exchanged"),
            Example("\\boxed{2x+4y=6}", "x+2y=3", "correct", "a multiple"),
            Example("\\boxed{x=3}", "3", "correct"),
            Example("\\boxed{2x=6}", "3", "wrong", "not solved"),
            Example("\\boxed{x^2<4}", "(-2,2)", "wrong", "not solved"),
            Example("\\boxed{-2<x<2}", "(-2,2)", "correct", "its interval"),
            Example("\\boxed{2x=3}", "3", "wrong"),
            Example("\\boxed{|x|=3}", "3", "wrong", "3 and -3"),
            Example("\\boxed{|z|=3}", "3", "correct", "the size of z"),
            Example("\\boxed{\\sin x=\\frac{1}{2}}", "\\frac{1}{2}", "correct", "the value of the sine"),
            Example("\\boxed{(x+1)^2}", "x^2+1", "wrong"),
            Example("\\boxed{x+2}", "|x+2|", "wrong", "they differ at -3"),
            Example(
                "\\boxed{\\lfloor\\frac{n+1}{2}\\rfloor}",
                "\\lceil n/2\\rceil",
                "correct",
                "n, m, k are whole if rounded",
            ),
            Example("\\boxed{\\sqrt[3]{-8}}", "-2", "correct", "odd roots are real"),
            Example("\\boxed{\\frac\\pi4}", "\\frac{\\pi}{4}", "correct"),
            Example("\\boxed{x^2+c}", "x^2+C", "correct", "a constant of integration"),
            Example("\\boxed{2X}", "2x", "wrong"),
            Example("<answer>2**n</answer>", "2^n", "correct", "as in code"),
            Example("\\boxed{2x=10 \\implies x=5}", "5", "correct"),
            Example("\\boxed{x=5 \\implies y=6}", "6", "wrong", "two letters"),
            Example("\\boxed{x=5=6}", "6", "wrong"),
            Example("\\boxed{\\frac{\\partial f}{\\partial x}}", "\\frac{\\partial f}{\\partial y}", "wrong"),
            Example("\\boxed{\\angle CBA}", "\\angle ABC", "correct", "the same angle"),
            Example("\\boxed{\\angle ACB}", "\\angle ABC", "wrong"),
            Example("\\boxed{A'}", "A", "wrong"),
        ],
    ),
    Section(
        "Words and names",
        "Words are compared one by one and in order; capitals and articles do not matter. The name of a value may be "
        "missing. If both sides have one, the words of one name must be among those of the other.",
        [
            Example("<answer>the parabola</answer>", "\\text{Parabola}", "correct"),
            Example("<answer>There is no solution.</answer>", "\\text{no solutions}", "correct"),
            Example("<answer>Bob is taller than Al</answer>", "Al is taller than Bob", "wrong"),
            Example("\\boxed{\\text{eat}}", "\\text{tea}", "wrong", "no product of letters"),
            Example("\\boxed{\\text{ray } AB}", "\\text{ray } BA", "wrong"),
            Example("\\boxed{XL}", "LX", "wrong", "Roman numerals"),
            Example("\\boxed{BA}", "AB", "correct", "a segment"),
            Example("\\boxed{\\text{red}, \\text{blue}}", "\\text{blue}, \\text{red}", "correct", "a list"),
            Example("\\boxed{\\text{Area} = 5}", "5", "correct"),
            Example("\\boxed{\\text{mean} = 3}", "\\text{mode} = 3", "wrong"),
            Example("<answer>twice the number = 10</answer>", "10", "wrong"),
            Example("<answer>width = 4, length = 3</answer>", "length = 3, width = 4", "correct"),
            Example("<answer>length = 4, width = 3</answer>", "length = 3, width = 4", "wrong"),
        ],
    ),
    Section(
        "Lists, points, sets, intervals and matrices",
        "Solutions and sets have no order; points, vectors and matrices do. Ends of intervals count.",
        [
            Example("\\boxed{2, 1}", "1,2", "correct"),
            Example("\\boxed{x = \\pm 2}", "-2, 2", "correct"),
            Example("\\boxed{2}", "\\pm 2", "wrong", "one is missing"),
            Example("\\boxed{\\{3, 1, 2\\}}", "\\{1,2,3\\}", "correct"),
            Example("\\boxed{\\{1, 2\\}}", "\\{1,2,3\\}", "wrong"),
            Example("\\boxed{x = 1 \\text{ and } y = 2}", "(1,2)", "correct"),
            Example("\\boxed{y = 2, x = 1}", "(1,2)", "correct"),
            Example("\\boxed{2, 1}", "x=1,y=2", "wrong", "names have an order"),
            Example("\\boxed{101,103,107}", "101, 103, 107", "correct", "a list, as the gold is"),
            Example("\\boxed{A(1,2)}", "(1,2)", "correct", "the name of a point"),
            Example("\\boxed{(2,1)}", "(1,2)", "wrong"),
            Example("\\boxed{x<2}", "(-\\infty,2)", "correct"),
            Example("\\boxed{1 \\le x < 2}", "[1,2)", "correct"),
            Example("\\boxed{(0,1]}", "(0,1)", "wrong", "a closed end"),
            Example("\\boxed{]0,1]}", "(0,1]", "correct"),
            Example("\\boxed{x>1, x<3}", "(1,3)", "correct", "both hold"),
            Example("\\boxed{x<-1, x>1}", "(-\\infty,-1)\\cup(1,\\infty)", "correct", "both cannot hold, so one does"),
            Example("\\boxed{x<-1 \\text{ and } x>1}", "(-\\infty,-1)\\cup(1,\\infty)", "wrong"),
            Example(
                "\\boxed{\\begin{bmatrix} 1 & 2 \\end{bmatrix}}", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "correct"
            ),
            Example("\\boxed{\\begin{pmatrix} 2 & 1 \\end{pmatrix}}", "\\begin{pmatrix} 1 & 2 \\end{pmatrix}", "wrong"),
        ],
    ),
    Section(
        "Units",
        "A unit may be missing. If both sides have one, they must agree after conversion, also where it stands behind "
        "the box. Any counted thing is a unit; words that make another number of a number are none.",
        [
            Example("\\boxed{5}", "5 \\text{ cm}", "correct"),
            Example("\\boxed{5 \\text{ centimeters}}", "5 \\text{ cm}", "correct"),
            Example("$\\boxed{5}$ cm.", "5 \\text{ cm}", "correct"),
            Example("\\boxed{50 \\text{ mm}}", "5 \\text{ cm}", "correct"),
            Example("\\boxed{1 \\text{ hour } 30 \\text{ minutes}}", "90 \\text{ minutes}", "correct"),
            Example("\\boxed{45^\\circ}", "45", "correct"),
            Example("$\\boxed{5}$ m.", "5 \\text{ cm}", "wrong"),
            Example("\\boxed{5 \\text{ cm}^2}", "5 \\text{ cm}", "wrong"),
            Example("\\boxed{5 \\text{ cents}}", "\\$5", "wrong"),
            Example("\\boxed{7t}", "7", "wrong", "a variable"),
            Example("\\boxed{5g}", "5", "wrong", "a variable, unless the gold has a unit"),
            Example("\\boxed{3\\mathrm{i}}", "3", "wrong", "a constant"),
            Example("\\boxed{5 \\text{ doubled}}", "5", "wrong"),
            Example("\\boxed{3 \\text{ cm and } 4 \\text{ cm}}", "3, 4", "correct"),
            Example("\\boxed{9'}", "9", "wrong"),
            Example("\\boxed{5个}", "5", "correct", "a counter"),
            Example("\\boxed{5个}", "5米", "wrong"),
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
