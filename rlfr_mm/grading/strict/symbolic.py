"""The strict comparison of two formulas, as sympy objects. Only worker processes import this.

latex2sympy reads them and math-verify compares equations and sets. Its own reader is not used: it drops letters that
may be units, ignores the case of letters, and takes a part of a text that it cannot read.
"""

import re
from fractions import Fraction
from functools import lru_cache

from latex2sympy2_extended import NormalizationConfig, normalize_latex
from math_verify.grader import (
    get_pct_val,
    is_assignment_relation,
    sympy_compare_sets,
    sympy_solve_and_compare,
    take_last_relation,
)
from sympy.core.relational import Relational

from rlfr_mm.grading.parsers import latex2sympy, read_latex, sympy
from rlfr_mm.grading.strict.lists import between_commas
from rlfr_mm.grading.strict.prose import same_words
from rlfr_mm.grading.strict.sampling import UNDECIDED, alike, is_nonzero, real_roots
from rlfr_mm.grading.strict.values import number, same_number, shown_unit

_NORMAL = NormalizationConfig(basic_latex=True, units=False, malformed_operators=True, nits=True, boxed="none")
_BASED = re.compile(r"\d_|(?<![_\d])\d{1,40} \d")  # the parser drops a base, and multiplies "2 10"
_DENIED = re.compile(
    r"(?<![A-Za-z\\])(?:not|no|never|except|without)(?![A-Za-z])"
)  # letters to the parser: "not 0" is 0
_REPEATING = re.compile(r"(?<![\d.])\d{1,15}\.\d{0,30}\\overline\{\d{1,30}\}")
# dy/dx, which the parser evaluates to 0 and whose letters it thereby loses
_DERIVATIVE = re.compile(r"\\d?frac\s?\{d\s?\\?([A-Za-z]{1,20})\}\s?\{d\s?\\?([A-Za-z]{1,20})\}")
_INVERSE = re.compile(r"(?<![A-Za-z\\])([fghFGH])\^\s?\{?-1\}?(?=\s?\()")
_MEMBER = re.compile(r"\\in(?![A-Za-z])")  # an equation to the parser
_STEP = re.compile(r"\\(?:implies|(?:Long|long)?(?:left)?[Rr]ightarrow|Longleftrightarrow|iff|therefore)(?![A-Za-z])")
_ASSIGNED = re.compile(r"([A-Za-z])\s?=")
_COMMAND = re.compile(r"\\[A-Za-z]{1,20}")
_ROUNDING = (12, 30)  # decimals and digits to which math-verify rounds
# to the parser, T transposes a number, too
_TO_THE_T = re.compile(r"(?<!matrix\})\^\s?(?:\{\s?(?:T|\\top)\s?\}|(?:T|\\top)(?![A-Za-z]))")
_WORDS = re.compile(r"\\text\{([^{}]*)\}")
_SIGNS = re.compile(r"\\(?:pm|mp)(?![A-Za-z])\s?")
_MOST_ELEMENTS = 64
_LARGEST_EXPONENT = 10_000


def symbolic_equal(gold: str, answer: str, tolerance: tuple[float, ...] = ()) -> bool:
    """Whether two LaTeX answers without dollar signs are equal: as numbers, formulas, equations or sets.

    With a `tolerance`, either one for all numbers or one per number of the gold, lists of numbers are also equal if
    each number is that close to its counterpart; their order does not matter.

    >>> symbolic_equal("x^2-1", "(x+1)(x-1)")
    True
    """
    golds, answers = _WORDS.split(gold), _WORDS.split(answer)
    if len(golds) > 1 or len(answers) > 1:
        around = zip(golds[::2], answers[::2], strict=False)
        return same_words(golds, answers) and all(
            one == other or symbolic_equal(one, other, tolerance) for one, other in around
        )
    parsed_gold = _parsed(gold)
    parsed_answer = None if parsed_gold is None else _parsed(answer)
    try:
        if parsed_answer is not None and _equal(parsed_gold, parsed_answer):
            return True
    except UNDECIDED:
        pass
    return bool(tolerance) and _near(_numbers(gold), _numbers(answer), tolerance)


