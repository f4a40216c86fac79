import pytest

from rlfr_mm.grading import Item, grade
from rlfr_mm.grading.strict.doubt import denied, open_end, refuted, taken_back


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


@pytest.mark.parametrize(
    "tail",
    [
        ", which is wrong", ", which contradicts the assumption", ", which is far too large", ", which can't be right",
        ", which does not satisfy the equation", ", not a solution", " (not possible)", ", not the answer",
        " instead of the right value 6", ", as n=1, or 6, as n=2", " since n is odd; 6 since n is even",
        ", which is not an integer, hence 6", " because n = 1, but 6 because n = 2",
    ],
)  # fmt: skip
def test_a_tail_that_denies_the_answer_or_adds_another_is_not_cut_off(tail):
    for answer in ("5", "x = 5", "(B)"):
        assert refuted(tail, answer)
    assert not grade(Item(f"The answer is 5{tail}.", "5")).correct
    assert not grade(Item(f"<answer>B{tail}</answer>", "B", "choice", ("3", "5", "7"))).correct


@pytest.mark.parametrize(
    "tail",
    [
        ", since 6 is wrong", " (since 6 is too large)", ", not 6", " (not $6$)", ", not -5", " rather than 6",
        ", not the 6 found above", ", which is prime", ", which is less than 6", ", which is not divisible by 3",
        ", where x = 3", " because 2 + 3 = 5", ", as 10 / 2 = 5, so 5", ", not counting the first",
    ],
)  # fmt: skip
def test_a_reason_or_a_contrast_behind_an_answer_is_cut_off(tail):
    assert grade(Item(f"The answer is 5{tail}.", "5")).correct


def test_an_answer_in_words_is_contrasted_with_words():
    assert grade(Item("The answer is Monday, not Tuesday.", "Monday")).correct
    assert grade(Item("The answer is A rectangle, not a square.", "rectangle")).correct
    assert not grade(Item("The answer is Monday, not a valid day.", "Monday")).correct
    for tail in (", not option C", ", because it cannot be A or C", " rather than A"):
        assert grade(Item(f"The answer is B{tail}.", "B", "choice", ("3", "5", "7"))).correct


@pytest.mark.parametrize(
    "after",
    [
        # the answer is rejected
        ". But this contradicts the condition, so it has to be 7.", "\n\nHowever, this is wrong, it should be 6.",
        "\n\nHowever, 5 does not satisfy the equation.", "\n\nThat does not look right.",
        " (error, see below)\n\nx = 6",
        "\n\n(The above is incorrect.)", "\n\nThe value 5 is wrong.", "\n\nBut x = 5 is extraneous.",
        " dollars. But it fails.",
        # the response doubts itself
        ". I now realise it should be 7.", "\n\nI need to redo this.", "\n\nI am not sure; it may be 6.",
        "\n\nRechecking: I forgot the case n = 0, which makes it 6.", ". I take that back: 6.", ". My bad, 6.",
        ". There is an error in the calculation above.",
        # another value is the last word
        "\n\nLet me double-check: 2+4 = 6. So it is 6, not 5.", "\n\nEdit: it is 6.", "\n\nFinal: 6", "\n\nSo x = 6.",
        "\n\n**6**", " -> \\text{corrected: } 6", ". Nope, 6.", ". Edit: 6.",
        ". But that contradicts the condition, so x = 7.",
        ". Therefore, since we need the double, it is 10.", ". It should be 6.", ". Actually 6.",
        # another answer is as good
        ". But 8 also works.", ". Another solution is 8.", ". The other one is 8.",
        "\n\nSo both 8 and 5 are solutions.",
        ". 8 is a solution as well.",
    ],
)  # fmt: skip
def test_later_sentences_can_take_an_answer_back_or_add_another(after):
    for response in ("So \\boxed{5}", "The answer is 5"):
        assert not grade(Item(response + after, "5")).correct


@pytest.mark.parametrize(
    "after",
    [
        ". I hope it is correct.", "\n\nNote that 6 is not a solution.",
        "\n\nCheck: 2(5)+3 = 13. So both sides are 13.",
        "\n\nThe other root is -2, which we reject since x > 0.", "\n\nHowever, x = 6 is not valid, since 6 > 5.",
        "\n\nTherefore, the total is 5.", "\n\n**5**", "\n\nLet me double-check: 2+3 = 5. Yes.", "\n\nIt is not 6.",
        "\n\nIt is impossible to do better.", "\n\nIf x = 6, the result is too large.", "\n\nIt should be 5.",
        "\n\nBut note that 6 would be wrong.", "\n\nAre you not sure about anything?",
        "\n\nThis is not the only method.",
        ". It cannot be 6, since 6 is even.", ". Another way to see this is to count.", ". Both 2 and 3 are prime.",
        ". The second step gives 8 apples. Then we take away 3. So 5 are left.", ". Note that 3 is also prime.",
        ". Suppose n = 6. This contradicts the assumption. Hence n = 5.", ". The other values are wrong.",
        "\n\nExplanation:\n1. We add.\n2. We subtract.", ". This is not surprising.",
        ". I forgot to mention that n > 0.",
        ". This may be checked by substitution.", "\n\nAlternatively, we can use a formula.",
        ". Let me know if I missed a step.",
        ". We ignore that -3 is a root, too.", ". It must be 2 more than 3.", ". That makes it 2 times larger.",
    ],
)  # fmt: skip
def test_later_sentences_may_explain_check_and_compare(after):
    for response in ("So \\boxed{5}", "The answer is 5"):
        assert grade(Item(response + after, "5")).correct


