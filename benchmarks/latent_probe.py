"""What do the latents know of right and wrong that the log-probability does not, and can a field be made to say it?

    python benchmarks/latent_probe.py --level 3 --json docs/results/latent_probe/level3.json

Three learners of graded rollouts, all on the latents of a token and of the one before it at the flow's layers; ranked
on the rollouts of the last quarter of the prompts (see score_ranking.py):
- probe: a small classifier, taught to rank the rollouts of a group. What it finds is there to be found.
- field by preference: the field, taught to deviate less on right rollouts than on wrong ones of the same prompt,
  against its own offline start: the loss of Diffusion-DPO (arXiv 2311.12908), over groups.
- log-ratio: two fields, one taught by flow matching on the right rollouts and one on the wrong.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch
from score_ranking import GROUP, Sampled, Setting, contrast, deviations, parse, ranked, sample, write
from torch import Tensor, nn
from torch.nn.functional import softplus
from tqdm import tqdm

from rlfr_mm.config import FlowRewardConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.loss import velocity_deviation

LEARNT = (128, 512, 1536)  # prompts whose rollouts the probe learns; the fields learn the most
EPOCHS = 6
GROUPS_PER_STEP = 16
LEARNING_RATE = 1e-3
BETA = 0.01  # of the preference: log-odds per unit of the deviation's sum over channels and layers
REWARD = FlowRewardConfig(times=[0.9], context_shifts=[-1], debias=False)


def learn(rollouts: Sampled, parameters: Any, score: Callable[[Tensor, int], Tensor], name: str) -> None:
    """Teach `score(rows, step)`, one number a rollout, to put the right rollouts of each group above the wrong ones."""
    correct = rollouts.correct.view(-1, GROUP)
    mixed = (correct.any(1) & ~correct.all(1)).nonzero()[:, 0]
    order = torch.Generator().manual_seed(0)
    epochs = [mixed[torch.randperm(len(mixed), generator=order)] for _ in range(EPOCHS)]
    steps = [groups for epoch in epochs for groups in epoch.split(GROUPS_PER_STEP)]
    optimizer = torch.optim.AdamW(parameters, LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, len(steps))
    for step, groups in enumerate(tqdm(steps, desc=name, unit="step")):
        rows = (groups[:, None] * GROUP + torch.arange(GROUP)).flatten()
        scores = score(rows, step).view(-1, GROUP)
        pair = correct[groups][:, :, None] & ~correct[groups][:, None, :]
        loss = softplus(scores[:, None, :] - scores[:, :, None])[pair].mean()
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()


def probe(learnt: Sampled, rollouts: Sampled, layers: list[int]) -> Tensor:
    """(N, T) scores of the ranked rollouts by a classifier of the tokens' latents."""
    sample_of = learnt.latents[:, layers, 1:].transpose(1, 2)[learnt.mask]  # (token, layer, hidden)
    mean, std = sample_of.mean(0), sample_of.std(0) + 1e-6

    def features(latents: Tensor) -> Tensor:
        positions = ((latents[:, layers].transpose(1, 2) - mean) / std).flatten(2)
        return torch.cat([positions[:, :-1], positions[:, 1:]], dim=-1)

    torch.manual_seed(0)
    width = 2 * mean.numel()
    network = nn.Sequential(nn.Linear(width, 128), nn.GELU(), nn.Linear(128, 64), nn.GELU(), nn.Linear(64, 1))

    def score(rows: Tensor, step: int) -> Tensor:
        return (network(features(learnt.latents[rows]))[..., 0] * learnt.mask[rows]).sum(1)

    learn(learnt, list(network.parameters()), score, f"probe of {len(learnt.mask)} rollouts")
    with torch.no_grad():
        return torch.cat([network(features(latents))[..., 0] for latents in rollouts.latents.split(256)])


def by_preference(learnt: Sampled, rollouts: Sampled, start: FlowField) -> Tensor:
    """(N, T) falls of the deviation from that of the offline start, in a field taught by preference."""
    field, layers = copy.deepcopy(start), start.layer_indices

    def score(rows: Tensor, step: int) -> Tensor:
        latents, mask = learnt.latents[rows][:, layers], learnt.mask[rows]
        seeds = [2**32 + step * GROUPS_PER_STEP + i // GROUP for i in range(len(rows))]  # a group shares its noise
        before = velocity_deviation(start, latents, mask, REWARD, seeds)
        after = velocity_deviation(field, latents, mask, REWARD, seeds, keep_graph=True)
        return BETA * latents.shape[1] * latents.shape[-1] * (before - after).sum(1)

    learn(learnt, list(field.parameters()), score, "field by preference")
    return deviations(start, rollouts, REWARD) - deviations(field, rollouts, REWARD)


def main() -> None:
    options = parse(__doc__ or "", prompts=LEARNT[-1] * 4 // 3)
    setting = Setting.of(options)
    everything = sample(setting.policy, setting.processor, options.level, options.prompts)
    learnt = everything[slice(0, GROUP * LEARNT[-1])]
    rollouts = everything[slice(GROUP * LEARNT[-1], None)]
    start = setting.field(context_shifts=[-1])
    baseline = ranked(rollouts, rollouts.logps, rollouts.mask)
    rows: list[dict[str, Any]] = [{"learner": "log-probability", "prompts learnt": 0, **baseline}]

    def add(learner: str, prompts: int, values: Tensor) -> None:
        total = values * rollouts.mask.sum(1, keepdim=True)  # `ranked` divides by it
        rows.append({"learner": learner, "prompts learnt": prompts, **ranked(rollouts, total, rollouts.mask)})

    for prompts in LEARNT:
        add("probe", prompts, probe(learnt[slice(0, GROUP * prompts)], rollouts, start.layer_indices))
    add("field by preference", LEARNT[-1], by_preference(learnt, rollouts, start))
    right, wrong = (
        contrast(start, learnt, learns, setting.accelerator) for learns in (learnt.correct, ~learnt.correct)
    )
    add("log-ratio", LEARNT[-1], deviations(wrong, rollouts, REWARD) - deviations(right, rollouts, REWARD))
    write(options, everything, rollouts, rows)


if __name__ == "__main__":
    main()
