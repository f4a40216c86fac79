"""The folder of one training run: what it holds, which stages are done, and how a killed run is resumed."""

import json
import math
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import as_dict, read_settings
from rlfr_mm.files import (
    LOCK,
    MANIFEST,
    BadFile,
    check_folder,
    checked,
    damage,
    read_json,
    read_json_lines,
    read_lines,
    sha256,
    warn,
    with_checksum,
    write_json,
    write_json_lines,
    write_whole,
)
from rlfr_mm.secrets import without_secrets
from rlfr_mm.step_files import StepFiles
from rlfr_mm.viewing.rollout_records import rollout_files

LIBRARIES = ("rlfr_mm", "torch", "transformers", "trl", "accelerate", "datasets")
LEFT_OUT = "left_out.txt"  # the records that `data.skip_bad_records` left out, one reason a line
FIRST_RESULTS = ("evaluation_before.jsonl", f"flow/{MANIFEST}", "metrics.jsonl")  # each of a stage of its own
BENCHMARKS = "benchmarks"  # holds a run folder of eval.run per evaluated step, and results.json
TRAINER_STATE = "trainer_state.json"  # of a checkpoint: everything that was logged up to its step
# Sections that hold what was set and not every setting there is; a list of rewards is compared as a whole.
OPEN = re.compile(r"train\.|model\.lora\.|(?:\w+\.)?data\.columns\.")


def answer_files(run: str | Path) -> StepFiles:
    """The files in RUN/evaluation: the held-out answers at steps during training."""
    return StepFiles(Path(run) / "evaluation", r"step-(\d+)\.jsonl")


def bad_step_files(run: str | Path) -> StepFiles:
    """The files in RUN/bad_steps: what `training.bad_steps` keeps of skipped steps, STEP-PROCESS."""
    return StepFiles(Path(run) / "bad_steps", r"(\d+)-\d+\.(?:json|safetensors)")


def step_of(checkpoint: Path) -> int:
    """The N of a folder checkpoint-N."""
    return int(checkpoint.name.removeprefix("checkpoint-"))


def checkpoints(folder: Path) -> list[Path]:
    """The folders checkpoint-N, oldest first, whole or not. Other names, such as checkpoint-best, do not count."""
    found = [path for path in folder.glob("checkpoint-*") if re.fullmatch(r"checkpoint-\d+", path.name, re.ASCII)]
    return sorted((path for path in found if path.is_dir()), key=step_of)


def newest_whole(folder: Path, refusal: Callable[[Path], str | None]) -> Path | None:
    """The newest checkpoint of a folder that is sealed, undamaged and not refused; None if there is none.

    A warning names what is wrong with each newer one, which is renamed damaged-N: it counts no more, but is not lost.
    Only the process that holds the folder's lock may call this.

    Args:
        refusal: says why a checkpoint whose files are as they were is still not to be loaded, or returns None.
    """
    found = checkpoints(folder)
    for checkpoint in reversed(found):
        reason = damage(checkpoint) or refusal(checkpoint)
        if reason is None:
            if checkpoint != found[-1]:
                warn(f"continuing from {checkpoint}")
            return checkpoint
        aside = checkpoint.with_name(f"damaged-{step_of(checkpoint)}")
        shutil.rmtree(aside, ignore_errors=True)
        checkpoint.rename(aside)
        warn(f"{reason}; moved to {aside.name}")
    if found:
        warn(f"{folder} has no whole checkpoint: starting from step 0")
    return None


def rows_up_to(path: Path, step: int) -> list[dict[str, Any]]:
    """The rows of a log up to a step, [] if there is no log; a warning names each line that is not a row."""
    kept: list[dict[str, Any]] = []
    for number, line in read_lines(path, finished_only=True) if path.exists() else []:
        try:
            row = json.loads(line)
            kept += [row] if row["step"] <= step else []
        except (ValueError, TypeError, KeyError, RecursionError):
            warn(f"{path}, line {number}, is damaged and is left out: it is not a row of a log")
    return kept


def metrics_row(step: int, logs: dict[str, Any]) -> dict[str, Any]:
    """The row of metrics.jsonl for what the trainer logged; null for NaN and infinity, which JSON does not have.

    >>> metrics_row(3, {"loss": 0.5, "auc/logprob": math.nan})
    {'step': 3, 'loss': 0.5, 'auc/logprob': None}
    """
    bad = {key for key, value in logs.items() if isinstance(value, float) and not math.isfinite(value)}
    return {"step": step, **logs, **dict.fromkeys(bad)}


