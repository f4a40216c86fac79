"""What answers the prompts: lmms-eval's model classes by name, or a policy of ours in memory.

Both take a batch of requests and return one output for each. Nothing here knows about tasks or files of a run.
"""

import contextlib
import difflib
import hashlib
import inspect
import io
import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import torch
import transformers
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from rlfr_mm.eval.engine.plan import one_line
from rlfr_mm.eval.engine.records import ModelInfo, RunError

transformers.utils.logging.disable_progress_bar()

# What lmms-eval's API classes return in place of a response; as an answer it would be counted as wrong.
FAILURES = ("[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED]")
# Back ends that take a seed with every request; those of the other classes that run here share torch's random state.
SEED_PER_REQUEST = {"vllm", "vllm_generate", "openai"}


@dataclass(frozen=True)
class Request:
    doc_id: int
    text: str
    messages: list[
        dict[str, Any]
    ]  # lmms-eval's chat format: [{role, content: [{type: image, url} | {type: text, text}]}]
    seed: int

    @property
    def images(self) -> list[Any]:
        return [part["url"] for turn in self.messages for part in turn["content"] if part["type"] == "image"]


@dataclass(frozen=True)
class Output:
    """`text` is None where no response came; `failure` then says why. Unknown counts are None, never estimates."""

    text: str | None
    finish_reason: Literal["stop", "length"] | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    failure: str = ""


class Backend(Protocol):
    info: ModelInfo
    batch_size: int
    seeding: Literal["request", "batch", "none"]  # what `Request.seed` and the batch's seed can decide

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        """The generation settings that apply when a task asks for these: with those inherited from the checkpoint."""

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        """The prompt as text, through the chat template where the back end has one."""

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        """One output for each request, in order."""


def build_backend(model: str, batch_size: int) -> Backend:
    """The back end that `--model NAME[,key=value...]` or `--model rlfr=CHECKPOINT[,key=value...]` names.

    Raises:
        RunError: there is no such back end or checkpoint, or it refuses its arguments.
    """
    from lmms_eval.utils import simple_parse_args_string

    name, _, rest = model.partition(",")
    name, _, value = name.partition("=")
    try:
        args = simple_parse_args_string(rest)
    except ValueError:
        raise RunError(f"--model {model}: write NAME,key=value,key=value") from None
    if name == "rlfr":
        return load_policy(value or args.pop("pretrained", ""), batch_size, **args)
    if value:
        raise RunError(f"--model {name}={value}: only rlfr takes a folder like this; write {name},pretrained={value}")
    return HarnessBackend(name, args, batch_size)


# ---------------------------------------------------------------------------------------------------- our policies


def load_policy(checkpoint: str, batch_size: int, device: str | None = None, dtype: str = "auto", **unknown: Any):
    """A checkpoint folder of `rlfr_mm.train` (full weights or a PEFT adapter, image or text), with its own processor.

    Raises:
        RunError: the folder holds no policy.
    """
    if unknown:
        raise RunError(f"--model rlfr={checkpoint} takes device= and dtype=, not {', '.join(unknown)}=")
    folder = Path(checkpoint)
    adapter = folder / "adapter_config.json"
    if not (folder / "config.json").exists() and not adapter.exists():
        raise RunError(f"--model rlfr={checkpoint}: no policy there (no config.json); give a folder such as RUN/final")
    base = json.loads(adapter.read_text())["base_model_name_or_path"] if adapter.exists() else folder
    config = transformers.AutoConfig.from_pretrained(base)
    sees_images = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    auto = transformers.AutoModelForImageTextToText if sees_images else transformers.AutoModelForCausalLM
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    policy: Any = auto.from_pretrained(folder, dtype=dtype)
    policy.to(device).eval()
    processor = transformers.AutoProcessor.from_pretrained(folder, padding_side="left")
    info = ModelInfo(
        backend="rlfr",
        args={"checkpoint": str(checkpoint), "dtype": str(policy.dtype).removeprefix("torch.")},
        name=folder.resolve().name if folder.resolve().name != "final" else folder.resolve().parent.name,
        weights_sha256=weights_sha256(folder),
    )
    return PolicyBackend(policy, processor, info, batch_size)


