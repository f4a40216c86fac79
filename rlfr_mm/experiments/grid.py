"""The cells of an experiment: methods x seeds under one or several conditions, each cell a normal training run."""

import itertools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import as_dict, build, read_settings, with_overrides
from rlfr_mm.precheck import adopt_field

SWEEP = "values"  # {values: [a, b]} in place of the value of a setting: one variant of the method for each value


@dataclass
class ExperimentConfig:
    """A YAML file under configs/experiments. Settings are written as in a training command: section.key."""

    base: str = field(default="", metadata={"help": "training YAML that all cells start from, relative to this file"})
    settings: dict[str, Any] = field(default_factory=dict, metadata={"help": "settings of all cells"})
    conditions: dict[str, dict[str, Any]] = field(
        default_factory=lambda: {"base": {}},
        metadata={"help": "maps names to settings; every method runs under each condition and is compared within it"},
    )
    methods: dict[str, dict[str, Any]] = field(
        default_factory=dict,
        metadata={
            "help": "maps names to settings; {values: [...]} as a setting makes one variant of the method per value"
        },
    )
    seeds: list[int] = field(default_factory=list, metadata={"help": "values of the settings under `seeded`"})
    seeded: list[str] = field(
        default_factory=lambda: ["train.seed"],
        metadata={
            "help": "settings that take the values of `seeds`; with model.warmup_seed and offline.seed, the embedded "
            "policy and the field vary too, and the results hold for more than one policy"
        },
    )
    samples: int = field(default=4, metadata={"help": "answers per held-out problem, before and after training"})
    compare_to: list[str] = field(
        default_factory=lambda: ["rlvr"], metadata={"help": "methods that all others are compared with"}
    )
    target_accuracy: float | None = field(
        default=None,
        metadata={"help": "also compare the number of steps until training rollouts reach this accuracy; null: do not"},
    )
    output_dir: str | None = field(default=None, metadata={"help": "folder for the runs; null: runs/experiments/NAME"})
    results_dir: str | None = field(
        default=None, metadata={"help": "folder for the results; null: docs/results/experiments/NAME"}
    )

    def __post_init__(self) -> None:
        for name in ("base", "methods", "seeds", "conditions", "compare_to"):
            if not getattr(self, name):
                raise ValueError(
                    f"{name} is missing or empty: an experiment needs a base YAML, methods, seeds, a condition and a "
                    "method that others are compared with"
                )
        if "train.seed" not in self.seeded:
            raise ValueError(f"seeded={self.seeded} must name train.seed")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds} lists a seed twice; every seed must be different")
        made = [name for method, given in self.methods.items() for name, _ in _variants(method, given)]
        if not set(self.compare_to) <= set(made):
            raise ValueError(f"compare_to={self.compare_to} must name methods: {', '.join(made)}")
        if len(set(self.compare_to)) < len(self.compare_to):
            raise ValueError(f"compare_to={self.compare_to} names a method twice, and p would be corrected for both")


@dataclass(frozen=True)
class Cell:
    """One training run of an experiment, and the settings that it changes in the base."""

    condition: str
    method: str
    seed: int
    settings: dict[str, Any]

    @property
    def key(self) -> tuple[str, str, int]:
        return self.condition, self.method, self.seed

    @property
    def name(self) -> str:
        """Path of its run folder under the folder of the experiment."""
        return f"{self.condition}/{self.method.replace(' ', '_')}/seed{self.seed}"

    @property
    def overrides(self) -> list[str]:
        """The settings as arguments of the training command."""
        return [f"{key}={json.dumps(value)}" for key, value in self.settings.items()]


def cells(config: ExperimentConfig) -> list[Cell]:
    """All cells, seed by seed, so that an experiment that is cut short has compared all methods on some seeds."""

    sampled = {"evaluation.samples": config.samples}

    def seeded(seed: int) -> dict[str, Any]:
        return dict.fromkeys(config.seeded, seed)

    made = [
        Cell(condition, name, seed, {**sampled, **config.settings, **shared, **settings, **seeded(seed)})
        for seed in config.seeds
        for condition, shared in config.conditions.items()
        for method, given in config.methods.items()
        for name, settings in _variants(method, given)
    ]
    names = [cell.name for cell in made]
    if len(set(names)) < len(names):
        raise ValueError(f"two cells are called {min(n for n in names if names.count(n) > 1)}: rename a method")
    return made


def resolved(cell: Cell, base: dict[str, Any]) -> dict[str, Any]:
    """All settings of the cell's run except its run folder, given the settings of the base."""
    config = build(RunConfig, with_overrides(base, cell.overrides))
    adopt_field(config, {})  # as a run does
    run = as_dict(config)
    run["train"].pop("output_dir", None)
    return run


def opening_comment(path: Path) -> str:
    """The comment that a YAML file opens with, which says why the file exists."""
    lines = itertools.takewhile(lambda line: line.startswith("#"), path.read_text().splitlines())
    return "\n".join(line.removeprefix("#").strip() for line in lines)


def read_base(path: Path) -> dict[str, Any]:
    """The settings of the base, on top of those of its own base."""
    if not path.is_file():
        raise ValueError(f"base: no configuration file {path}; the path is relative to the experiment's YAML")
    return read_settings(path)


def _variants(method: str, settings: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """The method itself, or a variant of it for each combination of its swept values."""
    swept = {key: value[SWEEP] for key, value in settings.items() if isinstance(value, dict) and set(value) == {SWEEP}}
    for values in itertools.product(*swept.values()):
        chosen = dict(zip(swept, values, strict=True))
        labels = [f"{key.rpartition('.')[2]}={_label(value)}" for key, value in chosen.items()]
        yield " ".join([method, *labels]), {**settings, **chosen}


def _label(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(_label, value))
    return value if isinstance(value, str) else json.dumps(value)
