"""The comparison with the public formulation runs, and the table of docs/performance.md is made from the records."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def run(*arguments: object) -> None:
    done = subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_public_formulation_gives_the_same_deviations_and_takes_longer(tmp_path: Path):
    run("benchmarks/naive.py", "--small", "--rounds=3", "--json", tmp_path / "record.json")
    record = json.loads((tmp_path / "record.json").read_text())
    assert record["scoring"]["largest_relative_difference"] < 1e-5
    assert record["scoring"]["ratio"] > 2
    assert record["offline"]["ratio"] > 1


def test_the_table_of_the_documentation_is_that_of_the_records(tmp_path: Path):
    page = (ROOT / "docs/performance.md").read_text(encoding="utf-8")
    (tmp_path / "page.md").write_text(page, encoding="utf-8")
    run("benchmarks/bench.py", "--only", "none", "--page", tmp_path / "page.md")
    assert (tmp_path / "page.md").read_text(encoding="utf-8") == page
    assert "| RLFR step over plain TRL GRPO, 3B shape | ≤ 1.05x | 1.02x |" in page