class RunFolder:
    """The paths of a run, and stages.json: the seconds and the result of each finished stage.

    `write` is true on one process only. A stages.json that cannot be read is named in a warning, and its stages are
    repeated.
    """

    def __init__(self, path: str | Path, write: bool = True):
        self.path = Path(path)
        self.write = write
        self.stages: dict[str, dict[str, Any]] = {}
        record = self.path / "stages.json"
        if record.exists():
            try:
                stages = checked(read_json(record), record)
                if not all({"seconds", "result"} <= stage.keys() for stage in stages.values()):
                    raise BadFile
                self.stages = stages
            except (BadFile, AttributeError):
                self._warn(f"{record} is damaged: all stages of the run are repeated")
        elif sum((self.path / name).exists() for name in FIRST_RESULTS) > 1:
            self._warn(f"{record} is missing: all stages of the run are repeated")

    def _warn(self, message: str) -> None:
        if self.write:
            warn(message)

    def stage(self, name: str, work: Callable[[], Any], file: str | None = None) -> Any:
        """The result of `work`, a JSON value, from the record if the stage is already done.

        It is done again, after a warning, if the `file` of the run folder that it wrote is not as it was.
        """
        done = self.stages.get(name)
        if done and file and (not (path := self.path / file).is_file() or sha256(path) != done.get("sha256")):
            self._warn(f"{path} is damaged or missing; repeating the stage '{name}'")
            del self.stages[name]
        if name not in self.stages:
            if self.write:
                print(f"== {self.path.name}: {name}", flush=True)
            started = time.monotonic()
            result = work()
            self.done(name, time.monotonic() - started, result, file)
        return self.stages[name]["result"]

    def done(self, name: str, seconds: float, result: Any, file: str | None = None) -> None:
        """Record a finished stage, unless it is on record."""
        if name not in self.stages:
            self.stages[name] = {"seconds": round(seconds, 1), "result": result}
            if self.write:
                self.stages[name] |= {"sha256": sha256(self.path / file)} if file else {}
                write_json(self.path / "stages.json", with_checksum(self.stages))

    @property
    def summary(self) -> dict[str, Any] | None:
        """The content of summary.json; None until the run is finished. ValueError naming the file if it is damaged."""
        path = self.path / "summary.json"
        return checked(read_json(path), path) if path.exists() else None

    @property
    def is_finished(self) -> bool:
        """Whether there is a summary; one that cannot be read is named in a warning, and does not count."""
        try:
            return self.summary is not None
        except ValueError as error:
            self._warn(f"{error}; it is written again")
            return False

    @property
    def last_checkpoint(self) -> Path | None:
        """The newest finished checkpoint; `newest_whole` also looks for damage."""
        found = [path for path in checkpoints(self.path) if (path / MANIFEST).exists()]
        return found[-1] if found else None

    def repeat_if_damaged(self, stage: str, folder: Path) -> None:
        """Forget a stage whose sealed result is damaged, with a warning, so that it is done again."""
        finished = stage in self.stages or (folder / MANIFEST).exists()
        if finished and (reason := damage(folder)):
            self._warn(f"{reason}; repeating the stage '{stage}'")
            self.stages.pop(stage, None)
            if self.write:
                shutil.rmtree(folder, ignore_errors=True)

    def cut_after(self, step: int, logging_steps: float = 1) -> None:
        """Delete the records of later steps, which a resumed run repeats; a warning names what is damaged.

        The rows of metrics.jsonl are also in the checkpoint of that step, if there is one, and are restored from it.
        """
        path = self.path / "metrics.jsonl"
        kept, logged = rows_up_to(path, step), self._logged(step)
        if logged is not None and kept != logged:
            self._warn(f"{path} is damaged: its rows up to step {step} are restored from checkpoint-{step}")
            kept = logged
        elif 1 <= logging_steps <= step and not kept:
            self._warn(f"{path} has no row up to step {step}, where the run continues")
        if kept or path.exists():
            write_json_lines(path, kept)
        for files in (rollout_files(self.path), answer_files(self.path), bad_step_files(self.path)):
            files.continue_after(step)
        for answered in (self.path / BENCHMARKS).glob("step-*"):
            if int(answered.name.removeprefix("step-")) > step:
                shutil.rmtree(answered)

    def _logged(self, step: int) -> list[dict[str, Any]] | None:
        """The rows of metrics.jsonl as the checkpoint of a step has them; None if it is damaged or does not exist."""
        checkpoint = self.path / f"checkpoint-{step}"
        if damage(checkpoint, only=TRAINER_STATE) is not None:
            return None
        history = read_json(checkpoint / TRAINER_STATE)["log_history"]
        return [metrics_row(row.pop("step"), row) for row in history if "loss" in row]

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, without a last one that a kill left unfinished."""
        path = self.path / "metrics.jsonl"
        return read_json_lines(path, finished_only=True) if path.exists() else []


def check_run(config: RunConfig, overwrite: bool, resume: bool) -> None:
    """ValueError if the run's folder holds other files, another run, or settings that --resume does not match."""
    path = Path(config.train["output_dir"])
    saved = path / "config.yaml"
    check_folder(path, f"train.output_dir={path}")
    if not path.exists() or all(_says_nothing(entry) for entry in path.iterdir()):
        if resume:
            what = "is empty" if path.exists() else "does not exist"
            raise ValueError(
                f"--resume has nothing to continue: train.output_dir={path} {what}; start without --resume"
            )
        return
    if not saved.exists():
        raise ValueError(f"{path} is not empty and is not a run folder: choose another train.output_dir")
    if not overwrite and not resume:
        state = "a finished run" if (path / "summary.json").exists() else "an unfinished run"
        raise ValueError(f"{path} holds {state}: --resume continues it, --overwrite starts again")
    if resume:
        before, now = read_settings(saved), as_record(config)
        for settings in (before, now):
            (settings.get("train") or {}).pop("output_dir", None)  # the folder may have been moved
            (settings.get("offline") or {}).pop("shared_dir", None)
        changed, unknown = _differences(before, now)
        if unknown:
            raise ValueError(
                f"{saved} is of another version of rlfr_mm, with other settings ({', '.join(unknown[:5])}"
                f"{', ...' * (len(unknown) > 5)}): continue it with that version, or start again with --overwrite"
            )
        if changed:
            raise ValueError(
                f"--resume with settings other than {saved}: {', '.join(changed)}: use the same, or --overwrite"
            )


