"""The registry agrees with the YAML files that lmms-eval reads, and with itself."""

import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from lmms_eval.utils import load_yaml_config

from rlfr_mm import tasks as package
from rlfr_mm.grading import SCORERS
from rlfr_mm.tasks import hooks
from rlfr_mm.tasks.registry import GROUPS, TASKS, averages, expand, load, task

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
