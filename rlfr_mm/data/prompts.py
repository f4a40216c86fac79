"""Texts of prompts: the instruction and the options below a question, and flattened messages. Loads no torch.

Training and evaluation share these functions, so that a policy is evaluated on the words it was trained on.
"""

from collections.abc import Sequence
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


def content_text(content: str | list[dict[str, Any]] | None, image: str = "") -> str:
    """The text of one message: its content if that is a string, else its text parts joined, with `image` for images.

    >>> content_text([{"type": "image"}, {"type": "text", "text": "How many?"}])
    'How many?'
    """
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(image if part.get("type") == "image" else part.get("text") or "" for part in content)


def conversation_text(messages: str | list[dict[str, Any]], image: str = "") -> str:
    """The text of a conversation, one line per message that has any; a plain string stays as it is.

    >>> conversation_text([{"content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}], image="<image>")
    '<image>How many?'
    """
    if isinstance(messages, str):
        return messages
    return "\n".join(filter(None, (content_text(message.get("content"), image) for message in messages)))


def chat_messages(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Messages with content parts, in the form that chat templates expect.

    A message without images gets a plain string as content, as text-only templates require; one with images keeps its
    parts, without empty keys.

    >>> chat_messages([{"role": "user", "content": [{"type": "text", "text": "1+1?"}]}])
    [{'role': 'user', 'content': '1+1?'}]
    """
    converted = []
    for message in messages:
        content: Any = message["content"]
        if any(part["type"] == "image" for part in content):
            content = [
                {"type": "image"} if p["type"] == "image" else {"type": "text", "text": p["text"]} for p in content
            ]
        else:
            content = content_text(content)
        converted.append({"role": message["role"], "content": content})
    return converted


def with_instruction(problem: str, instruction: InstructionName) -> str:
    """The problem followed by the instruction on its own line."""
    return f"{problem}\n{INSTRUCTIONS[instruction]}" if instruction != "none" else problem


def with_options(problem: str, options: Sequence[str]) -> str:
    """The problem followed by its options, one lettered line each.

    Options that are only letters add nothing, because the picture shows what they stand for.

    >>> print(with_options("Which day?", ["Monday", "Friday"]))
    Which day?
    Choices:
    (A) Monday
    (B) Friday
    """
    letters = option_letters(options)
    if all(option.strip(" ().").upper() == letter for option, letter in zip(options, letters, strict=True)):
        return problem
    lines = [f"({letter}) {option}" for option, letter in zip(options, letters, strict=True)]
    return "\n".join([problem, "Choices:", *lines])


def option_letters(options: Sequence[Any]) -> list[str]:
    """The letters that name the options: A, B, C, ..."""
    return [chr(ord("A") + i) for i in range(len(options))]