def _says_nothing(entry: Path) -> bool:
    """Whether an entry of a run's folder may come before the run: its lock, and folders that TRL makes early."""
    return entry.name == LOCK or (entry.is_dir() and not any(entry.iterdir()))


def check_states(checkpoint: Path, processes: int) -> None:
    """ValueError if a checkpoint lacks the states that so many processes need in order to go on exactly there."""
    try:
        files = read_json(checkpoint / MANIFEST)["files"]
    except (ValueError, KeyError):
        return  # damaged: `newest_whole` says so and takes another one
    saved = sum(name.startswith("rng_state") for name in files)
    if not saved:
        raise ValueError(
            f"{checkpoint} has weights only, because of train.save_only_model=true, and no run can go on exactly "
            f"there: start another one, with model.name_or_path={checkpoint}"
        )
    if saved != processes:
        raise ValueError(f"{checkpoint} is of a run on {saved} processes: resume it on as many, not on {processes}")


def _differences(before: Mapping[str, Any], now: Mapping[str, Any], prefix: str = "") -> tuple[list[str], list[str]]:
    """The settings of two records that differ, as "name (old, now new)", and the names that only one of them knows."""
    changed: list[str] = []
    unknown: list[str] = []
    for key in dict.fromkeys([*now, *before]):
        name, (old, new) = prefix + key, (before.get(key), now.get(key))
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            inside = _differences(old, new, name + ".")
            changed, unknown = changed + inside[0], unknown + inside[1]
        elif (key in before) != (key in now) and not OPEN.match(prefix):
            unknown.append(name)
        elif old != new:
            changed.append(f"{name} ({old!r:.60}, now {new!r:.60})")
    return changed, unknown


def open_run(config: RunConfig, overwrite: bool) -> None:
    """Create, empty or keep the run's folder and write its config.yaml, without secrets.

    `check_run` must come first, and this process must hold the folder's lock.
    """
    path = Path(config.train["output_dir"])
    for entry in path.iterdir() if overwrite and path.is_dir() else []:
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != LOCK:
            entry.unlink()
    if config.train.get("log_completions"):
        (path / "completions").mkdir(parents=True, exist_ok=True)  # TRL made it before the folder was emptied
    write_whole(path / "config.yaml", yaml.safe_dump(as_record(config), sort_keys=False))


def as_record(config: RunConfig) -> dict[str, Any]:
    """The settings of a run as config.yaml holds them: without secrets."""
    return without_secrets(as_dict(config))


def environment() -> dict[str, Any]:
    """Versions, hardware and git commit, to record with results.

    The commit ends in `-dirty` if a tracked file outside docs/ differs from it, and is None for an installed package.
    """
    import torch

    def git(*command: str) -> str | None:
        done = subprocess.run(["git", *command], cwd=Path(__file__).parent, capture_output=True, text=True)
        return done.stdout.strip() if done.returncode == 0 else None

    known = git("ls-files", "--error-unmatch", Path(__file__).name)  # fails for an installed package
    commit = known and git("rev-parse", "HEAD")
    changed = git("status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)docs")
    gpu = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {
        "versions": {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES},
        "hardware": {"cpu_cores": os.cpu_count(), "gpu": gpu},
        "git_commit": commit and commit + "-dirty" * bool(changed),
    }
