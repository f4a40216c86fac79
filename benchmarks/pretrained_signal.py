"""What do velocity deviations of a real pretrained policy say about its rollouts?

    python benchmarks/pretrained_signal.py --model .cache/smollm2 --json docs/results/pretrained_signal/chains.json
    python benchmarks/pretrained_signal.py --json docs/results/pretrained_signal/chains.json  # only the page

The policy answers arithmetic chains in words, after a short supervised warm-up on the format. Fields are trained on the
latents of expert solutions. Then, over 256 prompts with 8 rollouts each:

- reliability: does the deviation of a token repeat itself under other noise, with one draw and with eight?
- coherence: do the deviations of different layers agree, beyond the identity of the token?
- identity: how much of the deviation is the token's own identity, and what does the context add?
- ranking: within-group AUC of each score, and what it adds to the log-probability, with intervals over prompts.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from arithmetic_chains import TEST, TRAIN, problems
from chain_policy import add_warm_up_options, warm_up
from datasets import Dataset
from scipy.stats import rankdata
from tabulate import tabulate
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoTokenizer

from rlfr_mm.config import FlowConfig, FlowRewardConfig, ModelArguments, OfflineConfig
from rlfr_mm.files import read_json, write_json, write_whole
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.latents import Latents, record_latents
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment
from rlfr_mm.viewing.token_statistics import rank_scores

GROUP = 8
LAYERS = (0.25, 0.5, 0.75)
TIMES = (0.2, 0.5, 0.8, 0.9)
DRAWS = 8
SHIFTS = {"following": 1, "previous": -1}
LEARN = 10_000_000  # first seed of the problems whose rollouts the log-ratio learns
RATIO_PASSES = 4


class Rollouts:
    """N rollouts of at most T tokens, `GROUP` per prompt, with the latents of all flow layers."""

    def __init__(self, policy: Any, tokenizer: Any, rows: list[dict[str, Any]], options: argparse.Namespace):
        rows = [row for row in rows for _ in range(GROUP)]
        sampling: dict[str, Any] = {"max_new_tokens": options.tokens, "temperature": 1.0, "seed": 0}
        texts = answer_problems(policy, tokenizer, rows, batch_size=options.batch, description="rollouts", **sampling)
        rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in rows])
        self.correct = torch.tensor([reward == 1 for reward in rewards])
        self.prompt = np.arange(len(rows)) // GROUP
        answered = [{**row, "completion": text} for row, text in zip(rows, texts, strict=True)]
        self.parts: list[Latents] = []
        ids, logps, entropies, masks = [], [], [], []
        self.layers = [round(fraction * policy.config.num_hidden_layers) for fraction in LAYERS]
        for start in tqdm(range(0, len(rows), options.batch), desc="latents", unit="batch"):
            inputs, mask = encode_demonstrations(answered[start : start + options.batch], tokenizer, options.tokens)
            inputs, mask = {name: value.to(policy.device) for name, value in inputs.items()}, mask.to(policy.device)
            length = mask.shape[1]
            with torch.no_grad(), record_latents(policy, self.layers, mask) as recorder:
                logits = policy(**inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1].float()
            self.parts += recorder.passes
            spread = logits.log_softmax(-1)
            tokens = inputs["input_ids"][:, -length:]
            ids += list(tokens.cpu())
            logps += list(spread.gather(-1, tokens[..., None])[..., 0].cpu())
            entropies += list(-(spread.exp() * spread).sum(-1).cpu())
            masks += list(mask.cpu())
        self.ids, self.logps, self.entropies, self.mask = (
            pad_sequence(values, batch_first=True) for values in (ids, logps, entropies, masks)
        )

    def latents(self, field: FlowField) -> list[Latents]:
        """The latents of the field's layers, in parts."""
        index = [self.layers.index(layer) for layer in field.layer_indices]
        return [Latents(part.values[:, index], part.mask) for part in self.parts]

    def deviations(self, field: FlowField, config: FlowRewardConfig, salt: int, draws: int = 1) -> Tensor:
        """(N, T) velocity deviations, averaged over draws; the rollouts of a prompt share their noise."""
        total = torch.zeros(self.mask.shape)
        for draw in range(draws):
            first = 0
            for part in self.latents(field):
                numbers = torch.arange(first, first + len(part.mask)) // GROUP
                seeds = numbers + 1_000_003 * (salt * DRAWS + draw)
                values = velocity_deviation(field, part, config, seeds).cpu().float()
                total[first : first + len(values), : values.shape[1]] += values / draws
                first += len(values)
        return total


