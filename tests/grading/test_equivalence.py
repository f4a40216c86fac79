"""Only comparisons that end at once are called here; the others go through the pool."""

import pytest

from rlfr_mm.grading.equivalence import (
    harness_equal,
    mathvision_equal,
    olympiad_equal,
    parse_latex,
    self_test,
    symbolic_equal,
)


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


def test_mathvision_rounds_values_and_calls_unreadable_text_different():
    assert mathvision_equal("1:1", "1")
    assert mathvision_equal("\\frac{1}{3}", "0.333")
    assert mathvision_equal("$\\frac{3 \\pi}{2}$", "\\frac{3\\pi}{2}}{cm")  # the parser stops at the odd brace
    assert mathvision_equal("(1/2, 3)", "(0.5,3)")
    assert not mathvision_equal("$60^{\\circ}$", "60")
    assert not mathvision_equal("x", "y")
    assert not mathvision_equal("", "")


def test_harness_accepts_percent_and_reads_beginnings():
    assert harness_equal("2", "0.02") and harness_equal("2", "200") and not harness_equal("2", "20")
    assert harness_equal("1,-2", "1")
    assert harness_equal("(-\\infty,0]", "(-\\infty,0)")
    assert harness_equal("\\frac{1}{2}", "0.5")
    assert harness_equal("x=5", "5") and not harness_equal("x=5", "6")
    assert not harness_equal("1", "")


def test_olympiad_compares_parts_in_any_order_within_their_tolerance():
    assert olympiad_equal("(2,1),(3,1)", "(3,1),(2,1)")
    assert olympiad_equal("a,-a", "\\pm a")
    assert olympiad_equal("7 \\times 10^{35}, 0.002", "0.001, 7.1 \\cdot 10^{35}", (1e34, 0.001))
    assert not olympiad_equal("7 \\times 10^{35}", "7.1 \\cdot 10^{35}", (1e33,))
    assert not olympiad_equal("0.64N", "0.64")
    assert olympiad_equal("x^2+y^2=1", "1-x^2-y^2=0")


def test_no_text_is_evaluated_as_python(tmp_path):
    target = tmp_path / "written"
    code = f"__import__('pathlib').Path('{target}').write_text('x')"
    for compare in (symbolic_equal, mathvision_equal, harness_equal, olympiad_equal):
        compare("1", code)
        compare(code, "1")
    assert not target.exists()


def test_self_test_names_a_broken_parser(monkeypatch):
    self_test()
    monkeypatch.setattr("sympy.parsing.latex._parse_latex_antlr.LaTeXLexer", None)
    with pytest.raises(RuntimeError, match="math-verify"):
        self_test()
    with pytest.raises(TypeError):
        parse_latex("1")


def test_numbers_that_math_verify_rounds_together_are_different():
    assert not symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "1.3660254")
    assert not symbolic_equal("\\frac{1}{10^{9}}", "\\frac{2}{10^{9}}")
    assert symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "\\frac{1}{2}+\\frac{\\sqrt{3}}{2}")
