from pathlib import Path

import pytest
from PIL import Image


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGBA", (84, 84), (255, 0, 0, 255)).save(tmp_path / "red.png")
    return tmp_path
