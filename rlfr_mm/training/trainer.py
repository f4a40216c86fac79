"""RLFRTrainer: TRL's GRPOTrainer with per-token advantages and an online flow field. The only place that knows TRL.

One generation batch of B rollouts of T tokens, on every process:

    _generate_and_score_completions   TRL: completions, rewards, advantages (B,)
                                      ours: latents, once -> velocity deviation -> flow reward -> advantages (B, T)
    _compute_loss, per micro-batch    TRL's loss; its log-probabilities and entropies are kept, they cost nothing
    training_step                     with each step of the policy the field's, on the accepted of its rollouts;
                                      after the last micro-batch the metrics and the rollout records

TRL shuffles and splits the batch before the loss, so each rollout carries its index with it.
"""

import copy
import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import (
    RepeatSampler,
    split_pixel_values_by_grid,
    split_tensor_dict,
    unsplit_pixel_values_by_grid,
)

from rlfr_mm.config import FlowRewardConfig, OnlineUpdateConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import flow_advantages, flow_reward, within_group_auc
from rlfr_mm.method.latents import record_latents, stop_after_layer
from rlfr_mm.method.loss import latent_regression_loss, scored_tokens, velocity_deviation
from rlfr_mm.method.scores import first_departure, majority_disagreement, residual, shuffled
from rlfr_mm.method.shaping import entropy_advantage
from rlfr_mm.method.update import FieldUpdater, acceptance_weights, sample_seeds
from rlfr_mm.training.checkpoints import WholeCheckpoints
from rlfr_mm.training.rewards import extracted_answers
from rlfr_mm.training.rollout_batch import FlowRecord, RolloutBatch
from rlfr_mm.viewing.rollout_records import RolloutWriter

FIELD_FOLDER = "flow"  # the field, in a checkpoint and in RUN/final
REJECTED_FOLDER = "flow_rejected"  # the second field of flow_reward.score: log_ratio
FIELD_STATE = "flow_state.pt"  # the fields' optimisers and the state of their noise

# What _generate_and_score_completions returns for the forward pass of a policy, besides token ids and masks.
_FORWARD_INPUTS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
    "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip


