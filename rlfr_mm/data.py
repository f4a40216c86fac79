"""Rows of any supported dataset as TRL columns: prompt, images, solution, choices, problem_id (and completion).

Being written: the signatures are what trainer and entry points may rely on.
"""

from datasets import Dataset
from transformers import PreTrainedTokenizerBase, ProcessorMixin

from rlfr_mm.config import DataArguments, ModelArguments


def load_problems(args: DataArguments) -> Dataset:
    """Problems with the columns prompt, images, solution, choices, problem_id; images are decoded on access (RGB).

    `prompt` is conversational: text-only rows have string contents, rows with images have a list of parts with one
    {"type": "image"} per image; `images` is a list of PIL images ([] for text-only rows); `choices` is a list of option
    texts ([] for free answers). Missing columns, files, answers and placeholders raise a one-line ValueError.
    """
    raise NotImplementedError


def load_demonstrations(args: DataArguments) -> Dataset:
    """Expert rows for the offline start: the columns of `load_problems` and `completion`, the response as text."""
    raise NotImplementedError


def load_processor(model: ModelArguments, data: DataArguments) -> ProcessorMixin | PreTrainedTokenizerBase:
    """The policy's processor (its tokenizer for text models): left padding, a pad token, the data's pixel limits."""
    raise NotImplementedError


def check_prompts(
    dataset: Dataset, processor: ProcessorMixin | PreTrainedTokenizerBase, args: DataArguments
) -> Dataset:
    """The rows whose prompt fits `max_prompt_tokens`, after decoding every image once; errors name the record."""
    raise NotImplementedError
