"""Every setting of a run: its default, its help and its allowed values, declared together.

Each dataclass is a section of a YAML file, which lists only what differs from the defaults (`rlfr_mm.config_file` reads
it). The sections of the flow are in `rlfr_mm.flow_config`. The defaults of `train` are TRL's, except for what
`RLFRArguments` adds or `RLFRConfig` changes.

This module loads neither torch nor TRL, so that `--help` is quick. `RLFRConfig`, which extends TRL's `GRPOConfig`, is
created when it is first imported.
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import cache
from typing import Any, Literal

from rlfr_mm.config_file import Setting, check_keys, check_options, option, require, settings
from rlfr_mm.flow_config import FlowConfig, FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.trl_settings import trl_settings

QUICKSTART = "quickstart"  # names the embedded policy or dataset of rlfr_mm.quickstart
SHAPED_LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo")  # TRL's losses that accept one advantage per token
BF16_WITHOUT_GPU = "false unless a GPU supports it; to train on a CPU, set train.use_cpu=true and train.bf16=false"
TRL_DEFAULTS = {"max_completion_length": 1024, "logging_steps": 1}  # ours, where they are not TRL's
# The settings of TRL that runs set most: what `--help` and the page of settings say of them.
OFTEN_SET = {
    "output_dir": "the run folder; null: runs/ and the name of the YAML file",
    "max_steps": "stop after this many policy steps; -1: after num_train_epochs",
    "num_train_epochs": "passes over the problems",
    "per_device_train_batch_size": "rollouts that a process trains on at once",
    "gradient_accumulation_steps": "such batches per policy step of a process",
    "num_generations": "rollouts per problem, which are compared with each other",
    "max_completion_length": "rollouts are truncated to this many tokens",
    "temperature": "sampling temperature of the rollouts",
    "learning_rate": "peak learning rate of the policy",
    "lr_scheduler_type": "how the learning rate changes, such as constant or cosine",
    "beta": "weight of the KL penalty; above 0 a reference policy is loaded",
    "bf16": "compute in bfloat16, with weights in model.dtype; null: true unless fp16 is set; false on a CPU",
    "gradient_checkpointing": "compute activations again in the backward pass, which saves memory",
    "use_cpu": "train on the CPU",
    "use_vllm": "sample with vLLM (docs/vllm.md)",
    "vllm_mode": "colocate: vLLM shares the GPUs of training; server: it has its own",
    "vllm_gpu_memory_utilization": "share of a GPU that a colocated vLLM takes",
    "save_steps": "policy steps between checkpoints",
    "save_total_limit": "checkpoints that are kept; null: all",
    "logging_steps": "policy steps per row of metrics.jsonl",
    "report_to": "trackers, such as wandb, tensorboard or trackio",
    "seed": "seed of the order of problems and of the sampling",
}


@dataclass
class ModelArguments:
    """The policy."""

    name_or_path: str = option(QUICKSTART, help="hub id, checkpoint folder, or 'quickstart' for the embedded policy")
    revision: str | None = option(None, help="hub revision to pin")
    dtype: Literal["float32", "bfloat16", "float16"] = option(
        "float32", help="dtype of the weights; small updates are lost in bfloat16 weights: set train.bf16 instead"
    )
    attn_implementation: str | None = option(None, help="attention kernel, such as sdpa or flash_attention_2")
    freeze_vision: bool = option(True, help="do not train the vision tower")
    lora: dict[str, Any] | None = option(None, help="arguments of peft.LoraConfig; null trains all weights")
    chat_template: str | None = option(None, help="file with a Jinja chat template, for a model that has none")
    trust_remote_code: bool = option(False, help="run code from the model's repository")
    warmup_accuracy: float = option(
        0.5,
        must="in (0, 1)",
        help="accuracy (temperature 1) at which the warm-up of the embedded policy ends; the one for 0.5 is shipped",
    )
    warmup_seed: int = option(0, must=">= 0", help="seed of the embedded policy: its first weights and its warm-up")

    def __post_init__(self) -> None:
        check_options(self, "model")


@dataclass
class DataArguments:
    """The dataset, and how its rows become prompts."""

    source: str = option(QUICKSTART, help="file (json, jsonl, csv, parquet, ...), folder, hub id, or 'quickstart'")
    name: str | None = option(None, help="configuration of a hub dataset")
    split: str = option("train", help="split of a hub dataset; train or test of the quickstart world")
    revision: str | None = option(None, help="hub revision to pin")
    streaming: bool = option(False, help="download only the first `limit` rows of a hub dataset, not all of its files")
    format: Literal["auto", "trl", "openr1_math", "mmpr"] = option(
        "auto", help="layout of the rows (docs/data.md); openr1_math and mmpr hold expert solutions"
    )
    columns: dict[str, str | list[str]] = option(
        make=dict, help="columns under other names, such as {problem: question, answer: gold, images: [pic_1, pic_2]}"
    )
    media_dir: str | None = option(None, help="folder for relative image paths; null: the folder of the data file")
    allow_outside_media_dir: bool = option(False, help="let records name image files outside of media_dir")
    skip_bad_records: int = option(0, must=">= 0", help="leave out up to N records that cannot be used, and list them")
    instruction: Literal["think_answer", "boxed", "none"] = option(
        "think_answer", help="instruction after each problem: <think>/<answer> tags, a final \\boxed{}, or nothing"
    )
    min_pixels: int | None = option(None, must=">= 1", help="smallest image area in pixels; null: the processor's")
    max_pixels: int | None = option(None, must=">= 1", help="largest image area in pixels; null: the processor's")
    max_prompt_tokens: int | None = option(3000, must=">= 1", help="longest prompt, image tokens included")
    overlong: Literal["error", "drop"] = option("error", help="what to do with prompts over max_prompt_tokens")
    limit: int | None = option(None, must=">= 1", help="use the first N rows; null: all (1024 of the quickstart world)")
    levels: list[int] = option(make=lambda: [2], help="counts per problem of the quickstart world: 2, 3 or 4")
    operations: int | None = option(
        None, must="in [1, 6]", help="operations per problem of the quickstart world; null: one less than counts"
    )
    max_value: int = option(12, must="in [9, 99]", help="largest answer of the quickstart world")
    seed: int = option(0, help="seed of the quickstart world")
    keep: list[str] = option(make=list, help="further columns of the records, for reward functions")

    def __post_init__(self) -> None:
        check_options(self, "data")
        fewest = max(self.levels) - 1
        enough = self.operations is None or self.operations >= fewest
        require(
            enough, f"data.operations={self.operations}", f">= {fewest}, which combine {fewest + 1} counts, or null"
        )
        if self.min_pixels and self.max_pixels:
            require(self.min_pixels <= self.max_pixels, f"data.min_pixels={self.min_pixels}", "<= data.max_pixels")


@dataclass
class OfflineConfig:
    """The offline start: the field learns the latents of expert solutions while the policy is frozen."""

    data: DataArguments = option(make=DataArguments, help="expert rows: prompt, images, response")
    num_train_epochs: float = option(2.0, must="> 0", help="passes over the data")
    max_steps: int = option(-1, help="stop after this many steps; -1: after num_train_epochs")
    batch_size: int = option(
        8, must=">= 1", help="sequences per step, over all processes; more processes than that are of no use"
    )
    max_response_tokens: int = option(4096, must=">= 1", help="responses are truncated to this many tokens")
    cache_latents: bool = option(
        False, help="keep latents on disk for later epochs, until the start has ended; their size is announced"
    )
    learning_rate: float = option(1e-4, must="> 0", help="peak learning rate of AdamW, cosine schedule")
    warmup_ratio: float = option(0.1, must="in [0, 1)", help="share of the steps with a rising learning rate")
    weight_decay: float = option(0.01, help="AdamW's weight decay of matrices, not of norms and biases")
    max_grad_norm: float = option(1.0, must="> 0", help="gradients are clipped to this norm")
    save_steps: int = option(500, must=">= 1", help="steps between checkpoints")
    max_bad_steps: int = option(3, must=">= 1", help="stop after this many steps in a row that were not finite")
    seed: int = option(0, help="seed of the weights, the order of rows, the times and the noise")
    output_dir: str | None = option(None, help="where train_flow writes; inside a training run it is RUN/flow")
    shared_dir: str | None = option(
        None,
        help="training runs with the same policy, expert rows and settings share one field, which is kept in this "
        "folder; experiments set it",
    )

    def __post_init__(self) -> None:
        check_options(self, "offline")
        require(self.max_steps == -1 or self.max_steps >= 1, f"offline.max_steps={self.max_steps}", ">= 1, or -1")


@dataclass
class EvaluationConfig:
    """Accuracy on held-out problems before and after training, graded as the accuracy reward grades."""

    data: DataArguments = option(make=lambda: DataArguments(split="test"), help="held-out problems")
    samples: int = option(1, must="in [1, 9]", help="answers per problem")
    steps: int | None = option(
        None,
        must=">= 1",
        help="measure every N policy steps, too, and keep the best checkpoint; train.load_best_model_at_end=true then "
        "makes it final/",
    )
    batch_size: int = option(64, must=">= 1", help="problems answered at once")
    temperature: float = option(1.0, must=">= 0", help="sampling temperature; 0 decodes greedily")
    seed: int = option(0, help="seed of the sampling")

    def __post_init__(self) -> None:
        check_options(self, "evaluation")


@dataclass
class BenchmarkConfig:
    """Benchmarks that all processes answer during training: RUN/benchmarks/step-N is a run folder of `eval.run`."""

    eval_tasks: list[str] = option(make=list, help="tasks and groups; python -m rlfr_mm.tasks.list prints them")
    steps: int | None = option(None, must=">= 1", help="evaluate every N steps and after the last; null: only the last")
    limit: int | None = option(None, must=">= 1", help="the first N problems of each task; null: all")
    samples: int | None = option(None, must=">= 1", help="responses per problem; null: the task's number")
    data_root: str | None = option(None, help="local mirror of the dataset repositories; null: the hub")
    allow_changed_data: bool = option(False, help="evaluate partial or changed data, and mark the results as such")
    batch_size: int = option(64, must=">= 1", help="requests that a process answers at once")

    def __post_init__(self) -> None:
        check_options(self, "benchmarks")
        require(len(self.eval_tasks) > 0, "benchmarks.eval_tasks=[]", "at least one task")


@dataclass
class RLFRArguments:
    """The settings that RLFR adds to TRL's GRPOConfig."""

    advantage_shaping: Literal["flow", "redistribute", "scale", "entropy", "none"] = option(
        "flow",
        help="what is added to GRPO's advantages: the flow reward, an entropy term, or nothing (RLVR). redistribute: "
        "the flow reward takes their place; scale: it moves weight between the tokens of a rollout, never a sign",
    )
    entropy_alpha: float = option(0.4, help="entropy shaping adds min(alpha * H, |A| / kappa) (arXiv 2506.14758)")
    entropy_kappa: float = option(2.0, must="> 0", help="kappa in the entropy term min(alpha * H, |A| / kappa)")
    negative_weight: float = option(
        1.0, must="in [0, 10]", help="factor of GRPO's negative advantages, before they are shaped"
    )
    scale_average: Literal["token", "entropy"] = option(
        "token",
        help="what the weights of scale are one on average over: the tokens of a rollout, or these weighted by their "
        "entropy, so that praise and blame are not moved between the tokens where the policy chooses and the others",
    )
    format_reward_weight: float = option(
        0.5, help="weight of the <think>/<answer> format reward; accuracy has weight 1; 0 removes the format reward"
    )
    rollouts_per_step: int = option(64, must=">= 0", help="rollouts recorded token by token per step")
    max_bad_steps: int = option(
        3, must=">= 1", help="stop after this many steps in a row whose loss, gradients or latents were not finite"
    )

    @property
    def uses_field(self) -> bool:
        """Whether this shaping needs a flow field."""
        return self.advantage_shaping not in ("entropy", "none")

    def __post_init__(self) -> None:
        check_options(self, "train", RLFRArguments)


