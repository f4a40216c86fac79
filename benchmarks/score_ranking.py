"""Which token score ranks the rollouts of a group best, before any RL, and what does it add to the log-probability?

    python benchmarks/score_ranking.py --level 3 --json docs/results/score_ranking/level3.json

- The embedded policy samples the rollouts once.
- The offline start trains one field per context, latent space and layer. The two fields of the log-ratio are then
  trained on the right and on the wrong rollouts of half of the prompts.
- The scores are ranked on the other half of the prompts: within-group AUC of a rollout's mean score, and what it adds
  to the AUC of the log-probability, with intervals over prompts.

`python -m rlfr_mm.results` puts the records into docs/results.md.
"""

import argparse
import copy
import json
import math
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoProcessor

from rlfr_mm.config import FlowConfig, FlowRewardConfig, ModelArguments, OfflineConfig
from rlfr_mm.files import write_json
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.latents import Latents, record_latents
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.warmup import prepare_policy
from rlfr_mm.statistics import BOOTSTRAP_MINIMUM
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment
from rlfr_mm.viewing.token_statistics import rank_scores

GROUP = 8
MAX_NEW_TOKENS = 48
BATCH = 128  # sequences per forward pass
UNCERTAIN = 0.9  # a token is uncertain if the policy gave it at most this probability
LAYERS = (0.25, 0.5, 0.75)
TIMES = (0.2, 0.4, 0.6, 0.8, 0.9)
OFFLINE = {"batch_size": 32, "learning_rate": 2e-3}  # as in configs/rl/quickstart.yaml
RATIO_PASSES = 4  # over the rollouts that each field of the log-ratio is trained on


@dataclass(frozen=True)
class Sampled:
    """N rollouts of T tokens, `GROUP` per prompt, with the latents of all layers."""

    latents: Tensor  # (N, layer, 1 + T, hidden)
    ids: Tensor  # (N, T)
    logps: Tensor  # (N, T)
    mask: Tensor  # (N, T)
    correct: Tensor  # (N,)

    def __getitem__(self, rows: slice) -> "Sampled":
        return Sampled(self.latents[rows], self.ids[rows], self.logps[rows], self.mask[rows], self.correct[rows])


def sample(policy: Any, processor: Any, rows: list[dict[str, Any]]) -> Sampled:
    """`GROUP` rollouts per row, at temperature 1."""
    problems = [row for row in rows for _ in range(GROUP)]
    sampling: dict[str, Any] = {"max_new_tokens": MAX_NEW_TOKENS, "temperature": 1.0, "seed": 0}
    texts = answer_problems(policy, processor, problems, batch_size=BATCH, description="rollouts", **sampling)
    rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in problems])
    rows = [{**row, "completion": text} for row, text in zip(problems, texts, strict=True)]
    parts: dict[str, list[Tensor]] = {"latents": [], "ids": [], "logps": [], "mask": []}
    layers = list(range(policy.config.get_text_config().num_hidden_layers))
    for start in tqdm(range(0, len(rows), BATCH), desc="latents", unit="batch"):
        inputs, mask = encode_demonstrations(rows[start : start + BATCH], processor, MAX_NEW_TOKENS)
        length = mask.shape[1]
        whole = torch.ones_like(mask)  # padding too, because the probe works on rectangles
        with torch.no_grad(), record_latents(policy, layers, whole) as recorder:
            logps = log_probabilities(policy, inputs, length)
        ids = inputs["input_ids"][:, -length:]
        latents = recorder.passes[0].values.unflatten(0, (len(mask), length + 1))  # (row, position, layer, hidden)
        for name, values in (("latents", latents), ("ids", ids), ("logps", logps), ("mask", mask)):
            parts[name] += list(values)
    padded = {name: pad_sequence(values, batch_first=True) for name, values in parts.items()}
    correct = torch.tensor([reward == 1 for reward in rewards])
    return Sampled(padded["latents"].transpose(1, 2), padded["ids"], padded["logps"], padded["mask"], correct)


