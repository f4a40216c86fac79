"""Checkpoints are whole or do not count, the best one stays, and nothing that is loaded is unpickled."""

import json
import os
import pickle
import shutil
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import TrainerState
from transformers.utils.hub import hf_api

from rlfr_mm.config import FlowConfig, ModelArguments
from rlfr_mm.files import MANIFEST, damage, seal
from rlfr_mm.method.field import FlowField
from rlfr_mm.policy import load_policy
from rlfr_mm.training.checkpoints import refusal
from rlfr_mm.training.run_folder import checkpoints, newest_whole
from tests.json_server import JsonHandler, serving
from tests.tiny_trainer import make_trainer

SAVE = {"save_strategy": "steps", "save_steps": 1, "max_steps": 3}


class Malicious:
    """What runs a command if it is unpickled."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.marker}",)


@pytest.fixture(scope="module")
def saved(tiny_policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of three steps with a checkpoint after each."""
    folder = tmp_path_factory.mktemp("saved") / "run"
    make_trainer(tiny_policy, folder, **SAVE).train()
    return folder


@pytest.fixture
def run(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "run"))


def test_a_checkpoint_lists_its_files_and_holds_no_pickled_settings(saved: Path):
    assert [path.name for path in checkpoints(saved)] == ["checkpoint-1", "checkpoint-2", "checkpoint-3"]
    for checkpoint in checkpoints(saved):
        listed = json.loads((checkpoint / MANIFEST).read_text())["files"]
        assert listed.keys() >= {"model.safetensors", "optimizer.pt", "flow_state.pt", "flow/flow.safetensors"}
        found = {str(path.relative_to(checkpoint)) for path in checkpoint.rglob("*") if path.is_file()}
        assert found == {*listed, MANIFEST}
        assert damage(checkpoint) is None and refusal(checkpoint) is None
        assert not (checkpoint / "training_args.bin").exists()


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def _zero(path: Path) -> None:
    path.write_bytes(bytes(path.stat().st_size))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize("harm", [_truncate, _zero, _flip, Path.unlink], ids=["truncated", "zeroed", "flipped", "gone"])
def test_every_damaged_file_is_named_and_the_checkpoint_before_is_used(run: Path, harm: Any, capsys: Any):
    names = [
        str(path.relative_to(run / "checkpoint-3")) for path in (run / "checkpoint-3").rglob("*") if path.is_file()
    ]
    assert len(names) > 12
    for name in names:
        copy = Path(shutil.copytree(run / "checkpoint-3", run / "kept"))
        harm(run / "checkpoint-3" / name)
        assert newest_whole(run, refusal) == run / "checkpoint-2"
        warnings = capsys.readouterr().err.splitlines()
        assert len(warnings) == 2 and name in warnings[0] and "checkpoint-3" in warnings[0], (name, warnings)
        assert warnings[1] == f"warning: continuing from {run / 'checkpoint-2'}"
        assert (run / "damaged-3").is_dir() and not (run / "checkpoint-3").exists()
        copy.rename(run / "checkpoint-3")


def test_what_is_no_checkpoint_does_not_count(run: Path, capsys: Any):
    (run / "checkpoint-best").mkdir()
    (run / "checkpoint-9").mkdir()
    (run / "checkpoint-10").write_text("a file")
    assert newest_whole(run, refusal) == run / "checkpoint-3"
    assert "checkpoint-9 is unfinished: it has no manifest.json" in capsys.readouterr().err
    for checkpoint in checkpoints(run):
        shutil.rmtree(checkpoint)
    assert newest_whole(run, refusal) is None and capsys.readouterr().err == ""


