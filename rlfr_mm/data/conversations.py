"""The problem of a row as messages: text, or a conversation in one of the layouts that people have.

Messages are {role, content} or ShareGPT's {from, value}. A conversation may end with the assistant's reply, which is no
part of the prompt.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from rlfr_mm.data.prompts import content_text

Row = dict[str, Any]

PLACEHOLDER = "<image>"  # numbered ones, such as MATH-V's <image1>, name parts of one picture and stay in the text
SPEAKERS = {"human": "user", "gpt": "assistant", "chatgpt": "assistant", "model": "assistant", "bot": "assistant"}
ROLES = ("system", "user", "assistant")
ASKED = ("instruction", "input")
ALPACA = (*ASKED, "output", "history")
_STORED_AS_TEXT = re.compile(r'\s*\[\s*\{\s*"(?:role|content|from|value)"\s*:')  # as in some MM-Eureka files
_IMAGE_KEYS = ("image", "image_url", "url", "path", "base64")  # where a part of a message has its image


@dataclass
class Conversation:
    """The messages of a prompt, the images inside them in order, and the assistant's reply at the end, if any."""

    messages: list[Row]  # {role, content: [{type, text}]}, with one part of type image per placeholder or image
    images: list[Any]
    reply: str | None = None


def read_conversation(problem: Any, system: Any = None) -> Conversation:
    """The conversation in the problem of a row, split at its placeholders.

    `system` is a system prompt that the row has in a column of its own. ValueError if the problem is neither text nor
    a list of messages, or if nobody asks anything.

    >>> read_conversation([{"from": "human", "value": "1+1?"}, {"from": "gpt", "value": "2"}]).reply
    '2'
    """
    if isinstance(problem, str) and _STORED_AS_TEXT.match(problem):
        try:
            problem = json.loads(problem)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"the messages are text that is not valid JSON: {error}") from None
    if isinstance(problem, str):
        problem = [{"role": "user", "content": problem}]
    if not isinstance(problem, list):
        raise ValueError(f"the problem is {problem!r:.80}; give text or a list of messages")
    turns = [_turn(message) for message in problem]
    reply = content_text(turns.pop()[1]) if turns and turns[-1][0] == "assistant" else None
    if isinstance(system, str) and system and not any(role == "system" for role, _ in turns):
        turns.insert(0, ("system", system))
    found = Conversation([], [], reply)
    for role, content in turns:
        parts, inside = _parts([{"type": "text", "text": content}] if isinstance(content, str) else content)
        found.messages.append({"role": role, "content": parts})
        found.images += inside
    if not turns or turns[-1][0] != "user":
        raise ValueError("the prompt must end with a user message, which only the assistant's reply may follow")
    last = found.messages[-1]["content"]
    if not last or last[-1]["type"] == "image":
        last.append({"type": "text", "text": ""})  # options and the instruction are added here
    return found


def with_messages(row: Row) -> Row:
    """The row with alpaca's `instruction`, `input`, `history` and `output` as `messages`.

    >>> with_messages({"instruction": "Add.", "input": "1 and 1", "output": "2"})["messages"]
    [{'role': 'user', 'content': 'Add.\\n1 and 1'}, {'role': 'assistant', 'content': '2'}]
    """
    history = row.get("history") or []
    if not (isinstance(history, list) and all(isinstance(turn, list) and len(turn) == 2 for turn in history)):
        raise ValueError(f"history is {history!r:.80}; give a list of pairs of a question and its answer")
    asked = "\n".join(str(part) for part in map(row.get, ASKED) if part)
    turns = [*history, (asked, row.get("output"))]
    said = [(role, text) for turn in turns for role, text in zip(("user", "assistant"), turn, strict=True) if text]
    messages = [{"role": role, "content": text} for role, text in said]
    return {name: value for name, value in row.items() if name not in ALPACA} | {"messages": messages}


def _turn(message: Any) -> tuple[str, Any]:
    """(role, content) of a message."""
    match message:
        case {"role": str(role), "content": str() | list() as content}:
            pass
        case {"from": str(role), "value": str() | list() as content}:
            pass
        case _:
            raise ValueError(
                f"a message needs role and content, or from and value, with text or parts; got {message!r:.80}"
            )
    role = SPEAKERS.get(role.lower(), role)
    if role not in ROLES:
        raise ValueError(f"a message is from {role!r:.40}; it must be {', '.join([*ROLES, *SPEAKERS])}")
    return role, content


def _parts(content: list[Any]) -> tuple[list[Row], list[Any]]:
    """The parts of one message, an image part in place of each placeholder, and the images that the parts contain."""
    parts: list[Row] = []
    images: list[Any] = []
    for part in content:
        match part:
            case {"type": "text" | "input_text", "text": str(text)}:
                for i, piece in enumerate(text.split(PLACEHOLDER)):
                    parts += [{"type": "image", "text": None}] if i else []
                    parts += [{"type": "text", "text": piece}] if piece else []
            case {"type": "image" | "image_url" | "input_image"}:
                parts.append({"type": "image", "text": None})
                image = next((part[key] for key in _IMAGE_KEYS if part.get(key) is not None), None)
                images += (
                    [] if image is None else [image["url"] if isinstance(image, dict) and "url" in image else image]
                )
            case _:
                raise ValueError(f"a part of a message needs type text or image; got {part!r:.80}")
    return parts, images


def place_images(messages: list[Row], count: int) -> None:
    """Put images without placeholders before the first question; otherwise there must be one placeholder per image."""
    placeholders = sum(part["type"] == "image" for message in messages for part in message["content"])
    if placeholders == 0:
        first = next(message for message in messages if message["role"] == "user")
        first["content"][:0] = [{"type": "image", "text": None} for _ in range(count)]
    elif placeholders != count:
        raise ValueError(
            f"{placeholders} {PLACEHOLDER} placeholders but {count} images; give one placeholder per image, or none"
        )
