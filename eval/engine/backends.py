"""Back ends that answer prompts. Here: their interface, and the policies that this project trains.

`harness.py` drives the model classes of lmms-eval through the same interface. A back end takes a batch of requests and
returns one output per request; it knows nothing about tasks or run folders.
"""

import hashlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
import transformers

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.config_file import build
from rlfr_mm.data.processor import load_processor
from rlfr_mm.data.prompts import content_text
from rlfr_mm.eval.engine.records import ModelInfo, RunError, one_line
from rlfr_mm.policy import NEUTRAL_GENERATION, Processor, generate, load_policy, render_prompt, seeded, tokenizer_of
from rlfr_mm.precheck import check_model
from rlfr_mm.tasks.spec import TaskSpec

transformers.utils.logging.disable_progress_bar()

Seeding = Literal["request", "batch", "none"]

# What `--model rlfr=...` takes of the settings under `model` of a training run, besides device= and dtype=.
MODEL_SETTINGS = ("revision", "chat_template", "attn_implementation", "trust_remote_code")


@dataclass(frozen=True)
class Request:
    """One prompt to answer."""

    doc_id: int
    text: str
    messages: list[dict[str, Any]]  # lmms-eval's: [{role, content: [{type: image, url} or {type: text, text}]}]
    seed: int

    @property
    def images(self) -> list[Any]:
        return [part["url"] for turn in self.messages for part in turn["content"] if part["type"] == "image"]


@dataclass(frozen=True)
class Output:
    """One response. If `text` is None there is none, and `failure` says why. Unknown counts are None, not estimates."""

    text: str | None
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failure: str = ""


class Backend(Protocol):
    """What a run needs of a model."""

    info: ModelInfo
    batch_size: int
    seeding: Seeding  # whether samples are decided by `Request.seed`, by the seed of the batch, or by neither
    text_only: bool  # False also if the model may refuse images when it is asked

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        """The generation settings that apply when a task asks for these, with those inherited from the checkpoint."""

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt as text, in the chat template if the back end has one."""

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        """One output per request, in order."""


def check_modality(name: str, text_only: bool, specs: Sequence[TaskSpec]) -> None:
    """RunError naming the tasks that have images, if the model of that name reads text only."""
    if text_only and (asked := [spec.name for spec in specs if spec.modality == "image"]):
        raise RunError(
            f"{', '.join(asked)}: has images but {name} is a text policy; "
            "use a vision-language policy, or only tasks of text"
        )


class PolicyBackend:
    """A policy in memory with its processor: a checkpoint of this project, or the policy during training.

    lmms-eval's classes reload the weights in bfloat16, resize images by their own limits and cannot tell the lengths of
    the responses in a batch apart. Here the processor decides, and every setting that changes samples is explicit.
    """

    seeding: Seeding = "batch"

    def __init__(self, policy: Any, processor: Processor, info: ModelInfo, batch_size: int):
        self.policy, self.processor, self.info, self.batch_size = policy, processor, info, batch_size
        self.text_only = reads_text_only(processor)

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        return NEUTRAL_GENERATION | dict(generation)

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        return render_prompt(self._turns(messages), self.processor)

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        rows = [{"prompt": self._turns(request.messages), "images": request.images} for request in requests]
        settings = {key: value for key, value in generation.items() if key != "until"}
        with seeded(self.policy.device, seed):
            completions = generate(self.policy, self.processor, rows, settings)
        return [
            Output(one.text, "stop" if one.ended else "length", one.prompt_tokens, one.tokens) for one in completions
        ]

    def _turns(self, messages: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """The messages as the chat template takes them: plain text for a text policy, else parts without pixels."""
        if self.text_only:
            return [{**turn, "content": content_text(turn["content"])} for turn in messages]
        return [
            {**turn, "content": [{k: v for k, v in part.items() if k != "url"} for part in turn["content"]]}
            for turn in messages
        ]


def reads_text_only(processor: Processor) -> bool:
    """Whether a policy with this processor has no place for images."""
    return tokenizer_of(processor) is processor


def load_checkpoint(
    checkpoint: str,
    batch_size: int,
    specs: Sequence[TaskSpec] = (),
    /,
    device: str | None = None,
    dtype: str = "auto",
    **settings: Any,
) -> PolicyBackend:
    """The back end of a policy that `rlfr_mm.train` made or could train: full weights or a LoRA adapter.

    Args:
        checkpoint: a folder, or a hub id.
        specs: the tasks to answer, which are checked before the weights are loaded.
        settings: of a run's section `model`, those in MODEL_SETTINGS.

    Raises:
        RunError: a setting is unknown, there is no such policy, or it is a text policy and a task has images.

    >>> load_checkpoint("OWNER/NAME", 8, revision="main", chat_template="configs/plain_chat.jinja")
    """
    given = f"--model rlfr={checkpoint}"
    if unknown := [name for name in settings if name not in MODEL_SETTINGS]:
        known = ", ".join(f"{name}=" for name in ("device", "dtype", *MODEL_SETTINGS))
        raise RunError(f"{given} takes {known}, not {', '.join(unknown)}=")
    if not checkpoint:
        raise RunError(f"{given} names no policy; give a folder such as RUN/final, or a hub id")
    folder = Path(checkpoint)
    try:
        model = build(ModelArguments, settings | {"name_or_path": checkpoint}, "model")
        check_model(model, weights=False)
        processor = load_processor(model, DataArguments())
        name = checkpoint if not folder.is_dir() else _name_of(folder.resolve())
        check_modality(name, reads_text_only(processor), specs)
        policy = load_policy(model, dtype=dtype, trainable=False)
    except RunError:
        raise
    except ValueError as error:
        raise RunError(f"{given}: {one_line(error)}") from error
    policy.to(device or own_device()).eval()
    info = ModelInfo(
        backend="rlfr",
        args={"checkpoint": checkpoint, "dtype": str(policy.dtype).removeprefix("torch."), **settings},
        name=name,
        revision=None if folder.is_dir() else getattr(policy.config, "_commit_hash", None),
        weights_sha256=weights_sha256(folder),
    )
    return PolicyBackend(policy, processor, info, batch_size)


def _name_of(folder: Path) -> str:
    """What a policy is called after its folder: RUN/final is RUN."""
    return folder.parent.name if folder.name == "final" else folder.name


def own_device() -> str:
    """The device of this process: each process of a machine has the next GPU."""
    if not torch.cuda.is_available():
        return "cpu"
    return f"cuda:{own_gpu(torch.cuda.device_count())}"


def own_gpu(visible: int) -> int:
    """The number of this process's GPU, by its place on this machine under a launcher (LOCAL_RANK) or SLURM.

    Args:
        visible: the GPUs that the process sees; if SLURM shows each task its own only, that is 1.
    """
    return int(os.environ.get("LOCAL_RANK", os.environ.get("SLURM_LOCALID", 0))) % visible


def weights_sha256(folder: Path) -> str | None:
    """The SHA-256 over the weight files of a checkpoint folder, in the order of their names; None if there are none."""
    files = sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    if not files:
        return None
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
