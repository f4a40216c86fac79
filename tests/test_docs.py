"""The docs name files that exist, and the README's example of training on one's own data runs as it stands."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image, ImageDraw

from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FOLDERS = r"(?:rlfr_mm|tasks|eval|configs|benchmarks|docs|tests)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_and_images_exist(page: Path):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http"):
            assert (page.parent / target).exists(), target


def test_every_path_that_the_architecture_page_names_exists():
    named = set(re.findall(rf"`({FOLDERS}/[\w./]*)`", (ROOT / "docs" / "architecture.md").read_text()))
    assert len(named) > 30
    assert not sorted(name for name in named if not (ROOT / name).exists())


def test_every_path_in_the_readmes_tree_exists():
    tree = README.partition("## Where things are")[2].partition("`tasks` and `eval` are installed")[0]
    missing, top = [], ROOT
    for line in re.findall(r"^    (.+)$", tree, re.MULTILINE):
        names = [name for name in re.split(r"[\s,;:]+", line) if re.fullmatch(r"[a-z_]+(\.py|/)", name)]
        top = top if line.startswith(" ") else ROOT / names[0]
        bases = (top.parent, top, top / names[0])  # a line may name files of the folder that it describes
        missing += [name for name in names if not any((base / name).exists() for base in bases)]
    assert not missing


def test_every_documented_configuration_exists():
    for page in PAGES:
        for name in re.findall(r"configs/[\w/*]+\.(?:yaml|jinja)", page.read_text()):
            assert list(ROOT.glob(name)), f"{page.name}: {name}"


def test_the_readmes_example_trains_on_rows_with_images(tiny_policy: Path, tmp_path: Path):
    """The row, the YAML and the command of the README; the overrides are its CPU ones, with an untrained policy."""
    section = README.partition("## Train on your own data")[2].partition("\n## ")[0]
    row = json.loads(re.search(r'^    (\{"images".*\})$', section, re.MULTILINE)[1])
    (config,) = re.findall(r"```yaml\n(.*?)```", section, re.DOTALL)
    (command,) = re.findall(r"^    python (-m rlfr_mm\.train .*)$", section, re.MULTILINE)
    (overrides,) = re.findall(r"`(model\.name_or_path=quickstart .*)`", section)

    (tmp_path / "fig").mkdir()
    for i, shape in enumerate(("ellipse", "rectangle", "chord")):
        picture = Image.new("RGB", (120, 90), "white")
        getattr(ImageDraw.Draw(picture), shape)((20, 20, 90, 70), *((0, 200) if shape == "chord" else ()), fill="red")
        picture.save(tmp_path / "fig" / f"{i}.png")
    rows = [row | {"images": [f"fig/{i}.png"], "answer": str(i)} for i in range(3)]
    (tmp_path / "problems.jsonl").write_text("\n".join(map(json.dumps, rows)))
    name = re.search(r"--config (\S+)", command)[1]
    (tmp_path / name).write_text(config)
    settings = [*shlex.split(overrides.replace("quickstart", str(tiny_policy))), "train.max_completion_length=8"]
    done = subprocess.run(
        [sys.executable, *shlex.split(command), *settings], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    records = list(read_rollouts(tmp_path / "runs" / "my_run"))
    assert {record.step for record in records} == {1, 2}
    assert all("Find $x$." in record.prompt and record.images and any(record.deviation) for record in records)
    assert (tmp_path / "runs" / "my_run" / "final" / "flow" / "flow.safetensors").is_file()