class PolicyBackend:
    """A transformers policy in memory with its processor: what training evaluates at its steps, and `rlfr=FOLDER`.

    lmms-eval's classes reload weights in bfloat16, resize images by limits of their own, and cannot tell the lengths
    of the responses of a batch apart; here the processor decides, and every setting that changes samples is explicit.
    """

    seeding: Literal["request", "batch", "none"] = "batch"

    def __init__(self, policy: Any, processor: Any, info: ModelInfo, batch_size: int):
        self.policy, self.processor, self.info, self.batch_size = policy, processor, info, batch_size
        self.tokenizer = getattr(processor, "tokenizer", processor)  # a text policy's processor is its tokenizer
        ends = policy.generation_config.eos_token_id
        ends = self.tokenizer.eos_token_id if ends is None else ends
        self.ends = torch.tensor(ends if isinstance(ends, list) else [ends])

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        # 0 and 1 switch off what a checkpoint's generation config may switch on (Qwen2.5-VL: top_k 1, penalty 1.05).
        return {"top_k": 0, "repetition_penalty": 1.0, "num_beams": 1, **generation}

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        if self.processor is self.tokenizer:  # templates of text models want a string
            turns = [{**turn, "content": "".join(part["text"] for part in turn["content"])} for turn in messages]
        else:
            turns = [
                {**turn, "content": [{k: v for k, v in part.items() if k != "url"} for part in turn["content"]]}
                for turn in messages
            ]
        return self.processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        images = [image for request in requests for image in request.images]
        if images and self.processor is self.tokenizer:
            raise RunError(f"{task} has images and {self.info.name} is a text policy")
        # A text template writes the start token itself; a tokenizer would add a second one.
        extra = {"add_special_tokens": False} if self.processor is self.tokenizer else {"images": images or None}
        inputs = self.processor(
            text=[self.render(request.messages) for request in requests],
            **extra,
            padding=True,
            padding_side="left",
            return_tensors="pt",
        ).to(self.policy.device)
        settings = {key: value for key, value in self.effective(generation).items() if key != "until"}
        if not settings["do_sample"]:
            settings = {key: value for key, value in settings.items() if key not in ("temperature", "top_p", "top_k")}
        devices = [self.policy.device] if self.policy.device.type == "cuda" else []
        with torch.inference_mode(), torch.random.fork_rng(devices):  # a training run's random state is its own
            torch.manual_seed(seed)
            tokens = self.policy.generate(
                **inputs,
                **settings,
                eos_token_id=self.ends.tolist(),
                pad_token_id=self.tokenizer.pad_token_id,
            )
        prompt_lengths = inputs["attention_mask"].sum(dim=1).tolist()
        responses = tokens[:, inputs["input_ids"].shape[1] :].cpu()
        return [self._output(ids, length) for ids, length in zip(responses, prompt_lengths, strict=True)]

    def _output(self, ids: torch.Tensor, prompt_length: int) -> Output:
        ends = torch.isin(ids, self.ends).nonzero()
        length = int(ends[0]) + 1 if len(ends) else len(ids)
        return Output(
            text=self.tokenizer.decode(ids[:length], skip_special_tokens=True),
            finish_reason="stop" if len(ends) else "length",
            prompt_tokens=prompt_length,
            completion_tokens=length,
        )


# ---------------------------------------------------------------------------------------------------- lmms-eval's


