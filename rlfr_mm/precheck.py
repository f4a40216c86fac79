"""What is checked of a run before torch is loaded: files, folders and packages are there, batches divide.

Each function raises a ValueError of one line that names the setting and what would work. The rest of the input, from
the content of the data to the sizes of the policy, is checked by `rlfr_mm.training.run` and, without weights, by
`rlfr_mm.training.check`.
"""

import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rlfr_mm.config import (
    QUICKSTART,
    DataArguments,
    FlowConfig,
    FlowRewardConfig,
    ModelArguments,
    OfflineRunConfig,
    RLFRArguments,
    RunConfig,
    train_settings,
)
from rlfr_mm.config_file import build, check_keys, read_settings, require, within
from rlfr_mm.files import LOCK, check_folder, read_json

HELD_OUT = "held_out/accuracy"  # the name in the metrics, by which the best checkpoint is known
FIELD_CONFIG = "flow_config.json"  # in the folder of a field
COLUMN_ROLES = ("problem", "answer", "images", "completion", "options", "problem_id")  # the keys of data.columns
DATA_FILES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")  # all but the last one also with .gz
WEIGHTS = ("*.safetensors", "*.bin", "pytorch_model_fsdp_0")  # the last one is named by an error of its own
ZERO_STAGES: tuple[Literal["none", "optimizer", "gradients", "weights"], ...]
ZERO_STAGES = ("none", "optimizer", "gradients", "weights")
GPU_PACKAGES = ("vllm", "deepspeed")  # a machine without a GPU has no use for them
EXTRAS = ("wandb", "tensorboard", "trackio")  # loggers that rlfr_mm has an extra for
TRAIN_LIMITS = {
    "max_steps": ">= 1", "num_train_epochs": "> 0", "learning_rate": ">= 0", "weight_decay": ">= 0", "beta": ">= 0",
    "max_grad_norm": ">= 0", "per_device_train_batch_size": ">= 1", "gradient_accumulation_steps": ">= 1",
    "num_iterations": ">= 1", "steps_per_generation": ">= 1", "generation_batch_size": ">= 1", "seed": ">= 0",
    "max_completion_length": ">= 1", "save_steps": "> 0", "logging_steps": "> 0", "save_total_limit": ">= 1",
    "epsilon": ">= 0", "epsilon_high": ">= 0", "top_p": "in (0, 1]", "top_k": ">= 0", "min_p": "in [0, 1]",
    "repetition_penalty": "> 0",
}  # fmt: skip
NO_LIMIT = {"max_steps": ", or -1 to train for num_train_epochs"}
SCALES = (True, False, "group", "batch", "none")  # TRL's scale_rewards
# The packages of the loggers that train.report_to may name; any one of them will do.
LOGGERS = {
    name: (name,) for name in (
        "clearml", "codecarbon", "comet_ml", "dagshub", "dvclive", "mlflow", "neptune", "swanlab", "trackio", "wandb",
    )
} | {"azure_ml": ("azureml",), "flyte": ("flytekit",), "tensorboard": ("tensorboard", "tensorboardX")}  # fmt: skip


def check_paths(config: RunConfig | OfflineRunConfig, weights: bool = True) -> None:
    """ValueError unless the model, the data and the field are where the settings say; hub ids are not looked up.

    With `weights` false, a folder with the model's configuration and processor is enough.
    """
    check_model(config.model, weights)
    sections = {"data": getattr(config, "data", None), "offline.data": config.offline and config.offline.data}
    if isinstance(config, RunConfig):
        sections["evaluation.data"] = config.evaluation and config.evaluation.data
        check_field(config.field)
        if config.offline and (shared := config.offline.shared_dir):
            check_folder(shared, f"offline.shared_dir={shared}")
    for section, data in sections.items():
        if data:
            check_data(data, section)


def check_model(model: ModelArguments, weights: bool) -> None:
    """ValueError if `model.name_or_path` can only be a folder and holds no model, or if a chat template is missing."""
    if (template := model.chat_template) is not None and not Path(template).is_file():
        raise ValueError(f"no file model.chat_template={template}; configs/plain_chat.jinja is an example")
    name = model.name_or_path
    folder = Path(name)
    if name == QUICKSTART or not (folder.exists() or _only_a_path(name)):
        return
    given = f"model.name_or_path={name}"
    require(folder.exists(), given, "an existing folder, or a hub id such as Qwen/Qwen2.5-VL-3B-Instruct")
    require(folder.is_dir(), given, "the folder of the model, not a file")
    if (folder / "adapter_config.json").is_file():
        return  # a LoRA adapter: its base model is found when it is loaded
    if not (folder / "config.json").is_file():
        hint = f"; this is a run folder, its policy is {folder / 'final'}" if (folder / "final").is_dir() else ""
        raise ValueError(f"{given} holds no model: config.json is missing{hint}")
    if weights and not any(match for pattern in WEIGHTS for match in folder.glob(pattern)):
        raise ValueError(f"{given} holds no weights: model.safetensors is missing; without weights only --check works")


