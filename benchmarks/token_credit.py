"""Which score sees the token that spoils a solution? Each token's true advantage against what the scores say of it.

    python benchmarks/token_credit.py --level 2 --operations 4 --max-value 99 --warmup-accuracy 0.25 \\
        --json docs/results/token_credit/chains.json

The embedded policy samples rollouts, as in score_ranking.py. The value of a prefix is the share of right answers among
those that the policy itself samples from there, and the advantage of a token is the value after it minus the value
before it. A token that the policy gave probability p changes the value by at most 1 - p: advantages are cut to that,
and the value after a nearly certain token is taken to be the one before it.

- AUC: P(a token with which the value falls has a lower score than another token of its rollout), for all tokens and for
  the uncertain ones. It is 0.5 for a score that says nothing about where a rollout goes wrong.
- AUC at equal probability: P(such a token has a lower score than a token of any rollout that had about the same
  probability, and with which the value could have fallen as much). It is 0.5 if the probability can replace the score.
- Correlation: of the ranks of score and advantage, over the uncertain tokens of all rollouts.
- Weights: what `train.advantage_shaping: scale` makes of some scores, where the value falls, at the other uncertain
  tokens of wrong rollouts, and at the uncertain tokens of right ones. Without a score, all weights are 1.

The log-ratio, the flow value and the probe learn from other prompts. `python -m rlfr_mm.results` makes the table.
"""

import argparse
import math
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from credit_agreement import FALL, agreement, matched_auc
from prefix_values import changes_seen_by_fields, changes_seen_by_group, group_share
from scipy.optimize import linear_sum_assignment
from score_ranking import (
    BATCH,
    GROUP,
    MAX_NEW_TOKENS,
    Sampled,
    Setting,
    contrast,
    deviations,
    log_probabilities,
    parse,
    sample,
)
from torch import Tensor, nn
from tqdm import tqdm

from rlfr_mm.config import FlowConfig, FlowRewardConfig
from rlfr_mm.files import write_json
from rlfr_mm.method.field import flow_layer_indices
from rlfr_mm.method.flow_reward import flow_reward
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.method.scores import SCORES, ScoredRollouts, token_means, value_differences
from rlfr_mm.method.shaping import scaled_advantage
from rlfr_mm.policy import (
    NEUTRAL_GENERATION,
    encode_demonstrations,
    encode_prompts,
    end_of_turn,
    own_settings_only,
    seeded,
)
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.run_folder import environment

MEASURED = 64  # prompts, the last ones; the others are learnt from
CONTINUATIONS = 32  # per prefix
CERTAIN = 0.95  # a token of at least this probability is nearly certain
REWARD = FlowRewardConfig(noise_draws=8, group_noise=True)  # otherwise the paper's
SCALED = FlowRewardConfig(
    normalisation="sequence", scale="zscore", threshold=None, topk=None, gamma=0, flow_coef=0.3
)  # as in configs/experiments/confirm_rewards.yaml
EPOCHS, STEP, RATE, DECAY = 30, 256, 1e-3, 0.1  # of the probe
NEAR = 0.25  # width of the kernel, in mean distances of latents of a group at the same token
SPAN = 5  # tokens of the latents that are transported

LONG: dict[str, Any] = {"epochs": 24, "flow_layers": [0.75]}  # of a field that has learnt the demonstrations
WEIGHTED = (  # scores whose weights are shown
    f"minus deviation, previous token, {LONG['epochs']} epochs",
    "minus deviation, mean of the token",
    "minus deviation, less the mean of the token",
    "log-probability",
)

Prefix = tuple[int, tuple[int, ...]]  # the number of a prompt, and the first tokens of a response


def monte_carlo_values(setting: Setting, rollouts: Sampled, rows: list[dict[str, Any]]) -> Tensor:
    """(N, 1 + T) the value of the first 0, 1, ... T tokens of each rollout; constant after its end."""
    lengths, uncertain = rollouts.mask.sum(1).tolist(), rollouts.logps < math.log(CERTAIN)
    wanted: dict[tuple[int, int], Prefix] = {}  # by rollout and length
    for i, length in enumerate(lengths):
        for j in range(length):
            if j == 0 or uncertain[i, j - 1]:
                wanted[i, j] = i // GROUP, tuple(rollouts.ids[i, :j].tolist())
    found = chances(setting, rows, sorted(set(wanted.values()), key=lambda prefix: len(prefix[1])))
    values = torch.zeros(len(lengths), 1 + rollouts.mask.shape[1])
    for i, length in enumerate(lengths):
        for j in range(length):
            values[i, j] = found[wanted[i, j]] if (i, j) in wanted else values[i, j - 1]
        values[i, length:] = rollouts.correct[i].float()
    return values


