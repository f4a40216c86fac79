"""What a run needs, computed from shapes alone: memory per process, the field's share of the compute, disk.

The estimate counts what is large: weights, gradients, optimiser states, activations, latents, the key-value cache. It
leaves out the vision tower's activations, fragmentation and what CUDA itself takes (1 to 2 GiB). Lengths are the
longest possible ones, and every rollout counts as accepted, so that real runs stay below it. tests/training/
test_estimate.py compares it with measured peaks.
"""

import math
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rlfr_mm.config import (
    EvaluationConfig,
    FlowConfig,
    FlowRewardConfig,
    OnlineUpdateConfig,
    RLFRConfig,
    RunConfig,
)
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import decoder_layers
from rlfr_mm.method.loss import TOKENS_PER_FORWARD
from rlfr_mm.precheck import ZERO_STAGES, Launch

# The moments at which memory peaks. Before the first policy step: accuracy before, and the offline start. Of a policy
# step: sampling; the end of the forward pass; the end of the backward pass; the update of the field, which the policy's
# optimiser step follows. After the last step: accuracy after.
MOMENTS = ("start", "generation", "loss", "backward", "field update", "end")
TRAINING = MOMENTS[1:]
STEP = ("loss", "backward")
GIB = 2**30
FIELD_ACTIVATIONS = (14, 10)  # float32 vectors of the field's width per row: of each block, and of the rest


@dataclass(frozen=True)
class PolicySize:
    """Counts of a policy's parameters and the sizes that its activations depend on."""

    parameters: int
    trained: int
    weight_bytes: int
    trained_bytes: int
    layers: int
    layer_parameters: int  # of one decoder layer
    head_parameters: int  # of the output layer, which is often the embedding, too
    head_trained: bool
    hidden: int
    intermediate: int
    kv_channels: int  # of the keys, and as many of the values, per layer

    @classmethod
    def of(cls, policy: Any) -> "PolicySize":
        """The sizes of a policy, whose weights may be on the meta device."""
        text, layers = policy.config.get_text_config(), decoder_layers(policy)
        heads = getattr(text, "num_key_value_heads", None) or text.num_attention_heads
        channels = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        head = policy.get_output_embeddings().weight
        trained = [weight for weight in policy.parameters() if weight.requires_grad]
        return cls(
            parameters=_count(policy),
            trained=sum(weight.numel() for weight in trained),
            weight_bytes=sum(weight.numel() * weight.element_size() for weight in policy.parameters()),
            trained_bytes=sum(weight.numel() * weight.element_size() for weight in trained),
            layers=len(layers),
            layer_parameters=_count(layers[0]),
            head_parameters=head.numel(),
            head_trained=head.requires_grad,
            hidden=text.hidden_size,
            intermediate=text.intermediate_size,
            kv_channels=heads * channels,
        )


def _count(module: nn.Module) -> int:
    return sum(weight.numel() for weight in module.parameters())


@dataclass(frozen=True)
class Plan:
    """What an estimate depends on. `flow` is None for a run without a field."""

    policy: PolicySize
    args: RLFRConfig
    launch: Launch
    prompt_tokens: int  # of the longest prompt
    flow: FlowConfig | None
    field_parameters: int
    reward: FlowRewardConfig
    update: OnlineUpdateConfig
    lora: bool = False
    evaluation: EvaluationConfig | None = None
    offline: bool = False

    @property
    def half(self) -> bool:
        """Whether the policy computes in 16 bits."""
        return bool(self.args.bf16 or self.args.fp16) or self.policy.weight_bytes < 4 * self.policy.parameters

    @property
    def stream_bytes(self) -> int:
        """Bytes per channel of a hidden state: autocast leaves the residual stream in the dtype of the weights."""
        sharded_or_half = self.launch.sharding == "weights" or self.policy.weight_bytes < 4 * self.policy.parameters
        return 2 if self.half and sharded_or_half else 4

    @property
    def rounds_the_field(self) -> bool:
        """Whether scoring keeps a copy of the field's matrices in bfloat16 (`FlowField.for_scoring`)."""
        assert self.flow is not None
        return self.flow.matmuls == "bfloat16" or (self.flow.matmuls == "auto" and self.half and not self.args.fp16)

    @property
    def rollouts(self) -> int:
        """Rollouts that a process holds at once."""
        return self.args.generation_batch_size // self.launch.processes


