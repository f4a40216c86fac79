"""The docs name files that exist, and become a site that loads nothing from elsewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, Chromium

README = (ROOT / "README.md").read_text()
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
MADE = ("settings.md",)  # by `make docs`
FOLDERS = r"(?:rlfr_mm|tasks|eval|configs|benchmarks|docs|tests)"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_linked_files_and_images_exist(page: Path):
    for target in re.findall(r"\]\(([^)#]+)", page.read_text()):
        if not target.startswith("http") and target not in MADE:
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


def test_each_claim_in_the_comparison_links_what_shows_it():
    rows = re.findall(r"^\|(.+)\|$", (ROOT / "docs" / "comparison.md").read_text(), re.MULTILINE)
    cells = [row.split(" | ")[1].strip() for row in rows if not row.startswith(("---", " feature"))]
    assert len(cells) > 20 and not [cell for cell in cells if "](" not in cell and cell != "no"]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it; a warning, such as a link to nowhere, is an error."""
    pytest.importorskip("furo", reason="the site needs pip install 'rlfr_mm[docs]'")
    folder = tmp_path_factory.mktemp("site")
    (options,) = re.findall(r"-m sphinx (.*) docs site/html", (ROOT / "Makefile").read_text())
    command = [sys.executable, "-m", "sphinx", *options.replace("site/", f"{folder}/").split(), "docs", folder / "html"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder / "html"


def test_the_site_names_no_file_of_another_site(site: Path):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|img|link|iframe)\b[^>]*?(?:src|href)=\"([^\"]+)", page.read_text())
        assert not [address for address in loaded if re.match(r"(https?:)?//", address)], page.name


def test_the_site_lists_every_setting_and_sets_formulas(site: Path):
    settings = (site / "settings.html").read_text()
    assert all(f">{key}<" in settings for key in ("flow_layers", "topk", "accept_reward", "max_bad_steps"))
    assert (site / "method.html").read_text().count('display="block"') >= 6
    assert "rlfr_mm.method.flow_reward.flow_reward" in (site / "api.html").read_text()


@pytest.mark.parametrize("width", [1400, 420])
def test_a_page_of_the_site_fits_the_window_and_asks_for_nothing_elsewhere(site: Path, chromium: Chromium, width: int):
    for name in ("index", "method", "settings", "comparison", "notebooks/own_data"):
        chromium.open((site / f"{name}.html").as_uri(), width=width)
        assert chromium.evaluate("document.documentElement.scrollWidth") <= width, name
        assert all(address.startswith("file:") for address in chromium.requests)
        assert not chromium.errors
