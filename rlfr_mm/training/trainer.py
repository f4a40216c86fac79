"""RLFRTrainer: TRL's GRPOTrainer with per-token advantages and an online flow field. The only place that knows TRL.

One generation batch of B rollouts of T tokens, on every process:

    _generate_and_score_completions   TRL: completions, rewards, advantages (B,)
    _compute_loss, per micro-batch    TRL's loss; we keep the log-probabilities and entropies that it computes
    training_step                     each policy step also updates the field, on the step's accepted rollouts;
                                      after the last micro-batch: metrics and rollout records

In between: latents, once -> velocity deviation -> flow reward -> advantages (B, T). The latents come from the first
pass of the policy that suits (`_latents_from`):

- "old_logps": TRL's pass for old log-probabilities, if the settings make it run one;
- "loss": the forward pass of the loss itself, if each rollout's flow reward depends on that rollout alone, as the
  default does. TRL reads the advantages after it;
- "own": a pass of our own before training, because rewards are normalised or compared over rollouts.

TRL shuffles and splits the batch before the loss, so every rollout carries its index in the batch.
"""

import shutil
import warnings
from collections import deque
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers.trainer import TRAINING_ARGS_NAME
from trl import GRPOTrainer
from trl.models.utils import disable_gradient_checkpointing
from trl.trainer.utils import split_pixel_values_by_grid, split_tensor_dict, unsplit_pixel_values_by_grid

from rlfr_mm.config import FlowRewardConfig, OnlineUpdateConfig, RLFRArguments, RLFRConfig
from rlfr_mm.data.encode_once import encode_once
from rlfr_mm.data.prompts import conversation_text
from rlfr_mm.files import PARTIAL, replace_folder, seal
from rlfr_mm.method.field import FlowField
from rlfr_mm.method.flow_reward import within_group_auc
from rlfr_mm.method.latents import record_latents, stop_after_layer
from rlfr_mm.method.shaping import SHAPINGS
from rlfr_mm.policy import watched_logits
from rlfr_mm.precheck import HELD_OUT
from rlfr_mm.training.bad_steps import Diverged, SkipBadSteps, not_finite
from rlfr_mm.training.checkpoints import WholeCheckpoints, named_write_errors
from rlfr_mm.training.online_flow import OnlineFlow
from rlfr_mm.training.policy_pass import expert_logps, forward_inputs, without_empty_images
from rlfr_mm.training.rewards import accuracy_reward
from rlfr_mm.training.rollout_batch import FlowRecord, RolloutBatch, Stage
from rlfr_mm.training.sampler import EpochSampler
from rlfr_mm.viewing.rollout_records import RolloutWriter

# TRL 1.16 calls `gradient_checkpointing_enable` and its like, whose names transformers 5.24 deprecates.
warnings.filterwarnings("ignore", r"`(is_)?gradient_checkpointing", FutureWarning)


