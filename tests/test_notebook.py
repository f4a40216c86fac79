"""The notebook runs from its first cell to its last, and is kept without outputs."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.conftest import ROOT

NOTEBOOK = ROOT / "docs" / "notebooks" / "own_data.ipynb"


def test_the_notebook_trains_a_policy_and_writes_its_pages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))  # the notebook makes a folder there
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    NotebookClient(notebook, timeout=300, kernel_name="python3").execute()
    (folder,) = [path.parent for path in tmp_path.glob("*/problems.jsonl")]
    assert "How many discs" in (folder / "run_page.html").read_text()
    assert "rlfr_quickstart" in (folder / "report.html").read_text()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert all(text in printed for text in ("ready", "flow reward", "rlfr_quickstart", "library_name: transformers"))


def test_no_output_is_kept():
    cells = nbformat.read(NOTEBOOK, as_version=4).cells
    assert len(cells) > 10 and not any(cell.get("outputs") or cell.get("execution_count") for cell in cells)
