"""RLFRTrainer: TRL's GRPOTrainer with per-token advantages and an online flow field. The only place that knows TRL.

One generation batch of B rollouts of T tokens, on every process:

    _generate_and_score_completions   TRL: completions, rewards, advantages (B,)
                                      ours: latents, once -> velocity deviation -> flow reward -> advantages (B, T)
    _compute_loss, per micro-batch    TRL's loss; we keep the log-probabilities and entropies that it computes
    training_step                     each policy step also updates the field, on the step's accepted rollouts;
                                      after the last micro-batch: metrics and rollout records

TRL shuffles and splits the batch before the loss, so every rollout carries its index in the batch.
"""

import shutil
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
from rlfr_mm.files import PARTIAL, replace_folder
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import within_group_auc
from rlfr_mm.method.latents import record_latents, stop_after_layer
from rlfr_mm.method.loss import latent_regression_loss
from rlfr_mm.method.shaping import SHAPINGS
from rlfr_mm.training.checkpoints import WholeCheckpoints
from rlfr_mm.training.online_flow import OnlineFlow
from rlfr_mm.training.rewards import extracted_answers
from rlfr_mm.training.rollout_batch import RolloutBatch, Stage
from rlfr_mm.viewing.rollout_records import RolloutWriter

# What _generate_and_score_completions returns for a forward pass of the policy, besides token ids and masks.
_FORWARD_INPUTS = (
    "pixel_values", "image_grid_thw", "num_images", "pixel_attention_mask", "spatial_shapes", "num_tiles",
    "image_sizes", "token_type_ids", "mm_token_type_ids", "image_position_ids",
)  # fmt: skip


class EpochSampler(RepeatSampler):
    """TRL's sampler, but with an order per epoch that depends only on the seed and the epoch.

    TRL draws the orders from one running generator, so a resumed run would repeat the order of the first epoch.
    """

    def set_epoch(self, epoch: int) -> None:
        if self.shuffle:
            self.generator.manual_seed((self.seed or 0) + epoch)


