"""What a run folder says of a run: its stages, and the versions and the commit that it ran with."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rlfr_mm.training.run_folder import RunFolder
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
