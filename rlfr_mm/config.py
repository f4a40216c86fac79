"""Every setting of a run: one dataclass field = default + help + check.

Flow settings default to the paper's (arXiv 2510.10201), those of `train` to TRL's, but for what `RLFRArguments` adds.

A YAML file has one section per dataclass and lists only what differs; `rlfr_mm.config_file` reads it. This module
loads no torch, so that `--help` is quick; `RLFRConfig`, which extends TRL's `GRPOConfig`, is made on first use.
"""

from dataclasses import MISSING, dataclass, field
from typing import Any, Literal

QUICKSTART = "quickstart"  # as a policy or a dataset: the embedded default of rlfr_mm.quickstart


def _option(default: Any = MISSING, *, help: str, make: Any = MISSING, more: type | None = None) -> Any:
    """A dataclass field with its help text; `make` builds a default that must not be shared, `more` has more help."""
    metadata = {"help": help, "more": more}
    if make is not MISSING:
        return field(default_factory=make, metadata=metadata)
    return field(default=default, metadata=metadata)


def _check(ok: bool, given: str, wanted: str) -> None:
    if not ok:
        raise ValueError(f"{given} must be {wanted}")


@dataclass
class ModelArguments:
    """The policy."""

    name_or_path: str = _option(QUICKSTART, help="hub id, checkpoint folder, or 'quickstart' for the embedded policy")
    revision: str | None = _option(None, help="hub revision to pin")
    dtype: Literal["float32", "bfloat16", "float16"] = _option(
        "float32", help="of the weights; train.bf16 computes in bfloat16, but weights in it would lose small updates"
    )
    attn_implementation: str | None = _option(None, help="attention kernel, e.g. sdpa or flash_attention_2")
    freeze_vision: bool = _option(True, help="keep the vision tower as it is")
    lora: dict[str, Any] | None = _option(None, help="arguments of peft.LoraConfig; None trains all weights")
    chat_template: str | None = _option(
        None, help="file with a Jinja chat template, for a model that comes without one"
    )
    trust_remote_code: bool = _option(False, help="run code from the model's repository")
    warmup_accuracy: float = _option(
        0.5, help="of the embedded policy: its warm-up ends at this accuracy, sampled at temperature 1"
    )

    def __post_init__(self) -> None:
        _check(0 < self.warmup_accuracy < 1, f"model.warmup_accuracy={self.warmup_accuracy}", "in (0, 1)")


@dataclass
class DataArguments:
    """Where rows come from, and how they become prompts."""

    source: str = _option(QUICKSTART, help="file (json, jsonl, parquet), folder, hub id, or 'quickstart'")
    name: str | None = _option(None, help="configuration of a hub dataset")
    split: str = _option("train", help="split of a hub dataset; train or test of the quickstart world")
    revision: str | None = _option(None, help="hub revision to pin")
    format: Literal["auto", "trl", "mm_eureka", "openr1_math", "mmpr"] = _option(
        "auto", help="columns of the rows (docs/data.md): trl, mm_eureka, or expert data openr1_math, mmpr"
    )
    media_dir: str | None = _option(None, help="folder that relative image paths start from; default: the file's own")
    instruction: Literal["think_answer", "boxed", "none"] = _option(
        "think_answer",
        help="what follows a problem: <think>/<answer> tags, a final \\boxed{}, or nothing; quickstart needs nothing",
    )
    min_pixels: int | None = _option(None, help="smallest image area in pixels; None: the processor's")
    max_pixels: int | None = _option(None, help="largest image area in pixels; None: the processor's")
    max_prompt_tokens: int | None = _option(3000, help="longest prompt, image tokens included; None: no limit")
    overlong: Literal["error", "drop"] = _option("error", help="what to do with a prompt over max_prompt_tokens")
    limit: int | None = _option(None, help="use the first N rows; the quickstart world draws 1024 by default")
    levels: list[int] = _option(make=lambda: [2], help="difficulty levels of the quickstart world")
    seed: int = _option(0, help="seed of the quickstart world")

    def __post_init__(self) -> None:
        for name in ("min_pixels", "max_pixels", "max_prompt_tokens", "limit"):
            value = getattr(self, name)
            _check(value is None or value >= 1, f"data.{name}={value}", ">= 1, or null for none")
        if self.min_pixels and self.max_pixels:
            _check(self.min_pixels <= self.max_pixels, f"data.min_pixels={self.min_pixels}", "<= data.max_pixels")


