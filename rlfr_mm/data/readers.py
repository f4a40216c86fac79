"""Read one row of a supported dataset as one record: messages, images, answer, options, expert response.

A `Format` names the columns that hold these in a dataset. The rules for reading them are the same for all formats.
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rlfr_mm.data.images import store_image
from rlfr_mm.data.options import lettered, read_options
from rlfr_mm.data.prompts import InstructionName, content_text, with_instruction, with_options
from rlfr_mm.grading.item import LONGEST_ANSWER, missing
from rlfr_mm.grading.strict.extract import last_answer_tag, last_boxed

Row = dict[str, Any]

# Columns of media that no policy here is given. An image in such a column counts only if the record has no other.
_OTHER_MEDIA = re.compile(r"(?:video|audio|sound|speech|clip)s?(?:_?(?:path|url|file|bytes|\d+)s?)?", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"(?:image|img|picture|figure)s?_?(?:path|url|file|bytes|\d+)s?", re.IGNORECASE)
ID_COLUMNS = ("problem_id", "id", "pid", "uuid", "unique_id", "question_id", "ID")
OPTION_COLUMNS = ("options", "choices")
SOLUTION_COLUMNS = ("solution", "answer")  # may hold the reasoning, too
PLACEHOLDER = "<image>"  # numbered ones, such as MATH-V's <image1>, name parts of one picture and stay in the text

_CALCULATOR_MARK = re.compile(r"<<[^<>=\n]*=[^<>\n]*>>")  # of GSM8K's solutions
_MESSAGES_AS_TEXT = re.compile(
    r'\s*\[\s*\{\s*"(?:role|content)"\s*:'
)  # some MM-EUREKA files store messages as JSON text


@dataclass(frozen=True)
class Format:
    """The columns of a dataset layout. Of each kind, the first column that is not empty counts."""

    problem: tuple[str, ...]
    images: tuple[str, ...]
    answer: tuple[str, ...]
    completion: Callable[[Row], str | None] | None = None  # reads the expert response
    completion_columns: tuple[str, ...] = ()


def _completion_or_solution(row: Row) -> str | None:
    """The response of TRL's prompt-completion rows (text, or the last of a list of messages), or a worked solution.

    GSM8K's solution is in `answer` and that of MATH in `solution`. An answer alone is no response.
    """
    completion = row.get("completion")
    if isinstance(completion, list) and completion:
        return content_text(completion[-1]["content"])
    return completion or _first({name: worked_solution(row.get(name)) for name in SOLUTION_COLUMNS}, SOLUTION_COLUMNS)


def worked_solution(text: Any) -> str | None:
    r"""The text as a response that ends with its answer in a box; None if it is not a solution with its reasoning.

    A solution goes beyond its final answer, which is GSM8K's last line `#### 42`, a box or an <answer>. GSM8K's line
    becomes a box, and its calculator marks `<<48/2=24>>` are removed.

    >>> worked_solution("48 / 2 = <<48/2=24>>24 clips.\n#### 24")
    '48 / 2 = 24 clips.\n\\boxed{24}'
    """
    if not isinstance(text, str):
        return None
    reasoning, answer = _split_at_hashes(text)
    if answer:
        reasoning = _CALCULATOR_MARK.sub("", reasoning).strip()
        return f"{reasoning}\n\\boxed{{{answer}}}" if reasoning else None
    text, answer = text.strip(), final_answer(text)
    return text if len(text) > len(f"<answer>{answer}</answer>") else None


def _split_at_hashes(text: str) -> tuple[str, str]:
    """(reasoning, answer) of a GSM8K solution, whose last line has the answer after ####; the answer is "" if none."""
    reasoning, hashes, answer = text.strip().rpartition("####")
    heading = "\n" in answer or reasoning.endswith("#")
    return (reasoning, answer.strip()) if hashes and not heading else (text, "")


