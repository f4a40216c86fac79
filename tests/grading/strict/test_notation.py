import pytest

from rlfr_mm.grading.strict.notation import tidy


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("∛2", "\\sqrt[3]{2}"), ("√(x+1)", "\\sqrt{x+1}"), ("sqrt(x+(1))", "\\sqrt{x+(1)}"), ("2 sqrt 3", "2\\sqrt{3}"),
        ("x²+y¹⁰", "x^{2}+y^{10}"), ("10⁻³", "10^{-3}"), ("x₁", "x_{1}"), ("2½", "2\\frac{1}{2}"),
        ("⅞", "\\frac{7}{8}"), ("x≤3", "x\\leq 3"), ("x >= 3", "x\\geqslant 3"), ("x != 3", "x\\neq3"),
        ("𝑥+1", "x+1"), ("θ+Ω", "\\theta +\\Omega"), ("△ABC", "\\triangle ABC"), ("AB ⊥ CD", "AB \\perp CD"),
        ("cos(2x)", "\\cos(2x)"), ("tanθ", "\\tan\\theta"), ("sin x", "\\sin x"), ("sinx", "\\sin x"),
        ("\\mathrm{sin}\\,x", "\\sin x"), ("log_2(3)", "\\log_2(3)"), ("alpha+beta", "\\alpha +\\beta"),
        ("e^(-x)", "e^{-x}"), ("x**2", "x^2"), ("2**n", "2^n"), ("x**y", "x^y"),
        ("2 ** n", "2^n"), ("**2**n**", "2^n"), ("**5** or **x**", "5 or x"), ("x**2+y**10", "x^2+y^{10}"),
        ("+/-3", "\\pm3"), ("14.0 + -1.0i", "14.0-1.0i"), ("inf", "\\infty"),
        ("\\bf 5", "5"), ("\\boldsymbol{5}", "{5}"), ("{\\color{red} 5}", "{5}"), ("\\textcolor{red}{5}", "{5}"),
        ("{\\bf x+1}", "x+1"), ("\\boldsymbol{\\{1,2\\}}", "\\{1,2\\}"), ("(a+1)/(b-1)", "\\frac{a+1}{b-1}"),
        ("\\large 5", "5"), ("\\underline{5}", "{5}"), ("\\quad 5\\,", "5"), ("50 percent", "50\\%"),
        ("12 345", "12345"), ("12\\,345\\,678", "12345678"), ("12{,}345", "12345"), ("11,\\! 111", "11111"),
        ("12 base 5", "12_{5}"), ("12_{\\text{five}}", "12_5"), ("(12)_{(5)}", "12_{5}"), ("101 in base two", "101_2"),
    ],
)  # fmt: skip
def test_one_spelling_for_each_notation(written, same):
    assert tidy(written).replace("{5}", "5") == tidy(same).replace("{5}", "5")


@pytest.mark.parametrize(
    "written",
    ["0.3̄", "0.\\dot{3}", "0.(3)", "0.333...", "0.33…", ".\\overline{3}", "0.3333\\ldots", "0.\\bar{3}", "0.\\bar3"],
)
def test_a_repeating_decimal_has_one_spelling(written):
    assert tidy(written) == "0.\\overline{3}"


def test_a_repeating_decimal_keeps_what_does_not_repeat():
    assert tidy("0.1\\dot{6}") == tidy("0.1(6)") == tidy("0.1666...") == "0.1\\overline{6}"
    assert tidy("0.\\dot{1}4285\\dot{7}") == "0.\\overline{142857}"
    assert "overline" not in tidy("3.14159...")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("32, 349", "32349"), ("1 1/2", "11/2"), ("1 234/5", "1234/5"), ("12_5", "12"), ("\\Omega", "\\omega"),
        ("f(x)/(y)", "f\\frac{x}{y}"), ("{a}+{b}", "a}+{b"),
        ("costs", "\\cos ts"), ("2**n", "2n"), ("2e+1", "20"), ("a_{12}", "a_1"), ("x \\to 2", "x2"),
        ("2 x", "2 \\times"),
    ],
)  # fmt: skip
def test_what_has_another_meaning_stays_apart(one, other):
    assert tidy(one) != tidy(other)


@pytest.mark.parametrize(
    ("written", "same"),
    [
        ("\\frac\\pi4", "\\frac{\\pi}{4}"), ("\\dfrac\\pi 3", "\\frac{\\pi}{3}"),
        ("\\frac\\pi{12}", "\\frac{\\pi}{12}"), ("\\frac x2", "\\frac{x}{2}"), ("\\frac a b", "\\frac{a}{b}"),
        ("\\frac abc", "\\frac{a}{b}c"), ("\\hat{i}", "\\mathbf{i}"), ("\\mathbf i", "i"), ("\\lg x", "\\log_{10} x"),
        ("\\operatorname{arctan}x", "\\arctan x"),
        ("\\frac1\\pi", "\\frac{1}{\\pi}"), ("\\frac\\alpha n", "\\frac{\\alpha}{n}"), ("2\\sqrt\\pi", "2\\sqrt{\\pi}"),
        ("\\sqrt\\frac12", "\\sqrt{\\frac{1}{2}}"), ("2^\\frac12", "2^{\\frac{1}{2}}"),
    ],
)  # fmt: skip
def test_arguments_of_one_sign_need_no_braces(written, same):
    assert tidy(written) == tidy(same)
