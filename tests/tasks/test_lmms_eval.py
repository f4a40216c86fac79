"""The real `lmms-eval` command on the mirror writes what the registry computes for the same responses.

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
SAMPLED = "rlfr_quickstart_pass32"
GREEDY = [name for name, spec in TASKS.items() if spec.samples == 1 and spec.protocol == "rlfr"]
# Many records with long formulas: two of each are enough here, test_records.py reads them all.
LONG = ["rlfr_gsm8k", "rlfr_minerva_math", "rlfr_olympiadbench", "rlfr_mathverse_testmini_text_only"]
POLICY_TASKS = {
    "chat": [name for name in TASKS if TASKS[name].samples == 1 and name not in NO_IMAGES] + [SAMPLED],
    "simple": [name for name in GREEDY if name not in NO_IMAGES] + [SAMPLED],
}


class Run(NamedTuple):
    results: dict[str, dict[str, Any]]  # by task or group
    samples: dict[str, list[dict[str, Any]]]  # by task


def lmms_eval(folder: Path, mirror: Path, model: str, tasks: list[str], *options: str) -> subprocess.CompletedProcess:
    """Run the command in the mirror. Scoring uses threads, as by default."""
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


def statuses(run: Run, name: str, metric: str) -> list[str]:
    return [sample[metric]["rows"][0]["status"] for sample in run.samples[name]]


def test_a_constant_answer_over_all_records(mirror: Path, tmp_path: Path) -> None:
    """The answer \\boxed{0.5} is right for every gold that equals one half, however it is written."""
    others = [name for name in GREEDY if TASKS[name] not in expand(["rlfr_multimodal"]) and name not in LONG]
    tasks = ["rlfr_multimodal", *others]
    done = lmms_eval(tmp_path, mirror, "dummy", tasks, "--model_args", "response=\\boxed{0.5}")
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(tmp_path)

    # Every record is scored, and lmms-eval's numbers are those of its samples.
    assert {name: len(samples) for name, samples in run.samples.items()} == {
        name: len(load(TASKS[name], mirror)) for name in GREEDY if name not in LONG
    }
    assert_aggregates_are_those_of_the_logged_samples(run, list(run.samples))

    # lmms-eval's four threads give the verdicts of one, under both rules.
    for name, metric, rule in (
        ("rlfr_math500", "score", "strict"),
        ("rlfr_mathvista_testmini", "score", "strict"),
        ("rlfr_mathvista_testmini", "score_official_rule", "official"),
    ):
        items = [TASKS[name].item(doc, "\\boxed{0.5}") for doc in load(TASKS[name], mirror)]
        assert statuses(run, name, metric) == [verdict.status for verdict in grade_all(items, rule, workers=1)]
    written = {sample["target"] for sample in run.samples["rlfr_math500"] if sample["score"]["score"]}
    assert written - {"0.5"}, "no gold needed a symbolic comparison, so nothing was shown about threads"
    both = [statuses(run, "rlfr_mathvista_testmini", metric) for metric in ("score", "score_official_rule")]
    assert both[0] != both[1], "the rules differ where MathVista guesses the nearest choice"

    # The groups' scores are the paper's averages.
    expected = averages("rlfr_multimodal", {name: run.results[name]["score,none"] for name in run.samples})
    groups = {"rlfr_multimodal_math": "Math Avg", "rlfr_multimodal_logic": "Logic Avg", "rlfr_multimodal": "Avg"}
    for group, average in groups.items():
        assert run.results[group]["score,none"] == pytest.approx(expected[average])


def test_repeats_of_the_command_line_are_all_scored(mirror: Path, tmp_path: Path) -> None:
    tasks = ["rlfr_aime24", "rlfr_aime24_pass32", *LONG]
    options = ("--model_args", "response=\\boxed{204}", "--limit", "2", "--repeats", "5")
    done = lmms_eval(tmp_path, mirror, "dummy", tasks, *options)
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(tmp_path)
    for name in tasks:
        details = run.results[name]["details,none"]
        assert (details["problems"], details["responses"]) == (2, 10)
        assert details["mean@5"] == details["pass@5"] == (0.5 if "aime" in name else 0.0)
    assert_aggregates_are_those_of_the_logged_samples(run, tasks)


@pytest.mark.parametrize("model_class", ["chat", "simple"])
def test_the_tiny_policy_answers_every_task(model_class: str, mirror: Path, tmp_path: Path) -> None:
    policy = build_policy(tmp_path / "policy")
    options = ["--device", "cpu", "--gen_kwargs", "max_new_tokens=4", "--limit", "2"]
    options += ["--model_args", f"pretrained={policy},device_map=cpu,attn_implementation=sdpa"]
    if model_class == "simple":
        options.append("--force_simple")
    done = lmms_eval(tmp_path / "out", mirror, "qwen2_5_vl", POLICY_TASKS[model_class], *options)
    assert done.returncode == 0, done.stderr[-3000:]
    run = read(tmp_path / "out")
    assert sorted(run.samples) == sorted(POLICY_TASKS[model_class])
    for name, samples in run.samples.items():
        assert [len(sample["details"]["rows"]) for sample in samples] == [TASKS[name].samples] * 2
    assert len(set(run.samples[SAMPLED][0]["filtered_resps"])) > 1, "all 32 samples are the same"
    assert_aggregates_are_those_of_the_logged_samples(run, list(run.samples))


def test_a_record_without_an_image_is_named(mirror: Path, tmp_path: Path) -> None:
    policy = build_policy(tmp_path / "policy")
    options = ["--device", "cpu", "--model_args", f"pretrained={policy},device_map=cpu,attn_implementation=sdpa"]
    done = lmms_eval(tmp_path / "out", mirror, "qwen2_5_vl", ["rlfr_mathvista_testmini"], *options, "--limit", "1")
    assert "rlfr_mathvista_testmini: record 1 has no image in its field 'decoded_image'" in done.stdout + done.stderr
    assert not list((tmp_path / "out").rglob("*_results.json"))
