"""Draw visual-maths problems: count coloured shapes on a 3x3 board, then combine the counts step by step.

A problem has an 84x84 pixel picture, a question such as "Count red, add circles, then multiply by blue.", a solution,
and a demonstration that writes out each count and each step. Its level is the number of counts. Every operation is
injective in each operand, so that one wrong count or step always gives a wrong answer. `Rules` can make the chains of
operations longer and the answers larger.
"""

import hashlib
import math
import operator
import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from PIL import Image, ImageDraw

COLOURS = {"red": (214, 39, 40), "green": (34, 153, 68), "blue": (42, 97, 204), "yellow": (247, 190, 20)}
SHAPES = ("circles", "squares", "triangles")
OBJECTS = (*COLOURS, *SHAPES)  # what a question can ask to count
LEVELS = (2, 3, 4)
SPLITS = ("warmup", "train", "test")
LARGEST_COUNT = 9  # every cell of the board
BOARD = 3  # cells per side
CELL = 28  # pixels per side: one visual token of Qwen2.5-VL (2x2 patches of 14 pixels)

_SUPERSAMPLING = 8
_BACKGROUND = (250, 250, 247)
_EMPTY_SHARE = 0.12
_CHAINS_PER_BOARD = 12  # tries before a new board is drawn, which costs as much as the tries
_BOARDS = 8  # tries before an answer near the target will do, under rules that do not allow every answer
_INVALID = -1
_VERBS = {"+": "add", "-": "subtract", "×": "multiply by"}
_OPERATIONS = {"+": operator.add, "-": operator.sub, "×": operator.mul}

Cell = tuple[str, str]  # (colour, shape)


@dataclass(frozen=True)
class Rules:
    """How long the chains are and how large their values.

    The default has one operation per further count and 13 possible answers. With more operations than that, counts are
    used again, so that a problem needs more steps of arithmetic on the same picture.

    >>> draw_problem(0, "test", level=2, rules=Rules(operations=3, max_value=99)).question
    'Count red, multiply by triangles, subtract red, then add triangles.'
    """

    operations: int | None = None  # None: level - 1, which uses each count once
    max_value: int = 12  # the largest answer and intermediate result; numbers up to 99 are one token


DEFAULT_RULES = Rules()


@dataclass(frozen=True)
class Problem:
    """One question about one picture. `cells` holds the board row by row, None for an empty cell."""

    problem_id: str
    level: int
    image: Image.Image
    question: str
    solution: str
    demonstration: str
    cells: tuple[Cell | None, ...]


def draw_problem(index: int, split: str, level: int, seed: int = 0, rules: Rules = DEFAULT_RULES) -> Problem:
    """The `index`-th problem of a split and level. The same arguments always give the same problem.

    Under the default rules solutions are uniform over 0..12, so that a constant guess is right once in 13 times. Under
    others not every answer can be reached, and they are nearly uniform. The board alone decides the split (see
    `split_of`), so that no two splits share a picture, whatever the seeds.

    >>> draw_problem(0, "test", level=2).question
    'Count blue, then add green.'
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    if level not in LEVELS:
        raise ValueError(f"level={level!r} must be one of {', '.join(map(str, LEVELS))}")
    if rules.operations is not None and rules.operations < level - 1:
        raise ValueError(f"operations={rules.operations} must be at least {level - 1} at level {level}")
    variant = "" if rules == DEFAULT_RULES else f"-operations{rules.operations or level - 1}-to{rules.max_value}"
    rng = random.Random(f"{seed}/{split}/{level}/{index}{variant}")
    cells, operands, operators = _draw_until(rng.randint(0, rules.max_value), split, level, rules, rng)
    counts = [count_objects(cells, operand) for operand in operands]
    values = _chain(counts, operators, rules.max_value)
    return Problem(
        problem_id=f"quickstart-{split}-level{level}-seed{seed}-{index}{variant}",
        level=level,
        image=_draw_image(cells, rng),
        question=_question(operands, operators),
        solution=str(values[-1]),
        demonstration=_demonstration(operands, counts, operators, values),
        cells=cells,
    )


def problems(n: int, split: str, levels: Sequence[int], seed: int = 0, rules: Rules = DEFAULT_RULES) -> list[Problem]:
    """The first n problems of a split, alternating between the levels."""
    if not levels:
        raise ValueError(f"levels=[] must name at least one of {', '.join(map(str, LEVELS))}")
    return [draw_problem(i, split, levels[i % len(levels)], seed, rules) for i in range(n)]


def rows(
    n: int, split: str, levels: Sequence[int], seed: int = 0, rules: Rules = DEFAULT_RULES
) -> list[dict[str, Any]]:
    """The first n problems with TRL's columns, alternating between the levels."""
    return [row(problem) for problem in problems(n, split, levels, seed, rules)]


def row(problem: Problem) -> dict[str, Any]:
    """One problem with TRL's columns; the demonstration is the expert `completion`."""
    return {
        "prompt": prompt(problem.question),
        "images": [problem.image],
        "completion": problem.demonstration,
        "solution": problem.solution,
        "problem_id": problem.problem_id,
        "level": problem.level,
    }


