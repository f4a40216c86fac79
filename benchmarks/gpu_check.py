"""Check RLFR on a GPU in minutes, with nothing to download: `python benchmarks/gpu_check.py --json OUT`.

With `--small` the same check runs at tiny shapes on a CPU.

- field: the flow field's velocities and gradients on the GPU against the CPU's, in float32
- command: `python -m rlfr_mm.train` with bf16, the embedded policy, offline start, checkpoint and final accuracy
- step: a training step of Qwen2.5-VL at the 3B shape (random weights, fixed rollouts, so no time goes into
  generation), with the flow reward over plain GRPO: ratio of seconds, and peak memory of both
- precision: velocity deviations from the latents of the bf16 policy against those of the float32 policy

With `--shape 7b` only the step is measured, with bfloat16 weights: in float32, weights, gradients and AdamW's moments
take 16 bytes per parameter, which leaves no room on one GPU.

Figures are ratios measured side by side on one machine; the record names the hardware and the versions.
"""

import argparse
import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLConfig, TrainerCallback

from rlfr_mm.config import FlowConfig, FlowRewardConfig, RLFRConfig
from rlfr_mm.config_file import build
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import record_latents
from rlfr_mm.method.loss import velocity_deviation
from rlfr_mm.policy import encode_prompts
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.policy import build_policy
from rlfr_mm.training.run_folder import environment
from rlfr_mm.training.trainer import RLFRTrainer

ROOT = Path(__file__).resolve().parent.parent
VISION = {
    "depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16,
    "fullatt_block_indexes": [7, 15, 23, 31],
}  # fmt: skip
# The sizes in the config.json of Qwen2.5-VL-3B- and 7B-Instruct; our tokenizer's ids lie below their vocabulary.
SHAPES: dict[str, dict[str, Any]] = {
    "3b": {
        "text_config": {
            "vocab_size": 151936, "hidden_size": 2048, "intermediate_size": 11008, "num_hidden_layers": 36,
            "num_attention_heads": 16, "num_key_value_heads": 2,
        },
        "vision_config": VISION | {"out_hidden_size": 2048},
    },
    "7b": {
        "text_config": {
            "vocab_size": 152064, "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28,
            "num_attention_heads": 28, "num_key_value_heads": 4,
        },
        "vision_config": VISION | {"out_hidden_size": 3584},
        "tie_word_embeddings": False,
        "dtype": torch.bfloat16,
    },
    "tiny": {
        "text_config": {
            "vocab_size": 1024, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 4,
            "num_attention_heads": 2, "num_key_value_heads": 2,
        },
        "vision_config": {
            "depth": 2, "hidden_size": 128, "intermediate_size": 256, "num_heads": 4, "out_hidden_size": 256,
            "fullatt_block_indexes": [1],
        },
    },
}  # fmt: skip
ROPE = {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [16, 24, 24]}  # heads of 128 channels in both
FIELD_BLOCKS = {"3b": 4, "7b": 6, "tiny": 4}  # as the paper has them
WARMUP_STEPS = 2  # of each run, not timed


class FixedRollouts(RLFRTrainer):
    """The trainer with completions of random tokens, the same ones in every run, in place of generation."""

    max_tokens: int

    def _generate_single_turn(self, prompt_ids: list[list[int]], *args: Any, **kwargs: Any) -> tuple[list, None]:
        draws = torch.Generator().manual_seed(self.state.global_step)
        lengths = torch.randint(self.max_tokens // 2, self.max_tokens + 1, (len(prompt_ids),), generator=draws)
        first_word = len(self._tokenizer.all_special_ids)
        ids = [torch.randint(first_word, len(self._tokenizer), (length,), generator=draws) for length in lengths]
        return [row.tolist() for row in ids], None


class StepTimer(TrainerCallback):
    """Seconds from the end of one step to the end of the next: all of it, the field's update included.

    TRL's own `step_time` ends before the field's update.
    """

    def __init__(self) -> None:
        self.ends: list[float] = []

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())


def half_right(completions: list[Any], **kwargs: Any) -> list[float]:
    """Accept every second rollout: groups have a signal, and the field has rollouts to learn from."""
    return [float(index % 2) for index in range(len(completions))]


