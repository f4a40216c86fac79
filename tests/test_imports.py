"""Imports point one way, and what must be light stays light."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT

# The commands, which may import tasks and eval.
COMMANDS = {"train.py", "train_flow.py", "inspect.py", "experiment.py", "results.py", "summaries.py"}
# What each room of rlfr_mm may import of the others.
BELOW = {"config", "config_file", "files", "statistics"}
ROOMS = {
    "config": {"config_file"},
    "config_file": set(),
    "files": set(),
    "statistics": set(),
    "policy": BELOW,
    "grading": BELOW,
    "method": BELOW,
    "quickstart": BELOW | {"policy", "grading", "data"},
    "data": BELOW | {"policy", "grading", "quickstart"},
    "viewing": BELOW,
    "training": BELOW | {"policy", "grading", "method", "data", "viewing", "quickstart"},
    "experiments": BELOW | {"training", "viewing"},
}
COMMAND_ROOMS = {path.removesuffix(".py") for path in COMMANDS}


def _imports(path: Path, package: str) -> set[str]:
    """The names under `package` that a file imports anywhere: `rlfr_mm.method.field` -> `flow`."""
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
        if path.parent.name != "rlfr_mm" or path.name not in COMMANDS:
            assert not _imports(path, "rlfr_mm") & {"tasks", "eval"}, path


def test_tasks_do_not_import_eval():
    for path in (ROOT / "tasks").rglob("*.py"):
        assert "eval" not in _imports(path, "rlfr_mm"), path


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_imports_only_what_lies_below(room: str):
    for path in _files(room):
        assert _imports(path, "rlfr_mm") - {room} <= ROOMS[room], path


def test_every_room_is_listed():
    folder = ROOT / "rlfr_mm"
    found = {path.name for path in folder.iterdir() if (path / "__init__.py").exists()}
    found |= {path.stem for path in folder.glob("*.py")} - {"__init__"}
    assert found - COMMAND_ROOMS == set(ROOMS)


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