@pytest.mark.parametrize("name", ["optimizer.pt", "flow_state.pt", "rng_state.pth", "scheduler.pt"])
@pytest.mark.parametrize("write", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_malicious_file_is_refused_by_name_even_if_its_checksum_is_right(
    run: Path, tmp_path: Path, name: str, write: Any, capsys: Any
):
    write(Malicious(tmp_path / "marker"), run / "checkpoint-3" / name)
    seal(run / "checkpoint-3")
    assert newest_whole(run, refusal) == run / "checkpoint-2"
    assert f"{run / 'checkpoint-3' / name} is refused: it holds more than tensors" in capsys.readouterr().err
    assert not (tmp_path / "marker").exists()


def test_a_malicious_field_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "flow_model.bin"
    torch.save({"weight": Malicious(tmp_path / "marker")}, path)
    config = FlowConfig(flow_layers=[0.5], hidden_size=8, num_policy_layers=4, rms_norm_eps=1e-6)
    with pytest.raises(ValueError, match=r"flow_model\.bin is not a readable weights file"):
        FlowField.from_pretrained(path, config)
    assert not (tmp_path / "marker").exists()


def test_a_configuration_that_asks_for_code_is_refused_by_name(run: Path, tmp_path: Path):
    checkpoint = run / "checkpoint-3"
    (checkpoint / "evil.py").write_text(f"open({str(tmp_path / 'marker')!r}, 'w')")
    config = json.loads((checkpoint / "config.json").read_text())
    config["auto_map"] = {"AutoModelForImageTextToText": "evil.Model", "AutoConfig": "evil.Config"}
    (checkpoint / "config.json").write_text(json.dumps(config))
    seal(checkpoint)
    reason = f"{checkpoint / 'config.json'} is refused: it asks for code of its own"
    assert reason in str(refusal(checkpoint)) and refusal(checkpoint, trust_remote_code=True) is None
    with pytest.raises(ValueError, match=r"config\.json is refused: it asks for code of its own"):
        load_policy(ModelArguments(str(checkpoint)))
    assert not (tmp_path / "marker").exists()


def test_the_best_checkpoint_is_kept_recorded_and_loaded_at_the_end(tiny_policy: Path, tmp_path: Path):
    evaluations: list[float] = []

    def worse_every_time(completions: list[Any], **kwargs: Any) -> list[float]:
        if not trainer.model.training:
            evaluations.append(-float(trainer.state.global_step))
            return [evaluations[-1]] * len(completions)
        return [float(index % 3 == 0) for index in range(len(completions))]

    settings = {"eval_strategy": "steps", "eval_steps": 1, "per_device_eval_batch_size": 8, "save_total_limit": 2}
    best = {"load_best_model_at_end": True, "metric_for_best_model": "reward", "greater_is_better": True}
    trainer = make_trainer(tiny_policy, tmp_path, reward=worse_every_time, evaluates=True, **SAVE, **settings, **best)
    trainer.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-1", "checkpoint-3"]
    assert trainer.state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
    for checkpoint in checkpoints(tmp_path):
        state = TrainerState.load_from_json(str(checkpoint / "trainer_state.json"))
        assert state.best_model_checkpoint == str(tmp_path / "checkpoint-1")
        assert not [line for line in (checkpoint / "trainer_state.json").read_text().splitlines() if "saving" in line]
    trainer.save_policy(tmp_path / "final")
    for name in ("model.safetensors", "flow/flow.safetensors"):
        expected, found = load_file(tmp_path / "checkpoint-1" / name), load_file(tmp_path / "final" / name)
        last = load_file(tmp_path / "checkpoint-3" / name)
        assert all(torch.equal(value, found[key]) for key, value in expected.items())
        assert not all(torch.equal(value, found[key]) for key, value in last.items())


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path, save_total_limit=1, **SAVE)

    class Killed(BaseException):
        pass

    def killed(folder: Path) -> None:
        if folder.name == "checkpoint-3":
            raise Killed

    trainer.save_extras, save = lambda folder: (save(folder), killed(folder)), trainer.save_extras
    with pytest.raises(Killed):
        trainer.train()
    assert [path.name for path in checkpoints(tmp_path)] == ["checkpoint-2", "checkpoint-3"]
    assert newest_whole(tmp_path, refusal) == tmp_path / "checkpoint-2"


def test_nothing_is_saved_with_weights_that_are_not_finite(tiny_policy: Path, tmp_path: Path):
    trainer = make_trainer(tiny_policy, tmp_path)
    with torch.no_grad():
        trainer.flow.field.final_layer.linear.bias[0] = torch.nan
    with pytest.raises(RuntimeError, match=r"weights are not finite \(final_layer.linear.bias\): nothing is saved"):
        trainer.save_policy(tmp_path / "final")
    assert not (tmp_path / "final").exists()


class Hub(JsonHandler):
    """A hub that lets one make a repository, and then refuses the token."""

    def do_POST(self) -> None:
        self.body()
        made, url = self.path == "/api/repos/create", f"http://{self.headers['Host']}/me/x"
        self.answer({"url": url} if made else {"error": "wrong\ntoken"}, 200 if made else 401)


@pytest.mark.parametrize("gone", [False, True])
def test_an_upload_that_fails_loses_nothing_and_is_one_line(
    gone: bool, tiny_policy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
):
    pushing = {"push_to_hub": True, "hub_model_id": "me/x", "hub_token": "hf_wrong"}
    with ExitStack() as server:
        monkeypatch.setattr(hf_api(), "endpoint", f"http://{server.enter_context(serving(Hub))}")
        trainer = make_trainer(tiny_policy, tmp_path / "run", **(SAVE | pushing | {"max_steps": 1}))
        if gone:
            server.close()
        trainer.train()
        trainer.save_policy(tmp_path / "run" / "final")
    warnings = [line for line in capsys.readouterr().err.splitlines() if "not uploaded to the hub" in line]
    assert len(warnings) == 2 and all(line.startswith("warning: ") for line in warnings)  # a checkpoint, and the run
    assert damage(tmp_path / "run" / "final") is None and damage(tmp_path / "run" / "checkpoint-1") is None
