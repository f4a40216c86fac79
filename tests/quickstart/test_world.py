"""The drawn world is reproducible, its splits are disjoint, and its pictures and demonstrations are correct."""

import re
import subprocess
import sys
from collections import Counter

import pytest
from trl.data_utils import prepare_multimodal_messages

from rlfr_mm.quickstart import world

LEVELS = list(world.LEVELS)


@pytest.fixture(scope="module")
def drawn() -> list[world.Problem]:
    return world.problems(300, "train", LEVELS)


def _what_is_drawn(problem: world.Problem) -> tuple[world.Cell | None, ...]:
    """The board, recognised from the pixels: the nearest colour, and the shape by how much of its box it fills."""
    cells: list[world.Cell | None] = []
    for i in range(world.BOARD**2):
        left, top = i % world.BOARD * world.CELL, i // world.BOARD * world.CELL
        cell = problem.image.crop((left, top, left + world.CELL, top + world.CELL))
        inked = [
            (x, y, pixel)
            for x in range(world.CELL)
            for y in range(world.CELL)
            if max(pixel := cell.getpixel((x, y))) - min(pixel) > 80  # the ground is nearly grey
        ]
        if not inked:
            cells.append(None)
            continue
        votes = Counter(
            min(world.COLOURS, key=lambda name: sum((a - b) ** 2 for a, b in zip(world.COLOURS[name], p, strict=True)))
            for _, _, p in inked
        )
        xs, ys = [x for x, _, _ in inked], [y for _, y, _ in inked]
        filled = len(inked) / ((max(xs) - min(xs) + 1) * (max(ys) - min(ys) + 1))
        shape = "squares" if filled > 0.9 else "circles" if filled > 0.68 else "triangles"
        cells.append((votes.most_common(1)[0][0], shape))
    return tuple(cells)


def test_same_arguments_draw_the_same_problem():
    first, again = world.draw_problem(7, "train", 3, seed=5), world.draw_problem(7, "train", 3, seed=5)
    assert first.image.tobytes() == again.image.tobytes()
    assert (first.question, first.cells, first.problem_id) == (again.question, again.cells, again.problem_id)


@pytest.mark.parametrize("other", [(8, "train", 3, 5), (7, "test", 3, 5), (7, "train", 4, 5), (7, "train", 3, 6)])
def test_another_index_split_level_or_seed_is_another_problem(other):
    first, second = world.draw_problem(7, "train", 3, seed=5), world.draw_problem(*other)
    assert first.problem_id != second.problem_id
    assert first.image.tobytes() != second.image.tobytes()


def test_problems_do_not_change_between_releases():
    # Results recorded in the docs hold for these problems: a change here makes them incomparable.
    problem = world.draw_problem(0, "test", 2)
    assert (problem.question, problem.demonstration) == (
        "Count blue, then add green.",
        "<think> blue 1, green 0, 1 + 0 = 1</think><answer>1</answer>",
    )


def test_splits_share_no_picture():
    pictures = {
        split: {p.image.tobytes() for seed in (0, 1) for p in world.problems(150, split, LEVELS, seed)}
        for split in world.SPLITS
    }
    assert all(len(found) > 290 for found in pictures.values())
    assert len(set.union(*pictures.values())) == sum(map(len, pictures.values()))


def test_the_board_alone_decides_the_split():
    for split in world.SPLITS:
        assert {world.split_of(problem.cells) for problem in world.problems(60, split, LEVELS)} == {split}


def test_pictures_show_the_cells(drawn):
    for problem in drawn[:60]:
        assert problem.image.size == (84, 84)
        assert _what_is_drawn(problem) == problem.cells


def test_counts_of_demonstrations_are_true(drawn):
    for problem in drawn:
        counts = re.findall(r"([a-z]+) (\d+),", problem.demonstration)
        assert len(counts) == problem.level
        for name, number in counts:
            assert int(number) == sum(cell is not None and name in cell for cell in problem.cells)


def test_steps_of_demonstrations_are_true_and_follow_the_question(drawn):
    words = {"add": "+", "subtract": "-", "multiply by": "×"}
    for problem in drawn:
        steps = re.findall(r"(\d+) ([+×-]) (\d+) = (\d+)", problem.demonstration)
        asked = re.findall(r"(add|subtract|multiply by) ([a-z]+)", problem.question)
        assert [operator for _, operator, _, _ in steps] == [words[verb] for verb, _ in asked]
        assert re.findall(r"([a-z]+) \d+,", problem.demonstration)[1:] == [name for _, name in asked]
        value = re.search(r"<think> [a-z]+ (\d+)", problem.demonstration)[1]
        for left, operator, right, result in steps:
            assert left == value
            assert eval(f"{left}{operator.replace('×', '*')}{right}") == int(result)
            value = result
        assert problem.demonstration.endswith(f"</think><answer>{value}</answer>")
        assert problem.solution == value


