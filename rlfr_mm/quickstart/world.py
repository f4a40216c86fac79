"""Draw visual-maths problems: count coloured shapes on a 3x3 board, then combine the counts step by step.

A problem has an 84x84 pixel picture, a question such as "Count red, add circles, then multiply by blue.", a solution,
and a demonstration that writes out each count and each step. Its level is the number of counts. Every operation is
injective in each operand, so that one wrong count or step always gives a wrong answer.
"""

import hashlib
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
MAX_VALUE = 12  # largest answer and largest intermediate result
BOARD = 3  # cells per side
CELL = 28  # pixels per side: one visual token of Qwen2.5-VL (2x2 patches of 14 pixels)

_SUPERSAMPLING = 8
_BACKGROUND = (250, 250, 247)
_EMPTY_SHARE = 0.12
_CHAINS_PER_BOARD = 12  # tries before a new board is drawn, which costs as much as the tries
_INVALID = -1
_VERBS = {"+": "add", "-": "subtract", "×": "multiply by"}

Cell = tuple[str, str]  # (colour, shape)


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


def draw_problem(index: int, split: str, level: int, seed: int = 0) -> Problem:
    """The `index`-th problem of a split and level. The same arguments always give the same problem.

    Solutions are uniform over 0..MAX_VALUE, so that a constant guess is right once in 13 times. The board alone decides
    the split (see `split_of`), so that no two splits share a picture, whatever the seeds.

    >>> draw_problem(0, "test", level=2).question
    'Count blue, then add green.'
    """
    if split not in SPLITS:
        raise ValueError(f"split={split!r} must be one of {', '.join(SPLITS)}")
    if level not in LEVELS:
        raise ValueError(f"level={level!r} must be one of {', '.join(map(str, LEVELS))}")
    rng = random.Random(f"{seed}/{split}/{level}/{index}")
    target = rng.randint(0, MAX_VALUE)
    cells, terms, operators = _draw_until(target, split, level, rng)
    counts = [count_objects(cells, term) for term in terms]
    values = _chain(counts, operators)
    return Problem(
        problem_id=f"quickstart-{split}-level{level}-seed{seed}-{index}",
        level=level,
        image=_draw_image(cells, rng),
        question=_question(terms, operators),
        solution=str(target),
        demonstration=_demonstration(terms, counts, operators, values),
        cells=cells,
    )


def problems(n: int, split: str, levels: Sequence[int], seed: int = 0) -> list[Problem]:
    """The first n problems of a split, alternating between the levels."""
    if not levels:
        raise ValueError(f"levels=[] must name at least one of {', '.join(map(str, LEVELS))}")
    return [draw_problem(i, split, levels[i % len(levels)], seed) for i in range(n)]


def rows(n: int, split: str, levels: Sequence[int], seed: int = 0) -> list[dict[str, Any]]:
    """The first n problems with TRL's columns, alternating between the levels."""
    return [row(problem) for problem in problems(n, split, levels, seed)]


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
    target: int, split: str, level: int, rng: random.Random
) -> tuple[tuple[Cell | None, ...], list[str], list[str]]:
    """A board of the split, the objects to count and the operators, chosen so that the result is `target`."""
    while True:
        cells = _draw_cells(rng)
        if split_of(cells) != split:
            continue
        counts = {term: count_objects(cells, term) for term in OBJECTS}
        for _ in range(_CHAINS_PER_BOARD):
            terms = rng.sample(OBJECTS, level)
            operators = rng.choices(list(_VERBS), k=level - 1)
            if _chain([counts[term] for term in terms], operators)[-1] == target:
                return cells, terms, operators


def _draw_cells(rng: random.Random) -> tuple[Cell | None, ...]:
    """A random board. Exponential weights let one colour or shape dominate sometimes, so that all counts occur."""
    colours = rng.choices(list(COLOURS), [rng.expovariate(1) for _ in COLOURS], k=BOARD**2)
    shapes = rng.choices(SHAPES, [rng.expovariate(1) for _ in SHAPES], k=BOARD**2)
    return tuple(None if rng.random() < _EMPTY_SHARE else cell for cell in zip(colours, shapes, strict=True))


def _chain(counts: list[int], operators: list[str]) -> list[int]:
    """The value after each count; [_INVALID] if a value leaves 0..MAX_VALUE or a factor is 0."""
    values = counts[:1]
    for operator, operand in zip(operators, counts[1:], strict=True):
        value = values[-1]
        if operator == "×" and 0 in (value, operand):
            return [_INVALID]  # a product with 0 would hide a wrong count
        value = value + operand if operator == "+" else value - operand if operator == "-" else value * operand
        if not 0 <= value <= MAX_VALUE:
            return [_INVALID]
        values.append(value)
    return values


def _question(terms: list[str], operators: list[str]) -> str:
    steps = [f"{_VERBS[operator]} {term}" for operator, term in zip(operators, terms[1:], strict=True)]
    return ", ".join([f"Count {terms[0]}", *steps[:-1], f"then {steps[-1]}"]) + "."


def _demonstration(terms: list[str], counts: list[int], operators: list[str], values: list[int]) -> str:
    steps = [f"{terms[0]} {counts[0]}"]
    for i, operator in enumerate(operators):
        steps += [f"{terms[i + 1]} {counts[i + 1]}", f"{values[i]} {operator} {counts[i + 1]} = {values[i + 1]}"]
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