def _verified_generation(row: Row) -> str | None:
    """The first complete generation that math-verify, or else the LLM judge, found correct; None if there is none.

    open-r1/OpenR1-Math-220k stores lists of equal length: generations, is_reasoning_complete, and
    correctness_math_verify and correctness_llama, each of which may be null. `messages` holds one correct solution.
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
        return content_text(messages[-1]["content"])
    return None if generations else row.get("solution")


FORMATS: dict[str, Format] = {
    # TRL and EasyR1 (verl/utils/dataset.py: prompt_key, answer_key, images); also the columns of MATH-V and MathVista.
    "trl": Format(
        problem=("problem", "question", "prompt"),
        images=("images", "decoded_image", "image"),
        answer=("answer", "solution"),
        completion=_completion_or_solution,
        completion_columns=("completion", *SOLUTION_COLUMNS),
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
    # OpenGVLab/MMPR-v1.1: image, question (with <image>), chosen, rejected. The answer is only inside the responses.
    "mmpr": Format(
        problem=("question",),
        images=("image", "images"),
        answer=("answer",),
        completion=lambda row: row.get("chosen"),
        completion_columns=("chosen",),
    ),
}


def detect_format(columns: Iterable[str], source: str) -> str:
    """The name of the format that has these columns; ValueError listing the columns if none has.

    >>> detect_format(["problem", "images", "answer"], "geo.jsonl")
    'trl'
    """
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
    """Raise ValueError if a column that the format needs is missing; `expert` rows need a response, not an answer."""
    seen, needed = set(columns), FORMATS[format_name]
    if expert and needed.completion is None:
        raise ValueError(f"{source}: format {format_name} has no expert responses; use trl, openr1_math or mmpr")
    for wanted in (needed.problem, needed.completion_columns if expert else needed.answer):
        if not seen & set(wanted):
            raise ValueError(
                f"{source}: no column {' or '.join(wanted)}, which format {format_name} needs; "
                f"the columns are {', '.join(sorted(seen))}"
            )


def read_row(
    row: Row,
    index: int,
    *,
    format_name: str,
    source: str,
    folder: Path,
    instruction: InstructionName,
    expert: bool,
    allow_outside: bool = False,
) -> Row:
    """The row as {prompt, images, solution, choices, problem_id, completion}; ValueError names the record.

    - `prompt`: a list of {role, content: [{type, text}]}, with one part of type image per image.
    - `images`: stored, not decoded (`store_image`).
    - `completion`: None if the row has no expert response that is known to be correct.
    """
    own_id = _first(row, ID_COLUMNS)
    columns = FORMATS[format_name]
    try:
        messages, images = _messages(_required(row, columns.problem))
        if not images:
            given = _first(row, columns.images)
            images = given if isinstance(given, list) else [] if given is None else [given]
        _refuse_other_media(row, columns.images, bool(images))
        stored = [store_image(image, folder, allow_outside) for image in images]
        given = _first(row, columns.answer) if expert else _required(row, columns.answer)
        solution, options = final_answer(given), read_options(_first(row, OPTION_COLUMNS) or [])
        if missing(solution) and solution not in options:
            if not expert:
                raise ValueError(f"the answer is {solution!r:.80}; give one that a response can be compared with")
            solution, options = "", []
        if len(solution) > LONGEST_ANSWER and not expert:
            raise ValueError(f"the answer has {len(solution):,} characters; at most {LONGEST_ANSWER:,} can be graded")
        solution, choices = lettered(given, solution, options)
        _place_images(messages, len(images))
    except ValueError as error:
        named = f" (id {own_id})" if own_id is not None else ""
        raise ValueError(f"{source}: record {index + 1}{named}: {error}") from None
    problem_id = _content_id(messages, images, solution) if own_id is None else str(own_id)
    question = messages[-1]["content"][-1]
    question["text"] = with_instruction(with_options(question["text"], choices), instruction)
    return {
        "prompt": messages,
        "images": stored,
        "solution": solution,
        "choices": choices,
        "problem_id": problem_id,
        "completion": columns.completion(row) if expert and columns.completion else None,
    }


def final_answer(value: Any) -> str:
    r"""The answer inside a reference answer: the text after GSM8K's ####, the last <answer> or box, or the whole text.

    A whole float loses its .0, a list of one answer gives that answer, and None gives "". A longer list raises
    ValueError.

    >>> final_answer("so it is $\\boxed{48}$")
    '48'
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
    if hashed := _split_at_hashes(text)[1]:
        return hashed
    tagged = last_answer_tag(text)
    text = text if tagged is None else tagged
    boxed = last_boxed(text)
    return text if boxed is None else boxed