@pytest.mark.parametrize(
    ("after", "right"),
    [
        (". But B is also correct.", False), ("\n\nB is correct as well.", False), (". Actually B.", False),
        (". Both A and B are correct.", False), (". Nope, it's B.", False), (". A is not possible.", False),
        (". B is wrong because it is too small.", True), ("\n\nB: This is incorrect.\nC: This is too large.", True),
        (". Option B is also even, but too small.", True), (". Both B and C are wrong.", True),
        (". Therefore, x = 3.", True),
    ],
)  # fmt: skip
def test_later_sentences_about_options_are_read_alike(after, right):
    for response in ("\\boxed{A}", "The answer is A"):
        assert grade(Item(response + after, "A", "choice", ("3", "5", "7"))).correct is right


def test_a_later_conclusion_is_the_last_word_unless_it_checks_the_answer_or_gives_a_part_of_it():
    assert grade(Item("\\boxed{5}\n\nSo x = 6.", "6")).correct
    assert grade(Item("\\boxed{\\frac{3}{4}}. Therefore the probability is 75%.", "\\frac{3}{4}")).correct
    assert grade(Item("\\boxed{(3,4)}\n\nSo x = 3.", "(3,4)")).correct
    assert not grade(Item("~~\\boxed{5}~~ 6", "5")).correct


@pytest.mark.parametrize(
    "response",
    [
        "Twice the answer is 5.", "The square of the answer is 5.", "Half the answer is 5.",
        "The last digit of the answer is 5.", "An upper bound for the answer is 5.",
        "A lower bound on the answer is 5.",
        "My friend's answer is 5.", "His answer is 5.", "A common mistake is to answer \\boxed{5}.",
        "A common error is to say that the answer is 5.", "Twice the answer is \\boxed{5}.",
        "Many students say \\boxed{5}.",
    ],
)  # fmt: skip
def test_what_is_said_of_the_answer_or_by_others_is_not_the_answer(response):
    assert not grade(Item(response, "5")).correct


def test_what_others_say_of_options_is_not_the_answer():
    for response in ("Many students say option A is correct.", "My friend's answer is A."):
        assert not grade(Item(response, "A", "choice", ("3", "5", "7"))).correct


@pytest.mark.parametrize(
    "response",
    [
        "My answer is 5.", "So your answer is 5.", "The problem's answer is 5.", "In light of this the answer is 5.",
        "The value of the answer is 5.", "Because of this the answer is 5.", "The area of it is \\boxed{5}.",
        "a total of \\boxed{5}", "The volume of this solution is \\boxed{5}.", "Janet's profit is \\boxed{5}.",
        "Let's check: the answer is 5.", "Now for the final answer: 5", "I would say the answer is 5.",
    ],
)  # fmt: skip
def test_other_phrases_with_of_for_or_an_apostrophe_state_the_answer(response):
    assert grade(Item(response, "5")).correct


@pytest.mark.parametrize(
    "response",
    [
        "错误的答案是5。", "有人认为答案是5。", "并非答案是5。", "小明说答案是5。", "如果答案是5，n是多少？",
        "假设答案是5",
        "答案是5。不对，应该是6。", "答案是5。等等，我算错了，是6。", "\\boxed{5}。不对，应该是6。", "答案是5。应为6。",
        "\\boxed{5} 是错误的，应该是6。", "\\boxed{5}，错了", "\\boxed{5}或6", "答案是5。但这是错误的。",
        "答案是5。更正：6。",
        "答案是5有误", "答案是5除外", "答案是5吗", "<answer>5阶乘</answer>", "答えは5ではない。", "답은 5가 아니다.",
    ],
)  # fmt: skip
def test_denials_and_retractions_in_chinese_are_seen(response):
    assert not grade(Item(response, "5")).correct


@pytest.mark.parametrize(
    "response",
    [
        "我认为答案是5。", "所以说答案是5。", "不难看出答案是5。", "正确答案是5。", "答案是5，而不是6。",
        "\\boxed{5}，不是6。", "答案是5。第一步应该是2，第二步是3。",
        "答案是5，因为6不对。",
        "答案是5。验证：2+3=5，正确。", "答案是5个苹果。", "<answer>5种方法</answer>", "答えは5です。",
        "정답은 5입니다.",
        "答案是5。所以小明有5个苹果。", "\\boxed{5}种",
    ],
)  # fmt: skip
def test_answers_in_chinese_japanese_and_korean_are_read(response):
    assert grade(Item(response, "5")).correct


def test_chinese_explanations_of_options_take_nothing_back():
    assert grade(Item("答案是B。A是错误的，因为角度不对。", "B", "choice", ("3", "5", "7"))).correct
    assert not grade(Item("错误的选项是A", "A", "choice", ("3", "5", "7"))).correct
