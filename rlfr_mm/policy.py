"""The policy outside TRL: load it, encode prompts for it, generate with it. Training and evaluation share this."""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from datasets import Dataset
from peft import PeftConfig, PeftModel
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from tqdm import tqdm
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    GenerationConfig,
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from rlfr_mm.config import ModelArguments
from rlfr_mm.files import read_json

Processor = ProcessorMixin | PreTrainedTokenizerBase

# What transformers would set by default and we switch off unless it is asked for.
NEUTRAL_GENERATION = {"top_k": 0, "repetition_penalty": 1.0, "num_beams": 1}


@dataclass(frozen=True)
class Completion:
    """One response of a policy. `tokens` counts its end-of-turn token, too."""

    text: str
    prompt_tokens: int
    tokens: int
    ended: bool  # False if it was cut at max_new_tokens


def load_policy(args: ModelArguments, *, dtype: str | None = None, trainable: bool = True) -> Any:
    """A text or vision-language policy, with full weights or as a LoRA adapter on its base model.

    Args:
        dtype: used instead of `args.dtype`; "auto" keeps the dtype of the checkpoint.
        trainable: whether the weights of a LoRA adapter can be trained further.

    Raises:
        ValueError: there is no such model, or it cannot be loaded.

    >>> policy = load_policy(ModelArguments(name_or_path="runs/quickstart/final"))
    """
    if (base := _base_model(args)) is not None:
        policy = load_policy(base, dtype=dtype)
        return PeftModel.from_pretrained(policy, args.name_or_path, is_trainable=trainable)
    _check_not_sharded(Path(args.name_or_path))
    if not args.trust_remote_code and (reason := asks_for_code(Path(args.name_or_path))):
        raise ValueError(f"{reason}: remove that entry, or set model.trust_remote_code=true if you trust its code")
    with _named_errors(args):
        _, auto = _architecture(args)
        model = auto.from_pretrained(
            args.name_or_path,
            dtype=dtype or args.dtype,
            attn_implementation=args.attn_implementation,
            revision=args.revision,
            trust_remote_code=args.trust_remote_code,
        )
    return _frozen(model, args)


def policy_without_weights(args: ModelArguments) -> Any:
    """The policy's modules on torch's meta device, made from its config.json alone: for sizes and checks.

    A LoRA adapter gives its base model. ValueError as in `load_policy`.

    >>> sum(p.numel() for p in policy_without_weights(ModelArguments("Qwen/Qwen2.5-VL-3B-Instruct")).parameters())
    3754622976
    """
    args = _base_model(args) or args
    with _named_errors(args):
        config, auto = _architecture(args)
        with torch.device("meta"):
            model = auto.from_config(
                config,
                dtype=getattr(torch, args.dtype),
                attn_implementation=args.attn_implementation,
                trust_remote_code=args.trust_remote_code,
            )
    return _frozen(model, args)


def _base_model(args: ModelArguments) -> ModelArguments | None:
    """The base model of a LoRA adapter, which a run with model.lora writes; None if it is a whole model."""
    if not (Path(args.name_or_path) / "adapter_config.json").exists():
        return None
    return replace(args, name_or_path=PeftConfig.from_pretrained(args.name_or_path).base_model_name_or_path)


def _architecture(args: ModelArguments) -> tuple[Any, Any]:
    """The model's configuration, and the class that makes it: text, or vision-language."""
    config = AutoConfig.from_pretrained(
        args.name_or_path, revision=args.revision, trust_remote_code=args.trust_remote_code
    )
    multimodal = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    return config, AutoModelForImageTextToText if multimodal else AutoModelForCausalLM


def _frozen(model: Any, args: ModelArguments) -> Any:
    if args.freeze_vision and (tower := vision_tower(model)):
        model.get_submodule(tower).requires_grad_(False)
    return model


def vision_tower(policy: Any) -> str | None:
    """The name of the vision tower among the policy's modules; None for a text policy."""
    if policy.config.model_type not in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES:
        return None
    tower = policy.get_encoder(modality="image")
    return next(name for name, module in policy.named_modules() if module is tower)


def asks_for_code(folder: Path) -> str | None:
    """Which configuration in a local folder names code of its own to run, in one line; None if none does."""
    for name in ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json"):
        values = read_json(folder / name) if (folder / name).is_file() else {}
        if isinstance(values, dict) and values.get("auto_map"):
            return f"{folder / name} is refused: it asks for code of its own (auto_map)"
    return None


