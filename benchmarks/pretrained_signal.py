"""What do velocity deviations of a real pretrained policy say about its rollouts?

    python benchmarks/pretrained_signal.py --problems .cache/chains --json docs/results/pretrained_signal/chains.json
    python benchmarks/pretrained_signal.py --json docs/results/pretrained_signal/chains.json  # only the page

`warm_policy.py` writes the problems and the policy, which has had a short supervised warm-up on their format. Fields
are trained on the latents of expert solutions. Then, over 256 prompts with 8 rollouts each, in groups with both
outcomes:

- reliability: does the deviation of a token repeat itself under other noise, with one draw and with eight?
- coherence: do the deviations of different layers agree, beyond the identity of the token?
- identity: how much of the deviation is the token's own identity, and what does the context add?
- ranking: within-group AUC of each score, and what it adds to the log-probability, with intervals over prompts.

Rollouts and fields are kept in the folder of the problems, so that the same command goes on where it was ended.
"""

import argparse
import json
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from scipy.stats import rankdata
from tabulate import tabulate
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import AutoTokenizer

from rlfr_mm.config import DataArguments, FlowConfig, FlowRewardConfig, ModelArguments, OfflineConfig
from rlfr_mm.data.load import load_demonstrations
from rlfr_mm.files import read_json, sha256, write_json, write_whole
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.latents import Latents, record_latents
from rlfr_mm.method.loss import scored_tokens, velocity_deviation
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import answer_problems, encode_demonstrations, load_policy
from rlfr_mm.training.offline import OfflineStart
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment
from rlfr_mm.training.shared_fields import run_or_take
from rlfr_mm.training.stopping import StopSignals
from rlfr_mm.viewing.token_statistics import rank_scores

GROUP = 8
LAYERS = (0.25, 0.5, 0.75)
TIMES = (0.2, 0.5, 0.8, 0.9)
DRAWS = 8
SHIFTS = {"following": 1, "previous": -1}
RATIO_PASSES = 4


class Study:
    """The policy in the folder that `warm_policy.py` has written, with its problems."""

    def __init__(self, options: argparse.Namespace):
        self.options, self.folder = options, options.problems
        self.accelerator = Accelerator(mixed_precision=options.mixed_precision)
        policy = str(self.folder / "policy")
        self.policy = load_policy(ModelArguments(name_or_path=policy)).to(self.accelerator.device).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(policy, padding_side="left")

    def rows(self, split: str) -> Dataset:
        """The problems of a split, with expert solutions; they say themselves what to do."""
        return load_demonstrations(DataArguments(source=str(self.folder / f"{split}.jsonl"), instruction="none"))

    def answers(self, rows: list[dict[str, Any]], name: str) -> list[str]:
        """`GROUP` sampled responses per problem, which are kept for the next time."""
        weights = sha256(self.folder / "policy" / "model.safetensors")[:12]
        kept = self.folder / f"rollouts-{name}-{len(rows)}x{GROUP}-{self.options.tokens}-{weights}.json"
        if not kept.exists():
            sampling: dict[str, Any] = {"max_new_tokens": self.options.tokens, "temperature": 1.0, "seed": 0}
            sampling |= {"batch_size": self.options.batch, "description": f"rollouts, {name}"}
            with self.accelerator.autocast():
                write_json(kept, answer_problems(self.policy, self.tokenizer, repeated(rows), **sampling))
        return read_json(kept)

    def field(self, demonstrations: Dataset, **settings: Any) -> FlowField:
        """The field after its offline start on expert solutions, which is kept for the next time."""
        flow = FlowConfig(**({"standardise": True, "flow_layers": list(LAYERS)} | settings))
        offline = OfflineConfig(
            num_train_epochs=self.options.epochs, batch_size=64, learning_rate=5e-4, cache_latents=True,
            max_response_tokens=self.options.tokens, shared_dir=str(self.folder / "fields"),
        )  # fmt: skip
        working = self.folder / "fields" / "training"
        start = OfflineStart(self.policy, self.tokenizer, demonstrations, flow, offline, working, self.accelerator)
        run_or_take(start, StopSignals(""))
        field = FlowField.from_pretrained(working).to(self.policy.device)
        shutil.rmtree(working)
        field.multiply_like(self.options.mixed_precision == "bf16")
        return field


