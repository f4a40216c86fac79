import pytest

from rlfr_mm.grading import grade_all
from tests.grading.examples import PAGE, SECTIONS, page


@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.title)
def test_every_example_has_the_verdict_that_the_page_says(section):
    verdicts = grade_all([example.item for example in section.examples])
    assert [verdict.status for verdict in verdicts] == [example.status for example in section.examples]
    for example, verdict in zip(section.examples, verdicts, strict=True):
        if verdict.extracted is not None:
            start, end = verdict.span
            assert example.response[start:end].strip(), example.response


def test_the_page_is_what_the_examples_write():
    assert PAGE.read_text(encoding="utf-8") == page()
