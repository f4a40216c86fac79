"""The policy outside of TRL: loading it, turning prompts into its inputs, and answering problems with it."""

from collections.abc import Sequence
from dataclasses import replace
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
    PreTrainedTokenizerBase,
    ProcessorMixin,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from rlfr_mm.config import ModelArguments

Processor = ProcessorMixin | PreTrainedTokenizerBase


def load_policy(args: ModelArguments) -> Any:
    """A text or vision-language policy; ValueError in one line where there is none under that name."""
    if (Path(args.name_or_path) / "adapter_config.json").exists():  # a LoRA policy, as a run with model.lora leaves it
        base = PeftConfig.from_pretrained(args.name_or_path).base_model_name_or_path
        policy = load_policy(replace(args, name_or_path=base))
        return PeftModel.from_pretrained(policy, args.name_or_path, is_trainable=True)
    source = {"revision": args.revision, "trust_remote_code": args.trust_remote_code}
    try:
        config = AutoConfig.from_pretrained(args.name_or_path, **source)
        multimodal = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        auto = AutoModelForImageTextToText if multimodal else AutoModelForCausalLM
        model = auto.from_pretrained(
            args.name_or_path,
            dtype=getattr(torch, args.dtype),
            attn_implementation=args.attn_implementation,
            **source,
        )
    except (OSError, ImportError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"model.name_or_path={args.name_or_path} cannot be loaded: {reason}") from None
    if multimodal and args.freeze_vision:
        model.get_encoder(modality="image").requires_grad_(False)
    return model


def tokenizer_of(processor: Processor) -> PreTrainedTokenizerBase:
    """The tokenizer inside a multimodal processor, or the tokenizer itself."""
    return processor.tokenizer if isinstance(processor, ProcessorMixin) else processor


def encode_prompts(rows: Sequence[dict[str, Any]], processor: Processor) -> dict[str, Tensor]:
    """Left-padded inputs of the policy for conversational rows (`prompt`, `images`), as TRL makes them."""
    texts = [processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False) for row in rows]
    images = [row.get("images") or [] for row in rows]
    if isinstance(processor, ProcessorMixin):
        with_images = images if any(images) else None
        return dict(processor(images=with_images, text=texts, padding=True, return_tensors="pt"))
    return dict(processor(texts, padding=True, add_special_tokens=False, return_tensors="pt"))


def encode_demonstrations(
    rows: Sequence[dict[str, Any]], processor: Processor, max_response_tokens: int
) -> tuple[dict[str, Tensor], Tensor]:
    """Inputs of the policy for prompt and response, and the (B, T) mask of the response tokens.

    The layout is that of a rollout: left-padded prompt, right-padded response that ends with the end-of-turn token.
    """
    tokenizer = tokenizer_of(processor)
    inputs = encode_prompts(rows, processor)
    responses = [
        tokenizer(row["completion"], add_special_tokens=False)["input_ids"] + [tokenizer.eos_token_id] for row in rows
    ]
    tensors = [torch.tensor(response[:max_response_tokens]) for response in responses]
    ids = pad_sequence(tensors, batch_first=True, padding_value=tokenizer.pad_token_id)
    mask = torch.arange(ids.shape[1]) < torch.tensor([len(tensor) for tensor in tensors])[:, None]
    inputs["input_ids"] = torch.cat([inputs["input_ids"], ids], dim=1)
    inputs["attention_mask"] = torch.cat([inputs["attention_mask"], mask.long()], dim=1)
    if "mm_token_type_ids" in inputs:  # no image token in a response
        inputs["mm_token_type_ids"] = torch.cat([inputs["mm_token_type_ids"], torch.zeros_like(ids)], dim=1)
    return inputs, mask


@torch.no_grad()
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
    """One completion per problem, sampled at `temperature` (0: greedy) with random numbers of its own.

    A description shows a progress bar.
    """
    sampling: dict[str, Any] = {"do_sample": temperature > 0}
    if temperature > 0:
        sampling |= {"temperature": temperature, "top_k": 0, "top_p": 1.0}
    completions: list[str] = []
    devices = [model.device] if model.device.type == "cuda" else []
    progress = tqdm(total=len(problems), desc=description, unit="problem", disable=description is None)
    with torch.random.fork_rng(devices), progress:
        torch.manual_seed(seed)
        for start in range(0, len(problems), batch_size):
            rows = [problems[i] for i in range(start, min(start + batch_size, len(problems)))]
            inputs = {key: value.to(model.device) for key, value in encode_prompts(rows, processor).items()}
            output = model.generate(**inputs, max_new_tokens=max_new_tokens, **sampling)
            answers = output[:, inputs["input_ids"].shape[1] :]
            completions += tokenizer_of(processor).batch_decode(answers, skip_special_tokens=True)
            progress.update(len(rows))
    return completions
