"""What is refused before torch is loaded, in one line that names the setting."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.precheck import Launch, adopt_field, check_batches, check_gpus, check_start, planned_launch
from tests.conftest import ROOT

# Runs the training command once per line of arguments, and then shows what it cost.
PROGRAM = """
import json, sys, time
from rlfr_mm import {command}
for line in sys.stdin:
    sys.stderr.write("case\\n")
    try:
        {command}.main(json.loads(line))
    except SystemExit as stopped:
        assert stopped.code == 2, stopped.code
    else:
        raise AssertionError(f"{{line}} was accepted")
assert not {{"torch", "transformers", "trl", "datasets"}} & set(sys.modules)
assert time.process_time() < 2, time.process_time()
"""


def errors_of(command: str, cases: list[list[str]], cwd: Path) -> list[str]:
    """The line that each list of arguments is refused with; all of them together take less than 2 s without torch."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(command=command)],
        input="\n".join(map(json.dumps, cases)),
        cwd=cwd,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [case.strip() for case in done.stderr.split("case\n")[1:]]
    assert all(error.startswith("error: ") and "\n" not in error for error in found), found
    return [error.removeprefix("error: ") for error in found]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """run.yaml, a model without weights, the same with weights, and a run folder with a final policy in it."""
    (tmp_path / "run.yaml").write_text("train: {output_dir: out}\n")
    for name, files in {"bare": ["config.json"], "model": ["config.json", "model.safetensors"], "old": []}.items():
        (tmp_path / name).mkdir()
        for file in files:
            (tmp_path / name / file).touch()
    (tmp_path / "old" / "final").mkdir()
    (tmp_path / "old" / "config.yaml").write_text("train: {}\n")
    (tmp_path / "empty").mkdir()
    field = tmp_path / "field"
    field.mkdir()
    (field / "flow_config.json").write_text(json.dumps({"format_version": 1, "num_blocks": 6, "width": 96}))
    return tmp_path


def test_training_refuses_what_is_not_there_in_two_seconds(folder: Path):
    cases = {
        "model.name_or_path=runs/none/final": "model.name_or_path=runs/none/final must be an existing folder, or a hub",
        "model.name_or_path=./none": "model.name_or_path=./none must be an existing folder",
        "model.name_or_path=run.yaml": "model.name_or_path=run.yaml must be the folder of the model, not a file",
        "model.name_or_path=empty": "model.name_or_path=empty holds no model: config.json is missing",
        "model.name_or_path=old": "this is a run folder, its policy is old/final",
        "model.name_or_path=bare": "model.name_or_path=bare holds no weights: model.safetensors is missing",
        "model.chat_template=none.jinja": "no file model.chat_template=none.jinja; configs/plain_chat.jinja",
        "data.source=none.jsonl": "data.source=none.jsonl does not exist; it is a file (json, jsonl, csv, ",
        "data.source=data/none/here": "data.source=data/none/here does not exist",
        "data.format=trl": "data.format=trl, but data.source is not set: name the data",
        "evaluation.data.media_dir=figures": "evaluation.data.media_dir=figures, but evaluation.data.source is not set",
        "offline.data.source=none.parquet": "offline.data.source=none.parquet does not exist",
        "evaluation.data.source=none.json": "evaluation.data.source=none.json does not exist",
        "data.source=run.yaml": "data.source=run.yaml must be a file of one of these kinds: json, jsonl",
        "data={source: empty, media_dir: none}": "data.media_dir=none is not a folder",
        "field=empty": "no flow field in field=empty: flow_config.json is missing; rlfr_mm.train_flow",
        "field=none": "no flow field in field=none, which does not exist; rlfr_mm.train_flow makes one",
        "train.num_generations=3": "train.num_generations=3 must be a divisor of the 8 rollouts of a batch "
        "(train.per_device_train_batch_size=8 x 1 process x 1 steps), such as 2, 4, 8",
        "train.num_generations=1": "train.num_generations=1 must be >= 2",
        "train.generation_batch_size=12": "train.generation_batch_size=12 must be a multiple of 8 "
        "(train.per_device_train_batch_size=8 x 1 process)",
        "train={generation_batch_size: 8, steps_per_generation: 1}": "are both set: remove one of them",
        "train.use_vllm=true": "but vllm is not installed: pip install 'rlfr_mm[vllm]', or set train.use_vllm=false",
        "train.report_to=mlflow": "train.report_to=mlflow, but mlflow is not installed: install it, or set",
        "train.report_to=trackio": "trackio is not installed: pip install 'rlfr_mm[trackio]', or set",
        "train.report_to=[none, swanlab]": "train.report_to=swanlab, but swanlab is not installed",
        "train.max_steps=0": "train.max_steps=0 must be >= 1, or -1 to train for num_train_epochs",
        "train.max_steps=-2": "train.max_steps=-2 must be >= 1, or -1",
        "train.learning_rate=-1e-3": "train.learning_rate=-1e-3 must be >= 0",
        "train.save_steps=0": "train.save_steps=0 must be > 0",
        "train.per_device_train_batch_size=0": "train.per_device_train_batch_size=0 must be >= 1",
        "train.num_iterations=0": "train.num_iterations=0 must be >= 1",
        "train.max_completion_length=0": "train.max_completion_length=0 must be >= 1",
        "train.top_p=2": "train.top_p=2 must be in (0, 1]",
        "train.beta=.nan": "train.beta=nan must be >= 0",
        "train.scale_rewards=maybe": "train.scale_rewards=maybe must be one of true, false, group, batch, none",
        "train.output_dir=run.yaml/out": "run.yaml is not a folder",
        "train.seed=1": "the flow field has no start: add an `offline` section with expert solutions",
        "train.learning_rte=1": "unknown key train.learning_rte; did you mean train.learning_rate?",
    }
    refused = errors_of("train", [["--config", "run.yaml", override] for override in cases], folder)
    for found, expected in zip(refused, cases.values(), strict=True):
        assert expected in found
    assert sorted(path.name for path in folder.iterdir()) == ["bare", "empty", "field", "model", "old", "run.yaml"]