@lru_cache(maxsize=512)  # one gold is compared with many answers
def _parsed(text: str) -> sympy.Basic | None:
    text = _last_step(text)
    if any(sign.search(text) for sign in (_BASED, _DENIED, _MEMBER, _STEP)) or "dots" in text:
        return None
    text = _INVERSE.sub(r"\1_{inverse}", text)
    text = _REPEATING.sub(lambda match: _fraction(match.group()), text)
    text = _TO_THE_T.sub("^{T_{0}}", _DERIVATIVE.sub(r"{D_{\1\2}}", text))
    text = text.replace("\\Gamma", "\\operatorname{Gamma}").replace("\\gamma", "\\gamma_{0}")  # no Euler's constant
    text = normalize_latex(",".join(map(_with_both_signs, between_commas(text))) if "\\pm" in text else text, _NORMAL)
    parts = re.split(r"(?<![<>\\!])=", text)
    for readable in (text, parts[-1]) if len(parts) > 2 and not re.search("[,;]", text) else (text,):
        try:
            parsed = read_latex(readable, re.search(r"\\(?:sin|cos|tan|cot|sec|csc)", text) is not None)
            return _exact(parsed.replace(_loses_its_variable, lambda value: sympy.Symbol(str(value), real=True)))
        except Exception:
            continue
    return None


def _last_step(text: str) -> str:
    r"""The value of the one letter of all steps: ``x=5`` of ``2x=10\implies x=5``; other text as it is."""
    *steps, last = _STEP.split(text)
    name = _ASSIGNED.match(last.strip())
    letters = {letter for step in steps for letter in re.findall(r"[A-Za-z]", _COMMAND.sub("", step))}
    return last if steps and name and letters == {name[1]} else text


def _loses_its_variable(value: sympy.Basic) -> bool:
    """Whether sympy would take this for constant: the derivative of a letter y by x, the limit or sum of a_n by n."""
    if isinstance(value, sympy.Derivative):
        return not value.expr.free_symbols.issuperset(value.variables) and bool(value.expr.free_symbols)
    if isinstance(value, sympy.Limit | sympy.Sum | sympy.Product):
        letters = [value.args[1]] if isinstance(value, sympy.Limit) else value.variables
        index = re.compile(rf"_.*(?:{'|'.join(re.escape(str(letter)) for letter in letters)})")
        return any(index.search(symbol.name) for symbol in value.args[0].free_symbols)
    return False


def _with_both_signs(part: str) -> str:
    r"""Both values of a part with one ``\pm``; the parser reads it only outside of fractions and points."""
    if len(_SIGNS.findall(part)) != 1 or not re.search(r"[({][^(){}]*\\pm", part):
        return part
    after_value = re.search(r"[\w)}]\s?\\pm", part) is not None
    return f"{_SIGNS.sub('+' if after_value else '', part)},{_SIGNS.sub('-', part)}"


def _exact(value: sympy.Basic) -> sympy.Basic:
    """The object with fractions for its decimals."""
    if isinstance(value, Relational):
        return value.func(*map(_exact, value.args), evaluate=False)
    decimals = {decimal: sympy.Rational(str(decimal)) for decimal in value.atoms(sympy.Float)}
    return value.xreplace(decimals) if decimals else value


def _fraction(repeating: str) -> str:
    value = number(repeating)
    return repeating if value is None else f"\\frac{{{value.numerator}}}{{{value.denominator}}}"


