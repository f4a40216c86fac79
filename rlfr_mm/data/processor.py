"""The policy's processor, and the check that it can encode every prompt of a dataset."""

import logging
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from datasets import Dataset
from jinja2 import TemplateError
from tqdm.auto import tqdm
from transformers import AutoProcessor

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.conversations import Row
from rlfr_mm.data.images import open_image
from rlfr_mm.data.load import LeftOut, record_name
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


def check_prompts(
    dataset: Dataset, processor: Processor, args: DataArguments, left_out: LeftOut | None = None
) -> tuple[Dataset, list[int]]:
    """The rows whose prompts the processor can encode, and the tokens of each prompt, image tokens included.

    Every image is decoded once, and image tokens are computed from the image sizes, as the processor would compute
    them. The processes of a run share the work. Raises a one-line ValueError that names the record for

    - an image that cannot be decoded, or images for a text-only policy,
    - a special token of the policy inside the text, or messages that its chat template refuses,
    - a prompt over `data.max_prompt_tokens`; with `data.overlong` drop, that row is left out.

    Of these records, up to `data.skip_bad_records` are left out instead, together with those that `left_out` has from
    loading the dataset.
    """
    left_out = left_out or LeftOut(args.skip_bad_records)
    places = left_out.places or list(range(len(dataset)))
    found = _prompt_lengths(dataset, processor, args, left_out, places)
    for outcome in found:
        if isinstance(outcome, str):
            left_out.add(outcome)
    usable = [i for i, outcome in enumerate(found) if isinstance(outcome, int)]
    if not usable:
        raise ValueError(f"{args.source}: none of the {len(found)} prompts can be used")
    lengths = [outcome for outcome in found if isinstance(outcome, int)]
    keep = _not_overlong(lengths, args)
    rows = [usable[i] for i in keep]
    left_out.places = [places[i] for i in rows]
    return dataset if len(rows) == len(dataset) else dataset.select(rows), [lengths[i] for i in keep]


def _prompt_lengths(
    dataset: Dataset, processor: Processor, args: DataArguments, left_out: LeftOut, places: list[int]
) -> list[int | str]:
    """Per row the tokens of its prompt, or why it cannot be used; ValueError if one process alone finds too many."""
    raw, limit = dataset.with_format(None), args.max_prompt_tokens

    def measured(index: int) -> tuple[Row, list[tuple[int, int]] | ValueError]:
        """A row without its images, and the (height, width) of each decoded image or why one cannot be decoded."""
        row = raw[index]
        try:
            images = [open_image(image) for image in row.pop("images")]
        except ValueError as error:
            return row, error
        return row, [(image.height, image.width) for image in images]

    def lengths(indices: range) -> list[int | str]:
        found: list[int | str] = []
        bad = len(left_out.reasons)
        pool = ThreadPoolExecutor(available_cores())
        try:
            rows = pool.map(measured, indices)
            hidden = len(indices) < 1000 or indices.start > 0  # one process shows its progress
            for i, (row, sizes) in zip(
                indices, tqdm(rows, "Checking prompts", len(indices), disable=hidden), strict=True
            ):
                try:
                    if isinstance(sizes, ValueError):
                        raise sizes
                    tokens = prompt_length(chat_messages(row["prompt"]), sizes, processor)
                    if limit is not None and tokens > limit and args.overlong == "error":
                        raise ValueError(
                            f"the prompt has {tokens} tokens, over data.max_prompt_tokens={limit}; raise it, lower "
                            "data.max_pixels, or set data.overlong to drop"
                        )
                except ValueError as error:
                    reason = f"{record_name(row, places[i], args.source)}: {error}"
                    left_out.check_count(bad := bad + 1, reason)
                    found.append(reason)
                else:
                    found.append(tokens)
        finally:
            pool.shutdown(cancel_futures=True)  # after an error, do not decode the remaining images
        return found

    return divided(len(raw), lengths)


def _not_overlong(lengths: list[int], args: DataArguments) -> list[int]:
    """The prompts, of `lengths` tokens, that fit `data.max_prompt_tokens`; ValueError if none does."""
    limit = args.max_prompt_tokens
    keep = [i for i, tokens in enumerate(lengths) if limit is None or tokens <= limit]
    if not keep:
        raise ValueError(f"{args.source}: all {len(lengths)} prompts are over data.max_prompt_tokens={limit}")
    dropped, total = len(lengths) - len(keep), len(lengths)
    if dropped:
        longest = max(lengths)
        logger.warning(
            "%s: dropped %d of %d prompts over %d tokens (longest: %d)", args.source, dropped, total, limit, longest
        )
    return keep


def prompt_length(messages: list[Row], image_sizes: list[tuple[int, int]], processor: Processor) -> int:
    """Tokens of a prompt with its generation prompt; `image_sizes` are (height, width) in pixels."""
    tokenizer = tokenizer_of(processor)
    if image_sizes and tokenizer is processor:
        raise ValueError(
            f"the record has images, but {processor.name_or_path} is a text-only policy; use a vision-language one"
        )
    try:
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    except TemplateError as error:
        raise ValueError(f"the policy's chat template refuses the messages: {error}") from None
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
