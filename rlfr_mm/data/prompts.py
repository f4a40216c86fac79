"""The instructions that follow a problem, the same words in training and in evaluation. Loads no torch."""

from typing import Any, Literal

InstructionName = Literal["think_answer", "boxed", "none"]

INSTRUCTIONS: dict[str, str] = {
    # The tags of the paper's multimodal runs (arXiv 2510.10201); the format reward asks for exactly this shape.
    "think_answer": (
        "First think about the reasoning process, then give the answer. The reasoning process and the answer are "
        "enclosed within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process "
        "here </think><answer> answer here </answer>."
    ),
    "boxed": "Please reason step by step, and put your final answer within \\boxed{}.",  # the paper's text runs
    "none": "",
}


def content_text(content: str | list[dict[str, Any]] | None) -> str:
    """The text of one message: its content if that is a string, else its text parts joined; images are left out.

    >>> content_text([{"type": "image"}, {"type": "text", "text": "How many?"}])
    'How many?'
    """
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.get("text") or "" for part in content)


def conversation_text(messages: str | list[dict[str, Any]]) -> str:
    """The text of a conversation, one line per message that has any; a plain string stays as it is."""
    if isinstance(messages, str):
        return messages
    return "\n".join(filter(None, (content_text(message["content"]) for message in messages)))


def with_instruction(problem: str, instruction: InstructionName) -> str:
    """The problem with the instruction on a line of its own below it."""
    return f"{problem}\n{INSTRUCTIONS[instruction]}".rstrip("\n") if instruction != "none" else problem


def with_options(problem: str, options: list[str]) -> str:
    """The problem with its options as lettered lines below it; options that are bare letters are in the picture."""
    letters = option_letters(options)
    if all(option.strip(" ().").upper() == letter for option, letter in zip(options, letters, strict=True)):
        return problem
    lines = [f"({letter}) {option}" for option, letter in zip(options, letters, strict=True)]
    return "\n".join([problem, "Choices:", *lines])


def option_letters(options: list[Any]) -> list[str]:
    """The letters that name the options: A, B, C, ..."""
    return [chr(ord("A") + i) for i in range(len(options))]