def prompt(question: str) -> list[dict[str, Any]]:
    """The conversation that asks the question; the picture itself is passed in the column `images`."""
    return [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": question}]}]


def split_of(cells: tuple[Cell | None, ...]) -> str:
    """The split of a board, by a hash of its cells: warmup gets 3/8 of the boards, train 4/8, test 1/8."""
    digest = hashlib.sha256(repr(cells).encode()).digest()
    return SPLITS[(0, 0, 0, 1, 1, 1, 1, 2)[digest[0] % 8]]


def count_objects(cells: tuple[Cell | None, ...], term: str) -> int:
    """The number of cells that hold an object of this colour or shape."""
    return sum(cell is not None and term in cell for cell in cells)


def _draw_until(
    target: int, split: str, level: int, rules: Rules, rng: random.Random
) -> tuple[tuple[Cell | None, ...], list[str], list[str]]:
    """A board of the split, the operands and the operators, chosen so that the result is `target`.

    Under other rules than the default, some targets cannot be reached: the result is then the nearest that was found.
    """
    operations = rules.operations or level - 1
    nearest, found, boards = math.inf, None, 0
    while found is None or (nearest > 0 and (boards < _BOARDS or rules == DEFAULT_RULES)):
        cells, boards = _draw_board(split, rng), boards + 1
        counts = {term: count_objects(cells, term) for term in OBJECTS}
        for _ in range(_CHAINS_PER_BOARD):
            operands = terms = rng.sample(OBJECTS, level)
            if operations > level - 1:
                later = [*terms[1:], *rng.choices(terms, k=operations - level + 1)]
                operands = [terms[0], *rng.sample(later, operations)]
            operators = rng.choices(list(_VERBS), k=operations)
            result = _chain([counts[operand] for operand in operands], operators, rules.max_value)[-1]
            distance = abs(result - target)
            if result != _INVALID and distance < nearest and _needs_every_count(operands, operators, counts):
                nearest, found = distance, (cells, operands, operators)
                if distance == 0:
                    break
    return found


def _needs_every_count(operands: list[str], operators: list[str], counts: dict[str, int]) -> bool:
    """Whether one wrong count always gives a wrong result: counts that are used again could cancel."""
    terms = set(operands)
    if len(terms) == len(operands):
        return True

    def result(counts: dict[str, int]) -> int:
        value = counts[operands[0]]
        for symbol, operand in zip(operators, operands[1:], strict=True):
            value = _OPERATIONS[symbol](value, counts[operand])
        return value

    return all(
        result(counts | {term: wrong}) != result(counts)
        for term in terms
        for wrong in range(LARGEST_COUNT + 1)
        if wrong != counts[term]
    )


def _draw_board(split: str, rng: random.Random) -> tuple[Cell | None, ...]:
    """A random board of the split."""
    while split_of(cells := _draw_cells(rng)) != split:
        pass
    return cells


def _draw_cells(rng: random.Random) -> tuple[Cell | None, ...]:
    """A random board. Exponential weights let one colour or shape dominate sometimes, so that all counts occur."""
    colours = rng.choices(list(COLOURS), [rng.expovariate(1) for _ in COLOURS], k=BOARD**2)
    shapes = rng.choices(SHAPES, [rng.expovariate(1) for _ in SHAPES], k=BOARD**2)
    return tuple(None if rng.random() < _EMPTY_SHARE else cell for cell in zip(colours, shapes, strict=True))


def _chain(counts: list[int], operators: list[str], max_value: int) -> list[int]:
    """The value after each operand; [_INVALID] if a value leaves 0..max_value or a factor is 0."""
    values = counts[:1]
    for symbol, operand in zip(operators, counts[1:], strict=True):
        if symbol == "×" and 0 in (values[-1], operand):
            return [_INVALID]  # a product with 0 would hide a wrong count
        value = _OPERATIONS[symbol](values[-1], operand)
        if not 0 <= value <= max_value:
            return [_INVALID]
        values.append(value)
    return values


def _question(operands: list[str], operators: list[str]) -> str:
    steps = [f"{_VERBS[symbol]} {operand}" for symbol, operand in zip(operators, operands[1:], strict=True)]
    return ", ".join([f"Count {operands[0]}", *steps[:-1], f"then {steps[-1]}"]) + "."


def _demonstration(operands: list[str], counts: list[int], operators: list[str], values: list[int]) -> str:
    """Each object is counted once, where the chain first needs it."""
    steps = [f"{operands[0]} {counts[0]}"]
    for i, symbol in enumerate(operators):
        if operands[i + 1] not in operands[: i + 1]:
            steps.append(f"{operands[i + 1]} {counts[i + 1]}")
        steps.append(f"{values[i]} {symbol} {counts[i + 1]} = {values[i + 1]}")
    return f"<think> {', '.join(steps)}</think><answer>{values[-1]}</answer>"


def _draw_image(cells: tuple[Cell | None, ...], rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (BOARD * CELL, BOARD * CELL), _BACKGROUND)
    for i, cell in enumerate(cells):
        if cell is not None:
            sprite = _sprite(*cell, rng.choice((18, 20, 22)))
            slack = CELL - sprite.width - 2
            corner = (i % BOARD * CELL + 1 + rng.randint(0, slack), i // BOARD * CELL + 1 + rng.randint(0, slack))
            image.paste(sprite, corner, sprite)
    return image


@cache
def _sprite(colour: str, shape: str, size: int) -> Image.Image:
    """An antialiased shape of size x size pixels on a transparent background."""
    side = size * _SUPERSAMPLING
    mask = Image.new("L", (side, side), 0)
    draw = ImageDraw.Draw(mask)
    if shape == "circles":
        draw.ellipse((0, 0, side - 1, side - 1), fill=255)
    elif shape == "squares":
        inset = side // 16  # makes a square look as large as a circle
        draw.rectangle((inset, inset, side - 1 - inset, side - 1 - inset), fill=255)
    else:
        draw.polygon(((side / 2, side * 0.03), (side - 1, side * 0.92), (0, side * 0.92)), fill=255)
    sprite = Image.new("RGBA", (size, size), COLOURS[colour])
    sprite.putalpha(mask.resize((size, size), Image.Resampling.LANCZOS))
    return sprite
