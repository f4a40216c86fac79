from rlfr_mm.grading.official.judge import guess_choice, likely_choice

FRUIT = ("apple", "pear", "plum")


def test_guess_choice_reads_mentions_polarity_and_refusals():
    assert guess_choice("It looks like a plum", FRUIT).answer == "C"
    assert guess_choice("Red is not the maximum.", ("yes", "no")).answer == "B"
    assert (
        guess_choice("There are fewer cars than bikes.", ("Yes", "No"), question="Are there more cars?").answer == "B"
    )
    assert guess_choice("Sorry, I cannot tell whether it is a plum.", FRUIT) is None
    assert guess_choice("None of the options fit the plum.", FRUIT) is None


def test_likely_choice_takes_the_option_that_a_statement_begins_with():
    assert likely_choice("The answer is pear, or so they say.", FRUIT).answer == "B"
    assert likely_choice("The answer is (A) or (B).", FRUIT).answer == "A"
