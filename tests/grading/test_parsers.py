import pytest
from latex2sympy2_extended import latex2sympy

from rlfr_mm.grading.parsers import _CASE_MATTERS, read_latex, sympy


@pytest.mark.parametrize(
    "text",
    [
        "x^2-3x+1", "\\frac{x+1}{2y}", "2\\sqrt{3}+\\frac{5\\pi}{6}", "(1,2)", "(-\\infty,3)\\cup[4,\\infty)",
        "\\{1,2,3\\}",
        "x=5", "1\\le x<2", "\\sin(2x)+\\cos^2 x", "\\log_2 8+\\ln x", "\\begin{pmatrix}1&2\\\\3&4\\end{pmatrix}",
        "|x-1|",
        "\\binom{5}{2}", "50\\%", "f(x)=x^2", "x=1,y=2", "x>2", "3!", "a_{n+1}", "\\tan\\theta\\cdot 3",
        "\\lfloor x\\rfloor",
    ],
)  # fmt: skip
def test_reading_quickly_gives_what_latex2sympy_reads(text):
    slowly = latex2sympy(text, is_real=True, normalization_config=None, conversion_config=_CASE_MATTERS)
    assert sympy.srepr(read_latex(text, convert_degrees=False)) == sympy.srepr(slowly)