def check_field(device: torch.device, width: int) -> dict[str, float]:
    """Largest relative difference of velocities and of gradients between the device and the CPU."""
    config = FlowConfig(hidden_size=width, num_policy_layers=36, rms_norm_eps=1e-6)
    field, draws = FlowField(config), torch.Generator().manual_seed(0)
    for parameter in field.parameters():
        parameter.data += 0.02 * torch.randn(parameter.shape, generator=draws)  # a new field's velocity is 0
    x_t, context = torch.randn(2, 64, width, generator=draws)
    t, layer = torch.rand(2, 64, generator=draws)
    found = []
    for where in (torch.device("cpu"), device):
        field.to(where).zero_grad()
        velocity = field(x_t.to(where), t.to(where), context.to(where), layer.to(where))
        velocity.square().mean().backward()
        gradient = torch.cat([p.grad.flatten() for p in field.parameters() if p.grad is not None])
        found.append((velocity.detach().cpu(), gradient.cpu()))
    difference = [((b - a).abs().max() / a.abs().max()).item() for a, b in zip(*found, strict=True)]
    return {"velocity": difference[0], "gradient": difference[1]}


def run_command(scratch: Path, cpu: bool) -> dict[str, Any]:
    """The documented training command in bf16; RuntimeError with the end of its output if it fails."""
    command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(ROOT / "configs/rl/quickstart.yaml")]
    command += [f"model.name_or_path={build_policy(scratch / 'policy')}", f"train.output_dir={scratch / 'run'}"]
    command += [f"train.use_cpu={str(cpu).lower()}", "train.bf16=true", "train.max_steps=4", "train.save_steps=2"]
    command += ["train.per_device_train_batch_size=16", "data.limit=64", "offline.max_steps=4", "offline.data.limit=64"]
    command += ["evaluation.data.limit=16"]
    started = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"training in bf16 failed: {done.stderr[-3000:]}")
    summary = json.loads((scratch / "run" / "summary.json").read_text())
    return {"steps": summary["steps"], "seconds": round(time.perf_counter() - started, 1)}


def policy_of(shape: str, processor: Any, device: torch.device) -> Any:
    """A Qwen2.5-VL of that shape with random weights, made on the device, with our tokenizer's special ids."""
    ids = processor.tokenizer.get_vocab()
    sizes = {"tie_word_embeddings": True, "dtype": torch.float32} | SHAPES[shape]
    dtype = sizes.pop("dtype")
    sizes["text_config"] = sizes["text_config"] | {"rope_parameters": ROPE}
    config = Qwen2_5_VLConfig(
        **sizes,
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )
    torch.manual_seed(0)
    with device:
        return AutoModelForImageTextToText.from_config(config, dtype=dtype)


def measure_steps(
    make_policy: Callable[[], Any],
    processor: Any,
    scratch: Path,
    shaping: str,
    tokens: int,
    steps: int,
    cpu: bool,
    blocks: int,
) -> dict[str, Any]:
    """Median seconds of a training step and peak memory in GiB, with eight rollouts of one group per micro-batch."""
    rows = [
        {key: row[key] for key in ("prompt", "images", "solution", "problem_id")}
        for row in world.rows(64, "train", [2])
    ]
    settings = {
        "output_dir": str(scratch / shaping), "advantage_shaping": shaping, "per_device_train_batch_size": 8,
        "num_generations": 8, "max_completion_length": tokens, "max_steps": WARMUP_STEPS + steps, "bf16": not cpu,
        "use_cpu": cpu, "gradient_checkpointing": True, "report_to": "none", "save_strategy": "no",
        "learning_rate": 1e-6, "disable_tqdm": True, "rollouts_per_step": 0, "dataloader_pin_memory": False,
    }  # fmt: skip
    policy = make_policy()
    policy.get_encoder(modality="image").requires_grad_(False)
    field = FlowField.for_policy(FlowConfig(num_blocks=blocks), policy.config) if shaping == "flow" else None
    args, timer = build(RLFRConfig, settings), StepTimer()
    trainer = FixedRollouts(
        model=policy, reward_funcs=half_right, args=args, train_dataset=Dataset.from_list(rows),
        processing_class=processor, field=field, callbacks=[timer],
    )  # fmt: skip
    trainer.max_tokens = tokens
    if not cpu:
        torch.cuda.reset_peak_memory_stats()
    trainer.train()
    times = [end - start for start, end in itertools.pairwise(timer.ends[WARMUP_STEPS - 1 :])]
    peak = None if cpu else round(torch.cuda.max_memory_allocated() / 2**30, 2)
    return {"seconds": statistics.median(times), "peak_gib": peak}