def log_probabilities(policy: Any, inputs: dict[str, Tensor], length: int) -> Tensor:
    """(N, length) of the last tokens of each row."""
    logits = policy(**inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
    return logits.log_softmax(-1).gather(-1, inputs["input_ids"][:, -length:, None])[..., 0]


def ranked(rollouts: Any, values: Tensor, scored: Tensor) -> dict[str, Any]:
    """AUC and gain of the mean of (N, T) values over the scored tokens; a rollout without scored tokens has mean 0.

    The rollouts have (N, T) `logps` and `mask`, and (N,) `correct`.
    """
    scores = {
        "logprob": (rollouts.logps * rollouts.mask).sum(1) / rollouts.mask.sum(1),
        "score": (values * scored).sum(1) / scored.sum(1).clamp(min=1),
    }
    arrays = {name: score.double().numpy() for name, score in scores.items()}
    prompt = np.arange(len(rollouts.mask)) // GROUP
    *_, ranking = rank_scores(arrays, rollouts.correct.double().numpy(), group=prompt, prompt=prompt)
    assert ranking.auc and ranking.gain
    return {"auc": asdict(ranking.auc), "gain": asdict(ranking.gain)}


def deviations(field: FlowField, rollouts: Sampled, config: FlowRewardConfig) -> Tensor:
    """(N, T) velocity deviations. The noise is seeded by prompt, so that the rollouts of a group share it."""
    parts = []
    for start in range(0, len(rollouts.mask), BATCH):
        part = rollouts[slice(start, start + BATCH)]
        latents = Latents.pack(part.latents[:, field.layer_indices], part.mask)
        seeds = torch.arange(start, start + len(part.mask)) // GROUP
        parts.append(velocity_deviation(field, latents, config, seeds))
    return torch.cat(parts)


def contrast(field: FlowField, rollouts: Sampled, learns: Tensor, accelerator: Accelerator) -> FlowField:
    """A copy of the field, trained for a few passes on the rollouts for which `learns` is true."""
    updater = FieldUpdater(copy.deepcopy(field), OfflineConfig(learning_rate=1e-3), accelerator)
    noise, index = torch.Generator().manual_seed(0), learns.nonzero()[:, 0]
    for _ in range(RATIO_PASSES):
        order = index[torch.randperm(len(index), generator=noise)]
        for rows in order.split(OFFLINE["batch_size"]):
            mask = rollouts.mask[rows]
            latents = Latents.pack(rollouts.latents[rows][:, field.layer_indices], mask)
            updater.step([(latents, mask.float(), sample_seeds(noise, 0, len(rows)))])
    return updater.field


def parse(about: str, prompts: int) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=about.split("\n\n")[0])
    parser.add_argument("--level", type=int, default=3, choices=world.LEVELS)
    parser.add_argument("--operations", type=int, help="per problem; default: one less than counts")
    parser.add_argument("--max-value", type=int, default=world.DEFAULT_RULES.max_value, help="largest answer")
    parser.add_argument("--warmup-accuracy", type=float, default=0.3, help="ends the warm-up of the policy")
    parser.add_argument("--warmup-seed", type=int, default=0, help="of the policy: its first weights and its warm-up")
    parser.add_argument("--prompts", type=int, default=prompts)
    parser.add_argument("--cache", type=Path, default=Path(".cache/quickstart"), help="folder of warmed-up policies")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    options = parser.parse_args()
    if options.prompts < 2 * BOOTSTRAP_MINIMUM:
        parser.error(
            f"--prompts={options.prompts} must be at least {2 * BOOTSTRAP_MINIMUM}: some are learnt from, and "
            f"intervals need {BOOTSTRAP_MINIMUM}"
        )
    return options


