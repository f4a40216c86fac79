from fractions import Fraction

import pytest

from rlfr_mm.grading.strict.units import agree, conversion, makes_another, measured, measured_list


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("9.4\\text{ cm}^2", "9.4", "cm2"), ("5 km/h", "5", "km h-1"), ("3 square metres", "3", "m2"),
        ("5 m squared", "5", "m2"), ("8\\text{ g/cm}^3", "8", "g cm-3"), ("60 \\text{ miles per hour}", "60", "mi h-1"),
        ("12平方厘米", "12", "厘米2"), ("5 \\mu m", "5", "um"), ("\\$5", "5", "dollar"), ("€20", "20", "euro"),
        ("9 red apples", "9", "red apple"), ("20\\% \\text{ increase}", "20\\%", "increase"), ("5个", "5", "个"),
        ("20 ^\\circ C", "20", "C"), ("5万", "5万", ""), ("5 million", "5 million", ""), ("500 BC", "500 BC", ""),
        ("5 or 6", "5 or 6", ""), ("2/m", "2/m", ""), ("20+5t", "20+5t", ""), ("5不对", "5不对", ""),
    ],
)  # fmt: skip
def test_a_unit_is_split_from_its_value(text, value, unit):
    assert measured(text) == (value, unit)


@pytest.mark.parametrize(
    ("one", "other", "size"),
    [
        ("m", "cm", Fraction(1, 100)), ("m s-1", "km h-1", Fraction(5, 18)), ("dollar", "cent", Fraction(1, 100)),
        ("mph", "mi h-1", 1), ("N m", "J", 1), ("l", "mL", Fraction(1, 1000)), ("cm", "厘米", 1), ("kPa", "MPa", 1000),
        ("m", "", 1), ("unit2", "cm2", 1), ("apple", "red apple", 1), ("deg", "C", 1), ("cm", "cm2", None),
        ("apple", "orange", None), ("apple", "cm", None), ("increase", "decrease", None), ("am", "pm", None),
        ("unit", "cm2", None), ("C", "F", None), ("cm left", "cm right", None), ("dollar", "euro", None),
    ],
)  # fmt: skip
def test_units_convert_only_if_they_measure_the_same(one, other, size):
    assert conversion(one, other) == size
    assert agree(one, other) is (size == 1)


@pytest.mark.parametrize(
    "text",
    [
        "3\\mathrm{i}", "3\\text{i}", "3+4\\mathrm{i}", "2\\pi\\,\\mathrm{i}", "3\\mathrm{e}", "5\\mathrm{x}",
        "5\\text{ n}",
        "1\\mathrm{e}^{2}", "4\\operatorname{j}", "5\\mathrm{~y}", "5\\text{k}", "5\\mathrm{xy}",
    ],
)  # fmt: skip
def test_an_upright_variable_or_constant_is_no_unit(text):
    assert measured(text) == (text, "")


@pytest.mark.parametrize(
    "words",
    [
        "thirteenths", "\\text{ fortieths}", "millionths", "quadrillion", "\\text{ lakh}", "crore", "gross", "score",
        "bn", "doz",
        "mil", "ppm", "per mille", "basis points", "doubled", "halved", "negated", "binary", "\\text{ in octal}",
        "in hexadecimal", "inverse", "\\text{ log}", "sqrt", "rejected", "onwards", "成", "打",
    ],
)  # fmt: skip
def test_words_that_change_a_value_are_no_unit(words):
    assert measured(f"5 {words}")[1] == ""


@pytest.mark.parametrize(
    "words", ["months", "cloths", "teeth", "red beds", "seeds", "coloured pencils", "eggs needed", "pcs", "rpm", "boys"]
)
def test_counted_things_are_units(words):
    assert measured(f"5 {words}")[0] == "5" and not makes_another(words)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("5 \\Omega", "5", "ohm"), ("5 k\\Omega", "5", "kΩ"), ("5 \\text{ M}\\Omega", "5", "MΩ"),
        ("9.8 \\frac{\\text{m}}{\\text{s}^2}", "9.8", "m s-2"), ("60\\frac{\\mathrm{km}}{\\mathrm{h}}", "60", "km h-1"),
        ("2\\Omega", "2\\Omega", ""),
    ],
)  # fmt: skip
def test_units_may_be_written_in_symbols(text, value, unit):
    assert measured(text) == (value, unit)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("3\\text{ cm}, 4\\text{ cm}", "3, 4", "cm"), ("3\\text{ cm and }4\\text{ cm}", "3, 4", "cm"),
        ("(2 m, 5 m)", "(2, 5)", "m"), ("3 cm, 4 mm", "3 cm, 4 mm", ""), ("1,200 m", "1,200", "m"),
        ("7, 8", "7, 8", ""), ("red, blue", "red, blue", ""),
    ],
)  # fmt: skip
def test_a_list_in_one_unit_has_that_unit(text, value, unit):
    assert measured_list(text) == (value, unit)


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("USD 5", "5", "dollar"), ("Rs. 500", "500", "rupee"), ("\\$18\\text{ per day}", "18", "dollar day-1"),
        ("\\$5\\text{ million}", "5\\text{ million}", "dollar"),
    ],
)  # fmt: skip
def test_a_currency_may_stand_before_the_amount(text, value, unit):
    assert measured(text) == (value, unit)


@pytest.mark.parametrize(
    "words", ["个苹果", "苹果", "名乘客", "种方法", "条规则", "步", "元钱", "英尺", "個", "\\text{道题}"]
)
def test_chinese_names_of_things_are_units(words):
    assert measured(f"5{words}")[1]


@pytest.mark.parametrize(
    "words", ["有误", "除外", "吗", "阶乘", "减一", "个除外", "个吗", "\\text{有误}", "\\text{阶乘}"]
)
def test_chinese_words_that_deny_or_change_a_value_are_no_unit(words):
    assert measured(f"5{words}")[1] == ""