def chances(setting: Setting, rows: list[dict[str, Any]], prefixes: list[Prefix]) -> dict[Prefix, float]:
    """The share of right answers among `CONTINUATIONS` of each prefix; the prefixes are sorted by length."""
    lengths = np.array([len(ids) for _, ids in prefixes])
    texts: list[str] = []
    with tqdm(total=len(prefixes), desc="continuations", unit="prefix") as progress, seeded(torch.device("cpu"), 0):
        for length in range(lengths.max() + 1):
            same = [prefixes[i] for i in np.flatnonzero(lengths == length)]
            for start in range(0, len(same), 4 * BATCH // CONTINUATIONS):
                batch = same[start : start + 4 * BATCH // CONTINUATIONS]
                texts += continued(setting, [rows[prompt] for prompt, _ in batch], torch.tensor([x for _, x in batch]))
                progress.update(len(batch))
    solutions = [rows[prompt]["solution"] for prompt, _ in prefixes for _ in range(CONTINUATIONS)]
    once = list(dict.fromkeys(zip(texts, solutions, strict=True)))
    rewards = accuracy_reward(completions=[text for text, _ in once], solution=[solution for _, solution in once])
    right = dict(zip(once, rewards, strict=True))
    shares = np.array([right[pair] == 1 for pair in zip(texts, solutions, strict=True)]).reshape(-1, CONTINUATIONS)
    return dict(zip(prefixes, shares.mean(1).tolist(), strict=True))


@torch.no_grad()
def continued(setting: Setting, rows: list[dict[str, Any]], ids: Tensor) -> list[str]:
    """`CONTINUATIONS` whole responses for each row, which begin with its token ids (row, token)."""
    inputs, ids = encode_prompts(rows, setting.processor), ids.long()
    prompt = inputs["input_ids"].shape[1]
    for name, more in (("input_ids", ids), ("attention_mask", torch.ones_like(ids)), ("mm_token_type_ids", 0 * ids)):
        inputs[name] = torch.cat([inputs[name], more], dim=1)
    tokenizer, end = setting.processor.tokenizer, end_of_turn(setting.processor)
    with own_settings_only(setting.policy):
        output = setting.policy.generate(
            **inputs, **NEUTRAL_GENERATION, do_sample=True, temperature=1.0, top_p=1.0, eos_token_id=end,
            pad_token_id=tokenizer.pad_token_id, num_return_sequences=CONTINUATIONS,
            max_new_tokens=MAX_NEW_TOKENS - ids.shape[1],
        )  # fmt: skip
    return tokenizer.batch_decode(output[:, prompt:], skip_special_tokens=True)


def probe(learnt: Sampled, advantage: Tensor, rollouts: Sampled, layers: list[int]) -> Tensor:
    """(N, T) the advantages that a small network predicts: from latents (a token, the one before) and log-probability.

    It is taught the advantages of the uncertain tokens of groups with right and wrong rollouts, and shows what the
    latents say about a token.
    """
    chosen = learnt.mask & (learnt.logps < math.log(CERTAIN)) & (advantage != 0).any(1, keepdim=True)
    sample_of = learnt.latents[:, layers, 1:].transpose(1, 2)[chosen]  # (token, layer, hidden)
    mean, std = sample_of.mean(0), sample_of.std(0) + 1e-6

    def features(each: Sampled, tokens: Tensor) -> Tensor:
        positions = ((each.latents[:, layers].transpose(1, 2) - mean) / std).flatten(2)
        return torch.cat([positions[:, :-1], positions[:, 1:], each.logps[..., None].clamp(min=-10)], dim=-1)[tokens]

    inputs, targets = features(learnt, chosen), advantage[chosen]
    torch.manual_seed(0)
    network = nn.Sequential(nn.Dropout(0.2), nn.Linear(inputs.shape[1], 64), nn.GELU(), nn.Linear(64, 1))
    optimizer = torch.optim.AdamW(network.parameters(), RATE, weight_decay=DECAY)
    for _ in range(EPOCHS):
        for index in torch.randperm(len(inputs)).split(STEP):
            loss = (network(inputs[index])[:, 0] - targets[index]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    predicted = torch.zeros(rollouts.mask.shape)
    with torch.no_grad():
        predicted[rollouts.mask] = network.eval()(features(rollouts, rollouts.mask))[:, 0]
    return predicted


def positions(rollouts: Sampled, layers: list[int], group: int = GROUP) -> Tensor:
    """(group, rollout, token, channel) the latents of the flow layers after each token, in units of their spread."""
    latents = rollouts.latents[:, layers, 1:].transpose(1, 2)
    known = latents[rollouts.mask]
    return ((latents - known.mean(0)) / (known.std(0) + 1e-6)).flatten(2).unflatten(0, (-1, group))


def distances(rollouts: Sampled, layers: list[int]) -> Tensor:
    """(group, rollout, other rollout, token) between the latents of two rollouts at the same token; 1 on average."""
    found, inside = positions(rollouts, layers), rollouts.mask.unflatten(0, (-1, GROUP))
    apart = (found[:, :, None] - found[:, None]).norm(dim=-1)
    both = inside[:, :, None] & inside[:, None] & (apart > 0)
    return torch.where(inside[:, :, None] & inside[:, None], apart / apart[both].mean(), torch.inf)


def near_values(rollouts: Sampled, layers: list[int]) -> Tensor:
    """(N, T) the change of value with each token; the value is the outcome of the group's rollouts with near latents.

    A Gaussian kernel of width `NEAR` weighs the rollouts, the group's share counts as one more, and the last value is
    the outcome. Rollouts that share the tokens of a prefix have distance 0 there, as in `shared_prefix_values`.
    """
    right = rollouts.correct.float().unflatten(0, (-1, GROUP))
    weights = (-0.5 * (distances(rollouts, layers) / NEAR).square()).exp()
    share = group_share(rollouts.correct.float(), GROUP)
    total = (weights * right[:, None, :, None]).sum(2) + share.unflatten(0, (-1, GROUP))[:, :, None]
    values = (total / (weights.sum(2) + 1)).flatten(0, 1)
    return value_differences(values, rollouts.correct.float(), share, rollouts.mask)


def transport(rollouts: Sampled, layers: list[int], group: int = GROUP) -> Tensor:
    """(N, T) the distances of the rival SHEAR (arXiv 2604.23318), as we read its abstract; it multiplies advantages.

    The Wasserstein distance between the latents of the `SPAN` tokens around a token and those of the rollouts of its
    `group` with the other outcome, at the same tokens; the mean over these rollouts, and 0 where there is none. Spans
    that end in one of them are compared as far as both go.
    """
    right, found = rollouts.correct.unflatten(0, (-1, group)), torch.zeros(rollouts.mask.shape)
    points, lengths = positions(rollouts, layers, group), rollouts.mask.sum(1).tolist()
    for i, length in enumerate(lengths):
        place, own = divmod(i, group)
        others = (right[place] != right[place, own]).nonzero()[:, 0].tolist()
        for k in range(length if others else 0):
            costs = []
            for other in others:
                first = max(0, min(k - SPAN // 2, lengths[place * group + other] - SPAN))
                mine = points[place, own, max(0, k - SPAN // 2) : min(length, k + SPAN // 2 + 1)]
                its = points[place, other, first : first + len(mine)]
                cost = torch.cdist(mine[: len(its)], its).numpy()
                costs.append(cost[linear_sum_assignment(cost)].mean())
            found[i, k] = float(np.mean(costs))
    return found


def scored_rollouts(setting: Setting, rollouts: Sampled, rows: list[dict[str, Any]]) -> ScoredRollouts:
    """What the scores without a field are computed from."""
    tokenizer = setting.processor.tokenizer
    experts = tokenizer([row["completion"] for row in rows], add_special_tokens=False)["input_ids"]
    inputs, mask = encode_demonstrations(rows, setting.processor, MAX_NEW_TOKENS)
    with torch.no_grad():
        expert_logps = log_probabilities(setting.policy, inputs, mask.shape[1]).masked_fill(~mask, 0)
    return ScoredRollouts(
        torch.zeros(rollouts.mask.shape), rollouts.ids, rollouts.mask, rollouts.mask, GROUP, lambda values: values,
        logps=rollouts.logps, outcomes=rollouts.correct.float(),
        experts=[[*ids, tokenizer.eos_token_id] for ids in experts for _ in range(GROUP)],
        expert_logps=expert_logps.repeat_interleave(GROUP, 0),
    )  # fmt: skip


def weights(score: Tensor, rollouts: Sampled, falls: Tensor, uncertain: Tensor) -> dict[str, float]:
    """The mean weights that `scale` makes of a score (N, T), of which larger is better, at three sorts of tokens."""
    right, mask = rollouts.correct[:, None], rollouts.mask
    flow = flow_reward(-score, mask, SCALED, GROUP)
    weight = scaled_advantage(torch.where(right, 1.0, -1.0) * mask, flow).abs()
    places = {
        "blame_at_falls": ~right & falls,
        "blame_at_others": ~right & uncertain & ~falls,
        "praise": right & uncertain,
    }
    return {name: round(weight[mask & place].mean().item(), 4) for name, place in places.items()}


def scores(setting: Setting, learnt: Sampled, rollouts: Sampled) -> dict[str, Tensor]:
    """(N, T) what each score says of each token; larger is better. NaN where a token has no deviation."""
    whole, outcomes = scored_rollouts(setting, rollouts, setting.problems[-MEASURED:]), rollouts.correct.float()
    found = {"log-probability": rollouts.logps}
    for name, shift, trained in (
        ("following token", 1, {}),
        ("previous token", -1, {}),
        (f"following token, {LONG['epochs']} epochs", 1, LONG),
        (f"previous token, {LONG['epochs']} epochs", -1, LONG),
    ):
        start, config = setting.field(context_shifts=[shift], **trained), replace(REWARD, context_shifts=[shift])
        scored = scored_tokens(rollouts.mask, [shift])
        unknown, deviation = rollouts.mask & ~scored, deviations(start, rollouts, config)
        found[f"minus deviation, {name}"] = (-deviation).masked_fill(unknown, math.nan)
        if shift == -1 and trained:
            kind = token_means(-deviation, scored, rollouts.ids)
            found["minus deviation, mean of the token"] = kind
            found["minus deviation, less the mean of the token"] = (-deviation - kind) * scored
        found[f"the paper's reward, {name}"] = flow_reward(deviation, scored, config, GROUP)
        right, wrong = (
            deviations(contrast(start, learnt, learns, setting.accelerator), rollouts, config)
            for learns in (learnt.correct, ~learnt.correct)
        )
        found[f"log-ratio, {name}"] = (wrong - right).masked_fill(unknown, math.nan)
        channels = rollouts.latents.shape[-1]
        found[f"flow value, {name}"] = changes_seen_by_fields(right, wrong, channels, outcomes, scored, GROUP)
    found["values from the group"] = changes_seen_by_group(rollouts.ids, rollouts.mask, outcomes, whole.scored, GROUP)
    for name, label in (
        ("departure", "first wrong token (ceiling)"),
        ("expert_value", "the policy's chance to complete the solution (ceiling)"),
    ):
        found[label] = -SCORES[name](whole)
    layers = flow_layer_indices(FlowConfig(num_policy_layers=rollouts.latents.shape[1]))
    found["values from the group, near latents"] = near_values(rollouts, layers)
    sign = torch.where(rollouts.correct, 1.0, -1.0)
    found["transport to the other outcome (SHEAR)"] = sign[:, None] * transport(rollouts, layers)
    taught = -SCORES["expert_value"](scored_rollouts(setting, learnt, setting.problems[:-MEASURED]))
    found["probe of the latents, taught advantages"] = probe(learnt, taught, rollouts, layers)
    return found


def main() -> None:
    options = parse(__doc__ or "", prompts=448 + MEASURED)
    setting = Setting.of(options)
    everything = sample(setting.policy, setting.processor, setting.problems)
    learnt, rollouts = (everything[slice(*ends)] for ends in ((0, -GROUP * MEASURED), (-GROUP * MEASURED, None)))
    rows = setting.problems[-MEASURED:]
    values = monte_carlo_values(setting, rollouts, rows)
    most = torch.where(rollouts.mask, 1 - rollouts.logps.exp(), 0)
    advantage = (values[:, 1:] - values[:, :-1]).clamp(-most, most)
    write(options, rollouts, values[:, :-1], advantage, scores(setting, learnt, rollouts))


def write(
    options: argparse.Namespace, rollouts: Sampled, before: Tensor, advantage: Tensor, found: dict[str, Tensor]
) -> None:
    """Write the record: how often the value falls, and how well each score agrees with the advantages.

    `before` (N, T) is the value that each token found.
    """
    uncertain = rollouts.logps < math.log(CERTAIN)
    falls = rollouts.mask & (advantage < -FALL)
    others = rollouts.mask & (before > FALL) & ~falls
    rows = [
        {
            "score": name,
            **agreement(values, advantage, known, uncertain),
            "auc_matched": matched_auc(values, rollouts.logps.exp(), falls & known, others & known),
        }
        for name, values in found.items()
        for known in [rollouts.mask & ~values.isnan()]
    ]
    record = {
        "level": options.level,
        "prompts": MEASURED,
        "rollouts": len(rollouts.mask),
        "tokens": int(rollouts.mask.sum()),
        "uncertain": int((rollouts.mask & uncertain).sum()),
        "falls": int(falls.sum()),
        "wrong_rollouts_with_a_fall": round(float(falls.any(1)[~rollouts.correct].float().mean()), 4),
        "accuracy": round(float(rollouts.correct.float().mean()), 4),
        "continuations": CONTINUATIONS,
        "certain": CERTAIN,
        "fall": FALL,
        "rows": rows,
        "weights": [{"score": name, **weights(found[name], rollouts, falls, uncertain)} for name in WEIGHTED],
        **environment(),
    }
    if options.json:
        write_json(options.json, record)
    for row in rows:
        print({key: value if isinstance(value, str) else round(value["value"], 3) for key, value in row.items()})


if __name__ == "__main__":
    main()
