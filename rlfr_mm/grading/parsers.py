"""sympy and two readers of LaTeX. Importing this module takes a second, so only worker processes do."""

import sympy
from antlr4 import CommonTokenStream, InputStream
from latex2sympy2_extended import latex2sympy
from sympy.parsing.latex import _parse_latex_antlr as sympy_latex

__all__ = ["latex2sympy", "parse_latex", "sympy"]


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
