import pytest

from rlfr_mm.grading.strict.doubt import denied, open_end, taken_back


@pytest.mark.parametrize(
    "before",
    [
        "The question asks whether the ", "If the ", "Suppose the correct ", "One may think the ", "I doubt that the ",
        "It is not the case that the ",
        "I don't think that the final ", "A student says that the ", "Some people claim the ",
        "x is not ",
        "It is never ", "other than ", "x \\\\neq ", "I thought the ", "The book states that the ",
        "There is no way the ", "Nobody would say that the ", "It would be wrong to say that the ",
        "It is anything but ",
    ],
)  # fmt: skip
def test_denials_quotations_and_conditions_are_seen(before):
    assert denied(before.replace("\\\\", "\\"))


@pytest.mark.parametrize(
    "before",
    [
        "", "So the ", "I think the ", "We conclude that the ", "It is not B, so the ", "Not bad. The ", "He writes ",
        "It is greater than 125, the ", "greater than 125 is ", "needs at least ", "Whether or not this holds, the ",
        "As the problem says, the ", "Since x is not zero, the correct ",
    ],
)  # fmt: skip
def test_words_about_something_else_deny_nothing(before):
    assert not denied(before)


@pytest.mark.parametrize(
    "behind",
    [
        " or 13",
        ", or maybe 13",
        " (or 13)",
        "?",
        " but it may be 13",
        " (13 also works)",
        " is wrong",
        " if n = 1",
        " would be wrong",
        ", which I doubt",
        " and also 13",
        " is too large",
        " is only an upper bound",
        " --> wrong",
        " ✗",
    ],
)
def test_a_doubt_right_behind_an_answer_belongs_to_it(behind):
    assert open_end("12" + behind + ". So", 2) > 2
    assert open_end("12" + behind + ". So", 2) <= len("12" + behind)


@pytest.mark.parametrize(
    "behind", [". Or so it seems", " cm", ", since 3 * 4 = 12", "\n\nIf you ask", " is the answer", "."]
)
def test_other_words_behind_an_answer_leave_it(behind):
    assert open_end("12" + behind, 2) == 2


@pytest.mark.parametrize(
    "after",
    [
        ". Wait, that is wrong. It is 13.",
        ". No, 13.", ". Actually, it is 13.", ". That's incorrect.", ". Or 13.",
        "\n\nHold on, I made a mistake.", ". Hmm, let me think: 13.", ". But it could be 13.", ". Oops, 13.",
        ". Thus 13?\nMy previous answer was wrong.",
    ],
)  # fmt: skip
def test_an_answer_can_be_taken_back(after):
    assert taken_back(after)


@pytest.mark.parametrize(
    "after",
    [
        "", ". I hope it is correct.", ". Wait, let me check: 3 * 4 = 12. Yes.",
        "\n\nA is green. This is incorrect here.",
        ". No other value works.",
        "\nNote that 13 would be wrong.", ". Actually, 3 * 4 = 12 confirms it.", ". (B) is wrong.",
    ],
)  # fmt: skip
def test_explanations_and_confirmations_take_nothing_back(after):
    assert not taken_back(after)
