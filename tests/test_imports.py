"""Imports point one way, light modules stay light, and files and functions stay short."""

import ast
import importlib.metadata
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.conftest import ROOT

# Each room (a module or package of rlfr_mm) and the other rooms that it may import.
LOWEST = {"config", "config_file", "files"}
ROOMS = {
    "files": set(),
    "config_file": {"files"},
    "trl_settings": set(),
    "flow_config": {"config_file"},
    "config": {"config_file", "files", "flow_config", "trl_settings"},
    "secrets": set(),
    "step_files": {"files"},
    "precheck": {"config", "config_file", "files"},
    "statistics": LOWEST,
    "grading": LOWEST,
    "policy": LOWEST,
    "method": LOWEST,
    "quickstart": LOWEST | {"policy", "grading"},
    "data": LOWEST | {"precheck", "policy", "grading", "quickstart"},
    "viewing": LOWEST | {"step_files", "statistics", "data"},
    "training": LOWEST
    | {"precheck", "secrets", "step_files", "statistics", "policy", "grading", "method", "data", "quickstart"}
    | {"viewing"},
    "experiments": LOWEST | {"precheck", "secrets", "statistics", "quickstart", "training", "viewing"},
    "tasks": LOWEST | {"statistics", "grading", "data", "quickstart"},
    "eval": LOWEST | {"precheck", "secrets", "statistics", "grading", "policy", "data", "viewing", "training", "tasks"},
}
# The commands of rlfr_mm. They may import every room, and may do so inside functions.
COMMANDS = {"train", "train_flow", "inspect", "experiment", "results"}
HELP = [f"rlfr_mm.{name}" for name in sorted(COMMANDS)]
HELP += [f"eval.{name}" for name in ("run", "score", "compare", "report", "export", "parity")] + ["tasks.list"]
HEAVY = {"torch", "transformers", "datasets", "scipy", "matplotlib"}
MAX_DEFERRED, MAX_FILE_LINES, MAX_FUNCTION_LINES = 20, 400, 60
# Distributions that no file of ours imports, and why they are declared.
NOT_IMPORTED = {
    "torchvision": "the image and video processors of Qwen2.5-VL",
    "decord": "lmms-eval's qwen2_5_vl imports it",
    "qwen-vl-utils": "lmms-eval's qwen2_5_vl imports it",
    "filelock": "bounds the version, for lmms-eval",
    "beartype": "pytest loads it, through addopts",
    "pytest-xdist": "make test",
    "fastapi": "transformers serve imports it",
    "uvicorn": "transformers serve imports it",
    "opentelemetry-api": "transformers serve imports it",
    "ipykernel": "runs the notebook",
    "furo": "the theme of the site",
    "myst-nb": "Markdown and the notebook in the site",
    "ruff": "make check",
    "mypy": "make check",
    "types-pyyaml": "make check",
    "build": "make wheel",
    "vllm": "TRL imports it for train.use_vllm",
    "wandb": "transformers and TRL import it for train.report_to",
    "tensorboard": "transformers imports it for train.report_to",
    "trackio": "transformers and TRL import it for train.report_to",
    "deepspeed": "accelerate imports it for configs/accelerate/zero3.yaml",
}


def _product() -> Iterator[tuple[str, Path]]:
    """(room, file) for each Python file of the product; a command is a room of its own."""
    for path in sorted((ROOT / "rlfr_mm").rglob("*.py")):
        yield path.relative_to(ROOT / "rlfr_mm").parts[0].removesuffix(".py"), path
    for room in ("tasks", "eval"):
        yield from ((room, path) for path in sorted((ROOT / room).rglob("*.py")))


