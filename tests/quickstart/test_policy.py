"""The tiny policy is a normal Qwen2.5-VL folder, which TRL and transformers load like a large one."""

import json

import pytest
import torch
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoModelForImageTextToText, AutoProcessor, Qwen2_5_VLForConditionalGeneration
from trl import GRPOConfig, GRPOTrainer
from trl.data_utils import prepare_multimodal_messages

from rlfr_mm.policy import encode_demonstrations, encode_prompts
from rlfr_mm.quickstart import policy, world

PROBLEMS = world.problems(3, "train", list(world.LEVELS))
ROWS = [world.row(problem) for problem in PROBLEMS]


@pytest.fixture(scope="module")
def processor(tiny_policy):
    return AutoProcessor.from_pretrained(tiny_policy, padding_side="left")


@pytest.fixture(scope="module")
def model(tiny_policy):
    return AutoModelForImageTextToText.from_pretrained(tiny_policy)


def test_it_is_a_qwen2_5_vl_of_about_a_million_parameters(model):
    assert isinstance(model, Qwen2_5_VLForConditionalGeneration)
    assert 0.9e6 < sum(p.numel() for p in model.parameters()) < 1.2e6


def test_the_seed_decides_the_weights(tiny_policy, tmp_path):
    weights = (tiny_policy / "model.safetensors").read_bytes()
    assert (policy.build_policy(tmp_path / "same") / "model.safetensors").read_bytes() == weights
    assert (policy.build_policy(tmp_path / "other", seed=1) / "model.safetensors").read_bytes() != weights


def test_building_leaves_the_global_generator_alone(tmp_path):
    before = torch.get_rng_state()
    policy.build_policy(tmp_path)
    assert torch.equal(torch.get_rng_state(), before)


def test_a_reloaded_model_gives_the_same_logits(tiny_policy, model, processor, tmp_path):
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    inputs = encode_prompts(ROWS, AutoProcessor.from_pretrained(tmp_path, padding_side="left"))
    again = AutoModelForImageTextToText.from_pretrained(tmp_path)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_a_picture_is_nine_visual_tokens_as_drawn(processor):
    inputs = encode_prompts(ROWS, processor)
    assert inputs["image_grid_thw"].tolist() == [[1, 6, 6]] * len(PROBLEMS)
    assert (inputs["input_ids"] == processor.image_token_id).sum(1).tolist() == [9] * len(PROBLEMS)
    ground = (torch.tensor((250, 250, 247)) / 255 - torch.tensor(processor.image_processor.image_mean)) / torch.tensor(
        processor.image_processor.image_std
    )
    corner = inputs["pixel_values"].view(len(PROBLEMS), 36, 3, 2, 14, 14)[:, 0, :, :, 0, 0]  # always ground
    torch.testing.assert_close(corner, ground[None, :, None].expand_as(corner), atol=1e-5, rtol=0)


def test_the_picture_reaches_the_logits(model, processor):
    inputs = encode_prompts(ROWS, processor)
    blank = {**inputs, "pixel_values": torch.zeros_like(inputs["pixel_values"])}
    assert (model(**inputs).logits[:, -1] - model(**blank).logits[:, -1]).abs().max() > 1e-3


def test_end_of_turn_ends_a_response_and_padding_is_another_token(tiny_policy, processor):
    tokenizer = processor.tokenizer
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    generation = json.loads((tiny_policy / "generation_config.json").read_text())
    assert (generation["eos_token_id"], generation["pad_token_id"]) == (tokenizer.eos_token_id, tokenizer.pad_token_id)


@given(st.text())
def test_tokenizing_loses_nothing(processor, text):
    assert processor.tokenizer.decode(processor.tokenizer(text)["input_ids"]) == text


def test_every_word_and_number_of_the_world_is_one_token(processor):
    tokenizer = processor.tokenizer
    for word in (
        *world.OBJECTS,
        *map(str, range(world.DEFAULT_RULES.max_value + 1)),
        "add",
        "subtract",
        "multiply",
        "×",
    ):
        assert len(tokenizer(" " + word)["input_ids"]) == 1, word
    for problem in world.problems(300, "test", list(world.LEVELS)):
        assert len(tokenizer(problem.demonstration)["input_ids"]) == 9 * problem.level - 2


def test_decoding_a_response_keeps_the_tags(processor):
    (problem,) = PROBLEMS[:1]
    ids = processor.tokenizer(problem.demonstration + "<|im_end|>")["input_ids"]
    assert processor.tokenizer.decode(ids, skip_special_tokens=True) == problem.demonstration


def test_prompts_are_those_of_grpo_trainer(tiny_policy, processor, tmp_path):
    rows = world.rows(4, "train", [2, 4])
    trainer = GRPOTrainer(
        model=str(tiny_policy),
        reward_funcs=lambda completions, **_: [0.0] * len(completions),
        args=GRPOConfig(
            output_dir=str(tmp_path), use_cpu=True, bf16=False, report_to="none", num_generations=2,
            per_device_train_batch_size=2, gradient_checkpointing=False,
        ),
        train_dataset=Dataset.from_list(rows),
        processing_class=processor,
    )  # fmt: skip
    prompts = [prepare_multimodal_messages(row["prompt"], images=row["images"]) for row in rows]
    prompt_ids, _, fields = trainer._tokenize_prompts(prompts)
    ours = encode_prompts(rows, processor)
    unpadded = [row[mask.bool()].tolist() for row, mask in zip(ours["input_ids"], ours["attention_mask"], strict=True)]
    assert unpadded == prompt_ids
    assert torch.equal(ours["pixel_values"], fields["pixel_values"])
    ours, mask = encode_demonstrations(rows, processor, 64)
    in_prompt = ours["attention_mask"].bool()[:, : -mask.shape[1]]
    assert [
        row[kept].tolist() for row, kept in zip(ours["input_ids"][:, : -mask.shape[1]], in_prompt, strict=True)
    ] == (prompt_ids)


@pytest.mark.parametrize("generation_prompt", [True, False])
@pytest.mark.parametrize(
    "messages",
    [
        [{"role": "user", "content": "How many?"}],
        [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}],
        [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "video"}, {"type": "image"}]}],
        [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Why?"}],
        [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "2"},
            {"role": "user", "content": "+1?"},
        ],
    ],
)
def test_the_chat_template_writes_what_qwen2_5_vl_writes(processor, shared, messages, generation_prompt):
    template = json.loads((shared / "qwen25vl_processor" / "chat_template.json").read_text())["chat_template"]
    arguments = {"tokenize": False, "add_generation_prompt": generation_prompt}
    theirs = processor.apply_chat_template(messages, chat_template=template, **arguments)
    assert processor.apply_chat_template(messages, **arguments) == theirs
