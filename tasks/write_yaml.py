"""`python -m tasks.write_yaml FOLDER`: write the YAML files from which plain lmms-eval knows a folder's tasks."""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from rlfr_mm.config_file import one_line_errors
from rlfr_mm.files import write_whole
from rlfr_mm.tasks import registry
from rlfr_mm.tasks.spec import TaskSpec

BASE = Path(__file__).with_name("base.yaml")


def yaml_text(spec: TaskSpec) -> str:
    """The task's YAML file: the settings of base.yaml, and the task's own. JSON is YAML."""
    shared = [line for line in BASE.read_text().splitlines() if not line.startswith(("#", "generation_kwargs:"))]
    split = spec.splits[0] if len(spec.splits) == 1 else "test"
    joined = {"test": "+".join(spec.splits)} if len(spec.splits) > 1 else None
    kwargs = {"data_files": spec.data_files, "revision": spec.revision, "split": joined}
    settings = {
        "task": spec.name,
        "dataset_path": spec.dataset,
        "dataset_name": spec.config,
        "dataset_kwargs": {name: value for name, value in kwargs.items() if value},
        "test_split": split,
        "generation_kwargs": asdict(spec.generation),
        "repeats": spec.samples,
    }
    lines = [f"{name}: {json.dumps(value)}" for name, value in settings.items() if value not in (None, {})]
    return "\n".join([*lines, f"process_docs: !function rlfr_mm.tasks.hooks.{spec.name}", *shared]) + "\n"


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m tasks.write_yaml", description=__doc__.split(": ", 1)[1])
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="folder of benchmark folders")
    folder = parser.parse_args(argv).folder
    with one_line_errors():
        specs = registry.include(folder)
    for spec in specs:
        write_whole(folder / f"{spec.name}.yaml", yaml_text(spec))
        print(folder / f"{spec.name}.yaml")
    print(f"RLFR_TASKS={folder} lmms-eval --include_path {folder} --tasks {specs[0].name} ...")


if __name__ == "__main__":
    main()
