"""The values of formulas at points that tell different formulas apart. Only worker processes import this."""

from collections.abc import Iterator
from itertools import combinations, pairwise

from rlfr_mm.grading.parsers import sympy

_RATIONALS = ("7/5", "13/6", "-9/7", "17/4", "-5/3", "3/11")
# Formulas with bends may differ only far away, at integers, or between two of their bends.
_NEAR = ("-11/2", "-3", "-1", "0", "1", "2", "7", "19/2")
_FAR = ("-7001/7", "-37", "301/3", "1000")
_COUNTS = (*map(str, range(1, 13)), "29", "100", "1001")
_COUNTERS = frozenset(["n", "m", "k"])  # whole numbers wherever a formula rounds them
_ROUNDING = (sympy.floor, sympy.ceiling)
_BENT = (*_ROUNDING, sympy.Abs, sympy.Min, sympy.Max, sympy.sign)
_GROWING = (sympy.factorial, sympy.binomial, sympy.gamma)
_ENOUGH = 4
_MOST_BENDS = 12
# what sympy raises for objects that it cannot compare or evaluate, such as a set and a number
UNDECIDED = (TypeError, ValueError, NotImplementedError, AttributeError, ArithmeticError, RecursionError)

Point = dict[sympy.Symbol, sympy.Rational]


def alike(gold: sympy.Expr, answer: sympy.Expr) -> bool | None:
    """Whether two formulas have the same values at all points tried; None if too few of their values are numbers."""
    symbols = sorted(gold.free_symbols | answer.free_symbols, key=str)
    counted = (
        any(formula.has(*_ROUNDING) for formula in (gold, answer)) and {symbol.name for symbol in symbols} <= _COUNTERS
    )
    difference, compared = gold - answer, 0
    for point in _points(symbols, (gold, answer), counted):
        try:
            values = [sympy.N(real_roots(formula.subs(point)), 15) for formula in (gold, answer)]
            defined = all(value.is_number and value.is_finite and (value.is_real or not counted) for value in values)
            if defined and is_nonzero(real_roots(difference.subs(point)), max(map(abs, values))):
                return False
        except UNDECIDED:
            continue
        compared += defined
    return True if compared >= _ENOUGH else None


def is_nonzero(value: sympy.Expr, largest: sympy.Expr) -> bool:
    """Whether a difference of two numbers, of which the larger has that size, is not zero, however small it is."""
    if value.is_Rational:
        return bool(value != 0)
    cancelled = int(sympy.log(largest, 10)) if largest > 10**9 else 0
    size = abs(sympy.N(value, 10, maxn=100 + cancelled))
    return bool(size > min(largest, 1) * sympy.Float("1e-50"))


def real_roots(value: sympy.Expr) -> sympy.Expr:
    """The number with the real values of its odd roots: -2 for the cube root of -8, where sympy's is complex."""
    if not any(_is_odd_root(power) for power in value.atoms(sympy.Pow)) or value.has(sympy.I):
        return value
    return value.replace(_is_odd_root, lambda root: (-1) ** root.exp.p * (-root.base) ** root.exp)


def _is_odd_root(value: sympy.Basic) -> bool:
    """Whether this is an odd root of a negative number."""
    return bool(
        value.is_Pow and value.exp.is_Rational and value.exp.q % 2 and value.exp.q > 1 and value.base.is_negative
    )


def _points(symbols: list[sympy.Symbol], formulas: tuple[sympy.Expr, ...], counted: bool) -> Iterator[Point]:
    """Points with different values for different symbols; more of them for formulas with bends."""
    if counted:
        yield from _spread(symbols, _COUNTS)
        return
    for start in range(len(_RATIONALS)):
        yield {
            symbol: sympy.Rational(_RATIONALS[(start + 2 * i) % len(_RATIONALS)]) + i // 3
            for i, symbol in enumerate(symbols)
        }
    if any(formula.has(*_BENT) or _radicands(formula) for formula in formulas):
        yield from _spread(symbols, _NEAR if any(map(_grows, formulas)) else (*_NEAR, *_FAR))
        if len(symbols) == 1:
            yield from ({symbols[0]: place} for place in _between_bends(symbols[0], formulas))


def _spread(symbols: list[sympy.Symbol], values: tuple[str, ...]) -> Iterator[Point]:
    for start in range(len(values)):
        yield {symbol: sympy.Rational(values[(start + 3 * i) % len(values)]) for i, symbol in enumerate(symbols)}


def _grows(formula: sympy.Expr) -> bool:
    """Whether large values of its letters would make numbers of it that take for ever."""
    return formula.has(*_GROWING) or any(power.exp.free_symbols for power in formula.atoms(sympy.Pow))


def _radicands(formula: sympy.Expr) -> list[sympy.Expr]:
    """The formulas under even roots."""
    powers = formula.atoms(sympy.Pow)
    return [
        power.base
        for power in powers
        if power.exp.is_Rational and power.exp.q % 2 == 0 and power.base.free_symbols and not power.base.is_Symbol
    ]


def _between_bends(symbol: sympy.Symbol, formulas: tuple[sympy.Expr, ...]) -> list[sympy.Rational]:
    """Values on both sides of every place where a formula of one letter may bend."""
    turning = list[sympy.Expr]()
    for formula in formulas:
        turning += [*_radicands(formula), *(size.args[0] for size in formula.atoms(sympy.Abs, sympy.sign))]
        for extreme in formula.atoms(sympy.Min, sympy.Max):
            turning += [one - other for one, other in combinations(extreme.args, 2)]
    bends = set[sympy.Rational]()
    for expression in turning[:_MOST_BENDS]:
        if expression.is_polynomial(symbol) and 0 < sympy.degree(expression, symbol) <= 6:
            roots = sympy.Poly(expression, symbol).nroots(n=8)
            bends |= {sympy.Rational(str(sympy.re(root))) for root in roots}
    ordered = sorted(bends)[:_MOST_BENDS]
    middles = [(left + right) / 2 for left, right in pairwise(ordered)]
    return [ordered[0] - 1, *middles, ordered[-1] + 1] if ordered else []
