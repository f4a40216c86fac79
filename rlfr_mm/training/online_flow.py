"""The flow field of a training run: it scores each batch of rollouts and learns from the accepted ones."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from rlfr_mm.config import FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import agreement, flow_advantages, flow_reward, reliability
from rlfr_mm.method.latents import Latents
from rlfr_mm.method.loss import deviation_by_draw, scored_tokens
from rlfr_mm.method.scores import SCORES, ScoredRollouts, placebo, scores_of
from rlfr_mm.method.update import FieldUpdater, acceptance_weights, drawn_tokens, sample_seeds, tf32_matmuls
from rlfr_mm.training.rollout_batch import FlowRecord, RolloutBatch

FIELD_FOLDER = "flow"  # the field, in a checkpoint and in RUN/final
FIELD_STATE = "flow_state.pt"  # the field's optimiser and the state of its noise generator
CHECK_EVERY = 10  # steps between two batches that are scored twice, if the reward has one unit of noise


class OnlineFlow:
    """The field, its optimiser and its noise; every process keeps a copy."""

    def __init__(
        self,
        field: FlowField,
        reward_config: FlowRewardConfig,
        update_config: OnlineUpdateConfig,
        accelerator: Accelerator,
        tokenizer: PreTrainedTokenizerBase,
        num_generations: int,
        seed: int,
    ):
        self.reward_config, self.update_config = reward_config, update_config
        self.accelerator, self.tokenizer, self.num_generations = accelerator, tokenizer, num_generations
        self.score = SCORES[reward_config.score]
        self.field = field.to(accelerator.device)
        self.updater = FieldUpdater(self.field, update_config, accelerator)
        # The noise has its own generator, so that the flow does not change what the policy samples.
        self.noise = torch.Generator().manual_seed(seed)
        self.update_was_bad = False  # whether the last update met a loss or a gradient that is not finite

    def check_columns(self, columns: list[str] | None) -> None:
        """ValueError if the score needs a column that the data do not have; None, of a stream, are unknown columns."""
        if self.score.needs_experts and columns is not None and "expert" not in columns:
            score = self.reward_config.score
            raise ValueError(f"flow_reward.score={score} needs a column `expert`: the dataset has {columns}")

    @property
    def is_local(self) -> bool:
        """Whether each rollout's advantages depend on that rollout alone, so that no process needs those of others."""
        config = self.reward_config
        alone = config.shuffle == "none" and not config.token_baseline
        by_sequence = config.normalisation in ("sequence", "none") and alone
        return by_sequence and not (self.score.compares_rollouts or config.centre or config.groups == "unanimous")

    @property
    def needs_logps(self) -> bool:
        """Whether log-probabilities are needed for the reward, so that the pass for latents runs the whole policy."""
        return self.score.needs_logps

    def start_from(self, field: FlowField) -> None:
        """Copy the weights of a field that was trained after this object was made."""
        self.field.load_state_dict(field.state_dict())

    def start(self, batch: RolloutBatch) -> FlowRecord:
        """An empty record of a batch, with the seeds of its rollouts."""
        count, device, draws = len(batch.mask), batch.mask.device, self.reward_config.noise_draws
        seeds = sample_seeds(self.noise, self._first(batch), count).to(device)
        of_group = torch.arange(self._first(batch), self._first(batch) + count, device=device) % self.num_generations
        units = draws // 2 if draws % 2 == 0 else draws
        checked = self.score.uses_deviation and (units > 1 or batch.step % CHECK_EVERY == 1)
        empty = torch.zeros(max(units, 1 + checked), *batch.mask.shape, dtype=self.field.dtype, device=device)
        return FlowRecord(
            seeds=seeds,
            scoring_seeds=seeds - of_group if self.reward_config.group_noise else seeds,
            scored=scored_tokens(batch.mask, self.reward_config.context_shifts or self.field.config.context_shifts),
            by_draw=empty,
            reward=torch.zeros_like(empty[0]),
            units=units,
            agreement=torch.zeros(2, 3, dtype=torch.float64, device=device),
            learnt=torch.zeros(count, dtype=torch.bool, device=device),
        )

    def measure(
        self, batch: RolloutBatch, flow: FlowRecord, index: Tensor, latents: Latents, learns_now: bool = False
    ) -> None:
        """Measure the deviations of the rollouts `index` (b,), and keep the latents that the field will learn from.

        They wait on the CPU, unless the field learns from them before the next micro-batch comes.
        """
        config, seeds = self.reward_config, flow.scoring_seeds[index]
        latents = latents.to(self.accelerator.device).keep(batch.mask[index])
        with tf32_matmuls():
            flow.by_draw[: flow.units, index] = deviation_by_draw(self.field, latents, config, seeds)
            if len(flow.by_draw) > flow.units:
                flow.by_draw[flow.units :, index] = deviation_by_draw(self.field, latents, config, seeds, again=True)
        kept = latents.keep(latents.mask & self._may_learn(batch, index)[:, None])
        if len(kept.values):
            flow.kept.append((index, kept if learns_now else kept.to("cpu")))

    def _may_learn(self, batch: RolloutBatch, index: Tensor) -> Tensor:
        """(b,) whether the field may learn from these rollouts; the entropies that `accept` may ask for come later."""
        config, accuracy = self.update_config, batch.accuracy[self._first(batch) + index]
        if not config.enabled:
            return torch.zeros_like(accuracy, dtype=torch.bool)
        if "correct" not in config.accept or config.rejected_weight > 0:
            return torch.ones_like(accuracy, dtype=torch.bool)
        return accuracy >= config.accept_reward

    def reward(self, batch: RolloutBatch, flow: FlowRecord, index: Tensor, logps: Tensor | None) -> bool:
        """Record the flow rewards of the rollouts `index` (b,), normalised over those of all processes if need be.

        They are all rollouts of this process, unless the reward `is_local`. False, and no reward, if a score is not
        finite: the latents are not, or the field has diverged.
        """
        config, mask = self.reward_config, batch.mask[index]
        scored = self._share(flow.scored[index])
        ids, group = batch.completion_ids[index], self.num_generations
        deviation = flow.deviation[index]
        rollouts = ScoredRollouts(deviation, ids, mask, scored, group, self._share, logps)
        if self.score.needs_outcomes:
            graded = batch.accuracy[self._first(batch) + index] if self.is_local else batch.accuracy
            rollouts.outcomes = graded.to(deviation)
        if self.score.needs_experts:
            rollouts.experts = self.experts(batch, index)
        if flow.expert_logps is not None:
            rollouts.expert_logps = flow.expert_logps[index]
        score = scores_of(rollouts, config)
        finite = score[scored].isfinite().all() & deviation.isfinite().all()
        if not (finite if self.is_local else self._on_all_processes(finite)):
            flow.by_draw[:, index] = 0
            return False
        if self.score.uses_deviation and len(flow.by_draw) > 1:
            flow.agreement += self._agreement(flow, index, rollouts)[:, self._mine(batch, len(index))].sum(1)
        reward = flow_reward(score, scored, config, group)
        draws = torch.Generator().manual_seed(int(flow.seeds[0]) - self._first(batch))  # the same on every process
        reward = placebo(reward, rollouts, config.shuffle, draws)
        flow.reward[index] = reward[self._mine(batch, len(index)), : mask.shape[1]]
        return True

    def experts(self, batch: RolloutBatch, index: Tensor) -> list[list[int]]:
        """The token ids of the expert solutions of the rollouts `index`, end of turn included."""
        texts = [batch.inputs[i]["expert"] for i in index.tolist()]
        encoded = self.tokenizer(texts, add_special_tokens=False)["input_ids"]
        return [[*ids, self.tokenizer.eos_token_id] for ids in encoded]

    def _agreement(self, flow: FlowRecord, index: Tensor, rollouts: ScoredRollouts) -> Tensor:
        """(score or reward, rollouts scored together, 3): `agreement` of those made of one and of the other noise."""
        config = replace(self.reward_config, flow_coef=-1.0)  # the control arm with flow_coef 0 has a reliability, too
        halves = []
        for units in (slice(0, None, 2), slice(1, None, 2)):
            score = scores_of(replace(rollouts, deviation=flow.by_draw[units, index].mean(0)), config)
            halves.append((score, flow_reward(score, rollouts.scored, config, self.num_generations)))
        return torch.stack([agreement(a, b, rollouts.scored) for a, b in zip(*halves, strict=True)])

    def advantages(self, batch: RolloutBatch, flow: FlowRecord, index: Tensor) -> Tensor:
        """What the flow reward adds to the advantages of the rollouts `index`, of which `reward` knows."""
        outcome, mask = batch.outcome[index], batch.mask[index]
        advantages = flow_advantages(
            self._share(flow.reward[index]),
            outcome if self.is_local else self.accelerator.gather(outcome),
            self._share(mask),
            self.reward_config,
            self.num_generations,
        )
        return advantages[self._mine(batch, len(index)), : mask.shape[1]]

    def metrics(self, batch: RolloutBatch, flow: FlowRecord) -> dict[str, float]:
        """Means over the tokens of all processes; that of the deviation over those that have one."""
        added, tokens, scored = (
            (batch.advantages - batch.weighted.unsqueeze(1))[batch.mask],
            batch.mask.sum(),
            flow.scored,
        )
        sums = {
            "flow/deviation_mean": (flow.deviation.sum(), scored.sum()),
            "flow/reward_mean": (flow.reward.sum(), tokens),
            "flow/rewarded_share": ((flow.reward != 0).sum(), tokens),
            "flow/shaping_magnitude": (added.abs().sum(), tokens),
        }
        totals = torch.stack([torch.stack([total.double(), count.double()]) for total, count in sums.values()])
        reduced = self.accelerator.reduce(totals, "sum").tolist()
        means = {name: total / max(count, 1) for name, (total, count) in zip(sums, reduced, strict=True)}
        for name, each in zip(("score", "reward"), self.accelerator.reduce(flow.agreement, "sum"), strict=True):
            means[f"flow/{name}_reliability"] = reliability(each, halves=flow.units > 1)
        return {name: value for name, value in means.items() if not math.isnan(value)}

    def update(self, batch: RolloutBatch, flow: FlowRecord) -> dict[str, float]:
        """Update the field on the rollouts that the current policy step saw for the first time; returns metrics."""
        config, fresh = self.update_config, torch.zeros(len(batch.mask), dtype=torch.bool, device=batch.mask.device)
        fresh[batch.take_fresh()] = True
        mask, threshold = batch.mask & fresh[:, None], -math.inf
        if "entropy" in config.accept:
            tokens = self._gather(batch.entropies)[self._gather(mask)]
            # Where every rollout is masked, as TRL masks truncated ones if asked to, there is nothing to accept.
            threshold = torch.quantile(tokens, config.entropy_quantile).item() if len(tokens) else math.inf
        accuracy = batch.accuracy[self._first(batch) :][: len(mask)]  # batch.accuracy is that of all processes
        accepted = accuracy >= config.accept_reward  # False for NaN, an ungraded rollout
        weights = acceptance_weights(mask, accepted, batch.entropies, threshold, config)
        self.update_was_bad = False
        for number in range(config.passes):
            # No two samples share a seed.
            seeds = flow.seeds + number * self.accelerator.num_processes * len(batch.inputs)
            drawn = weights
            if config.token_share < 1:
                drawn = weights * drawn_tokens(seeds, weights.shape[1], config.token_share)
            parts = [(index, latents) for index, latents in flow.kept if drawn[index].any()]
            result = self.updater.step((latents, drawn[index], seeds[index]) for index, latents in parts)
            self.update_was_bad |= result.is_bad
        metrics = {"flow/accepted_weight": result.weight}
        if result.weight > 0:
            metrics |= {"flow/field_loss": result.loss, "flow/field_grad_norm": result.grad_norm}
        flow.learnt |= fresh
        flow.kept = [(index, latents) for index, latents in flow.kept if not flow.learnt[index].all()]
        return metrics

    def save_field(self, parent: Path) -> None:
        self.field.save_pretrained(parent / FIELD_FOLDER)

    def save(self, checkpoint: Path) -> None:
        """Save what `load` needs to go on exactly here."""
        self.save_field(checkpoint)
        optimizers = {FIELD_FOLDER: self.updater.optimizer.state_dict()}  # as in the checkpoints of 0.1.0
        torch.save({"optimizers": optimizers, "noise": self.noise.get_state()}, checkpoint / FIELD_STATE)

    def load_field(self, parent: Path) -> None:
        self.field.load_state_dict(FlowField.from_pretrained(parent / FIELD_FOLDER).state_dict())

    def load(self, checkpoint: Path) -> None:
        self.load_field(checkpoint)
        state = torch.load(checkpoint / FIELD_STATE, weights_only=True, map_location="cpu")
        self.updater.optimizer.load_state_dict(state["optimizers"][FIELD_FOLDER])
        self.noise.set_state(state["noise"])

    def _on_all_processes(self, holds: Tensor) -> bool:
        """Whether a condition holds on every process, all of which must ask."""
        return self.accelerator.reduce((~holds).float(), "sum").item() == 0

    def _first(self, batch: RolloutBatch) -> int:
        """The number of this process's first rollout among those of all processes."""
        return len(batch.mask) * self.accelerator.process_index

    def _mine(self, batch: RolloutBatch, count: int) -> slice:
        """The rows of this process's `count` rollouts in what `_share` returns."""
        first = 0 if self.is_local else self._first(batch)
        return slice(first, first + count)

    def _share(self, values: Any) -> Tensor:
        """(B, T) values of the rollouts that are scored together: those of all processes, or this one's if it can."""
        return values if self.is_local else self._gather(values)

    def _gather(self, values: Any) -> Tensor:
        """(B, T) values of all processes, padded to the longest T with zeros (False).

        Masks travel as uint8: accelerate's padding turns bool into int64, but only on the processes that it pads.
        """
        is_mask = values.dtype == torch.bool
        padded = self.accelerator.pad_across_processes(values.to(torch.uint8) if is_mask else values, dim=1)
        gathered = self.accelerator.gather(padded)
        return gathered.bool() if is_mask else gathered
