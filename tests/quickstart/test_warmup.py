"""The warm-up uses the right labels, stops at its targets, and leaves a complete policy or none."""

import json
import random
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForImageTextToText, AutoProcessor

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.quickstart import shipped, warmup, world
from tests.conftest import ROOT

PROBLEMS = world.problems(6, "warmup", list(world.LEVELS))


@pytest.fixture(scope="module")
def processor(tiny_policy):
    return AutoProcessor.from_pretrained(tiny_policy, padding_side="left")


@pytest.fixture
def easy(monkeypatch):
    """Targets that a small model reaches in seconds. The stages, their checks and the files are the real ones."""
    monkeypatch.setattr(warmup, "BATCH_SIZE", 8)
    monkeypatch.setattr(warmup, "CHECK_EVERY", 5)
    monkeypatch.setattr(warmup, "CHECK_PROBLEMS", 32)
    monkeypatch.setattr(warmup, "MAX_NEW_TOKENS", 20)
    monkeypatch.setattr(warmup, "CELL_TARGET", 0.2)
    monkeypatch.setattr(warmup, "COUNT_TARGET", 0.1)


def test_labels_of_demonstrations_are_the_response_and_its_end(processor):
    inputs, labels = warmup.encode_labelled(processor, PROBLEMS, [problem.demonstration for problem in PROBLEMS])
    for problem, ids, mask, row in zip(PROBLEMS, inputs["input_ids"], inputs["attention_mask"], labels, strict=True):
        learned = row[row != warmup.IGNORED]
        assert processor.tokenizer.decode(learned) == problem.demonstration + "<|im_end|>"
        assert torch.equal(ids[mask.bool()][-len(learned) :], learned)


def test_labels_of_counts_are_the_counts_alone(processor):
    _, labels = warmup.encode_counts(processor, PROBLEMS, random.Random(3))
    order = random.Random(3)
    for problem, row in zip(PROBLEMS, labels, strict=True):
        objects = order.sample(world.OBJECTS, len(world.OBJECTS))
        learned = processor.tokenizer.decode(row[row != warmup.IGNORED])
        assert learned.split() == [str(world.count_objects(problem.cells, name)) for name in objects]


def test_accuracy_is_the_share_of_right_answers(tiny_policy, processor):
    model = AutoModelForImageTextToText.from_pretrained(tiny_policy)
    demonstrations = [problem.demonstration for problem in PROBLEMS[:2]]
    inputs, labels = warmup.encode_labelled(processor, PROBLEMS[:2], demonstrations)
    assert warmup.accuracy(model, processor, PROBLEMS[:2], temperature=0) == 0.0
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(40):  # two demonstrations by heart
        optimizer.zero_grad()
        model(**inputs, labels=labels).loss.backward()
        optimizer.step()
    assert warmup.accuracy(model, processor, PROBLEMS[:2], temperature=0) == 1.0
    learned = {problem.solution for problem in PROBLEMS[:2]}
    other = next(problem for problem in PROBLEMS if problem.solution not in learned)
    assert warmup.accuracy(model, processor, [*PROBLEMS[:2], other], temperature=0) == pytest.approx(2 / 3)


def test_a_policy_is_prepared_once_each_stage_to_its_target(easy, tiny_policy, monkeypatch, tmp_path):
    arguments = {"levels": [2], "seed": 0, "target_accuracy": 0.03}
    folder = warmup.prepare_policy(tmp_path / "cache", **arguments)
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    stamp = (folder / "model.safetensors").stat().st_mtime_ns
    assert warmup.prepare_policy(tmp_path / "cache", **arguments) == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == stamp

    measured = warmup.warm_up(tiny_policy, tmp_path / "again", progress=False, **arguments)
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (folder / "model.safetensors").read_bytes()
    assert measured == json.loads((folder / "warmup.json").read_text())
    assert measured["cell_accuracy"] >= 0.2
    assert measured["count_accuracy"] >= 0.1
    assert measured["sampled_accuracy"] >= 0.03
    untrained = AutoModelForImageTextToText.from_pretrained(tiny_policy).state_dict()
    trained = AutoModelForImageTextToText.from_pretrained(folder).state_dict()
    assert not [name for name in untrained if torch.equal(untrained[name], trained[name])]

    shipped.pack(folder, arguments, tmp_path / "packed.safetensors")
    monkeypatch.setattr(shipped, "SHIPPED", tmp_path / "packed.safetensors")
    unpacked = warmup.prepare_policy(tmp_path / "cache", **arguments)  # now without training
    assert unpacked != folder
    assert {path.name for path in unpacked.iterdir()} == {path.name for path in folder.iterdir()}
    assert json.loads((unpacked / "warmup.json").read_text()) == measured
    weights = AutoModelForImageTextToText.from_pretrained(unpacked).state_dict()
    assert all(torch.equal(weights[name], trained[name]) for name in trained)


@pytest.fixture(scope="module")
def quickstart_policy(tmp_path_factory):
    """The folder that a first quickstart makes."""
    cache = tmp_path_factory.mktemp("cache")
    return warmup.prepare_policy(cache, levels=[2], seed=0, target_accuracy=0.5)


def test_the_quickstart_does_not_wait_for_a_warm_up(quickstart_policy):
    config = load_config(RunConfig, str(ROOT / "configs/rl/quickstart.yaml"), [])
    asked_for = {"levels": config.data.levels, "seed": 0, "target_accuracy": config.model.warmup_accuracy}
    assert shipped.settings() == asked_for == warmup.QUICKSTART_SETTINGS
    assert json.loads((quickstart_policy / "warmup.json").read_text()) == shipped.measured()
    assert shipped.SHIPPED.stat().st_size < 2.5e6


def test_the_shipped_policy_answers_as_well_as_when_it_was_made(quickstart_policy, processor):
    """If it does not, the world or the model has changed, and `python -m rlfr_mm.quickstart.warmup` is due."""
    model = AutoModelForImageTextToText.from_pretrained(quickstart_policy)
    held_out = world.problems(warmup.CHECK_PROBLEMS, "train", [2], 0)
    greedy = warmup.accuracy(model, processor, held_out, temperature=0)
    assert greedy == pytest.approx(shipped.measured()["greedy_accuracy"], abs=0.02)


def test_a_stage_that_fails_says_so_and_leaves_no_policy(easy, monkeypatch, tmp_path):
    monkeypatch.setattr(warmup, "MAX_STEPS", 5)
    monkeypatch.setattr(warmup, "CELL_TARGET", 0.99)
    with pytest.raises(RuntimeError, match=r"cell accuracy is 0\.\d+ after 5 steps and did not reach 0\.99"):
        warmup.prepare_policy(tmp_path, levels=[2], seed=0, target_accuracy=0.4)
    assert list(tmp_path.iterdir()) == []


def test_a_half_written_policy_is_not_picked_up(easy, monkeypatch, tmp_path):
    killed = tmp_path / ".policy-killed"  # what a killed warm-up leaves behind
    killed.mkdir()
    monkeypatch.setattr(warmup, "MAX_STEPS", 1)
    with pytest.raises(RuntimeError):  # it starts to train instead
        warmup.prepare_policy(tmp_path, levels=[2], seed=0, target_accuracy=0.4)
    assert list(Path(tmp_path).iterdir()) == [killed]


@pytest.mark.parametrize("target", [0.0, 1.0, 50])
def test_an_impossible_target_is_refused(tiny_policy, tmp_path, target):
    with pytest.raises(ValueError, match="target_accuracy"):
        warmup.warm_up(tiny_policy, tmp_path, levels=[2], target_accuracy=target)