def test_one_wrong_count_spoils_every_answer(drawn):
    for problem in drawn:
        counts = [int(number) for number in re.findall(r"[a-z]+ (\d+),", problem.demonstration)]
        operators = re.findall(r"\d ([+×-]) \d", problem.demonstration)
        for position in range(len(counts)):
            for wrong in set(range(10)) - {counts[position]}:
                value, *rest = [*counts[:position], wrong, *counts[position + 1 :]]
                for operator, operand in zip(operators, rest, strict=True):
                    value = {"+": value + operand, "-": value - operand, "×": value * operand}[operator]
                assert str(value) != problem.solution


@pytest.mark.parametrize("level", LEVELS)
def test_no_constant_answer_is_often_right(level):
    answers = Counter(problem.solution for problem in world.problems(600, "test", [level]))
    assert len(answers) == world.DEFAULT_RULES.max_value + 1
    assert max(answers.values()) / 600 < 0.12


LONG = world.Rules(operations=4, max_value=99)


@pytest.fixture(scope="module")
def long_chains() -> list[world.Problem]:
    """Problems of two and three counts that are used again."""
    return world.problems(200, "train", [2, 3], rules=LONG)


def test_long_chains_count_each_object_once_and_compute_every_step(long_chains):
    for problem in long_chains:
        counts = re.findall(r"([a-z]+) (\d+),", problem.demonstration)
        assert len(counts) == len(dict(counts)) == problem.level
        assert all(int(n) == world.count_objects(problem.cells, name) for name, n in counts)
        first, *others = re.findall(r"(?:Count|add|subtract|multiply by) ([a-z]+)", problem.question)
        steps = re.findall(r"(\d+) ([+×-]) (\d+) = (\d+)", problem.demonstration)
        assert len(steps) == len(others) == LONG.operations
        value = dict(counts)[first]
        for name, (left, operator, right, result) in zip(others, steps, strict=True):
            assert (left, right) == (value, dict(counts)[name])
            assert eval(f"{left}{operator.replace('×', '*')}{right}") == int(result) <= LONG.max_value
            value = result
        assert problem.solution == value


def test_one_wrong_count_spoils_the_answer_of_long_chains(long_chains):
    """Counts that are used again could cancel: 3 + 2 - 2."""
    for problem in long_chains:
        counts = dict(re.findall(r"([a-z]+) (\d+),", problem.demonstration))
        names = re.findall(r"(?:Count|add|subtract|multiply by) ([a-z]+)", problem.question)
        operators = re.findall(r"\d ([+×-]) \d", problem.demonstration)
        for name in counts:
            for wrong in set(range(10)) - {int(counts[name])}:
                seen = {**{key: int(n) for key, n in counts.items()}, name: wrong}
                value = seen[names[0]]
                for operator, operand in zip(operators, names[1:], strict=True):
                    value = {"+": value + seen[operand], "-": value - seen[operand], "×": value * seen[operand]}[
                        operator
                    ]
                assert str(value) != problem.solution


def test_a_larger_range_makes_a_constant_guess_worth_little(long_chains):
    answers = Counter(problem.solution for problem in long_chains)
    assert len(answers) > 60
    assert max(answers.values()) / len(long_chains) < 0.08


def test_other_rules_are_other_problems_and_the_same_rules_the_same():
    drawn = [world.draw_problem(3, "train", 3, rules=rules) for rules in (world.DEFAULT_RULES, LONG, LONG)]
    assert drawn[1].problem_id == drawn[2].problem_id != drawn[0].problem_id
    assert drawn[1].question == drawn[2].question
    with pytest.raises(ValueError, match="operations=1 must be at least 2 at level 3"):
        world.draw_problem(0, "train", 3, rules=world.Rules(operations=1))


def test_levels_come_in_turn():
    assert [problem.level for problem in world.problems(5, "train", [2, 4])] == [2, 4, 2, 4, 2]


def test_rows_are_what_trl_takes():
    (row,) = world.rows(1, "train", [2])
    problem = world.draw_problem(0, "train", 2)
    assert (row["solution"], row["problem_id"], row["level"]) == (problem.solution, problem.problem_id, 2)
    assert row["completion"] == problem.demonstration
    (message,) = prepare_multimodal_messages(row["prompt"], images=row["images"])
    assert message["content"] == [
        {"type": "image", "image": problem.image},
        {"type": "text", "text": problem.question},
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, "validation", 2), "split='validation' must be one of warmup, train, test"),
        ((0, "train", 5), "level=5 must be one of 2, 3, 4"),
    ],
)
def test_an_unknown_split_or_level_is_named(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        world.draw_problem(*arguments)


def test_no_levels_is_an_error():
    with pytest.raises(ValueError, match="levels"):
        world.problems(3, "train", [])


def test_the_world_loads_no_torch():
    code = "import sys, rlfr_mm.quickstart.world; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
