"""benchmarks/answer_again.py on a real experiment: other answers of the policies that its runs left."""

import shutil
from pathlib import Path
from types import ModuleType

import pytest
import yaml

from rlfr_mm import experiment
from rlfr_mm.experiments.records import read_results
from tests.conftest import ROOT
from tests.tiny_trainer import CPU


@pytest.fixture
def answer_again(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    import answer_again

    return answer_again


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Two methods on one seed, one step each, from the shipped policy; so large a step that the answers change."""
    quickstart = {"source": "quickstart", "instruction": "none", "levels": [2]}
    train = {"max_steps": 1, "per_device_train_batch_size": 8, "num_generations": 8, "max_completion_length": 48}
    base = {
        "data": quickstart | {"limit": 8},
        "evaluation": {"data": quickstart | {"split": "test", "limit": 24}},
        "train": CPU | train | {"advantage_shaping": "none", "learning_rate": 1e-3},
    }
    (tmp_path / "base.yaml").write_text(yaml.safe_dump(base))
    values = {"base": "base.yaml", "methods": {"rlvr": {}, "half_blame": {"train.negative_weight": 0.5}}, "seeds": [0]}
    folders = {"output_dir": str(tmp_path / "runs"), "results_dir": str(tmp_path / "results")}
    path = tmp_path / "trial.yaml"
    path.write_text(yaml.safe_dump(values | folders, sort_keys=False))
    return path


def ask(module: ModuleType, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    monkeypatch.setattr("sys.argv", ["answer_again.py", *arguments])
    module.main()


def test_greedy_answers_repeat_themselves_and_stand_in_a_record_of_their_own(
    config: Path,
    answer_again: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    experiment.main(["--config", str(config), "--jobs", "2"])
    sampled = read_results(tmp_path / "results/results.json")
    files = [tmp_path / name for name in ("first.json", "second.json")]
    for file in files:
        ask(answer_again, monkeypatch, str(config), f"--json={file}")
    assert files[0].read_bytes() == files[1].read_bytes()  # nothing is sampled
    found = read_results(files[0])
    assert [cell.key for cell in found.cells] == [cell.key for cell in sampled.cells] and found.problems
    for cell in found.cells:
        assert len(cell.correct_after) == 24 and set(cell.correct_after) <= set("01")
        assert cell.accuracy_after == round(cell.correct_after.count("1") / 24, 4)
        assert cell.correct_before == found.cells[0].correct_before  # all began with the same policy
    # The shipped policy is right in 46 % of its sampled answers, and in more of its greedy ones.
    assert found.cells[0].accuracy_before > sum(map(int, sampled.cells[0].correct_before)) / (4 * 24)
    assert found.cells[0].correct_before != found.cells[0].correct_after
    ask(answer_again, monkeypatch, str(config), f"--json={files[1]}", "--skip=20", "--problems=10")
    others = read_results(files[1])
    assert others.problems["base"][:4] == found.problems["base"][20:] and len(others.problems["base"]) == 10
    for cell, known in zip(others.cells, found.cells, strict=True):
        assert cell.correct_after[:4] == known.correct_after[20:] and len(cell.correct_after) == 10
    ask(answer_again, monkeypatch, str(config), f"--json={files[1]}", "--samples=3")
    for cell in read_results(files[1]).cells:
        assert cell.samples == 3 and set(cell.correct_before) == set("0123")  # sampled answers differ
    (final,) = (tmp_path / "runs").glob("**/half_blame/**/final")
    shutil.rmtree(final)
    ask(answer_again, monkeypatch, str(config), f"--json={files[1]}")
    assert [cell.method for cell in read_results(files[1]).cells] == ["rlvr"]
    assert "1 of 2 recorded runs are left out: their policies are not here" in capsys.readouterr().out


def test_an_experiment_without_runs_is_one_line(
    config: Path,
    answer_again: ModuleType,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
):
    with pytest.raises(SystemExit):
        ask(answer_again, monkeypatch, str(config), f"--json={tmp_path / 'out.json'}")
    assert f"runs holds no finished run of {config}: run the experiment first" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ask(answer_again, monkeypatch, str(config), f"--json={tmp_path / 'out.json'}", "--skip=5")
    assert "--skip=5 --problems=None must be given together" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        ask(answer_again, monkeypatch, str(config), f"--json={tmp_path / 'out.json'}", "--samples=10")
    assert "--samples=10 must lie in [1, 9]" in capsys.readouterr().err
    assert not (tmp_path / "out.json").exists()
