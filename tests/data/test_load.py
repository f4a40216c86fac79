"""Data sets as TRL columns, and everything that is wrong with one found before the first training step."""

import json
import logging
from pathlib import Path
from typing import Any

import datasets
import pytest
from PIL import Image
from transformers import AutoModelForImageTextToText, AutoTokenizer, ProcessorMixin, Qwen2Config

from rlfr_mm.config import DataArguments, ModelArguments, RLFRConfig
from rlfr_mm.data.load import check_prompts, load_demonstrations, load_problems, load_processor, prompt_length
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_policy, build_tokenizer
from rlfr_mm.training.rewards import accuracy_reward, format_reward
from rlfr_mm.training.trainer import RLFRTrainer
from tests.conftest import ROOT

TEXT_ROW = {"id": "t", "problem": "1+1?", "images": [], "answer": "2"}
IMAGE_ROW = {"id": "i", "problem": "<image>How many?", "images": ["red.png"], "answer": "3"}


@pytest.fixture(scope="module")
def policy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_policy(tmp_path_factory.mktemp("policy"))


@pytest.fixture(scope="module")
def processor(policy: Path) -> ProcessorMixin:
    return load_processor(ModelArguments(str(policy)), DataArguments())


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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    Image.new("RGBA", (84, 84), (255, 0, 0, 255)).save(tmp_path / "red.png")
    return tmp_path


def write(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> str:
    (folder / name).write_text("\n".join(json.dumps(row) for row in rows), encoding="utf-8")
    return str(folder / name)


def arguments(source: str | Path, **settings: Any) -> DataArguments:
    return DataArguments(str(source), **{"instruction": "none", **settings})


def test_text_and_image_rows_have_the_columns_that_trl_wants(folder: Path) -> None:
    text, image = load_problems(arguments(write(folder, [TEXT_ROW, IMAGE_ROW])))
    assert text == {
        "prompt": [{"role": "user", "content": "1+1?"}],
        "images": [],
        "solution": "2",
        "choices": [],
        "problem_id": "t",
        "expert": None,
    }
    assert image["prompt"] == [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "How many?"}]}]
    assert [(picture.mode, picture.getpixel((9, 9))) for picture in image["images"]] == [("RGB", (255, 0, 0))]


def test_all_kinds_of_source_give_the_same_rows(folder: Path) -> None:
    rows = [TEXT_ROW, IMAGE_ROW]
    files = [write(folder, rows), str(folder / "rows.json")]
    Path(files[1]).write_text(json.dumps(rows))
    features = datasets.Features(
        {name: datasets.Value("string") for name in ("id", "problem", "answer")}
        | {"images": datasets.List(datasets.Image())}
    )
    embedded = [{**row, "images": [str(folder / name) for name in row["images"]]} for row in rows]
    table = datasets.Dataset.from_list(embedded, features=features)
    table.to_parquet(folder / "rows.parquet")
    table.save_to_disk(folder / "saved")
    datasets.DatasetDict(train=table).save_to_disk(folder / "saved_dict")
    (folder / "repository" / "data").mkdir(parents=True)
    table.to_parquet(folder / "repository" / "data" / "train-00000-of-00001.parquet")
    expected = list(load_problems(arguments(files[0])))
    for source in (files[1], *(folder / name for name in ("rows.parquet", "saved", "saved_dict", "repository"))):
        loaded = list(load_problems(arguments(source)))
        assert [{**row, "images": []} for row in loaded] == [{**row, "images": []} for row in expected], source
        assert [picture.tobytes() for picture in loaded[1]["images"]] == [
            picture.tobytes() for picture in expected[1]["images"]
        ]


def test_relative_images_start_from_media_dir(folder: Path) -> None:
    (folder / "elsewhere").mkdir()
    source = write(folder / "elsewhere", [IMAGE_ROW])
    assert len(load_problems(arguments(source, media_dir=str(folder)))[0]["images"]) == 1
    with pytest.raises(ValueError, match=r"record 0 \(id i\): no image file .*elsewhere/red\.png"):
        load_problems(arguments(source))