def plan_of(
    config: RunConfig, args: RLFRConfig, launch: Launch, policy: Any, flow: FlowField | None, prompt_tokens: int
) -> Plan:
    """The plan of a run with this policy and field, whose weights may be on the meta device."""
    return Plan(
        policy=PolicySize.of(policy),
        args=args,
        launch=launch,
        prompt_tokens=prompt_tokens,
        flow=flow.config if flow else None,
        field_parameters=_count(flow) if flow else 0,
        reward=config.flow_reward,
        update=config.update,
        lora=config.model.lora is not None,
        evaluation=config.evaluation,
        offline=config.offline is not None and flow is not None,
    )


@dataclass(frozen=True)
class Part:
    """Bytes that are in use at some of the `MOMENTS`."""

    name: str
    bytes: float
    moments: tuple[str, ...] = MOMENTS


def memory(plan: Plan) -> list[Part]:
    """What takes memory on one process, largest lengths assumed; parts of 0 bytes are left out.

    >>> peak(memory(plan)) / GIB
    52.4
    """
    return [part for part in [*_states(plan), *_activations(plan), *_flow(plan)] if part.bytes > 0]


def peak(parts: list[Part], moment: str | None = None) -> float:
    """Bytes in use at a moment, or at the worst one."""
    moments = [moment] if moment else MOMENTS
    return max(sum(part.bytes for part in parts if name in part.moments) for name in moments)


def _states(plan: Plan) -> list[Part]:
    """Weights, gradients and optimiser states, as they are sharded.

    Every process loads the whole policy, which answers and provides latents before it is sharded. Accuracy after is
    that of a second one, which is loaded whole from final/.
    """
    policy, args, processes = plan.policy, plan.args, plan.launch.processes
    level = ZERO_STAGES.index(plan.launch.sharding)
    weights, gradients, states = (processes if level >= least else 1 for least in (3, 2, 1))
    copied = processes > 1 and level == 0  # DDP reduces the gradients in buckets of its own
    reference = bool(args.beta) and not plan.lora
    kept = ("loss",) if args.gradient_accumulation_steps > 1 else ()  # from the micro-batches before
    whole = ("start",) * (weights > 1) + ("end",) * (level > 0 and plan.evaluation is not None)
    return [
        Part("policy: weights", policy.weight_bytes / weights),
        Part("policy: whole, before and after it is sharded", policy.weight_bytes * bool(whole), whole),
        Part("policy: optimiser states", optimizer_bytes(policy, args) / states, TRAINING),
        Part("policy: gradients", policy.trained_bytes / gradients, (*kept, "backward", "field update")),
        Part("policy: gradient buckets of DDP", policy.trained_bytes * copied, TRAINING),
        Part("reference policy", policy.weight_bytes / weights * reference),
    ]


def optimizer_bytes(policy: PolicySize, args: RLFRConfig) -> float:
    """Bytes of the optimiser's states: two moments per trained weight for Adam and whatever is not known here."""
    name = str(getattr(args.optim, "value", args.optim))
    if "8bit" in name:
        return 2.0 * policy.trained
    return 0.0 if name in ("sgd", "adafactor") else 2.0 * policy.trained_bytes


def _activations(plan: Plan) -> list[Part]:
    """Activations of a micro-batch, copies of weights, and the cache of keys and values while sampling."""
    policy, args, width = plan.policy, plan.args, 2 if plan.half else 4
    length = plan.prompt_tokens + args.max_completion_length
    tokens = args.per_device_train_batch_size * length
    # Of one layer, for its backward pass: four vectors of the MLP, six of the attention, and the inputs of two norms.
    inside = tokens * ((4 * policy.intermediate + 6 * policy.hidden) * width + 2 * policy.hidden * plan.stream_bytes)
    stream = tokens * policy.hidden * plan.stream_bytes
    saved = policy.layers * (stream if args.gradient_checkpointing else inside)
    sharded = plan.launch.sharding == "weights"
    gathered = (2 * policy.layer_parameters + policy.head_parameters) * width
    copies = 2 * policy.trained * (plan.half and not sharded and policy.weight_bytes == 4 * policy.parameters)
    per_token = policy.layers * 2 * policy.kv_channels  # numbers that the cache holds
    cache = plan.rollouts * length * per_token * width
    answers = plan.evaluation.batch_size if plan.evaluation else 0
    held_out = answers * length * per_token * policy.weight_bytes / policy.parameters  # without autocast
    return [
        Part("policy: layers gathered from all processes", gathered * sharded, ("generation", *STEP)),
        Part("policy: 16-bit copies of trained weights", copies, ("loss",)),
        Part("activations", saved, ("loss",)),
        Part("activations of one layer, recomputed", inside * bool(args.gradient_checkpointing), STEP),
        Part("gradient of the output layer", 4 * policy.head_parameters * policy.head_trained, STEP),
        Part("keys and values of all rollouts", cache * (not args.use_vllm), ("generation",)),
        Part("keys and values of held-out answers", held_out, ("start", "end")),
    ]