def _imported(tree: ast.AST) -> set[str]:
    """The full names that a file imports anywhere, for example rlfr_mm.method.field.FlowField."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names


def _rooms_imported(path: Path) -> set[str]:
    names = _imported(ast.parse(path.read_text()))
    return {name.split(".")[1] for name in names if name.startswith("rlfr_mm.")} - {"__version__"}


def _functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_every_room_is_listed():
    assert {room for room, _ in _product()} - {"__init__"} - COMMANDS == set(ROOMS)


@pytest.mark.parametrize("room", ROOMS)
def test_each_room_imports_only_the_rooms_it_may(room: str):
    too_much = {
        str(path.relative_to(ROOT)): sorted(extra)
        for name, path in _product()
        if name == room and (extra := _rooms_imported(path) - {room} - ROOMS[room])
    }
    assert not too_much


def test_the_allowed_imports_have_no_cycle():
    left = dict(ROOMS)
    while left:
        lowest = [room for room, below in left.items() if not below & set(left)]
        assert lowest, f"a cycle among {sorted(left)}"
        left = {room: below for room, below in left.items() if room not in lowest}


def test_library_modules_import_neither_tasks_nor_eval():
    for room, path in _product():
        if room not in {"tasks", "eval"} | COMMANDS:
            assert not _rooms_imported(path) & {"tasks", "eval"}, path


def test_tasks_take_nothing_but_prompts_and_folders_from_data():
    """The rest of `data` loads torch, and the registry of tasks must not."""
    light = ("rlfr_mm.data.prompts.", "rlfr_mm.data.dataset_folder.")
    for room, path in _product():
        if room == "tasks":
            names = _imported(ast.parse(path.read_text()))
            assert all(name.startswith(light) for name in names if name.startswith("rlfr_mm.data")), path


@pytest.mark.parametrize(
    "module", ["rlfr_mm.grading", "rlfr_mm.config", "rlfr_mm.config_file", "rlfr_mm.files", "rlfr_mm.tasks.registry"]
)
def test_light_modules_load_nothing_heavy(module: str):
    _run(f"import sys, {module}\nassert not {HEAVY} & set(sys.modules), {HEAVY} & set(sys.modules)")


@pytest.mark.parametrize("command", HELP)
def test_help_loads_nothing_heavy_and_takes_less_than_a_second(command: str):
    _run(
        "import runpy, sys, time\n"
        f"sys.argv = [{command!r}, '--help']\n"
        f"try:\n    runpy.run_module({command!r}, run_name='__main__')\n"
        "except SystemExit as exit:\n    assert not exit.code\n"
        f"loaded = {HEAVY} & set(sys.modules)\n"
        "assert not loaded, loaded\n"
        "assert time.process_time() < 1, time.process_time()\n"
    )


def _run(script: str) -> None:
    result = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def test_few_imports_are_inside_functions():
    deferred = {
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room, path in _product()
        if not (room in COMMANDS and path.parent.name == "rlfr_mm")
        for function in _functions(path)
        for node in ast.walk(function)
        if isinstance(node, ast.Import | ast.ImportFrom)
    }
    assert len(deferred) <= MAX_DEFERRED, sorted(deferred)


def test_files_and_functions_are_short():
    long = []
    for _, path in _product():
        if (lines := len(path.read_text().splitlines())) > MAX_FILE_LINES:
            long.append(f"{path.relative_to(ROOT)}: {lines} lines")
        for function in _functions(path):
            if (lines := (function.end_lineno or 0) - function.lineno + 1) > MAX_FUNCTION_LINES:
                long.append(f"{path.relative_to(ROOT)}: {function.name} has {lines} lines")
    assert not long


def test_every_declared_distribution_is_imported():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    declared = {_normalised(Requirement(item).name) for group in groups for item in group}
    files = [
        path
        for folder in ("rlfr_mm", "tasks", "eval", "benchmarks", "tests", "docs")
        for path in (ROOT / folder).rglob("*.py")
    ]
    imported = {name.split(".")[0] for path in files for name in _imported(ast.parse(path.read_text()))}
    providers = importlib.metadata.packages_distributions()
    used = {_normalised(distribution) for name in imported for distribution in providers.get(name, [name])}
    assert declared - used == set(NOT_IMPORTED)


def _normalised(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_folder_is_in_the_wheel():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    listed = set(project["packages"])
    for name, folder in project["package-dir"].items():
        for init in (ROOT / folder).rglob("__init__.py"):
            relative = init.parent.relative_to(ROOT / folder)
            if name == "rlfr_mm.tasks" and relative.parts:
                continue  # benchmarks are package data; .ci/try_wheel.py lists them from the wheel
            assert ".".join([name, *relative.parts]) in listed
