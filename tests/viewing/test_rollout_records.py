"""Rollout records: what is written comes back, and what is broken is named."""

import subprocess
import sys

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

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
    writer.cut_after(9)
    assert [found.step for found in read_rollouts(tmp_path)] == [9]


def test_a_broken_line_is_named_and_the_rest_is_read(tmp_path):
    good = record()
    RolloutWriter(tmp_path).write([good, good], {})
    path = tmp_path / "rollouts" / "000001.jsonl"
    lines = path.read_text().splitlines()
    uneven = lines[0].replace('"entropy":[0.3,0.4]', '"entropy":[0.3]')
    assert uneven != lines[0]
    path.write_text("\n".join([lines[0], lines[1][:50], uneven, lines[1]]) + "\n")
    broken: list[str] = []
    assert list(read_rollouts(tmp_path, broken)) == [good, good]
    assert [line.partition(" is not")[0] for line in broken] == [f"{path}, line 2,", f"{path}, line 3,"]
    assert "entropy has 1 entries for 2 tokens" in broken[1]
    with pytest.raises(ValueError, match="line 2"):
        list(read_rollouts(tmp_path))


def test_records_load_no_torch():
    script = "import sys, rlfr_mm.viewing.rollout_records\nassert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", script]).returncode == 0