def train_field(policy: Any, tokenizer: Any, options: argparse.Namespace, **settings: Any) -> FlowField:
    """The field after its offline start on expert solutions."""
    demonstrations = Dataset.from_list(problems(options.demonstrations, options.steps, TRAIN))
    flow = FlowConfig(**({"num_blocks": 4, "standardise": True, "flow_layers": list(LAYERS)} | settings))
    offline = OfflineConfig(batch_size=64, learning_rate=5e-4, max_response_tokens=options.tokens)
    with tempfile.TemporaryDirectory() as scratch:
        start = OfflineStart(policy, tokenizer, demonstrations, flow, offline, Path(scratch) / "field", Accelerator())
        return start.run()


def contrast(field: FlowField, rollouts: Rollouts, learns: Tensor) -> FlowField:
    """A copy of the field, trained for a few passes on the rollouts for which `learns` (N,) is true."""
    copy = FlowField(field.config).to(next(field.parameters()).device)
    copy.load_state_dict(field.state_dict())
    updater, noise = FieldUpdater(copy, OfflineConfig(learning_rate=3e-4), Accelerator()), torch.Generator()
    for _ in range(RATIO_PASSES):
        first = 0
        for part in rollouts.latents(field):
            rows = learns[first : first + len(part.mask)].to(part.mask.device)
            first += len(part.mask)
            weights = (part.mask & rows[:, None]).float()
            updater.step([(part, weights, sample_seeds(noise, 0, len(part.mask)))])
    return copy


# ---------------------------------------------------------------------------------------------------- what is measured


def ranked(rollouts: Rollouts, values: Tensor, scored: Tensor) -> dict[str, Any]:
    """AUC of the mean of (N, T) values over the scored tokens, and what it adds to that of the log-probability."""
    mean = {"logprob": (rollouts.logps, rollouts.mask), "score": (values, scored)}
    arrays = {
        name: ((part * mask).sum(1) / mask.sum(1).clamp(min=1)).double().numpy() for name, (part, mask) in mean.items()
    }
    correct = rollouts.correct.double().numpy()
    *_, ranking = rank_scores(arrays, correct, group=rollouts.prompt, prompt=rollouts.prompt)
    assert ranking.auc and ranking.gain
    return {"auc": asdict(ranking.auc), "gain": asdict(ranking.gain)}


def agreement(first: Tensor, second: Tensor, scored: Tensor) -> float:
    """Spearman's correlation of two (N, T) quantities over the scored tokens of a rollout, averaged over rollouts."""
    found = []
    for a, b, mask in zip(first, second, scored, strict=True):
        if mask.sum() >= 3:
            x, y = rankdata(a[mask]), rankdata(b[mask])
            if x.std() and y.std():
                found.append(float(np.corrcoef(x, y)[0, 1]))
    return round(float(np.mean(found)), 4)


def without_identity(values: Tensor, rollouts: Rollouts, scored: Tensor) -> tuple[Tensor, float]:
    """(N, T) values minus the mean of their token, and the share of the variance that the mean explains.

    Means come from the other half of the prompts. A token that does not occur there gets the mean of all tokens.
    """
    half = torch.from_numpy(rollouts.prompt % 2)[:, None].expand_as(scored)
    rest = values.clone()
    for part in (0, 1):
        learnt, used = scored & (half != part), scored & (half == part)
        size = int(rollouts.ids.max()) + 1
        count = torch.bincount(rollouts.ids[learnt], minlength=size)
        total = torch.bincount(rollouts.ids[learnt], weights=values[learnt].double(), minlength=size)
        mean = torch.where(count > 0, total / count.clamp(min=1), values[learnt].double().mean())
        rest[used] = (values[used] - mean[rollouts.ids[used]]).float()
    return rest, round(1 - (rest[scored].var() / values[scored].var()).item(), 4)