def check_field(path: str | None) -> None:
    """ValueError if `field` is neither a file of weights nor a folder that `train_flow` wrote."""
    if path is None or Path(path).is_file() or (Path(path) / FIELD_CONFIG).is_file():
        return
    why = f": {FIELD_CONFIG} is missing" if Path(path).is_dir() else ", which does not exist"
    raise ValueError(f"no flow field in field={path}{why}; rlfr_mm.train_flow makes one")


def check_data(data: DataArguments, section: str = "data") -> None:
    """ValueError if `source` can only be a file or folder and does not exist, or if `media_dir` does not.

    >>> check_data(DataArguments("geo.jsonl"))
    ValueError: data.source=geo.jsonl does not exist; it is a file (json, jsonl, csv, tsv, parquet), a folder, or a ...
    """
    path = Path(data.source)
    untouched = DataArguments()
    for key in ("format", "name", "revision", "media_dir", "columns", "streaming"):
        if data.source == QUICKSTART and (value := getattr(data, key)) != getattr(untouched, key):
            raise ValueError(f"{section}.{key}={value}, but {section}.source is not set: name the data")
    given, kinds = f"{section}.source={data.source}", ", ".join(kind[1:] for kind in DATA_FILES)
    if data.source != QUICKSTART and not path.exists() and (data_kind(path) in DATA_FILES or _only_a_path(data.source)):
        raise ValueError(f"{given} does not exist; it is a file ({kinds}), a folder, or a hub id")
    if path.is_file():
        require(data_kind(path) in DATA_FILES, given, f"a file of one of these kinds: {kinds} (also with .gz)")
        require(not data.streaming, f"{section}.streaming=true", f"left out: {data.source} is on this disk")
    check_keys(data.columns, COLUMN_ROLES, f"{section}.columns.")
    for role, names in data.columns.items():
        single = isinstance(names, str) or role == "images"
        require(single, f"{section}.columns.{role}={names}", "one column; only images can be in several")
    if data.streaming and data.limit is None:
        raise ValueError(
            f"{section}.streaming=true needs {section}.limit=N: every row is checked before the first step"
        )
    if data.media_dir is not None and not Path(data.media_dir).is_dir():
        raise ValueError(f"{section}.media_dir={data.media_dir} is not a folder")


def data_kind(path: Path) -> str:
    """The suffix that tells what a data file is, in lower case and without .gz.

    >>> data_kind(Path("geo.jsonl.gz"))
    '.jsonl'
    """
    return Path(path.name.lower().removesuffix(".gz")).suffix


def _only_a_path(name: str) -> bool:
    """Whether a name cannot be a hub id, which is NAME or OWNER/NAME."""
    return name.startswith((".", "/", "~")) or name.endswith("/") or name.count("/") > 1


def adopt_field(config: RunConfig, given: dict[str, Any]) -> None:
    """Make `config.flow` that of the field folder in `config.field`, so that a run records what it uses.

    ValueError if the settings `given` under `flow` differ from the field's own.
    """
    saved = Path(config.field or "") / FIELD_CONFIG
    if config.field is None or not saved.is_file():
        return
    values = {key: value for key, value in read_json(saved).items() if key != "format_version"}
    own = build(FlowConfig, values | {"random_start": config.flow.random_start}, "flow")
    for key in given:
        ours, theirs = getattr(config.flow, key), getattr(own, key)
        if ours != theirs:
            raise ValueError(
                f"flow.{key}={ours} differs from the field in {config.field}, which was made with {theirs}: "
                f"leave flow.{key} out, or train another field"
            )
    config.flow = own


def check_start(config: RunConfig) -> None:
    """ValueError if a flow field would start from random weights and `flow.random_start` does not ask for it."""
    given = config.field is not None or config.offline is not None
    require(not (given and config.flow.random_start), "flow.random_start=true", "left out with `field` or `offline`")
    if given or not _shaping(config).uses_field:
        return
    if not config.flow.random_start:
        raise ValueError(
            "the flow field has no start: add an `offline` section with expert solutions, name a trained `field`, or "
            "set flow.random_start=true to start it from random weights"
        )
    if config.flow.standardise:
        raise ValueError("flow.standardise=true needs `offline` or `field`, which provide the statistics")


def check_controls(config: RunConfig) -> None:
    """ValueError if a run without a flow reward names a score, a placebo or a baseline of one: it would do nothing."""
    shaping, reward = _shaping(config), config.flow_reward
    if not shaping.uses_field:
        for name in ("score", "shuffle", "token_baseline"):
            value, default = getattr(reward, name), getattr(FlowRewardConfig, name)
            without = f"left out with train.advantage_shaping={shaping.advantage_shaping}, which has no flow reward"
            require(value == default, f"flow_reward.{name}={str(value).lower()}", without)


