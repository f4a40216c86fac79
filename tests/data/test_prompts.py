"""Flattened messages, and the options and instruction below a question."""

from rlfr_mm.data.prompts import (
    INSTRUCTIONS,
    chat_messages,
    content_text,
    conversation_text,
    with_instruction,
    with_options,
)

IMAGE, QUESTION = {"type": "image", "text": None}, {"type": "text", "text": "How many?"}


def test_the_text_of_a_message_leaves_images_out():
    for content in ("How many?", [QUESTION], [{"type": "image"}, QUESTION], [QUESTION, IMAGE]):
        assert content_text(content) == "How many?"
    assert content_text(None) == content_text([]) == ""


def test_a_conversation_has_one_line_per_message_with_text():
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": [IMAGE]}]
    messages.append({"role": "user", "content": [IMAGE, QUESTION]})
    assert conversation_text(messages) == "Be brief.\nHow many?"
    assert conversation_text("How many?") == "How many?"


def test_chat_messages_are_strings_unless_they_have_an_image():
    parts = [{"role": "system", "content": [QUESTION, QUESTION]}, {"role": "user", "content": [IMAGE, QUESTION]}]
    assert chat_messages(parts) == [
        {"role": "system", "content": "How many?How many?"},
        {"role": "user", "content": [{"type": "image"}, QUESTION]},
    ]


def test_an_instruction_is_a_line_below_the_question():
    assert with_instruction("1+1?", "boxed") == f"1+1?\n{INSTRUCTIONS['boxed']}"
    assert with_instruction("1+1?", "none") == "1+1?"


def test_options_that_are_bare_letters_are_not_listed():
    assert with_options("Which?", ["x", "y"]) == "Which?\nChoices:\n(A) x\n(B) y"
    assert with_options("Which?", ["(A)", "b."]) == with_options("Which?", []) == "Which?"
