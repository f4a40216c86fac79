"""The offline start: the field learns the latents of expert solutions while the policy is frozen (arXiv 2510.10201)."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from datasets import Dataset
from tqdm import tqdm
from transformers import PreTrainedModel, get_cosine_schedule_with_warmup

from rlfr_mm.config import QUICKSTART, FlowConfig, OfflineConfig, OfflineRunConfig
from rlfr_mm.config_file import as_dict
from rlfr_mm.data.load import LeftOut, load_demonstrations
from rlfr_mm.data.processor import check_prompts, load_processor
from rlfr_mm.files import (
    MANIFEST,
    Journal,
    damage,
    read_json,
    seal,
    whole_folder,
    write_json,
    write_json_lines,
    write_whole,
)
from rlfr_mm.method.field import CONFIG_NAME, FlowField, latent_statistics
from rlfr_mm.method.latents import Latents, record_latents, stop_after_layer
from rlfr_mm.method.update import FieldUpdater, sample_seeds
from rlfr_mm.policy import Processor, encode_demonstrations, load_policy
from rlfr_mm.training import latent_cache
from rlfr_mm.training.bad_steps import Diverged, not_finite
from rlfr_mm.training.checkpoints import named_write_errors, refusal
from rlfr_mm.training.run_folder import LEFT_OUT, checkpoints, newest_whole, rows_up_to
from rlfr_mm.training.stopping import StopSignals

STATISTICS_ROWS = 512  # rows whose latents give the mean and deviation of a standardised field
SMALL_CACHE = 250e6  # bytes of latents per process that are kept for later epochs without being asked for


def prepare(config: OfflineRunConfig) -> "OfflineStart":
    """Load and check everything that an offline start needs; ValueError in one line if something does not fit."""
    if config.model.name_or_path == QUICKSTART:
        raise ValueError(
            f"model.name_or_path={QUICKSTART} works in rlfr_mm.train only, which prepares that policy: "
            "name a checkpoint, such as runs/quickstart/final"
        )
    assert config.offline.output_dir is not None  # `check_flow_folder`
    accelerator = Accelerator()
    data, folder = config.offline.data, config.offline.output_dir
    left_out = LeftOut(data.skip_bad_records)
    demonstrations = load_demonstrations(data, left_out)
    processor = load_processor(config.model, data)
    rows, _ = check_prompts(demonstrations, processor, data, left_out)
    policy = load_policy(config.model).to(accelerator.device)
    start = OfflineStart(policy, processor, rows, config.flow, config.offline, folder, accelerator)
    start.left_out = left_out.reasons
    return start


class OfflineStart:
    """Trains a field in `folder`, or continues there. Each process takes its part of every batch.

    log.jsonl has one row per step. A killed start continues from its last checkpoint and ends with the same field,
    because order, times and noise depend only on the seed and the step. ValueError if the folder holds an offline start
    with other settings.
    """

    cache: latent_cache.LatentCache | None = None

    def __init__(
        self,
        policy: PreTrainedModel,
        processor: Processor,
        demonstrations: Dataset,
        flow: FlowConfig,
        config: OfflineConfig,
        folder: str | Path,
        accelerator: Accelerator,
    ):
        self.policy, self.processor, self.demonstrations = policy, processor, demonstrations
        self.flow, self.config, self.folder, self.accelerator = flow, config, Path(folder), accelerator
        self.left_out: list[str] = []  # why records were left out; listed in the folder
        self.settings: dict[str, Any] = {
            "policy": policy.config.name_or_path,
            "flow": as_dict(flow),
            "offline": {key: value for key, value in as_dict(config).items() if key != "shared_dir"},
        }
        stored = self.folder / "settings.json"
        if stored.exists() and read_json(stored) != self.settings:
            raise ValueError(f"{folder} holds an offline start with other settings: remove it or choose another folder")
        if (self.folder / MANIFEST).exists() and (reason := damage(self.folder)):
            raise ValueError(f"{reason}; remove {folder} and run the same command again")

    def run(self, stop: StopSignals | None = None) -> FlowField:
        """The trained field, which is also saved in the folder; it is read from there if it is finished.

        If a signal asks for it, the process ends after a checkpoint. `Diverged` if too many steps were not finite.
        """
        self.stop = stop or StopSignals("")
        if (self.folder / CONFIG_NAME).exists():
            self.field = FlowField.from_pretrained(self.folder).to(self.policy.device)
            self._finish()
            return self.field
        self.policy.eval()
        self.bad_in_a_row = 0
        self.field = FlowField.for_policy(self.flow, self.policy.config, seed=self.config.seed).to(self.policy.device)
        in_bf16 = self.accelerator.mixed_precision == "bf16" or self.policy.dtype == torch.bfloat16
        self.field.multiply_like(in_bf16)
        self.updater = FieldUpdater(self.field, self.config, self.accelerator)
        steps_per_epoch = math.ceil(len(self.demonstrations) / self.config.batch_size)
        total = math.ceil(steps_per_epoch * self.config.num_train_epochs)
        total = self.config.max_steps if self.config.max_steps > 0 else total
        warmup = round(self.config.warmup_ratio * total)
        self.schedule = get_cosine_schedule_with_warmup(self.updater.optimizer, warmup, total)
        self.noise = torch.Generator().manual_seed(self.config.seed)
        step = self._resume()
        if self.left_out and self.accelerator.is_main_process:
            write_whole(self.folder / LEFT_OUT, "\n".join(self.left_out) + "\n")
        self._train(step, total)
        self._check_finite(total)
        if self.accelerator.is_main_process:
            self.field.save_pretrained(self.folder)
        self._finish()
        return self.field

    def _finish(self) -> None:
        """Seal the folder that has the field, without what led to it; also if a start was killed while it did this."""
        self.accelerator.wait_for_everyone()  # no process has its cache any more
        if self.accelerator.is_main_process and not (self.folder / MANIFEST).exists():
            for folder in [*checkpoints(self.folder), *self.folder.glob("damaged-*")]:
                shutil.rmtree(folder)
            for cache in self.folder.glob("latents-*.bin"):
                cache.unlink()
            seal(self.folder)
        self.accelerator.wait_for_everyone()

    def _train(self, step: int, total: int) -> None:
        """The statistics and the steps, with a cache of latents if rows come again and it is small or asked for."""
        try:
            if (total - step) * self.config.batch_size > len(self.demonstrations):
                self._open_cache(step)
            if step == 0 and self.flow.standardise:
                self._set_statistics()
            self._take_steps(step, total)
        finally:
            self._close_cache()

    def _take_steps(self, step: int, total: int) -> None:
        main = self.accelerator.is_main_process
        if main:
            write_json(self.folder / "settings.json", self.settings)
            log_path = self.folder / "log.jsonl"
            write_json_lines(log_path, rows_up_to(log_path, step))
            log = Journal(log_path)
        stopping = False
        with tqdm(total=total, initial=step, desc="flow field", disable=not main) as progress:
            while step < total and not stopping:
                row = self._step(step)
                step += 1
                progress.update()
                progress.set_postfix(loss=f"{row['loss']:.4f}")
                if main:
                    log.append([json.dumps({"step": step, **row})])
                stopping = self.stop.agreed(self.accelerator)
                if (stopping or step % self.config.save_steps == 0) and step < total:
                    self._check_finite(step)
                    if main:
                        self._save(step)
                    self.accelerator.wait_for_everyone()
        if main:
            log.close()
        if stopping and step < total:
            self.stop.end(f" after step {step} of the flow field, which is saved in {self.folder}")

    def _step(self, step: int) -> dict[str, float]:
        batch = self._rows(step)
        seeds = sample_seeds(self.noise, 0, len(batch))
        mine = slice(self.accelerator.process_index, None, self.accelerator.num_processes)
        # Every process must take part in a step. One that gets no row of a short batch uses a row with weight 0.
        latents = self._latents(batch[mine] or batch[:1])
        weights = latents.mask.float() * bool(batch[mine])
        result = self.updater.step([(latents, weights, seeds[mine] if batch[mine] else seeds[:1])])
        self.bad_in_a_row = self.bad_in_a_row + 1 if result.is_bad else 0
        if self.bad_in_a_row >= self.config.max_bad_steps:
            raise Diverged(
                f"{self.bad_in_a_row} steps of the flow field in a row, up to step {step + 1}, were skipped: the loss "
                f"or the gradients are not finite; lower offline.learning_rate={self.config.learning_rate}"
            )
        self.schedule.step()
        rate = self.schedule.get_last_lr()[0]
        return {"loss": result.loss, "grad_norm": result.grad_norm, "learning_rate": rate}

    def _rows(self, step: int) -> list[int]:
        """The indices of a step's rows; every epoch is a new permutation."""
        size, batch_size = len(self.demonstrations), self.config.batch_size
        epoch, position = divmod(step, math.ceil(size / batch_size))
        shuffle = torch.Generator().manual_seed(self.config.seed * 1_000_003 + epoch)
        return torch.randperm(size, generator=shuffle)[position * batch_size : (position + 1) * batch_size].tolist()

    def _open_cache(self, step: int) -> None:
        """Start the cache. If it is asked for, the rows of the next step tell how large it will be."""
        number, processes = self.accelerator.process_index, self.accelerator.num_processes
        self.cache = latent_cache.LatentCache(self.folder / f"latents-{number}.bin")
        if self.config.cache_latents:
            self._latents(self._rows(step))
            announced = self.cache.announce(len(self.demonstrations), processes)
            if self.accelerator.is_main_process:
                print(announced)

    def _close_cache(self) -> None:
        if self.cache is not None:
            self.cache.close()
            self.cache = None

    def _latents(self, indices: list[int]) -> Latents:
        """Latents of expert responses, from the cache if they are there. On a full disk a small cache is given up."""
        if self.cache is None:
            return self._computed_latents(indices)
        try:
            if missing := [index for index in indices if index not in self.cache]:
                self.cache.add(missing, self._computed_latents(missing))
        except OSError:
            if self.config.cache_latents:
                raise
            self._close_cache()
            return self._computed_latents(indices)
        latents = self.cache.get(indices)
        if not self.config.cache_latents and self.cache.expected(len(self.demonstrations)) > SMALL_CACHE:
            self._close_cache()
        return latents

    def _computed_latents(self, indices: list[int]) -> Latents:
        """Latents of expert responses; the pass ends at the deepest layer."""
        rows, policy, layers = [self.demonstrations[i] for i in indices], self.policy, self.field.layer_indices
        inputs, mask = encode_demonstrations(rows, self.processor, self.config.max_response_tokens)
        inputs = {key: value.to(policy.device) for key, value in inputs.items()}
        recording = record_latents(policy, layers, mask.to(policy.device))
        # In the precision of the run, so that the field learns the numbers that it will score: rollouts' latents.
        precision = self.accelerator.autocast()
        with torch.no_grad(), precision, recording as recorder, stop_after_layer(policy, max(layers)):
            policy(**inputs, use_cache=False)
        return recorder.passes[0]

    def _set_statistics(self) -> None:
        count, size = len(self.demonstrations), self.config.batch_size
        starts = range(0, min(STATISTICS_ROWS, count), size)
        hidden = not self.accelerator.is_main_process
        parts = [
            latent_statistics(self._latents(list(range(i, min(i + size, count)))))
            for i in tqdm(starts, desc="latent statistics", unit="batch", disable=hidden)
        ]
        self.field.set_statistics(sum(parts[1:], parts[0]))

    def _check_finite(self, step: int) -> None:
        if name := not_finite(self.field):
            raise Diverged(f"after step {step} the flow field's weights are not finite ({name}): nothing is saved")

    def _save(self, step: int) -> None:
        """Save a checkpoint, and only then remove the one before."""
        before = checkpoints(self.folder)
        with whole_folder(self.folder / f"checkpoint-{step}") as folder:
            self.field.save_pretrained(folder)
            state = {
                "step": step,
                "optimizer": self.updater.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(),
                "noise": self.noise.get_state(),
            }
            with named_write_errors(folder):
                torch.save(state, folder / "state.pt")
            seal(folder)
        for checkpoint in before:
            shutil.rmtree(checkpoint)

    def _resume(self) -> int:
        """Load the last checkpoint, if there is one, and return its step, else 0."""
        found: list[Path | None] = [None]
        if self.accelerator.is_main_process:
            found = [newest_whole(self.folder, refusal)]
        checkpoint = broadcast_object_list(found)[0]
        if checkpoint is None:
            return 0
        state = torch.load(checkpoint / "state.pt", weights_only=True, map_location="cpu")
        self.field.load_state_dict(FlowField.from_pretrained(checkpoint).state_dict())
        self.updater.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.noise.set_state(state["noise"])
        return state["step"]