def _equal(gold: sympy.Basic, answer: sympy.Basic) -> bool:
    gold, answer = _unwrapped(gold, answer)
    if _is_relation(gold) and _is_relation(answer):
        return _same_relation(gold, answer)
    if _is_relation(gold) or _is_relation(answer):
        if _is_relation(answer) and not _is_solution(answer):
            return False  # it restates the problem
        relation, value = (gold, answer) if _is_relation(gold) else (answer, gold)
        if not relation.has(sympy.Eq, sympy.Ne) and isinstance(value, sympy.Expr):
            return False  # an inequality is no number, and solving it may take a second
        gold, answer = _solved(gold), _solved(answer)
        if gold is None or answer is None:
            return False
    gold, answer = _element(gold, answer), _element(answer, gold)
    if isinstance(gold, sympy.MatrixBase | sympy.MatrixExpr) or isinstance(answer, sympy.MatrixBase | sympy.MatrixExpr):
        return _same_matrix(gold, answer)
    if isinstance(gold, sympy.Tuple) and isinstance(answer, sympy.Tuple):
        return len(gold) == len(answer) and all(map(_equal, gold, answer))
    if isinstance(gold, sympy.Set) and isinstance(answer, sympy.Set):
        return _same_set(gold, answer)
    return isinstance(gold, sympy.Expr) and isinstance(answer, sympy.Expr) and _same_expression(gold, answer)


def _unwrapped(gold: sympy.Basic, answer: sympy.Basic) -> tuple[sympy.Basic, sympy.Basic]:
    """The two sides without "x =" if only one has it; of a chain of equations the last value."""
    assigned = is_assignment_relation(gold), is_assignment_relation(answer)
    if all(assigned):
        return tuple(sympy.Eq(value.args[0].lhs, take_last_relation(value).rhs, evaluate=False)
                     if isinstance(value, sympy.And) else value for value in (gold, answer))  # fmt: skip
    if assigned[0] and not _is_relation(answer):
        gold = take_last_relation(gold).rhs
    elif _is_calculation(answer) and not _is_relation(gold):
        answer = take_last_relation(answer).rhs
    return gold, answer


def _element(value: sympy.Basic, other: sympy.Basic) -> sympy.Basic:
    """The only element of a set beside a value that is no set."""
    alone = isinstance(value, sympy.FiniteSet) and len(value) == 1 and isinstance(other, sympy.Expr)
    return value.args[0] if alone else value


def _is_relation(value: sympy.Basic) -> bool:
    return isinstance(value, Relational | sympy.And)


def _is_calculation(value: sympy.Basic) -> bool:
    """Whether equations give the value of what is on the left, as 2 + 3 = 5, f(2) = 5 and sin x = 1/2 do.

    2x = 4, x^2 = 9, |x| = 9 and sqrt(x) = 3 are equations to solve; |z| = 5 is the size of z.
    """
    first = value.args[0] if isinstance(value, sympy.And) else value
    if not isinstance(first, sympy.Eq) or not isinstance(first.lhs, sympy.Expr):
        return isinstance(first, sympy.Eq)
    unknowns = first.lhs.free_symbols
    if len(unknowns) != 1 or first.lhs.is_Symbol:
        return True
    size = isinstance(first.lhs, sympy.Abs) and first.lhs.args[0].is_Symbol and str(first.lhs.args[0]) not in "xynmkt"
    return size or not (first.lhs.is_algebraic_expr() or first.lhs.has(sympy.Abs, sympy.exp, sympy.log))


def _is_solution(relation: sympy.Basic) -> bool:
    """Whether relations say what a letter is: x = 3, 1 < x < 3 and |x| > 5 do; 2x = 6 and x^2 < 4 are to be solved."""

    def says(side: sympy.Basic, other: sympy.Basic, kind: type) -> bool:
        letter = side.args[0] if isinstance(side, sympy.Abs) and kind is not sympy.Eq else side
        return letter.is_Symbol and not other.free_symbols

    parts = relation.atoms(Relational)
    return all(says(part.lhs, part.rhs, part.func) or says(part.rhs, part.lhs, part.func) for part in parts)


def _solved(value: sympy.Basic) -> sympy.Basic | None:
    """The solution set of an inequality in one unknown; other objects as they are, and None if there is none."""
    if not _is_relation(value):
        return value
    functions = sorted(value.atoms(sympy.core.function.AppliedUndef), key=str)
    value = value.subs({function: sympy.Symbol(f"f{i}", real=True) for i, function in enumerate(functions)})
    return value.as_set() if len(value.free_symbols) == 1 else None


