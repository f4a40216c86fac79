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


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("|x+2|", "x+2"), ("|t-8|", "8-t"), ("|x^2-20|", "20-x^2"), ("\\sqrt{(x+5)^2}", "x+5"),
        ("\\sqrt{x^2-14x+49}", "7-x"), ("\\min(x,5)", "x"), ("\\max(x,-40)", "x"), ("|x-7|+|x-8|", "|2x-15|"),
        ("|x-700|", "700-x"), ("|a+6|+b", "a+b+6"), ("\\lfloor x\\rfloor", "\\lceil x\\rceil-1"),
        ("\\lfloor x/10\\rfloor", "\\lfloor x/20\\rfloor"), ("\\lceil n/2\\rceil+1", "\\lfloor n/2\\rfloor+2"),
        ("mn-\\lfloor m/2\\rfloor", "mn-\\lceil m/2\\rceil+1"), ("\\lfloor n/30\\rfloor", "0"),
        ("2^{|n+3|}", "2^{n+3}"),
    ],
)  # fmt: skip
def test_formulas_with_bends_are_told_apart_wherever_they_differ(gold, answer):
    assert not symbolic_equal(gold, answer)
    assert symbolic_equal(gold, gold) and symbolic_equal(answer, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("\\lceil n/2\\rceil", "\\lfloor\\frac{n+1}{2}\\rfloor"), ("n", "\\lfloor n/2\\rfloor+\\lceil n/2\\rceil"),
        ("\\lfloor\\log_2 n\\rfloor+1", "\\lceil\\log_2(n+1)\\rceil"), ("|x-3|", "|3-x|"), ("|x|^2", "x^2"),
        ("\\lfloor\\sqrt{n-1}\\rfloor", "\\lceil\\sqrt{n}\\rceil-1"), ("|x|", "\\sqrt{x^2}"), ("|ab|", "|a||b|"),
        ("\\sqrt{x^2+10x+25}", "|x+5|"), ("\\sqrt{a^2+b^2}", "\\sqrt{b^2+a^2}"),
        ("\\lfloor x+1\\rfloor", "\\lfloor x\\rfloor+1"),
    ],
)  # fmt: skip
def test_equal_formulas_with_bends_are_equal_and_n_m_and_k_are_whole(gold, answer):
    assert symbolic_equal(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("2^{2024}+n", "2^{2024}+2n"), ("(2^{100}+1)x", "2^{100}x"), ("x+10^{-40}", "x"),
        ("\\sin x+10^{-70}", "\\sin x"),
        ("3^{300}\\sin2x+\\cos x", "2\\cdot3^{300}\\sin x\\cos x+2\\cos x"), ("100!n+1", "100!n"),
        ("10^{80}\\sqrt{2}+1", "10^{80}\\sqrt{2}+2"), ("\\sqrt{10^{60}+1}", "10^{30}"), ("e^{-900x}", "2e^{-900x}"),
        ("12345678901.5x", "12345678901.6x"), ("0.1234567890123x", "0.1234567890124x"), ("1.4142135623", "\\sqrt{2}"),
    ],
)  # fmt: skip
def test_large_and_tiny_constants_hide_no_difference(gold, answer):
    assert not symbolic_equal(gold, answer)
    assert symbolic_equal(gold, gold) and symbolic_equal(answer, answer)


def test_decimals_are_exact_and_a_long_one_may_stand_for_a_number_without_an_end():
    assert symbolic_equal("\\frac{5\\pi}{2}", "2.5\\pi") and symbolic_equal("0.25x+1.5", "\\frac{x}{4}+\\frac{3}{2}")
    assert symbolic_equal("e^2", "7.38905609893065") and not symbolic_equal("e^2", "7.38905609893")
    assert symbolic_equal("y=0.5x", "2y=x") and not symbolic_equal("\\frac{\\pi}{3}", "0.333333\\pi")


def test_odd_roots_of_negative_numbers_are_real():
    assert symbolic_equal("-2", "\\sqrt[3]{-8}") and not symbolic_equal("2", "\\sqrt[3]{-8}")
    assert symbolic_equal("-\\sqrt[5]{3}", "\\sqrt[5]{-3}") and not symbolic_equal("-2", "\\sqrt[4]{-16}")
    assert symbolic_equal("\\sqrt[3]{1-x}", "-\\sqrt[3]{x-1}") and not symbolic_equal(
        "\\sqrt[3]{1-x}", "\\sqrt[3]{x-1}"
    )
    assert symbolic_equal("1", "\\sqrt[3]{2+\\sqrt5}+\\sqrt[3]{2-\\sqrt5}")


def test_a_set_of_sets_is_not_a_set_of_numbers():
    assert not symbolic_equal("\\{1,2\\}", "\\{1\\},\\{2\\}")
    assert not symbolic_equal("\\{\\{3\\},\\{4\\}\\}", "\\{3,4\\}")
    assert symbolic_equal("\\{\\{1\\},\\{2\\}\\}", "\\{\\{2\\},\\{1\\}\\}")


def test_a_tolerance_makes_near_numbers_equal_in_any_order():
    assert symbolic_equal("\\sqrt{2}", "1.41", (0.01,))
    assert not symbolic_equal("\\sqrt{2}", "1.41", (0.001,))


def test_numbers_that_math_verify_rounds_together_are_different():
    assert not symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "1.3660254")
    assert not symbolic_equal("\\frac{1}{10^{9}}", "\\frac{2}{10^{9}}")
    assert symbolic_equal("\\frac{\\sqrt{3}+1}{2}", "\\frac{1}{2}+\\frac{\\sqrt{3}}{2}")


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("\\frac{\\partial f}{\\partial y}", "\\frac{\\partial f}{\\partial x}", False),
        ("0", "\\frac{\\partial f}{\\partial x}", False), ("0", "\\frac{d}{dx}y", False),
        ("\\frac{\\partial f}{\\partial x}+2", "2+\\frac{\\partial f}{\\partial x}", True),
        ("2x", "\\frac{d}{dx}x^2", True), ("\\frac{1}{f(x)}", "f^{-1}(x)", False),
        ("f^{-1}(x)=\\frac{x}{2}-0.5", "f^{-1}(x)=\\frac{x-1}{2}", True), ("B\\in A", "A\\in B", False),
        ("a_{n}", "\\lim_{n\\to\\infty}a_{n}", False), ("na_{k}", "\\sum_{k=1}^{n}a_{k}", False),
        ("\\lim_{n\\to\\infty}a_{n}+1", "1+\\lim_{n\\to\\infty}a_{n}", True),
        ("1", "\\lim_{x\\to0}\\frac{\\sin x}{x}", True), ("n", "\\sum_{k=1}^{n}1", True),
        ("6", "x=5\\implies y=6", False), ("5", "2x=10\\implies x=5", True), ("x=5", "2x=10\\Rightarrow x=5", True),
    ],
)  # fmt: skip
def test_what_sympy_takes_for_constant_or_equal_is_not(gold, answer, equal):
    assert symbolic_equal(gold, answer) is equal


def test_powers_that_would_take_for_ever_are_equal_to_themselves_alone():
    assert not symbolic_equal("x", "x^{1000000000}")
    assert symbolic_equal("x^{1000000000}+1", "1+x^{1000000000}")