@contextlib.contextmanager
def _named_errors(args: ModelArguments) -> Iterator[None]:
    """Turn whatever a library raises while a model is made into a ValueError of one line that names the model."""
    try:
        yield
    except Exception as error:
        reason = " ".join(f"{error or type(error).__name__}".split())
        raise ValueError(f"model.name_or_path={args.name_or_path} cannot be loaded: {reason}") from error


def _check_not_sharded(folder: Path) -> None:
    """ValueError with the command that makes a checkpoint whole, if FSDP has left its weights in shards."""
    shards = folder / "pytorch_model_fsdp_0"
    if shards.is_dir() and not list(folder.glob("model*.safetensors")):
        raise ValueError(f"{folder} holds sharded weights; run `accelerate merge-weights {shards} {folder}` first")


def tokenizer_of(processor: Processor) -> PreTrainedTokenizerBase:
    """The tokenizer inside a multimodal processor, or the tokenizer itself."""
    return processor.tokenizer if isinstance(processor, ProcessorMixin) else processor


def render_prompt(messages: Sequence[dict[str, Any]], processor: Processor) -> str:
    """The conversation as text in the policy's chat template, up to where the response begins."""
    return str(processor.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False))


def encode_prompts(rows: Sequence[Mapping[str, Any]], processor: Processor) -> dict[str, Tensor]:
    """Left-padded inputs of the policy for conversational rows (`prompt`, `images`), as TRL makes them."""
    texts = [render_prompt(row["prompt"], processor) for row in rows]
    images = [row.get("images") or [] for row in rows]
    padding = {"padding": True, "padding_side": "left", "return_tensors": "pt"}
    if isinstance(processor, ProcessorMixin):
        return dict(processor(images=images if any(images) else None, text=texts, **padding))
    # A chat template writes the start token itself; with special tokens the tokenizer would add a second one.
    return dict(processor(texts, add_special_tokens=False, **padding))


def end_of_turn(processor: Processor) -> int:
    """The id of the token that ends a response in the policy's chat template.

    That is the first special token after an assistant's message, such as `<end_of_turn>` for Gemma, whose `eos_token`
    is a different token. A template without such a token ends a response with `eos_token`.
    """
    tokenizer = tokenizer_of(processor)
    turns = [{"role": "user", "content": "?"}, {"role": "assistant", "content": "RESPONSE"}]
    text = str(processor.apply_chat_template(turns, tokenize=False))
    after = tokenizer(text.rpartition("RESPONSE")[2], add_special_tokens=False)["input_ids"]
    return next((token for token in after if token in tokenizer.all_special_ids), tokenizer.eos_token_id)


def response_ends(model: Any, processor: Processor) -> list[int]:
    """The ids of all tokens that end a response: those of the generation_config, `eos_token` and `end_of_turn`.

    They may differ, for example for a base model that was given another model's chat template.
    """
    configured = model.generation_config.eos_token_id
    configured = configured if isinstance(configured, list) else [configured]
    ends = [*configured, tokenizer_of(processor).eos_token_id, end_of_turn(processor)]
    return sorted({end for end in ends if end is not None})


