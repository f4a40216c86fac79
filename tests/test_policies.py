"""RLFR trains any decoder that transformers loads: two steps on small real models of other families."""

from pathlib import Path
from typing import Any

import pytest
import torch
from datasets import Dataset
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    Qwen2VLImageProcessor,
    Qwen3VLForConditionalGeneration,
    Qwen3VLProcessor,
    Qwen3VLVideoProcessor,
)

from rlfr_mm.config import FlowConfig, OnlineUpdateConfig, RLFRConfig
from rlfr_mm.config_file import build
from rlfr_mm.method.field import FlowField
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from rlfr_mm.training.trainer import RLFRTrainer
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import CPU, every_third

SIDE = 96  # pixels: 3 x 3 visual tokens of Qwen3-VL, whose patches have 16
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 4,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
}


def _text_policy(kind: str) -> tuple[Any, Any]:
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    if kind == "llama":  # like SmolLM2: it pads with its eos token
        tokenizer.pad_token = tokenizer.eos_token
    return AutoModelForCausalLM.from_config(AutoConfig.for_model(kind, vocab_size=len(tokenizer), **TEXT)), tokenizer


def _qwen3_vl() -> tuple[Any, Any]:
    tokenizer = build_tokenizer()
    ids = tokenizer.get_vocab()
    rope = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 3, 3]}
    config = AutoConfig.for_model(
        "qwen3_vl",
        text_config=TEXT | {"vocab_size": len(tokenizer), "rope_parameters": rope},
        vision_config={"depth": 2, "hidden_size": 32, "intermediate_size": 64, "num_heads": 2, "out_hidden_size": 32,
                       "deepstack_visual_indexes": [0]},
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
    )  # fmt: skip
    size = {"shortest_edge": SIDE**2, "longest_edge": SIDE**2}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, size=size),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(),
        chat_template=CHAT_TEMPLATE,
    )
    return Qwen3VLForConditionalGeneration(config), processor


# TRL's other way to generate without vLLM, for text policies; by default it would claim half of the memory.
BATCHED = {
    "use_transformers_continuous_batching": True,
    "transformers_continuous_batching_config": {"num_blocks": 64, "max_batch_tokens": 64},
}


@pytest.mark.parametrize(
    "kind, generation", [("llama", {}), ("qwen2", {}), ("qwen2", BATCHED), ("qwen3_vl", {})],
    ids=["llama", "qwen2", "qwen2-continuous-batching", "qwen3_vl"],
)  # fmt: skip
def test_two_steps_move_policy_and_field(kind: str, generation: dict[str, Any], tmp_path: Path):
    torch.manual_seed(0)
    policy, processor = _qwen3_vl() if kind == "qwen3_vl" else _text_policy(kind)
    rows = [
        {
            "prompt": world.prompt(problem.question)
            if kind == "qwen3_vl"
            else [{"role": "user", "content": problem.question}],
            "solution": problem.solution,
            "problem_id": problem.problem_id,
        }
        | ({"images": [problem.image.resize((SIDE, SIDE))]} if kind == "qwen3_vl" else {})
        for problem in world.problems(8, "train", [2])
    ]
    settings = {
        "output_dir": str(tmp_path),
        "per_device_train_batch_size": 4,
        "num_generations": 2,
        "max_completion_length": 6,
        "max_steps": 2,
        "learning_rate": 1e-3,
    } | generation
    field = FlowField.for_policy(FlowConfig(num_blocks=1), policy.config)
    trainer = RLFRTrainer(
        model=policy,
        reward_funcs=every_third,
        args=build(RLFRConfig, CPU | settings),
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
        field=field,
        update_config=OnlineUpdateConfig(weight_decay=0.0),
    )
    before = {name: value.clone() for name, value in policy.named_parameters()}
    trainer.train()
    decoder = [name for name in before if "visual" not in name]
    assert not [name for name in decoder if torch.equal(before[name], policy.get_parameter(name))]
    assert field.final_layer.linear.weight.abs().sum() > 0  # starts at zero
    records = list(read_rollouts(tmp_path))
    assert len(records) == 8 and all(any(record.deviation) for record in records if len(record.tokens) > 1)
