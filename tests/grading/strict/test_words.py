import pytest

from rlfr_mm.grading.strict.words import in_digits


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("twenty-one", "21"), ("one hundred and five", "105"), ("three thousand twenty-one", "3021"),
        ("One million two hundred thousand five hundred and six", "1200506"), ("nineteen", "19"), ("zero", "0"),
        ("one half", "1/2"), ("half", "1/2"), ("a third", "1/3"), ("three-quarters", "3/4"), ("five sixths", "5/6"),
        ("two hundredths", "2/100"), ("three and a half", "3 1/2"), ("7 and a half", "7 1/2"),
        ("two and two thirds", "2 2/3"), ("a dozen", "12"),
        ("two dozen", "24"), ("twelve red apples", "12 red apples"), ("one and two", "1 and 2"),
        ("\\text{one half}", "\\text{1/2}"), ("half of 12", "1/2 of 12"),
    ],
)  # fmt: skip
def test_english_numbers_are_read(words, digits):
    assert in_digits(words) == digits


@pytest.mark.parametrize("text", ["one-sided", "twenty-first", "the twelfth", "someone", "a second", "Oneida", "tent"])
def test_other_words_stay(text):
    assert in_digits(text) == text


@pytest.mark.parametrize(
    ("words", "digits"),
    [
        ("九", "9"), ("十二", "12"), ("二十五个", "25个"), ("二百零五", "205"), ("两个苹果", "2个苹果"),
        ("一半", "1/2"), ("负五", "-5"), ("负三分之二", "-2/3"),
        ("二分之一", "1/2"), ("12分之1", "1/12"), ("百分之五十", "50\\%"), ("百分之12.5", "12.5\\%"),
        ("共9个", "9个"),
        ("一共有十二个", "12个"), ("约为3米", "3米"),
    ],
)  # fmt: skip
def test_chinese_numbers_and_totals_are_read(words, digits):
    assert in_digits(words) == digits


@pytest.mark.parametrize("text", ["一次函数", "第九", "三角形", "十分", "百分之百分", "二分之零"])
def test_chinese_words_that_begin_like_numbers_stay(text):
    assert in_digits(text) == text or in_digits(text) == "0/2"