def _shaping(config: RunConfig) -> RLFRArguments:
    return RLFRArguments(config.train.get("advantage_shaping", RLFRArguments.advantage_shaping))


def check_evaluation(config: RunConfig, sharding: str) -> None:
    """ValueError if accuracy during training cannot be measured, or is needed and is not."""
    train, every = config.train, config.evaluation.steps if config.evaluation else None
    if every and sharding != "none":
        raise ValueError("evaluation.steps: a sharded policy cannot answer during training; leave it out")
    metric = train.get("metric_for_best_model") or HELD_OUT
    require(not every or metric == HELD_OUT, f"train.metric_for_best_model={metric}", f"{HELD_OUT}, or left out")
    if every and train.get("eval_strategy", "no") not in ("no", False):
        raise ValueError("train.eval_strategy and evaluation.steps are both set: remove train.eval_strategy")
    if train.get("load_best_model_at_end") and every is None:
        raise ValueError("train.load_best_model_at_end=true needs evaluation.steps, which says when to measure")
    if train.get("load_best_model_at_end") and train.get("save_strategy") in ("no", False):
        raise ValueError("train.load_best_model_at_end=true needs checkpoints: remove train.save_strategy")


def missing_packages(train: dict[str, Any]) -> dict[str, str]:
    """The packages that settings under `train` need and that are not installed, each with what to do."""
    missing = {}
    if train.get("use_vllm") and not _installed("vllm"):
        missing["vllm"] = "train.use_vllm=true, but vllm is not installed: pip install 'rlfr_mm[vllm]', or set "
        missing["vllm"] += "train.use_vllm=false to generate with transformers"
    if train.get("deepspeed") and not _installed("deepspeed"):
        missing["deepspeed"] = "train.deepspeed is set, but deepspeed is not installed: "
        missing["deepspeed"] += "pip install 'rlfr_mm[deepspeed]', or use FSDP2 (configs/accelerate/fsdp2.yaml)"
    loggers = train.get("report_to") or []
    for logger in [loggers] if isinstance(loggers, str) else loggers:
        packages = LOGGERS.get(logger, ())
        if packages and not any(map(_installed, packages)):
            install = f"pip install 'rlfr_mm[{logger}]'" if logger in EXTRAS else "install it"
            missing[packages[0]] = f"train.report_to={logger}, but {packages[0]} is not installed: {install}, or set "
            missing[packages[0]] += "train.report_to=none; a run writes metrics.jsonl either way"
    return missing


def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


@dataclass(frozen=True)
class Launch:
    """How a run is started: the number of its processes, and what of the policy they share instead of copying it.

    Each kind of sharding includes those before it: ZeRO-1 shards the optimiser, ZeRO-2 also the gradients, and ZeRO-3
    and FSDP also the weights.
    """

    processes: int = 1
    sharding: Literal["none", "optimizer", "gradients", "weights"] = "none"


