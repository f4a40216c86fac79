"""`python -m rlfr_mm.train` from configuration to summary, killed and resumed, and with bad input."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image
from safetensors.torch import load_file

from rlfr_mm import train
from rlfr_mm.config import DataArguments, ModelArguments
from rlfr_mm.data.load import load_problems
from rlfr_mm.data.processor import load_processor
from rlfr_mm.method.field import FlowField
from rlfr_mm.policy import answer_problems, load_policy
from rlfr_mm.training.run_folder import RunFolder
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.conftest import ROOT
from tests.tiny_trainer import CPU

TIMINGS = ("step_time",)


@pytest.fixture
def config(tiny_policy: Path, tmp_path: Path) -> Path:
    """A run of six steps from the untrained embedded policy; every rollout is accepted, so that the field moves."""
    quickstart = {"source": "quickstart", "instruction": "none"}
    values = {
        "model": {"name_or_path": str(tiny_policy), "dtype": "float32", "freeze_vision": False},
        "data": quickstart | {"limit": 6},  # three steps per epoch
        "flow": {"num_blocks": 2, "standardise": True},
        "offline": {"data": quickstart | {"limit": 24}, "batch_size": 8, "max_steps": 5, "save_steps": 2},
        "evaluation": {"data": quickstart | {"split": "test", "limit": 8}},
        "update": {"accept_reward": 0.0},
        "train": CPU
        | {
            "output_dir": str(tmp_path / "run"),
            "max_steps": 6,
            "per_device_train_batch_size": 8,
            "num_generations": 4,
            "max_completion_length": 8,
            "learning_rate": 1e-3,
            "save_strategy": "steps",
            "save_steps": 2,
            "save_total_limit": 1,
        },
    }
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def _start(*arguments: str | Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "rlfr_mm.train", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def _kill_when(process: subprocess.Popen, reached) -> None:
    deadline = time.monotonic() + 300
    while not reached():
        assert process.poll() is None and time.monotonic() < deadline, process.communicate()[0].decode()[-3000:]
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()


def _error(capsys: pytest.CaptureFixture, *arguments: str | Path, command: Any = train) -> str:
    """The single error line that a command with bad input writes to stderr."""
    with pytest.raises(SystemExit) as stopped:
        command.main([str(argument) for argument in arguments])
    assert stopped.value.code == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    return errors[0]


def test_a_killed_run_resumes_to_the_same_metrics_and_weights(config: Path, tmp_path: Path):
    train.main(["--config", str(config)])
    whole, killed = RunFolder(tmp_path / "run"), RunFolder(tmp_path / "killed")
    summary = whole.summary
    assert summary["bad_steps"] == 0
    assert summary["method"] == "flow" and summary["steps"] == 6
    assert summary["accuracy_before"].keys() >= {"accuracy", "standard_error", "n"}
    assert summary["accuracy_after"]["n"] == 8
    assert set(summary["seconds"]) == {"accuracy before", "flow field", "training", "accuracy after"}
    assert (whole.path / "curve.png").stat().st_size > 10_000
    card = ModelCard.load(whole.path / "final" / "README.md")
    assert card.data.eval_results[0].metric_value == round(100 * summary["accuracy_after"]["accuracy"], 2)
    assert not (whole.path / "README.md").exists()  # TRL's, which knows neither the base model nor the method
    for stage in ("before", "after"):
        lines = (whole.path / f"evaluation_{stage}.jsonl").read_text().splitlines()
        answers = [json.loads(line) for line in lines]
        assert len({answer["problem_id"] for answer in answers}) == len(answers) == 8
        right = sum(answer["correct"] for answer in answers)
        assert summary[f"accuracy_{stage}"]["accuracy"] == right / 8 and all("completion" in row for row in answers)
    assert (whole.path / "checkpoint-6").is_dir() and not (whole.path / "checkpoint-4").exists()

    # Killed in the second epoch between two checkpoints: the records are ahead of the last one.
    arguments = ["--config", config, f"train.output_dir={killed.path}"]
    _kill_when(_start(*arguments), lambda: len(killed.metrics()) == 5)
    assert killed.last_checkpoint is not None and killed.last_checkpoint.name == "checkpoint-4"
    half_written = killed.path / "checkpoint-6"  # what a kill during a save leaves behind
    half_written.mkdir(parents=True)
    (half_written / "model.safetensors").write_bytes(b"half")
    train.main([*map(str, arguments), "--resume"])

    rows = [
        [{key: value for key, value in row.items() if key not in TIMINGS} for row in run.metrics()]
        for run in (whole, killed)
    ]
    assert [row["step"] for row in rows[0]] == [1, 2, 3, 4, 5, 6]
    assert rows[0] == rows[1]
    for name in ("model.safetensors", "flow/flow.safetensors"):
        expected, found = (load_file(run.path / "final" / name) for run in (whole, killed))
        assert expected.keys() == found.keys()
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert list(read_rollouts(whole.path)) == list(read_rollouts(killed.path))
    start, end = (FlowField.from_pretrained(killed.path / folder) for folder in ("flow", "final/flow"))
    assert not torch.equal(start.final_layer.linear.weight, end.final_layer.linear.weight)


def test_a_run_killed_after_its_last_checkpoint_takes_no_other_step(config: Path, tmp_path: Path):
    arguments = ["--config", str(config), "train.max_steps=2"]  # of the three steps of an epoch
    train.main(arguments)
    run = RunFolder(tmp_path / "run")
    metrics, summary = run.metrics(), run.summary
    assert [row["step"] for row in metrics] == [1, 2] and run.last_checkpoint is not None
    (run.path / "final").rename(tmp_path / "final")  # the state just after the checkpoint was written
    (run.path / "summary.json").unlink()
    (run.path / "stages.json").write_text(
        json.dumps({name: stage for name, stage in run.stages.items() if name not in ("training", "accuracy after")})
    )
    train.main([*arguments, "--resume"])
    again = RunFolder(run.path)
    assert again.metrics() == metrics and again.summary["accuracy_after"] == summary["accuracy_after"]
    for name in ("model.safetensors", "flow/flow.safetensors"):
        expected, found = load_file(tmp_path / "final" / name), load_file(run.path / "final" / name)
        assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_killed_offline_start_goes_on_to_the_same_field(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    from rlfr_mm import train_flow

    values = yaml.safe_load(config.read_text())
    values = {key: values[key] for key in ("model", "flow", "offline")}
    config.write_text(yaml.safe_dump(values))
    outputs = [tmp_path / "whole", tmp_path / "killed"]
    arguments = [["--config", str(config), f"offline.output_dir={output}"] for output in outputs]
    train_flow.main(arguments[0])
    command = [sys.executable, "-m", "rlfr_mm.train_flow", *arguments[1]]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    log = outputs[1] / "log.jsonl"
    _kill_when(process, lambda: log.exists() and len(log.read_text().splitlines()) == 3)
    train_flow.main(arguments[1])
    expected, found = (load_file(output / "flow.safetensors") for output in outputs)
    assert all(torch.equal(value, found[key]) for key, value in expected.items())
    assert (outputs[0] / "log.jsonl").read_text() == log.read_text()
    assert len(log.read_text().splitlines()) == 5
    assert not list(outputs[1].glob("checkpoint-*"))
    other = shutil.copytree(values["model"]["name_or_path"], tmp_path / "other policy")
    assert "other settings" in _error(capsys, *arguments[0], f"model.name_or_path={other}", command=train_flow)


@pytest.mark.parametrize("shaping", ["entropy", "none"])
def test_other_shapings_need_no_field(shaping: str, config: Path, tmp_path: Path):
    overrides = [f"train.advantage_shaping={shaping}", "train.max_steps=2", "train.save_strategy='no'"]
    train.main(["--config", str(config), *overrides])
    run = RunFolder(tmp_path / "run")
    assert run.summary["method"] == shaping and len(run.metrics()) == 2
    assert not (run.path / "flow").exists() and not (run.path / "final" / "flow").exists()


def test_benchmarks_are_answered_at_chosen_steps_and_change_nothing_else(config: Path, tmp_path: Path):
    plain = ["--config", str(config), "train.max_steps=3", "train.save_strategy='no'"]
    train.main([*plain, f"train.output_dir={tmp_path / 'plain'}"])
    train.main([*plain, "benchmarks={eval_tasks: [rlfr_quickstart], steps: 2, limit: 3, samples: 1}"])
    run = RunFolder(tmp_path / "run")
    assert run.summary["benchmarks"].keys() == {"2", "3"}
    for step in (2, 3):
        rows = (run.path / "benchmarks" / f"step-00000{step}" / "rlfr_quickstart" / "samples.jsonl").read_text()
        assert len(rows.splitlines()) == 3
    expected, found = (load_file(tmp_path / name / "final" / "model.safetensors") for name in ("plain", "run"))
    assert all(torch.equal(value, found[key]) for key, value in expected.items())


def test_a_lora_policy_trains_and_its_final_folder_loads_again_and_is_merged_as_its_page_says(
    config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    lora = "model.lora={r: 2, target_modules: [q_proj, v_proj], task_type: CAUSAL_LM}"
    train.main(["--config", str(config), lora, "train.max_steps=2", "train.save_strategy='no'"])
    run = RunFolder(tmp_path / "run")
    assert (run.path / "final" / "adapter_model.safetensors").is_file()
    assert run.summary["accuracy_after"]["n"] == 8
    adapter = load_file(run.path / "final" / "adapter_model.safetensors")
    assert any(value.abs().sum() > 0 for name, value in adapter.items() if "lora_B" in name)

    monkeypatch.chdir(tmp_path)
    Path("runs").mkdir()
    run.path.rename("runs/my_run")
    (shown,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "lora.md").read_text(), re.DOTALL)
    exec(shown, {})
    assert not Path("merged/adapter_config.json").exists()
    answers = []
    for name in ("runs/my_run/final", "merged"):
        model = ModelArguments(name)
        policy, processor = load_policy(model).eval(), load_processor(model, DataArguments())
        problems = load_problems(DataArguments(split="test", limit=8, instruction="none"))
        answers.append(
            answer_problems(policy, processor, problems, batch_size=8, max_new_tokens=8, temperature=0, seed=0)
        )
    assert answers[0] == answers[1] and len(answers[0]) == 8


def test_an_adapter_of_all_layers_leaves_a_frozen_vision_tower_alone(config: Path, tmp_path: Path):
    lora = "model.lora={r: 2, target_modules: all-linear}"
    short = ["train.max_steps=1", "evaluation=null", "offline.max_steps=1", "model.freeze_vision=true"]
    train.main(["--config", str(config), lora, *short])
    adapter = load_file(tmp_path / "run" / "final" / "adapter_model.safetensors")
    assert any("gate_proj" in name for name in adapter) and not any("visual" in name for name in adapter)


def test_problems_with_and_without_images_need_processes_that_can_run_different_modules(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    Image.new("RGB", (84, 84)).save(tmp_path / "red.png")
    rows = [{"problem": "1+1?", "answer": "2"}, {"problem": "<image>How many?", "images": ["red.png"], "answer": "3"}]
    source = tmp_path / "rows.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows * 4))
    problems = [f"data={{source: {source}}}", "train.num_generations=8", "evaluation=null", "--check", "--processes=2"]
    told = _error(capsys, "--config", config, *problems)
    assert f"{source} mixes problems with and without images" in told and "model.freeze_vision=true" in told
    train.main(["--config", str(config), *problems, "model.freeze_vision=true"])
    assert capsys.readouterr().out.strip().endswith("ready")


def test_trls_tables_of_completions_are_written_also_where_a_run_is_overwritten(config: Path, tmp_path: Path):
    short = ["train.max_steps=1", "evaluation=null", "offline=null", "flow.random_start=true", "flow.standardise=false"]
    for again in ([], ["--overwrite"]):
        train.main(["--config", str(config), *short, "train.log_completions=true", *again])
        assert [path.name for path in (tmp_path / "run" / "completions").iterdir()] == ["completions_00001.parquet"]


def test_a_run_folder_is_never_lost_by_accident(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    run = tmp_path / "run"
    run.mkdir()
    (run / "thesis.txt").write_text("precious")
    assert "is not empty and is not a run folder" in _error(capsys, "--config", config, "--overwrite")
    assert (run / "thesis.txt").read_text() == "precious"
    (run / "config.yaml").write_text("train: {}")
    assert "holds an unfinished run: --resume continues it" in _error(capsys, "--config", config)
    assert "config.yaml is of another version of rlfr_mm" in _error(capsys, "--config", config, "--resume")
    (run / "summary.json").write_text("{}")
    assert "holds a finished run" in _error(capsys, "--config", config)
    bad = ("model.name_or_path=no/such/model", "model.lora={rr: 8}", "field=nowhere")
    for override in bad:  # the old run is deleted only after the new one is checked
        _error(capsys, "--config", config, "--overwrite", override)
    assert (run / "thesis.txt").read_text() == "precious"
    _error(capsys, "--config", config, f"train.output_dir={tmp_path / 'new'}", bad[1])
    assert not list((tmp_path / "new").glob("*"))


def test_every_step_has_its_row_where_a_batch_of_rollouts_serves_several(config: Path, tmp_path: Path):
    settings = ["per_device_train_batch_size=2", "steps_per_generation=4", "max_steps=8", "save_steps=4"]
    train.main(["--config", str(config), "evaluation=null", *(f"train.{setting}" for setting in settings)])
    rows = RunFolder(tmp_path / "run").metrics()
    assert [row["step"] for row in rows] == list(range(1, 9))
    for key in ("reward", "accuracy", "flow/reward_mean"):
        assert [row["step"] % 4 for row in rows if key in row] == ([1, 1] if key == "reward" else [0, 0])
    assert all(row["flow/field_loss"] > 0 for row in rows)  # each policy step also updates the field


@pytest.mark.parametrize(
    "override, message",
    [
        ("flow_reward.treshold=0.5", "unknown key flow_reward.treshold; did you mean flow_reward.threshold?"),
        ("flow_reward.topk=0", "flow_reward.topk=0 must be >= 1, or null"),
        ("flow_reward.score=surprise", "flow_reward.score='surprise' must be one of deviation, logprob,"),
        ("train.advantage_shaping=entropie", "train.advantage_shaping='entropie' must be one of flow, "),
        ("evaluation.data.limit=0", "evaluation.data.limit=0 must be >= 1, or null"),
        ("flow_reward.times=[0.5, 1]", "flow_reward.times contains 1.0, which must be in (0, 1)"),
        ("flow_reward.times=[]", "flow_reward.times=[] must be a list with at least one entry in (0, 1)"),
        ("flow_reward.topk=many", "flow_reward.topk='many': input should be a valid integer"),
        ("train.learning_rate=yes", "train.learning_rate=True must be a number"),
        ("train.lerning_rate=1", "unknown key train.lerning_rate; did you mean train.learning_rate?"),
        ("train.loss_type=cispo", "train.loss_type=cispo must be one of grpo, bnpo, dr_grpo, dapo"),
        ("train.per_device_train_batch_size=6", "train.num_generations=4 must be a divisor of the 6 rollouts"),
        ("reward=[accuracy]", "unknown key reward; did you mean rewards?"),
        ("rewards=1", "rewards=1: input should be a valid list"),
        ("model.name_or_path=no--model", "no processor for model no--model"),
        ("model.name_or_path=no/such/model", "model.name_or_path=no/such/model must be an existing folder"),
        ("data.source=missing.jsonl", "missing.jsonl"),
        ("data.levels=[9]", "level"),
        ("field=nowhere", "no flow field in field=nowhere"),
        ("benchmarks={eval_tasks: [rlfr_quickstar]}", "rlfr_quickstart"),
        ("benchmarks={eval_tasks: [rlfr_math500], data_root: nowhere}", "rlfr_math500: its data cannot be read"),
        ("benchmarks={eval_tasks: []}", "benchmarks.eval_tasks=[] must be at least one task"),
        ("offline=null", "the flow field has no start: add an `offline` section"),
        ("{shuffle: token_id}", "flow_reward.shuffle=token_id must be left out with train.advantage_shaping=none"),
        (
            "{token_baseline: true}",
            "flow_reward.token_baseline=true must be left out with train.advantage_shaping=none",
        ),
        ("{score: departure}", "flow_reward.score=departure must be left out with train.advantage_shaping=none, which"),
        ("flow.random_start=true", "flow.random_start=true must be left out with `field` or `offline`"),
        ("nonsense", "overrides look like flow_reward.topk=10"),
        ("model.lora={rr:", "the value is not valid YAML"),
        ("model.lora={rr: 8}", "model.lora={'rr': 8}: "),
        ("model.lora={r: 2}", "Please specify `target_modules`"),
        ("model=null", "model must be a mapping of settings"),
        ("model.attn_implementation=no_such_kernel", "no_such_kernel"),
        ("data.limit=1", "1 problems are fewer than the 2 of a batch of rollouts"),
        ("evaluation.data={source: quickstart}", "evaluation.data is the training data"),
        ("evaluation.batch_size=0", "evaluation.batch_size=0 must be >= 1"),
        ("evaluation.temperature=-1", "evaluation.temperature=-1.0 must be >= 0"),
        ("offline.data.max_pixels=3136", "offline.data.max_pixels=3136 must be data.max_pixels, or left out"),
        ("offline.learning_rate=-1", "offline.learning_rate=-1.0 must be > 0"),
        ("flow.flow_layers=[0.25, 0.26]", "flow_layers"),
        ("flow.hidden_size=64", "hidden_size"),
        ("train.reward_weights=[5.0, 1.0]", "set train.format_reward_weight, or `rewards`"),
        ("train.output_dir=pyproject.toml/run", "pyproject.toml is not a folder"),
        ("train.temperature=0", "train.temperature=0.0 must be > 0"),
        ("train.eval_strategy=steps", "train.eval_strategy=steps: "),
        ("train.report_to=no_such_logger", "train.report_to=no_such_logger: no_such_logger is not supported"),
        ("train.lr_scheduler_type=no_such_shape", "train.lr_scheduler_type=no_such_shape: "),
        ("train.use_transformers_continuous_batching=true", "works with text policies only"),
    ],
)
def test_a_bad_setting_is_one_line_before_any_step(
    override: str, message: str, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    overrides = ["train.advantage_shaping=none", f"flow_reward={override}"] if override.startswith("{") else [override]
    overrides += ["offline=null"] if override.startswith("field") else []
    overrides += ["evaluation.data.split=train"] if override.startswith("evaluation.data=") else []
    assert message in _error(capsys, "--config", config, *overrides)
    assert not (tmp_path / "run" / "metrics.jsonl").exists()


@pytest.mark.skipif(torch.accelerator.is_available(), reason="this machine has a GPU")
def test_the_two_settings_that_a_cpu_needs_are_named(config: Path, capsys: pytest.CaptureFixture):
    error = _error(capsys, "--config", config, "train.use_cpu=false", "train.bf16=true")
    assert "to train on a CPU, set train.use_cpu=true and train.bf16=false" in error


def test_weights_that_cannot_be_read_are_one_line_before_any_step(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    policy = Path(yaml.safe_load(config.read_text())["model"]["name_or_path"])
    broken = Path(shutil.copytree(policy, tmp_path / "broken"))
    (broken / "model.safetensors").write_bytes((policy / "model.safetensors").read_bytes()[:1000])
    error = _error(capsys, "--config", config, f"model.name_or_path={broken}")
    assert f"model.name_or_path={broken} cannot be loaded: " in error
    assert not (tmp_path / "run").exists()


def test_records_that_cannot_be_used_are_named_before_any_step(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    Image.new("RGB", (84, 84), "red").save(tmp_path / "good.png")
    (tmp_path / "broken.png").write_bytes(b"not an image")
    good = {"id": "a", "problem": "<image>How many?", "answer": "3", "images": ["good.png"]}
    data = tmp_path / "data.jsonl"
    cases = {
        "missing.png": good | {"id": "b", "images": ["missing.png"]},
        "broken.png": good | {"id": "c", "images": ["broken.png"]},
        "record 2 (id d): answer or solution or reward_model.ground_truth is empty or missing": {
            "id": "d",
            "problem": "How many?",
        },
        "max_prompt_tokens": good | {"id": "e", "problem": "<image>" + "How many? " * 400},
    }
    for name, bad in cases.items():
        data.write_text(json.dumps(good) + "\n" + json.dumps(bad) + "\n")
        overrides = [f"data={{source: {data}, instruction: none, max_prompt_tokens: 300}}"]
        assert name in _error(capsys, "--config", config, *overrides, "--overwrite")
        shutil.rmtree(tmp_path / "run", ignore_errors=True)


def test_the_departure_score_is_refused_where_no_solution_is_known(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(json.dumps({"id": i, "problem": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(4))
    )
    overrides = [f"data={{source: {data}, instruction: none}}", "flow_reward={score: departure}"]
    assert "score=departure needs the only correct solution" in _error(capsys, "--config", config, *overrides)


def test_benchmarks_with_images_are_refused_for_a_text_policy_before_its_weights_are_loaded(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture
):
    from tests.test_documented_commands import text_policy

    text_policy(tmp_path / "text")
    (tmp_path / "text" / "model.safetensors").write_bytes(b"not weights")
    data = tmp_path / "data.jsonl"
    data.write_text(
        "".join(json.dumps({"id": i, "problem": f"{i} + 1?", "answer": str(i + 1)}) + "\n" for i in range(4))
    )
    overrides = [f"model={{name_or_path: {tmp_path / 'text'}}}", f"data={{source: {data}, instruction: none}}"]
    overrides += ["benchmarks={eval_tasks: [rlfr_quickstart]}", "evaluation=null", "offline=null"]
    overrides += ["train.advantage_shaping=none"]
    for more in ([], ["--check"]):
        error = _error(capsys, "--config", config, *overrides, *more)
        assert "rlfr_quickstart: has images but" in error and "is a text policy" in error


def test_a_field_for_another_policy_is_refused(config: Path, tmp_path: Path, capsys: pytest.CaptureFixture):
    from rlfr_mm.config import FlowConfig

    flow = FlowConfig(num_blocks=2, standardise=True, hidden_size=64, num_policy_layers=4, rms_norm_eps=1e-6)
    FlowField(flow).save_pretrained(tmp_path / "field")
    error = _error(capsys, "--config", config, "offline=null", f"field={tmp_path / 'field'}")
    assert "made for a policy with hidden_size=64, this one has 128" in error


def test_help_lists_every_setting_and_loads_no_torch():
    script = (
        "import sys\nfrom rlfr_mm.{module} import main\n"
        "try: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {{'torch', 'transformers', 'trl', 'datasets', 'scipy', 'matplotlib'}} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    training = (
        "offline (off)",
        "evaluation (off)",
        "benchmarks (off)",
        "(deviation, logprob,",
        "flow_reward.threshold (0.6)",
        "train.advantage_shaping ('flow')",
        "evaluation.data.split ('test')",
    )
    for module, settings in (("train", training), ("train_flow", ("offline.learning_rate (0.0001)",))):
        command = [sys.executable, "-c", script.format(module=module)]
        result = subprocess.run(command, capture_output=True, text=True)
        assert result.returncode == 0, result.stderr
        assert all(setting in result.stdout for setting in settings)
