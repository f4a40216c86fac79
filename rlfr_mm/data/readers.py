"""One row of a supported dataset as one record: messages, images, answer, options, expert response.

A format says under which columns a dataset keeps these; the rules for reading them are the same for all.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlfr_mm.data.images import store_image
from rlfr_mm.data.prompts import InstructionName, option_letters, with_instruction, with_options
from rlfr_mm.grading.strict.extract import last_answer_tag, last_boxed

Row = dict[str, Any]

ID_COLUMNS = ("problem_id", "id", "pid", "uuid", "unique_id", "question_id", "ID")
OPTION_COLUMNS = ("options", "choices")
PLACEHOLDER = "<image>"  # numbered ones, as <image1> of MATH-V, name parts of one picture and stay in the text

_LETTER = re.compile(r"[A-Z][.:)]?|\([A-Za-z]\)[.:]?")  # an option as the answer: B, B., (b)
_MESSAGES_AS_TEXT = re.compile(r'\s*\[\s*\{\s*"(?:role|content)"\s*:')  # as some MM-EUREKA files keep them


@dataclass(frozen=True)
class Format:
    """The columns of a dataset, of each kind the first that holds something; `completion` finds expert responses."""

    problem: tuple[str, ...]
    images: tuple[str, ...]
    answer: tuple[str, ...]
    completion: Callable[[Row], str | None] | None = None
    completion_columns: tuple[str, ...] = ()


def _completion_column(row: Row) -> str | None:
    """TRL's prompt-completion rows: text, or messages whose last one is the response."""
    completion = row.get("completion")
    if isinstance(completion, list):
        return _text(completion[-1]["content"]) if completion else None
    return completion


def _verified_generation(row: Row) -> str | None:
    """The first complete generation that math-verify, or else the judge, found correct; None where there is none.

    open-r1/OpenR1-Math-220k has lists generations, correctness_math_verify, correctness_llama and
    is_reasoning_complete of equal length (the two middle ones may be null), and messages with one correct solution.
    Rows without generations hold the expert's text in messages or solution.
    """
    generations = row.get("generations") or []
    complete = row.get("is_reasoning_complete") or [True] * len(generations)
    for column in ("correctness_math_verify", "correctness_llama"):
        for text, correct, whole in zip(generations, row.get(column) or [], complete, strict=False):
            if correct and whole:
                return text
    messages = row.get("messages") or []
    if messages and messages[-1].get("role") == "assistant":
        return _text(messages[-1]["content"])
    return None if generations else row.get("solution")


FORMATS: dict[str, Format] = {
    # TRL and EasyR1 (verl/utils/dataset.py: prompt_key, answer_key, images); also the columns of MATH-V and MathVista.
    "trl": Format(
        problem=("problem", "question", "prompt"),
        images=("images", "decoded_image", "image"),
        answer=("answer", "solution"),
        completion=_completion_column,
        completion_columns=("completion",),
    ),
    # MM-EUREKA's README (id, conversations, answer, image_urls; later versions: message with images inside) and the
    # RLFR scripts (--input_key prompt --label_key answer --media_key images --media_dir).
    "mm_eureka": Format(
        problem=("prompt", "conversations", "message"), images=("images", "image_urls"), answer=("answer",)
    ),
    "openr1_math": Format(
        problem=("problem",),
        images=("images", "image"),
        answer=("answer",),
        completion=_verified_generation,
        completion_columns=("generations", "messages", "solution"),
    ),
    # OpenGVLab/MMPR-v1.1: image, question (with <image>), chosen, rejected; the answer is only inside the responses.
    "mmpr": Format(
        problem=("question",),
        images=("image", "images"),
        answer=("answer",),
        completion=lambda row: row.get("chosen"),
        completion_columns=("chosen",),
    ),
}


def detect_format(columns: Iterable[str], source: str) -> str:
    """The name of the format that the columns belong to; ValueError with what was seen where none fits."""
    seen = set(columns)
    if "generations" in seen or {"problem", "messages"} <= seen:
        return "openr1_math"
    if {"question", "chosen"} <= seen:
        return "mmpr"
    if seen & {"conversations", "message", "image_urls"}:
        return "mm_eureka"
    if seen & set(FORMATS["trl"].problem) and seen & {*FORMATS["trl"].answer, "completion"}:
        return "trl"
    raise ValueError(
        f"{source}: cannot tell the format from the columns {', '.join(sorted(seen))}; rename them to problem, answer "
        f"and images, or set data.format to one of {', '.join(FORMATS)}"
    )


def check_columns(columns: Iterable[str], format_name: str, source: str, expert: bool) -> None:
    """ValueError where a column that the format cannot do without is missing."""
    seen, columns_of = set(columns), FORMATS[format_name]
    if expert and columns_of.completion is None:
        raise ValueError(f"{source}: format {format_name} has no expert responses; use trl, openr1_math or mmpr")
    for wanted in (columns_of.problem, columns_of.completion_columns if expert else columns_of.answer):
        if not seen & set(wanted):
            raise ValueError(
                f"{source}: no column {' or '.join(wanted)}, which format {format_name} needs; "
                f"there are {', '.join(sorted(seen))}"
            )