def encode_demonstrations(
    rows: Sequence[dict[str, Any]], processor: Processor, max_response_tokens: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of the policy for prompt and response, and the (batch, token) mask of the response tokens.

    The layout is that of a rollout: left-padded prompt, right-padded response that ends with the end-of-turn token.
    """
    tokenizer = tokenizer_of(processor)
    inputs = encode_prompts(rows, processor)
    end = end_of_turn(processor)
    responses = [tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [end] for row in rows]
    tensors = [torch.tensor(response[:max_response_tokens]) for response in responses]
    ids = pad_sequence(tensors, batch_first=True, padding_value=tokenizer.pad_token_id)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(tensor) for tensor in tensors])[:, None]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask.long()], dim=1)
    if "mm_token_type_ids" in inputs:  # a response has no image tokens
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
    return inputs, mask


@contextlib.contextmanager
def seeded(device: torch.device, seed: int) -> Iterator[None]:
    """Sample with this seed inside the body; the random state outside, such as that of a training run, is kept."""
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield


@contextlib.contextmanager
def own_settings_only(model: Any) -> Iterator[None]:
    """Inside the body, `model.generate` ignores the checkpoint's generation_config.

    Qwen2.5-VL's has top_k 1 and repetition_penalty 1.05, and others have min_p: a sample must not depend on them.
    """
    saved = model.generation_config
    model.generation_config = GenerationConfig(cache_implementation=saved.cache_implementation)
    try:
        yield
    finally:
        model.generation_config = saved


class NotFinite(RuntimeError):
    """A policy or a field computes NaN or infinity. The message is one line."""


@contextlib.contextmanager
def watched_logits(model: Any) -> Iterator[Tensor]:
    """Yield a flag, a tensor of shape (), that becomes True if the model's logits are NaN or infinite in the body.

    Sampling from such logits raises an error on a CPU, and makes a GPU useless to its process; greedy decoding takes
    any token for an answer. Inside the body they are replaced by finite ones, and the caller must look at the flag.
    """
    bad = torch.zeros((), dtype=torch.bool, device=model.device)

    def look(head: Any, inputs: Any, logits: Tensor) -> Tensor:
        bad.logical_or_((~(logits < torch.inf)).any().to(bad.device))  # -inf is fine: it rules a token out
        return torch.nan_to_num(logits, neginf=-torch.inf)

    hook = model.get_output_embeddings().register_forward_hook(look)
    try:
        yield bad
    finally:
        hook.remove()


@torch.no_grad()
def generate(
    model: Any, processor: Processor, rows: Sequence[Mapping[str, Any]], settings: Mapping[str, Any]
) -> list[Completion]:
    """One completion per row (`prompt`, `images`), generated in one batch.

    Args:
        settings: of `model.generate`, with `do_sample` and `max_new_tokens`. What they leave out is neutral, whatever
            the checkpoint's generation_config says.

    Raises:
        NotFinite: the model's logits are NaN or infinite.
    """
    tokenizer = tokenizer_of(processor)
    inputs = {name: value.to(model.device) for name, value in encode_prompts(rows, processor).items()}
    explicit = NEUTRAL_GENERATION | dict(settings)
    if not explicit["do_sample"]:
        explicit = {name: value for name, value in explicit.items() if name not in ("temperature", "top_p", "top_k")}
    ends = response_ends(model, processor)
    with own_settings_only(model), watched_logits(model) as not_finite:
        output = model.generate(**inputs, **explicit, eos_token_id=ends, pad_token_id=tokenizer.pad_token_id)
    if not_finite:
        raise NotFinite(
            f"the logits of {model.name_or_path or 'the policy'} are NaN or infinite while it generates: its weights "
            f"are damaged, or {model.dtype} is too small for it; float32 and bfloat16 hold the largest numbers"
        )
    prompt_tokens = inputs["attention_mask"].sum(dim=1).tolist()
    completions = []
    for ids, prompt_length in zip(output[:, inputs["input_ids"].shape[1] :].cpu(), prompt_tokens, strict=True):
        found = torch.isin(ids, torch.tensor(ends)).nonzero()
        length = int(found[0]) + 1 if len(found) else len(ids)
        text = str(tokenizer.decode(ids[:length], skip_special_tokens=True))
        completions.append(Completion(text, prompt_length, length, ended=len(found) > 0))
    return completions


def answer_problems(
    model: Any,
    processor: Processor,
    problems: Dataset | Sequence[dict[str, Any]],
    *,
    batch_size: int,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    description: str | None = None,
) -> list[str]:
    """One completion per problem, sampled at `temperature` (0 decodes greedily) with a random state of its own.

    With a `description` a progress bar is shown.
    """
    settings: dict[str, Any] = {"do_sample": temperature > 0, "max_new_tokens": max_new_tokens}
    if temperature > 0:
        settings |= {"temperature": temperature, "top_p": 1.0}
    completions: list[str] = []
    progress = tqdm(total=len(problems), desc=description, unit="problem", disable=description is None)
    with seeded(model.device, seed), progress:
        for start in range(0, len(problems), batch_size):
            rows = [problems[i] for i in range(start, min(start + batch_size, len(problems)))]
            completions += [completion.text for completion in generate(model, processor, rows, settings)]
            progress.update(len(rows))
    return completions
