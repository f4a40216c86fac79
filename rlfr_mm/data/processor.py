"""The policy's processor, and the check that it can encode every prompt of a dataset."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from datasets import Dataset
from tqdm.auto import tqdm
from transformers import AutoProcessor

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.conversations import Row
from rlfr_mm.data.images import open_image
from rlfr_mm.data.load import record_name
from rlfr_mm.data.prompts import chat_messages, conversation_text
from rlfr_mm.data.shares import divided
from rlfr_mm.grading.pool import available_cores
from rlfr_mm.policy import Processor, tokenizer_of

logger = logging.getLogger(__name__)


def load_processor(model: ModelArguments, data: DataArguments) -> Processor:
    """The policy's processor (the tokenizer of a text model) with left padding, a pad token and the pixel limits.

    The padding side is set here because transformers does not save it, and TRL computes wrong position ids from
    right-padded prompts. Raises ValueError, in one line, if there is no processor, no chat template, or if the pixel
    limits do not fit together.
    """
    try:
        processor = AutoProcessor.from_pretrained(
            model.name_or_path,
            revision=model.revision or "main",
            trust_remote_code=model.trust_remote_code,
            padding_side="left",
        )
    except Exception as error:  # the tokenizers library raises bare Exceptions for files that it cannot read
        raise ValueError(f"no processor for model {model.name_or_path}: {' '.join(str(error).split())}") from None
    if (template := model.chat_template) is not None:
        processor.chat_template = Path(template).read_text()
    if processor.chat_template is None:
        raise ValueError(
            f"{model.name_or_path} has no chat template; use its instruct version, or set model.chat_template"
        )
    tokenizer = tokenizer_of(processor)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    if tokenizer is not processor:
        _limit_pixels(processor.image_processor, data, model.name_or_path)
    return processor


def _limit_pixels(image_processor: Any, data: DataArguments, model_name: str) -> None:
    """Apply data.min_pixels and data.max_pixels, which transformers stores as "edges" although they are areas."""
    limits = {"shortest_edge": data.min_pixels, "longest_edge": data.max_pixels}
    limits = {edge: pixels for edge, pixels in limits.items() if pixels is not None}
    if not limits:
        return
    size = dict(image_processor.size)
    if not (size.get("shortest_edge") and size.get("longest_edge")):
        raise ValueError(f"{model_name} has no pixel limits; leave data.min_pixels and data.max_pixels out")
    size |= limits
    if size["shortest_edge"] > size["longest_edge"]:
        raise ValueError(
            f"images between {size['shortest_edge']} and {size['longest_edge']} pixels: "
            "set data.min_pixels and data.max_pixels together"
        )
    image_processor.size = type(image_processor.size)(**size)


def check_prompts(dataset: Dataset, processor: Processor, args: DataArguments) -> Dataset:
    """The rows whose prompt fits `data.max_prompt_tokens`, after `prompt_lengths` has decoded every image."""
    return without_overlong(dataset, prompt_lengths(dataset, processor, args), args)


def prompt_lengths(dataset: Dataset, processor: Processor, args: DataArguments) -> list[int]:
    """Tokens of every prompt, image tokens included, after every image was decoded once.

    Image tokens are computed from the image sizes, as the processor would compute them. The processes of a run share
    the work. Raises a one-line ValueError that names the record for

    - an image that cannot be decoded, or images for a text-only policy,
    - an image token inside the text,
    - a prompt over the limit, unless `data.overlong` is drop.
    """
    raw, limit = dataset.with_format(None), args.max_prompt_tokens

    def measured(index: int) -> tuple[Row, list[tuple[int, int]]]:
        """A row without its images, and the (height, width) of each decoded image."""
        row = raw[index]
        try:
            images = [open_image(image) for image in row.pop("images")]
        except ValueError as error:
            raise ValueError(f"{record_name(row, index, args.source)}: {error}") from None
        return row, [(image.height, image.width) for image in images]

    def lengths(indices: range) -> list[int]:
        found = []
        pool = ThreadPoolExecutor(available_cores())
        try:
            rows = pool.map(measured, indices)
            hidden = len(indices) < 1000 or indices.start > 0  # one process shows its progress
            for i, (row, sizes) in zip(
                indices, tqdm(rows, "Checking prompts", len(indices), disable=hidden), strict=True
            ):
                try:
                    tokens = prompt_length(chat_messages(row["prompt"]), sizes, processor)
                    if limit is not None and tokens > limit and args.overlong == "error":
                        raise ValueError(
                            f"the prompt has {tokens} tokens, over data.max_prompt_tokens={limit}; raise it, lower "
                            "data.max_pixels, or set data.overlong to drop"
                        )
                except ValueError as error:
                    raise ValueError(f"{record_name(row, i, args.source)}: {error}") from None
                found.append(tokens)
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, do not decode the remaining images
        return found

    return divided(len(raw), lengths)


def without_overlong(dataset: Dataset, lengths: list[int], args: DataArguments) -> Dataset:
    """The rows whose prompt, of `lengths` tokens, fits `data.max_prompt_tokens`; ValueError if none does."""
    limit = args.max_prompt_tokens
    keep = [i for i, tokens in enumerate(lengths) if limit is None or tokens <= limit]
    if not keep:
        raise ValueError(f"{args.source}: all {len(lengths)} prompts are over data.max_prompt_tokens={limit}")
    if len(keep) == len(lengths):
        return dataset
    dropped, total = len(lengths) - len(keep), len(lengths)
    logger.warning(
        "%s: dropped %d of %d prompts over %d tokens (longest: %d)", args.source, dropped, total, limit, max(lengths)
    )
    return dataset.select(keep)


def prompt_length(messages: list[Row], image_sizes: list[tuple[int, int]], processor: Processor) -> int:
    """Tokens of a prompt with its generation prompt; `image_sizes` are (height, width) in pixels."""
    tokenizer = tokenizer_of(processor)
    if image_sizes and tokenizer is processor:
        raise ValueError(
            f"the record has images, but {processor.name_or_path} is a text-only policy; use a vision-language one"
        )
    text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    written = conversation_text(messages)
    for token in tokenizer.added_tokens_decoder.values():
        if token.special and token.content in written:
            raise ValueError(f"the text contains {token.content}, a special token of the policy; remove or rewrite it")
    length = len(tokenizer(text, add_special_tokens=False)["input_ids"])
    if tokenizer is processor:
        return length
    multimodal: Any = processor
    if text.count(multimodal.image_token) != len(image_sizes):
        raise ValueError(f"the text contains {multimodal.image_token}, which stands for an image; remove it")
    if not image_sizes:
        return length
    counts = multimodal._get_num_multimodal_tokens(image_sizes=image_sizes)["num_image_tokens"]
    return length - len(image_sizes) + sum(counts)