def read_row(
    row: Row, index: int, *, format_name: str, source: str, folder: Path, instruction: InstructionName, expert: bool
) -> Row:
    """The row as {prompt, images, solution, choices, problem_id, completion}; ValueError names the record.

    `prompt` is a list of {role, content: [{type, text}]}, a part of type image for each image. `images` are stored,
    not decoded. `completion` is None where the row has no expert response that is known to be correct.
    """
    own_id = _first(row, ID_COLUMNS)
    name = f"{source}: record {index}" + (f" (id {own_id})" if own_id is not None else "")
    columns = FORMATS[format_name]
    try:
        messages, images = _messages(_required(row, columns.problem))
        if not images:
            given = _first(row, columns.images)
            images = given if isinstance(given, list) else [] if given is None else [given]
        stored = [store_image(image, folder) for image in images]
        solution = final_answer(_first(row, columns.answer) if expert else _required(row, columns.answer))
        if not solution and not expert:
            raise ValueError("the answer is empty; give one that can be compared")
        options = _first(row, OPTION_COLUMNS) or []
        if not isinstance(options, list):
            raise ValueError(f"the options are {options!r:.80}; give a list of texts")
        letter = _LETTER.fullmatch(solution)
        choices = []
        if letter and letter[0].strip("().:").upper() in option_letters(options):
            solution, choices = letter[0].strip("().:").upper(), [str(option) for option in options]
        _place_images(messages, len(images))
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
    own_id = _content_id(messages, images, solution) if own_id is None else str(own_id)
    question = messages[-1]["content"][-1]
    question["text"] = with_instruction(with_options(question["text"], choices), instruction)
    return {
        "prompt": messages,
        "images": stored,
        "solution": solution,
        "choices": choices,
        "problem_id": own_id,
        "completion": columns.completion(row) if expert and columns.completion else None,
    }


def final_answer(value: Any) -> str:
    """The answer inside a gold: after GSM8K's ####, in the last <answer> or box, or the whole of it; "" for none.

    Whole floats lose their .0. A list is taken where it holds one answer.
    """
    if isinstance(value, list):
        if len(value) > 1:
            raise ValueError(f"the answer is a list of {len(value)}; give one answer")
        value = value[0] if value else None
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if "####" in text:
        return text.rpartition("####")[2].strip()
    tagged = last_answer_tag(text)
    boxed = last_boxed(text if tagged is None else tagged)
    return boxed if boxed is not None else text if tagged is None else tagged


def _first(row: Row, columns: Iterable[str]) -> Any:
    return next((row[column] for column in columns if row.get(column) not in (None, "", [])), None)


def _required(row: Row, columns: tuple[str, ...]) -> Any:
    value = _first(row, columns)
    if value is None:
        raise ValueError(f"{' or '.join(columns)} is empty or missing")
    return value


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part.get("text") or "" for part in content)


def _messages(problem: Any) -> tuple[list[Row], list[Any]]:
    """Messages with content parts, and the images that stand inside them; text is split at its placeholders."""
    if isinstance(problem, str) and _MESSAGES_AS_TEXT.match(problem):
        problem = json.loads(problem)
    if isinstance(problem, str):
        problem = [{"role": "user", "content": problem}]
    if not isinstance(problem, list):
        raise ValueError(f"the problem is {problem!r:.80}; give text or a list of messages")
    messages: list[Row] = []
    images: list[Any] = []
    for message in problem:
        match message:
            case {"role": str(role), "content": str(text)}:
                content: list[Row] = [{"type": "text", "text": text}]
            case {"role": str(role), "content": list(content)}:
                pass
            case _:
                raise ValueError(f"a message needs a role, and text or parts as content; got {message!r:.80}")
        parts: list[Row] = []
        for part in content:
            match part:
                case {"type": "text", "text": str(text)}:
                    parts += _split(text)
                case {"type": "image"}:
                    parts.append({"type": "image", "text": None})
                    images += [part["image"]] if part.get("image") is not None else []
                case _:
                    raise ValueError(f"a part of a message needs type text or image; got {part!r:.80}")
        messages.append({"role": role, "content": parts})
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("the prompt must end with a message of the user")
    if not messages[-1]["content"] or messages[-1]["content"][-1]["type"] == "image":
        messages[-1]["content"].append({"type": "text", "text": ""})  # where options and the instruction go
    return messages, images


def _split(text: str) -> list[Row]:
    parts: list[Row] = []
    for i, piece in enumerate(text.split(PLACEHOLDER)):
        if i:
            parts.append({"type": "image", "text": None})
        if piece:
            parts.append({"type": "text", "text": piece})
    return parts


def _place_images(messages: list[Row], count: int) -> None:
    """Images without placeholders go before the first question; otherwise each placeholder needs its image."""
    placeholders = sum(part["type"] == "image" for message in messages for part in message["content"])
    if placeholders == 0:
        first = next(message for message in messages if message["role"] == "user")
        first["content"][:0] = [{"type": "image", "text": None} for _ in range(count)]
    elif placeholders != count:
        raise ValueError(f"{placeholders} {PLACEHOLDER} placeholders for {count} images; give as many, or none at all")


def _content_id(messages: list[Row], images: list[Any], solution: str) -> str:
    """An id from what the row says, the same on every machine: image files count by their name in the row."""
    digest = hashlib.sha256(json.dumps([messages, solution]).encode())
    for image in images:
        content = image.get("bytes") or image.get("path") if isinstance(image, dict) else image
        digest.update(content if isinstance(content, bytes) else str(content).encode())
    return digest.hexdigest()[:16]