@dataclass
class FlowConfig:
    """The flow field: its network, the latents it models and how it is trained. A checkpoint carries it."""

    flow_layers: list[float] = _option(make=lambda: [0.25, 0.5, 0.75], help="depth fractions of the latents' layers")
    context_shifts: list[int] = _option(
        make=lambda: [1], help="position of the context minus the target's: 1 following token, -1 previous, 0 itself"
    )
    num_blocks: int = _option(4, help="residual blocks: 4 for policies of 1.5B and 3B, 6 for 7B and 8B")
    width: int | None = _option(None, help="width of the network; None: the policy's hidden size")
    standardise: bool = _option(False, help="standardise latents per layer and channel with recorded statistics")
    time_mean: float = _option(0.0, help="training times are sigmoid(N(time_mean, time_std))")
    time_std: float = _option(1.0, help="see time_mean")
    batch_multiplier: int = _option(4, help="fresh (time, noise) draws per latent and step; 2 for the 7B text models")
    hidden_size: int | None = _option(None, help="of the policy; filled in from it")
    num_policy_layers: int | None = _option(None, help="decoder layers of the policy; filled in from it")
    rms_norm_eps: float | None = _option(None, help="of the policy; filled in from it")

    def __post_init__(self) -> None:
        _check(len(self.flow_layers) > 0, "flow.flow_layers=[]", "at least one depth fraction")
        for fraction in self.flow_layers:
            _check(0 <= fraction <= 1, f"flow.flow_layers contains {fraction}, which", "a depth fraction in [0, 1]")
        _check(len(self.context_shifts) > 0, "flow.context_shifts=[]", "at least one of -1, 0, 1")
        for shift in self.context_shifts:
            _check(shift in (-1, 0, 1), f"flow.context_shifts contains {shift}, which", "-1, 0 or 1")
        _check(self.num_blocks >= 1, f"flow.num_blocks={self.num_blocks}", ">= 1")
        _check(self.time_std > 0, f"flow.time_std={self.time_std}", "> 0")
        _check(self.batch_multiplier >= 1, f"flow.batch_multiplier={self.batch_multiplier}", ">= 1")


