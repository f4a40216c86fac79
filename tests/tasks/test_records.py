"""Prompts, images, ids and grader inputs of every task, on the records of the mirror."""

from pathlib import Path
from typing import Any, Literal

import pytest
from datasets import Dataset, Image, load_dataset

from rlfr_mm.grading import grade_all
from rlfr_mm.tasks import hooks
from rlfr_mm.tasks.registry import TASKS, TaskSpec, load, prepare, task

WHOLE = {  # tasks whose records the mirror has in full
    "rlfr_aime24", "rlfr_aime25", "rlfr_amc23", "rlfr_amc83", "rlfr_math500", "rlfr_minerva_math", "rlfr_gsm8k",
    "rlfr_mathvista_testmini", "rlfr_mathvision_testmini", "rlfr_mathverse_testmini_text_only", "rlfr_quickstart",
}  # fmt: skip


def has_image(doc: dict[str, Any], spec: TaskSpec) -> bool:
    return spec.image is not None and doc[spec.image] not in (None, [])


GREEDY = {name: spec for name, spec in TASKS.items() if spec.samples == 1}  # the sampled ones have the same prompts


@pytest.mark.parametrize("spec", GREEDY.values(), ids=GREEDY)
def test_chat_and_plain_prompt_are_the_same(spec: TaskSpec, mirror: Path) -> None:
    docs = load(spec, mirror)
    assert len(docs) == spec.rows if spec.name in WHOLE else len(docs) > 0
    for doc in docs.select(range(min(4, len(docs)))):
        text = hooks.text(doc)
        assert text.strip() and "<image" not in text.replace("<image1>", "" if spec.protocol == "official" else "?")
        if spec.modality == "image" and not has_image(doc, spec):
            continue  # MathVista: the mirror has no images
        images = hooks.images(doc)
        assert len(images) == (spec.modality == "image")
        (turn,) = hooks.messages(doc)
        assert turn["role"] == "user"
        assert [part["type"] for part in turn["content"]] == ["image"] * len(images) + ["text"]
        assert [part["url"].tobytes() for part in turn["content"][:-1]] == [image.tobytes() for image in images]
        assert turn["content"][-1]["text"] == text
        assert hooks.target(doc).strip()


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_the_yaml_reads_the_same_records_as_load(spec: TaskSpec, mirror: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(mirror)  # where lmms-eval runs: the hub's names are folders
    raw = load_dataset(spec.dataset, spec.config, split="+".join(spec.splits), data_files=spec.data_files)
    of_yaml = getattr(hooks, spec.name)(raw)
    of_registry = load(spec, mirror)
    without = [spec.image] if spec.image else []
    assert of_yaml.remove_columns(without)[:] == of_registry.remove_columns(without)[:]


@pytest.mark.parametrize("name", ["rlfr_aime24", "rlfr_aime25", "rlfr_amc23", "rlfr_amc83"])
def test_competition_answers_are_integers(name: str, mirror: Path) -> None:
    golds = [task(name).gold(doc) for doc in load(task(name), mirror)]
    assert all(str(int(gold)) == gold for gold in golds)


def test_text_prompts_end_with_the_papers_instruction(mirror: Path) -> None:
    doc = load(task("rlfr_math500"), mirror)[0]
    question, instruction = hooks.text(doc).rsplit("\n", 1)
    assert question == doc["problem"]
    assert instruction == "Please reason step by step, and put your final answer within \\boxed{}."


def test_image_prompts_ask_for_the_tags(mirror: Path) -> None:
    for spec in TASKS.values():
        if spec.protocol == "rlfr" and spec.image and spec.benchmark != "Quickstart":
            text = spec.text(load(spec, mirror)[0])
            assert "<think>" in text and "</answer>" in text, spec.name


@pytest.mark.parametrize("rule", ["strict", "official"])
@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("rlfr_wemath_testmini", "<think>hm</think><answer>{}</answer>"),
        ("rlfr_wemath_testmini_official", "<Thought process>: <<hm>> <Answer>: <<{}>>"),
        ("rlfr_visulogic_official", "Step one. Answer: \\boxed{{{}}}"),
        ("rlfr_mathvision_testmini_official", "So \\boxed{{{}}}."),
        ("rlfr_dynamath_official", '{{"solution": "hm", "short answer": "{}"}}'),
        ("rlfr_geometry3k_official", "<answer>{}</answer>"),
        ("rlfr_mathvista_testmini", "<think>hm</think><answer>{}</answer>"),
        ("rlfr_olympiadbench_official", "So the final answer is \\boxed{{{}}}."),
        ("rlfr_gsm8k", "We get \\boxed{{{}}}."),
    ],
)
def test_an_answer_in_the_prompts_format_is_found_and_right(
    name: str, response: str, rule: Literal["strict", "official"], mirror: Path
) -> None:
    spec = task(name)
    docs = load(spec, mirror)
    docs = docs.remove_columns(spec.image) if spec.image else docs
    items = [spec.item(doc, response.format(spec.gold(doc))) for doc in docs.select(range(min(20, len(docs))))]
    assert [v.status for v in grade_all(items, rule)] == ["correct"] * len(items)


def test_records_without_an_image_are_named(mirror: Path) -> None:
    doc = load(task("rlfr_mathvista_testmini"), mirror)[4]
    with pytest.raises(ValueError, match=r"^rlfr_mathvista_testmini: record 5 has no image in its field"):
        hooks.messages(doc)


def test_records_without_a_field_are_named_when_they_are_read() -> None:
    records = Dataset.from_list([{"unique_id": "test/1", "problem": "1 + 1?", "subject": "a", "level": 1}])
    with pytest.raises(ValueError, match=r"^rlfr_math500: record test/1 lacks the field 'answer'; it has unique_id"):
        prepare(task("rlfr_math500"), records)


def test_records_without_an_answer_are_named_when_they_are_read() -> None:
    record = {"unique_id": "test/1", "problem": "1 + 1?", "answer": None, "subject": "a", "level": 1}
    with pytest.raises(ValueError, match="rlfr_math500: record test/1: gold must be text, and is None"):
        prepare(task("rlfr_math500"), Dataset.from_list([record]))


def test_two_records_of_one_id_are_refused() -> None:
    record = {"unique_id": "test/1", "problem": "1 + 1?", "answer": "2", "subject": "a", "level": 1}
    with pytest.raises(ValueError, match="two records have the id test/1"):
        prepare(task("rlfr_math500"), Dataset.from_list([record, record]))


def test_visulogic_pictures_come_from_the_archive(mirror: Path) -> None:
    docs = load(task("rlfr_visulogic"), mirror)
    assert isinstance(docs.features["image"], Image)
    assert [hooks.images(doc)[0].width for doc in docs] == [56, 57, 58, 59, 60, 61]


def test_the_drawn_task_is_the_same_each_time_and_apart_from_training(mirror: Path) -> None:
    first, again = load(task("rlfr_quickstart")), load(task("rlfr_quickstart"), mirror)
    assert [doc["image"].tobytes() for doc in first] == [doc["image"].tobytes() for doc in again]
    assert all(doc["id"].startswith("quickstart-test-") for doc in first)
    assert {doc["level"] for doc in first} == {2, 3, 4}
