"""What would one step of RL gain with each method of an experiment? To first order, before any RL.

    python benchmarks/step_gain.py configs/experiments/confirm_rewards.yaml pairs \\
        --json docs/results/step_gain/pairs.json

An RL run takes a minute per seed, and ten seeds say what a method gains to a point or two. Here the same batches of
rollouts serve all methods, and the gradient of the accuracy itself is known: a problem of the drawn world has one
solution, and the chance to write it is the product of the probabilities of its tokens.

- The policy samples the rollouts once. Each method shapes the advantages of batches of them, as it would in training.
  The mean and the mean square of its gradients over the batches of a part of the prompts give the step that Adam would
  take there.
- The gain is the product of that step with the gradient of the accuracy on all other parts, in points per step. Errors
  are from leaving out one part at a time (jackknife), also of the differences to the experiment's first method.
- A gain like that is of a straight line. With `--taken`, what a step of the learning rate's length, or of a part of it
  (`LENGTHS`), does to the accuracy is measured, too: the policy takes it, and the chances of the solutions are asked
  for again. So it takes the steps of single batches (`ALONE` of each part): these are as long in the direction of the
  mean, and have all the noise that the mean averages out. Training takes neither: Adam's momentum averages over recent
  batches.

What later steps do to the policy is left out; `--run` starts from the last policy and field of a training run instead.
Where each seed of the experiment has a policy of its own, `--seed` names one, and records in a folder, such as
`step_gain/policies/400.json`, are shown together. `python -m rlfr_mm.results` makes the tables.
"""

import argparse
import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from score_ranking import BATCH, GROUP, MAX_NEW_TOKENS, Sampled, Setting, deviations, sample
from step_estimates import best_weight, jackknife, off_diagonal
from step_methods import arguments, drawn_world, methods_of, of_the_field, size_and_group
from token_credit import LONG, scored_rollouts, transport
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters
from tqdm import tqdm

from rlfr_mm.config import RLFRArguments, RunConfig
from rlfr_mm.files import write_json
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import by_group, flow_advantages, flow_reward
from rlfr_mm.method.loss import scored_tokens
from rlfr_mm.method.scores import ScoredRollouts, placebo, scores_of
from rlfr_mm.method.shaping import SHAPINGS, Shaping
from rlfr_mm.policy import encode_demonstrations, load_policy
from rlfr_mm.training.online_flow import FIELD_FOLDER
from rlfr_mm.training.own_rewards import load_rewards
from rlfr_mm.training.run_folder import environment

PROMPTS_PER_PART = 64
LENGTHS = (0.3, 1.0)  # of the steps that are taken, in learning rates
ALONE = 2  # batches of each part whose steps are taken one by one
SHEAR = {"shear": 1.0, "shear_half": 0.5}  # a published rival, and the weight of blame


@dataclass(frozen=True)
class Batch:
    """b rollouts of T tokens that a step learns from, in groups of `num_generations`."""

    rewards: Tensor  # (b,) the weighted sum of the reward functions
    logps: Tensor  # (b, T), with the policy's gradients
    entropies: Tensor  # (b, T)
    rollouts: ScoredRollouts
    deviations: dict[tuple[Any, ...], Tensor]  # (b, T) by `draws_of` the settings of the reward
    transport: Tensor | None = None  # (b, T) the distances of SHEAR, if it is measured

    @property
    def outcome(self) -> Tensor:
        """(b,) GRPO's advantages, as TRL computes them."""
        rewards = by_group(self.rewards, self.rollouts.num_generations)
        return ((rewards - rewards.mean(1, keepdim=True)) / (rewards.std(1, keepdim=True) + 1e-4)).flatten()

    def gradient(self, advantages: Tensor, weights: list[Tensor]) -> Tensor:
        """(P,) the gradient of the mean over tokens of advantage times log-probability, which a step ascends."""
        mask = self.rollouts.mask
        objective = (advantages * self.logps)[mask].sum() / mask.sum()
        return gradient(objective, weights)


def gradient(objective: Tensor, weights: list[Tensor]) -> Tensor:
    """(P,) the gradient with respect to these weights; the graph is kept for the gradients of other methods."""
    found = torch.autograd.grad(objective, weights, retain_graph=True, allow_unused=True, materialize_grads=True)
    return torch.cat([each.flatten() for each in found])


def draws_of(config: RunConfig) -> tuple[Any, ...]:
    """The settings of the flow reward that its deviations depend on; rollouts of a group always share their noise."""
    reward = config.flow_reward
    return tuple(reward.times), reward.debias, reward.noise_draws


