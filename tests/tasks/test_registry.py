"""The registry agrees with the YAML files that lmms-eval reads, and with itself."""

import json
import os
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from lmms_eval.utils import load_yaml_config

from rlfr_mm import tasks as package
from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks import hooks
from rlfr_mm.tasks.registry import GROUPS, TASKS, TaskSpec, averages, expand, load, task

YAML_FILES = {path.stem: path for path in Path(package.__file__).parent.rglob("rlfr_*.yaml")}


def config(name: str) -> dict[str, Any]:
    return load_yaml_config(str(YAML_FILES[name]), mode="full")


def test_each_task_and_group_has_one_yaml_file_of_its_name() -> None:
    assert sorted(YAML_FILES) == sorted([*TASKS, *GROUPS])


@pytest.mark.parametrize("name", TASKS)
def test_yaml_and_registry_say_the_same(name: str) -> None:
    spec, yaml = TASKS[name], config(name)
    assert yaml.pop("task") == spec.name
    assert yaml.pop("dataset_path") == spec.dataset
    assert yaml.pop("dataset_name", None) == spec.config
    kwargs = yaml.pop("dataset_kwargs", {})
    split = yaml.pop("test_split")
    assert tuple(kwargs.pop("split", {split: split})[split].split("+")) == spec.splits
    assert kwargs == {
        key: value for key, value in (("data_files", spec.data_files), ("revision", spec.revision)) if value
    }
    generation = yaml.pop("generation_kwargs")
    assert {**generation, "until": tuple(generation["until"])} == asdict(spec.generation)
    assert yaml.pop("repeats", 1) == spec.samples
    yaml.pop("process_docs")  # its records are compared in test_records.py
    for key, hook in (
        ("doc_to_text", hooks.text),
        ("doc_to_visual", hooks.images),
        ("doc_to_messages", hooks.messages),
        ("doc_to_target", hooks.target),
        ("process_results", hooks.process_results),
    ):
        assert yaml.pop(key) is hook
    assert [(metric["metric"], metric["aggregation"]) for metric in yaml.pop("metric_list")] == [
        ("score", hooks.headline),
        ("score_official_rule", hooks.headline),
        ("details", hooks.details),
    ]
    assert yaml.pop("filter_list") == [{"name": "none", "filter": []}]
    assert yaml == {"output_type": "generate_until", "cluster_key": "cluster", "metadata": {"version": 1}}


@pytest.mark.parametrize("name", GROUPS)
def test_yaml_and_registry_group_the_same_tasks(name: str) -> None:
    yaml = config(name)
    assert yaml["group"] == name
    assert tuple(yaml["task"]) == GROUPS[name].members
    assert bool(yaml.get("aggregate_metric_list")) == bool(GROUPS[name].averages)


@pytest.mark.parametrize("spec", TASKS.values(), ids=TASKS)
def test_a_task_is_consistent_in_itself(spec: Any) -> None:
    assert spec.scorer in SCORERS
    assert spec.generation.do_sample == (spec.samples > 1) == (spec.generation.temperature > 0)
    assert (spec.modality == "image") == (spec.image is not None)
    assert spec.name.endswith("_official") == (spec.protocol == "official")
    assert spec.rows > 0


def test_groups_expand_to_each_task_once() -> None:
    names = [spec.name for spec in expand(["rlfr_multimodal", "rlfr_all", "rlfr_math500"])]
    assert names[:2] == ["rlfr_mathvista_testmini", "rlfr_mathvision_testmini"]
    assert len(names) == len(set(names)) == 17


def test_averages_are_the_papers() -> None:
    # Qwen2.5-VL-7B-Instruct + RLFR in arXiv 2510.10201: Math Avg 55.8, Logic Avg 37.5, Avg 49.7
    scores = dict(
        zip((spec.name for spec in expand(["rlfr_multimodal"])), (73.4, 31.6, 52.0, 66.1, 48.3, 26.7), strict=True)
    )
    assert {name: round(value, 1) for name, value in averages("rlfr_multimodal", scores).items()} == {
        "Math Avg": 55.8,
        "Logic Avg": 37.5,
        "Avg": 49.7,
    }


def test_an_average_with_a_task_missing_is_left_out() -> None:
    assert averages("rlfr_multimodal", {"rlfr_logicvista": 0.5, "rlfr_visulogic": 0.25}) == {"Logic Avg": 0.375}


def test_unknown_task_suggests_the_nearest_names() -> None:
    with pytest.raises(ValueError, match="unknown task 'rlfr_math50': did you mean rlfr_math500"):
        task("rlfr_math50")


def test_missing_dataset_in_a_mirror_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError, match=r"rlfr_math500: no folder .*HuggingFaceH4/MATH-500; leave out data_root"
    ):
        load(task("rlfr_math500"), tmp_path)


