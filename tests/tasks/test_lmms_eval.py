"""The real `lmms-eval` command on the mirror: what it writes is what the registry says of the same responses.

A start of the command costs most of the time, so each one runs many tasks.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from rlfr_mm import tasks as package
from rlfr_mm.grading import grade_all
from rlfr_mm.quickstart.policy import build_policy
from rlfr_mm.tasks.registry import TASKS, averages, expand, load

FOLDER = Path(package.__file__).parent
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}
NO_IMAGES = {"rlfr_mathvista_testmini", "rlfr_mathvista_testmini_official"}
WITH_SAMPLES = "rlfr_quickstart_pass32"
SEEN_BY_THE_POLICY = [
    name for name, spec in TASKS.items() if name not in NO_IMAGES and (spec.samples == 1 or name == WITH_SAMPLES)
]


class Run(NamedTuple):
    results: dict[str, dict[str, Any]]  # by task or group
    samples: dict[str, list[dict[str, Any]]]  # by task


def lmms_eval(folder: Path, mirror: Path, model: str, tasks: list[str], *options: str) -> subprocess.CompletedProcess:
    """The command, in the mirror; scoring is threaded, as it is by default."""
    command = [
        sys.executable, "-m", "lmms_eval", "--model", model, "--include_path", str(FOLDER), "--tasks", ",".join(tasks),
        "--output_path", str(folder), "--log_samples", "--batch_size", "1", *options,
    ]  # fmt: skip
    return subprocess.run(command, cwd=mirror, env={**os.environ, **OFFLINE}, capture_output=True, text=True)


def read(folder: Path) -> Run:
    (results,) = folder.rglob("*_results.json")
    samples = {
        path.stem.split("_samples_")[1]: [json.loads(line) for line in path.read_text().splitlines()]
        for path in folder.rglob("*_samples_*.jsonl")
    }
    return Run(json.loads(results.read_text())["results"], samples)


def assert_aggregates_are_those_of_the_logged_samples(run: Run, tasks: list[str]) -> None:
    for name in tasks:
        spec = TASKS[name]
        details = run.results[name]["details,none"]
        assert details == spec.aggregate([row for sample in run.samples[name] for row in sample["details"]["rows"]])
        assert run.results[name]["score,none"] == pytest.approx(details.get(spec.headline, float("nan")), nan_ok=True)


@pytest.fixture(scope="module")
def constant_answer(mirror: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Every record of every greedy task, answered \\boxed{0.5}: right where the gold is 1/2, however it is written."""
    folder = tmp_path_factory.mktemp("dummy")
    greedy = [name for name, spec in TASKS.items() if spec.samples == 1 and spec.protocol == "rlfr"]
    multimodal = [spec.name for spec in expand(["rlfr_multimodal"])]
    tasks = ["rlfr_multimodal", *(name for name in greedy if name not in multimodal)]
    done = lmms_eval(folder, mirror, "dummy", tasks, "--model_args", "response=\\boxed{0.5}")
    assert done.returncode == 0, done.stderr[-3000:]
    return read(folder)


def test_every_record_is_scored_and_the_aggregates_are_those_of_the_samples(constant_answer: Run, mirror: Path) -> None:
    for name, samples in constant_answer.samples.items():
        assert len(samples) == len(load(TASKS[name], mirror)), name
    assert_aggregates_are_those_of_the_logged_samples(constant_answer, list(constant_answer.samples))


def test_threaded_scoring_gives_the_verdicts_of_one_thread(constant_answer: Run, mirror: Path) -> None:
    spec = TASKS["rlfr_math500"]
    items = [spec.item(doc, "\\boxed{0.5}") for doc in load(spec, mirror)]
    expected = [verdict.status for verdict in grade_all(items, workers=1)]
    logged = [sample["details"]["rows"][0]["status"] for sample in constant_answer.samples["rlfr_math500"]]
    assert logged == expected
    right = {item.gold for item, status in zip(items, expected, strict=True) if status == "correct"}
    assert right - {"0.5"}, "no symbolic comparison was needed, so the test shows nothing"


def test_group_scores_are_the_papers_averages(constant_answer: Run) -> None:
    headlines = {name: constant_answer.results[name]["score,none"] for name in constant_answer.samples}
    expected = averages("rlfr_multimodal", headlines)
    for group, name in (
        ("rlfr_multimodal_math", "Math Avg"),
        ("rlfr_multimodal_logic", "Logic Avg"),
        ("rlfr_multimodal", "Avg"),
    ):
        assert constant_answer.results[group]["score,none"] == pytest.approx(expected[name])


def test_both_rules_are_logged(constant_answer: Run) -> None:
    sample = constant_answer.samples["rlfr_gsm8k"][0]
    assert {sample[metric]["rows"][0]["problem_id"] for metric in ("score", "score_official_rule")} == {
        sample["details"]["rows"][0]["problem_id"]
    }


def test_repeats_of_the_command_line_are_all_scored(mirror: Path, tmp_path: Path) -> None:
    tasks = ["rlfr_aime24", "rlfr_aime24_pass32"]
    options = ("--model_args", "response=\\boxed{204}", "--limit", "2", "--repeats", "5")
    done = lmms_eval(tmp_path, mirror, "dummy", tasks, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(tmp_path)
    for name in tasks:
        details = run.results[name]["details,none"]
        assert (details["responses"], details["pass@5"], details["mean@5"]) == (10, 0.5, 0.5)


@pytest.mark.parametrize("model_class", ["chat", "simple"])
def test_the_tiny_policy_answers_every_task(model_class: str, mirror: Path, tmp_path: Path) -> None:
    policy = build_policy(tmp_path / "policy")
    options = ["--device", "cpu", "--gen_kwargs", "max_new_tokens=4", "--limit", "2"]
    options += ["--model_args", f"pretrained={policy},device_map=cpu,attn_implementation=sdpa"]
    if model_class == "simple":
        options.append("--force_simple")
    done = lmms_eval(tmp_path / "out", mirror, "qwen2_5_vl", SEEN_BY_THE_POLICY, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(tmp_path / "out")
    assert sorted(run.samples) == sorted(SEEN_BY_THE_POLICY)
    for name, samples in run.samples.items():
        assert [len(sample["details"]["rows"]) for sample in samples] == [TASKS[name].samples] * 2
    assert len({str(sample["filtered_resps"]) for samples in run.samples.values() for sample in samples}) > 10
    assert_aggregates_are_those_of_the_logged_samples(run, list(run.samples))


def test_a_record_without_an_image_is_named(mirror: Path, tmp_path: Path) -> None:
    policy = build_policy(tmp_path / "policy")
    options = ["--device", "cpu", "--model_args", f"pretrained={policy},device_map=cpu,attn_implementation=sdpa"]
    done = lmms_eval(tmp_path / "out", mirror, "qwen2_5_vl", ["rlfr_mathvista_testmini"], *options, "--limit", "1")
    assert "rlfr_mathvista_testmini: record 1 has no image in its field 'decoded_image'" in done.stdout + done.stderr
    assert not list((tmp_path / "out").rglob("*_results.json"))
