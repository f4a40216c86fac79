"""The back end that `--model` names, and the model classes of lmms-eval behind the interface of `backends`."""

import contextlib
import difflib
import inspect
import io
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import torch
import transformers
from lmms_eval.api.instance import Instance, unwrap_generation_output
from lmms_eval.models import MODEL_REGISTRY_V2, list_available_models
from lmms_eval.protocol import ChatMessages
from lmms_eval.utils import simple_parse_args_string

from rlfr_mm.eval.engine import servers
from rlfr_mm.eval.engine.backends import Backend, Output, Request, Seeding, load_checkpoint, weights_sha256
from rlfr_mm.eval.engine.records import ModelInfo, RunError, one_line
from rlfr_mm.eval.engine.shards import launched_shard
from rlfr_mm.tasks.spec import TaskSpec

# lmms-eval's API classes return these in place of a response; taken for an answer, they would count as wrong.
FAILURES = ("[LMMS_EVAL_REQUEST_FAILED", "[LMMS_EVAL_BUDGET_EXCEEDED]")
ONE_MODEL_PER_LAUNCHER = {"vllm", "vllm_generate", "sglang"}
BATCH_SIZE = 8
# These back ends take a seed with every request. The other classes that run in this process share torch's random state.
SEED_PER_REQUEST = {"vllm", "vllm_generate", "openai"}


def parse_settings(text: str, message: str) -> dict[str, Any]:
    """The settings in `key=value,key=value`. RunError with this message if the text has another form."""
    try:
        return simple_parse_args_string(text)
    except ValueError:
        raise RunError(message) from None


def build_backend(model: str, batch_size: int | None = None, specs: Sequence[TaskSpec] = ()) -> Backend:
    """The back end that `--model NAME[,key=value...]` or `--model rlfr=CHECKPOINT[,key=value...]` names.

    Args:
        batch_size: None for 8, or for 512 of a server.
        specs: the tasks to answer, as far as they are known.

    Raises:
        RunError: there is no such back end or checkpoint, it rejects its arguments, or it cannot answer the tasks.

    >>> backend = build_backend("rlfr=runs/quickstart/final,device=cpu", batch_size=8)
    """
    name, _, rest = model.partition(",")
    name, _, value = name.partition("=")
    args = parse_settings(rest, f"--model {model}: write NAME,key=value,key=value")
    if name == "rlfr":
        return load_checkpoint(value or args.pop("pretrained", ""), batch_size or BATCH_SIZE, specs, **args)
    if value:
        raise RunError(f"--model {name}={value}: only rlfr takes a folder like this; write {name},pretrained={value}")
    return HarnessBackend(name, args, batch_size)


class HarnessBackend:
    """A model class of lmms-eval, called directly with lmms-eval's own requests."""

    text_only = False

    def __init__(self, name: str, args: dict[str, Any], batch_size: int | None = None):
        name = _full_name(name)
        self.batch_size = batch_size or (servers.BATCH_SIZE if name in servers.SERVERS else BATCH_SIZE)
        self.lm, args = _load(name, args, self.batch_size)
        model: Any = getattr(self.lm, "model", None)
        local = isinstance(model, torch.nn.Module)
        source = str(args.get("pretrained") or args.get("model_version") or args.get("model") or name)
        folder = Path(source) if Path(source).is_dir() else None
        ours = f"use --model rlfr={folder or 'FOLDER'}"
        if isinstance(model, transformers.PreTrainedModel) and not model.can_generate():
            # With transformers 5, the `huggingface` class of lmms-eval 0.7.3 loads every model like this.
            raise RunError(f"--model {name} loads a {type(model).__name__}, which cannot generate; {ours}")
        if local and not self.lm.is_simple and not _reads_parts(getattr(self.lm, "processor", None)):
            raise RunError(f"--model {name} gives lists of content parts to a chat template that takes text; {ours}")
        self.generation_config = getattr(model, "generation_config", None) if local else None
        self.client: servers.Client | None = None
        if name in ("openai", "async_openai"):
            self.client = servers.Client(self.lm.client, float(args["timeout"]), self.lm.model_version)
        self.left_to_server = name in servers.SERVERS and self.client is None
        self.seeding: Seeding = "request" if name in SEED_PER_REQUEST else "batch" if local else "none"
        # The Hugging Face classes pad a batch on the side that their tokenizer says, but generation needs the left.
        holders: list[Any] = [self.lm, getattr(self.lm, "processor", None)] if local else []
        for holder in holders:
            if hasattr(holder, "tokenizer"):
                holder.tokenizer.padding_side = "left"
        self.info = ModelInfo(
            backend=name,
            args=args,
            name=folder.resolve().name if folder else source,
            revision=getattr(model.config, "_commit_hash", None) if local else None,
            weights_sha256=weights_sha256(folder) if folder else None,
        )

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        if self.client is not None:
            return self.client.effective(generation)
        if self.generation_config is None:
            return {**generation, **(servers.LEFT_TO_SERVER if self.left_to_server else {})}
        inherited = json.loads(self.generation_config.to_json_string(use_diff=True))
        inherited.pop("transformers_version", None)
        return {**inherited, **generation}

    def render(self, messages: Sequence[Mapping[str, Any]]) -> str:
        processor: Any = getattr(self.lm, "processor", None)
        if self.seeding == "batch" and getattr(processor, "chat_template", None):
            turns = ChatMessages(messages=messages).to_hf_messages()
            return processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        parts = [part for turn in messages for part in turn["content"]]
        return "\n".join("<image>" if part["type"] == "image" else part["text"] for part in parts)

    def generate(self, task: str, requests: Sequence[Request], generation: dict[str, Any], seed: int) -> list[Output]:
        # The classes look up the record of a request by its number. We give them the request itself.
        self.lm.task_dict = {task: {"rlfr": {request.doc_id: request for request in requests}}}
        if self.seeding == "batch":
            random.seed(seed)
            np.random.seed(seed % 2**32)
            torch.manual_seed(seed)
        if self.client is not None:
            self.lm.client = self.client.for_batch(generation)
        with _without_progress_bars():
            instances = [self._instance(task, request, generation) for request in requests]
            if self.client is None:
                returned = self.lm.generate_until(instances)
            else:  # in a thread of its own, since the class calls asyncio.run, which a notebook's thread does not allow
                with ThreadPoolExecutor(1) as thread:
                    returned = thread.submit(self.lm.generate_until, instances).result()
        if len(returned) != len(requests):
            raise RuntimeError(f"{self.info.backend} returned {len(returned)} responses to {len(requests)} requests")
        return [self._output(one, generation["max_new_tokens"], len(requests)) for one in returned]

    def _instance(self, task: str, request: Request, generation: Mapping[str, Any]) -> Instance:
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
        text, counts = unwrap_generation_output(returned) if returned is not None else (None, None)
        if not isinstance(text, str):
            return Output(None, failure="the back end returned no response")
        if text.startswith(FAILURES):
            return Output(None, failure=text)
        text, reason = servers.split_finish(text)
        prompt_tokens = (counts and counts.input_tokens) or None
        tokens = (counts and counts.output_tokens) or None
        if self.seeding == "batch" and batch > 1:
            # A Hugging Face batch reports the length of its longest response. About a shorter one this says only that
            # it ended in time.
            ended = tokens is not None and tokens < max_new_tokens
            return Output(text, "stop" if ended else None)
        if self.seeding != "batch" and prompt_tokens is None and self.info.backend != "sglang":
            return Output(text, reason)  # without a usage report, lmms-eval counts words and calls them tokens
        if tokens is None:
            return Output(text, reason, prompt_tokens)
        return Output(text, reason or ("stop" if tokens < max_new_tokens else "length"), prompt_tokens, tokens)


