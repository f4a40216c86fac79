"""Every task and group by name, and the records of a task. Loads no torch, and `datasets` only to read records.

Benchmarks are found where they lie: folders with an `__init__.py` that sets TASKS

- in this package,
- in the folders that the environment variable RLFR_TASKS lists, separated as in PATH, or that `include` is given,
- in installed packages that name such a module under the entry point `rlfr_mm.tasks`.

>>> len(load(task("rlfr_math500")))
500
"""

import difflib
import importlib
import os
import pkgutil
import sys
import warnings
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rlfr_mm.data.dataset_folder import cached_folder
from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks.spec import Doc, Generation, TaskSpec

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "GROUPS", "TASKS", "Doc", "Generation", "Group", "TaskSpec", "averages", "expand", "include", "load", "prepare",
    "task",
]  # fmt: skip

TASKS: dict[str, TaskSpec] = {}

TASK_COLUMN = "rlfr_task"  # in every record, because lmms-eval gives its hooks nothing but the record


@dataclass(frozen=True)
class Group:
    """Tasks that are run together. `averages` are unweighted means over the headline metrics of tasks."""

    members: tuple[str, ...]  # tasks or groups
    averages: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


_MATH = ("rlfr_mathvista_testmini", "rlfr_mathvision_testmini", "rlfr_mathverse_testmini", "rlfr_wemath_testmini")
_LOGIC = ("rlfr_logicvista", "rlfr_visulogic")
_LANGUAGE = ("rlfr_aime25", "rlfr_aime24", "rlfr_amc83", "rlfr_math500", "rlfr_olympiadbench")

GROUPS: dict[str, Group] = {
    "rlfr_language": Group(_LANGUAGE),  # the columns of the paper's language table
    "rlfr_language_pass32": Group(tuple(f"{name}_pass32" for name in _LANGUAGE)),
    "rlfr_multimodal_math": Group(_MATH, {"Math Avg": _MATH}),
    "rlfr_multimodal_logic": Group(_LOGIC, {"Logic Avg": _LOGIC}),
    "rlfr_multimodal": Group(
        ("rlfr_multimodal_math", "rlfr_multimodal_logic"),
        {"Math Avg": _MATH, "Logic Avg": _LOGIC, "Avg": _MATH + _LOGIC},
    ),
    # every benchmark once (MATH-V's testmini is a part of its test set, and AMC's 40 problems of its 83)
    "rlfr_all": Group(
        (
            "rlfr_language", "rlfr_minerva_math", "rlfr_gsm8k", "rlfr_amc23", "rlfr_multimodal", "rlfr_mathvision_test",
            "rlfr_dynamath", "rlfr_geometry3k",
        )
    ),
}  # fmt: skip


def include(folder: str | Path) -> list[TaskSpec]:
    """Add the tasks of the benchmarks in a folder and return them; a second time they are only returned.

    ValueError if there is no benchmark in it, or if a task has a name that is taken or does not begin with `rlfr_`.
    """
    folder = Path(folder).resolve()
    found = []
    for path in sorted(folder.glob("*/__init__.py")):
        name = f"rlfr_mm_tasks_{path.parent.name}_{zlib.crc32(str(path).encode()):x}"
        if name not in sys.modules:
            spec = spec_from_file_location(name, path, submodule_search_locations=[str(path.parent)])
            assert spec is not None and spec.loader is not None
            sys.modules[name] = module_from_spec(spec)
            try:
                spec.loader.exec_module(sys.modules[name])
                _add(sys.modules[name], str(path))
            except BaseException:
                del sys.modules[name]
                raise
        found += sys.modules[name].TASKS
    if not found:
        raise ValueError(
            f"{folder} has no benchmark: a benchmark is a folder in it with an __init__.py that sets TASKS"
        )
    return found