class EpochSampler(RepeatSampler):
    """TRL's sampler with an order for each epoch of its own, which a run resumed in that epoch has, too.

    TRL draws the orders from one running generator: a resumed run would see the first epoch's again.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class RLFRTrainer(WholeCheckpoints, GRPOTrainer):
    """GRPO whose advantages are shaped token by token (arXiv 2510.10201).

    `args` is an `RLFRConfig`. With `advantage_shaping: flow` a `field` made for this policy is needed; it is replicated
    on every process in float32 and takes its own steps. With `score: log_ratio` a copy of it learns the rejected
    rollouts from then on. The first reward function says what is correct: 1, and what is not. All other arguments are
    GRPOTrainer's.
    """

    args: Any  # an RLFRConfig
    model: Any
    num_generations: int

    def __init__(
        self,
        *args: Any,
        field: FlowField | None = None,
        flow_reward_config: FlowRewardConfig | None = None,
        update_config: OnlineUpdateConfig | None = None,
        **kwargs: Any,
    ):
        self.field: FlowField | None = None
        self.updaters: dict[str, FieldUpdater] = {}  # of the fields, by their folder in a checkpoint
        super().__init__(*args, **kwargs)
        self.flow_reward_config = flow_reward_config or FlowRewardConfig()
        self.update_config = update_config or OnlineUpdateConfig()
        if self.args.uses_field:
            shaping = self.args.advantage_shaping
            if field is None:
                raise ValueError(f"advantage_shaping={shaping} needs a field; pass one, or use advantage_shaping=none")
            field.check_matches(self.model.config)
            self.field = field.to(self.accelerator.device)
            self.updaters[FIELD_FOLDER] = FieldUpdater(self.field, self.update_config, self.accelerator)
            if self.flow_reward_config.score == "log_ratio":
                if not (self.update_config.enabled and "correct" in self.update_config.accept):
                    raise ValueError("flow_reward.score=log_ratio needs update.enabled, and correct in update.accept")
                rejected = copy.deepcopy(self.field)
                self.updaters[REJECTED_FOLDER] = FieldUpdater(rejected, self.update_config, self.accelerator)
        self._answers: list[str | None] = []  # of all rollouts, where the score is made of them
        # The field's noise has a generator of its own: what the policy samples does not depend on the flow.
        self.noise = torch.Generator().manual_seed(self.args.seed)
        self.writer = RolloutWriter(self.args.output_dir)
        self._batch: RolloutBatch | None = None  # the rollouts TRL is working on
        self._loss_inputs: dict[str, Any] | None = None  # the micro-batch whose loss is being computed
        self._record_next_scoring = False

    def start_fields_from(self, field: FlowField) -> None:
        """Take over the weights of a field that was trained after this trainer was made."""
        for updater in self.updaters.values():
            updater.field.load_state_dict(field.state_dict())

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        trl: Any = super()._get_train_sampler(dataset)
        return EpochSampler(
            trl.data_source, trl.mini_repeat_count, trl.batch_size, trl.repeat_count, trl.shuffle, trl.seed
        )

    # ---- 1. rollouts: rewards, latents, advantages -------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self._latents: Tensor | None = None
        self._record_next_scoring = self.field is not None and self._scores_old_logps()
        output = super()._generate_and_score_completions(inputs)
        completion_mask = output["completion_mask"]
        if "tool_mask" in output:
            completion_mask = completion_mask * output["tool_mask"]
        size = len(inputs)
        self._batch = batch = RolloutBatch(
            step=self.state.global_step + 1,
            inputs=inputs,
            completion_ids=output["completion_ids"],
            mask=completion_mask.bool(),
            outcome=output["advantages"],
            rewards=self._rewards,
            reward_names=self.reward_func_names,
            advantages=output["advantages"].unsqueeze(1) * completion_mask,
        )
        if self.field is not None:
            latents, logps = self._latents, output.get("old_per_token_logps")
            if latents is None:
                latents, logps = self._score_rollouts(self.field, output)
            batch.flow = self._flow_rewards(self.field, latents, batch, logps)
            if self.args.advantage_shaping == "latent_regression":
                batch.advantages = torch.zeros_like(batch.advantages)
            else:
                batch.advantages = batch.advantages + self._flow_advantages(batch, batch.flow.reward)
            output["advantages"] = batch.advantages
        output["rollout_index"] = torch.arange(size, device=batch.mask.device)
        return output

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids: Any
    ) -> Tensor:
        if self.flow_reward_config.score == "majority":
            solutions, choices = [row["solution"] for row in inputs], [row.get("choices") or [] for row in inputs]
            self._answers = gather_object(extracted_answers(completions, solutions, choices))
        # (all rollouts, functions), NaN: not graded
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        # TRL sums the functions that did grade: with the format reward alone, an ungraded answer would count as wrong.
        self._rewards = rewards.masked_fill(rewards.isnan().any(dim=1, keepdim=True), torch.nan)
        return self._rewards

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        if images is not None:  # TRL says None for a prompt without images; processors want [] beside prompts with
            images = [own or [] for own in images]
        return prompt_ids, images, multimodal_fields

    def _flow_rewards(self, field: FlowField, latents: Tensor, batch: RolloutBatch, logps: Any) -> FlowRecord:
        """Deviation and flow reward of this process's rollouts, normalised over those of all processes."""
        config, mask, mine = self.flow_reward_config, batch.mask, self._mine(len(batch.mask))
        seeds = sample_seeds(self.noise, mine.start, len(mask))
        deviation = velocity_deviation(field, latents, mask, config, seeds)
        scored = self._gather_tokens(scored_tokens(mask, config.context_shifts or field.config.context_shifts))
        if config.max_probability is not None:
            scored = scored & (self._gather_tokens(logps) <= math.log(config.max_probability))
        score = self._gather_tokens(deviation)
        if config.score == "log_ratio":
            rejected = velocity_deviation(self.updaters[REJECTED_FOLDER].field, latents, mask, config, seeds)
            score = score - self._gather_tokens(rejected)
        elif config.score == "logprob":
            score = -self._gather_tokens(logps)
        elif config.score == "residual":
            score = residual(score, self._gather_tokens(logps), scored)
        elif config.score == "majority":
            disagreement = majority_disagreement(self._answers, self.num_generations)
            score = disagreement.to(score)[:, None].expand_as(score)
        elif config.score == "departure":
            encoded = self._tokenizer([row["expert"] for row in batch.inputs], add_special_tokens=False)["input_ids"]
            experts = [[*ids, self._tokenizer.eos_token_id] for ids in encoded]
            score = self._gather_tokens(first_departure(batch.completion_ids, mask, experts))
        reward = flow_reward(score, scored, config, self.num_generations)
        if config.shuffle != "none":
            draws = torch.Generator().manual_seed(seeds[0] - mine.start)  # the same on every process
            reward = shuffled(reward, scored, config.shuffle, self.num_generations, draws)
        return FlowRecord(latents, seeds, deviation, reward[mine, : mask.shape[1]])

    def _flow_advantages(self, batch: RolloutBatch, reward: Tensor) -> Tensor:
        """What the flow reward of this process's rollouts adds to their advantages."""
        advantages = flow_advantages(
            self._gather_tokens(reward),
            self.accelerator.gather(batch.outcome),
            self._gather_tokens(batch.mask),
            self.flow_reward_config,
            self.num_generations,
        )
        return advantages[self._mine(len(batch.mask)), : batch.mask.shape[1]]

    def _mine(self, size: int) -> slice:
        """Where the `size` rollouts of this process are among those of all."""
        return slice(size * self.accelerator.process_index, size * (self.accelerator.process_index + 1))

    def _gather_tokens(self, values: Tensor) -> Tensor:
        """(B, T) values of all processes, padded to the longest T with zeros (False)."""
        return self.accelerator.gather(self.accelerator.pad_across_processes(values, dim=1))

    # ---- 2. latents --------------------------------------------------------------------------------------------

    def _scores_old_logps(self) -> bool:
        """Whether TRL runs the policy over the rollouts before it trains on them: latents are free then."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        misaligned = self.args.gradient_accumulation_steps % generate_every != 0
        return misaligned or (self.use_vllm and self.vllm_importance_sampling_correction)

    def _score_rollouts(self, field: FlowField, output: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Latents from a pass of our own, which ends at the deepest flow layer unless log-probabilities are needed."""
        model = self.accelerator.unwrap_model(self.model)
        whole = self.flow_reward_config.needs_logps or self.is_fsdp_enabled or self.is_deepspeed_enabled
        tensors: dict[str, Any] = {
            "input_ids": torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1),
            "attention_mask": torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1),
            **{key: output[key] for key in _FORWARD_INPUTS if key in output},
        }
        length = output["completion_ids"].size(1)
        indices = field.layer_indices
        by_sample: dict[str, Any] = split_pixel_values_by_grid(tensors)
        chunks: Any = split_tensor_dict(by_sample, self.args.steps_per_generation)
        scoring = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
        logps: list[Tensor] = []
        with torch.no_grad(), scoring, record_latents(model, indices, length + 1) as recorder:
            for chunk in map(unsplit_pixel_values_by_grid, chunks):
                with nullcontext() if whole else stop_after_layer(model, max(indices)):
                    scored = super()._get_per_token_logps_and_entropies(self.model, logits_to_keep=length, **chunk)
                    logps.append(scored[0])
        return recorder.latents, torch.cat(logps) if logps else None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """TRL's log-probabilities; latents are recorded in its scoring pass, entropies shape advantages in the loss."""
        recording: Any = nullcontext()
        if self.field is not None and self._record_next_scoring:
            self._record_next_scoring = False  # the reference policy, which may be the same module, comes later
            unwrapped = self.accelerator.unwrap_model(self.model)
            recording = record_latents(unwrapped, self.field.layer_indices, logits_to_keep + 1)
        with recording as recorder:
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if recorder is not None:
            self._latents = recorder.latents
        if self._loss_inputs is not None and kwargs.get("compute_entropy"):
            self._observe(self._loss_inputs, logps.detach(), entropies.detach())
        return logps, entropies, aux_loss

    # ---- 3. the loss -------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        self._loss_inputs = dict(inputs) if self.model.training else None
        try:
            if self.args.advantage_shaping == "latent_regression" and self.field and self._batch and self._batch.flow:
                return self._latent_regression(model, inputs, self.field, self._batch.mask, self._batch.flow.seeds)
            return super()._compute_loss(model, self._loss_inputs or inputs)
        finally:
            self._loss_inputs = None

    def _latent_regression(
        self, model: Any, inputs: dict[str, Any], field: FlowField, mask: Tensor, seeds: list[int]
    ) -> Tensor:
        """The control without RL: the field pulls the latents of what the policy says to where it expects them.

        The advantages are 0: TRL's loss adds nothing but its KL term, if that is on.
        """
        index, length, config = inputs["rollout_index"], mask.shape[1], self.flow_reward_config
        policy = self.accelerator.unwrap_model(model)
        with record_latents(policy, field.layer_indices, length + 1, keep_graph=True) as recorder:
            loss = super()._compute_loss(model, self._loss_inputs)
        own = [seeds[i] for i in index.tolist()]
        regression = latent_regression_loss(field, recorder.latents, mask[index], config, own)
        return loss + config.flow_coef * regression / self.current_gradient_accumulation_steps

    def _observe(self, inputs: dict[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Entropy shaping, which TRL reads after this call, and what the first pass over a rollout tells about it."""
        if self.args.advantage_shaping == "entropy":
            outcome = inputs["advantages"].unsqueeze(1).expand_as(entropies)
            inputs["advantages"] = entropy_advantage(
                outcome, entropies, self.args.entropy_alpha, self.args.entropy_kappa
            )
        if self._batch is not None:
            self._batch.observe(
                inputs["rollout_index"], inputs.get("old_per_token_logps", logps), entropies, inputs["advantages"]
            )

    # ---- 4. the field's step, metrics, records ------------------------------------------------------------------

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        batch = self._batch
        if batch is not None and (self.accelerator.sync_gradients or batch.complete):
            if batch.flow is not None and self.update_config.enabled:
                self._update_fields(batch, batch.flow)
            if batch.complete:
                self._finish(batch)
                self._batch = None
        return loss

    def _finish(self, batch: RolloutBatch) -> None:
        correct, graded = batch.accuracy == 1, ~batch.accuracy.isnan()  # what is not graded is left out of the AUCs
        self._metrics["train"]["accuracy"].append(correct[graded].float().mean().item())
        if batch.flow is not None:
            self._record_flow_metrics(batch, batch.flow)
        for name, score in batch.scores().items():
            auc = within_group_auc(
                self.accelerator.gather(score).masked_fill(~graded, torch.nan), correct, self.num_generations
            )
            self._metrics["train"][f"auc/{name}"].append(auc)
        if self.accelerator.is_main_process and self.args.rollouts_per_step:
            self.writer.write(*batch.records(self._tokenizer, self.args.rollouts_per_step))

    def _record_flow_metrics(self, batch: RolloutBatch, flow: FlowRecord) -> None:
        tokens = batch.mask.sum()
        sums = torch.stack(
            [
                flow.deviation.sum(),
                flow.reward.sum(),
                (flow.reward != 0).sum().float(),
                (batch.advantages - batch.outcome.unsqueeze(1))[batch.mask].abs().sum(),
                tokens.float(),
            ]
        )
        *totals, count = self.accelerator.reduce(sums, "sum").tolist()
        names = ("deviation_mean", "reward_mean", "rewarded_share", "shaping_magnitude")
        for name, total in zip(names, totals, strict=True):
            self._metrics["train"][f"flow/{name}"].append(total / max(count, 1))

    def _update_fields(self, batch: RolloutBatch, flow: FlowRecord) -> None:
        """The fields' steps that go with a step of the policy, on the rollouts which that step saw first."""
        index = batch.take_fresh()
        mask, entropies = batch.mask[index], batch.entropies[index]
        threshold = -math.inf
        if "entropy" in self.update_config.accept:
            tokens = self._gather_tokens(entropies)[self._gather_tokens(mask)]
            threshold = torch.quantile(tokens, self.update_config.entropy_quantile).item()
        accuracy, least = batch.accuracy[self._mine(len(batch.inputs))][index], self.update_config.accept_reward
        learns = {FIELD_FOLDER: accuracy >= least, REJECTED_FOLDER: accuracy < least}  # NaN is in neither
        for folder, updater in self.updaters.items():
            weights = acceptance_weights(mask, learns[folder], entropies, threshold, self.update_config)
            for number in range(self.update_config.passes):
                others = number * self.accelerator.num_processes * len(batch.inputs)  # no two samples share a seed
                seeds = [flow.seeds[i] + others for i in index.tolist()]
                result = updater.step(flow.latents[index], mask, weights, seeds)
            metrics = self._metrics["train"]
            metrics[f"{folder}/accepted_weight"].append(result.weight)
            if result.weight > 0:
                metrics[f"{folder}/field_loss"].append(result.loss)
                metrics[f"{folder}/field_grad_norm"].append(result.grad_norm)

    # ---- 5. checkpoints ----------------------------------------------------------------------------------------

    def save_extras(self, folder: Path) -> None:
        if self.field is None:
            return
        self._save_fields(folder)
        optimizers = {name: updater.optimizer.state_dict() for name, updater in self.updaters.items()}
        torch.save({"optimizers": optimizers, "noise": self.noise.get_state()}, folder / FIELD_STATE)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is None or self.field is None:
            return
        state = torch.load(Path(checkpoint) / FIELD_STATE, weights_only=True)
        for folder, updater in self.updaters.items():
            updater.field.load_state_dict(FlowField.from_pretrained(Path(checkpoint) / folder).state_dict())
            updater.optimizer.load_state_dict(state["optimizers"][folder])
        self.noise.set_state(state["noise"])

    def save_policy(self, folder: str | Path) -> None:
        """The policy, its processor and, under `flow/`, the field, as one folder that loads with transformers."""
        if self.is_fsdp_enabled:  # checkpoints may be sharded; of those transformers saves no whole model
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        self.save_model(str(folder))
        if self.accelerator.is_main_process:
            self._save_fields(Path(folder))

    def _save_fields(self, parent: Path) -> None:
        for folder, updater in self.updaters.items():
            updater.field.save_pretrained(parent / folder)
