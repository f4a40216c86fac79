"""Only comparisons that end at once are called directly; the others go through the pool."""

import pytest

from rlfr_mm.grading.strict.symbolic import symbolic_equal


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("\\frac{1}{2}", "0.5", True),
        ("x^2+2x+1", "(x+1)^2", True),
        ("1,-2", "-2,1", True),
        ("(1,2)", "(2,1)", False),
        ("(-\\infty,0]", "(-\\infty,0)", False),
        ("1,-2", "1", False),
        ("50", "50\\%", True),
        ("\\sqrt{2}", "1.41", False),
        ("\\text{Denver}", "\\text{Dallas}", False),
        ("3", "\\frac{", False),
    ],
)
def test_symbolic_equality_is_strict(gold, answer, equal):
    assert symbolic_equal(gold, answer) is equal


def test_a_tolerance_makes_near_numbers_equal_in_any_order():
    assert symbolic_equal("\\sqrt{2}", "1.41", (0.01,))
    assert not symbolic_equal("\\sqrt{2}", "1.41", (0.001,))


def test_numbers_that_math_verify_rounds_together_are_different():
    assert not symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "1.3660254")
    assert not symbolic_equal("\\frac{1}{10^{9}}", "\\frac{2}{10^{9}}")
    assert symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "\\frac{1}{2}+\\frac{\\sqrt{3}}{2}")
