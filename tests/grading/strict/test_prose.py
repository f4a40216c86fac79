import pytest

from rlfr_mm.grading.strict.prose import has_words, without_name
from rlfr_mm.grading.strict.symbolic import symbolic_equal
from rlfr_mm.grading.strict.text import aligned, compare_text, read


def decided(gold, answer):
    sides = read(gold, is_gold=True), read(answer)
    equal = compare_text(*sides)
    return symbolic_equal(*aligned(*sides)) if equal is None else equal


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("Bob is taller than Alice", "Alice is taller than Bob"), ("B beats A", "A beats B"),
        ("\\text{b divides a}", "\\text{a divides b}"), ("q implies p", "p implies q"),
        ("z equals y plus x", "x equals y plus z"), ("the man bit the dog", "the dog bit the man"),
        ("\\text{ray } BA", "\\text{ray } AB"), ("Set B is a subset of A", "Set A is a subset of B"),
        ("x \\text{ is odd}, y \\text{ is even}", "x \\text{ is even}, y \\text{ is odd}"),
        ("\\text{tea}", "\\text{eat}"), ("was", "saw"), ("\\text{abc}", "\\text{bca}"), ("Celia", "Alice"),
        ("\\text{eat}=5", "\\text{tea}=5"), ("\\text{LX}", "\\text{XL}"), ("MC", "CM"), ("vi", "iv"),
        ("VI, XI", "IV, IX"), ("10 2", "2 10"), ("red is 5", "red is -5"), ("even", "not even"),
        ("domain: [-4,4] and range: [0,2]", "range: [-4,4] and domain: [0,2]"),
        ("Increasing on (2, \\infty)", "decreasing on (2, \\infty)"),
        ("Increasing on (2, \\infty)", "increasing on (3, \\infty)"), ("no solution", "There is one solution"),
        ("no real solution", "no solution"),
    ],
)  # fmt: skip
def test_words_have_an_order_and_are_no_products_of_letters(gold, answer):
    assert decided(gold, answer) is False


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("Bob is taller than Amy", "bob is taller than Amy."), ("\\text{circle}", "a circle"),
        ("no solution", "There are no solutions."), ("\\text{No real solutions}", "no real solution exists"),
        ("\\text{parabola}", "the parabola"), ("\\text{circle}", "A circle"), ("Ann and Tom", "Tom and Ann"),
        ("\\text{blue}, \\text{red}", "\\text{red}, \\text{blue}"),
        ("4\\text{ dogs and }3\\text{ cats}", "3\\text{ cats and }4\\text{ dogs}"),
        ("Increasing on (2, \\infty) and decreasing on (-\\infty, 2)",
         "decreasing on (-infinity, 2), increasing on (2, infinity)"),
        ("domain: [-4,4] and range: [0,2]", "range: [0, 2], domain: [-4, 4]"),
        ("5\\text{ if }x=0.5", "5\\text{ if }x=\\frac12"), ("XIV", "\\text{XIV}"), ("0.5", "50 \\text{ percent}"),
        ("\\lambda_{\\text{red}}/\\sqrt2", "\\frac{\\lambda_{\\text {red}}}{\\sqrt{2}}"),
    ],
)  # fmt: skip
def test_articles_capitals_and_the_order_of_a_list_do_not_matter_in_words(gold, answer):
    assert decided(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer"),
    [
        ("AB", "BA"), ("xyz", "zyx"), ("mgh", "hmg"), ("\\frac{bca}{4R}", "\\frac{abc}{4R}"), ("yxe^x", "xye^{x}"),
        ("ab(x+y)", "abx+aby"), ("\\frac{RnT}{V}", "\\frac{nRT}{V}"), ("SRAC=LRAC", "LRAC=SRAC"),
        ("\\int xe^xdx", "\\int x\\,e^x\\,dx"), ("\\log_2 3", "log_2(3)"),
    ],
)  # fmt: skip
def test_products_of_variables_have_no_order(gold, answer):
    assert decided(gold, answer)


@pytest.mark.parametrize(
    ("gold", "answer", "equal"),
    [
        ("\\text{length}=4,\\ \\text{width}=3", "\\text{length}=3,\\ \\text{width}=4", False),
        ("\\text{mean}=4, \\text{mode}=3", "\\text{mean}=3, \\text{mode}=4", False),
        ("boys = 4, girls = 3", "boys = 3, girls = 4", False), ("max = 1, min = 9", "max = 9, min = 1", False),
        ("4, 3", "length = 3, width = 4", False), ("x=4, \\text{profit}=3", "x=3, \\text{profit}=4", False),
        ("area = 5", "perimeter = 5", False), ("\\text{number of girls} = 5", "number of boys = 5", False),
        ("\\text{mode}=3", "\\text{mean}=3", False), ("P(\\text{blue})=\\frac12", "P(\\text{red})=\\frac12", False),
        ("perimeter of DEF = 5", "perimeter of ABC = 5", False), ("10", "twice the number = 10", False),
        ("5", "half the sum = 5", False), ("10", "2\\times\\text{width}=10", False),
        ("10", "5 more than x = 10", False), ("5", "the opposite of x = 5", False),
        ("length = 3, width = 4", "width = 4, length = 3", True), ("3, 4", "length = 3 and width = 4", True),
        ("\\text{length}=3,\\ \\text{width}=4", "\\text{length}=3.0,\\ \\text{width}=4", True),
        ("Area $=5$", "Area of the circle = 5", True), ("Volume $=5 \\text{ cm}^3$", "V = 5", True),
        ("5", "third side = 5", True), ("5", "max = 5", True), ("(20,10)", "Center $=(20,10)$", True),
        ("0.5", "P(\\text{red})=\\frac{1}{2}", True), ("\\frac16", "P(\\text{sum}=7)=\\frac16", True),
        ("6", "\\text{Area}=\\frac12\\cdot3\\cdot4=6", True),
        ("6", "\\text{Area}=\\text{base}\\times\\text{height}=6", True),
        ("0.6", "\\sin A=\\frac{\\text{opposite}}{\\text{hypotenuse}}=\\frac35", True),
        ("2", "\\operatorname{rank}(A)=2", True), ("5", "\\text{Area of }\\triangle ABC=5", True),
        ("A=\\pi r^2", "\\text{Area}=\\pi r^2", True),
    ],
)  # fmt: skip
def test_a_name_before_a_value_is_the_same_name_where_both_have_one(gold, answer, equal):
    assert bool(decided(gold, answer)) is equal


def test_words_are_told_from_products():
    for words in ("ray AB", "eat", "A is B", "no solution", "cost = 5"):
        assert has_words(words), words
    for product in ("abc", "xyz", "mgh", "2abx", "\\frac{cab}{4}", "x_{max}", "\\begin{cases}x\\end{cases}", "dx"):
        assert not has_words(product), product


def test_only_the_name_of_one_value_is_left_out():
    assert without_name("length = 3, width = 4") == (frozenset(), "length = 3, width = 4")
    assert without_name("length of AB = 3") == ({"length", "ab"}, "3")
    assert without_name("x = 3") == (frozenset(), "x = 3")
