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


def arguments(source: str | Path, **settings: Any) -> DataArguments:
    return DataArguments(str(source), **{"instruction": "none", **settings})
