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
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from datasets import Dataset
from pretrained_policy import DRAWS, LAYERS, PolicyFolder, Rollouts
from scipy.stats import rankdata
from score_ranking import GROUP, ranked
from tabulate import tabulate
from torch import Tensor
from tqdm import tqdm

from rlfr_mm.config import FlowRewardConfig, OfflineConfig
from rlfr_mm.files import read_json, write_json, write_whole
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.training.run_folder import environment

TIMES = (0.2, 0.5, 0.8, 0.9)
SHIFTS = {"following": 1, "previous": -1}
RATIO_PASSES = 4


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
        "rewarded_jaccard": round(
            ((chosen[0] & chosen[1]).sum() / (chosen[0] | chosen[1]).sum().clamp(min=1)).item(), 4
        ),
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
    mixed, policy, learnt = record["mixed_groups"], record["policy"], ""
    if "learnt" in record:  # not in the record of chains
        learnt = "; the two fields of the log-ratio learn from {rollouts:,} other rollouts, {right} of them right"
        learnt = learnt.format(**record["learnt"])
    parts = [
        "# What the deviations of a pretrained policy say",
        "Written by `python benchmarks/pretrained_signal.py --json RECORD`; do not edit.",
        f"`{policy}` answers {record['problems']}, after a supervised warm-up on the format: accuracy "
        f"{record['accuracy']:.1%} at temperature 1, {record['prompts']} prompts x {GROUP} rollouts, "
        f"{mixed:.0%} of the groups with both outcomes; {record['rollouts']:,} rollouts of {record['tokens']:,} tokens "
        f"are measured{learnt}. One warm-up, one set of fields: the intervals are over prompts only. No RL was run.",
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
    parser.add_argument("--times", type=float, nargs="+", default=TIMES, help="of the field of all layers; one is 0.8")
    parser.add_argument("--tokens", type=int, default=96, help="longest response")
    parser.add_argument("--batch", type=int, default=256, help="problems answered at once")
    parser.add_argument("--mixed-precision", choices=["no", "bf16"], default="no")
    parser.add_argument(
        "--json", type=Path, metavar="OUT", help="write the record to this file, and the page beside it"
    )
    options = parser.parse_args(arguments)
    if options.problems is None and options.json is None:
        parser.error("give --problems FOLDER, or --json RECORD to write the page of a record")
    for name in ("prompts", "learn_prompts", "demonstrations", "tokens", "batch"):
        if getattr(options, name) < 1:
            parser.error(f"--{name.replace('_', '-')} must be at least 1")
    if 0.8 not in options.times or not all(0 < at < 1 for at in options.times):
        parser.error("--times must be between 0 and 1, and one of them 0.8, at which the layers are compared")
    return options


def split(folder: PolicyFolder) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Dataset]:
    """The problems that are measured, those whose rollouts the log-ratio learns, and the fields' expert solutions."""
    options, test, train = folder.options, folder.rows("test"), folder.rows("train")
    if options.prompts > len(test):
        raise ValueError(f"--prompts {options.prompts}: {options.problems / 'test.jsonl'} has {len(test)}")
    if options.learn_prompts >= len(train):
        raise ValueError(
            f"--learn-prompts {options.learn_prompts}: {options.problems / 'train.jsonl'} has {len(train)}"
        )
    left = len(train) - options.learn_prompts
    measured, learn = [test[i] for i in range(options.prompts)], [train[i] for i in range(left, len(train))]
    return measured, learn, train.select(range(min(left, options.demonstrations)))


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """The record."""
    began, folder = time.monotonic(), PolicyFolder(options)
    asked, asked_to_learn, demonstrations = split(folder)
    warm_up = read_json(options.problems / "warmup.json")
    rollouts = Rollouts(folder, asked, folder.answers(asked, "test"), mixed=True)
    learn = Rollouts(folder, asked_to_learn, folder.answers(asked_to_learn, "learn"), mixed=False)
    if learn.correct.all() or not learn.correct.any():
        raise ValueError(
            f"all rollouts that the log-ratio learns have one outcome: raise --learn-prompts {options.learn_prompts}"
        )
    fields = {("all", name): folder.field(demonstrations, context_shifts=[shift]) for name, shift in SHIFTS.items()}
    for layer in LAYERS:
        single = {"flow_layers": [layer], "context_shifts": [SHIFTS["previous"]]}
        fields[str(layer), "previous"] = folder.field(demonstrations, **single)
    record = {
        "policy": warm_up["model"],
        "problems": warm_up["problems"],
        "warmup_accuracies": warm_up["accuracies"],
        "accuracy": round(rollouts.accuracies.mean().item(), 4),
        "mixed_groups": round(len(rollouts.mask) / GROUP / options.prompts, 4),
        "prompts": options.prompts,
        "rollouts": len(rollouts.mask),
        "tokens": int(rollouts.mask.sum()),
        "learnt": {"rollouts": len(learn.mask), "right": int(learn.correct.sum())},  # by the log-ratio
        "demonstrations": len(demonstrations),
        "epochs": options.epochs,
    }
    record |= measure(rollouts, learn, fields, options.times)
    return record | environment() | {"seconds": round(time.monotonic() - began, 1)}


def main() -> None:
    options = parse()
    try:
        record = measured(options) if options.problems else read_json(options.json)
        if "ranking" not in record:
            raise ValueError(f"{options.json} is not a record of this benchmark")
        if options.problems:
            print(json.dumps(record, indent=1))
        if options.problems and options.json:
            write_json(options.json, record, indent=1)
        if options.json:
            write_whole(options.json.with_suffix(".md"), page(record))
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {error}") from None


if __name__ == "__main__":
    main()