def planned_launch(train: dict[str, Any], processes: int | None = None, file: str | None = None) -> Launch:
    """The launch that an accelerate configuration `file` describes, or else the launcher's variables and `train`.

    `processes` replaces the number found there. ValueError if the file cannot be read.

    >>> planned_launch({}, file="configs/accelerate/fsdp2.yaml")
    Launch(processes=4, sharding='weights')
    """
    if file is None:
        found = int(os.environ.get("WORLD_SIZE", 1))
        fsdp: Any = train.get("fsdp") or os.environ.get("ACCELERATE_USE_FSDP") == "true"
        reshards = os.environ.get("FSDP_RESHARD_AFTER_FORWARD", "true") != "false" and fsdp != "shard_grad_op"
        stage = _zero_stage(train.get("deepspeed"))
        if os.environ.get("ACCELERATE_USE_DEEPSPEED") == "true":
            stage = int(os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", 2))
    else:
        settings = read_settings(file)
        found = settings.get("num_processes", 1)
        fsdp = settings.get("distributed_type") == "FSDP"
        reshards = settings.get("fsdp_config", {}).get("fsdp_reshard_after_forward", True) not in (
            False,
            "SHARD_GRAD_OP",
        )
        stage = settings.get("deepspeed_config", {}).get("zero_stage", 0)
    sharding = "weights" if fsdp and reshards else "gradients" if fsdp else ZERO_STAGES[stage]
    return Launch(processes or found, sharding)


def check_gpus(train: dict[str, Any], gpus: int) -> None:
    """ValueError if a process without a launcher sees several GPUs: TRL refuses that once the weights are loaded.

    Args:
        gpus: those that are visible, as `torch.cuda.device_count()` counts them.
    """
    launched = "LOCAL_RANK" in os.environ  # accelerate goes by this variable, too
    if gpus > 1 and not (launched or train.get("use_cpu")):
        raise ValueError(
            f"{gpus} GPUs are visible to a single process: train on all of them with `accelerate launch --multi_gpu "
            f"--num_processes {gpus} -m rlfr_mm.train ...` (docs/several_gpus.md), or on one with "
            "`CUDA_VISIBLE_DEVICES=0 python -m rlfr_mm.train ...`"
        )


def _zero_stage(deepspeed: Any) -> int:
    """The ZeRO stage of `train.deepspeed`: DeepSpeed's settings, or the JSON file that holds them."""
    if isinstance(deepspeed, str):
        require(Path(deepspeed).is_file(), f"train.deepspeed={deepspeed}", "an existing file")
        deepspeed = read_json(Path(deepspeed))
    return (deepspeed or {}).get("zero_optimization", {}).get("stage", 0)


def check_train(train: dict[str, Any]) -> None:
    """ValueError if a number of TRL's under `train` is outside of its limits, or a choice is none of its own.

    TRL and transformers take some of these for something else: a `max_steps` of 0 trains for epochs, without a limit.
    """
    for name, limit in TRAIN_LIMITS.items():
        try:
            number = float(train.get(name))  # type: ignore[arg-type] # YAML reads -1e-3 as text
        except (TypeError, ValueError):
            continue  # not set, or of another type, which `RLFRConfig` names
        no_limit = name == "max_steps" and number == -1
        require(no_limit or within(number, limit), f"train.{name}={train[name]}", limit + NO_LIMIT.get(name, ""))
    scale = train.get("scale_rewards", True)
    require(scale in SCALES, f"train.scale_rewards={scale}", f"one of {', '.join(map(str, SCALES))}".lower())


def check_sources(settings: dict[str, Any]) -> None:
    """ValueError if the training data are named and those of another section are left to be the drawn world's.

    Args:
        settings: as the user wrote them, without defaults.
    """
    if (settings.get("data") or {}).get("source", QUICKSTART) == QUICKSTART:
        return
    for section, what in (("offline", "expert solutions"), ("evaluation", "held-out problems")):
        values = settings.get(section)
        if isinstance(values, dict) and "source" not in (values.get("data") or {}):
            raise ValueError(f"{section}.data.source is not set: name the {what}, or leave the section out")


def check_flow_folder(config: OfflineRunConfig) -> None:
    """ValueError if `offline.output_dir` cannot be made, or is a folder of something else than an offline start."""
    if (folder := config.offline.output_dir) is None:
        raise ValueError("offline.output_dir is not set: name a folder for the field")
    if config.offline.shared_dir:
        raise ValueError("offline.shared_dir works in rlfr_mm.train only: set `field` in the runs that use this field")
    check_folder(folder, f"offline.output_dir={folder}")
    names = {path.name for path in Path(folder).glob("*")} - {LOCK}
    if names and not names & {FIELD_CONFIG, "settings.json"}:
        raise ValueError(f"offline.output_dir={folder} is not empty and holds no field: choose another folder")


def check_batches(train: dict[str, Any], processes: int) -> None:
    """ValueError if the rollouts of a batch do not divide into micro-batches of all processes and into groups."""
    defaults = train_settings() or {}

    def setting(name: str) -> Any:
        return train.get(name, defaults.get(name))

    names = ("per_device_train_batch_size", "gradient_accumulation_steps", "num_generations")
    per_device, accumulation, group = map(setting, names)
    batch, steps = setting("generation_batch_size"), setting("steps_per_generation")
    if not all(isinstance(value, int) for value in (per_device, accumulation, group, batch or 0, steps or 0)):
        return  # of another type, which `build` names
    require(group >= 2, f"train.num_generations={group}", ">= 2: completions to the same prompt are compared")
    if batch and steps:
        raise ValueError("train.generation_batch_size and train.steps_per_generation are both set: remove one of them")
    at_once = per_device * processes
    made = f"train.per_device_train_batch_size={per_device} x {processes} process{'es' * (processes > 1)}"
    if batch:
        require(
            batch % max(at_once, 1) == 0, f"train.generation_batch_size={batch}", f"a multiple of {at_once} ({made})"
        )
        made = f"train.generation_batch_size={batch}"
    else:
        batch = at_once * (steps or accumulation)
        made += f" x {steps or accumulation} steps"
    fitting = [str(size) for size in range(2, batch + 1) if batch % size == 0]
    nearest = sorted(sorted(fitting, key=lambda size: abs(int(size) - group))[:4], key=int)
    wanted = f"a divisor of the {batch} rollouts of a batch ({made}), such as {', '.join(nearest)}"
    require(batch % group == 0, f"train.num_generations={group}", wanted if nearest else f"at most {batch} ({made})")
