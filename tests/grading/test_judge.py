from rlfr_mm.grading.judge import guess_choice, guessed_number, likely_choice, numbers_in, stated_number

FRUIT = ("apple", "pear", "plum")


def test_numbers_in_keeps_thousands_together_and_reads_words_without_numerals():
    assert numbers_in("from 1,250 to 3.50 or -2") == ["1250", "3.50", "-2"]
    assert numbers_in("there are twenty-five of them") == ["25"]
    assert numbers_in("v2 and x3.1") == []


def test_stated_number_takes_the_value_behind_the_equals_sign():
    assert stated_number("So the answer is x = 4 + 3 = 7.") == ("7", "statement")
    assert stated_number("<answer>12 apples</answer>") == ("12", "answer tag")
    assert stated_number("there are 5 apples") is None


def test_guessed_number_prefers_conclusions_and_numbers_that_the_question_does_not_hold():
    assert guessed_number("First 3. Then 9. Therefore, the mean is 6.") == ("6", "conclusion")
    response = "There is 1 block that has exactly 36 houses."
    assert guessed_number(response, "How many blocks have exactly 36 houses?") == ("1", "sentence")
    assert guessed_number("It was 94 in 2016.", "In which year was it highest?") == ("2016", "sentence")
    assert guessed_number("nothing here") is None


def test_guess_choice_reads_mentions_polarity_and_refusals():
    assert guess_choice("It looks like a plum", FRUIT).letters == "C"
    assert guess_choice("Red is not the maximum.", ("yes", "no")).letters == "B"
    assert (
        guess_choice("There are fewer cars than bikes.", ("Yes", "No"), question="Are there more cars?").letters == "B"
    )
    assert guess_choice("Sorry, I cannot tell whether it is a plum.", FRUIT) is None
    assert guess_choice("None of the options fit the plum.", FRUIT) is None


def test_likely_choice_takes_the_option_that_a_statement_begins_with():
    assert likely_choice("The answer is pear, or so they say.", FRUIT).letters == "B"
    assert likely_choice("The answer is (A) or (B).", FRUIT).letters == "A"