def repeated(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each row `GROUP` times in a row."""
    return [row for row in rows for _ in range(GROUP)]


class Rollouts:
    """N rollouts of at most T tokens, `GROUP` per prompt, with the latents of all flow layers.

    Args:
        texts: the responses; those of a problem follow each other.
        mixed: leave out groups with one outcome, which say nothing about the order within a group.
    """

    def __init__(self, study: Study, rows: list[dict[str, Any]], texts: list[str], mixed: bool):
        policy, options = study.policy, study.options
        answered = [{**row, "completion": text} for row, text in zip(repeated(rows), texts, strict=True)]
        rewards = accuracy_reward(completions=texts, solution=[row["solution"] for row in answered])
        correct = torch.tensor([reward == 1 for reward in rewards])
        self.accuracies = correct.view(-1, GROUP).float().mean(1)  # of all groups
        both = (self.accuracies > 0) & (self.accuracies < 1)
        kept = (both if mixed else torch.ones_like(both)).repeat_interleave(GROUP)
        if not kept.any():
            accuracy = f"accuracy {self.accuracies.mean():.1%}"
            raise SystemExit(
                f"error: no group of {GROUP} has both outcomes ({accuracy}): warm the policy up for longer"
            )
        answered = [row for row, keep in zip(answered, kept.tolist(), strict=True) if keep]
        self.correct = correct[kept]
        self.prompt = np.arange(len(answered)) // GROUP
        self.parts: list[Latents] = []
        ids, logps, entropies, masks = [], [], [], []
        self.layers = [round(fraction * policy.config.num_hidden_layers) for fraction in LAYERS]
        for start in tqdm(range(0, len(answered), options.batch), desc="latents", unit="batch"):
            batch = answered[start : start + options.batch]
            inputs, mask = encode_demonstrations(batch, study.tokenizer, options.tokens)
            inputs, mask = {name: value.to(policy.device) for name, value in inputs.items()}, mask.to(policy.device)
            length, recording = mask.shape[1], record_latents(policy, self.layers, mask)
            with torch.no_grad(), study.accelerator.autocast(), recording as recorder:
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


def contrast(field: FlowField, rollouts: Rollouts, learns: Tensor) -> FlowField:
    """A copy of the field, trained for a few passes on the rollouts for which `learns` (N,) is true."""
    copy = FlowField(field.config).to(next(field.parameters()).device)
    copy.load_state_dict(field.state_dict())
    copy.multiply_like(field.bf16_matmuls)
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


def measure(
    rollouts: Rollouts, learn: Rollouts, fields: dict[tuple[str, str], FlowField], times: Sequence[float]
) -> dict[str, Any]:
    """All figures of the record; the field of all layers is asked at each of the times, the others at 0.8."""
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
        for at in times if layers == "all" else (0.8,):
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
            for at in times:
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

    def shown(estimate: dict[str, Any], form: str) -> str:
        if estimate["low"] is None:  # too few prompts for an interval
            return f"{estimate['value']:{form}}"
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
        f"`{policy}` answers {record['problems']}, after a supervised warm-up on the format: accuracy "
        f"{record['accuracy']:.1%} at temperature 1, {record['prompts']} prompts x {GROUP} rollouts, "
        f"{mixed:.0%} of the groups with both outcomes; {record['rollouts']:,} rollouts of {record['tokens']:,} tokens "
        "are measured. One warm-up, one set of fields: the intervals are over prompts only. No RL was run.",
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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=Path, metavar="FOLDER", help="what warm_policy.py wrote; else only the page")
    parser.add_argument("--prompts", type=int, default=256)
    parser.add_argument("--learn-prompts", type=int, default=512, help="prompts whose rollouts the log-ratio learns")
    parser.add_argument("--demonstrations", type=int, default=4096, help="at most, for the fields")
    parser.add_argument("--epochs", type=float, default=2, help="of the fields")
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="of the field of all layers")
    parser.add_argument("--tokens", type=int, default=96, help="longest response")
    parser.add_argument("--batch", type=int, default=256, help="problems answered at once")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write the record to this file, and the page beside it"
    )
    return parser.parse_args(arguments)


def main() -> None:
    options, began = parse(), time.monotonic()
    if options.problems is None:
        write_whole(options.json.with_suffix(".md"), page(read_json(options.json)))
        return
    study, warm_up = Study(options), read_json(options.problems / "warmup.json")
    test, train = study.rows("test"), study.rows("train")
    left = len(train) - options.learn_prompts
    asked = {"learn": [train[i] for i in range(left, len(train))], "test": [test[i] for i in range(options.prompts)]}
    texts = {name: study.answers(rows, name) for name, rows in asked.items()}
    learn, rollouts = (Rollouts(study, asked[name], texts[name], mixed=name == "test") for name in asked)
    demonstrations = train.select(range(min(left, options.demonstrations)))
    fields = {("all", name): study.field(demonstrations, context_shifts=[shift]) for name, shift in SHIFTS.items()}
    for layer in LAYERS:
        single = {"flow_layers": [layer], "context_shifts": [SHIFTS["previous"]]}
        fields[str(layer), "previous"] = study.field(demonstrations, **single)
    record = {
        "policy": warm_up["model"],
        "problems": warm_up["problems"],
        "warmup_accuracies": warm_up["accuracies"],
        "accuracy": round(rollouts.accuracies.mean().item(), 4),
        "mixed_groups": round(len(rollouts.mask) / GROUP / options.prompts, 4),
        "prompts": options.prompts,
        "rollouts": len(rollouts.mask),
        "tokens": int(rollouts.mask.sum()),
        "demonstrations": len(demonstrations),
        "epochs": options.epochs,
    }
    record |= measure(rollouts, learn, fields, options.times)
    record |= environment() | {"seconds": round(time.monotonic() - began, 1)}
    if options.json:
        write_json(options.json, record, indent=1)
        write_whole(options.json.with_suffix(".md"), page(record))
    print(json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
