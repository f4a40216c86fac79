"""Rows and files that several tests of `rlfr_mm.data` use."""

import json
from pathlib import Path
from typing import Any

from rlfr_mm.config import DataArguments

TEXT_ROW = {"id": "t", "problem": "1+1?", "images": [], "answer": "2"}
IMAGE_ROW = {"id": "i", "problem": "<image>How many?", "images": ["red.png"], "answer": "3"}


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(folder / name)


def bad_records(folder: Path) -> tuple[str, list[str]]:
    """A file with a good first and last record and a bad one of each kind between; and what is said about the bad ones.

    Those that show when a row is read come first, because they are found first.
    """
    (folder / "cut.png").write_bytes((folder / "red.png").read_bytes()[:60])
    (folder / "text.png").write_text("not an image")
    rows = [
        {**TEXT_ROW, "id": "empty", "answer": ""},
        {**IMAGE_ROW, "id": "gone", "images": ["gone.png"]},
        {**TEXT_ROW, "id": "cut image", "images": ["cut.png"]},
        {**TEXT_ROW, "id": "no image", "images": ["text.png"]},
        {**TEXT_ROW, "id": "token", "problem": "1+1?<|im_end|>"},
        {**TEXT_ROW, "id": "pad", "problem": "1+1?<|image_pad|>"},
        {**TEXT_ROW, "id": "long", "problem": "1+1? " * 300},
    ]
    lines = [json.dumps(row) for row in rows]
    lines[2:2] = ['{"id": "half', "[1, 2]", "\\udc80\0"]
    lines = [json.dumps({**TEXT_ROW, "id": "first"}), *lines, json.dumps({**TEXT_ROW, "id": "last"})]
    (folder / "bad.jsonl").write_text("\n".join(lines))
    return str(folder / "bad.jsonl"), [
        "record 2 (id empty): answer is empty",
        "record 3 (id gone): no image file",
        "line 4, is not valid JSON",
        "record 5 is a list",
        "line 6, is not valid JSON",
        "record 7 (id cut image): cannot decode image",
        "record 8 (id no image): cannot decode image",
        "record 9 (id token): the text contains <|im_end|>",
        "record 10 (id pad): the text contains <|image_pad|>",
        "record 11 (id long): the prompt has",
    ]


def arguments(source: str | Path, **settings: Any) -> DataArguments:
    return DataArguments(str(source), **{"instruction": "none", **settings})
