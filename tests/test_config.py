"""The settings that are declared without torch are in step with what needs it."""

import resource
import subprocess
import sys
import typing
from dataclasses import fields
from pathlib import Path

import pytest
from trl import GRPOConfig

from rlfr_mm.config import (
    OFTEN_SET,
    TRL_DEFAULTS,
    FlowRewardConfig,
    RLFRArguments,
    RLFRConfig,
    RunConfig,
    train_settings,
)
from rlfr_mm.config_file import build, settings
from rlfr_mm.method.scores import SCORES
from rlfr_mm.method.shaping import SHAPINGS


def test_names_of_train_settings_are_those_of_the_dataclass():
    assert set(train_settings()) == {entry.name for entry in fields(RLFRConfig) if entry.init}


def test_defaults_of_train_settings_are_those_of_the_dataclass():
    defaults = {entry.name: entry.default for entry in fields(RLFRConfig)}
    known = {name: default for name, default in train_settings().items() if default is not None}
    differing = {name for name, default in known.items() if defaults[name] != default}
    assert len(known) > 100 and not differing
    assert known["num_generations"] == 8 and known["per_device_train_batch_size"] == 8


def test_help_and_the_page_of_settings_list_what_is_set_most_with_the_defaults_that_hold_here():
    listed = {setting.name: setting for setting in settings(RunConfig)}
    defaults = {entry.name: entry.default for entry in fields(RLFRConfig)}
    for name in OFTEN_SET:
        assert listed[f"train.{name}"].default == defaults[name], name
    for name, ours in TRL_DEFAULTS.items():
        theirs = next(entry.default for entry in fields(GRPOConfig) if entry.name == name)
        assert ours != theirs and listed[f"train.{name}"].help.endswith(f"; TRL's own default is {theirs}")


def test_every_score_and_every_shaping_has_its_class():
    assert set(SCORES) == set(typing.get_args(typing.get_type_hints(FlowRewardConfig)["score"]))
    assert set(SHAPINGS) == set(typing.get_args(typing.get_type_hints(RLFRArguments)["advantage_shaping"]))


@pytest.mark.parametrize("key", ["lerning_rate", "advantage_shapping"])
def test_a_misspelt_train_setting_is_refused_in_two_seconds(key: str, tmp_path: Path):
    (tmp_path / "run.yaml").write_text(f"train: {{{key}: 1}}")
    command = [sys.executable, "-m", "rlfr_mm.train", "--config", str(tmp_path / "run.yaml")]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 2 and f"unknown key train.{key}; did you mean train." in done.stderr
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 2


def test_settings_that_exclude_each_other_are_refused():
    for values, message in (
        ({"field": "a", "offline": {}}, "field and offline are both set"),
        ({"data": {"min_pixels": 9, "max_pixels": 8}}, "data.min_pixels=9 must be <= data.max_pixels"),
    ):
        with pytest.raises(ValueError, match=message):
            build(RunConfig, values)
