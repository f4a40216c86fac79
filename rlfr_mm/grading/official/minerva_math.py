"""Minerva Math: numeric_equality in the appendix of arXiv 2206.14858."""

from collections.abc import Callable

from rlfr_mm.grading.item import Comparison, Found, Problem
from rlfr_mm.grading.strict.text import read
from rlfr_mm.grading.strict.values import number

Compare = Callable[[Problem, Found], Comparison]


def close(gold: float, value: float) -> bool:
    """numpy's isclose, or within a hundredth of the mean if that calls a number or their difference zero."""
    if min(abs(gold), abs(value), abs(gold - value)) <= 1e-8:
        return abs(gold - value) < 0.01 * (gold + value) / 2 or gold == value
    return abs(gold - value) <= 1e-8 + 1e-5 * abs(value)


def numbers_first(compare: Compare) -> Compare:
    """`compare`, except that two numbers are compared by `close`; unlike `compare`, it reads powers of ten."""

    def compare_numbers_first(problem: Problem, found: Found) -> Comparison:
        value, golds = read(found.answer).number, [number(gold) for gold in problem.golds]
        if value is None or None in golds:
            return compare(problem, found)
        near = any(close(float(gold), float(value)) for gold in golds if gold is not None)
        return Comparison(near, "numeric")

    return compare_numbers_first