def _reads_parts(processor: Any) -> bool:
    """Whether the chat template, if there is one, reads the text out of a list of content parts.

    Templates of text policies either fail on a list or, worse, write the list itself into the prompt.
    """
    if not getattr(processor, "chat_template", None):
        return True
    turns = [{"role": "user", "content": [{"type": "text", "text": "QUESTION"}]}]
    try:
        prompt = processor.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    except (TypeError, jinja2.TemplateError):
        return False
    return "QUESTION" in prompt and "'type'" not in prompt


def _full_name(name: str) -> str:
    """The name of a model class, which may have been given by an alias. RunError if there is none."""
    known = list_available_models(include_aliases=True)
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, ["rlfr", *known], 3, 0.4)) or "rlfr, qwen2_5_vl, vllm"
        raise RunError(f"--model {name}: lmms-eval has no such back end; near: {near}")
    return MODEL_REGISTRY_V2.resolve(name).model_id


def _load(name: str, args: dict[str, Any], batch_size: int) -> tuple[Any, dict[str, Any]]:
    """An instance of a model class, and the arguments that it was made with."""
    if launched_shard().count > 1 and name in ONE_MODEL_PER_LAUNCHER:
        raise RunError(
            f"--model {name} makes one model of all processes of a launcher: start eval.run without it, with "
            "tensor_parallel_size=N, or as --shard I/N with a CUDA_VISIBLE_DEVICES of its own"
        )
    try:
        model_class = MODEL_REGISTRY_V2.get_model_class(name)
    except ImportError as error:
        raise RunError(f"--model {name}: its library is missing ({error}); install it and try again") from None
    accepted = inspect.signature(model_class).parameters
    args = dict(args)
    on_cpu = not torch.cuda.is_available() or args.get("device_map") == "cpu"
    if on_cpu and {"device", "device_map"} <= accepted.keys():
        args = {"device_map": "cpu", "device": "cpu", **args}  # the default is a GPU
    if name in servers.SERVERS:
        args = servers.arguments(name, args, batch_size)
    if name.startswith("vllm"):
        args.setdefault("max_new_tokens", 1)  # it takes the larger of the task's and the model's; the task must decide
    sized = {"batch_size": batch_size} if "batch_size" in accepted else {}
    try:
        with _without_progress_bars():
            lm = model_class(**sized, **args)
    except (TypeError, AssertionError, ValueError, OSError) as error:
        raise RunError(f"--model {name}: {one_line(error)}") from error
    return lm, args


def _copy_messages(request: Request) -> list[dict[str, Any]]:
    return [{**turn, "content": list(turn["content"])} for turn in request.messages]  # a class may insert a system turn


@contextlib.contextmanager
def _without_progress_bars() -> Iterator[None]:
    """Hide the progress bars of the classes, which show one bar per batch."""
    with contextlib.redirect_stderr(io.StringIO()):
        yield
