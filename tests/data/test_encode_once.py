"""A group of rollouts is encoded once, with the result that its prompt gives when encoded for each of them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoTokenizer, ProcessorMixin

from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.encode_once import encode_once, runs
from rlfr_mm.data.processor import load_processor
from rlfr_mm.policy import render_prompt


@pytest.fixture(scope="module")
def processor(tiny_policy: Path) -> ProcessorMixin:
    return load_processor(ModelArguments(str(tiny_policy)), DataArguments())


def picture(width: int, height: int, colour: str) -> Image.Image:
    return Image.new("RGB", (width, height), colour)


def conversation(text: str, *images: Image.Image) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = [{"type": "image", "image": image} for image in images]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def groups() -> list[list[dict[str, Any]]]:
    """Rollouts of prompts with one, two and no images of several shapes; only images differ between two of them."""
    rollouts = []
    for _ in range(3):  # images of a group are equal, but not the same objects
        rollouts.append(conversation("How many dots?", picture(160, 90, "red")))
    rollouts.append(conversation("How many dots?", picture(160, 90, "blue")))
    for _ in range(2):
        rollouts.append(conversation("Compare both.", picture(84, 84, "red"), picture(50, 200, "green")))
    rollouts += [conversation("1 + 1 = ?")] * 2
    return rollouts


def assert_same(found: Any, expected: Any) -> None:
    assert dict(found).keys() == dict(expected).keys() and type(found) is type(expected)
    for name, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[name], value), name
        else:
            assert found[name] == value, name


def test_a_batch_that_is_encoded_once_is_the_batch_that_is_encoded_row_by_row(processor: ProcessorMixin):
    rollouts, once = groups(), encode_once(processor)
    texts = [render_prompt(rollout, processor) for rollout in rollouts]
    images = [[part["image"] for part in row[0]["content"] if part["type"] == "image"] for row in rollouts]
    padded = {"padding": True, "return_tensors": "pt"}
    assert_same(once(images=images, text=texts, **padded), processor(images=images, text=texts, **padded))
    assert_same(once(text=texts[-2:], **padded), processor(text=texts[-2:], **padded))
    settings: dict[str, Any] = {"add_generation_prompt": True, "tokenize": True, "return_dict": True}
    found, expected = (own.apply_chat_template(conversation=rollouts, **settings) for own in (once, processor))
    assert_same(found, expected)
    assert once.apply_chat_template(rollouts[0], tokenize=False) == processor.apply_chat_template(
        rollouts[0], tokenize=False
    )


def test_a_group_of_rollouts_costs_what_one_prompt_costs(processor: ProcessorMixin, monkeypatch):
    kind, seen = type(processor.image_processor), list[Any]()
    process = kind.process_image
    monkeypatch.setattr(kind, "process_image", lambda self, image, **k: seen.append(image) or process(self, image, **k))
    encode_once(processor).apply_chat_template(groups(), tokenize=True, return_dict=True)
    assert len(seen) == 4  # of eight


def test_a_processor_that_encodes_once_saves_what_the_plain_one_saves(processor: ProcessorMixin, tmp_path: Path):
    for name, own in (("plain", processor), ("once", encode_once(processor))):
        own.save_pretrained(tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "plain").iterdir())
    assert sorted(path.name for path in (tmp_path / "once").iterdir()) == files
    for name in files:
        assert (tmp_path / "once" / name).read_bytes() == (tmp_path / "plain" / name).read_bytes()


def test_what_needs_no_copy_is_returned_as_it_is(tiny_policy: Path, processor: ProcessorMixin):
    for own in (AutoTokenizer.from_pretrained(tiny_policy), encode_once(processor)):  # a trainer's may serve another
        assert encode_once(own) is own


def test_only_neighbours_are_a_run():
    assert runs([1, 1, 2, 1]) == ([0, 2, 3], [0, 0, 1, 2]) and runs([]) == ([], [])