def _same_relation(gold: sympy.Basic, answer: sympy.Basic) -> bool:
    """Whether two equations or inequalities are the same up to a factor, or have the same solutions.

    They must be about the same letters and functions, also where one of them cancels: f(x) = 1 is not q(x) = 1.
    """
    if _names(gold) != _names(answer):
        return False
    if isinstance(gold, Relational) and isinstance(answer, Relational):
        (kind, left), (other_kind, right) = _as_less(gold), _as_less(answer)
        if _equal_sides(gold, answer) or (
            kind is other_kind and _proportional(left, right, kind in (sympy.Eq, sympy.Ne))
        ):
            return True
        if kind is not other_kind:
            return False
    if len(gold.free_symbols) == 1:
        solutions = _solved(gold), _solved(answer)
        return solutions[0] is not sympy.S.EmptySet and _same_set(*solutions)
    if isinstance(gold, sympy.Eq) and isinstance(answer, sympy.Eq):
        return bool(sympy.solve(gold, gold.free_symbols)) and sympy_solve_and_compare(gold, answer, *_ROUNDING)
    return isinstance(gold, sympy.And) and isinstance(answer, sympy.And) and _same_parts(gold, answer)


def _names(value: sympy.Basic) -> set[str]:
    """The names of the letters and functions in a relation."""
    functions = {function.func.__name__ for function in value.atoms(sympy.core.function.AppliedUndef)}
    return {symbol.name for symbol in value.free_symbols} | functions


def _same_parts(gold: sympy.Basic, answer: sympy.Basic) -> bool:
    return len(gold.args) == len(answer.args) and all(
        any(_same_relation(one, other) for other in answer.args) for one in gold.args
    )


def _equal_sides(gold: sympy.Basic, answer: sympy.Basic) -> bool:
    if type(gold) is not type(answer) or isinstance(gold.lhs, sympy.Expr) != isinstance(answer.lhs, sympy.Expr):
        return False
    return _equal(gold.lhs, answer.lhs) and _equal(gold.rhs, answer.rhs)


def _as_less(relation: sympy.Basic) -> tuple[type, sympy.Basic]:
    """The kind and the difference of the sides, in which > becomes < with the sides exchanged."""
    kinds = {sympy.StrictGreaterThan: sympy.StrictLessThan, sympy.GreaterThan: sympy.LessThan}
    sides = (relation.lhs, relation.rhs) if type(relation) not in kinds else (relation.rhs, relation.lhs)
    if not all(isinstance(side, sympy.Expr) for side in sides):
        return type(relation), sympy.nan
    return kinds.get(type(relation), type(relation)), sympy.Add(sides[0], -sides[1])


def _proportional(gold: sympy.Basic, answer: sympy.Basic, any_sign: bool) -> bool:
    if gold is sympy.nan or answer is sympy.nan:
        return False
    ratio = sympy.simplify(gold.doit() / answer.doit())
    return bool(ratio.is_number and ratio.is_finite and (ratio.is_positive or (any_sign and ratio.is_nonzero)))


def _same_matrix(gold: sympy.Basic, answer: sympy.Basic) -> bool:
    gold, answer = gold.doit(), answer.doit()
    if not (isinstance(gold, sympy.MatrixBase) and isinstance(answer, sympy.MatrixBase)):
        return False
    return gold.shape == answer.shape and all(map(_equal, gold.flat(), answer.flat()))


def _same_set(gold: sympy.Set, answer: sympy.Set) -> bool:
    if isinstance(gold, sympy.FiniteSet) and isinstance(answer, sympy.FiniteSet):
        golds, answers = list(gold.args), list(answer.args)
        if len(golds) != len(answers) or len(golds) > _MOST_ELEMENTS:
            return False
        for element in golds:
            others = (other for other in answers if isinstance(other, sympy.Set) == isinstance(element, sympy.Set))
            match = next((other for other in others if _equal(element, other)), None)
            if match is None:
                return False
            answers.remove(match)
        return True
    if isinstance(gold, sympy.Interval) and isinstance(answer, sympy.Interval):
        ends = gold.left_open == answer.left_open and gold.right_open == answer.right_open
        return ends and _equal(gold.start, answer.start) and _equal(gold.end, answer.end)
    if any(isinstance(one, sympy.Interval) and isinstance(other, sympy.FiniteSet) for one, other in
           ((gold, answer), (answer, gold))):  # fmt: skip
        return False  # math-verify takes (1, 2) for a point, too
    return sympy_compare_sets(gold.doit(), answer.doit(), *_ROUNDING)


