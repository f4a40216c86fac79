"""A prompt as a policy reads it, shown as the messages that it was rendered from."""

import re
from typing import TypedDict

# The marks that open a message in the chat templates of Qwen and others (ChatML), Llama 3, Gemma, Phi and GLM, DeepSeek
# and Mistral; the first group that matched is the role, and a mark of Mistral stands for one.
_OPENINGS = re.compile(
    r"<\|im_start\|>(\w+)\n?|<\|start_header_id\|>(\w+)<\|end_header_id\|>\n{0,2}|<start_of_turn>(\w+)\n?"
    r"|<\|(system|user|assistant)\|>\n?|<[|｜](User|Assistant)[|｜]>|(\[/?INST\])"
)
_ROLES = {"[inst]": "user", "[/inst]": "assistant", "model": "assistant"}
_MARKS = re.compile(
    r"<\|(?:im_end|eot_id|end|begin_of_text|endoftext|end_of_text)\|>\n?|<end_of_turn>\n?|</?s>|<[be]os>"
    r"|<[|｜](?:begin|end)▁of▁sentence[|｜]>|\[gMASK\]|<sop>"
)
_IMAGE = re.compile(
    r"<\|vision_start\|>(?:<\|image_pad\|>)+<\|vision_end\|>|(?:<\|image_pad\|>)+|(?:<image_soft_token>)+|<start_of_image>"
    r"|<\|image\|>|<image>|\[IMG\]"
)


class Message(TypedDict):
    """One message: its role, "" if the prompt has no marks, and its texts, with None in the place of each image."""

    role: str
    parts: list[str | None]


def messages_of(prompt: str, images: int) -> list[Message]:
    """The messages in a rendered prompt, without the marks of its chat template; one without a role if there are none.

    Placeholders count only if there are as many as images. Otherwise they stay in the text, and the images belong in
    front of it.

    >>> messages_of("<|im_start|>user\\n<|image_pad|>How many?<|im_end|>\\n<|im_start|>assistant\\n", 1)
    [{'role': 'user', 'parts': [None, 'How many?']}]
    """
    found: list[tuple[str, str]] = []
    openings = list(_OPENINGS.finditer(prompt))
    ends = [opening.start() for opening in openings[1:]] + [len(prompt)]
    if not openings or _MARKS.sub("", prompt[: openings[0].start()]).strip():
        return [{"role": "", "parts": parts_of(prompt, images)}]
    for opening, end in zip(openings, ends, strict=True):
        role = next(filter(None, opening.groups())).lower()
        text = _MARKS.sub("", prompt[opening.end() : end]).strip("\n")
        found.append((_ROLES.get(role, role), text))
    if len(found) > 1 and found[-1][0] == "assistant" and not found[-1][1].strip():
        found.pop()  # the beginning of the response
    placed = images if sum(len(_IMAGE.findall(text)) for _, text in found) == images else -1
    return [
        {"role": role, "parts": parts_of(text, len(_IMAGE.findall(text)) if placed >= 0 else -1)}
        for role, text in found
    ]


def parts_of(text: str, images: int) -> list[str | None]:
    """The text around its placeholders, with None in place of each, if there are `images` of them.

    >>> parts_of("<image>Is <image> larger?", 2)
    [None, 'Is ', None, ' larger?']
    """
    pieces: list[str] = _IMAGE.split(text)
    if len(pieces) - 1 != images:
        return [text]
    parts: list[str | None] = []
    for i, piece in enumerate(pieces):
        parts += [None] if i else []
        parts += [piece] if piece else []
    return parts