def test_repeated_ids_are_told_apart(folder: Path) -> None:
    source = write(folder, [TEXT_ROW, {**TEXT_ROW, "answer": "3"}, IMAGE_ROW, TEXT_ROW])
    dataset = load_problems(arguments(source))
    assert list(dataset["problem_id"]) == ["t", "t#2", "i", "t#3"]
    assert dataset[1]["solution"] == "3"


def test_limit_takes_the_first_rows_and_reads_no_others(folder: Path) -> None:
    source = write(folder, [TEXT_ROW, {**IMAGE_ROW, "images": ["gone.png"]}])
    assert list(load_problems(arguments(source, limit=1))["problem_id"]) == ["t"]


def test_demonstrations_without_an_expert_response_are_left_out(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"uuid": name, "problem": "1+1?", "answer": "2", "generations": ["2!"], "correctness_math_verify": [correct]}
        for name, correct in (("a", True), ("b", False))
    ]
    with caplog.at_level(logging.WARNING):
        dataset = load_demonstrations(arguments(write(folder, rows)))
    assert [(row["problem_id"], row["completion"]) for row in dataset] == [("a", "2!")]
    assert "1 of 2 rows have no expert response" in caplog.text
    with pytest.raises(ValueError, match="none of the 1 rows has an expert response"):
        load_demonstrations(arguments(write(folder, rows[1:])))