def _add(module: Any, where: str) -> None:
    """Add the tasks of a benchmark's module, all or none."""
    specs = getattr(module, "TASKS", None)
    if not isinstance(specs, tuple | list) or not all(isinstance(spec, TaskSpec) for spec in specs):
        raise ValueError(f"{where}: TASKS must be a tuple of TaskSpec, as in TASKS = (my_task,)")
    for spec in specs:
        if spec.name in TASKS or not spec.name.startswith("rlfr_"):
            problem = "is there already" if spec.name in TASKS else "must begin with rlfr_"
            raise ValueError(f"{where}: the task name {spec.name} {problem}; choose another name")
        if spec.scorer not in SCORERS:
            raise ValueError(f"{where}: {spec.name} has the scorer {spec.scorer!r}; use one of {', '.join(SCORERS)}")
    TASKS.update({spec.name: spec for spec in specs})


def _discover() -> None:
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__, f"{__package__}."):
        if module.ispkg:
            _add(importlib.import_module(module.name), module.name)
    for entry in entry_points(group="rlfr_mm.tasks"):
        _add(entry.load(), entry.value)
    for folder in filter(None, os.environ.get("RLFR_TASKS", "").split(os.pathsep)):
        try:
            include(folder)
        except ValueError as error:  # a command that needs its tasks will miss them; others should work
            warnings.warn(f"RLFR_TASKS: {error}", stacklevel=2)


def task(name: str) -> TaskSpec:
    """The task of that name; ValueError suggesting the nearest names if there is none."""
    if name not in TASKS:
        nearest = difflib.get_close_matches(name, [*TASKS, *GROUPS], n=3, cutoff=0.5)
        hint = f"did you mean {', '.join(nearest)}?" if nearest else "python -m rlfr_mm.tasks.list prints all."
        raise ValueError(f"unknown task {name!r}: {hint} For a benchmark of your own, set RLFR_TASKS to its folder")
    return TASKS[name]


def expand(names: Iterable[str]) -> list[TaskSpec]:
    """The tasks named by tasks and groups, each once and in order; ValueError for an unknown name.

    >>> [spec.name for spec in expand(["rlfr_multimodal_logic"])]
    ['rlfr_logicvista', 'rlfr_visulogic']
    """
    specs: dict[str, TaskSpec] = {}
    for name in names:
        members = expand(GROUPS[name].members) if name in GROUPS else [task(name)]
        specs |= {spec.name: spec for spec in members}
    return list(specs.values())


def averages(group: str, headlines: Mapping[str, float]) -> dict[str, float]:
    """The group's averages over the headline metrics of its tasks; an average that lacks a task is left out."""
    return {
        name: sum(headlines[member] for member in members) / len(members)
        for name, members in GROUPS[group].averages.items()
        if all(member in headlines for member in members)
    }


def load(spec: TaskSpec, data_root: str | Path | None = None) -> "Dataset":
    """The task's records, from the folder `data_root/<dataset>` of a local mirror, or from the hub without `data_root`.

    Raises FileNotFoundError if the mirror lacks the dataset, and whatever `datasets` and `prepare` raise.
    """
    from datasets import load_dataset

    source = {"path": spec.dataset}
    if data_root is not None and spec.dataset != "json":
        folder = Path(data_root) / spec.dataset
        if not folder.is_dir():
            raise FileNotFoundError(
                f"{spec.name}: no folder {folder}; leave out data_root to read {spec.dataset} from the hub"
            )
        source = cached_folder(folder)
    records = load_dataset(
        **source, name=spec.config, split="+".join(spec.splits), data_files=spec.data_files, revision=spec.revision
    )
    return prepare(spec, records, Path(data_root or "."))


def prepare(spec: TaskSpec, records: "Dataset", root: Path = Path()) -> "Dataset":
    """The records with the columns that the task's functions need, and with TASK_COLUMN.

    Reads every field of every record once, except images, so that a bad record is found before anything is generated.
    Raises ValueError naming the record.
    """
    if spec.prepare is not None:
        records = spec.prepare(records, root)
    seen: set[str] = set()
    for doc in records.remove_columns([spec.image] if spec.image else []):
        problem = spec.check(doc)
        if problem in seen:
            raise ValueError(f"{spec.name}: two records have the id {problem}; ids must be unique within a task")
        seen.add(problem)
    return records.add_column(TASK_COLUMN, [spec.name] * len(records))


_discover()
