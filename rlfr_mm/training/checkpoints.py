"""Checkpoints of transformers' Trainer that are whole or not there, and from which a run goes on as if never killed."""

import shutil
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, Trainer
from transformers.trainer_utils import rotate_checkpoints


class WholeCheckpoints(Trainer):
    """Mixed into a Trainer, before it in the order of bases."""

    _saving_to: Path | None = None

    def save_extras(self, folder: Path) -> None:
        """Called on the main process: what a checkpoint needs besides what transformers puts there."""

    def _get_output_dir(self, trial: Any) -> str:
        return str(self._saving_to or super()._get_output_dir(trial))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Everything is written into a folder aside, which is renamed once it is whole: no kill leaves half of one."""
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
                shutil.rmtree(output_dir / name, ignore_errors=True)
                (self._saving_to / name).rename(output_dir / name)
                rotate_checkpoints(str(output_dir), self.args.save_total_limit)
                shutil.rmtree(self._saving_to)
            self.accelerator.wait_for_everyone()
        finally:
            self._saving_to = None

    def _run_epoch(self, *args: Any, **kwargs: Any) -> None:
        """transformers 5.23 takes one more step from the checkpoint of the last one, unless an epoch ends there."""
        if self.state.global_step < self.state.max_steps:
            super()._run_epoch(*args, **kwargs)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Load the policy's weights by their names in the file, which save_pretrained may have written differently.

        transformers 5.23 hands the file's names to `load_state_dict` and ignores those that do not fit: for
        Qwen2.5-VL not one fits, and the run would go on from the weights it started with.
        """
        sharded = self.is_fsdp_enabled or self.is_deepspeed_enabled
        if sharded or not isinstance(self.model, PreTrainedModel):  # their files hold the names as they are
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load: Any = type(self.model).from_pretrained
        saved, loading = load(resume_from_checkpoint, dtype=self.model.dtype, output_loading_info=True)
        if loading["missing_keys"]:
            raise ValueError(f"{resume_from_checkpoint} lacks weights: {', '.join(sorted(loading['missing_keys']))}")
        self.model.load_state_dict(saved.state_dict())
