"""Compare field updates with four draws per latent, one, and one for half of the tokens.

`python benchmarks/draws_per_latent.py --json benchmarks/results/draws_per_latent.json`

`update.batch_multiplier` is how often a field update draws a time and noise for each latent, and `update.token_share`
the share of the tokens that it uses. Here the field of the quickstart learns the latents of its demonstrations, from
the same weights and in the same order. For every seed: the loss on demonstrations that it did not see (64 draws per
latent), and CPU seconds per update. `excess` compares the loss with that of four draws.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from timing import publish
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlfr_mm.config import FlowConfig, OnlineUpdateConfig, RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.method.field import FlowField, latent_statistics
from rlfr_mm.method.latents import Latents, record_latents, stop_after_layer
from rlfr_mm.method.loss import flow_matching_chunks
from rlfr_mm.method.update import FieldUpdater, drawn_tokens
from rlfr_mm.policy import encode_demonstrations
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.warmup import QUICKSTART_SETTINGS, prepare_policy
from rlfr_mm.training.run_folder import environment

ROOT = Path(__file__).resolve().parent.parent
TEST_DRAWS, BATCH = 64, 32
UPDATES = {"four draws": (4, 1.0), "one draw": (1, 1.0), "half of the tokens": (1, 0.5)}  # draws, share of the tokens


def demonstrations(config: FlowConfig, batches: int) -> tuple[Any, list[Latents]]:
    """The policy's configuration and the latents of batches of demonstrations."""
    with tempfile.TemporaryDirectory() as cache:
        folder = prepare_policy(cache, **QUICKSTART_SETTINGS)
        policy = AutoModelForImageTextToText.from_pretrained(folder).eval()
        processor = AutoProcessor.from_pretrained(folder, padding_side="left")
    layers, latents = FlowField.for_policy(config, policy.config).layer_indices, list[Latents]()
    everything = world.rows(batches * BATCH, "train", [2])
    for first in range(0, len(everything), BATCH):
        inputs, mask = encode_demonstrations(everything[first : first + BATCH], processor, 48)
        recording = record_latents(policy, layers, mask)
        with torch.no_grad(), recording as recorder, stop_after_layer(policy, max(layers)):
            policy(**inputs, use_cache=False)
        latents += recorder.passes
    return policy.config, latents


def test_loss(field: FlowField, batches: list[Latents]) -> float:
    """The mean flow-matching loss with the same `TEST_DRAWS` draws per latent for every field."""
    loss, weight = 0.0, 0.0
    for number, latents in enumerate(batches):
        seeds = 10**6 + number * BATCH + torch.arange(len(latents.mask))
        with torch.no_grad():
            for chunk in flow_matching_chunks(field, latents, latents.mask.float(), seeds, TEST_DRAWS):
                loss, weight = loss + float(chunk.loss), weight + float(chunk.weight)
    return loss / weight


def learn(field: FlowField, batches: list[Latents], draws: int, share: float, steps: int, seed: int) -> float:
    """Update the field `steps` times, and return the CPU seconds of one update."""
    config = load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), [])
    update = OnlineUpdateConfig(learning_rate=config.update.learning_rate, batch_multiplier=draws)
    updater, order = FieldUpdater(field, update, Accelerator(cpu=True)), torch.Generator().manual_seed(seed)
    started = time.process_time()
    for step in range(steps):
        latents = batches[int(torch.randint(len(batches), (1,), generator=order))]
        seeds = (seed * steps + step) * BATCH + torch.arange(len(latents.mask))
        used = latents.mask & drawn_tokens(seeds, latents.mask.shape[1], share) if share < 1 else latents.mask
        updater.step([(latents, used.float(), seeds)])
    return (time.process_time() - started) / steps


def measure(steps: int, seeds: int, batches: int) -> dict[str, Any]:
    shape = load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), []).flow
    policy, latents = demonstrations(shape, batches)
    train, test = latents[: -batches // 4], latents[-batches // 4 :]
    parts = [latent_statistics(part) for part in train]
    losses: dict[str, list[float]] = {name: [] for name in UPDATES}
    seconds: dict[str, list[float]] = {name: [] for name in UPDATES}
    for seed in range(seeds):
        for name, (draws, share) in UPDATES.items():
            field = FlowField.for_policy(shape, policy, seed=seed)
            field.set_statistics(sum(parts[1:], parts[0]))
            seconds[name].append(learn(field, train, draws, share, steps, seed))
            losses[name].append(test_loss(field, test))
    figures: dict[str, Any] = {"test_loss": losses, "steps": steps, "seeds": seeds}
    for name in UPDATES:
        excess = [a / b - 1 for a, b in zip(losses[name], losses["four draws"], strict=True)]
        times = statistics.median(a / b for a, b in zip(seconds[name], seconds["four draws"], strict=True))
        figures[name] = {"excess": statistics.mean(excess), "range": [min(excess), max(excess)], "time": times}
    return figures | environment()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=128, help="updates per field")
    parser.add_argument("--seeds", type=int, default=3, help="fields per kind of update")
    parser.add_argument("--batches", type=int, default=32, help=f"batches of {BATCH} demonstrations; a quarter tests")
    parser.add_argument("--json", type=Path, help="file for the figures; they are always printed")
    options = parser.parse_args()
    figures = measure(options.steps, options.seeds, options.batches)
    publish(figures, options.json)


if __name__ == "__main__":
    main()
