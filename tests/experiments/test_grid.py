"""The cells of an experiment, from its YAML."""

from pathlib import Path

import pytest
import yaml

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import load_config
from rlfr_mm.experiments.grid import ExperimentConfig, cells, opening_comment, read_base, resolved
from rlfr_mm.precheck import check_controls, check_start
from tests.conftest import ROOT

EXPERIMENTS = sorted((ROOT / "configs" / "experiments").glob("*.yaml"))
BASE = ROOT / "configs" / "rl" / "quickstart.yaml"


def config(**changes) -> ExperimentConfig:
    return ExperimentConfig(**{"base": "base.yaml", "methods": {"rlvr": {}}, "seeds": [0]} | changes)


def test_cells_are_methods_times_seeds_under_each_condition():
    made = cells(
        config(
            settings={"train.max_steps": 5, "train.beta": 0.1},
            conditions={"easy": {"data.levels": [2]}, "hard": {"data.levels": [4], "train.max_steps": 9}},
            methods={"rlvr": {"flow_reward.flow_coef": 0}, "paper": {"train.beta": 0.2}},
            seeds=[3, 4],
        )
    )
    assert len({cell.name for cell in made}) == len(made) == 8
    assert [cell.seed for cell in made] == [3] * 4 + [4] * 4  # cut short, whole seeds are done
    last = made[-1]
    assert last.name == "hard/paper/seed4"
    expected = {"train.max_steps": 9, "train.beta": 0.2, "data.levels": [4], "train.seed": 4}
    assert last.settings == expected | {"evaluation.samples": 4}


def test_seeded_settings_take_each_seed_and_samples_are_those_of_the_experiment():
    made = cells(config(seeds=[3, 4], samples=1, seeded=["train.seed", "model.warmup_seed", "offline.seed"]))
    assert [cell.settings for cell in made] == [
        {"evaluation.samples": 1, "train.seed": seed, "model.warmup_seed": seed, "offline.seed": seed}
        for seed in (3, 4)
    ]


def test_swept_values_make_a_variant_for_each_combination():
    sweep = {"flow_reward.times": {"values": [[0.2], [0.4, 0.6]]}, "flow_reward.topk": {"values": [None, 3]}}
    made = cells(config(methods={"rlvr": {}, "paper": sweep | {"flow_reward.gamma": 0.9}}))
    assert [cell.method for cell in made] == [
        "rlvr",
        "paper times=0.2 topk=null",
        "paper times=0.2 topk=3",
        "paper times=0.4,0.6 topk=null",
        "paper times=0.4,0.6 topk=3",
    ]
    run = load_config(RunConfig, BASE, made[3].overrides)
    assert (run.flow_reward.times, run.flow_reward.topk, run.flow_reward.gamma) == ([0.4, 0.6], None, 0.9)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"base": ""}, "base is missing"),
        ({"seeds": []}, "seeds is missing"),
        ({"seeds": [1, 1]}, "lists a seed twice"),
        ({"seeded": ["offline.seed"]}, "must name train.seed"),
        ({"compare_to": ["placebo"]}, "must name methods: rlvr"),
        ({"compare_to": []}, "compare_to is missing or empty"),
        ({"compare_to": ["rlvr", "rlvr"]}, "names a method twice"),
        ({"methods": {"a": {"train.beta": {"values": [0, 1]}}}, "compare_to": ["a"]}, "methods: a beta=0, a beta=1"),
        ({"conditions": {}}, "conditions is missing or empty"),
    ],
)
def test_an_experiment_that_compares_nothing_is_refused(changes: dict, message: str):
    with pytest.raises(ValueError, match=message):
        config(**changes)


def test_methods_that_would_share_a_folder_are_refused():
    with pytest.raises(ValueError, match="two cells are called base/a_b/seed0"):
        cells(config(methods={"rlvr": {}, "a b": {}, "a_b": {}}))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_cell_of_the_experiments_is_a_run_that_would_start(path: Path, tmp_path: Path):
    from rlfr_mm.config import RLFRConfig
    from rlfr_mm.config_file import build

    experiment = load_config(ExperimentConfig, path)
    assert opening_comment(path)
    for cell in cells(experiment):
        if cell.seed == experiment.seeds[0]:
            run = resolved(cell, read_base(path.parent / experiment.base))
            check_start(build(RunConfig, run))
            check_controls(build(RunConfig, run))
            args = build(RLFRConfig, run["train"] | {"output_dir": str(tmp_path)}, "train")
            assert args.seed == cell.seed
            others = [run[section]["data"] for section in ("evaluation", "offline") if run[section]]
            for key in ("levels", "operations", "max_value"):  # the same world in training, held-out data and field
                assert all(data[key] == run["data"][key] for data in others)


def test_methods_differ_in_nothing_but_what_they_are_about():
    """The flow runs in the control arm; the placebos and rivals differ from their model in one setting."""
    methods = yaml.safe_load((ROOT / "configs" / "experiments" / "search_flow.yaml").read_text())["methods"]
    assert methods["rlvr"] == {"flow_reward.flow_coef": 0}
    rivals = ("placebo", "placebo_group", "logprob", "unanimous")
    pairs = [("deviation", name) for name in rivals]
    pairs.append(("immediate", "logprob_immediate"))
    for model, name in pairs:
        changed = {key for key in methods[name] if methods[name][key] != methods[model].get(key)}
        assert len(changed) == 1, name
