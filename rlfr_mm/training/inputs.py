"""What a run reads, checked before any weights are loaded: its settings, its rows, its processor."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

from datasets import Dataset
from transformers import ProcessorMixin

from rlfr_mm.config import ModelArguments, RLFRConfig, RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.data.load import LeftOut, load_demonstrations, load_problems
from rlfr_mm.data.processor import check_prompts, load_processor
from rlfr_mm.policy import Processor


def settings_of(train: dict[str, Any], processes: int | None = None) -> RLFRConfig:
    """The settings under `train`, for the processes of the launcher, or as a plan for `processes` of them.

    A plan leaves the model where it is, so that one without weights can be checked.
    """
    kind: type = RLFRConfig
    if processes is not None:
        planned = {"world_size": processes, "n_gpu": 1, "place_model_on_device": False}
        kind = type(RLFRConfig.__name__, (RLFRConfig,), planned)
    with naming_settings(train):
        return build(kind, train, "train")


@contextmanager
def naming_settings(train: dict[str, Any]) -> Iterator[None]:
    """Turn whatever a library raises while a run is set up into a ValueError that names the settings it is about.

    These are the settings under `train` whose name, or whose value if that is a word, is part of the message.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}".split())
        sections = [f"{entry.name}." for entry in fields(RunConfig)]
        if isinstance(error, ValueError) and any(f" {section}" in f" {reason}" for section in sections):
            raise
        words = {key: str(value).lower() for key, value in train.items()}
        named = [key for key, word in words.items() if key in reason or (len(word) > 4 and word in reason.lower())]
        told = ", ".join(f"train.{key}={train[key]}" for key in named) or "the trainer cannot be set up"
        raise ValueError(f"{told}: {reason}") from error


@dataclass
class RunData:
    """The rows of a run.

    `prompt_tokens` has the lengths of the training prompts, once they are checked; `left_out` the records of each
    dataset that cannot be used, in this order.
    """

    problems: Dataset
    held_out: Dataset | None
    demonstrations: Dataset | None
    prompt_tokens: list[int] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)

    @property
    def reasons(self) -> list[str]:
        """A line for each record that is left out."""
        return [reason for one in self.left_out for reason in one.reasons]


def load_data(config: RunConfig) -> RunData:
    """The rows that a run reads; their texts and answers are checked, and their images are not decoded yet."""
    sections = [config.data, config.evaluation and config.evaluation.data, config.offline and config.offline.data]
    left_out = [LeftOut(section.skip_bad_records if section else 0) for section in sections]
    problems = load_problems(config.data, left_out[0])
    held_out = load_problems(config.evaluation.data, left_out[1]) if config.evaluation else None
    demonstrations = load_demonstrations(config.offline.data, left_out[2]) if config.offline else None
    return RunData(problems, held_out, demonstrations, left_out=left_out)


def checked_data(
    config: RunConfig, args: RLFRConfig, model: ModelArguments, data: RunData
) -> tuple[Processor, RunData]:
    """The processor of `model`, and the rows whose prompts it can encode and that are not too long."""
    processor = load_processor(model, config.data)
    if args.use_transformers_continuous_batching and isinstance(processor, ProcessorMixin):
        raise ValueError(
            "train.use_transformers_continuous_batching=true works with text policies only, because TRL refuses "
            "it for vision-language ones: leave it out, or set train.use_vllm=true"
        )
    problems, lengths = check_prompts(data.problems, processor, config.data, data.left_out[0])
    held_out, demonstrations = None, None
    if config.evaluation and data.held_out:
        held_out, _ = check_prompts(data.held_out, processor, config.evaluation.data, data.left_out[1])
    if config.offline and data.demonstrations:
        demonstrations, _ = check_prompts(data.demonstrations, processor, config.offline.data, data.left_out[2])
    return processor, RunData(problems, held_out, demonstrations, lengths, data.left_out)
