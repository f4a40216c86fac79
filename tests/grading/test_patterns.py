"""Every pattern that grading applies to text takes time linear in its length, on inputs made to slow it down."""

import ast
import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from re import _constants as ops
from re import _parser

import pytest

import rlfr_mm.grading

MODULES = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(rlfr_mm.grading.__path__, "rlfr_mm.grading.")
]
SOURCES = "\n".join(inspect.getsource(module) for module in MODULES)
CLASSES = {
    ops.CATEGORY_DIGIT: "1", ops.CATEGORY_SPACE: " ", ops.CATEGORY_WORD: "a", ops.CATEGORY_NOT_DIGIT: "a",
    ops.CATEGORY_NOT_SPACE: "a", ops.CATEGORY_NOT_WORD: " ",
}  # fmt: skip
COMMON = "a1 \n,.{("
ENDINGS = ("", "!", "\x00", "\n!")
FUNCTIONS = {"search", "match", "fullmatch", "split", "findall", "finditer", "sub", "subn"}


def patterns_of(module) -> Iterator[tuple[str, re.Pattern, str]]:
    """(where, pattern, function) of the patterns in a module's attributes and in its calls of re's functions."""
    for name, value in vars(module).items():
        yield from ((name, pattern, _function_of(name)) for pattern in _compiled(value))
    for call in ast.walk(ast.parse(inspect.getsource(module))):
        if (
            isinstance(call, ast.Call)
            and isinstance(call.func, ast.Attribute)
            and isinstance(call.func.value, ast.Name)
            and call.func.value.id == "re"
            and call.func.attr in FUNCTIONS
            and not isinstance(call.args[0], ast.Name)  # of these, the loops over texts are found above
        ):
            flags = re.NOFLAG
            for argument in [*call.args[1:], *(keyword.value for keyword in call.keywords)]:
                for node in ast.walk(argument):
                    if isinstance(node, ast.Attribute) and isinstance(getattr(re, node.attr, None), re.RegexFlag):
                        flags |= getattr(re, node.attr)
            text = _written(call.args[0], vars(module))
            yield f"line {call.lineno}", re.compile(text, flags), call.func.attr


def _function_of(name: str) -> str:
    """match or fullmatch if the package calls nothing else of a pattern of that name, else search."""
    called = set(re.findall(rf"\b{name}\.(\w+)\(", SOURCES))
    passed_on = re.search(rf"[(,] ?{name}\b(?!\.)", SOURCES)
    return "search" if passed_on or not called or called - {"match", "fullmatch"} else min(called, key=len)


def _compiled(value) -> Iterator[re.Pattern]:
    if isinstance(value, re.Pattern):
        yield value
    elif isinstance(value, dict):
        yield from _compiled([*value, *value.values()])
    elif isinstance(value, list | tuple | set | frozenset):
        for part in value:
            yield from _compiled(part)


