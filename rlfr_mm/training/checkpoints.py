"""Checkpoints for transformers' Trainer that are complete or absent, and resume a run exactly."""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import rotate_checkpoints

from rlfr_mm.files import replace_folder


class WholeCheckpoints(Trainer):
    """A mix-in that must precede the Trainer in the list of base classes."""

    _saving_to: Path | None = None

    def save_extras(self, folder: Path) -> None:
        """Save what a checkpoint needs in addition to transformers' files; called on the main process."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._saving_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Write into a temporary folder and rename it when complete, so that a kill leaves no partial checkpoint."""
        output_dir = Path(str(self.args.output_dir))
        name = f"checkpoint-{self.state.global_step}"
        self._saving_to = output_dir / ".saving"
        if self.accelerator.is_main_process:
            shutil.rmtree(self._saving_to, ignore_errors=True)
            (self._saving_to / name).mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        try:
            super()._save_checkpoint(model, trial)
            if self.accelerator.is_main_process:
                self.save_extras(self._saving_to / name)
            self.accelerator.wait_for_everyone()
            if self.accelerator.is_main_process:
                replace_folder(self._saving_to / name, output_dir / name)
                rotate_checkpoints(str(output_dir), self.args.save_total_limit)
                shutil.rmtree(self._saving_to)
            self.accelerator.wait_for_everyone()
        finally:
            self._saving_to = None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing after the last step: transformers 5.23 takes one more step if it resumes there within an epoch."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the policy's weights through `from_pretrained`, which maps the names in the file to the model's.

        transformers 5.23 passes the names in the file to `load_state_dict` and ignores those that do not match. None
        match for Qwen2.5-VL, and the run would resume from its initial weights.
        """
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded or not isinstance(self.model, PreTrainedModel):  # their files hold the model's own names
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load: Any = type(self.model).from_pretrained
        saved, loading = load(resume_from_checkpoint, dtype=self.model.dtype, output_loading_info=True)
        if loading["missing_keys"]:
            raise ValueError(f"{resume_from_checkpoint} lacks weights: {', '.join(sorted(loading['missing_keys']))}")
        self.model.load_state_dict(saved.state_dict())
