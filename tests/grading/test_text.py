import pytest

from rlfr_mm.grading.equivalence import symbolic_equal
from rlfr_mm.grading.text import compare_text, tidy

ANSWERS = [
    "5", "5.0", "0.5", "\\frac{1}{2}", "1/2", "-3", "1,234", "1234", "50%", "50\\%", "(1, 2)", "(2,1)", "[1,2]",
    "(1,2]", "1, 2", "2,1", "1 and 2", "1,2,3", "x=5", "\\sqrt{2}", "2\\sqrt{3}", "2\\pi", "3-2i", "x+1",
    "1 + x", "12 apples", "(-\\infty, 2)", "\\{1,2\\}", "\\text{Monday}", "Tuesday",
    "\\begin{pmatrix}1 \\\\ 2\\end{pmatrix}", "60^\\circ", "60", "2x", "y=2x", "\\$5",
]  # fmt: skip


@pytest.mark.parametrize("gold", ANSWERS[::3])
def test_what_is_decided_from_text_is_decided_as_math_verify_would(gold):
    for answer in ANSWERS:
        decided = compare_text(tidy(gold), tidy(answer), ())
        if decided is not None:
            assert decided == symbolic_equal(tidy(gold), tidy(answer)), (gold, answer)


def test_numbers_words_and_points_need_no_parser():
    pairs = [
        ("5", "7"),
        ("Monday", "Tuesday"),
        ("(1,2)", "(1,3)"),
        ("1,2", "2,1"),
        ("2", "2\\sqrt{5}"),
        ("10", "3 meters"),
    ]
    for gold, answer in pairs:
        assert compare_text(gold, answer, ()) is not None


def test_units_of_measure_count():
    assert compare_text(tidy("12 \\text{ cm}"), tidy("12\\text{ cm}"), ()) is True
    assert compare_text(tidy("12 \\text{ cm}"), tidy("12 \\text{ m}"), ()) is False


def test_tolerance_is_for_numbers():
    assert compare_text("1.414", "1.41", (0.01,)) is True
    assert compare_text("1.414", "1.41", (0.001,)) is False
    assert compare_text("\\sqrt{2}", "1.41", (0.01,)) is None


def test_tidy_keeps_what_has_a_meaning():
    assert tidy("\\pi r^2 + 3") == "\\pi r^2+3"
    assert tidy("1 and 2.") == "1 and 2"
    assert tidy("\\\\frac{1}{2}") == "\\frac{1}{2}" == tidy("\\dfrac{1}{2}")
    assert tidy("\\begin{pmatrix} 1 \\\\ 2 \\end{pmatrix}").count("\\\\") == 1