def _written(node: ast.expr, names: dict) -> str:
    """The pattern that an expression writes, with "word" for the parts that are only known when it runs."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_written(part, names) for part in node.values)
    if isinstance(node, ast.BinOp):
        return _written(node.left, names) + _written(node.right, names)
    expression = node.value if isinstance(node, ast.FormattedValue) else node
    try:
        return str(eval(compile(ast.Expression(expression), "pattern", "eval"), dict(names)))
    except NameError:
        return "word"


def matched(tree) -> list[str]:
    """A few texts that a parsed pattern matches, apart from its assertions."""
    texts = [""]
    for op, argument in tree:
        parts = _matched_by(op, argument)
        texts = [texts[i % len(texts)] + parts[i % len(parts)] for i in range(min(6, max(len(texts), len(parts))))]
    return texts


def _matched_by(op, argument) -> list[str]:
    if op is ops.LITERAL:
        return [chr(argument)]
    if op is ops.IN:
        return [letter for letter in dict.fromkeys([*_named(argument), *COMMON]) if _in(argument, letter)][:6] or [""]
    if op in (ops.NOT_LITERAL, ops.ANY):
        return ["a", " ", ","]
    if op is ops.BRANCH:
        return [text for branch in argument[1] for text in matched(branch)[:2]]
    if op in (ops.SUBPATTERN, ops.ATOMIC_GROUP):
        return matched(argument[-1] if op is ops.SUBPATTERN else argument)
    if op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        return [text * max(argument[0], 1) for text in matched(argument[2])]
    return [""]


def _named(members) -> Iterator[str]:
    for op, argument in members:
        if op is ops.LITERAL:
            yield chr(argument)
        elif op is ops.RANGE:
            yield chr(argument[0])
        elif op is ops.CATEGORY:
            yield CLASSES[argument]


def _in(members, letter: str) -> bool:
    kinds = {
        ops.CATEGORY_DIGIT: letter.isdigit(), ops.CATEGORY_SPACE: letter.isspace(),
        ops.CATEGORY_WORD: letter.isalnum() or letter == "_", ops.CATEGORY_NOT_DIGIT: not letter.isdigit(),
        ops.CATEGORY_NOT_SPACE: not letter.isspace(), ops.CATEGORY_NOT_WORD: not (letter.isalnum() or letter == "_"),
    }  # fmt: skip
    inside = any(
        (op is ops.LITERAL and chr(argument) == letter)
        or (op is ops.RANGE and argument[0] <= ord(letter) <= argument[1])
        or (op is ops.CATEGORY and kinds[argument])
        for op, argument in members
    )
    return inside != (members[0][0] is ops.NEGATE)


def repeats(tree, before: str = "") -> Iterator[tuple[str, str]]:
    """(what stands before it, what it repeats) for each repeat in a parsed pattern, also inside other parts."""
    for op, argument in tree:
        if op in (ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
            yield from ((before, text) for text in matched(argument[2]))
        for part in _parts(op, argument):
            yield from repeats(part, before)
        before += _matched_by(op, argument)[0]


def _parts(op, argument) -> list:
    if op is ops.BRANCH:
        return argument[1]
    if op in (ops.SUBPATTERN, ops.ASSERT, ops.ASSERT_NOT, ops.MAX_REPEAT, ops.MIN_REPEAT, ops.POSSESSIVE_REPEAT):
        return [argument[-1]]
    return [argument] if op is ops.ATOMIC_GROUP else []


def attacks(pattern: re.Pattern) -> list[tuple[str, str, str]]:
    """(beginning, repeated part, end) of the texts that could slow a pattern down."""
    tree = _parser.parse(pattern.pattern, pattern.flags & ~re.UNICODE)
    found = list(repeats(tree))
    units = dict.fromkeys(unit for units in found for unit in units if unit)
    pairs = dict.fromkeys((before, unit) for before, unit in found if before and unit)
    whole = [text for text in matched(tree) if text]
    beginnings = [("", unit) for unit in [*units, *whole, *COMMON]] + list(pairs)
    # a space repeated after the beginning of every repeat, since most of what one writes may be followed by spaces
    beginnings += [(before, " ") for before in dict.fromkeys(before for before, _ in found if before)]
    return [(before, unit, end) for before, unit in dict.fromkeys(beginnings) for end in ENDINGS]


def seconds(pattern: re.Pattern, function: str, text: str) -> float:
    """The least time of two that the pattern takes on all of a text."""
    times = [1e9]
    while len(times) < 3 and times[-1] > 0.002:
        start = time.thread_time()
        if function in ("match", "fullmatch"):
            getattr(pattern, function)(text)
        else:
            for _ in pattern.finditer(text):
                pass
        times.append(time.thread_time() - start)
    return min(times)


def superlinear(pattern: re.Pattern, function: str) -> str | None:
    """An input on which the pattern's time grows faster than the input, described; None if none was found."""
    usual = 0.004  # seconds
    for before, unit, end in attacks(pattern):
        for length in (12, 20, 28, 40, 64, 256, 2048):
            count = length if length <= 64 else max(64, length // len(unit))
            if seconds(pattern, function, before + unit * count + end) < usual:
                continue
            if length <= 64:
                return f"{before!r} + {unit!r} * n + {end!r}: slow for n = {length}"
            once, later = (seconds(pattern, function, before + unit * (times * count) + end) for times in (1, 4))
            if later > 8 * once:
                return f"{before!r} + {unit!r} * n + {end!r}: {later / once:.0f} times as long for 4 n"
            usual = max(usual, 2 * once)  # a slow pattern, but linear
            break
    return None


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.removeprefix("rlfr_mm.grading."))
def test_every_pattern_takes_linear_time(module):
    found = {where: reason for where, *how in patterns_of(module) if (reason := superlinear(*how))}
    assert not found