@dataclass
class FlowRewardConfig:
    """From velocity deviations to a reward per token, in this order (paper, section 4).

    The paper's reward is made of the deviation; the other scores and what is marked as a control are there to find out
    what the deviation is worth. Whatever the score, the field runs and the same tokens are scored.
    """

    score: Literal["deviation", "residual", "log_ratio", "logprob", "majority", "departure"] = _option(
        "deviation",
        help="what a token is punished for: its velocity deviation; the residual of that after a linear fit on its "
        "log-probability; the deviation from the field minus that from a second field, which learns the rejected "
        "rollouts; minus its log-probability (control); the share of its group with another answer (control); being "
        "the first to leave the row's expert solution (control: what any dense reward could bring at most)",
    )
    max_probability: float | None = _option(
        None, help="score only tokens to which the policy gave at most this probability; None: all"
    )
    times: list[float] = _option(make=lambda: [0.8], help="times at which the deviation is measured")
    debias: bool = _option(True, help="weight each time's deviation by t / (1 - t)")
    context_shifts: list[int] | None = _option(None, help="contexts to score with; None: those the field was made for")
    normalisation: Literal["sequence", "group", "batch", "none"] = _option(
        "sequence", help="the tokens over which deviations are normalised"
    )
    scale: Literal["minmax", "zscore"] = _option("minmax", help="min-max to `range`, or zero mean and unit deviation")
    range: list[float] = _option(make=lambda: [-1.0, 1.0], help="[low, high] of min-max")
    power: float | None = _option(None, help="exponent applied to the magnitude; None: off")
    threshold: float | None = _option(0.6, help="keep only tokens of larger magnitude; None: keep all")
    topk: int | None = _option(15, help="keep the k tokens of largest magnitude in a sequence; None: keep all")
    topk_sides: Literal["magnitude", "both"] = _option(
        "magnitude", help="'both': floor(k/2) tokens at each end of the range, where at least k tokens survived"
    )
    shuffle: Literal["none", "sequence", "group"] = _option(
        "none", help="placebo: hand out the same rewards to other tokens of the sequence, or of the group, at random"
    )
    flow_coef: float = _option(0.01, help="the reward is -flow_coef times the normalised deviation (the paper's beta)")
    gamma: float = _option(1.0, help="discount of the reward-to-go; 0 credits each token with its own reward only")
    centre: bool = _option(False, help="subtract the group's mean reward-to-go, so that the reward has no net push")
    groups: Literal["all", "unanimous"] = _option(
        "all", help="which groups the reward reaches; unanimous: those whose outcome rewards are all equal"
    )
    scale_by_outcome: bool = _option(False, help="multiply what is added by the magnitude of the outcome's advantage")

    @property
    def needs_logps(self) -> bool:
        """Whether the reward is made of log-probabilities, so that the pass for latents runs the whole policy."""
        return self.score in ("residual", "logprob") or self.max_probability is not None

    def __post_init__(self) -> None:
        _check(len(self.times) > 0, "flow_reward.times=[]", "at least one time in (0, 1)")
        for t in self.times:
            _check(0 < t < 1, f"flow_reward.times contains {t}, which", "in (0, 1)")
        if self.context_shifts is not None:
            _check(
                len(self.context_shifts) > 0 and set(self.context_shifts) <= {-1, 0, 1},
                f"flow_reward.context_shifts={self.context_shifts}",
                "a list of -1, 0, 1, or null",
            )
        _check(
            len(self.range) == 2 and self.range[0] < self.range[1],
            f"flow_reward.range={self.range}",
            "[low, high] with low < high",
        )
        _check(self.power is None or self.power > 0, f"flow_reward.power={self.power}", "> 0, or null")
        _check(
            self.threshold is None or self.threshold >= 0, f"flow_reward.threshold={self.threshold}", ">= 0, or null"
        )
        _check(
            self.topk is None or self.topk >= 1, f"flow_reward.topk={self.topk}", ">= 1, or null to keep every token"
        )
        _check(
            self.topk_sides != "both" or self.topk is None or self.topk >= 2,
            f"flow_reward.topk={self.topk} with topk_sides: both",
            ">= 2, one token at each end",
        )
        _check(0 <= self.gamma <= 1, f"flow_reward.gamma={self.gamma}", "in [0, 1]")
        _check(
            self.max_probability is None or 0 < self.max_probability <= 1,
            f"flow_reward.max_probability={self.max_probability}",
            "in (0, 1], or null",
        )
        _check(
            not (self.groups == "unanimous" and self.scale_by_outcome),
            "flow_reward.groups=unanimous with scale_by_outcome: true",
            "one of the two: the outcome's advantage is 0 in unanimous groups",
        )


