"""The methods of an experiment that step_gain.py can measure together: on the same rollouts, with the same field."""

from pathlib import Path
from typing import Any

from score_ranking import GROUP

from rlfr_mm.config import QUICKSTART, RLFRArguments, RunConfig
from rlfr_mm.config_file import build, load_config, require, with_overrides
from rlfr_mm.experiments.grid import ExperimentConfig, cells, read_base


def methods_of(path: Path, condition: str, seed: int | None = None) -> dict[str, RunConfig]:
    """The settings of the methods under one condition, with the experiment's first seed unless another is given.

    ValueError for what cannot be measured, such as methods that would not learn from the same batches.
    """
    config: ExperimentConfig = load_config(ExperimentConfig, path)
    base, seed = read_base(path.parent / config.base), config.seeds[0] if seed is None else seed
    require(condition in config.conditions, f"condition {condition}", f"one of {', '.join(config.conditions)}")
    own = seed == config.seeds[0] or "model.warmup_seed" in config.seeded
    require(own, f"--seed={seed}", f"left out: all seeds of {path.stem} have the same policy")
    require(seed in config.seeds, f"--seed={seed}", f"one of {', '.join(map(str, config.seeds))}")
    found = [cell for cell in cells(config) if (cell.condition, cell.seed) == (condition, seed)]
    methods = {cell.method: build(RunConfig, with_overrides(base, cell.overrides)) for cell in found}
    first, field = next(iter(methods.values())), of_the_field(methods)
    for name, method in methods.items():
        size, group = size_and_group(method)
        require(GROUP % group == 0, f"{name}: train.num_generations={group}", f"a divisor of {GROUP}")
        require(size % group == 0, f"{name}: its {size} rollouts per step", f"a multiple of {group}")
        equal = {key: getattr(method, key) == getattr(first, key) for key in ("data", "rewards")}
        equal["num_generations and the batch size"] = (size, group) == size_and_group(first)
        if arguments(method).uses_field:
            equal |= {key: getattr(method, key) == getattr(field, key) for key in ("flow", "offline", "field")}
        for key, same in equal.items():
            require(same, f"{name}: {key}", "the same for all methods: they learn from the same rollouts and field")
        sources = {"model.name_or_path": method.model.name_or_path, "data.source": method.data.source}
        for key, value in sources.items():
            require(value == QUICKSTART, f"{name}: {key}={value}", f"{QUICKSTART}: only its problems have one solution")
        require(len(method.data.levels) == 1, f"{name}: data.levels={method.data.levels}", "one level")
        own = method.flow_reward.context_shifts
        require(own in (None, [-1]), f"{name}: flow_reward.context_shifts={own}", "[-1], the field's context")
    shifts = field.flow.context_shifts if field.offline else [-1]
    require(shifts == [-1], f"flow.context_shifts={shifts}", "[-1], the previous token")
    return methods


def of_the_field(methods: dict[str, RunConfig]) -> RunConfig:
    """The settings of the field that the methods share: those of the first one that uses it."""
    return next((each for each in methods.values() if arguments(each).uses_field), next(iter(methods.values())))


def arguments(config: RunConfig) -> RLFRArguments:
    """What `train` says about advantages."""
    return RLFRArguments(**{key: value for key, value in config.train.items() if key in RLFRArguments.__annotations__})


def size_and_group(config: RunConfig) -> tuple[int, int]:
    """The number of rollouts that one step learns from, and of those of each problem."""
    train = config.train
    return (
        train["per_device_train_batch_size"] * train.get("gradient_accumulation_steps", 1),
        train["num_generations"],
    )


def drawn_world(config: RunConfig) -> dict[str, Any]:
    """What `Setting.of` asks for: the problems, and which policy, warmed up how far."""
    (level,), data, model = config.data.levels, config.data, config.model
    policy = {"warmup_accuracy": model.warmup_accuracy, "warmup_seed": model.warmup_seed}
    return {"level": level, "operations": data.operations, "max_value": data.max_value, **policy}