def compare_precision(make_policy: Callable[[], Any], processor: Any, device: torch.device, tokens: int) -> dict:
    """Deviations from bf16 latents against float32 latents: largest difference and shared top-15 tokens per row."""
    policy = make_policy().eval()
    inputs = {key: value.to(device) for key, value in encode_prompts(world.rows(4, "train", [2]), processor).items()}
    draws = torch.Generator().manual_seed(0)
    completion = torch.randint(20, len(processor.tokenizer), (4, tokens), generator=draws).to(device)
    inputs["input_ids"] = torch.cat([inputs["input_ids"], completion], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], torch.ones_like(completion)], dim=1)
    inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(completion)], dim=1)
    field = FlowField.for_policy(FlowConfig(), policy.config).to(device)
    generator = torch.Generator().manual_seed(0)
    for parameter in field.parameters():
        parameter.data += (0.02 * torch.randn(parameter.shape, generator=generator)).to(device)
    mask = torch.ones_like(completion, dtype=torch.bool)
    deviations = []
    for bf16 in (False, True):
        recording = record_latents(policy, field.layer_indices, mask)
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=bf16), recording as recorder:
            policy(**inputs, use_cache=False, logits_to_keep=1)
        deviations.append(velocity_deviation(field, recorder.passes[0], FlowRewardConfig(), torch.arange(1, 5)))
    full, half = deviations
    kept = [set(row.topk(15).indices.tolist()) for both in deviations for row in both]
    shared = [len(kept[i] & kept[i + 4]) / 15 for i in range(4)]
    return {
        "largest_relative_difference": ((half - full).abs() / full.abs().clamp(min=1e-6)).max().item(),
        "shared_top15": sum(shared) / 4,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny shapes on the CPU: shows that the check runs")
    parser.add_argument("--shape", choices=["3b", "7b"], default="3b", help="7b measures the step alone")
    parser.add_argument("--steps", type=int, default=6, help="timed steps per run")
    parser.add_argument("--json", type=Path, help="where the record goes; default: standard output only")
    arguments = parser.parse_args()
    cpu = arguments.small
    if cpu and arguments.shape != "3b":
        parser.error("--small has a shape of its own: leave --shape out")
    if not cpu and not torch.cuda.is_available():
        parser.error("no CUDA device here; --small runs tiny shapes on the CPU")
    device = torch.device("cpu" if cpu else "cuda")
    shape, tokens, width = ("tiny", 24, 64) if cpu else (arguments.shape, 512, 2048)
    figures: dict[str, Any] = {"shape": shape, "tokens_at_most": tokens, **environment()}
    with tempfile.TemporaryDirectory() as name:
        scratch = Path(name)
        processor = AutoProcessor.from_pretrained(build_policy(scratch / "policy"), padding_side="left")

        def make_policy() -> Any:
            return policy_of(shape, processor, device)

        if shape != "7b":
            figures["field"] = check_field(device, width)
            print(json.dumps(figures["field"]), flush=True)
            figures["command"] = run_command(scratch, cpu)
            print(json.dumps(figures["command"]), flush=True)
            figures["precision"] = compare_precision(make_policy, processor, device, tokens)
            print(json.dumps(figures["precision"]), flush=True)
        step = {}
        for shaping in ("none", "flow"):
            if not cpu:
                torch.cuda.empty_cache()
            step[shaping] = measure_steps(
                make_policy, processor, scratch, shaping, tokens, arguments.steps, cpu, FIELD_BLOCKS[shape]
            )
            print(shaping, json.dumps(step[shaping]), flush=True)
        step["ratio"] = step["flow"]["seconds"] / step["none"]["seconds"]
        figures["step"] = step
    text = json.dumps(figures, indent=2) + "\n"
    print(text)
    if arguments.json:
        arguments.json.write_text(text)


if __name__ == "__main__":
    main()