@dataclass
class OnlineUpdateConfig:
    """The step of the field that goes with each step of the policy, on rollouts chosen by rejection sampling."""

    enabled: bool = _option(True, help="let the field follow the policy")
    accept: list[Literal["correct", "entropy"]] = _option(
        make=lambda: ["correct"],
        help="correct: rollouts whose accuracy reward is >= accept_reward; entropy: uncertain tokens",
    )
    accept_reward: float = _option(1.0, help="accuracy reward of an accepted rollout")
    entropy_quantile: float = _option(0.8, help="'entropy' accepts the tokens above this quantile of the batch")
    rejected_weight: float = _option(0.0, help="weight of what is not accepted; 0 drops it")
    passes: int = _option(1, help="steps of the field with each of the policy, each with fresh times and noise")
    learning_rate: float = _option(1e-4, help="of AdamW")
    weight_decay: float = _option(0.01, help="of AdamW")
    max_grad_norm: float = _option(1.0, help="gradients are clipped to this norm")

    def __post_init__(self) -> None:
        _check(not self.enabled or len(self.accept) > 0, "update.accept=[]", "at least one of correct, entropy")
        _check(0 <= self.entropy_quantile < 1, f"update.entropy_quantile={self.entropy_quantile}", "in [0, 1)")
        _check(self.max_grad_norm > 0, f"update.max_grad_norm={self.max_grad_norm}", "> 0")
        _check(0 <= self.rejected_weight <= 1, f"update.rejected_weight={self.rejected_weight}", "in [0, 1]")
        _check(self.passes >= 1, f"update.passes={self.passes}", ">= 1")
        _check(self.learning_rate > 0, f"update.learning_rate={self.learning_rate}", "> 0")


@dataclass
class OfflineConfig:
    """The offline start: the field learns expert solutions while the policy is frozen."""

    data: DataArguments = _option(make=DataArguments, help="expert rows: prompt, images, response")
    num_train_epochs: float = _option(2.0, help="passes over the data")
    max_steps: int = _option(-1, help="stop after this many steps; -1: after num_train_epochs")
    batch_size: int = _option(8, help="sequences per step")
    max_response_tokens: int = _option(4096, help="longer responses are cut")
    learning_rate: float = _option(1e-4, help="of AdamW, cosine schedule")
    warmup_ratio: float = _option(0.1, help="share of the steps with rising learning rate")
    weight_decay: float = _option(0.01, help="of AdamW")
    max_grad_norm: float = _option(1.0, help="gradients are clipped to this norm")
    save_steps: int = _option(500, help="steps between checkpoints")
    seed: int = _option(0, help="of the order of rows, the times and the noise")
    output_dir: str | None = _option(None, help="where train_flow writes; inside a training run it is RUN/flow")

    def __post_init__(self) -> None:
        for name in ("batch_size", "max_response_tokens", "save_steps"):
            _check(getattr(self, name) >= 1, f"offline.{name}={getattr(self, name)}", ">= 1")
        for name in ("learning_rate", "max_grad_norm"):
            _check(getattr(self, name) > 0, f"offline.{name}={getattr(self, name)}", "> 0")
        _check(self.max_steps == -1 or self.max_steps >= 1, f"offline.max_steps={self.max_steps}", ">= 1, or -1")
        _check(self.num_train_epochs > 0, f"offline.num_train_epochs={self.num_train_epochs}", "> 0")
        _check(0 <= self.warmup_ratio < 1, f"offline.warmup_ratio={self.warmup_ratio}", "in [0, 1)")


@dataclass
class EvaluationConfig:
    """Accuracy on held-out problems before and after training, with the rewards' grader."""

    data: DataArguments = _option(make=lambda: DataArguments(split="test"), help="held-out problems")
    batch_size: int = _option(64, help="problems answered at once")
    temperature: float = _option(1.0, help="of sampling; 0 answers greedily")
    seed: int = _option(0, help="of sampling")

    def __post_init__(self) -> None:
        _check(self.batch_size >= 1, f"evaluation.batch_size={self.batch_size}", ">= 1")
        _check(self.temperature >= 0, f"evaluation.temperature={self.temperature}", ">= 0")