def _under_train(section: str) -> Iterator[Setting]:
    """The settings that RLFR adds to TRL's, and those of TRL that are set most, with the defaults that hold here."""
    yield from settings(RLFRArguments, section)
    theirs, here = trl_settings() or {}, train_settings() or {}
    for name, meaning in OFTEN_SET.items() if here else []:
        differs = f"; TRL's own default is {theirs[name]}" if name in TRL_DEFAULTS else ""
        yield Setting(f"{section}.{name}", here[name], meaning + differs, "")


@dataclass
class RunConfig:
    """The settings of one training run: what a YAML file under configs/rl holds."""

    model: ModelArguments = option(make=ModelArguments, help="the policy")
    data: DataArguments = option(make=DataArguments, help="training problems")
    flow: FlowConfig = option(make=FlowConfig, help="the field, if this run creates it")
    field: str | None = option(None, help="field to start from, instead of `offline`: a folder or a flow_model.bin")
    offline: OfflineConfig | None = option(None, help="train the field on expert solutions first, in this run")
    flow_reward: FlowRewardConfig = option(make=FlowRewardConfig, help="from deviations to rewards")
    update: OnlineUpdateConfig = option(make=OnlineUpdateConfig, help="the field's online updates")
    rewards: list[Any] | None = option(
        None,
        help="accuracy, format, MODULE:FUNCTION, or {function: NAME, weight: NUMBER} (docs/rewards.md); "
        "null: accuracy, and format with train.format_reward_weight",
    )
    evaluation: EvaluationConfig | None = option(None, help="measure held-out accuracy before and after training")
    benchmarks: BenchmarkConfig | None = option(None, help="evaluate benchmark tasks during training")
    train: dict[str, Any] = option(
        make=dict,
        help="every setting of TRL's GRPOConfig; here are those that RLFR adds, then those of TRL that are set most:",
        more=_under_train,
    )

    def __post_init__(self) -> None:
        if self.field is not None and self.offline is not None:
            raise ValueError("field and offline are both set: remove one; a run starts from a field or trains one")
        if "reward_weights" in self.train:
            raise ValueError("train.reward_weights cannot be set: set train.format_reward_weight, or `rewards`")
        check_keys(self.train, train_settings() or self.train, "train.")
        held_out = self.evaluation.data if self.evaluation else None
        drawn_from = ("source", "name", "split", "levels", "operations", "max_value", "seed")
        if held_out and all(getattr(held_out, key) == getattr(self.data, key) for key in drawn_from):
            raise ValueError("evaluation.data is the training data: name another source or split to hold out")
        for section, data in (("offline", self.offline and self.offline.data), ("evaluation", held_out)):
            for limit in ("min_pixels", "max_pixels"):
                own = data and getattr(data, limit)
                require(
                    own in (None, getattr(self.data, limit)),
                    f"{section}.data.{limit}={own}",
                    f"data.{limit}, or left out: a run has one image processor; train_flow has its own",
                )


