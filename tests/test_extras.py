"""The optional extras resolve to versions that work with the rest."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.version import Version

from tests.conftest import ROOT


def test_the_vllm_extra_resolves_to_a_version_that_trl_supports(tmp_path: Path):
    report = tmp_path / "report.json"
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet"]
    done = subprocess.run([*command, "--report", str(report), f"{ROOT}[vllm]"], capture_output=True, text=True)
    if done.returncode and "No matching distribution found for setuptools" in done.stderr:
        pytest.skip("no package registry can be reached")
    assert done.returncode == 0, done.stderr[-3000:]
    found = {
        item["metadata"]["name"]: item["metadata"]["version"] for item in json.loads(report.read_text())["install"]
    }
    assert Version("0.22") <= Version(found["vllm"]) < Version("0.31")
    assert Version(found["transformers"]) >= Version("5.23")