def shaped(config: RunConfig, batch: Batch) -> Tensor:
    """(b, T) the advantages that the loss on these rollouts would use."""
    args, reward, rollouts = arguments(config), config.flow_reward, batch.rollouts
    shaping = SHAPINGS[args.advantage_shaping](args)
    mask, group = rollouts.mask, rollouts.num_generations

    def flow() -> Tensor:
        own = replace(rollouts, deviation=batch.deviations[draws_of(config)])
        rewards = flow_reward(scores_of(own, reward), own.scored, reward, group)
        rewards = placebo(rewards, own, reward.shuffle, torch.Generator().manual_seed(0))
        return flow_advantages(rewards, batch.outcome, mask, reward, group)

    outcome = shaping.of_outcomes(batch.outcome)
    advantages = shaping.of_rollouts(outcome[:, None] * mask, flow) if args.uses_field else outcome
    advantages = shaping.in_loss(advantages, batch.entropies)
    return advantages if advantages.dim() == 2 else advantages[:, None] * mask


def shear(batch: Batch, negative_weight: float) -> Tensor:
    """(b, T) the advantages of the rival SHEAR: GRPO's times distances (`token_credit.transport`), 1 on average.

    A rollout whose group has no other outcome keeps GRPO's, which are 0 unless its format is judged, too.
    """
    distance, mask, outcome = batch.transport, batch.rollouts.mask, batch.outcome
    assert distance is not None
    mean = distance.sum(1, keepdim=True) / mask.sum(1, keepdim=True)
    weights = torch.where(mean > 0, distance / mean, 1.0)
    return weights * mask * Shaping(RLFRArguments(negative_weight=negative_weight)).of_outcomes(outcome)[:, None]


def all_shaped(methods: dict[str, RunConfig], batch: Batch) -> dict[str, Tensor]:
    """(b, T) by method, with the rival's if it is measured."""
    found = {name: shaped(config, batch) for name, config in methods.items()}
    rivals = {} if batch.transport is None else SHEAR
    return found | {name: shear(batch, weight) for name, weight in rivals.items()}


