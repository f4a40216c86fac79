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
        ("20+5t", "10+15t", False), ("20+5t", "25", False), ("5-5c", "-5*c+5", True), ("7t", "7", False),
        ("0", "not 0", False),
        ("f(x)=1", "q(x)=1", False), ("f(x)=1", "F(x)=1", False), ("f(x)=1", "1=f(x)", True),
        ("m\\frac{dv}{dt}+bv=f", "k\\frac{dv}{dt}+bv=f", False), ("x\\in[-2,7]", "q\\in[-2,7]", False),
        ("I\\frac{d \\omega}{d t}+2B\\omega=T", "I\\frac{d \\omega}{d q}+2B\\omega=T", False),
        ("I\\frac{d \\omega}{d t}+2B\\omega=T", "2B\\omega+I\\frac{d\\omega}{dt}=T", True),
        ("2x", "2X", False), ("\\frac{1}{2}bh", "\\frac{1}{2}BH", False), ("\\Gamma", "\\gamma", False),
        ("e", "E", False),
        ("\\frac{1}{10^{400}}", "\\frac{2}{10^{400}}", False), ("e^{-1000}", "e^{-2000}", False),
        ("1-\\frac{1}{2^{2000}}", "1", False), ("2^{-1100}", "\\frac{1}{2^{1100}}", True), ("12", "12_{5}", False),
        ("1+2e", "2e+1", True), ("(1+i)^2", "2i", True), ("n", "n+0", True), ("|x|", "x", False),
        ("\\sqrt{x^2}", "x", False),
        ("(-\\infty,-5]\\cup[5,\\infty)", "|x|\\ge 5", True), ("(1,2)", "\\{1,2\\}", False),
        ("x^2+1=0", "x^2+2=0", False), ("y=2x+1", "2x-y+1=0", True), ("x<2", "2>x", True), ("x<2", "-x<-2", False),
        ("1+\\frac{1}{3}x", "1+0.\\overline{3}x", True), ("3,-2", "x=3,x=-2", True), ("p=5,q=2", "q=2,p=5", True),
        ("\\sum_{k=1}^{n}k", "\\frac{n(n+1)}{2}", True), ("\\sin x\\cos x", "\\frac{1}{2}\\sin2x", True),
        ("5", "x<5", False),
        ("4", "2x=4", False), ("5", "2+3=5", True), ("5", "f(2)=5", True), ("7", "a^2+b^2=7", True),
        ("x", "x+10^{-12}", False), ("\\cos60^\\circ", "\\frac{1}{2}", True), ("\\cos60", "\\frac{1}{2}", False),
        ("50\\%", "0.5", True), ("\\begin{pmatrix}1\\\\2\\end{pmatrix}", "\\begin{pmatrix}2\\\\1\\end{pmatrix}", False),
    ],
)  # fmt: skip
def test_symbolic_equality_is_strict(gold, answer, equal):
    assert symbolic_equal(gold, answer) is equal


def test_a_tolerance_makes_near_numbers_equal_in_any_order():
    assert symbolic_equal("\\sqrt{2}", "1.41", (0.01,))
    assert not symbolic_equal("\\sqrt{2}", "1.41", (0.001,))


def test_numbers_that_math_verify_rounds_together_are_different():
    assert not symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "1.3660254")
    assert not symbolic_equal("\\frac{1}{10^{9}}", "\\frac{2}{10^{9}}")
    assert symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "\\frac{1}{2}+\\frac{\\sqrt{3}}{2}")