def test_quickstart_problems_are_drawn_and_their_demonstrations_are_right() -> None:
    args = DataArguments(limit=6, levels=[2, 3])
    problems, demonstrations = list(load_problems(args)), list(load_demonstrations(args))
    assert len(problems) == 6
    for problem, demonstration in zip(problems, demonstrations, strict=True):
        completion = demonstration.pop("completion")
        assert problem.pop("expert") == completion
        assert completion.endswith(f"<answer>{problem['solution']}</answer>")
        assert problem.pop("images")[0].tobytes() == demonstration.pop("images")[0].tobytes()
        assert problem == demonstration
    held_out = load_problems(DataArguments(limit=6, levels=[2, 3], split="test"))
    assert not set(held_out["problem_id"]) & {problem["problem_id"] for problem in problems}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"problem": "?", "answer": "1"}\n\n{"problem": ', r"rows\.jsonl line 3 is not valid JSON"),
        ('["?", "1"]', r"rows\.jsonl line 1 must hold one record"),
        ("\n", "has no rows"),
        ('{"text": "?"}', "cannot tell the format from the columns text"),
        ('{"problem": "?"}', "cannot tell the format from the columns problem"),
        ('{"id": 1, "problem": "?", "answer": "1"}\n{"id": 2, "problem": "?"}', r"record 1 \(id 2\): answer or"),
        (
            '{"problem": "?", "answer": "1"}\n{"id": 9, "problem": "?", "answer": "\\\\frac{1}{2"}',
            r"record 1 \(id 9\): the answer '\\\\frac\{1\}\{2' cannot be parsed",
        ),
    ],
)
def test_a_bad_file_is_reported_in_one_line(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(ValueError, match=message) as error:
        load_problems(arguments(tmp_path / "rows.jsonl"))
    assert "\n" not in str(error.value)


def test_a_source_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no data file .*gone\.jsonl"):
        load_problems(arguments(tmp_path / "gone.jsonl"))
    (tmp_path / "rows.json").write_text('{"problem": "?"}')
    with pytest.raises(ValueError, match=r"rows\.json must hold a list of records"):
        load_problems(arguments(tmp_path / "rows.json"))
    (tmp_path / "zip.jsonl").write_bytes(b"PK\x03\x04\xff")
    with pytest.raises(ValueError, match=r"zip\.jsonl is not UTF-8 text"):
        load_problems(arguments(tmp_path / "zip.jsonl"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"cannot load .*empty, split train"):
        load_problems(arguments(tmp_path / "empty"))


def test_line_separators_inside_a_json_string_do_not_end_the_record(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text('{"problem": "1\u2028+1?", "answer": "2"}\n', encoding="utf-8")
    assert load_problems(arguments(tmp_path / "rows.jsonl"))[0]["prompt"][0]["content"] == "1\u2028+1?"


# ---- the processor and the check of prompts ------------------------------------------------------------------------


def test_tokenizers_pad_left_with_a_pad_token_whatever_was_saved(text_policy: Path) -> None:
    assert AutoTokenizer.from_pretrained(text_policy).padding_side == "right"
    tokenizer = load_processor(ModelArguments(str(text_policy)), DataArguments(max_pixels=262144))
    assert (tokenizer.padding_side, tokenizer.pad_token) == ("left", tokenizer.eos_token)


def test_pixel_limits_reach_the_images(policy: Path) -> None:
    image = Image.new("RGB", (280, 280))
    for limits, edge in (({"max_pixels": 112**2}, 8), ({"min_pixels": 336**2, "max_pixels": 336**2}, 24)):
        processor = load_processor(ModelArguments(str(policy)), DataArguments(**limits))
        assert processor.image_processor(images=[image])["image_grid_thw"].tolist() == [[1, edge, edge]]
    with pytest.raises(ValueError, match=r"images between 7056 and 784 pixels: set data\.min_pixels and"):
        load_processor(ModelArguments(str(policy)), DataArguments(max_pixels=28**2))


def test_a_policy_without_chat_template_or_without_files_is_refused(text_policy: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(text_policy)
    tokenizer.chat_template = None
    tokenizer.save_pretrained(tmp_path)
    Qwen2Config().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="has no chat template: use"):
        load_processor(ModelArguments(str(tmp_path)), DataArguments())
    with pytest.raises(ValueError, match=r"no processor for model .*gone") as error:
        load_processor(ModelArguments(str(tmp_path / "gone")), DataArguments())
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
    with pytest.raises(ValueError, match=r"no file model\.chat_template=nowhere"):
        load_processor(ModelArguments(str(tmp_path), chat_template="nowhere"), DataArguments())


def test_prompts_over_the_limit_are_an_error_or_dropped(
    folder: Path, processor: ProcessorMixin, caplog: pytest.LogCaptureFixture
) -> None:
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    dataset = load_problems(arguments(source))
    lengths = [
        prompt_length(row["prompt"], [(image.height, image.width) for image in row["images"]], processor)
        for row in dataset
    ]
    assert len(check_prompts(dataset, processor, arguments(source, max_prompt_tokens=lengths[1]))) == 2
    below = lengths[1] - 1
    with pytest.raises(ValueError, match=rf"record 1 \(id i\): the prompt has {lengths[1]} tokens, over .*={below}"):
        check_prompts(dataset, processor, arguments(source, max_prompt_tokens=below))
    with caplog.at_level(logging.WARNING):
        kept = check_prompts(dataset, processor, arguments(source, max_prompt_tokens=below, overlong="drop"))
    assert [row["problem_id"] for row in kept] == ["t"]
    assert "dropped 1 of 2 prompts" in caplog.text
    with pytest.raises(ValueError, match="all 2 prompts are over"):
        check_prompts(dataset, processor, arguments(source, max_prompt_tokens=1, overlong="drop"))


def test_an_undecodable_image_is_found_before_training(folder: Path, processor: ProcessorMixin) -> None:
    (folder / "red.png").write_bytes((folder / "red.png").read_bytes()[:60])
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    with pytest.raises(ValueError, match=r"record 1 \(id i\): cannot decode image .*red\.png"):
        check_prompts(load_problems(arguments(source)), processor, arguments(source))


def test_text_that_would_shift_the_image_tokens_is_refused(folder: Path, processor: ProcessorMixin) -> None:
    source = write(folder, [{**IMAGE_ROW, "problem": "<image>How many <|image_pad|>?"}])
    with pytest.raises(ValueError, match=r"record 0 \(id i\): the text contains <\|image_pad\|>"):
        check_prompts(load_problems(arguments(source)), processor, arguments(source))


def test_a_text_only_policy_refuses_images_and_takes_text(folder: Path, text_policy: Path) -> None:
    tokenizer = load_processor(ModelArguments(str(text_policy)), DataArguments())
    texts, images = write(folder, [TEXT_ROW], "texts.jsonl"), write(folder, [IMAGE_ROW], "images.jsonl")
    assert len(check_prompts(load_problems(arguments(texts)), tokenizer, arguments(texts))) == 1
    with pytest.raises(ValueError, match=r"record 0 \(id i\): the record has images"):
        check_prompts(load_problems(arguments(images)), tokenizer, arguments(images))


def test_a_batch_may_mix_problems_with_and_without_images(folder: Path, policy: Path) -> None:
    source = write(folder, [TEXT_ROW, IMAGE_ROW])
    processor = load_processor(ModelArguments(str(policy)), DataArguments())
    dataset = check_prompts(load_problems(arguments(source)), processor, arguments(source))

    def every_second_one(completions: list[Any], **kwargs: Any) -> list[float | None]:
        return [None if i % 2 == 0 else 1.0 for i in range(len(completions))]

    trainer = RLFRTrainer(
        model=AutoModelForImageTextToText.from_pretrained(policy),
        args=RLFRConfig(
            output_dir=str(folder / "run"),
            advantage_shaping="none",
            num_generations=2,
            per_device_train_batch_size=4,
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
    # An answer that one function could not grade counts nowhere, not even for its format.
    assert trainer.batch.rewards.isnan().all(dim=1).tolist() == [True, False] * 2
    assert trainer.batch.rewards[1::2, 1:].tolist() == [[0.0, 1.0]] * 2


# ---- real records ---------------------------------------------------------------------------------------------------


def test_counted_tokens_equal_the_processors_own_on_real_images(shared: Path) -> None:
    for source, split, number in (("MathLLMs/MathVision", "test", 24), ("hiyouga/geometry3k", "train", 6)):
        args = DataArguments(str(shared / "hub" / source), split=split, limit=number, max_pixels=262144)
        processor = load_processor(ModelArguments(str(shared / "qwen25vl_processor")), args)
        assert processor.tokenizer.padding_side == "left"
        dataset = check_prompts(load_problems(args), processor, args)
        assert len(dataset) == number
        for row in dataset:
            sizes = [(image.height, image.width) for image in row["images"]]
            text = processor.apply_chat_template(row["prompt"], add_generation_prompt=True, tokenize=False)
            own = processor(images=row["images"], text=[text])["input_ids"][0]
            assert len(row["images"]) == 1
            assert prompt_length(row["prompt"], sizes, processor) == len(own)


def test_real_records_keep_their_ids_answers_and_options(shared: Path) -> None:
    args = DataArguments(str(shared / "hub" / "MathLLMs/MathVision"), split="test")
    rows = {row["problem_id"]: row for row in load_problems(args).with_format(None)}
    assert len(rows) == 300
    assert (rows["4"]["solution"], rows["4"]["choices"]) == ("6", [])
    lettered = [row for row in rows.values() if row["choices"]]
    assert lettered and all(row["solution"] in "ABCDE" for row in lettered)
    geometry = load_problems(DataArguments(str(shared / "hub" / "hiyouga/geometry3k")))
    assert geometry[0]["solution"] == "80"
    assert geometry[0]["prompt"][0]["content"][0] == {"type": "image"}


def test_a_real_record_without_its_image_is_named(shared: Path) -> None:
    args = DataArguments(str(shared / "hub" / "MathLLMs/MathVision"), split="testmini")
    with pytest.raises(ValueError, match=r"record 300 \(id 2786\): no image file .*images/2786\.jpg; set data\.media"):
        load_problems(args)


def test_gsm8k_answers_are_what_follows_the_hashes(shared: Path) -> None:
    dataset = load_problems(DataArguments(str(shared / "hub" / "openai/gsm8k"), name="main", limit=50))
    assert all(solution.replace(",", "").isdecimal() for solution in dataset["solution"])
