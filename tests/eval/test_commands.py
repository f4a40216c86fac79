"""Every evaluation command answers --help without loading a model library, and refuses bad input in one line."""

import subprocess
import sys
from pathlib import Path

import pytest

import rlfr_mm.eval

COMMANDS = sorted(
    path.stem
    for path in Path(rlfr_mm.eval.__path__[0]).glob("*.py")
    if '__name__ == "__main__"' in path.read_text(encoding="utf-8")
)
HELP = """
import runpy, sys
sys.argv = ["x", "--help"]
try:
    runpy.run_module("rlfr_mm.eval.{name}", run_name="__main__")
except SystemExit as end:
    assert not end.code, end.code
heavy = {{"torch", "transformers", "datasets", "lmms_eval", "scipy", "matplotlib"}} & set(sys.modules)
assert not heavy, heavy
"""


def test_the_commands_are_found():
    assert {"run", "score", "compare"} <= set(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_loads_no_model_library(name):
    done = subprocess.run([sys.executable, "-c", HELP.format(name=name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"usage: python -m eval.{name}" in done.stdout
