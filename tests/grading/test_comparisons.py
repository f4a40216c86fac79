import pytest

from rlfr_mm.grading.comparisons import COMPARISONS, self_test
from rlfr_mm.grading.parsers import parse_latex


def test_no_text_is_evaluated_as_python(tmp_path):
    target = tmp_path / "written"
    code = f"__import__('pathlib').Path('{target}').write_text('x')"
    for compare in COMPARISONS.values():
        compare("1", code, ())
        compare(code, "1", ())
    assert not target.exists()


def test_self_test_names_a_broken_parser(monkeypatch):
    self_test()
    monkeypatch.setattr("sympy.parsing.latex._parse_latex_antlr.LaTeXLexer", None)
    with pytest.raises(RuntimeError, match="math-verify"):
        self_test()
    with pytest.raises(TypeError):
        parse_latex("1")
