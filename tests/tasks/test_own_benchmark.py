"""docs/adding_a_benchmark.md, done to the letter: a benchmark outside the checkout is found, evaluated and graded."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from datasets import Dataset
from lmms_eval.utils import load_yaml_config
from PIL import Image

from tests.conftest import ROOT

KNOWN = "from rlfr_mm.tasks.registry import TASKS as known\n"
PAGE = (ROOT / "docs/adding_a_benchmark.md").read_text()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with the page's Python file, and a mirror with three records of its dataset."""
    folder = tmp_path_factory.mktemp("own")
    (block,) = [part for part in re.split(r"\n(?! {4}|\n)", PAGE) if "# my_tasks/my_benchmark/__init__.py" in part]
    lines = [line[4:] for line in block.splitlines() if line.startswith("    ") or not line]
    benchmark = folder / "my_tasks" / "my_benchmark" / "__init__.py"
    benchmark.parent.mkdir(parents=True)
    benchmark.write_text("\n".join(lines).replace("rows=500", "rows=3"))
    picture = Image.new("RGB", (84, 84), "white")
    rows = [
        {"id": i, "question": "How many?", "answer": str(i), "subject": "counts", "image": picture} for i in range(3)
    ]
    data = folder / "mirror" / "organisation" / "name"
    data.mkdir(parents=True)
    Dataset.from_list(rows).to_parquet(str(data / "test-00000-of-00001.parquet"))
    return folder


def run(folder: Path, *command: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", *command], cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_it_is_listed(folder: Path):
    listed = run(folder, "rlfr_mm.tasks.list", RLFR_TASKS="my_tasks")
    assert {"rlfr_my_benchmark", "rlfr_my_benchmark_pass32", "rlfr_my_benchmark_official"} <= set(listed.split())


def test_eval_run_answers_it(folder: Path, tiny_policy: Path):
    arguments = ["--include_path", "my_tasks", "--tasks", "rlfr_my_benchmark", "--model", f"rlfr={tiny_policy}"]
    arguments += ["--gen_kwargs", "max_new_tokens=4", "--data_root", "mirror", "--output_dir", "runs/mine"]
    run(folder, "rlfr_mm.eval.run", *arguments)
    run(folder, "rlfr_mm.eval.score", "runs/mine", RLFR_TASKS="my_tasks")
    rows = (folder / "runs/mine/rlfr_my_benchmark/samples.jsonl").read_text().splitlines()
    assert [json.loads(row)["doc"]["answer"] for row in rows] == ["0", "1", "2"]


def test_plain_lmms_eval_runs_its_yaml(folder: Path, tiny_policy: Path):
    run(folder, "rlfr_mm.tasks.write_yaml", "my_tasks")
    arguments = ["--include_path", "../my_tasks", "--tasks", "rlfr_my_benchmark", "--model", "qwen2_5_vl"]
    arguments += ["--model_args", f"pretrained={tiny_policy},device_map=cpu", "--gen_kwargs", "max_new_tokens=4"]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "RLFR_TASKS": str(folder / "my_tasks")}
    run(folder / "mirror", "lmms_eval", *arguments, "--device", "cpu", "--output_path", "out", **offline)
    (results,) = (folder / "mirror" / "out").rglob("*_results.json")
    assert "score_official_rule,none" in json.loads(results.read_text())["results"]["rlfr_my_benchmark"]


@pytest.mark.parametrize(
    "text, message",
    [
        ("TASKS = ()", "has no benchmark"),
        (f"{KNOWN}TASKS = (known['rlfr_gsm8k'],)", "is there already"),
        (f"{KNOWN}TASKS = (known['rlfr_gsm8k'])", "TASKS must be a tuple of TaskSpec"),
        (f"{KNOWN}TASK = (known['rlfr_gsm8k'],)", "TASKS must be a tuple of TaskSpec"),
        (
            f"{KNOWN}from dataclasses import replace\nTASKS = "
            "(replace(known['rlfr_gsm8k'], name='rlfr_own', scorer='maths'),)",
            "rlfr_own has the scorer 'maths'; use one of ",
        ),
    ],
)
def test_what_cannot_be_added_is_named(tmp_path: Path, text: str, message: str):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "__init__.py").write_text(text)
    command = [sys.executable, "-m", "rlfr_mm.tasks.write_yaml", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


def test_written_yaml_says_what_the_hand_written_one_says(tmp_path: Path):
    from rlfr_mm.tasks.registry import TASKS
    from rlfr_mm.tasks.write_yaml import yaml_text

    for name, written in TASKS.items():
        (tmp_path / f"{name}.yaml").write_text(yaml_text(written))
        (by_hand,) = (ROOT / "tasks").rglob(f"{name}.yaml")
        ours, theirs = (load_yaml_config(str(path), mode="full") for path in (tmp_path / f"{name}.yaml", by_hand))
        for settings in (ours, theirs):
            settings.setdefault("repeats", 1)
            settings.pop("process_docs")  # a function made anew each time it is asked for
        assert ours == theirs, name
