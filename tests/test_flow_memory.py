"""The flow adds little more memory to GRPO than the latents that its field will learn from."""

import json
import subprocess
import sys
from pathlib import Path

from tests.conftest import ROOT


def test_peak_memory_grows_by_the_accepted_latents(tmp_path: Path):
    page, record = tmp_path / "page.md", tmp_path / "record.json"
    page.write_text(
        "Before\n<!-- memory: written by benchmarks/flow_memory.py -->\nold\n<!-- end of memory -->\nAfter\n"
    )
    command = [sys.executable, str(ROOT / "benchmarks/flow_memory.py"), "--rollouts=16"]
    done = subprocess.run([*command, "--json", record, "--page", page], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    ratio = json.loads(record.read_text())["measured"]["ratio"]
    assert 0.5 < ratio < 1.2
    text = page.read_text()
    assert text.startswith("Before\n") and text.endswith("After\n") and "old" not in text
    assert f"{ratio:.2f} times" in text and "`paper_vl_7b`" in text