@dataclass
class BenchmarkConfig:
    """Tasks of the evaluation, answered during training: RUN/benchmarks/step-N is a run folder of `eval.run`."""

    eval_tasks: list[str] = _option(make=list, help="tasks and groups; python -m tasks.list prints them")
    steps: int | None = _option(None, help="every so many steps, and after the last; None: only after the last")
    limit: int | None = _option(None, help="the first N problems of each task; None: all")
    samples: int | None = _option(None, help="responses to each problem; None: the task's")
    data_root: str | None = _option(None, help="local mirror of the dataset repositories; None: the hub")
    allow_changed_data: bool = _option(False, help="run a slice or changed data, marked as such")
    batch_size: int = _option(64, help="requests answered at once")

    def __post_init__(self) -> None:
        _check(len(self.eval_tasks) > 0, "benchmarks.eval_tasks=[]", "at least one task")
        for name in ("steps", "limit", "samples"):
            value = getattr(self, name)
            _check(value is None or value >= 1, f"benchmarks.{name}={value}", ">= 1, or null")
        _check(self.batch_size >= 1, f"benchmarks.batch_size={self.batch_size}", ">= 1")


@dataclass
class RLFRArguments:
    """What RLFR adds to TRL's GRPOConfig."""

    advantage_shaping: Literal["flow", "entropy", "none", "latent_regression"] = field(
        default="flow",
        metadata={
            "help": "what is added to GRPO's advantage: the flow reward, an entropy term, or nothing (RLVR); "
            "latent_regression is the control without RL: advantages are 0, and the loss is flow_coef times the mean "
            "velocity deviation of the policy's own rollouts, differentiated through their latents"
        },
    )
    entropy_alpha: float = field(
        default=0.4, metadata={"help": "entropy advantage: min(alpha * H, |A| / kappa) is added (arXiv 2506.14758)"}
    )
    entropy_kappa: float = field(default=2.0, metadata={"help": "see entropy_alpha"})
    format_reward_weight: float = field(
        default=0.5,
        metadata={"help": "weight of the <think>/<answer> format reward beside accuracy's 1; 0 leaves it out"},
    )

    rollouts_per_step: int = field(
        default=64, metadata={"help": "rollouts whose rewards are recorded token by token each step; 0: none"}
    )

    @property
    def uses_field(self) -> bool:
        """Whether a flow field runs."""
        return self.advantage_shaping in ("flow", "latent_regression")

    def __post_init__(self) -> None:
        _check(
            self.advantage_shaping in ("flow", "entropy", "none", "latent_regression"),
            f"train.advantage_shaping={self.advantage_shaping!r}",
            "flow, entropy, none or latent_regression",
        )
        _check(self.entropy_kappa > 0, f"train.entropy_kappa={self.entropy_kappa}", "> 0")
        _check(self.rollouts_per_step >= 0, f"train.rollouts_per_step={self.rollouts_per_step}", ">= 0")


@dataclass
class RunConfig:
    """One training run: what a YAML file under configs/rl holds."""

    model: ModelArguments = _option(make=ModelArguments, help="the policy")
    data: DataArguments = _option(make=DataArguments, help="training problems")
    flow: FlowConfig = _option(make=FlowConfig, help="the field, when it is made anew")
    field: str | None = _option(None, help="folder or flow_model.bin of a field to start from, instead of `offline`")
    offline: OfflineConfig | None = _option(None, help="make the field by an offline start in this run")
    flow_reward: FlowRewardConfig = _option(make=FlowRewardConfig, help="from deviations to rewards")
    update: OnlineUpdateConfig = _option(make=OnlineUpdateConfig, help="the field's own steps")
    evaluation: EvaluationConfig | None = _option(None, help="held-out accuracy before and after")
    benchmarks: BenchmarkConfig | None = _option(None, help="benchmark tasks answered during training")
    train: dict[str, Any] = _option(make=dict, help="every field of TRL's GRPOConfig, and these:", more=RLFRArguments)

    def __post_init__(self) -> None:
        if self.field is not None and self.offline is not None:
            raise ValueError("field and offline are both set: start from a field, or make one, not both")
        if "reward_weights" in self.train:
            raise ValueError("train.reward_weights is made from train.format_reward_weight: set that")
        held_out = self.evaluation.data if self.evaluation else None
        drawn_from = ("source", "name", "split", "levels", "seed")
        if held_out and all(getattr(held_out, key) == getattr(self.data, key) for key in drawn_from):
            raise ValueError("evaluation.data is the training data: name another source or split to hold out")
        for section, data in (("offline", self.offline and self.offline.data), ("evaluation", held_out)):
            for limit in ("min_pixels", "max_pixels"):
                own = data and getattr(data, limit)
                _check(
                    own in (None, getattr(self.data, limit)),
                    f"{section}.data.{limit}={own}",
                    f"data.{limit}, or left out: a run sees all images through one processor; train_flow has its own",
                )