@dataclass
class OfflineRunConfig:
    """The settings of `rlfr_mm.train_flow`, the offline start by itself: what a YAML file under configs/flow holds."""

    model: ModelArguments = option(make=ModelArguments, help="the frozen policy")
    flow: FlowConfig = option(make=FlowConfig, help="the field")
    offline: OfflineConfig = option(make=OfflineConfig, help="expert data and optimisation")


@cache
def train_settings() -> dict[str, Any] | None:
    """All settings under `train` with their defaults, None for a computed one; None if TRL's sources are not found."""
    own = {entry.name: entry.default for entry in fields(RLFRArguments)}
    return None if (theirs := trl_settings()) is None else theirs | TRL_DEFAULTS | own


def steps_per_batch(config: Any) -> float:
    """The policy steps that one batch of rollouts serves; less than 1 if a step needs several batches."""
    return config.steps_per_generation * config.num_iterations / config.gradient_accumulation_steps


def _check_compatible(config: Any) -> None:
    """ValueError if TRL's settings rule out sampling, per-token advantages, or exact resumption."""
    if config.advantage_shaping != "none":
        shaping = f"with train.advantage_shaping={config.advantage_shaping}"
        require(
            config.loss_type in SHAPED_LOSS_TYPES,
            f"train.loss_type={config.loss_type}",
            f"one of {', '.join(SHAPED_LOSS_TYPES)} {shaping}: other losses need one advantage per sequence",
        )
        level, threshold = config.importance_sampling_level, config.off_policy_mask_threshold
        require(level == "token", f"train.importance_sampling_level={level}", f"token {shaping}")
        require(threshold is None, f"train.off_policy_mask_threshold={threshold}", f"null {shaping}")
    require(
        config.negative_weight == 1 or config.advantage_shaping != "redistribute",
        f"train.negative_weight={config.negative_weight}",
        "1 with train.advantage_shaping=redistribute, which does not use GRPO's advantages",
    )
    require(
        config.scale_average == "token" or config.advantage_shaping == "scale",
        f"train.scale_average={config.scale_average}",
        f"token with train.advantage_shaping={config.advantage_shaping}: only scale has weights",
    )
    require(config.temperature > 0, f"train.temperature={config.temperature}", "> 0: rollouts are sampled")
    steps = steps_per_batch(config)
    if config.save_strategy == "steps":
        require(
            config.save_steps >= 1 and config.save_steps % steps == 0,
            f"train.save_steps={config.save_steps}",
            f"a multiple of {steps:g}, the policy steps per batch of rollouts: a run resumes between two batches",
        )


