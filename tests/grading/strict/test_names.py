import pytest

from rlfr_mm.grading.strict.names import named, same_relation


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("\\angle ABC", "\\angle CBA", True), ("\\angle ABC", "\\angle ACB", False), ("angle ABC", "\\angle ABC", True),
        ("\\triangle ABC", "\\triangle BCA", True), ("\\triangle ABC", "\\triangle ABD", False),
        ("\\overline{AB}", "\\overline{BA}", True), ("\\overrightarrow{AB}", "\\overrightarrow{BA}", False),
        ("\\widehat{AB}", "\\widehat{BA}", True), ("\\widehat{AB}", "\\widehat{AC}", False),
        ("\\triangle A'B'C'", "\\triangle A'B'C", False), ("A'", "A", False), ("A'", "A''", False),
        ("f'(x)", "f^{\\prime}(x)", True), ("f'(x)", "f(x)", False), ("A1", "1A", False), ("A1", "A_{1}", True),
    ],
)  # fmt: skip
def test_names_keep_order_and_primes(one, other, same):
    assert (named(one) == named(other)) is same


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("AB \\parallel CD", "CD \\parallel BA", True), ("AB \\parallel CD", "AC \\parallel BD", False),
        ("AB \\parallel CD", "AB \\perp CD", False), ("AB \\perp CD", "DC \\perp AB", True),
        ("\\triangle ABC \\sim \\triangle DEF", "\\triangle BCA \\sim \\triangle EFD", True),
        ("\\triangle ABC \\sim \\triangle DEF", "\\triangle ABC \\sim \\triangle EDF", False),
        ("AB \\parallel CD", "AB", None), ("x \\parallel y", "y \\parallel x", None),
    ],
)  # fmt: skip
def test_relations_of_figures(one, other, same):
    assert same_relation(one, other) is same
