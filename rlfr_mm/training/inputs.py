"""What a run reads, checked before any weights are loaded: its settings, its rows, its processor."""

import asyncio
import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from typing import Any

import pyarrow.compute as pc
from datasets import Dataset
from transformers import ProcessorMixin, TrainerState

from rlfr_mm.config import ModelArguments, RLFRConfig, RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.data.load import LeftOut, load_demonstrations, load_problems
from rlfr_mm.data.processor import check_prompts, load_processor
from rlfr_mm.policy import Processor, tokenizer_of
from rlfr_mm.precheck import Launch
from rlfr_mm.training.own_rewards import BUILT_IN, LEFT_OUT, Reward, check_signatures, load_rewards

TRIED_ROWS = 2


def settings_of(train: dict[str, Any], processes: int | None = None) -> RLFRConfig:
    """The settings under `train`, for the processes of the launcher, or as a plan for `processes` of them.

    A plan leaves the model where it is, so that one without weights can be checked.
    """
    kind: type = RLFRConfig
    values = dict(train)
    loads_best = bool(values.pop("load_best_model_at_end", False))
    if processes is not None:
        planned = {"world_size": processes, "n_gpu": 1, "place_model_on_device": False}
        kind = type(RLFRConfig.__name__, (RLFRConfig,), planned)
    with naming_settings(train):
        args = build(kind, values, "train")
    args.load_best_model_at_end = loads_best  # transformers refuses it without an evaluation of TRL's kind
    return args


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
    rewards = load_rewards(config)
    problems = load_problems(config.data, left_out[0])
    check_signatures(rewards, problems.column_names)
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
    _try_rewards(load_rewards(config), data.problems, processor)
    problems, lengths = check_prompts(data.problems, processor, config.data, data.left_out[0])
    held_out, demonstrations = None, None
    if config.evaluation and data.held_out:
        held_out, _ = check_prompts(data.held_out, processor, config.evaluation.data, data.left_out[1])
    if config.offline and data.demonstrations:
        demonstrations, _ = check_prompts(data.demonstrations, processor, config.offline.data, data.left_out[2])
    return processor, RunData(problems, held_out, demonstrations, lengths, data.left_out)


def check_images(config: RunConfig, launch: Launch, data: RunData) -> None:
    """ValueError if problems with and without images are mixed where every process must run the same modules.

    A process whose problems have no image skips the vision tower, and the others would wait there for ever.
    """
    together = launch.sharding in ("gradients", "weights") or not config.model.freeze_vision
    for problems in filter(None, [data.problems, data.held_out]) if together and launch.processes > 1 else []:
        if len(_have_images(problems)) > 1:
            raise ValueError(
                f"{config.data.source} mixes problems with and without images, which several processes cannot train "
                "with a sharded policy or a trained vision tower: use one kind, or DDP with model.freeze_vision=true"
            )


def _have_images(problems: Dataset) -> set[bool]:
    """Which there are: problems with images (True), and without (False)."""
    found: set[bool] = set()
    for part in problems.select_columns("images").with_format("arrow").iter(1000):
        found.update(bool(length) for length in pc.list_value_length(part["images"]).to_pylist())
    return found


def _try_rewards(rewards: list[Reward], problems: Dataset, processor: Processor) -> None:
    """Call the user's reward functions once, with solutions as completions; ValueError if one fails."""
    own = [reward for reward in rewards if reward.function not in BUILT_IN]
    rows = [problems[i] for i in range(min(TRIED_ROWS, len(problems)))] if own else []
    texts = [f"<answer>{row['solution']}</answer>" for row in rows]
    arguments: dict[str, Any] = {
        key: [row[key] for row in rows] for key in problems.column_names if key not in LEFT_OUT
    }
    arguments |= {
        "prompts": [row["prompt"] for row in rows],
        "completions": [[{"role": "assistant", "content": text}] for text in texts],
        "completion_ids": [tokenizer_of(processor)(text, add_special_tokens=False)["input_ids"] for text in texts],
        "trainer_state": TrainerState(),
        "log_extra": lambda column, values: None,
        "log_metric": lambda name, value: None,
    }
    for reward in own:
        result = reward.call(**arguments)
        if inspect.iscoroutine(result):
            with ThreadPoolExecutor(1) as pool:  # a thread of its own, because a notebook's has a running event loop
                pool.submit(asyncio.run, result).result()