def __getattr__(name: str) -> Any:
    """Create RLFRConfig on its first use, because it needs TRL and with it torch."""
    if name != "RLFRConfig":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trl import GRPOConfig

    @dataclass
    class RLFRConfig(RLFRArguments, GRPOConfig):
        """GRPOConfig plus `RLFRArguments`. TRL's `beta` is the KL weight; the flow reward's weight is `flow_coef`."""

        max_completion_length: int | None = TRL_DEFAULTS["max_completion_length"]  # as in the released code
        logging_steps: float = TRL_DEFAULTS["logging_steps"]

        def __post_init__(self) -> None:
            RLFRArguments.__post_init__(self)
            with warnings.catch_warnings():
                # TRL's default for gradient_checkpointing is under the name that transformers 5.23 deprecates.
                warnings.filterwarnings("ignore", "`gradient_checkpointing", FutureWarning)
                try:
                    GRPOConfig.__post_init__(self)
                except ValueError as error:
                    require("bf16/gpu" not in str(error), f"train.bf16={self.bf16}", BF16_WITHOUT_GPU)
                    raise
            _check_compatible(self)

    RLFRConfig.__qualname__ = name  # transformers pickles it; checkpoints.py removes that file again
    globals()[name] = RLFRConfig
    return RLFRConfig