@dataclass
class OfflineRunConfig:
    """One offline start of the field: what a YAML file under configs/flow holds."""

    model: ModelArguments = _option(make=ModelArguments, help="the frozen policy")
    flow: FlowConfig = _option(make=FlowConfig, help="the field")
    offline: OfflineConfig = _option(make=OfflineConfig, help="expert data and optimisation")


SHAPED_LOSS_TYPES = ("grpo", "bnpo", "dr_grpo", "dapo")


def _check_compatible(config: Any) -> None:
    """ValueError where sampling, per-token advantages or exact resumption would not hold with TRL's settings."""
    if config.advantage_shaping != "none":
        shaping = f"with train.advantage_shaping={config.advantage_shaping}"
        _check(
            config.loss_type in SHAPED_LOSS_TYPES,
            f"train.loss_type={config.loss_type}",
            f"one of {', '.join(SHAPED_LOSS_TYPES)} {shaping}: its maths needs one advantage per sequence",
        )
        level = config.importance_sampling_level
        _check(level == "token", f"train.importance_sampling_level={level}", f"token {shaping}")
        threshold = config.off_policy_mask_threshold
        _check(threshold is None, f"train.off_policy_mask_threshold={threshold}", f"null {shaping}")
    if config.advantage_shaping == "latent_regression":
        checkpointing = config.gradient_checkpointing
        _check(not checkpointing, f"train.gradient_checkpointing={checkpointing}", f"false {shaping}")
        _check(config.num_iterations == 1, f"train.num_iterations={config.num_iterations}", f"1 {shaping}")
    _check(config.temperature > 0, f"train.temperature={config.temperature}", "> 0: rollouts are sampled")
    steps = config.steps_per_generation * config.num_iterations / config.gradient_accumulation_steps
    if config.save_strategy == "steps":
        _check(
            config.save_steps >= 1 and config.save_steps % steps == 0,
            f"train.save_steps={config.save_steps}",
            f"a multiple of {steps:g}, the optimiser steps per batch of rollouts: a run resumes at such a boundary",
        )


def __getattr__(name: str) -> Any:
    """RLFRConfig needs TRL and with it torch: it is made when somebody asks for it."""
    if name != "RLFRConfig":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from trl import GRPOConfig

    @dataclass
    class RLFRConfig(RLFRArguments, GRPOConfig):
        """GRPOConfig plus `RLFRArguments`. `beta` stays TRL's KL weight; the flow reward's weight is `flow_coef`."""

        max_completion_length: int | None = 1024  # tokens, as released
        logging_steps: float = 1  # a row of metrics.jsonl each

        def __post_init__(self) -> None:
            RLFRArguments.__post_init__(self)
            GRPOConfig.__post_init__(self)
            _check_compatible(self)

    RLFRConfig.__qualname__ = name  # so that TRL's training_args.bin can be read back
    globals()[name] = RLFRConfig
    return RLFRConfig