def reliability(rollouts: Rollouts, field: FlowField, config: FlowRewardConfig, draws: int) -> dict[str, float]:
    """Two measurements of the same latents under other noise: deviations, rewarded tokens, advantages."""
    scored = scored_tokens(rollouts.mask, config.context_shifts or field.config.context_shifts)
    first, second = (rollouts.deviations(field, config, salt, draws) for salt in (0, 1))
    rewards = [flow_reward(values, scored, config, GROUP) for values in (first, second)]
    chosen = [reward != 0 for reward in rewards]
    togo = [reward.flip(1).cumsum(1).flip(1)[rollouts.mask] for reward in rewards]
    return {
        "deviation_rank_correlation": agreement(first, second, scored),
        "rewarded_jaccard": round(((chosen[0] & chosen[1]).sum() / (chosen[0] | chosen[1]).sum()).item(), 4),
        "advantage_correlation": round(torch.corrcoef(torch.stack(togo))[0, 1].item(), 4),
    }


def measure(rollouts: Rollouts, learn: Rollouts, fields: dict[tuple[str, str], FlowField]) -> dict[str, Any]:
    """All figures of the record."""
    rows: list[dict[str, Any]] = []

    def add(score: str, field: str, context: str, at: float | None, draws: int, values: Tensor, scored: Tensor) -> None:
        named = {"score": score, "field": field, "context": context, "time": at, "draws": draws}
        rows.append(named | ranked(rollouts, values, scored))

    add("log-probability", "", "", None, 0, rollouts.logps, rollouts.mask)
    add("minus entropy", "", "", None, 0, -rollouts.entropies, rollouts.mask)
    eight: dict[tuple[str, str], Tensor] = {}
    identity, reliable = {}, {}
    for (layers, context), field in tqdm(fields.items(), desc="fields"):
        scored = scored_tokens(rollouts.mask, [SHIFTS[context]])
        for at in TIMES if layers == "all" else (0.8,):
            config = FlowRewardConfig(times=[at])
            for draws in (1, DRAWS):
                values = rollouts.deviations(field, config, 0, draws)
                add("minus deviation", layers, context, at, draws, -values, scored)
                if at == 0.8 and draws == DRAWS:
                    eight[layers, context] = values
                    rest, share = without_identity(values, rollouts, scored)
                    identity[f"{layers}, {context}"] = {"variance_explained_by_token": share}
                    add("minus deviation, token's mean removed", layers, context, at, draws, -rest, scored)
                    if layers == "all":
                        reward = flow_reward(values, scored, config, GROUP)
                        add("the paper's reward", layers, context, at, draws, reward, rollouts.mask)
        if layers == "all":
            reliable[context] = {str(n): reliability(rollouts, field, FlowRewardConfig(), n) for n in (1, DRAWS)}
            accepted, rejected = (contrast(field, learn, learns) for learns in (learn.correct, ~learn.correct))
            for at in TIMES:
                config = FlowRewardConfig(times=[at])
                ratio = rollouts.deviations(rejected, config, 0, DRAWS) - rollouts.deviations(
                    accepted, config, 0, DRAWS
                )
                add("log-ratio", layers, context, at, DRAWS, ratio, scored)
    return {"reliability": reliable, "identity": identity, "coherence": coherence(eight, rollouts), "ranking": rows}


def coherence(values: dict[tuple[str, str], Tensor], rollouts: Rollouts) -> list[dict[str, Any]]:
    """Rank correlations per token between the deviations of two layers, and of what the token's mean leaves."""
    found = []
    layers = [str(layer) for layer in LAYERS]
    scored = scored_tokens(rollouts.mask, [SHIFTS["previous"]])
    for i, first in enumerate(layers):
        for second in layers[i + 1 :]:
            pair = [values[layer, "previous"] for layer in (first, second)]
            rest = [without_identity(part, rollouts, scored)[0] for part in pair]
            found.append(
                {"layers": [first, second], "deviation": agreement(*pair, scored), "rest": agreement(*rest, scored)}
            )
    return found