def test_listing_names_every_task_and_loads_no_torch() -> None:
    code = (
        "import sys; from rlfr_mm.tasks.list import main; main([]); assert not {*sys.modules} & {'torch', 'datasets'}"
    )
    listing = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert listing.returncode == 0, listing.stderr
    listed = {line.split()[0] for line in listing.stdout.splitlines() if line.startswith("rlfr_")}
    assert listed == {*TASKS, *GROUPS}


def mirror_of(root: Path, golds: list[str]) -> Path:
    """A mirror of MATH-500 with a README like that of the hub, and so many problems."""
    folder = root / "HuggingFaceH4" / "MATH-500"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "README.md").write_text(
        "---\nconfigs:\n- config_name: default\n  data_files:\n  - split: test\n    path: test.jsonl\n---\n"
    )
    rows = [
        {"problem": "?", "solution": "", "answer": gold, "subject": "Algebra", "level": 1, "unique_id": f"test/{i}"}
        for i, gold in enumerate(golds)
    ]
    (folder / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return root


def test_a_mirror_is_read_as_it_is_now_and_not_as_another_of_its_name_was(tmp_path: Path) -> None:
    first, second = mirror_of(tmp_path / "a", ["1", "2", "3"]), mirror_of(tmp_path / "b", ["7", "8"])
    assert load(task("rlfr_math500"), first)["answer"] == ["1", "2", "3"]
    assert load(task("rlfr_math500"), second)["answer"] == ["7", "8"]
    mirror_of(first, ["4", "5", "6"])
    assert load(task("rlfr_math500"), first)["answer"] == ["4", "5", "6"]
    (tmp_path / "link").symlink_to(first)
    assert load(task("rlfr_math500"), tmp_path / "link")["answer"] == ["4", "5", "6"]


def test_links_in_a_mirror_are_followed_and_those_back_or_to_nothing_do_no_harm(tmp_path: Path) -> None:
    root = mirror_of(tmp_path / "mirror", ["1", "2"])
    folder = root / "HuggingFaceH4" / "MATH-500"
    (folder / "test.jsonl").rename(tmp_path / "rows.jsonl")
    (folder / "test.jsonl").symlink_to(tmp_path / "rows.jsonl")
    (folder / "back").symlink_to(folder)
    (folder / "again").symlink_to(root)
    (folder / "gone.txt").symlink_to(tmp_path / "nowhere")
    assert load(task("rlfr_math500"), root)["answer"] == ["1", "2"]
    rows = (tmp_path / "rows.jsonl").read_text()
    (tmp_path / "rows.jsonl").write_text(rows.replace('"answer": "2"', '"answer": "3"'))
    assert load(task("rlfr_math500"), root)["answer"] == ["1", "3"]


def test_a_folder_whose_name_is_a_pattern_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"MATH-500: `datasets` takes \[ in a name for a pattern; rename the folder"):
        load(task("rlfr_math500"), mirror_of(tmp_path / "run[1]", ["1"]))


def test_a_wrong_folder_in_rlfr_tasks_is_named_and_the_other_tasks_work(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "rlfr_mm.tasks.list"]
    environment = os.environ | {"RLFR_TASKS": str(tmp_path / "nowhere")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0 and "rlfr_math500" in done.stdout
    assert f"RLFR_TASKS: {tmp_path / 'nowhere'} has no benchmark" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "change, message",
    [
        ({"problem_id": lambda doc: doc["number"]}, "record 7: problem_id must be text, and is 7"),
        ({"question": lambda doc: doc["nothing"]}, "record 7: question must be text, and is None"),
        ({"gold": lambda doc: doc["nothing"]}, "record 7: gold must be text, and is None"),
        (
            {"choices": lambda doc: (doc["number"], "8")},
            r"record 7: choices must be a list of texts, and is \(7, '8'\)",
        ),
        ({"categories": lambda doc: {"a": [None]}}, r"categories\['a'\] must be a list of texts, and is \[None\]"),
        ({"categories": lambda doc: {"a": "algebra"}}, r"categories\['a'\] must be a list of texts, and is 'algebra'"),
        ({"gold": lambda doc: doc["nothing"].strip()}, "record 7 is not as the task expects: 'NoneType' object"),
        ({"gold": lambda doc: doc["answer"]}, "record 7 lacks the field 'answer'; it has number, nothing"),
    ],
)
def test_a_record_that_is_no_problem_is_named(change: dict, message: str) -> None:
    spec = TaskSpec("rlfr_own", "Own", "json", 1, lambda doc: str(doc["number"]), lambda doc: "?", gold=lambda doc: "1")
    doc = {"number": 7, "nothing": None}
    assert spec.check(doc) == "7"
    with pytest.raises(ValueError, match=message):
        replace(spec, **change).check(doc)