@dataclass(frozen=True)
class Setting:
    """The policy of one level and the expert solutions that fields are trained on."""

    policy: Any
    processor: Any
    demonstrations: Dataset
    problems: list[dict[str, Any]]  # that neither the warm-up nor the offline start has seen
    accelerator: Accelerator

    @classmethod
    def of(cls, options: argparse.Namespace) -> "Setting":
        levels, rules = [options.level], world.Rules(options.operations, options.max_value)
        folder = prepare_policy(
            options.cache,
            levels=levels,
            seed=options.warmup_seed,
            target_accuracy=options.warmup_accuracy,
            rules=rules,
        )
        return cls(
            load_policy(ModelArguments(name_or_path=str(folder))).eval(),
            AutoProcessor.from_pretrained(folder, padding_side="left"),
            Dataset.from_list(world.rows(2048, "train", levels, rules=rules)),
            world.rows(options.prompts, "test", levels, rules=rules),
            Accelerator(cpu=True),
        )

    def field(self, epochs: int = 2, **settings: Any) -> FlowField:
        """The field after an offline start of so many epochs."""
        flow = FlowConfig(**({"num_blocks": 2, "batch_multiplier": 1, "standardise": True} | settings))
        return self.started(flow, OfflineConfig(**OFFLINE, num_train_epochs=epochs))

    def started(self, flow: FlowConfig, offline: OfflineConfig) -> FlowField:
        """The field after an offline start on the demonstrations."""
        with tempfile.TemporaryDirectory() as scratch:
            return OfflineStart(
                self.policy, self.processor, self.demonstrations, flow, offline,
                Path(scratch) / "field", self.accelerator,
            ).run()  # fmt: skip


def write(options: argparse.Namespace, everything: Sampled, rollouts: Sampled, rows: list[dict[str, Any]]) -> None:
    """Write the record: how accurate the policy is, and how well each score ranks its rollouts."""
    correct = everything.correct.view(-1, GROUP).float().mean(1)
    record = {
        "level": options.level,
        "accuracy": round(correct.mean().item(), 4),
        "groups_all_wrong": round((correct == 0).float().mean().item(), 4),
        "groups_all_right": round((correct == 1).float().mean().item(), 4),
        "prompts": len(rollouts.mask) // GROUP,
        "rollouts": len(rollouts.mask),
        "rows": rows,
    }
    record |= environment()
    if options.json:
        write_json(options.json, record, indent=1)
    print(json.dumps(record, indent=1))


def main() -> None:
    options = parse(__doc__ or "", prompts=512)
    setting = Setting.of(options)
    everything = sample(setting.policy, setting.processor, setting.problems)
    half = GROUP * (options.prompts // 2)
    learnt, rollouts = everything[slice(0, half)], everything[slice(half, None)]
    uncertain = rollouts.mask & (rollouts.logps <= math.log(UNCERTAIN))
    rows: list[dict[str, Any]] = []

    def add(score: str, field: str, context: str, time: float | None, values: Tensor, scored: Tensor) -> None:
        for tokens, chosen in (("all", scored), (f"p <= {UNCERTAIN}", scored & uncertain)):
            found = ranked(rollouts, values, chosen)
            rows.append({"score": score, "field": field, "context": context, "time": time, "tokens": tokens, **found})

    names = {1: "following", -1: "previous", 0: "itself"}
    fields: dict[tuple[str, int], FlowField] = {}
    add("log-probability", "", "", None, rollouts.logps, rollouts.mask)
    for shift in names:
        fields["all layers", shift] = setting.field(context_shifts=[shift])
    for layer in LAYERS:
        fields[f"layer {layer}", -1] = setting.field(flow_layers=[layer], context_shifts=[-1])
    fields["all layers, raw", -1] = setting.field(standardise=False, context_shifts=[-1])
    for (kind, shift), field in fields.items():
        for time in TIMES if kind == "all layers" else (0.8,):
            for used in (1, -1) if (kind, shift) == ("all layers", 1) else (shift,):
                config = FlowRewardConfig(times=[time], context_shifts=[used])
                context = names[used] if used == shift else f"{names[shift]}, used with {names[used]}"
                values = -deviations(field, rollouts, config)
                add("minus deviation", kind, context, time, values, scored_tokens(rollouts.mask, [used]))
    for shift in (1, -1):
        start = fields["all layers", shift]
        right = contrast(start, learnt, learnt.correct, setting.accelerator)
        wrong = contrast(start, learnt, ~learnt.correct, setting.accelerator)
        for time in TIMES:
            config = FlowRewardConfig(times=[time], context_shifts=[shift])
            ratio = deviations(wrong, rollouts, config) - deviations(right, rollouts, config)
            add("log-ratio", "all layers", names[shift], time, ratio, scored_tokens(rollouts.mask, [shift]))
    write(options, everything, rollouts, rows)


if __name__ == "__main__":
    main()