def test_a_section_without_data_of_its_own_is_refused_beside_data_that_are_named(folder: Path):
    (folder / "own.jsonl").write_text('{"problem": "1+1?", "answer": "2"}\n')
    own = ["--config", "run.yaml", "data.source=own.jsonl", "flow.random_start=true"]
    evaluation, offline = errors_of("train", [[*own, "evaluation.steps=2"], [*own, "offline.max_steps=2"]], folder)
    assert evaluation == "evaluation.data.source is not set: name the held-out problems, or leave the section out"
    assert offline == "offline.data.source is not set: name the expert solutions, or leave the section out"


def test_an_offline_start_is_not_put_into_a_folder_of_something_else(folder: Path):
    cases = {
        "old": "offline.output_dir=old is not empty and holds no field: choose another folder",
        "run.yaml": "offline.output_dir=run.yaml is not a folder: choose another one",
        "run.yaml/field": "run.yaml is not a folder",
        "null": "offline.output_dir is not set: name a folder for the field",
    }
    (folder / "flow.yaml").write_text("model: {name_or_path: model}\n")
    given = [["--config", "flow.yaml", f"offline.output_dir={name}"] for name in cases]
    for found, expected in zip(errors_of("train_flow", given, folder), cases.values(), strict=True):
        assert expected in found


def test_a_config_that_is_a_folder_and_a_run_that_cannot_resume_are_refused_in_two_seconds(folder: Path):
    cases = {
        ("--config", "old"): "old is a folder, not a configuration file",
        ("--config", "none.yaml"): "no configuration file none.yaml",
        ("--config", "run.yaml", "--resume"): "--resume has nothing to continue: train.output_dir=out does not exist",
        ("--config", "run.yaml", "--resume", "train.output_dir=empty"): "train.output_dir=empty is empty",
        ("--config", "run.yaml", "--resume", "train.output_dir=model"): "model is not empty and is not a run folder",
    }
    for found, expected in zip(errors_of("train", [*map(list, cases)], folder), cases.values(), strict=True):
        assert expected in found
    assert not (folder / "out").exists()


