"""What happens to the files of a run folder: damaged ones are named, and the resumed run ends as if undisturbed."""

import json
import os
import re
import shutil
from pathlib import Path

import pytest

from rlfr_mm import train
from rlfr_mm.files import LOCK, locked
from rlfr_mm.viewing.run_page import read_run, render
from tests.faults import tiny_run


@pytest.fixture
def unfinished(whole: Path, tmp_path: Path) -> Path:
    """A copy of the undisturbed run in the state after its last step, before final/ was written."""
    run = Path(shutil.copytree(whole, tmp_path / "run"))
    shutil.rmtree(run / "final")
    (run / "summary.json").unlink()
    stages = json.loads((run / "stages.json").read_text())
    kept = {name: stages[name] for name in ("accuracy before", "flow field")}
    (run / "stages.json").write_text(json.dumps(kept))
    return run


def _resume(config: Path, run: Path) -> list[str]:
    """The warnings of a resumed run, which must succeed."""
    assert tiny_run.finish(tiny_run.train(config, run, "--resume")) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    assert not any("Traceback" in line for line in tiny_run.log_of(run))
    return [line for line in tiny_run.log_of(run) if line.startswith("warning: ")]


def test_everything_damaged_at_once_is_named_and_repaired(config: Path, whole: Path, unfinished: Path):
    run = unfinished
    weights = run / "checkpoint-6" / "model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    (run / "checkpoint-7").mkdir()
    (run / "checkpoint-best").mkdir()
    (run / "stages.json").write_text("")
    metrics = (run / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    metrics[1] = metrics[1].replace(b'"num_tokens": ', b'"num_tokens": 1')
    (run / "metrics.jsonl").write_bytes(b"".join([*metrics[:2], *metrics[3:6], b"\0\0\0\n"]))
    records, image = run / "rollouts" / "000002.jsonl", next((run / "rollouts" / "images").iterdir())
    records.write_bytes(records.read_bytes().replace(b'"step":2', b'"step":1'))
    (run / "rollouts" / "000003.jsonl").unlink()
    (run / "rollouts" / "000005.jsonl").write_bytes(b"")  # made again, because the newest checkpoint is damaged
    os.truncate(image, image.stat().st_size // 2)
    (run / "summary.json").write_bytes(bytes(10))
    (run / "flow" / "flow.safetensors").unlink()
    warnings = _resume(config, run)
    named = ["checkpoint-7", "model.safetensors", "stages.json", "metrics.jsonl, line 6", "summary.json", image.name]
    for name in (*named, "metrics.jsonl is damaged", "000002.jsonl is damaged", "000003.jsonl is missing"):
        assert sum(name in warning for warning in warnings) == 1, (name, warnings)
    assert f"warning: continuing from {run / 'checkpoint-4'}" in warnings
    expected = tiny_run.results_of(whole)
    assert {expected["rollouts"].pop(step)[0]["step"] for step in (2, 3)} == {2, 3}
    assert tiny_run.results_of(run) == expected
    page = render([read_run(run)])[0]
    assert "the rollouts of step 2 are left out" in page and "the rollouts of step 3 are left out" in page


@pytest.mark.parametrize("name", ["stages.json", "summary.json"])
def test_a_changed_figure_of_a_finished_stage_is_named_and_not_believed(
    name: str, config: Path, whole: Path, unfinished: Path
):
    run = unfinished
    for kept in ("final", "stages.json", "summary.json"):
        (shutil.copytree if kept == "final" else shutil.copy)(whole / kept, run / kept)
    if name == "stages.json":
        (run / "summary.json").unlink()
    text = (run / name).read_text()
    (run / name).write_text(text.replace('"accuracy": 0.', '"accuracy": 1.'))
    assert (run / name).read_text() != text
    (warning,) = _resume(config, run)
    assert f"{name} is damaged" in warning
    assert tiny_run.results_of(run) == tiny_run.results_of(whole)


def test_damaged_results_of_finished_stages_are_made_again(config: Path, whole: Path, unfinished: Path):
    run = unfinished
    shutil.copytree(whole / "final", run / "final")
    shutil.copy(whole / "stages.json", run)
    (run / "final" / "config.json").write_text("{}")
    (run / "flow" / "flow.safetensors").write_bytes(b"")
    warnings = _resume(config, run)
    assert any("final/config.json is damaged" in line and "repeating the stage 'training'" in line for line in warnings)
    assert any("flow/flow.safetensors is damaged" in line and "'flow field'" in line for line in warnings)
    assert tiny_run.results_of(run) == tiny_run.results_of(whole)


def test_a_second_process_at_the_same_run_is_refused_in_one_line(config: Path, unfinished: Path):
    with locked(unfinished / LOCK, "the run"):
        for option in ("--resume", "--overwrite"):
            process = tiny_run.train(config, unfinished, option)
            assert tiny_run.finish(process) == 2
            said = f"error: {unfinished} is in use by process {os.getpid()}; wait for it or give another folder"
            assert tiny_run.log_of(unfinished)[-1] == said
    assert (unfinished / "metrics.jsonl").exists()


def test_of_two_processes_that_start_the_same_run_one_is_refused_and_overwriting_starts_again(
    config: Path, whole: Path, tmp_path: Path
):
    run = tmp_path / "run"
    processes = [tiny_run.train(config, run) for _ in range(2)]
    assert sorted(map(tiny_run.finish, processes)) == [0, 2]
    errors = re.findall("error: .*", "\n".join(tiny_run.log_of(run)))  # both write to one log
    assert len(errors) == 1 and ("is in use by process" in errors[0] or "holds a" in errors[0])
    (run / "checkpoint-9").mkdir()
    assert tiny_run.finish(tiny_run.train(config, run, "--overwrite")) == 0
    assert not (run / "checkpoint-9").exists() and tiny_run.results_of(run) == tiny_run.results_of(whole)


@pytest.mark.parametrize("name", ["config.yaml", "config.yaml removed"])
def test_a_damaged_configuration_is_one_line(name: str, config: Path, unfinished: Path, capsys: pytest.CaptureFixture):
    file = unfinished / "config.yaml"
    file.unlink() if "removed" in name else file.write_bytes(b"train: {\0")
    with pytest.raises(SystemExit, match="2"):
        train.main(["--config", str(config), f"train.output_dir={unfinished}", "--resume"])
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert str(unfinished) in line
