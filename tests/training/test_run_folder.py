"""What a run folder says of a run: its stages, its versions and commit, and settings that differ on --resume."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from rlfr_mm.config import RunConfig
from rlfr_mm.config_file import build
from rlfr_mm.files import MANIFEST, seal
from rlfr_mm.training.run_folder import RunFolder, check_run, check_states, open_run
from tests.conftest import ROOT

ENVIRONMENTS = """
import json, pathlib
from rlfr_mm.training.run_folder import environment
commits = [environment()["git_commit"]]
for name in ("docs/results.json", "pyproject.toml"):
    pathlib.Path(name).write_text("changed")
    commits.append(environment()["git_commit"])
print(json.dumps(commits))
"""


def test_the_commit_is_dirty_where_code_changed_not_where_a_record_was_written(tmp_path: Path):
    shutil.copytree(ROOT / "rlfr_mm", tmp_path / "rlfr_mm", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "docs").mkdir()
    for name in ("docs/results.json", "pyproject.toml"):
        (tmp_path / name).write_text("committed")

    def git(*command: str) -> str:
        author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        return subprocess.run(
            ["git", *author, *command], cwd=tmp_path, check=True, capture_output=True, text=True
        ).stdout

    git("init")
    git("add", ".")
    git("commit", "-m", "all")
    command = [sys.executable, "-c", ENVIRONMENTS]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, check=True, capture_output=True, text=True)
    head = git("rev-parse", "HEAD").strip()
    assert json.loads(done.stdout.splitlines()[-1]) == [head, head, f"{head}-dirty"]


@pytest.mark.parametrize(
    ("there", "named"),
    [
        (["metrics.jsonl"], False),
        (["evaluation_before.jsonl"], False),
        (["evaluation_before.jsonl", "metrics.jsonl"], True),
        (["flow/manifest.json", "metrics.jsonl"], True),
    ],
)
def test_a_missing_record_of_stages_is_named_where_results_of_a_later_stage_are(
    there: list[str], named: bool, tmp_path: Path, capsys: pytest.CaptureFixture
):
    for name in there:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert RunFolder(tmp_path).stages == {}
    assert ("stages.json is missing" in capsys.readouterr().err) == named


@pytest.fixture
def resumed(tmp_path: Path):
    """What --resume says with `now`, to a run with `before` whose record went through `change`."""

    def refusal(now: dict[str, Any], before: dict[str, Any] = {}, change=lambda record: None) -> str:  # noqa: B006
        start = {"flow": {"random_start": True}, "train": {"output_dir": str(tmp_path), "max_steps": 4}}
        open_run(build(RunConfig, start | before), overwrite=True)
        saved = tmp_path / "config.yaml"
        record = yaml.safe_load(saved.read_text())
        change(record)
        saved.write_text(yaml.safe_dump(record))
        with pytest.raises(ValueError) as error:
            check_run(build(RunConfig, start | now), overwrite=False, resume=True)
        return str(error.value).removeprefix(f"--resume with settings other than {saved}: ")

    return refusal


def test_settings_that_differ_on_resume_are_named_with_both_values(resumed, tmp_path: Path):
    train = {"output_dir": "moved/away", "max_steps": 9, "seed": 7}
    assert resumed({"train": train | {"output_dir": str(tmp_path)}}) == (
        "train.max_steps (4, now 9), train.seed (None, now 7): use the same, or --overwrite"
    )
    assert "model.lora.r (4, now 8)" in resumed({"model": {"lora": {"r": 8}}}, {"model": {"lora": {"r": 4}}})
    assert "data.columns.answer (None, now 'gold')" in resumed(
        {"data": {"source": "x", "columns": {"answer": "gold"}}}, {"data": {"source": "x"}}
    )
    assert "rewards (None, now ['accuracy'])" in resumed({"rewards": ["accuracy"]})


def test_a_checkpoint_is_for_as_many_processes_as_have_states_in_it(tmp_path: Path):
    checkpoint = tmp_path / "checkpoint-2"
    checkpoint.mkdir()
    (checkpoint / "model.safetensors").touch()
    seal(checkpoint)
    with pytest.raises(ValueError, match="has weights only, because of train"):
        check_states(checkpoint, 1)
    for process in (0, 1):
        (checkpoint / f"rng_state_{process}.pth").touch()
    seal(checkpoint)
    check_states(checkpoint, 2)
    with pytest.raises(ValueError, match="is of a run on 2 processes: resume it on as many, not on 3"):
        check_states(checkpoint, 3)
    (checkpoint / MANIFEST).write_text("[")
    check_states(checkpoint, 3)  # a damaged one is for `newest_whole` to refuse


def test_a_run_of_another_version_is_refused_by_the_settings_that_only_one_knows(resumed):
    def older(record: dict[str, Any]) -> None:
        del record["flow_reward"]["noise_draws"], record["update"]["warmup_steps"]
        record["flow_reward"]["gone"] = 1

    told = resumed({}, change=older)
    assert "is of another version of rlfr_mm, with other settings (flow_reward.noise_draws, flow_reward.gone, " in told
    assert told.endswith("update.warmup_steps): continue it with that version, or start again with --overwrite")
