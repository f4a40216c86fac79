from rlfr_mm.grading import Item, grade

CHOICES = ("3", "5", "12", "None of them")


def test_wemath_official_reads_behind_the_word_answer():
    assert grade(Item("<Thought process>: <<A?>> <Answer>: <<C. 3>>", "C", "wemath", CHOICES), "official").correct
    assert grade(Item("<Answer>: ?", "C", "wemath", CHOICES), "official").status == "no_answer"
