"""Read one row of a supported dataset as one record: messages, images, answer, options, expert response.

A `Format` names the columns that hold these in a dataset. The rules for reading them are the same for all formats.
"""

import ast
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from rlfr_mm.data.columns import check_named, holds_image, renamed, suggestion, value_of
from rlfr_mm.data.conversations import ASKED, Row, place_images, read_conversation, with_messages
from rlfr_mm.data.images import store_image
from rlfr_mm.data.options import lettered, read_options
from rlfr_mm.data.prompts import InstructionName, content_text, with_instruction, with_options
from rlfr_mm.grading.item import LONGEST_ANSWER, missing
from rlfr_mm.grading.strict.boxes import last_boxed
from rlfr_mm.grading.strict.extract import bare_answer, last_answer_tag, stated, trimmed

# Columns of media that no policy here is given. An image in such a column counts only if the record has no other.
_OTHER_MEDIA = re.compile(r"(?:video|audio|sound|speech|clip)s?(?:_?(?:path|url|file|bytes|\d+)s?)?", re.IGNORECASE)
_OTHER_IMAGE = re.compile(r"(?:image|img|picture|figure)s?_?(?:path|url|file|bytes|\d+)s?", re.IGNORECASE)
ID_COLUMNS = ("problem_id", "id", "pid", "uuid", "unique_id", "question_id", "ID")
OPTION_COLUMNS = ("options", "choices")
SOLUTION_COLUMNS = ("solution", "answer")  # may hold the reasoning, too
CONVERSATION_COLUMNS = ("messages", "conversations", "message")

_CALCULATOR_MARK = re.compile(r"<<[^<>=\n]*=[^<>\n]*>>")  # of GSM8K's solutions


