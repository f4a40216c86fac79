"""Measure what the flow costs, as ratios of CPU seconds of pairs in turn: `python benchmarks/flow_cost.py --json OUT`.

- early_exit: time of a full no-grad pass of a policy / time of the pass for latents, which ends at the deepest layer
- step: time of a training step of the quickstart with the flow / without it, which is plain TRL GRPO; its policy has
  1M parameters and its field 0.3M
- scoring: time of velocity deviations / time of the same matmuls alone, in float32 and in bfloat16
- size: parameters of the field / parameters of the policy, for the published models (from their shapes)
"""

import argparse
import statistics
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Semaphore
from typing import Any

import torch
from gpu_check import WARMUP_STEPS
from timing import in_turn, publish
from transformers import AutoConfig, AutoModelForCausalLM, TrainerCallback

from rlfr_mm.config import FlowConfig, FlowRewardConfig, RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents, record_latents, stop_after_layer
from rlfr_mm.method.loss import has_context, velocity_deviation
from rlfr_mm.quickstart.warmup import QUICKSTART_SETTINGS, prepare_policy
from rlfr_mm.training.run import prepare
from rlfr_mm.training.run_folder import environment

ROOT = Path(__file__).resolve().parent.parent
# (hidden size, decoder layers, parameters in 1e9, blocks of the field)
PUBLISHED = {"Qwen2.5-VL-3B": (2048, 36, 3.75, 4), "Qwen2.5-VL-7B": (3584, 28, 8.29, 6)}


def early_exit(rounds: int) -> dict[str, Any]:
    """For a decoder with 12 layers and a vocabulary of 32,000, on 8 sequences of 256 tokens; layers 0.25, 0.5, 0.75."""
    heads = {"num_attention_heads": 8, "num_key_value_heads": 8}
    shape = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12} | heads
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("qwen2", vocab_size=32_000, **shape)).eval()
    ids, response = torch.randint(0, 32_000, (8, 256)), torch.ones(8, 127, dtype=torch.bool)

    def whole() -> None:
        with torch.no_grad():
            model(input_ids=ids, use_cache=False)

    def ended() -> None:
        with torch.no_grad(), record_latents(model, [3, 6, 9], response), stop_after_layer(model, 9):
            model(input_ids=ids, use_cache=False)

    return in_turn(whole, ended, rounds)


class TakesTurns(TrainerCallback):
    """Lets a training step begin when it is this run's turn, and keeps the CPU seconds of its thread in each step.

    Each run has its own random state, although both are in one process.
    """

    def __init__(self, mine: Semaphore, other: Semaphore) -> None:
        self.mine, self.other, self.seconds = mine, other, list[float]()
        self.random_state = torch.Generator().manual_seed(0).get_state()

    def on_step_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.mine.acquire()
        torch.set_rng_state(self.random_state)
        self.started = time.thread_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.seconds.append(time.thread_time() - self.started)
        self.random_state = torch.get_rng_state()
        self.other.release()


def step(steps: int) -> dict[str, Any]:
    """The median ratio of CPU seconds of whole steps with the flow and without, of two runs that take turns.

    Whole steps are timed, because TRL's `step_time` ends before the field's update. With a learning rate of 0 both
    policies stay the same and sample the same rollouts: longer ones would cost more.
    """
    turns = {"flow": Semaphore(1), "none": Semaphore(0)}
    timers = [TakesTurns(mine, other) for mine, other in zip(turns.values(), reversed(turns.values()), strict=True)]
    with tempfile.TemporaryDirectory() as scratch, ThreadPoolExecutor() as threads:
        policy, runs = prepare_policy(scratch, **QUICKSTART_SETTINGS), []
        for shaping, timer in zip(turns, timers, strict=True):
            settings = [f"model.name_or_path={policy}", f"train.output_dir={scratch}/{shaping}"]
            settings += [f"train.advantage_shaping={shaping}", "offline=null", "evaluation=null", "data.limit=512"]
            settings += ["train.save_strategy='no'", "flow.standardise=false", "flow.random_start=true"]
            settings += [f"train.max_steps={WARMUP_STEPS + steps}", "train.disable_tqdm=true"]
            settings += ["train.learning_rate=0"]
            config = load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), settings)
            run = prepare(config, overwrite=False, resume=False)
            assert run is not None
            run.trainer.add_callback(timer)
            runs.append(run)  # they start once both are there, because Accelerators share a state
        done = [threads.submit(run.trainer.train) for run in runs]
        for future, timer in zip(done, timers, strict=True):  # a run that fails does not leave the other waiting
            future.add_done_callback(lambda _, turn=timer.other: turn.release(WARMUP_STEPS + steps))
        for future in done:
            future.result()
    with_flow, without = (timer.seconds[WARMUP_STEPS:] for timer in timers)
    ratio = statistics.median(a / b for a, b in zip(with_flow, without, strict=True))
    return {"ratio": ratio, "seconds": [statistics.median(with_flow), statistics.median(without)], "steps": steps}


def scoring(rounds: int) -> dict[str, dict[str, Any]]:
    """Time of the deviations of 8 responses at width 1,024 / time of the field's matmuls alone, by precision."""
    found = {}
    shape = FlowConfig(hidden_size=1024, num_policy_layers=36, rms_norm_eps=1e-6)
    field, mask = FlowField(shape), torch.arange(48) < torch.tensor([48, 40, 32, 24, 48, 40, 32, 24])[:, None]
    latents, seeds = Latents.pack(torch.randn(8, 3, 49, 1024), mask), torch.arange(8)
    rows = int(has_context(mask, 1).sum())
    linears = [module for module in field.modules() if isinstance(module, torch.nn.Linear)]
    embeddings = [*field.time_embed.modules(), *field.layer_embed.modules()]  # one row per pass
    weights = [module.weight.detach() for module in linears if module not in embeddings]
    for dtype in (torch.float32, torch.bfloat16):
        field.multiply_like(dtype == torch.bfloat16)
        cast = [weight.to(dtype) for weight in weights]
        inputs = {weight.shape[1]: torch.randn(rows, weight.shape[1], dtype=dtype) for weight in cast}

        def ours() -> None:
            velocity_deviation(field, latents, FlowRewardConfig(), seeds)

        def floor(cast: list[torch.Tensor] = cast, inputs: dict[int, torch.Tensor] = inputs) -> None:
            for _ in range(len(field.layer_indices)):
                for weight in cast:
                    torch.nn.functional.linear(inputs[weight.shape[1]], weight)

        found[str(dtype).removeprefix("torch.")] = in_turn(ours, floor, rounds)
    return found


def size() -> dict[str, float]:
    ratios = {}
    for name, (hidden, layers, billions, blocks) in PUBLISHED.items():
        config = FlowConfig(hidden_size=hidden, num_policy_layers=layers, rms_norm_eps=1e-6, num_blocks=blocks)
        ratios[name] = sum(parameter.numel() for parameter in FlowField(config).parameters()) / (billions * 1e9)
    return ratios


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="number of times that each pair is measured")
    parser.add_argument("--json", type=Path, help="file for the figures; they are always printed")
    arguments = parser.parse_args()
    figures = {"early_exit": early_exit(arguments.rounds), "step": step(5 * arguments.rounds)}
    figures |= {"scoring": scoring(arguments.rounds), "size": size()}
    figures |= environment()
    publish(figures, arguments.json)


if __name__ == "__main__":
    main()