def test_training_a_field_refuses_what_is_not_there_in_two_seconds(folder: Path):
    cases = [["--config", "run.yaml", "train=null"], ["--config", "flow.yaml"]]
    (folder / "flow.yaml").write_text("offline: {output_dir: out, data: {source: no.jsonl}}")
    refused = errors_of("train_flow", cases, folder)
    assert "unknown key train" in refused[0] and "offline.data.source=no.jsonl does not exist" in refused[1]


def test_flow_settings_other_than_those_of_the_field_are_refused(folder: Path):
    start = ["--config", "run.yaml", "field=field", "train.num_generations=3"]
    other, same, silent = errors_of(
        "train", [[*start, "flow.num_blocks=4"], [*start, "flow.num_blocks=6"], start], folder
    )
    assert (
        "flow.num_blocks=4 differs from the field in field, which was made with 6: leave flow.num_blocks out" in other
    )
    assert "train.num_generations=3" in same and "train.num_generations=3" in silent


def test_a_run_records_the_flow_settings_of_the_field_it_starts_from(folder: Path):
    config = build(RunConfig, {"field": str(folder / "field"), "flow": {"num_blocks": 6}})
    adopt_field(config, {"num_blocks": 6})
    assert (config.flow.num_blocks, config.flow.width) == (6, 96)  # the width is in the field's configuration only
    check_start(config)
    with pytest.raises(ValueError, match=r"flow\.random_start=true must be left out"):
        check_start(build(RunConfig, {"field": "field", "flow": {"random_start": True}}))


def test_a_field_starts_from_random_weights_only_if_that_is_asked_for():
    with pytest.raises(ValueError, match=r"the flow field has no start: .* or set flow\.random_start=true"):
        check_start(build(RunConfig, {}))
    check_start(build(RunConfig, {"flow": {"random_start": True}}))
    with pytest.raises(ValueError, match=r"flow\.standardise=true needs `offline` or `field`"):
        check_start(build(RunConfig, {"flow": {"random_start": True, "standardise": True}}))
    for shaping in ("none", "entropy"):
        check_start(build(RunConfig, {"train": {"advantage_shaping": shaping}}))


@pytest.mark.parametrize("processes", [1, 4])
def test_batches_divide_over_all_processes(processes: int):
    check_batches({"per_device_train_batch_size": 2, "num_generations": 2 * processes}, processes)
    with pytest.raises(ValueError, match=rf"the {2 * processes} rollouts of a batch"):
        check_batches({"per_device_train_batch_size": 2, "num_generations": 16}, processes)
    check_batches({"per_device_train_batch_size": "two"}, processes)  # its type is refused elsewhere


def test_a_launch_is_read_from_accelerates_file_its_variables_or_the_settings(monkeypatch: pytest.MonkeyPatch):
    files = ROOT / "configs" / "accelerate"
    assert planned_launch({}, file=str(files / "fsdp2.yaml")) == Launch(4, "weights")
    assert planned_launch({}, file=str(files / "zero3.yaml")) == Launch(4, "weights")
    assert planned_launch({}, 8, str(files / "two_nodes_fsdp2.yaml")) == Launch(8, "weights")
    assert planned_launch({}) == Launch()
    assert planned_launch({"fsdp": "shard_grad_op"}, 2) == Launch(2, "gradients")
    assert planned_launch({"deepspeed": {"zero_optimization": {"stage": 1}}}, 2) == Launch(2, "optimizer")
    with pytest.raises(ValueError, match=r"train\.deepspeed=none\.json must be an existing file"):
        planned_launch({"deepspeed": "none.json"})
    monkeypatch.setenv("WORLD_SIZE", "3")
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    assert planned_launch({}) == Launch(3, "weights")


def test_one_process_trains_on_one_gpu(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("LOCAL_RANK", raising=False)
    for gpus in (0, 1):
        check_gpus({}, gpus)
    check_gpus({"use_cpu": True}, 4)
    with pytest.raises(ValueError, match=r"4 GPUs are visible.* --num_processes 4 .*`CUDA_VISIBLE_DEVICES=0 python"):
        check_gpus({"use_cpu": False}, 4)
    monkeypatch.setenv("LOCAL_RANK", "0")
    check_gpus({}, 4)
