"""Imports point one way, and what must be light stays light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

# Entry points, which may import tasks and eval inside their main.
ENTRY_POINTS = {"train.py", "experiment.py", "results.py", "inspect.py"}
# What each part of the library may import of the others (modules of rlfr_mm).
LAYERS = {
    "config": set(),
    "config_file": set(),
    "grading": set(),
    "prompts": set(),
    "quickstart": {"config", "grading", "prompts", "policy", "flow", "rewards"},
    "latents": set(),
    "policy": {"config"},
    "flow": {"config", "config_file", "latents", "policy"},
    "flow_reward": {"config"},
    "token_score": {"flow_reward"},
    "shaping": set(),
    "rewards": {"grading"},
}


def _imports(path: Path, package: str) -> set[str]:
    """The names under `package` that a file imports anywhere: `rlfr_mm.flow.field` -> `flow`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.ImportFrom) and node.module:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        found |= {name.split(".")[1] for name in names if name.startswith(f"{package}.")}
    return found


def _files(part: str) -> list[Path]:
    folder = ROOT / "rlfr_mm" / part
    return sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]


def test_library_modules_import_neither_tasks_nor_eval():
    for path in (ROOT / "rlfr_mm").rglob("*.py"):
        if path.name not in ENTRY_POINTS:
            assert not _imports(path, "rlfr_mm") & {"tasks", "eval"}, path


def test_tasks_do_not_import_eval():
    for path in (ROOT / "tasks").rglob("*.py"):
        assert "eval" not in _imports(path, "rlfr_mm"), path


@pytest.mark.parametrize("part", LAYERS)
def test_each_layer_imports_only_what_lies_below(part: str):
    for path in _files(part):
        assert _imports(path, "rlfr_mm") - {part} <= LAYERS[part], path


@pytest.mark.parametrize(
    "module", ["rlfr_mm.grading", "rlfr_mm.config_file", "rlfr_mm.config", "rlfr_mm.tasks.registry"]
)
def test_light_modules_load_no_torch(module: str):
    script = f"import sys, {module}\nassert not {{'torch', 'transformers'}} & set(sys.modules)"
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_every_package_folder_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(project["packages"])
    for name, folder in project["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(ROOT / folder)
            assert ".".join([name, *relative.parts]) in listed