class Measured:
    """The rollouts of all prompts, what the methods need to know of them, and the policy, which gives the gradients."""

    def __init__(self, setting: Setting, methods: dict[str, RunConfig], field: FlowField, shear: bool = False):
        self.setting, policy = setting, setting.policy
        self.weights = [weight for weight in policy.parameters() if weight.requires_grad]
        self.rollouts: Sampled = sample(policy, setting.processor, setting.problems)
        self.whole = scored_rollouts(setting, self.rollouts, setting.problems)
        self.whole.scored = scored_tokens(self.rollouts.mask, [-1])
        self.deviations = {draws_of(config): self.deviation(field, config) for config in methods.values()}
        texts = [setting.processor.tokenizer.decode(ids[mask], skip_special_tokens=True)
                 for ids, mask in zip(self.rollouts.ids, self.rollouts.mask, strict=True)]  # fmt: skip
        problems = [problem for problem in setting.problems for _ in range(GROUP)]
        self.rows = [{**problem, "completion": text} for problem, text in zip(problems, texts, strict=True)]
        self.rewards = torch.zeros(len(texts))
        solutions = [problem["solution"] for problem in problems]
        for reward in load_rewards(next(iter(methods.values()))) if methods else []:
            assert reward.call is not None
            self.rewards += reward.weight * torch.tensor(reward.call(completions=texts, solution=solutions))
        self.transport: Tensor | None = None
        if shear:
            _, group = size_and_group(next(iter(methods.values())))
            self.transport = transport(self.rollouts, list(field.layer_indices), group)

    def deviation(self, field: FlowField, config: RunConfig) -> Tensor:
        return deviations(field, self.rollouts, replace(config.flow_reward, context_shifts=[-1]))

    def forward(self, rows: list[dict[str, Any]]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Token ids, mask, log-probabilities with their gradients, and entropies in nats of the completions: (b, T)."""
        inputs, mask = encode_demonstrations(rows, self.setting.processor, MAX_NEW_TOKENS)
        ids, length = inputs["input_ids"][:, -mask.shape[1] :], mask.shape[1]
        logits = self.setting.policy(**inputs, use_cache=False, logits_to_keep=length + 1).logits[:, :-1]
        distribution = logits.log_softmax(-1)
        entropies = -(distribution.exp() * distribution).sum(-1).detach()
        return ids, mask, distribution.gather(-1, ids[..., None])[..., 0], entropies

    def batch(self, index: Tensor, num_generations: int) -> Batch:
        """What a step learns from the rollouts `index`."""
        ids, mask, logps, entropies = self.forward([self.rows[i] for i in index])
        whole, length = self.whole, mask.shape[1]
        assert whole.outcomes is not None and whole.expert_logps is not None
        rollouts = ScoredRollouts(
            torch.zeros(mask.shape), ids, mask, whole.scored[index, :length], num_generations, lambda values: values,
            logps=logps.detach(), outcomes=whole.outcomes[index], experts=[whole.experts[i] for i in index],
            expert_logps=whole.expert_logps[index],
        )  # fmt: skip
        deviations = {draws: found[index, :length] for draws, found in self.deviations.items()}
        distances = None if self.transport is None else self.transport[index, :length]
        return Batch(self.rewards[index], logps, entropies, rollouts, deviations, distances)

    def chances(self, prompts: Tensor) -> Iterator[Tensor]:
        """(b,) the chance to write each solution, batch by batch.

        Rollouts that come to the right answer in another way are left out.
        """
        for part in prompts.split(BATCH):
            _, mask, logps, _ = self.forward([self.setting.problems[i] for i in part])
            yield logps.masked_fill(~mask, 0).sum(1).exp()

    def accuracy_gradient(self, prompts: Tensor) -> Tensor:
        """(P,) the mean over prompts of the gradient of the chance to write the solution."""
        total = torch.zeros(sum(weight.numel() for weight in self.weights))
        for chances in self.chances(prompts):
            total += gradient(chances.sum(), self.weights) / len(prompts)
        return total

    @torch.no_grad()
    def accuracies(self, parts: list[Tensor], step: Tensor | None = None) -> Tensor:
        """(parts,) the mean chance to write the solution, with weights that are (P,) `step` further."""
        before = parameters_to_vector(self.weights)
        vector_to_parameters(before if step is None else before + step, self.weights)
        found = torch.stack([torch.cat(list(self.chances(part))).mean() for part in parts])
        vector_to_parameters(before, self.weights)
        return found


def adam_steps(measured: Measured, methods: dict[str, RunConfig], prompts: Tensor) -> dict[str, Tensor]:
    """(batches, P) by method: Adam's steps at a learning rate of 1 with each batch of these prompts.

    They are the gradients of the batches over the root of the mean of the squares of all. Their mean is the step that
    Adam takes once it has seen all batches.
    """
    found: dict[str, list[Tensor]] = {}
    for index, group in batches_of(prompts, next(iter(methods.values()))):
        batch = measured.batch(index, group)
        for name, advantages in all_shaped(methods, batch).items():
            found.setdefault(name, []).append(batch.gradient(advantages, measured.weights))
    gradients = {name: torch.stack(each) for name, each in found.items()}
    return {name: each / (each.square().mean(0).sqrt() + 1e-8) for name, each in gradients.items()}


def batches_of(prompts: Tensor, config: RunConfig) -> list[tuple[Tensor, int]]:
    """The rollouts of each batch, and `num_generations`: as many rollouts as in training, each in one batch."""
    size, group = size_and_group(config)
    return [
        ((chosen[:, None] * GROUP + begin + torch.arange(group)).flatten(), group)
        for begin in range(0, GROUP, group)
        for chosen in prompts.split(size // group)
    ]


def praise_and_blame(measured: Measured, config: RunConfig, prompts: Tensor, direction: Tensor) -> Tensor:
    """(5,) means over batches of p u, q u, p p, q q and p q, with u a direction of length 1.

    p is the gradient of the rollouts that GRPO praises, q of those that it blames.
    """
    found = []
    for index, group in batches_of(prompts, config):
        batch = measured.batch(index, group)
        praise, blame = (
            batch.gradient(outcome[:, None] * batch.rollouts.mask, measured.weights)
            for outcome in (batch.outcome.clamp(min=0), batch.outcome.clamp(max=0))
        )
        found.append([praise @ direction, blame @ direction, praise @ praise, blame @ blame, praise @ blame])
    return torch.tensor(found).mean(0)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("experiment", type=Path, help="YAML under configs/experiments; the policy is the one it names")
    parser.add_argument("condition", help="one of its conditions")
    parser.add_argument("--seed", type=int, help="one of its seeds, whose policy is measured; default: the first")
    parser.add_argument("--run", type=Path, help="training run: start from its last policy and its last field")
    parser.add_argument("--prompts", type=int, default=512)
    parser.add_argument(
        "--shear", action="store_true", help="also measure the rival SHEAR, with all and half the blame"
    )
    parser.add_argument("--taken", action="store_true", help="also take the steps, which takes several times as long")
    parser.add_argument("--cache", type=Path, default=Path(".cache/quickstart"), help="folder of warmed-up policies")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the record to this file")
    options = parser.parse_args()
    if options.run and options.seed is not None:
        parser.error("--seed and --run both name a policy: leave one out")
    count, rest = divmod(options.prompts, PROMPTS_PER_PART)
    if rest or count < 3:
        parser.error(
            f"--prompts={options.prompts} must be a multiple of {PROMPTS_PER_PART}, and at least three of them"
        )
    if options.run and not (options.run / "final").is_dir():
        parser.error(f"--run {options.run} holds no folder final: name a training run that has ended")
    try:
        methods = methods_of(options.experiment, options.condition, options.seed)
    except ValueError as error:
        parser.error(str(error))
    config = next(iter(methods.values()))
    setting = Setting.of(argparse.Namespace(**vars(options), **drawn_world(config)))
    folder = options.run / "final" if options.run else setting.policy.name_or_path
    setting = replace(setting, policy=trained_policy(config, folder))
    if options.run:
        field = FlowField.from_pretrained(folder / FIELD_FOLDER)
    else:
        field = shared_field(setting, of_the_field(methods))
    write(options, methods, Measured(setting, methods, field, options.shear))


def shared_field(setting: Setting, config: RunConfig) -> FlowField:
    """The field after the offline start of these settings.

    An experiment that names a folder instead has copied the field of `search_rewards` there; that one is made again.
    """
    if config.offline is None:
        return setting.field(context_shifts=[-1], **LONG)
    return setting.started(config.flow, config.offline)


def trained_policy(config: RunConfig, folder: str | Path) -> Any:
    """The policy in a folder, with a gradient for the weights that a run of this configuration trains."""
    return load_policy(replace(config.model, name_or_path=str(folder))).eval()


def write(options: argparse.Namespace, methods: dict[str, RunConfig], measured: Measured) -> None:
    """Measure all methods and write the record."""
    parts, first = list(torch.arange(options.prompts).split(PROMPTS_PER_PART)), next(iter(methods))
    gradients = torch.stack([measured.accuracy_gradient(part) for part in tqdm(parts, desc="accuracy", unit="part")])
    lengths = LENGTHS if options.taken else ()
    names = [*methods, *(SHEAR if measured.transport is not None else [])]
    gains = {name: torch.zeros(len(parts), len(parts)) for name in names}  # by the parts of gradient and of step
    taken = {name: torch.zeros(len(lengths), len(parts), len(parts)) for name in names}  # of steps of these lengths
    alone = {name: torch.zeros_like(each) for name, each in taken.items()}  # of those of single batches
    before = measured.accuracies(parts) if lengths else torch.zeros(len(parts))
    moments = torch.zeros(len(parts), 5)
    for number, part in enumerate(tqdm(parts, desc="methods", unit="part")):
        others = gradients[torch.arange(len(parts)) != number].mean(0)
        moments[number] = praise_and_blame(measured, methods[first], part, others / others.norm())
        for name, steps in adam_steps(measured, methods, part).items():
            steps = methods.get(name, methods[first]).train["learning_rate"] * steps
            gains[name][:, number] = 100 * (gradients @ steps.mean(0))
            for i, length in enumerate(lengths):
                for found, chosen in ((taken, steps.mean(0, keepdim=True)), (alone, steps[:ALONE])):
                    after = [measured.accuracies(parts, length * step) for step in chosen]
                    found[name][i, :, number] = 100 * (torch.stack(after).mean(0) - before)

    def points(values: Tensor) -> dict[str, float]:
        return jackknife(lambda part: off_diagonal(values, part).item(), len(parts))

    def weight(left_out: int | None) -> float:
        return best_weight(moments[torch.arange(len(parts)) != (-1 if left_out is None else left_out)].mean(0))

    praised, blamed, praise, blame, both = moments.mean(0).tolist()
    record = {
        "experiment": options.experiment.stem,
        "condition": options.condition,
        "warmup_seed": None if options.run else next(iter(methods.values())).model.warmup_seed,
        "run": "/".join(options.run.parts[-3:]) if options.run else None,
        "prompts": options.prompts,
        "parts": len(parts),
        "weights": sum(weight.numel() for weight in measured.weights),
        "accuracy": round(measured.rollouts.correct.float().mean().item(), 4),
        "rows": [
            {
                "method": name,
                "gain": points(values),
                "over": points(values - gains[first]),
                **{
                    kind: [
                        {"length": length, "gain": points(own), "over": points(own - theirs)}
                        for length, own, theirs in zip(lengths, found[name], found[first], strict=True)
                    ]
                    for kind, found in (("taken", taken), ("alone", alone))
                },
            }
            for name, values in gains.items()
        ],
        "praise": {"signal": praised, "size": math.sqrt(praise)},
        "blame": {"signal": blamed, "size": math.sqrt(blame)},
        "cosine_of_both": both / math.sqrt(praise * blame),
        "best_negative_weight": jackknife(weight, len(parts)),
        **environment(),
    }
    if options.json:
        write_json(options.json, record)
    for row in record["rows"]:
        print(row)


if __name__ == "__main__":
    main()