def _same_expression(gold: sympy.Expr, answer: sympy.Expr) -> bool:
    percents = [value.atoms(sympy.UnevaluatedExpr) != set() for value in (gold, answer)]
    if percents[0] != percents[1]:  # "50%" is equal to 50 and to 0.5
        gold, answer = (get_pct_val(value, value) for value in (gold, answer))
        sign_may_be_missing = percents[0] or (gold.is_number and bool(abs(gold) > 1))
        factors = [sympy.Integer(100) if percents[0] else sympy.Rational(1, 100), *([1] if sign_may_be_missing else [])]
        return any(_same_expression(gold, answer * factor) for factor in factors)
    gold, answer = _complex(gold), _complex(answer)
    if gold == answer:
        return gold not in (sympy.nan, sympy.zoo)
    gold, answer = gold.doit(), answer.doit()
    if any(abs(power.exp) > _LARGEST_EXPONENT for power in (gold + answer).atoms(sympy.Pow) if power.exp.is_Integer):
        return gold == answer  # its values would take for ever
    if not gold.free_symbols and not answer.free_symbols:
        return _same_value(gold, answer)
    same_values = alike(gold, answer)
    if same_values is False:
        return False
    if same_values and gold.free_symbols == answer.free_symbols:
        return True
    return sympy.simplify(gold - answer).is_zero is True


def _complex(value: sympy.Expr) -> sympy.Expr:
    """The value with i as the imaginary unit, unless it is one of the unit vectors i, j and k."""
    names = {symbol.name for symbol in value.free_symbols}
    return value.subs(sympy.Symbol("i", real=True), sympy.I) if "i" in names and not names & {"j", "k"} else value


def _same_value(gold: sympy.Expr, answer: sympy.Expr) -> bool:
    """Whether two numbers are equal, or one is a long decimal that shows the digits of the other."""
    if gold.is_infinite or answer.is_infinite:
        return gold == answer
    gold, answer = real_roots(gold), real_roots(answer)
    if gold.is_Rational and answer.is_Rational:
        return same_number(Fraction(gold.p, gold.q), Fraction(answer.p, answer.q))
    # sympy's floating-point numbers have exponents of any size, so tiny values are told apart
    values = [sympy.N(value, 60) for value in (gold, answer)]
    if not all(value.is_number and value.is_finite for value in values):
        return False
    decimal = next((value for value in (gold, answer) if value.is_Rational), None)
    unit = None if decimal is None else shown_unit(Fraction(decimal.p, decimal.q))
    if unit is not None:
        return bool(abs(values[0] - values[1]) < sympy.Rational(unit))
    if is_nonzero(gold - answer, max(map(abs, values))):
        return False
    return sympy.simplify(gold - answer).is_zero is not False


def _numbers(text: str) -> list[float]:
    """The numbers of a comma-separated list; empty if it contains anything else."""
    try:
        return [float(latex2sympy(part).evalf()) for part in text.split(",")]
    except Exception:
        return []


def _near(golds: list[float], answers: list[float], tolerance: tuple[float, ...]) -> bool:
    if not golds or len(golds) != len(answers) or len(tolerance) not in (1, len(golds)):
        return False
    tolerances = tolerance if len(tolerance) > 1 else tolerance * len(golds)
    for gold, allowed in zip(golds, tolerances, strict=True):
        nearest = min(answers, key=lambda answer: abs(answer - gold))
        if not abs(nearest - gold) <= allowed * 1.01:
            return False
        answers.remove(nearest)
    return True
