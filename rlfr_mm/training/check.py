"""`python -m rlfr_mm.train --check`: all that a run checks, and what it needs, without weights and without writing."""

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from rlfr_mm.config import QUICKSTART, ModelArguments, RLFRConfig, RunConfig, steps_per_batch
from rlfr_mm.method.field import FlowField
from rlfr_mm.policy import policy_without_weights
from rlfr_mm.precheck import GPU_PACKAGES, Launch, missing_packages
from rlfr_mm.quickstart.policy import build_policy
from rlfr_mm.training.estimate import (
    GIB,
    MOMENTS,
    Disk,
    Plan,
    check_disk,
    disk,
    field_compute_share,
    memory,
    peak,
    plan_of,
)
from rlfr_mm.training.inputs import RunData, check_images, checked_data, load_data, settings_of
from rlfr_mm.training.run import make_trainer

# What keeps TRL's trainer, made for its checks, from loading a second policy, starting vLLM, sharding or writing.
HARMLESS: dict[str, Any] = {
    "advantage_shaping": "none", "use_vllm": False, "beta": 0.0, "sync_ref_model": False, "log_completions": False,
    "log_completions_hub_repo": None, "push_to_hub": False,
}  # fmt: skip
SHARDING = ("fsdp", "fsdp_config", "deepspeed")  # they need their launcher; the estimate knows the launch


def check(config: RunConfig, launch: Launch, benchmarks: Any = None) -> str:
    """A report that ends in "ready"; ValueError in one line for what would stop the run.

    On a machine without a GPU, what only a GPU machine can have is listed instead of refused. `rlfr_mm.precheck` and
    `check_run` must come first; `benchmarks` is that of `rlfr_mm.training.run.prepare`.
    """
    args, wanted = _settings(config, launch)
    data = load_data(config)
    if config.benchmarks:
        benchmarks.check_benchmarks(config.benchmarks, launch.sharding != "none")
    with tempfile.TemporaryDirectory() as scratch:
        model = config.model
        if model.name_or_path == QUICKSTART:
            model = replace(model, name_or_path=str(build_policy(Path(scratch) / "policy")))
        processor, data = checked_data(config, args, model, data)
        check_images(config, launch, data)
        if config.benchmarks:
            benchmarks.check_policy(config.benchmarks, config.model.name_or_path, processor)
        policy = _policy(model, wanted)
        with torch.device("meta"):
            flow = FlowField.for_policy(config.flow, policy.config) if args.uses_field else None
        harmless = {key: value for key, value in HARMLESS.items() if key in config.train or key == "advantage_shaping"}
        train = {key: value for key, value in config.train.items() if key not in SHARDING}
        train |= harmless | {"output_dir": scratch, "use_cpu": args.use_cpu}
        trainer = make_trainer(config, settings_of(train, launch.processes), policy, processor, data.problems, None)
    plan = plan_of(config, args, launch, trainer.model, flow, max(data.prompt_tokens))
    space = disk(plan, len(data.problems))
    try:
        check_disk(space, args.output_dir)
    except ValueError as error:
        if not wanted:
            raise
        wanted.append(str(error))
    return _report(plan, data, space, wanted)


def _settings(config: RunConfig, launch: Launch) -> tuple[RLFRConfig, list[str]]:
    """The settings under `train`, and what a machine with a GPU must have that this one lacks."""
    missing = missing_packages(config.train)
    here = torch.accelerator.is_available() or config.train.get("use_cpu")
    for package, problem in missing.items():
        if here or package not in GPU_PACKAGES:
            raise ValueError(problem)
    train = {key: value for key, value in config.train.items() if key not in SHARDING}
    if here:
        return settings_of(train, launch.processes), []
    no_gpu = "there is no GPU here; to train on this machine, set train.use_cpu=true and train.bf16=false"
    return settings_of(train | {"use_cpu": True}, launch.processes), [no_gpu, *missing.values()]


def _policy(model: ModelArguments, wanted: list[str]) -> Any:
    """The policy without weights; a kernel that is not installed on a machine without a GPU is added to `wanted`."""
    try:
        return policy_without_weights(model)
    except ValueError as error:
        if not (wanted and isinstance(error.__cause__, ImportError)):
            raise
        wanted.append(f"model.attn_implementation={model.attn_implementation} is not installed here")
        return policy_without_weights(replace(model, attn_implementation=None))


def _report(plan: Plan, data: RunData, space: Disk, wanted: list[str]) -> str:
    parts, args, prompts = memory(plan), plan.args, data.prompt_tokens
    rows = [
        [part.name, *(part.bytes / GIB if moment in part.moments else None for moment in MOMENTS)] for part in parts
    ]
    rows.append(["total", *(peak(parts, moment) / GIB for moment in MOMENTS)])
    table = tabulate(rows, ["GiB per process", *MOMENTS], tablefmt="simple", floatfmt=".2f", missingval="")
    sharding = f", which share the policy's {plan.launch.sharding}" if plan.launch.sharding != "none" else ""
    policy, batch, steps = plan.policy, args.generation_batch_size, steps_per_batch(args)
    share = field_compute_share(plan, sum(prompts) / len(prompts))
    lines = [
        table,
        "",
        f"processes  {plan.launch.processes}{sharding}",
        f"policy     {policy.parameters:,} parameters, {policy.trained:,} trained; no weights were read",
        f"field      {plan.field_parameters:,} parameters, at most {share:.0%} of the compute" if plan.flow else None,
        f"data       {len(data.problems):,} problems, prompts of at most {max(prompts):,} tokens",
        *(f"left out   {reason}" for reason in data.reasons),
        f"batch      {batch:,} rollouts of {batch // args.num_generations:,} problems, for {steps:g} policy steps",
        f"memory     peak of {peak(parts) / GIB:.1f} GiB per process" + _vllm(args),
        f"disk       {space.checkpoints} checkpoints of {space.checkpoint / GIB:.2f} GiB and final/ of "
        f"{space.final / GIB:.2f} GiB; {space.free / GIB:.1f} GiB are free",
        *(f"needs      {problem}" for problem in wanted),
        "ready" if not wanted else "ready, on a machine that has what is needed",
    ]
    return "\n".join(line for line in lines if line is not None)


def _vllm(args: RLFRConfig) -> str:
    if not args.use_vllm or args.vllm_mode != "colocate":
        return ""
    sleeps = " while it generates" if args.vllm_enable_sleep_mode else ""
    return f", and vLLM takes {args.vllm_gpu_memory_utilization:.0%} of the GPU{sleeps}"
