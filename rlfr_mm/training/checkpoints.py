"""Checkpoints for transformers' Trainer that are complete or do not count, and resume a run exactly."""

import re
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import PreTrainedModel, Trainer
from transformers.trainer import TRAINING_ARGS_NAME
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import rotate_checkpoints

from rlfr_mm.files import seal, warn
from rlfr_mm.policy import asks_for_code

TORCH_FILES = ("*.pt", "*.pth", "*.bin")  # pickles, which torch reads as tensors and plain values only


class WholeCheckpoints(Trainer):
    """A mix-in that must precede the Trainer in the list of base classes."""

    _to_push: str | None = None  # the checkpoint that transformers wants to upload
    push_in_progress: Any = None  # transformers' uploads in the background

    @property
    def is_sharded(self) -> bool:
        """Whether the processes share the policy's weights among themselves."""
        return bool(self.is_fsdp_enabled or self.is_deepspeed_enabled)

    def save_extras(self, folder: Path) -> None:
        """Save what a checkpoint needs in addition to transformers' files; called on the main process."""

    def load_extras(self, folder: Path, weights_only: bool) -> None:
        """Load what `save_extras` saved, or only what belongs to the best model."""

    def check_finite(self) -> None:
        """Raise an error in one line if what would be saved is not finite."""

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write a checkpoint, then its manifest, and only then delete the oldest ones over `save_total_limit`.

        A checkpoint without a manifest does not count. It is written in its own place, and not in a temporary folder,
        because transformers records its path while saving: the best checkpoint's, and the one that is uploaded.
        """
        self.check_finite()
        run = Path(self._get_output_dir(trial))
        folder = run / f"checkpoint-{self.state.global_step}"
        main = self.accelerator.is_main_process
        if main:
            shutil.rmtree(folder, ignore_errors=True)  # what a killed process left there
        self.accelerator.wait_for_everyone()
        limit, self.args.save_total_limit = self.args.save_total_limit, None
        try:
            with named_write_errors(folder):
                super()._save_checkpoint(model, trial)
                if main:
                    self.save_extras(folder)
                    (folder / TRAINING_ARGS_NAME).unlink(missing_ok=True)  # a pickle, and one with secrets
                self.accelerator.wait_for_everyone()
                if main:
                    seal(folder)
        finally:
            self.args.save_total_limit = limit
        if self._to_push is not None:
            with upload_errors_are_warnings(folder):
                super()._push_from_checkpoint(self._to_push)
            self._to_push = None
        if main:
            rotate_checkpoints(str(run), limit, self.state.best_model_checkpoint)
        self.accelerator.wait_for_everyone()

    def _push_from_checkpoint(self, checkpoint_folder: str) -> None:
        """Wait until the checkpoint is sealed: the upload reads its files in the background."""
        self._to_push = checkpoint_folder

    def push_to_hub(self, *args: Any, **kwargs: Any) -> Any:
        """transformers' upload; whatever the hub or the network refuses becomes a warning of one line."""
        with upload_errors_are_warnings(str(self.args.output_dir)):
            return super().push_to_hub(*args, **kwargs)

    def _finish_current_push(self) -> None:
        """Wait for uploads in the background; a warning says which have failed, which transformers does not look at."""
        super()._finish_current_push()
        if self.push_in_progress is not None:
            for job in self.push_in_progress.jobs:
                with upload_errors_are_warnings("a checkpoint"):
                    job.result()
            self.push_in_progress = None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing after the last step: transformers 5.23 takes one more step if it resumes there within an epoch."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the policy's weights through `from_pretrained`, which maps the names in the file to the model's.

        transformers 5.23 passes the names in the file to `load_state_dict` and ignores those that do not match. None
        match for Qwen2.5-VL, and the run would resume from its initial weights.
        """
        if self.is_sharded or not isinstance(self.model, PreTrainedModel):  # their files hold the model's own names
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load: Any = type(self.model).from_pretrained
        saved, loading = load(resume_from_checkpoint, dtype=self.model.dtype, output_loading_info=True)
        if loading["missing_keys"]:
            raise ValueError(f"{resume_from_checkpoint} lacks weights: {', '.join(sorted(loading['missing_keys']))}")
        self.model.load_state_dict(saved.state_dict())

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        super()._load_optimizer_and_scheduler(checkpoint)
        if checkpoint is not None:
            self.load_extras(Path(checkpoint), weights_only=False)

    def _load_best_model(self) -> None:
        """Load the best checkpoint's weights as `_load_from_checkpoint` does, and what belongs to them."""
        best = str(self.state.best_model_checkpoint)
        if self.is_sharded or not isinstance(self.model, PreTrainedModel):
            super()._load_best_model()
        else:
            self._load_from_checkpoint(best)
        self.load_extras(Path(best), weights_only=True)


@contextmanager
def named_write_errors(folder: Path) -> Iterator[None]:
    """Turn what torch and safetensors raise when the disk refuses into an OSError that names the folder."""
    try:
        yield
    except (OSError, SafetensorError, RuntimeError) as error:
        if isinstance(error, RuntimeError) and not re.search("PytorchStreamWriter|inline_container", str(error)):
            raise
        shutil.rmtree(folder, ignore_errors=True)
        reason = " ".join(str(error).split())
        raise OSError(f"{folder} cannot be written: {reason}; make room and continue with --resume") from error


@contextmanager
def upload_errors_are_warnings(what: str | Path) -> Iterator[None]:
    """Turn whatever an upload to the hub raises in the body into a warning of one line: what is on the disk counts."""
    try:
        yield
    except Exception as error:  # of the hub, of HTTP, of the network
        reason = " ".join(f"{error or type(error).__name__}".split())[:300]
        warn(f"{what} was not uploaded to the hub, but is whole on the disk: {reason}")


def refusal(checkpoint: Path, trust_remote_code: bool = False) -> str | None:
    """Why a checkpoint must not be loaded, in one line that names the file; None if nothing speaks against it.

    Nothing is unpickled: files that hold more than tensors and plain values are refused, and so is a configuration that
    names code of its own, unless that is trusted.
    """
    for path in sorted(path for pattern in TORCH_FILES for path in checkpoint.glob(pattern)):
        try:
            with safe_globals():  # numpy's, for the random states; mapped, so that no tensor is read
                torch.load(path, map_location="cpu", weights_only=True, mmap=zipfile.is_zipfile(path))
        except UnpicklingError:
            return f"{path} is refused: it holds more than tensors and plain values, and nothing is unpickled"
        except (RuntimeError, EOFError, ValueError, KeyError, OSError, AttributeError) as error:
            return f"{path} is damaged: {' '.join(str(error).split())[:200]}"
    return None if trust_remote_code else asks_for_code(checkpoint)
