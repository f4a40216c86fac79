"""docs/data.md: every row and source on the page is read as the page says."""

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import datasets
import pytest
import yaml
from PIL import Image

from rlfr_mm.data.load import load_demonstrations, load_problems
from rlfr_mm.data.prompts import conversation_text
from tests.conftest import ROOT
from tests.data.rows import arguments, write

PAGE = (ROOT / "docs" / "data.md").read_text()
LAYOUTS = PAGE.split("## Layouts")[1].split("## Rules")[0]
ROWS = re.findall(r"^\*\*(.+?)\*\* - .+?^    (\{.+?\})\n(?:\n```yaml\n(.*?)```)?", LAYOUTS, re.DOTALL | re.MULTILINE)


@pytest.fixture
def figures(tmp_path: Path) -> Path:
    (tmp_path / "fig").mkdir()
    for name, colour in (("1", "red"), ("2", "blue")):
        Image.new("RGB", (84, 84), colour).save(tmp_path / "fig" / f"{name}.png")
    return tmp_path


def filled(text: str, folder: Path) -> dict[str, Any]:
    """A row of the page, with an image in place of {{base64}}."""
    return json.loads(text.replace("{{base64}}", base64.b64encode((folder / "fig/1.png").read_bytes()).decode()))


def test_every_layout_has_a_row() -> None:
    assert len(ROWS) == LAYOUTS.count("\n    {") == len(re.findall(r"^\*\*", LAYOUTS, re.MULTILINE)) > 12


@pytest.mark.parametrize(("name", "row", "settings"), ROWS, ids=[name for name, _, _ in ROWS])
def test_a_documented_row_is_read_as_the_problem_with_the_answer_48(
    name: str, row: str, settings: str, figures: Path
) -> None:
    args = arguments(write(figures, [filled(row, figures)]), **yaml.safe_load(settings or "{}"))
    images = len(re.findall(r"fig/\d|\{\{base64\}\}", row))
    if name == "mmpr":  # expert data only
        (found,) = load_demonstrations(args)
        assert found["completion"] == "... 48"
    else:
        (found,) = load_problems(args)
        assert found["solution"] == "48"
    assert conversation_text(found["prompt"]).strip().splitlines()[0].endswith("Find x.")
    assert len(found["images"]) == images and all(image.size == (84, 84) for image in found["images"])
    placed = [part for message in found["prompt"] for part in message["content"] if isinstance(part, dict)]
    assert sum(part["type"] == "image" for part in placed) == images


@pytest.mark.parametrize(
    "name", ["ShareGPT, LLaVA", "Alpaca", "Messages of TRL and OpenAI", "R1-V and its relatives", "GSM8K", "MATH"]
)
def test_a_documented_row_with_its_reasoning_is_an_expert_response(name: str, figures: Path) -> None:
    row = next(row for title, row, _ in ROWS if title == name)
    (found,) = load_demonstrations(arguments(write(figures, [filled(row, figures)])))
    assert "48" in found["completion"] and "#" not in found["completion"] and "<<" not in found["completion"]


def test_every_documented_source_is_read(figures: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    named = re.findall(r"`([\w./]+)`", PAGE.split("| source | what it is |")[1].split("`ORG/NAME`")[0])
    named = [name for name in named if re.match(r"(problems|saved|repository)\b", name)]
    monkeypatch.chdir(figures)
    record = {"problem": "<image>Find x.", "answer": "48", "images": ["fig/1.png"]}
    table = datasets.Dataset.from_list([record])
    makers = {
        "jsonl": lambda path: path.write_text(json.dumps(record)),
        "json": lambda path: path.write_text(json.dumps([record])),
        "csv": lambda path: path.write_text("problem,answer,images\n<image>Find x.,48,fig/1.png\n"),
        "tsv": lambda path: path.write_text("problem\tanswer\timages\n<image>Find x.\t48\tfig/1.png\n"),
        "parquet": table.to_parquet,
        "gz": lambda path: path.write_bytes(gzip.compress(json.dumps(record).encode())),
        "saved/": table.save_to_disk,
        "repository/": lambda path: (path.mkdir(), table.to_parquet(path / "train.parquet")),
    }
    assert len(named) == len(makers)
    for name in named:
        makers[name if name.endswith("/") else name.rpartition(".")[2]](Path(name))
        (found,) = load_problems(arguments(name, media_dir="."))
        assert found["solution"] == "48" and found["images"][0].getpixel((9, 9)) == (255, 0, 0), name