def page(record: dict[str, Any]) -> str:
    """The record as a page in Markdown."""

    def shown(estimate: dict[str, float], form: str) -> str:
        return f"{estimate['value']:{form}} [{estimate['low']:{form}}, {estimate['high']:{form}}]"

    ranking = [
        [row["score"], row["field"], row["context"], row["time"], row["draws"] or None,
         shown(row["auc"], ".3f"), shown(row["gain"], "+.3f") if row["score"] != "log-probability" else None]
        for row in record["ranking"]
    ]  # fmt: skip
    reliability = [
        [context, n, *row.values()] for context, found in record["reliability"].items() for n, row in found.items()
    ]
    coherence = [[" and ".join(row["layers"]), row["deviation"], row["rest"]] for row in record["coherence"]]
    identity = [[name, row["variance_explained_by_token"]] for name, row in record["identity"].items()]
    layout = {"tablefmt": "github", "missingval": "", "disable_numparse": True}
    mixed, policy = record["mixed_groups"], record["policy"]
    parts = [
        "# What the deviations of a pretrained policy say",
        "Written by `python benchmarks/pretrained_signal.py --json RECORD`; do not edit.",
        f"`{policy}` answers arithmetic chains of {record['operations']} operations in words, after a supervised "
        f"warm-up on the format: accuracy {record['accuracy']:.1%} at temperature 1, {record['prompts']} prompts x "
        f"{GROUP} rollouts, "
        f"{record['tokens']:,} tokens, {mixed:.0%} of the groups with both outcomes. One warm-up, one set of fields: "
        "the intervals are over prompts only. No RL was run.",
        "## Ranking within groups",
        "AUC of a rollout's mean score, and what the score adds to the AUC of the log-probability; 95 % intervals.",
        tabulate(ranking, ["score", "field", "context", "time", "draws", "AUC", "gain"], **layout),
        "## Reliability",
        "Two measurements of the same latents under other noise, by the number of draws that each averages: rank "
        "correlation of deviations within a rollout, overlap (Jaccard) of the rewarded tokens, correlation of what is "
        "added to the advantages.",
        tabulate(reliability, ["context", "draws", "deviation", "rewarded tokens", "advantage"], **layout),
        "## Agreement between layers",
        "Rank correlation, within a rollout, of the deviations of two fields of one layer each, eight draws; the "
        "second figure is without the mean of each token.",
        tabulate(coherence, ["layers", "deviation", "without the token's mean"], **layout),
        "## Identity of the token",
        "Share of the variance of the deviation that the mean of its token explains, learnt on the other half of the "
        "prompts.",
        tabulate(identity, ["field", "share"], **layout),
        f"Hardware: {record['hardware']['gpu'] or 'CPU'}; {record['seconds']:.0f} s.",
    ]
    return "\n\n".join(parts) + "\n"


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--model", help="folder of a pretrained text policy; without it only the page is written")
    add_warm_up_options(parser)
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--learn-prompts", type=int, default=512, help="prompts whose rollouts the log-ratio learns")
    parser.add_argument("--demonstrations", type=int, default=4096)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    return parser.parse_args(arguments)


def main() -> None:
    options, began = parse(), time.monotonic()
    if not options.model:
        write_whole(options.json.with_name("README.md"), page(read_json(options.json)))
        return
    torch.manual_seed(0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    policy = load_policy(ModelArguments(name_or_path=options.model)).to(device)
    tokenizer = AutoTokenizer.from_pretrained(options.model, padding_side="left")
    accuracies = warm_up(policy, tokenizer, options)
    learn = Rollouts(policy, tokenizer, problems(options.learn_prompts, options.steps, LEARN), options)
    rollouts = Rollouts(policy, tokenizer, problems(options.prompts, options.steps, TEST), options)
    fields = {("all", name): train_field(policy, tokenizer, options, context_shifts=[s]) for name, s in SHIFTS.items()}
    for layer in LAYERS:
        single = {"flow_layers": [layer], "context_shifts": [SHIFTS["previous"]]}
        fields[str(layer), "previous"] = train_field(policy, tokenizer, options, **single)
    correct = rollouts.correct.view(-1, GROUP).float().mean(1)
    record = {
        "policy": Path(options.model).name,
        "operations": options.steps,
        "warmup_accuracies": accuracies,
        "accuracy": round(correct.mean().item(), 4),
        "mixed_groups": round(((correct > 0) & (correct < 1)).float().mean().item(), 4),
        "prompts": options.prompts,
        "rollouts": len(rollouts.mask),
        "tokens": int(rollouts.mask.sum()),
    }
    record |= measure(rollouts, learn, fields)
    record |= environment() | {"seconds": round(time.monotonic() - began, 1)}
    if options.json:
        write_json(options.json, record, indent=1)
        write_whole(options.json.with_name("README.md"), page(record))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