def _first(row: Row, columns: Iterable[str]) -> Any:
    return next((row[column] for column in columns if row.get(column) not in (None, "", [])), None)


def _refuse_other_media(row: Row, image_columns: tuple[str, ...], has_images: bool) -> None:
    """Raise ValueError if the record has media that would be left out of its prompt without a word."""
    for column, value in row.items():
        if value in (None, "", []) or column in image_columns:
            continue
        if _OTHER_MEDIA.fullmatch(column):
            raise ValueError(f"column {column} holds a video or sound, which no policy here can be given; remove it")
        if not has_images and _OTHER_IMAGE.fullmatch(column):
            raise ValueError(f"column {column} holds an image that would be ignored; name it {image_columns[0]}")


def _required(row: Row, columns: tuple[str, ...]) -> Any:
    value = _first(row, columns)
    if value is None:
        raise ValueError(f"{' or '.join(columns)} is empty or missing")
    return value


def _messages(problem: Any) -> tuple[list[Row], list[Any]]:
    """Messages with content parts, split at their placeholders, and the images that the parts contain."""
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
            case {"role": str(role), "content": str() | list() as content}:
                parts, inside = _parts([{"type": "text", "text": content}] if isinstance(content, str) else content)
            case _:
                raise ValueError(f"a message needs a role, and text or parts as content; got {message!r:.80}")
        messages.append({"role": role, "content": parts})
        images += inside
    if not messages or messages[-1]["role"] != "user":
        raise ValueError("the prompt must end with a user message")
    if not messages[-1]["content"] or messages[-1]["content"][-1]["type"] == "image":
        messages[-1]["content"].append({"type": "text", "text": ""})  # options and the instruction are added here
    return messages, images


def _parts(content: list[Any]) -> tuple[list[Row], list[Any]]:
    """The parts of one message, an image part in place of each placeholder, and the images that the parts contain."""
    parts: list[Row] = []
    images: list[Any] = []
    for part in content:
        match part:
            case {"type": "text", "text": str(text)}:
                for i, piece in enumerate(text.split(PLACEHOLDER)):
                    parts += [{"type": "image", "text": None}] if i else []
                    parts += [{"type": "text", "text": piece}] if piece else []
            case {"type": "image"}:
                parts.append({"type": "image", "text": None})
                images += [part["image"]] if part.get("image") is not None else []
            case _:
                raise ValueError(f"a part of a message needs type text or image; got {part!r:.80}")
    return parts, images


def _place_images(messages: list[Row], count: int) -> None:
    """Put images without placeholders before the first question; otherwise there must be one placeholder per image."""
    placeholders = sum(part["type"] == "image" for message in messages for part in message["content"])
    if placeholders == 0:
        first = next(message for message in messages if message["role"] == "user")
        first["content"][:0] = [{"type": "image", "text": None} for _ in range(count)]
    elif placeholders != count:
        raise ValueError(
            f"{placeholders} {PLACEHOLDER} placeholders but {count} images; give one placeholder per image, or none"
        )


def _content_id(messages: list[Row], images: list[Any], solution: str) -> str:
    """An id computed from the row, the same on every machine: an image file counts by its name, not its location."""
    digest = hashlib.sha256(json.dumps([messages, solution]).encode())
    for image in images:
        content = image.get("bytes") or image.get("path") if isinstance(image, dict) else image
        digest.update(content if isinstance(content, bytes) else str(content).encode())
    return digest.hexdigest()[:16]