class RLFRTrainer(WholeCheckpoints, SkipBadSteps, GRPOTrainer):
    """GRPO with advantages that are shaped token by token (arXiv 2510.10201).

    Takes what GRPOTrainer takes: any of its datasets, reward functions, tools, environments and PEFT configurations.
    The reward function named accuracy, or else the first one, says what is correct: a reward of 1.

    Args:
        args: an `RLFRConfig`, which is TRL's GRPOConfig with the settings of `RLFRArguments`.
        field: the flow field, made for this policy; needed if `args.uses_field`.

    >>> args = RLFRConfig("runs/mine", advantage_shaping="none")
    >>> RLFRTrainer("Qwen/Qwen3-0.6B", accuracy_reward, args, train_dataset=problems).train()
    """

    args: Any  # an RLFRConfig
    train_dataset: Any
    model: Any
    processing_class: Any
    num_generations: int

    def __init__(
        self,
        model: Any,
        reward_funcs: Any = None,
        args: Any = None,
        *others: Any,
        field: FlowField | None = None,
        flow_reward_config: FlowRewardConfig | None = None,
        update_config: OnlineUpdateConfig | None = None,
        **kwargs: Any,
    ):
        self.flow: OnlineFlow | None = None
        self.sampler: EpochSampler | None = None  # of the problems; a stream has none
        args = RLFRConfig() if args is None else args
        if not isinstance(args, RLFRArguments):
            raise TypeError(
                f"args is a {type(args).__name__}: pass rlfr_mm.config.RLFRConfig with the same settings, with a "
                "`field`, or with advantage_shaping='none' for GRPO without the flow"
            )
        grpo_arguments: Any = (model, reward_funcs, args, *others)
        super().__init__(*grpo_arguments, **kwargs)
        self.processing_class = encode_once(self.processing_class)
        if self.is_deepspeed_enabled:  # by default, ZeRO-3 saves a policy without weights that transformers can load
            zero = self.accelerator.state.deepspeed_plugin.deepspeed_config["zero_optimization"]
            zero["stage3_gather_16bit_weights_on_model_save"] = True
        self.shaping = SHAPINGS[self.args.advantage_shaping](self.args)
        if self.args.uses_field:
            if field is None:
                shaping = self.args.advantage_shaping
                raise ValueError(f"advantage_shaping={shaping} needs a field; pass one, or use advantage_shaping=none")
            field.check_matches(self.model.config)
            field.multiply_like(self.accelerator.mixed_precision == "bf16" or self.model.dtype == torch.bfloat16)
            self.flow = OnlineFlow(
                field,
                flow_reward_config or FlowRewardConfig(),
                update_config or OnlineUpdateConfig(),
                self.accelerator,
                self._tokenizer,
                self.num_generations,
                self.args.seed,
            )
            self.flow.check_columns(self.train_dataset.column_names)
        if self._is_vlm:
            self.model.register_forward_pre_hook(without_empty_images, with_kwargs=True)
        self.writer = RolloutWriter(self.args.output_dir)
        self.batch: RolloutBatch | None = None  # the rollouts that TRL is working on

    def _get_train_sampler(self, dataset: Any = None) -> EpochSampler:
        trl: Any = super()._get_train_sampler(dataset)
        self.sampler = EpochSampler(
            trl.data_source, trl.mini_repeat_count, trl.batch_size, trl.repeat_count, trl.shuffle, trl.seed
        )
        return self.sampler

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Set the order here: on several processes, a loader that skips to where a run resumes hides the sampler."""
        if self.sampler is not None:
            self.sampler.set_epoch(kwargs["epoch"])
        super()._run_epoch(*args, **kwargs)

    # ---- 1. rollouts: rewards, latents, advantages -------------------------------------------------------------

    def _generate_and_score_completions(self, inputs: list[dict[str, Any]]) -> dict[str, Any]:
        if not self.model.training:
            output = super()._generate_and_score_completions(inputs)
            self._flatten_logged_messages()
            return output
        self.batch = batch = RolloutBatch(
            step=self.state.global_step + 1,
            inputs=inputs,
            reward_names=self.reward_func_names,
            records_latents=self.flow is not None and self._latents_from == "old_logps",
        )
        if name := not_finite(self.model):
            raise Diverged(f"before step {batch.step} the policy's weights are not finite ({name}): nothing mends them")
        output = super()._generate_and_score_completions(inputs)
        self._flatten_logged_messages()
        weighted = self.shaping.of_outcomes(output["advantages"])
        batch.start_training(output, weighted)
        output["advantages"] = weighted
        output["rollout_index"] = everything = torch.arange(len(inputs), device=batch.mask.device)
        if (flow := self.flow) is not None:
            batch.flow = record = flow.start(batch)
            if flow.score.needs_expert_logps:
                record.expert_logps = expert_logps(self, output, flow.experts(batch, everything))
            if self._latents_from != "loss":
                logps = output.get("old_per_token_logps")
                if self._latents_from == "own":
                    logps = self._run_for_latents(flow, batch, record, output)
                for index, latents in batch.take_latents():
                    flow.measure(batch, record, index, latents)
                self._shape(flow, batch, record, everything, logps)
                output["advantages"] = batch.advantages
        return output

    def _flatten_logged_messages(self) -> None:
        """Make texts of the messages in TRL's table of rollouts: wandb refuses messages of different shapes."""
        logs: Any = self._logs
        for name in ("prompt", "completion"):
            logs[name] = deque(map(conversation_text, logs[name]), logs[name].maxlen)

    def _generate(self, prompts: list[Any]) -> Any:
        with watched_logits(self.accelerator.unwrap_model(self.model)) as bad:
            output = super()._generate(prompts)
        if self.accelerator.reduce(bad.float(), "sum") > 0:  # all processes stop, or some would wait for the others
            raise Diverged(
                f"at step {self.state.global_step + 1} the policy's logits are NaN or infinite while it generates: "
                "lower train.learning_rate, or compute in float32 or bfloat16; --resume continues from the newest "
                "whole checkpoint"
            )
        return output

    def _shape(
        self, flow: OnlineFlow, batch: RolloutBatch, record: FlowRecord, index: Tensor, logps: Tensor | None
    ) -> None:
        """Compute the flow rewards of the rollouts `index`, whose deviations are known, and shape their advantages."""
        if not flow.reward(batch, record, index, logps):
            batch.not_finite = self._step_is_bad = "the flow field's scores of the rollouts are not finite"
            return
        before = batch.advantages[index]
        shaped = self.shaping.of_rollouts(before, lambda: flow.advantages(batch, record, index))
        batch.advantages[index] = shaped.to(before.dtype)

    def _calculate_rewards(
        self, inputs: list[dict[str, Any]], prompts: list[Any], completions: list[Any], completion_ids: Any
    ) -> Tensor:
        # (all rollouts, functions), NaN: not graded
        rewards = super()._calculate_rewards(inputs, prompts, completions, completion_ids)
        if accuracy_reward in self.reward_funcs:
            # TRL adds up the functions that apply. An answer that could not be graded would count as wrong.
            ungraded = rewards[:, self.reward_funcs.index(accuracy_reward)].isnan()
            rewards = rewards.masked_fill(ungraded[:, None], torch.nan)
        if self.batch is not None and self.batch.stage is Stage.GENERATING:
            self.batch.rewards = rewards
        return rewards

    def _tokenize_prompts(self, prompts: list[Any]) -> tuple[Any, Any, Any]:
        prompt_ids, images, multimodal_fields = super()._tokenize_prompts(prompts)
        if images is not None:
            # TRL has None for a prompt without images; a processor that gets prompts with images, too, wants [].
            images = [own or [] for own in images]
        return prompt_ids, images, multimodal_fields

    def _generate_single_turn(self, prompt_ids: Any, images: Any, *args: Any, **kwargs: Any) -> Any:
        if self.use_vllm and images is not None:  # which wants None again
            images = [own or None for own in images]
        return super()._generate_single_turn(prompt_ids, images, *args, **kwargs)

    # ---- 2. latents --------------------------------------------------------------------------------------------

    @property
    def _latents_from(self) -> str:
        """The pass of the policy that provides the latents: "old_logps", "loss" or "own"."""
        generate_every = self.args.steps_per_generation * self.num_iterations
        misaligned = self.args.gradient_accumulation_steps % generate_every != 0
        if misaligned or (self.use_vllm and self.vllm_importance_sampling_correction):  # as TRL decides
            return "old_logps"
        return "loss" if self.num_iterations == 1 and self.flow is not None and self.flow.is_local else "own"

    def _run_for_latents(
        self, flow: OnlineFlow, batch: RolloutBatch, record: FlowRecord, output: dict[str, Any]
    ) -> Tensor | None:
        """Measure all rollouts in a pass of our own, and return their log-probabilities if they are needed.

        Without log-probabilities the pass ends at the deepest flow layer.
        """
        model = self.accelerator.unwrap_model(self.model)
        whole = flow.needs_logps or self.is_sharded
        tensors: dict[str, Any] = {
            "input_ids": torch.cat([output["prompt_ids"], output["completion_ids"]], dim=1),
            "attention_mask": torch.cat([output["prompt_mask"], output["completion_mask"]], dim=1),
            "index": output["rollout_index"],
            **forward_inputs(output),
        }
        length, indices = output["completion_ids"].size(1), flow.field.layer_indices
        by_sample: dict[str, Any] = split_pixel_values_by_grid(tensors)
        chunks: Any = split_tensor_dict(by_sample, self.args.steps_per_generation)
        logps: list[Tensor] = []
        for chunk in map(unsplit_pixel_values_by_grid, chunks):
            index, mask = chunk.pop("index"), chunk["attention_mask"][:, -length:].bool()
            scoring = disable_gradient_checkpointing(self.model, self.args.gradient_checkpointing_kwargs)
            ending = nullcontext() if whole else stop_after_layer(model, max(indices))
            with torch.no_grad(), scoring, record_latents(model, indices, mask) as recorder, ending:
                scored = super()._get_per_token_logps_and_entropies(self.model, logits_to_keep=length, **chunk)
                logps.append(scored[0])
            flow.measure(batch, record, index, recorder.passes[0])
        return torch.cat(logps) if logps else None

    def _get_per_token_logps_and_entropies(
        self, model: Any, input_ids: Tensor, attention_mask: Tensor, logits_to_keep: int, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor | None, Tensor | None]:
        """TRL's log-probabilities; we record latents in one of its passes and shape the advantages in its loss."""
        batch, flow = self.batch, self.flow
        recording: Any = nullcontext()
        if flow is not None and batch is not None and batch.records_latents:
            batch.records_latents = False  # the pass of the reference policy, which may be the same module, comes later
            policy, mask = self.accelerator.unwrap_model(self.model), attention_mask[:, -logits_to_keep:].bool()
            store_on = torch.device("cpu") if batch.stage is Stage.GENERATING else None  # they wait for the rewards
            recording = record_latents(policy, flow.field.layer_indices, mask, store_on=store_on)
        with recording as recorder:
            logps, entropies, aux_loss = super()._get_per_token_logps_and_entropies(
                model, input_ids, attention_mask, logits_to_keep, *args, **kwargs
            )
        if batch is not None and recorder is not None:
            batch.latents = recorder.passes
        if batch is not None and batch.loss_inputs is not None and kwargs.get("compute_entropy"):
            self._observe(batch, batch.loss_inputs, logps.detach(), entropies.detach())
        return logps, entropies, aux_loss

    # ---- 3. the loss -------------------------------------------------------------------------------------------

    def _compute_loss(self, model: Any, inputs: dict[str, Any]) -> Tensor:
        if self.batch is None or not self.model.training:
            return super()._compute_loss(model, inputs)
        self.batch.records_latents = self._latents_from == "loss" and self.flow is not None
        with self.batch.micro_batch(inputs) as own:
            return super()._compute_loss(model, own)

    def _observe(self, batch: RolloutBatch, inputs: dict[str, Any], logps: Tensor, entropies: Tensor) -> None:
        """Shape the advantages of a micro-batch, which TRL reads next, and keep what its first pass tells us."""
        index = inputs["rollout_index"]
        if batch.latents and self.flow is not None and batch.flow is not None:
            learns_now = self.accelerator.sync_gradients
            self.flow.measure(batch, batch.flow, index, batch.latents.pop(), learns_now)
            self._shape(self.flow, batch, batch.flow, index, logps)
            inputs["advantages"] = batch.advantages[index]
        inputs["advantages"] = self.shaping.in_loss(inputs["advantages"], entropies)
        if batch.stage is Stage.TRAINING:
            batch.observe(index, inputs.get("old_per_token_logps", logps), entropies, inputs["advantages"])

    # ---- 4. field updates, metrics, records ---------------------------------------------------------------------

    def training_step(self, *args: Any, **kwargs: Any) -> Tensor:
        loss = super().training_step(*args, **kwargs)
        batch = self.batch
        if batch is not None and batch.stage is Stage.TRAINING and (self.accelerator.sync_gradients or batch.complete):
            if self.flow is not None and batch.flow is not None and self.flow.update_config.enabled:
                self._log_means(self.flow.update(batch, batch.flow))
                if self.flow.update_was_bad:
                    self._step_is_bad = "the flow field's update is not finite"
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
        if self.args.advantage_shaping != "none" or self.args.negative_weight != 1:
            praise, blame = self.accelerator.reduce(batch.credit())
            self._log_means({f"shaping/{name}": (shaped / plain).item()
                             for name, (shaped, plain) in (("praise", praise), ("blame", blame))})  # fmt: skip
        for name, score in batch.scores().items():
            score = self.accelerator.gather(score).masked_fill(~graded, torch.nan)
            self._log_means({f"auc/{name}": within_group_auc(score, correct, self.num_generations)})
        if self.accelerator.is_main_process and self.args.rollouts_per_step and batch.is_finite:
            self.writer.write(*batch.records(self._tokenizer, self.args.rollouts_per_step))

    def _log_means(self, values: dict[str, float]) -> None:
        """Add values to TRL's metrics, which it averages over the steps between two logs."""
        for name, value in values.items():
            self._metrics["train"][name].append(value)

    def log_held_out(self, found: dict[str, Any]) -> bool:
        """Log a held-out accuracy with the metrics of the step that ends; returns whether it is the best so far."""
        self._log_means({HELD_OUT: found["accuracy"], "held_out/standard_error": found["standard_error"]})
        return self._determine_best_metric({f"eval_{HELD_OUT}": found["accuracy"]}, None)

    # ---- 5. checkpoints ----------------------------------------------------------------------------------------

    def save_extras(self, folder: Path) -> None:
        if self.flow is not None:
            self.flow.save(folder)
        if self.is_sharded:  # their checkpoints hold weights only
            policy = self.accelerator.unwrap_model(self.model)
            policy.config.save_pretrained(folder)
            policy.generation_config.save_pretrained(folder)
            self.processing_class.save_pretrained(folder)

    def load_extras(self, folder: Path, weights_only: bool) -> None:
        if self.flow is not None:
            (self.flow.load_field if weights_only else self.flow.load)(folder)

    def check_finite(self) -> None:
        if names := list(filter(None, map(not_finite, [self.model, *([self.flow.field] if self.flow else [])]))):
            raise Diverged(f"after step {self.state.global_step} weights are not finite ({names[0]}): nothing is saved")

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: TRL's card for the run folder knows neither the base model nor the method; final/ gets one."""

    def save_policy(self, folder: str | Path) -> None:
        """Save the policy, its processor and, under `flow/`, the field as one folder that loads with transformers.

        Every process must call it. The folder appears whole or not at all, sealed, and is there when any process
        returns. `Diverged` if a weight is not finite.
        """
        folder = Path(folder)
        self.check_finite()
        partial = folder.with_name(folder.name + PARTIAL)
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
        self.accelerator.wait_for_everyone()
        if self.is_fsdp_enabled:  # transformers cannot save a whole model while checkpoints are sharded
            self.accelerator.state.fsdp_plugin.set_state_dict_type("FULL_STATE_DICT")
        with named_write_errors(partial):
            self.save_model(str(partial), _internal_call=True)  # uploads nothing yet
            if self.accelerator.is_main_process:
                if self.flow is not None:
                    self.flow.save_field(partial)
                (partial / TRAINING_ARGS_NAME).unlink(missing_ok=True)
                seal(partial)
                replace_folder(partial, folder)
        self.accelerator.wait_for_everyone()
        if self.args.push_to_hub:
            self.push_to_hub(commit_message="Model save", revision=self.args.hub_revision)
