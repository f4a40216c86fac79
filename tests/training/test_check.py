"""`python -m rlfr_mm.train --check` on the configurations that come with the package, at the sizes of their models."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from transformers import AutoConfig

from rlfr_mm import train
from rlfr_mm.config import OfflineRunConfig
from rlfr_mm.config_file import as_dict, load_config
from rlfr_mm.files import write_json
from rlfr_mm.method.field import config_for_policy
from tests.conftest import ROOT

RUNS = sorted(path.stem for path in (ROOT / "configs" / "rl").glob("*.yaml") if not path.stem.startswith("base_"))
# Architectures and sizes as in the models' config.json; Qwen2.5-VL's come from RLFR_SHARED.
TEXT_MODELS = {
    "Qwen/Qwen2.5-Math-1.5B": ("qwen2", {
        "hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28, "num_attention_heads": 12,
        "num_key_value_heads": 2, "vocab_size": 151936, "tie_word_embeddings": True,
    }),
    "Qwen/Qwen2.5-Math-7B": ("qwen2", {
        "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
        "num_key_value_heads": 4, "vocab_size": 152064, "tie_word_embeddings": False,
    }),
    "meta-llama/Llama-3.1-8B": ("llama", {
        "hidden_size": 4096, "intermediate_size": 14336, "num_hidden_layers": 32, "num_attention_heads": 32,
        "num_key_value_heads": 8, "vocab_size": 128256, "tie_word_embeddings": False,
    }),
}  # fmt: skip
TOKENIZER = ("vocab.json", "merges.txt", "tokenizer_config.json", "chat_template.json")


@pytest.fixture(scope="module")
def home(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which every path and hub id of configs/rl names a small stand-in: 128 records, and no weights."""
    folder, files = tmp_path_factory.mktemp("home"), shared / "qwen25vl_processor"
    (folder / "configs").symlink_to(ROOT / "configs")
    for size in ("3B", "7B"):
        model = folder / "Qwen" / f"Qwen2.5-VL-{size}-Instruct"
        model.mkdir(parents=True)
        for name in (*TOKENIZER, "preprocessor_config.json"):
            shutil.copy(files / name, model / name)
        shutil.copy(files / f"config_{size}_transcribed.json", model / "config.json")
    for name, (kind, sizes) in TEXT_MODELS.items():
        AutoConfig.for_model(kind, **sizes).save_pretrained(folder / name)
        for file in TOKENIZER:
            shutil.copy(files / file, folder / name / file)
    for path in (ROOT / "configs" / "flow").glob("*.yaml"):
        offline = load_config(OfflineRunConfig, path)
        policy = AutoConfig.from_pretrained(folder / offline.model.name_or_path)
        saved = {"format_version": 1, **as_dict(config_for_policy(offline.flow, policy))}
        write_json(folder / str(offline.offline.output_dir) / "flow_config.json", saved)

    eureka = folder / "data" / "MM-Eureka"
    eureka.mkdir(parents=True)
    Image.new("RGB", (640, 480), "white").save(eureka / "figure.png")
    rows: list[dict[str, Any]] = [
        {"id": str(i), "conversations": [{"role": "user", "content": f"Find x if x - {i} = 0."}],
         "answer": str(i), "image_urls": ["figure.png"]} for i in range(128)
    ]  # fmt: skip
    (eureka / "dataset.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"problem": f"What is {i} + 1?", "answer": str(i + 1)} for i in range(128)]
    (folder / "data" / "math_lvl3to5_8k.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


def checked(home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> str:
    """What --check prints, started in the folder of the stand-ins; nothing there may change."""
    monkeypatch.chdir(home)
    before = sorted(home.rglob("*"))
    train.main([*arguments, "--check"])
    assert sorted(home.rglob("*")) == before
    return capsys.readouterr().out


@pytest.mark.parametrize("name", RUNS)
def test_every_configuration_passes_without_gpu_vllm_and_weights(
    name: str, home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    command = ["--config", f"configs/rl/{name}.yaml"]
    if name == "quickstart":
        command += [f"{section}.limit=64" for section in ("data", "offline.data", "evaluation.data")]
        report = checked(home, capsys, monkeypatch, *command)
        assert report.splitlines()[-1] == "ready"
        return
    report = checked(home, capsys, monkeypatch, *command, "--accelerate", "configs/accelerate/fsdp2.yaml")
    assert "processes  4, which share the policy's weights" in report
    assert "128 problems" in report and "batch      1,024 rollouts of 128 problems, for 8 policy steps" in report
    assert (
        "needs      there is no GPU here; to train on this machine, set train.use_cpu=true and train.bf16=false"
        in report
    )
    assert "vllm is not installed: pip install 'rlfr_mm[vllm]', or set train.use_vllm=false" in report
    assert report.splitlines()[-1] == "ready, on a machine that has what is needed"


def test_two_overrides_make_a_paper_configuration_one_for_this_machine(
    home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    # Without LoRA a checkpoint and final/ take 24 GiB, which few machines have to spare.
    cpu = ["train.use_cpu=true", "train.bf16=false", "train.use_vllm=false", "train.output_dir=runs/a"]
    cpu += ["model.lora={r: 16, target_modules: [q_proj, v_proj]}"]
    command = ["--config", "configs/rl/paper_text_1_5b.yaml", "--processes", "4", *cpu]
    report = checked(home, capsys, monkeypatch, *command)
    assert "needs" not in report and report.splitlines()[-1] == "ready"
    assert "keys and values of all rollouts" in report and "gradient buckets of DDP" in report


def test_lora_leaves_most_weights_untrained(home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    lora = "model.lora={r: 16, target_modules: [q_proj, v_proj]}"
    report = checked(home, capsys, monkeypatch, "--config", "configs/rl/paper_vl_3b.yaml", "--processes", "4", lora)
    assert "3,758,309,376 parameters, 3,686,400 trained" in report
    assert "gradient of the output layer" not in report


def test_a_launch_is_planned_on_a_machine_where_a_run_without_a_launcher_would_stop(
    home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    command = ["--config", "configs/rl/paper_vl_3b.yaml"]
    with pytest.raises(SystemExit):
        checked(home, capsys, monkeypatch, *command)
    assert "error: 2 GPUs are visible to a single process" in capsys.readouterr().err
    assert "ready" in checked(home, capsys, monkeypatch, *command, "--processes", "2")


@pytest.mark.parametrize(
    "override, message",
    [
        ("data.max_prompt_tokens=10", "all 128 prompts are over data.max_prompt_tokens=10"),
        ("train.report_to=mlflow", "train.report_to=mlflow, but mlflow is not installed"),
        ("train.scale_average=entropy", "train.scale_average=entropy must be token with train.advantage_shaping=flow"),
        ("train={advantage_shaping: redistribute, negative_weight: 0.5}", "train.negative_weight=0.5 must be 1 with"),
        ("train.loss_type=cispo", "train.loss_type=cispo must be one of"),
        ("train.num_generations=3", "train.num_generations=3 must be a divisor of the 1024 rollouts of a batch"),
        ("train.eval_strategy=steps", "train.eval_strategy=steps: "),
        ("train.report_to=no_such_logger", "train.report_to=no_such_logger: no_such_logger is not supported"),
        ("model.lora={r: 2}", "Please specify `target_modules`"),
        ("model.lora={r: 2, target_modules: all-linear, exclude_modules: [visual]}", "needs model.freeze_vision=false"),
        ("model.attn_implementation=no_such_kernel", "no_such_kernel"),
        ("train.use_transformers_continuous_batching=true", "works with text policies only"),
        ("flow.num_blocks=6", "flow.num_blocks=6 differs from the field in runs/flow/vl_3b"),
        ("field=runs/flow/vl_7b", "made for a policy with hidden_size=3584, this one has 2048"),
        ("data.limit=100", "100 problems are fewer than the 128 of a batch of rollouts"),
        ("flow_reward={score: departure}", "score=departure needs the only correct solution"),
    ],
)
def test_what_would_stop_the_run_stops_the_check(
    override: str, message: str, home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    command = ["--config", "configs/rl/paper_vl_3b.yaml", "--processes", "4", override]
    with pytest.raises(SystemExit) as stopped:
        checked(home, capsys, monkeypatch, *command)
    errors = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 2 and [line for line in errors if line.startswith("error: ")] == errors[-1:]
    assert message in errors[-1]


def test_a_kernel_that_only_a_gpu_machine_has_is_listed(
    home: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    kernel = "model.attn_implementation=flash_attention_2"
    report = checked(home, capsys, monkeypatch, "--config", "configs/rl/paper_vl_3b.yaml", "--processes", "4", kernel)
    assert f"needs      {kernel} is not installed here" in report