class HarnessBackend:
    """A model class of lmms-eval, driven directly with its own kind of requests."""

    def __init__(self, name: str, args: dict[str, Any], batch_size: int):
        from lmms_eval.models import MODEL_REGISTRY_V2, list_available_models

        known = list_available_models(include_aliases=True)
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, ["rlfr", *known], 3, 0.4)) or "rlfr, qwen2_5_vl, vllm"
            raise RunError(f"--model {name}: lmms-eval has no such back end; near: {near}")
        name = MODEL_REGISTRY_V2.resolve(name).model_id
        try:
            model_class = MODEL_REGISTRY_V2.get_model_class(name)
        except ImportError as error:
            raise RunError(f"--model {name}: its library is missing ({error}); install it and try again") from None
        args = _default_args(name, model_class, args)
        accepted = inspect.signature(model_class).parameters
        sized = {"batch_size": batch_size} if "batch_size" in accepted else {}
        try:
            with _quiet():
                self.lm = model_class(**sized, **args)
        except (TypeError, AssertionError, ValueError, OSError) as error:
            raise RunError(f"--model {name}: {one_line(error)}") from error
        if self.lm.world_size > 1:
            raise RunError("eval.run is one process; give the back end tensor_parallel_size for several GPUs")
        self.batch_size = batch_size
        local = isinstance(getattr(self.lm, "model", None), torch.nn.Module)
        if local and isinstance(self.lm.model, transformers.PreTrainedModel) and not self.lm.model.can_generate():
            # Its `huggingface` class of 0.7.3 loads vision-language models so with transformers 5.
            loaded = type(self.lm.model).__name__
            raise RunError(
                f"--model {name} loads a {loaded}, which cannot generate; use rlfr=FOLDER or its own back end"
            )
        self.generation_config = getattr(self.lm.model, "generation_config", None) if local else None
        self.seeding: Literal["request", "batch", "none"] = (
            "request" if name in SEED_PER_REQUEST else "batch" if local else "none"
        )
        # The Hugging Face classes pad a batch on the side that their tokenizer says; generation needs the left.
        holders: list[Any] = [self.lm, getattr(self.lm, "processor", None)] if local else []
        for holder in holders:
            if hasattr(holder, "tokenizer"):
                holder.tokenizer.padding_side = "left"
        source = str(args.get("pretrained") or args.get("model_version") or args.get("model") or name)
        folder = Path(source) if Path(source).is_dir() else None
        self.info = ModelInfo(
            backend=name,
            args=args,
            name=folder.resolve().name if folder else source,
            revision=getattr(self.lm.model.config, "_commit_hash", None) if local else None,
            weights_sha256=weights_sha256(folder) if folder else None,
        )

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        if self.generation_config is None:
            return dict(generation)
        inherited = json.loads(self.generation_config.to_json_string(use_diff=True))
        inherited.pop("transformers_version", None)
        return {**inherited, **generation}

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        from lmms_eval.protocol import ChatMessages

        processor: Any = getattr(self.lm, "processor", None)
        if self.seeding == "batch" and getattr(processor, "chat_template", None):
            turns = ChatMessages(messages=messages).to_hf_messages()
            return processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        parts = [part for turn in messages for part in turn["content"]]
        return "\n".join("<image>" if part["type"] == "image" else part["text"] for part in parts)

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        # The classes look a request's record up by its number; what they find there is the request itself.
        self.lm.task_dict = {task: {"rlfr": {request.doc_id: request for request in requests}}}
        if self.seeding == "batch":
            _set_seed(seed)
        with _quiet():
            returned = self.lm.generate_until([self._instance(task, request, generation) for request in requests])
        if len(returned) != len(requests):
            raise RuntimeError(f"{self.info.backend} returned {len(returned)} responses to {len(requests)} requests")
        return [self._output(one, generation["max_new_tokens"], len(requests)) for one in returned]

    def _instance(self, task: str, request: Request, generation: Mapping[str, Any]):
        from lmms_eval.api.instance import Instance

        settings = {**generation, "until": list(generation["until"])}
        if self.seeding == "request":
            settings["seed"] = request.seed
        arguments: tuple
        if self.lm.is_simple:
            arguments = (request.text, settings, lambda found: found.images, request.doc_id, task, "rlfr")
        else:
            arguments = (request.text, _copy_messages, settings, request.doc_id, task, "rlfr")
        metadata = {"task": task, "doc_id": request.doc_id, "repeats": 1}
        return Instance("generate_until", arguments, 0, metadata)

    def _output(self, returned: Any, max_new_tokens: int, batch: int) -> Output:
        from lmms_eval.api.instance import unwrap_generation_output

        text, counts = unwrap_generation_output(returned) if returned is not None else (None, None)
        if not isinstance(text, str):
            return Output(None, failure="the back end returned no response")
        if text.startswith(FAILURES):
            return Output(None, failure=text)
        prompt_tokens = (counts and counts.input_tokens) or None
        tokens = (counts and counts.output_tokens) or None
        if self.seeding == "batch" and batch > 1:
            # A Hugging Face batch tells the length of its longest response, which says of a shorter one only that it
            # ended in time.
            ended = tokens is not None and tokens < max_new_tokens
            return Output(text, "stop" if ended else None)
        if self.seeding != "batch" and prompt_tokens is None and self.info.backend != "sglang":
            return Output(text)  # without a usage report lmms-eval counts words and calls them tokens
        if tokens is None:
            return Output(text, None, prompt_tokens)
        return Output(text, "stop" if tokens < max_new_tokens else "length", prompt_tokens, tokens)


def _copy_messages(request: Request) -> list[dict[str, Any]]:
    return [{**turn, "content": list(turn["content"])} for turn in request.messages]  # a class may insert a system turn


def _default_args(name: str, model_class: type, args: Mapping[str, Any]) -> dict[str, Any]:
    """The class's arguments with the defaults that lmms-eval leaves wrong for this machine or for our settings."""
    accepted = inspect.signature(model_class).parameters
    args = dict(args)
    on_cpu = not torch.cuda.is_available() or args.get("device_map") == "cpu"
    if on_cpu and {"device", "device_map"} <= accepted.keys():
        args = {"device_map": "cpu", "device": "cpu", **args}
    if name.startswith("vllm"):
        args.setdefault("max_new_tokens", 1)  # it generates max(task's, model's) tokens, and the task must decide
    return args


def _set_seed(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


@contextlib.contextmanager
def _quiet():
    """Keeps the classes' own progress bars, one for every batch, off the screen."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield


def weights_sha256(folder: Path) -> str | None:
    """SHA-256 over the weight files of a local checkpoint folder, by name; None where there are none."""
    files = sorted(path for pattern in ("*.safetensors", "pytorch_model*.bin") for path in folder.glob(pattern))
    if not files:
        return None
    total = hashlib.sha256()
    for path in files:
        with path.open("rb") as file:
            total.update(path.name.encode() + hashlib.file_digest(file, "sha256").digest())
    return total.hexdigest()
