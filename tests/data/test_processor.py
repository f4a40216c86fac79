"""The processor as TRL needs it, and the check of every prompt before the first training step."""

import logging
import re
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer, ProcessorMixin, Qwen2Config

from rlfr_mm.config import DataArguments, ModelArguments, RLFRConfig
from rlfr_mm.data.load import LeftOut, load_problems
from rlfr_mm.data.processor import check_prompts, load_processor, prompt_length
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from rlfr_mm.training.rewards import accuracy_reward, format_reward
from rlfr_mm.training.trainer import RLFRTrainer
from tests.conftest import ROOT
from tests.data.rows import IMAGE_ROW, TEXT_ROW, arguments, bad_records, write


@pytest.fixture(scope="module")
def processor(tiny_policy: Path) -> ProcessorMixin:
    return load_processor(ModelArguments(str(tiny_policy)), DataArguments())


@pytest.fixture(scope="module")
def text_policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a text model's folder holds beside its weights; its tokenizer has no pad token, as Llama's."""
    folder = tmp_path_factory.mktemp("text_policy")
    tokenizer = build_tokenizer()
    tokenizer.chat_template = CHAT_TEMPLATE
    tokenizer.pad_token = None
    tokenizer.padding_side = "right"
    tokenizer.save_pretrained(folder)
    Qwen2Config().save_pretrained(folder)
    return folder


def test_tokenizers_pad_left_with_a_pad_token_whatever_was_saved(text_policy: Path) -> None:
    assert AutoTokenizer.from_pretrained(text_policy).padding_side == "right"
    tokenizer = load_processor(ModelArguments(str(text_policy)), DataArguments(max_pixels=262144))
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("left", tokenizer.eos_token)


def test_pixel_limits_reach_the_images(tiny_policy: Path) -> None:
    image = Image.new("RGB", (280, 280))
    for limits, edge in (({"max_pixels": 112**2}, 8), ({"min_pixels": 336**2, "max_pixels": 336**2}, 24)):
        processor = load_processor(ModelArguments(str(tiny_policy)), DataArguments(**limits))
        assert processor.image_processor(images=[image])["image_grid_thw"].tolist() == [[1, edge, edge]]
    with pytest.raises(ValueError, match=r"images between 7056 and 784 pixels: set data\.min_pixels and"):
        load_processor(ModelArguments(str(tiny_policy)), DataArguments(max_pixels=28**2))


def test_a_policy_without_chat_template_or_without_files_is_refused(text_policy: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_policy)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    Qwen2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no chat template; use"):
        load_processor(ModelArguments(str(tmp_path)), DataArguments())
    with pytest.raises(ValueError, match=r"no processor for model .*gone") as error:
        load_processor(ModelArguments(str(tmp_path / "gone")), DataArguments())
    assert "\n" not in str(error.value)
    broken = shutil.copytree(text_policy, tmp_path / "broken")
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(ValueError, match=r"no processor for model .*broken: ") as error:
        load_processor(ModelArguments(str(broken)), DataArguments())
    assert "\n" not in str(error.value)


def test_a_base_model_takes_the_chat_template_of_a_file(text_policy: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_policy)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    Qwen2Config().save_pretrained(tmp_path)
    model = ModelArguments(str(tmp_path), chat_template=str(ROOT / "configs" / "plain_chat.jinja"))
    processor = load_processor(model, DataArguments())
    prompt = [{"role": "user", "content": "How many?"}]
    assert processor.apply_chat_template(prompt, add_generation_prompt=True, tokenize=False) == "How many?\n"


def test_prompts_over_the_limit_are_an_error_or_dropped(
    folder: Path, processor: ProcessorMixin, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    dataset = load_problems(arguments(source))
    lengths = [
        prompt_length(row["prompt"], [(image.height, image.width) for image in row["images"]], processor)
        for row in dataset
    ]
    assert check_prompts(dataset, processor, arguments(source, max_prompt_tokens=lengths[1]))[1] == lengths
    below = lengths[1] - 1
    with pytest.raises(ValueError, match=rf"record 2 \(id i\): the prompt has {lengths[1]} tokens, over .*={below}"):
        check_prompts(dataset, processor, arguments(source, max_prompt_tokens=below))
    with caplog.at_level(logging.WARNING):
        kept, _ = check_prompts(dataset, processor, arguments(source, max_prompt_tokens=below, overlong="drop"))
    assert [row["problem_id"] for row in kept] == ["t"]
    assert "dropped 1 of 2 prompts" in caplog.text
    with pytest.raises(ValueError, match="all 2 prompts are over"):
        check_prompts(dataset, processor, arguments(source, max_prompt_tokens=1, overlong="drop"))


def test_an_undecodable_image_is_found_before_training(folder: Path, processor: ProcessorMixin) -> None:
    (folder / "red.png").write_bytes((folder / "red.png").read_bytes()[:60])
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    with pytest.raises(ValueError, match=r"record 2 \(id i\): cannot decode image .*red\.png"):
        check_prompts(load_problems(arguments(source)), processor, arguments(source))


@pytest.mark.parametrize("token", ["<|image_pad|>", "<|video_pad|>", "<|im_end|>", "<|endoftext|>"])
def test_special_tokens_in_the_text_are_refused(folder: Path, processor: ProcessorMixin, token: str) -> None:
    for row in (IMAGE_ROW, TEXT_ROW):
        source = write(folder, [{**row, "id": "s", "problem": f"{row['problem']} {token}?"}])
        with pytest.raises(ValueError, match=rf"record 1 \(id s\): the text contains {re.escape(token)}, a special"):
            check_prompts(load_problems(arguments(source)), processor, arguments(source))


def test_bad_records_of_every_kind_are_left_out_up_to_a_limit_and_named(
    folder: Path, processor: ProcessorMixin
) -> None:
    source, reasons = bad_records(folder)
    args = arguments(source, skip_bad_records=len(reasons), max_prompt_tokens=100)
    left_out = LeftOut(args.skip_bad_records)
    kept, lengths = check_prompts(load_problems(args, left_out), processor, args, left_out)
    assert [row["problem_id"] for row in kept] == ["first", "last"] and len(lengths) == 2
    assert left_out.places == [0, len(reasons) + 1]
    assert [reason in said for reason, said in zip(reasons, left_out.reasons, strict=True)] == [True] * len(reasons)

    fewer = replace(args, skip_bad_records=len(reasons) - 1)
    left_out = LeftOut(fewer.skip_bad_records)
    problems = load_problems(fewer, left_out)
    with pytest.raises(ValueError, match=rf"{re.escape(reasons[-1])}.*skip_bad_records={len(reasons) - 1} were left"):
        check_prompts(problems, processor, fewer, left_out)


def test_messages_that_the_chat_template_refuses_are_named(folder: Path, text_policy: Path) -> None:
    tokenizer = load_processor(ModelArguments(str(text_policy)), DataArguments())
    tokenizer.chat_template = "{{ raise_exception('roles must alternate') }}"
    source = write(folder, [TEXT_ROW])
    with pytest.raises(ValueError, match=r"record 1 \(id t\): the policy's chat template refuses .*must alternate"):
        check_prompts(load_problems(arguments(source)), tokenizer, arguments(source))


def test_a_text_only_policy_refuses_images_and_takes_text(folder: Path, text_policy: Path) -> None:
    tokenizer = load_processor(ModelArguments(str(text_policy)), DataArguments())
    texts, images = write(folder, [TEXT_ROW], "texts.jsonl"), write(folder, [IMAGE_ROW], "images.jsonl")
    assert len(check_prompts(load_problems(arguments(texts)), tokenizer, arguments(texts))[0]) == 1
    with pytest.raises(ValueError, match=r"record 1 \(id i\): the record has images"):
        check_prompts(load_problems(arguments(images)), tokenizer, arguments(images))


# In one pass of the policy, and in passes that have no image at all: of the loss, and of the old log-probabilities.
@pytest.mark.parametrize("passes", [{}, {"gradient_accumulation_steps": 4}, {"steps_per_generation": 4}])
def test_a_batch_may_mix_problems_with_and_without_images(folder: Path, tiny_policy: Path, passes: dict) -> None:
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    processor = load_processor(ModelArguments(str(tiny_policy)), DataArguments())
    dataset, _ = check_prompts(load_problems(arguments(source)), processor, arguments(source))

    def every_second_one(completions: list[Any], **kwargs: Any) -> list[float | None]:
        return [None if i % 2 == 0 else 1.0 for i in range(len(completions))]

    trainer = RLFRTrainer(
        model=AutoModelForImageTextToText.from_pretrained(tiny_policy),
        args=RLFRConfig(
            output_dir=str(folder / "run"),
            advantage_shaping="none",
            num_generations=2,
            per_device_train_batch_size=1 if passes else 4,
            **passes,
            max_completion_length=4,
            max_steps=1,
            use_cpu=True,
            bf16=False,
            gradient_checkpointing=False,
            dataloader_pin_memory=False,
            report_to="none",
            save_strategy="no",
        ),
        train_dataset=dataset,
        processing_class=processor,
        reward_funcs=[accuracy_reward, format_reward, every_second_one],
    )
    trainer.train()
    # A function that does not apply to a rollout says nothing about what the others make of it.
    assert trainer.batch.rewards[:, 1].tolist() == [0.0] * 4
    assert trainer.batch.rewards[:, 2].isnan().tolist() == [True, False] * 2
    assert "nan" not in str(trainer.state.log_history)


def test_counted_tokens_equal_the_processors_own_on_real_images(shared: Path) -> None:
    for source, split, number in (("MathLLMs/MathVision", "test", 24), ("hiyouga/geometry3k", "train", 6)):
        args = DataArguments(str(shared / "hub" / source), split=split, limit=number, max_pixels=262144)
        processor = load_processor(ModelArguments(str(shared / "qwen25vl_processor")), args)
        assert processor.tokenizer.padding_side == "left"
        dataset, _ = check_prompts(load_problems(args), processor, args)
        assert len(dataset) == number
        for row in dataset:
            sizes = [(image.height, image.width) for image in row["images"]]
            text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            own = processor(images=row["images"], text=[text])["input_ids"][0]
            assert len(row["images"]) == 1
            assert prompt_length(row["prompt"], sizes, processor) == len(own)
