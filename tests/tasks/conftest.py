"""The dataset mirror for tests: the shared one, with drawn VisuLogic records, which it lacks."""

import io
import json
import zipfile
from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture(scope="session")
def mirror(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like a mirror of the hub, with data for every task."""
    root = tmp_path_factory.mktemp("mirror")
    for organisation in (shared / "hub").iterdir():
        if organisation.is_dir():
            (root / organisation.name).symlink_to(organisation)
    draw_visulogic(root / "VisuLogic" / "VisuLogic")
    return root


def draw_visulogic(folder: Path, records: int = 6) -> None:
    """Write data.jsonl and images.zip as on the hub. Picture i is 56 + i pixels wide; its answer is "ABCD"[i % 4]."""
    folder.mkdir(parents=True)
    categories = ("Quantitative Reasoning", "Spatial Reasoning")
    lines = []
    with zipfile.ZipFile(folder / "images.zip", "w") as archive:
        for i in range(records):
            picture = io.BytesIO()
            Image.new("RGB", (56 + i, 56), (i, 0, 0)).save(picture, "PNG")
            archive.writestr(f"images/{i:05d}.png", picture.getvalue())
            lines.append(
                {
                    "id": f"{i:05d}",
                    "image_path": f"images/{i:05d}.png",
                    "question": f"<image>\nHow many dots has the {i}th die?\nA: one\nB: two\nC: three\nD: four",
                    "label": "ABCD"[i % 4],
                    "tag": categories[i % 2],
                }
            )
    (folder / "data.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
