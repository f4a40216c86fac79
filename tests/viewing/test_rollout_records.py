"""Rollout records: what is written comes back, and what is broken is named."""

import json
import os
import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from rlfr_mm.files import with_checksum
from rlfr_mm.viewing.rollout_records import RolloutRecord, RolloutWriter, read_rollouts


def record(**changes) -> RolloutRecord:
    values = {
        "step": 1,
        "problem_id": "p",
        "sample": 0,
        "prompt": "How many?",
        "solution": "3",
        "completion": "3.",
        "rewards": {"accuracy": 1.0, "format": 0.0},
        "correct": True,
        "advantage": 0.5,
        "tokens": ["3", "."],
        "advantages": [0.5, 0.4],
        "logprob": [-0.1, -0.2],
        "entropy": [0.3, 0.4],
    }
    return RolloutRecord(**(values | changes))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.text(), st.text())
def test_any_text_of_a_model_comes_back(tmp_path, completion: str, token: str):
    written = record(completion=completion, tokens=[token, "\u2028\x85\r\n"])
    RolloutWriter(tmp_path).write([written], {})
    assert list(read_rollouts(tmp_path)) == [written]


def test_an_ungraded_rollout_comes_back(tmp_path):
    written = record(correct=None, rewards={"accuracy": None, "format": 0.0})
    RolloutWriter(tmp_path).write([written], {})
    assert list(read_rollouts(tmp_path)) == [written]


def test_steps_come_in_order_and_images_are_kept_once(tmp_path):
    writer = RolloutWriter(tmp_path)
    for step in (10, 9, 1000000):
        writer.write([record(step=step, images=["p.png"])], {"p.png": Image.new("RGB", (step % 7 + 1, 1))})
    assert [found.step for found in read_rollouts(tmp_path)] == [9, 10, 1000000]
    assert Image.open(tmp_path / "rollouts" / "images" / "p.png").size == (4, 1)
    writer.files.continue_after(9)
    assert [found.step for found in read_rollouts(tmp_path)] == [9]


def test_a_broken_line_is_named_and_the_rest_is_read(tmp_path):
    good = record()
    RolloutWriter(tmp_path).write([good, good], {})
    path = tmp_path / "rollouts" / "000001.jsonl"
    lines = path.read_text().splitlines()
    uneven = lines[0].replace('"entropy":[0.3,0.4]', '"entropy":[0.3]')
    assert uneven != lines[0]
    path.write_text("\n".join([lines[0], lines[1][:50], uneven, lines[1]]) + "\n")
    (tmp_path / "rollouts" / "checksums.jsonl").unlink()  # as an earlier version leaves a run
    broken: list[str] = []
    assert list(read_rollouts(tmp_path, broken)) == [good, good]
    assert [line.partition(" is not")[0] for line in broken] == [f"{path}, line 2,", f"{path}, line 3,"]
    assert "entropy has 1 entries for 2 tokens" in broken[1]
    with pytest.raises(ValueError, match="line 2"):
        list(read_rollouts(tmp_path))


HARMS = {
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "zeroed": lambda path: path.write_bytes(bytes(path.stat().st_size)),
    "flipped": lambda path: path.write_bytes(path.read_bytes().replace(b'"step":2', b'"step":3')[:-1] + b"\r"),
    "removed": lambda path: path.unlink(),
}


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["000002.jsonl", "images/p.png"])
def test_damage_is_named_set_aside_and_costs_only_the_damaged_file(tmp_path, capsys, harm: str, name: str):
    writer = RolloutWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write([record(step=step)], {"p.png": Image.new("RGB", (9, 9))})
    path = tmp_path / "rollouts" / name
    HARMS[harm](path)
    broken: list[str] = []
    left = [1, 3] if path.suffix == ".jsonl" else [1, 2, 3]
    assert [found.step for found in read_rollouts(tmp_path, broken)] == left and len(broken) == 3 - len(left)
    writer.files.continue_after(3)
    (warning,) = capsys.readouterr().err.splitlines()
    assert warning.startswith(f"warning: {path} is ") and not path.exists()
    assert path.with_name(f"{path.name}.damaged").exists() == (harm != "removed")
    writer.files.continue_after(3)
    assert capsys.readouterr().err == ""  # said once
    broken.clear()
    assert [found.step for found in read_rollouts(tmp_path, broken)] == left
    assert broken == [f"{path} is missing; the rollouts of step 2 are left out"] * (3 - len(left))
    writer.write([record(step=2), record(step=2)], {"p.png": Image.new("RGB", (9, 9))})
    assert [found.step for found in read_rollouts(tmp_path)] == [1, 2, 2, 3] and Image.open(
        writer.files.folder / "images/p.png"
    )


@pytest.mark.parametrize("harm", HARMS)
def test_damaged_checksums_are_named_and_cost_no_record(tmp_path, capsys, harm: str):
    writer = RolloutWriter(tmp_path)
    for step in (1, 2, 3):
        writer.write([record(step=step)], {})
    path = tmp_path / "rollouts" / "checksums.jsonl"
    whole = path.read_text()
    HARMS[harm](path) if harm != "flipped" else path.write_text(whole.replace("000002", "000003"))
    writer.files.continue_after(3)
    assert all(str(path) in line for line in capsys.readouterr().err.splitlines())
    assert [found.step for found in read_rollouts(tmp_path)] == [1, 2, 3]
    assert sorted(path.read_text().splitlines()) == sorted(whole.splitlines())


def test_a_kill_between_a_file_and_its_checksum_loses_nothing(tmp_path, capsys):
    writer = RolloutWriter(tmp_path)
    for step in (1, 2):
        writer.write([record(step=step)], {})
    path = tmp_path / "rollouts" / "checksums.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    assert [found.step for found in read_rollouts(tmp_path)] == [1, 2]
    writer.files.continue_after(1)
    writer.write([record(step=2)], {})
    writer.files.continue_after(2)
    assert [found.step for found in read_rollouts(tmp_path)] == [1, 2]
    (warning,) = capsys.readouterr().err.splitlines()
    assert f"{path}, line 2, is damaged" in warning


def test_a_list_of_checksums_names_no_file_outside_of_its_folder(tmp_path):
    victim = tmp_path / "victim.png"
    victim.write_bytes(b"mine")
    writer = RolloutWriter(tmp_path / "run")
    writer.write([record()], {})
    with (writer.files.folder / "checksums.jsonl").open("a") as file:
        for name in ("../../victim.png", "images/../../../victim.png", str(victim)):
            file.write(json.dumps(with_checksum({"file": name, "content": "0" * 64})) + "\n")
    writer.files.continue_after(1)
    assert victim.read_bytes() == b"mine" and list(read_rollouts(tmp_path / "run")) == [record()]


def test_records_load_no_torch():
    script = "import sys, rlfr_mm.viewing.rollout_records\nassert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