@dataclass(frozen=True)
class Format:
    """The columns of a dataset layout. Of each kind, the first column that is not empty counts."""

    problem: tuple[str, ...]
    images: tuple[str, ...]
    answer: tuple[str, ...]
    completion: Callable[[Row], str | None]  # reads the expert response; the reply of a conversation is one, too
    completion_columns: tuple[str, ...]


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
    # TRL and EasyR1 (verl/utils/dataset.py: prompt_key, answer_key, images); MATH-V and MathVista; MM-EUREKA's README
    # (conversations, answer, image_urls; later versions: message with images inside); ShareGPT; verl
    # (verl/utils/reward_score: reward_model.ground_truth).
    "trl": Format(
        problem=("problem", "question", "prompt", *CONVERSATION_COLUMNS),
        images=("images", "decoded_image", "image", "image_urls"),
        answer=("answer", "solution", "reward_model.ground_truth"),
        completion=_completion_or_solution,
        completion_columns=("completion", *SOLUTION_COLUMNS, *CONVERSATION_COLUMNS),
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


USUAL = {  # the names of the roles in data.columns; the first one is the name that a column gets
    "problem": FORMATS["trl"].problem,
    "answer": ("answer", "reward_model.ground_truth"),
    "images": FORMATS["trl"].images,
    "completion": ("completion",),
    "options": OPTION_COLUMNS,
    "problem_id": ID_COLUMNS,
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
    trl = FORMATS["trl"]
    lacking = [
        role
        for role, names in (
            ("problem", (*trl.problem, ASKED[0])),  # the instruction of alpaca, which becomes a conversation
            ("answer", (*trl.answer, *trl.completion_columns)),
        )
        if not _has(seen, names)
    ]
    if not lacking:
        return "trl"
    lacking += [] if _has(seen, trl.images) else ["images"]
    raise ValueError(
        f"{source}: cannot tell the format from the columns {', '.join(sorted(seen))}; {suggestion(seen, lacking)}, "
        f"or set data.format to one of {', '.join(FORMATS)}"
    )


def check_columns(columns: Iterable[str], format_name: str, source: str, expert: bool) -> None:
    """Raise ValueError if a column that the format needs is missing; `expert` rows need a response, not an answer."""
    seen, needed = set(columns), FORMATS[format_name]
    answers = needed.completion_columns if expert else (*needed.answer, *CONVERSATION_COLUMNS)
    for role, wanted in (("problem", needed.problem), ("answer", answers)):
        if not _has(seen, wanted):
            named = needed.answer if role == "answer" and not expert else wanted
            raise ValueError(
                f"{source}: no column {' or '.join(named)}, which format {format_name} needs; "
                f"the columns are {', '.join(sorted(seen))}; {suggestion(seen, [role])}"
            )


def renamed_columns(seen: Iterable[str], columns: Mapping[str, Any], source: str) -> list[str]:
    """The names that rows with these columns have after `data.columns`; ValueError if it names one that is missing."""
    names = list(seen)
    check_named(columns, names, source)
    return list(_conversation_of_alpaca(renamed(dict.fromkeys(names), columns, USUAL)))


def _conversation_of_alpaca(row: Row) -> Row:
    """The row, alpaca's instruction and output as a conversation if no other column has the problem."""
    answers = {"output", "completion", *FORMATS["trl"].answer}
    alpaca = "instruction" in row and answers & row.keys() and not _has(set(row), FORMATS["trl"].problem)
    return with_messages(row) if alpaca else row


def _has(seen: set[str], names: Iterable[str]) -> bool:
    """Whether one of these columns is there; for a.b, the column a."""
    return any(name in seen or name.partition(".")[0] in seen for name in names)


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
    named: Mapping[str, Any] | None = None,
) -> Row:
    """The row as {prompt, images, solution, choices, problem_id, completion}; ValueError names the record.

    - `prompt`: a list of {role, content: [{type, text}]}, with one part of type image per image.
    - `images`: stored, not decoded (`store_image`).
    - `completion`: None if the row has no expert response that is known to be correct.

    `named` is `data.columns`.
    """
    columns, named = FORMATS[format_name], named or {}
    own_id = _first(renamed(row, named, USUAL), ID_COLUMNS)
    try:
        if named.get("problem") in ASKED and all(isinstance(row.get(name), str) and row[name] for name in ASKED):
            raise ValueError("instruction and input are one problem; leave data.columns.problem out to read both")
        row = _conversation_of_alpaca(renamed(row, named, USUAL))
        talk = read_conversation(_required(row, columns.problem), row.get("system"))
        messages, images = talk.messages, talk.images
        if not images:
            given = _unpacked(_first(row, columns.images))
            images = given if isinstance(given, list) else [] if given is None else [given]
        _refuse_other_media(row, columns.images, bool(images) or "images" in named)
        stored = [store_image(image, folder, allow_outside) for image in images]
        given = _first(row, columns.answer)
        if given is None and not expert:
            given = _answer_in_reply(talk.reply) if talk.reply is not None else _required(row, columns.answer)
        solution, options = final_answer(given), read_options(_options(row))
        if missing(solution) and solution not in options:
            if not expert:
                raise ValueError(f"the answer is {solution!r:.80}; give one that a response can be compared with")
            solution, options = "", []
        if len(solution) > LONGEST_ANSWER and not expert:
            raise ValueError(f"the answer has {len(solution):,} characters; at most {LONGEST_ANSWER:,} can be graded")
        solution, choices = lettered(given, solution, options)
        place_images(messages, len(images))
    except ValueError as error:
        known = f" (id {own_id})" if own_id is not None else ""
        raise ValueError(f"{source}: record {index + 1}{known}: {error}") from None
    problem_id = _content_id(messages, images, solution) if own_id is None else str(own_id)
    question = messages[-1]["content"][-1]
    question["text"] = with_instruction(with_options(question["text"], choices), instruction)
    return {
        "prompt": messages,
        "images": stored,
        "solution": solution,
        "choices": choices,
        "problem_id": problem_id,
        "completion": (columns.completion(row) or talk.reply) if expert else None,
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
    return next((value for column in columns if not _is_empty(value := value_of(row, column))), None)


def _is_empty(value: Any) -> bool:
    return value in (None, []) or (isinstance(value, str) and not value.strip())


def _unpacked(value: Any) -> Any:
    """The list in a text such as '["1.png", "2.png"]', JSON or as Python prints it; any other value as it is.

    Cells of a CSV file hold lists like this, and so does MMMU.
    """
    if isinstance(value, str) and value.lstrip().startswith("["):
        for read in (json.loads, ast.literal_eval):
            with suppress(ValueError, SyntaxError, RecursionError, MemoryError):
                return read(value.strip())
    return value


def _options(row: Row) -> Any:
    """The options in one column, or in the columns A, B, C, ... of VLMEvalKit's tables; [] if there are none."""
    given = _unpacked(_first(row, OPTION_COLUMNS))
    if given is not None:
        return given
    lettered_columns = list(takewhile(lambda option: option not in (None, ""), map(row.get, "ABCDEFGHI")))
    return lettered_columns if len(lettered_columns) > 1 else []


def _answer_in_reply(reply: str) -> str:
    """The final answer in the assistant's reply, read as the strict rule reads responses; ValueError if it has none."""
    marked = final_answer(reply)
    if marked != reply.strip():
        return marked
    places = stated(reply)
    found = places[0] if places else bare_answer(reply)
    if found is None:
        raise ValueError(
            f"no column has the answer, and the assistant's reply {reply!r:.80} does not state one; give it in a "
            "column answer, or in the reply as \\boxed{...}, <answer>...</answer> or a last line #### ..."
        )
    return trimmed(found.answer)


def _refuse_other_media(row: Row, image_columns: tuple[str, ...], has_images: bool) -> None:
    """Raise ValueError if the record has media that would be left out of its prompt without a word."""
    for column, value in row.items():
        if value in (None, "", []) or column in image_columns:
            continue
        if _OTHER_MEDIA.fullmatch(column):
            raise ValueError(f"column {column} holds a video or sound, which no policy here can be given; remove it")
        if not has_images and (_OTHER_IMAGE.fullmatch(column) or holds_image(value)):
            raise ValueError(
                f"column {column} holds an image that would be ignored; set data.columns: {{images: {column}}}, or "
                "{images: []} to leave it out"
            )


def _required(row: Row, columns: tuple[str, ...]) -> Any:
    value = _first(row, columns)
    if value is None:
        given = [name for name in columns if _has(set(row), [name])] or columns
        raise ValueError(f"{' or '.join(given)} is empty or missing")
    return value


def _content_id(messages: list[Row], images: list[Any], solution: str) -> str:
    """An id computed from the row, the same on every machine: an image file counts by its name, not its location."""
    digest = hashlib.sha256(json.dumps([messages, solution]).encode())
    for image in images:
        content = image.get("bytes") or image.get("path") if isinstance(image, dict) else image
        digest.update(content if isinstance(content, bytes) else str(content).encode())
    return digest.hexdigest()[:16]
