"""sympy and two readers of LaTeX. Importing this module takes a second, so only worker processes do."""

import sympy
from antlr4 import CommonTokenStream, InputStream
from antlr4.atn.PredictionMode import PredictionMode
from antlr4.Parser import Parser
from latex2sympy2_extended import latex2sympy
from latex2sympy2_extended.latex2sympy2 import ConversionConfig, _Latex2Sympy
from sympy.parsing.latex import _parse_latex_antlr as sympy_latex

__all__ = ["latex2sympy", "parse_latex", "read_latex", "sympy"]

_CASE_MATTERS = ConversionConfig(lowercase_symbols=False)


class _Reader(_Latex2Sympy):
    """latex2sympy with a choice of how its parser decides between rules: SLL looks at the next tokens only."""

    mode = PredictionMode.LL

    def create_parser(self, latex_str: str) -> Parser:
        parser = super().create_parser(latex_str)
        parser._interp.predictionMode = self.mode
        return parser


def read_latex(text: str, convert_degrees: bool) -> sympy.Basic:
    """What latex2sympy reads in a text of real variables whose case matters. Raises if the text is no formula.

    ANTLR's SLL mode gives the same tree as its default or an error. It comes first, since it takes a quarter less time,
    and two fifths less once the parser has met similar formulas.
    """
    quick, exact = (_Reader(None, True, convert_degrees, config=_CASE_MATTERS) for _ in range(2))
    quick.mode = PredictionMode.SLL
    try:
        return quick.parse(text)
    except Exception:
        return exact.parse(text)


def parse_latex(text: str) -> sympy.Basic:
    """sympy's `parse_latex`: the value of the longest beginning of the text that is LaTeX, so 1 for "1,-2".

    It uses sympy's grammar and conversion but skips sympy's check that the antlr runtime is 4.11. math-verify needs
    4.13 to read percent signs, and the compiled grammar is the same for both.
    """
    text = text.strip()
    errors = sympy_latex.MathErrorListener(text)
    lexer = sympy_latex.LaTeXLexer(InputStream(text))
    parser = sympy_latex.LaTeXParser(CommonTokenStream(lexer))
    for recognizer in (lexer, parser):
        recognizer.removeErrorListeners()
        recognizer.addErrorListener(errors)
    return sympy_latex.convert_relation(parser.math().relation())
