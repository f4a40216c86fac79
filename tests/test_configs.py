"""Every YAML file that comes with the package configures a run that can start."""

import re
from pathlib import Path

import pytest

from rlfr_mm.config import OfflineRunConfig, RunConfig
from rlfr_mm.config_file import build, load_config
from rlfr_mm.precheck import check_batches

CONFIGS = Path(__file__).resolve().parent.parent / "configs"
RL = sorted((CONFIGS / "rl").glob("*.yaml"))
FLOW = sorted((CONFIGS / "flow").glob("*.yaml"))


def settings(folder: str, name: str):
    return load_config(RunConfig if folder == "rl" else OfflineRunConfig, CONFIGS / folder / f"{name}.yaml")


@pytest.mark.parametrize("path", RL, ids=lambda path: path.stem)
def test_rl_yaml_makes_a_training_configuration(path, tmp_path):
    from rlfr_mm.config import RLFRConfig

    config = load_config(RunConfig, path)
    args = build(RLFRConfig, {**config.train, "output_dir": str(tmp_path), "use_cpu": True}, "train")
    assert args.learning_rate == float(config.train["learning_rate"])


@pytest.mark.parametrize("path", FLOW, ids=lambda path: path.stem)
def test_flow_yaml_makes_an_offline_configuration(path):
    config = load_config(OfflineRunConfig, path)
    assert config.offline.output_dir == f"runs/flow/{path.stem}"
    assert config.flow.context_shifts == [1]


@pytest.mark.parametrize("path", RL + FLOW, ids=lambda path: path.stem)
def test_yaml_opens_with_the_reason_it_exists(path):
    assert path.read_text().startswith("# ")


RUNS = [path for path in RL if path.stem != "quickstart" and not path.stem.startswith("base_")]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_rl_yaml_starts_from_the_field_of_its_own_policy(path):
    config = load_config(RunConfig, path)
    offline = load_config(OfflineRunConfig, CONFIGS / "flow" / f"{Path(config.field).name}.yaml")
    assert config.field == offline.offline.output_dir
    assert config.model.name_or_path == offline.model.name_or_path


@pytest.mark.parametrize("key", ["vl_3b", "vl_7b", "text_1_5b", "text_7b", "text_llama_8b"])
def test_released_setting_differs_from_the_papers_only_in_reward_context_and_update(key):
    paper, released = settings("rl", f"paper_{key}"), settings("rl", f"released_{key}")
    assert paper.flow_reward.range == [-1, 1] and paper.flow_reward.context_shifts is None and paper.update.enabled
    assert released.flow_reward.range == [0, 1] and released.flow_reward.context_shifts == [-1]
    assert not released.update.enabled
    assert (paper.model, paper.data, paper.field) == (released.model, released.data, released.field)
    assert {**paper.train, "output_dir": None} == {**released.train, "output_dir": None}


def test_the_page_about_several_gpus_keeps_the_papers_step_on_every_number_of_them():
    page = (CONFIGS.parent / "docs" / "several_gpus.md").read_text()
    rows = re.findall(r"^\| (\d+)\b.*\|.*\|(.*)\|(.*)\|$", page, re.MULTILINE)
    assert [int(gpus) for gpus, *_ in rows] == [4, 8, 16, 64]
    for gpus, *cells in rows:
        for cell, name in zip(cells, ("paper_vl_7b", "paper_text_7b"), strict=True):
            train = settings("rl", name).train
            train |= {key: int(value) for key, value in re.findall(r"train\.(\w+)=(\d+)", cell)}
            at_once = train["per_device_train_batch_size"] * int(gpus)
            assert at_once * train["gradient_accumulation_steps"] == 128
            check_batches(train, int(gpus))


@pytest.mark.parametrize("path", sorted((CONFIGS / "accelerate").glob("*.yaml")), ids=lambda path: path.stem)
def test_accelerate_reads_its_yaml(path):
    from accelerate.commands.config.config_args import load_config_from_file

    assert load_config_from_file(str(path)).num_processes > 1
    assert path.read_text().startswith("# ")
