"""Build a tiny real Qwen2.5-VL for the drawn world from a config, in about a second (`warmup` then trains it)."""

from pathlib import Path

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    AddedToken,
    GenerationConfig,
    PreTrainedTokenizerFast,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2_5_VLProcessor,
    Qwen2VLImageProcessor,
    Qwen2VLVideoProcessor,
)

from rlfr_mm.quickstart import world

SPECIAL_TOKENS = (
    "<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>",
    "<|video_pad|>",
)  # fmt: skip
RESPONSE_TAGS = ("<think>", "</think>", "<answer>", "</answer>")  # one token each, kept when a response is decoded
SYSTEM_PROMPT = "You are a helpful assistant."  # Qwen2.5-VL's default, which lmms-eval sends explicitly
CHAT_TEMPLATE = (
    "{% if messages[0]['role'] != 'system' %}<|im_start|>system\n" + SYSTEM_PROMPT + "<|im_end|>\n{% endif %}"
    "{% for message in messages %}"
    "<|im_start|>{{ message['role'] + '\n' }}"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>"
    "{% elif part['type'] == 'video' %}<|vision_start|><|video_pad|><|vision_end|>"
    "{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}"
    "{{ '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)

HIDDEN_SIZE = 128
# About 1/sqrt(width). With 0.02, as large models use, learning sums and products took about twice as many steps.
INITIALIZER_RANGE = 0.08
PIXELS = (world.BOARD * world.CELL) ** 2


def build_policy(folder: str | Path, seed: int = 0, rules: world.Rules = world.DEFAULT_RULES) -> Path:
    """Write an untrained policy of about 1M parameters to a normal Hugging Face folder and return the folder.

    Load its processor with `padding_side="left"`, because processors do not save the padding side.

    >>> AutoModelForImageTextToText.from_pretrained(build_policy("runs/tiny"))
    """
    processor = build_processor(rules)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen2_5_VLForConditionalGeneration(_model_config(processor.tokenizer))
    model.generation_config = GenerationConfig(
        eos_token_id=processor.tokenizer.eos_token_id, pad_token_id=processor.tokenizer.pad_token_id, do_sample=True
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return Path(folder)


def build_processor(rules: world.Rules = world.DEFAULT_RULES) -> Qwen2_5_VLProcessor:
    """Qwen2.5-VL's processor around our own tokenizer. It does not resize drawn pictures: they are 9 visual tokens."""
    size = {"shortest_edge": PIXELS, "longest_edge": PIXELS}
    return Qwen2_5_VLProcessor(
        image_processor=Qwen2VLImageProcessor(size=size),
        tokenizer=build_tokenizer(rules),
        video_processor=Qwen2VLVideoProcessor(size=size),
        chat_template=CHAT_TEMPLATE,
    )


def build_tokenizer(rules: world.Rules = world.DEFAULT_RULES) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: lossless on any text, with one token per word and number of the drawn world."""
    # A word includes its leading space; numbers have up to two digits.
    words = Regex(r" ?\p{L}+| ?\p{N}{1,2}| ?[^\s\p{L}\p{N}]|\s")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Split(words, "isolated"), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    # Training stops when every word of the corpus is one token, long before it reaches vocab_size.
    trainer = trainers.BpeTrainer(
        vocab_size=4096,
        min_frequency=1,
        show_progress=False,
        special_tokens=list(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(_corpus(rules), trainer)
    tokenizer.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in RESPONSE_TAGS])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=[token for token in SPECIAL_TOKENS if token not in ("<|im_end|>", "<|endoftext|>")],
        padding_side="left",
    )


def _corpus(rules: world.Rules) -> list[str]:
    """Texts with every word and number of the world, in the spelling of questions and of responses."""
    problems = world.problems(512, "warmup", list(world.LEVELS))
    texts = [text for problem in problems for text in (problem.question, problem.demonstration, problem.solution)]
    texts += [f"{n}\n {n}" for n in range(world.DEFAULT_RULES.max_value + 1, rules.max_value + 1)]
    for tag in RESPONSE_TAGS:
        texts = [text.replace(tag, "\n") for text in texts]
    return [*texts, f"system\n{SYSTEM_PROMPT}", "user\n", "assistant\n"]


def _model_config(tokenizer: PreTrainedTokenizerFast) -> Qwen2_5_VLConfig:
    ids = tokenizer.get_vocab()
    return Qwen2_5_VLConfig(
        text_config={
            "vocab_size": len(tokenizer),
            "hidden_size": HIDDEN_SIZE,
            "intermediate_size": 3 * HIDDEN_SIZE,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "num_key_value_heads": 2,
            "max_position_embeddings": 4096,
            "initializer_range": INITIALIZER_RANGE,
            # mrope_section splits half of the head's 32 channels into time, height and width.
            "rope_parameters": {"rope_type": "default", "rope_theta": 1e6, "mrope_section": [4, 6, 6]},
            "bos_token_id": None,
            "eos_token_id": tokenizer.eos_token_id,
            "pad_token_id": tokenizer.pad_token_id,
        },
        vision_config={
            "depth": 2,
            "hidden_size": 64,
            "intermediate_size": 128,
            "num_heads": 4,
            "out_hidden_size": HIDDEN_SIZE,
            "initializer_range": INITIALIZER_RANGE,
            "fullatt_block_indexes": [1],
        },
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        tie_word_embeddings=True,
    )