def _flow(plan: Plan) -> list[Part]:
    """The field with its gradients and optimiser, one of its forward passes, and the latents."""
    if plan.flow is None:
        return []
    policy, flow, learns = plan.policy, plan.flow, plan.update.enabled
    width, (per_block, rest) = flow.width or policy.hidden, FIELD_ACTIVATIONS
    rows = min(TOKENS_PER_FORWARD, plan.rollouts * plan.args.max_completion_length * len(flow.flow_layers))
    chunk = rows * width * 4 * (per_block * flow.num_blocks + rest)
    positions = plan.rollouts * (1 + plan.args.max_completion_length)
    latents = positions * len(flow.flow_layers) * policy.hidden * plan.stream_bytes
    start = 20 if plan.offline else 4  # the offline start trains a field of its own, whose weights are then copied
    rounded = 2 * plan.rounds_the_field * (not learns)  # a field that learns drops them before it has gradients
    return [
        Part("field: weights, gradients, optimiser", plan.field_parameters * (16 if learns else 4), TRAINING),
        Part("field: weights, and those of the offline start", plan.field_parameters * start, ("start",)),
        Part("field: weights rounded to bfloat16", plan.field_parameters * rounded, TRAINING),
        Part("field: activations of one pass", chunk * learns, ("field update",)),
        Part("latents, all rollouts accepted", latents, (*STEP, "field update")),
    ]


def field_compute_share(plan: Plan, mean_prompt_tokens: float) -> float:
    """The field's share of the multiplications of a run, in [0, 1]; attention and the vision tower are left out.

    Per token, a forward pass takes 2 operations per parameter and a backward pass 4, or 2 if the weights are frozen.
    """
    if plan.flow is None:
        return 0.0
    policy, args, flow = plan.policy, plan.args, plan.flow
    body = policy.layers * policy.layer_parameters + policy.head_parameters
    backward = 2 if plan.lora else 4
    recomputed = 2 if args.gradient_checkpointing else 0
    per_token = 2 + (2 + backward + recomputed) * args.num_iterations  # latents come from the loss's own pass
    completion = args.max_completion_length
    of_policy = body * per_token * (mean_prompt_tokens + completion)
    shifts = len(plan.reward.context_shifts or flow.context_shifts)
    scored = 2 * shifts * len(plan.reward.times) * plan.reward.noise_draws
    update = plan.update
    draws = (update.batch_multiplier or flow.batch_multiplier) * update.passes * update.token_share
    learnt = 6 * len(flow.context_shifts) * draws * update.enabled
    layers = len(flow.flow_layers)
    of_field = plan.field_parameters * layers * (scored + learnt) * completion
    return of_field / (of_field + of_policy)


@dataclass(frozen=True)
class Disk:
    """Bytes that a run writes: a checkpoint, final/, how many checkpoints stay, and what is free in its folder."""

    checkpoint: float
    final: float
    checkpoints: int
    free: int


def disk(plan: Plan, problems: int) -> Disk:
    """What a run on so many problems writes, and the room that there is for it."""
    args, policy = plan.args, plan.policy
    states = 0 if args.save_only_model else optimizer_bytes(policy, args) + 8 * plan.field_parameters
    weights = policy.trained_bytes if plan.lora else policy.weight_bytes
    per_step = args.per_device_train_batch_size * plan.launch.processes * args.gradient_accumulation_steps
    steps = math.ceil(args.num_train_epochs * problems * args.num_generations * args.num_iterations / per_step)
    steps = args.max_steps if args.max_steps > 0 else steps
    every = args.save_steps if args.save_steps >= 1 else max(1, math.ceil(args.save_steps * steps))
    count = {"no": 0, "steps": math.ceil(steps / every), "epoch": math.ceil(args.num_train_epochs)}
    kept = min(
        count.get(str(getattr(args.save_strategy, "value", args.save_strategy)), 1), args.save_total_limit or steps
    )
    folder = Path(args.output_dir).absolute()
    there = next(parent for parent in [folder, *folder.parents] if parent.is_dir())
    return Disk(
        weights + 4 * plan.field_parameters + states,
        weights + 4 * plan.field_parameters,
        kept,
        shutil.disk_usage(there).free,
    )


def check_disk(found: Disk, folder: str) -> None:
    """ValueError if there is no room for even one checkpoint and final/."""
    needed = found.final + (found.checkpoint if found.checkpoints else 0)
    if needed > found.free:
        raise ValueError(
            f"train.output_dir={folder} has {found.free / GIB:.1f} GiB free, but a checkpoint and final/ take "
            f"{needed / GIB:.1f} GiB: choose a folder on another disk"
        )