class RLFRTrainer(WholeCheckpoints, GRPOTrainer):
    """GRPO with advantages that are shaped token by token (arXiv 2510.10201).

    The first reward function defines accuracy: a reward of 1 means correct. Other arguments are GRPOTrainer's.

    Args:
        args: an `RLFRConfig`.
        field: the flow field, made for this policy; needed if `args.uses_field`.
    """

    args: Any  # an RLFRConfig
    model: Any
    processing_class: Any
    num_generations: int

    def __init__(
        self,
        *args: Any,
        field: FlowField | None = None,
        flow_reward_config: FlowRewardConfig | None = None,
        update_config: OnlineUpdateConfig | None = None,
        **kwargs: Any,
    ):
        self.flow: OnlineFlow | None = None
        super().__init__(*args, **kwargs)
        if self.is_deepspeed_enabled:  # by default, ZeRO-3 saves a policy without weights that transformers can load
            zero = self.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
            zero["stage3_gather_16bit_weights_on_model_save"] = True
        self.shaping = SHAPINGS[self.args.advantage_shaping](self.args)
        if self.args.uses_field:
            if field is None:
                shaping = self.args.advantage_shaping
                raise ValueError(f"advantage_shaping={shaping} needs a field; pass one, or use advantage_shaping=none")
            field.check_matches(self.model.config)
            self.flow = OnlineFlow(
                field,
                flow_reward_config or FlowRewardConfig(),
                update_config or OnlineUpdateConfig(),
                self.accelerator,
                self._tokenizer,
                self.num_generations,
                self.args.seed,
            )
        self.writer = RolloutWriter(self.args.output_dir)
        self.batch: RolloutBatch | None = None  # the rollouts that TRL is working on

    def _get_train_sampler(self, dataset: Any = None) -> RepeatSampler:
        trl: Any = super()._get_train_sampler(dataset)
        return EpochSampler(
            trl.data_source, trl.mini_repeat_count, trl.batch_size, trl.repeat_count, trl.shuffle, trl.seed
        )

    # ---- 1. rollouts: rewards, latents, advantages -------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            return super()._generate_and_score_completions(inputs)
        self.batch = batch = RolloutBatch(
            step=self.state.global_step + 1,
            inputs=inputs,
            reward_names=self.reward_func_names,
            records_latents=self.flow is not None and self._scores_old_logps(),
        )
        output = super()._generate_and_score_completions(inputs)
        batch.start_training(output)
        if (flow := self.flow) is not None:
            latents, logps = batch.latents, output.get("old_per_token_logps")
            if latents is None:
                latents, logps = self._score_rollouts(flow, output)
            batch.flow = record = flow.rewards(batch, latents, logps)
            batch.advantages = self.shaping.of_rollouts(batch.advantages, lambda: flow.advantages(batch, record))
            output["advantages"] = batch.advantages
        output["rollout_index"] = torch.arange(len(inputs), device=batch.mask.device)
        return output

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids: Any
    ) -> Tensor:
        # (all rollouts, functions), NaN: not graded
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        # TRL adds up the functions that did grade: an ungraded answer with the right format would count as wrong.
        rewards = rewards.masked_fill(rewards.isnan().any(dim=1, keepdim=True), torch.nan)
        if self.batch is not None and self.batch.stage is Stage.GENERATING:
            self.batch.rewards = rewards
            if self.flow is not None and self.flow.score.needs_answers:
                solutions, choices = [row["solution"] for row in inputs], [row.get("choices") or [] for row in inputs]
                self.batch.answers = gather_object(extracted_answers(completions, solutions, choices))
        return rewards

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        if images is not None:
            # TRL has None for a prompt without images; a processor that gets prompts with images, too, wants [].
            images = [own or [] for own in images]
        return prompt_ids, images, multimodal_fields

    # ---- 2. latents --------------------------------------------------------------------------------------------

    def _scores_old_logps(self) -> bool:
        """Whether TRL runs the policy over the rollouts before it trains on them, so that latents are free."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        misaligned = self.args.gradient_accumulation_steps % generate_every != 0
        return misaligned or (self.use_vllm and self.vllm_importance_sampling_correction)

    def _score_rollouts(self, flow: OnlineFlow, output: dict[str, Any]) -> tuple[Tensor, Tensor | None]:
        """Latents from a pass of our own, which ends at the deepest flow layer unless log-probabilities are needed."""
        model = self.accelerator.unwrap_model(self.model)
        whole = flow.needs_logps or self.is_fsdp_enabled or self.is_deepspeed_enabled
        tensors: dict[str, Any] = {
            "input_ids": torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1),
            "attention_mask": torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1),
            **{key: output[key] for key in _FORWARD_INPUTS if key in output},
        }
        length = output["completion_ids"].size(1)
        indices = flow.field.layer_indices
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
        """TRL's log-probabilities; we record latents in its scoring pass and shape the advantages in its loss."""
        batch = self.batch
        recording: Any = nullcontext()
        if self.flow is not None and batch is not None and batch.records_latents:
            batch.records_latents = False  # the pass of the reference policy, which may be the same module, comes later
            unwrapped = self.accelerator.unwrap_model(self.model)
            recording = record_latents(unwrapped, self.flow.field.layer_indices, logits_to_keep + 1)
        with recording as recorder:
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if batch is not None and recorder is not None:
            batch.latents = recorder.latents
        if batch is not None and batch.loss_inputs is not None and kwargs.get("compute_entropy"):
            self._observe(batch.loss_inputs, logps.detach(), entropies.detach())
        return logps, entropies, aux_loss

    # ---- 3. the loss -------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.batch is None or not self.model.training:
            return super()._compute_loss(model, inputs)
        with self.batch.micro_batch(inputs) as own:
            if self.shaping.regresses_latents and self.flow is not None and self.batch.flow is not None:
                return self._latent_regression(model, own, self.flow, self.batch.mask, self.batch.flow.seeds)
            return super()._compute_loss(model, own)

    def _latent_regression(
        self, model: Any, inputs: dict[str, Any], flow: OnlineFlow, mask: Tensor, seeds: list[int]
    ) -> Tensor:
        """TRL's loss plus `flow_coef` times the mean velocity deviation, differentiated through the latents."""
        index, length, config = inputs["rollout_index"], mask.shape[1], flow.reward_config
        policy = self.accelerator.unwrap_model(model)
        with record_latents(policy, flow.field.layer_indices, length + 1, keep_graph=True) as recorder:
            loss = super()._compute_loss(model, inputs)
        own = [seeds[i] for i in index.tolist()]
        regression = latent_regression_loss(flow.field, recorder.latents, mask[index], config, own)
        return loss + config.flow_coef * regression / self.current_gradient_accumulation_steps

    def _observe(self, inputs: dict[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Shape the advantages of a micro-batch, which TRL reads next, and keep what its first pass tells us."""
        inputs["advantages"] = self.shaping.in_loss(inputs["advantages"], entropies)
        if self.batch is not None and self.batch.stage is Stage.TRAINING:
            sampled = inputs.get("old_per_token_logps", logps)
            self.batch.observe(inputs["rollout_index"], sampled, entropies, inputs["advantages"])

    # ---- 4. field updates, metrics, records ---------------------------------------------------------------------

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        batch = self.batch
        if batch is not None and batch.stage is Stage.TRAINING and (self.accelerator.sync_gradients or batch.complete):
            if self.flow is not None and batch.flow is not None and self.flow.update_config.enabled:
                self._log_means(self.flow.update(batch, batch.flow))
            if batch.complete:
                self._finish(batch)
                batch.finish()
        return loss

    def _finish(self, batch: RolloutBatch) -> None:
        """Log the metrics of a batch and write its rollout records."""
        correct, graded = batch.accuracy == 1, ~batch.accuracy.isnan()  # AUCs leave out ungraded rollouts
        self._log_means({"accuracy": correct[graded].float().mean().item()})
        if self.flow is not None and batch.flow is not None:
            self._log_means(self.flow.metrics(batch, batch.flow))
        for name, score in batch.scores().items():
            score = self.accelerator.gather(score).masked_fill(~graded, torch.nan)
            self._log_means({f"auc/{name}": within_group_auc(score, correct, self.num_generations)})
        if self.accelerator.is_main_process and self.args.rollouts_per_step:
            self.writer.write(*batch.records(self._tokenizer, self.args.rollouts_per_step))

    def _log_means(self, values: dict[str, float]) -> None:
        """Add values to TRL's metrics, which it averages over the steps between two logs."""
        for name, value in values.items():
            self._metrics["train"][name].append(value)

    # ---- 5. checkpoints ----------------------------------------------------------------------------------------

    def save_extras(self, folder: Path) -> None:
        if self.flow is not None:
            self.flow.save(folder)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:  # their checkpoints hold weights only
            policy = self.accelerator.unwrap_model(self.model)
            policy.config.save_pretrained(folder)
            policy.generation_config.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None and self.flow is not None:
            self.flow.load(Path(checkpoint))

    def save_policy(self, folder: str | Path) -> None:
        """Save the policy, its processor and, under `flow/`, the field as one folder that loads with transformers.

        Every process must call it. The folder appears whole or not at all, and is there when any process returns.
        """
        folder = Path(folder)
        partial = folder.with_name(folder.name + PARTIAL)
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if self.is_fsdp_enabled:  # transformers cannot save a whole model while checkpoints are sharded
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        self.save_model(str(partial))
        if self.accelerator.is_main_process:
            if self.flow is not None:
                self.flow.save_fields(partial)
            replace_folder(partial, folder)
        self.accelerator.wait_for_everyone()
