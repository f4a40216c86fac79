"""Reading YAML files that name a base, limits of settings, overrides."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import yaml

from rlfr_mm.config import FlowConfig, RunConfig
from rlfr_mm.config_file import build, check_options, describe, load_config, option, read_settings, with_overrides


def write(folder: Path, **files: dict) -> Path:
    """YAML files by name; returns the first."""
    for name, values in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(values))
    return folder / f"{next(iter(files))}.yaml"


def test_a_file_lies_on_top_of_its_base_section_by_section(tmp_path: Path):
    path = write(
        tmp_path,
        run={"base": "middle.yaml", "train": {"seed": 3}, "flow_reward": {"times": [0.5]}, "offline": None},
        middle={"base": "first.yaml", "train": {"max_steps": 7}, "offline": {"data": {"limit": 5}}},
        first={"train": {"seed": 1, "max_steps": 1}, "flow_reward": {"times": [0.2, 0.4], "topk": 3}},
    )
    assert read_settings(path) == {
        "train": {"seed": 3, "max_steps": 7},
        "flow_reward": {"times": [0.5], "topk": 3},
        "offline": None,
    }
    config = load_config(RunConfig, path, ["train.seed=4"])
    assert config.train == {"seed": 4, "max_steps": 7} and config.offline is None and config.flow_reward.topk == 3


def test_the_path_of_a_base_is_relative_to_the_file_that_names_it(tmp_path: Path):
    (tmp_path / "inner").mkdir()
    write(tmp_path, first={"train": {"seed": 1}})
    path = write(tmp_path / "inner", run={"base": "../first.yaml"})
    assert read_settings(path) == {"train": {"seed": 1}}


def test_errors_name_the_file_that_is_not_yaml(tmp_path: Path):
    path = tmp_path / "run.yaml"
    for content in (b"train: [1, 2", b"\x80", b"train:\n\tseed: 1"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"run.yaml is not valid YAML"):
            read_settings(path)


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path):
    path = tmp_path / "run.yaml"
    for content in (
        "train: {seed: 1}\ntrain: {max_steps: 2}",
        "train: {seed: 1, seed: 2}",
        "train: {seed: 1, 'seed': 2}",
    ):
        path.write_text(content)
        with pytest.raises(ValueError, match=r"run.yaml is not valid YAML: the key (train|seed) occurs twice"):
            read_settings(path)
    path.write_text("a: &same {seed: 1}\ntrain: {<<: *same, seed: 2}")
    assert read_settings(path)["train"] == {"seed": 2}


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({"a": {"base": "a.yaml"}}, r"the bases of .*a.yaml form a cycle: .*a.yaml -> .*a.yaml$"),
        ({"a": {"base": "b.yaml"}, "b": {"base": "a.yaml"}}, r"form a cycle: .*a.yaml -> .*b.yaml -> .*a.yaml$"),
        ({"a": {"base": "nowhere.yaml"}}, "no configuration file .*nowhere.yaml, the base of .*a.yaml;"),
        ({"a": {"base": ["b.yaml", "c.yaml"]}}, r"base=\['b.yaml', 'c.yaml'\] in .*a.yaml must be the path of a YAML"),
    ],
)
def test_bases_that_cannot_be_read_are_refused_in_one_line(files: dict, message: str, tmp_path: Path):
    with pytest.raises(ValueError, match=message) as error:
        read_settings(write(tmp_path, **files))
    assert "\n" not in str(error.value)


@dataclass
class Settings:
    """One setting of each kind of limit."""

    count: int = option(1, must=">= 1", help="a count")
    rate: float | None = option(None, must="> 0", help="a rate")
    shares: list[float] = option(make=lambda: [0.5], must="in [0, 1)", help="shares")
    kind: Literal["a", "b"] = option("a", help="a kind")

    def __post_init__(self) -> None:
        check_options(self, "section")


@pytest.mark.parametrize(
    "values", [{"count": 1}, {"rate": 1e-9}, {"rate": None}, {"shares": [0, 0.999]}, {"kind": "b"}]
)
def test_values_at_their_limits_are_allowed(values: dict):
    build(Settings, values)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"count": 0}, "section.count=0 must be >= 1"),
        ({"rate": 0.0}, "section.rate=0.0 must be > 0, or null"),
        ({"shares": [0.5, 1.0]}, "section.shares contains 1.0, which must be in [0, 1)"),
        ({"shares": []}, "section.shares=[] must be a list with at least one entry in [0, 1)"),
    ],
)
def test_values_outside_their_limits_are_named_also_without_yaml(values: dict, message: str):
    for make in (lambda: Settings(**values), lambda: build(Settings, values, "section")):
        with pytest.raises(ValueError) as error:
            make()
        assert str(error.value) == message


def test_a_choice_that_does_not_exist_is_named_also_without_yaml():
    for make in (lambda: Settings(kind="c"), lambda: build(Settings, {"kind": "c"}, "section")):
        with pytest.raises(ValueError, match=r"section.kind='c' must be one of a, b$"):
            make()


def test_help_shows_default_meaning_and_limits():
    assert describe(Settings) == [
        "  count (1): a count (>= 1)",
        "  rate (None): a rate (> 0, or null)",
        "  shares ([0.5]): shares (in [0, 1))",
        "  kind ('a'): a kind (a, b)",
    ]
    assert any(line.startswith("  offline (off): ") for line in describe(RunConfig))


def test_overrides_leave_the_values_of_the_file_alone():
    values = {"flow": {"num_blocks": 4}}
    assert with_overrides(values, ["flow.num_blocks=2", "offline.data.limit=3"]) == {
        "flow": {"num_blocks": 2},
        "offline": {"data": {"limit": 3}},
    }
    assert values == {"flow": {"num_blocks": 4}}


def test_text_that_is_a_number_is_one_and_a_boolean_is_not():
    assert build(FlowConfig, {"time_std": "1e-3"}).time_std == 1e-3
    with pytest.raises(ValueError, match=r"flow.time_std=True must be a number"):
        build(FlowConfig, {"time_std": True}, "flow")
