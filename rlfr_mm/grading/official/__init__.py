"""The benchmarks' own scorers, bugs included, one per file: how each finds an answer and compares it with the gold.

- They are written from the benchmarks' published code; each file names its source.
- Where the scorer asks a judge model, the rules in `judge` imitate it.
- A closed answer tag, which no official prompt asks for, takes precedence over the official extraction.
"""

from types import ModuleType


def parsers() -> ModuleType:
    """`rlfr_mm.grading.parsers` (sympy and two LaTeX readers), imported on the first call: only workers need it."""
    from rlfr_mm.grading import parsers

    return parsers
