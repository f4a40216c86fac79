"""A run uploads final/ with its card and scores, once, to a server that speaks the part of the hub's API it uses."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from huggingface_hub import EvalResultEntry, ModelCard, constants, parse_eval_result_entries

from rlfr_mm import train
from rlfr_mm.training.hub import eval_results_text, repository_of, task_id, upload
from tests.json_server import JsonHandler, serving
from tests.tiny_trainer import CPU

TOKEN = "Bearer hf_stand_in"


class Hub(JsonHandler):
    """Creates repositories and takes commits from whoever has the token; every file goes into the commit itself."""

    repositories: dict[str, dict[str, Any]]  # by id: visibility, and the commits, each {path: content}

    def do_POST(self) -> None:
        body = self.body()
        if self.headers.get("Authorization") != TOKEN:
            return self.answer({"error": "Invalid credentials in Authorization header"}, 401)
        if self.path == "/api/repos/create":
            wanted = json.loads(body)
            name = f"{wanted.get('organization') or 'me'}/{wanted['name']}"
            self.repositories.setdefault(name, {"visibility": wanted.get("visibility"), "commits": []})
            return self.answer({"url": f"{constants.ENDPOINT}/{name}"})
        if "/preupload/" in self.path:
            files = [{"path": file["path"], "uploadMode": "regular"} for file in json.loads(body)["files"]]
            return self.answer({"files": [file | {"shouldIgnore": False, "oid": None} for file in files]})
        if "/commit/" in self.path:
            lines = [json.loads(line)["value"] for line in body.splitlines() if b'"file"' in line]
            name, _, revision = self.path.removeprefix("/api/models/").partition("/commit/")
            commit = {line["path"]: base64.b64decode(line["content"]) for line in lines}
            self.repositories[name]["commits"].append((revision, commit))
            return self.answer(
                {"success": True, "commitUrl": f"{constants.ENDPOINT}/{name}/commit/1", "commitOid": "1"}
            )
        return self.answer({"errors": [], "warnings": []})  # of a card's header

    def do_GET(self) -> None:
        known = self.headers.get("Authorization") == TOKEN
        self.answer(
            {"sha": "0" * 40, "siblings": []} if known else {"error": "Invalid credentials"}, 200 if known else 401
        )


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """The repositories of a running stand-in, which huggingface_hub takes for the hub."""
    Hub.repositories = {}
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", TOKEN.removeprefix("Bearer "))
    with serving(Hub) as address:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://{address}")
        yield Hub.repositories


def settings(folder: Path, **changes: Any) -> Any:
    known = {"push_to_hub": True, "hub_model_id": None, "hub_private_repo": None, "hub_revision": None}
    return SimpleNamespace(output_dir=str(folder / "my_run"), **known | changes)


def test_a_run_uploads_final_with_its_card_and_nothing_else(
    tiny_policy: Path, tmp_path: Path, hub: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture
) -> None:
    config = {
        "model": {"name_or_path": str(tiny_policy), "lora": {"r": 2, "target_modules": ["q_proj"]}},
        "data": {"source": "quickstart", "instruction": "none", "limit": 2},
        "train": CPU | {"output_dir": str(tmp_path / "run"), "max_steps": 1, "advantage_shaping": "none"},
    }
    config["train"] |= {"per_device_train_batch_size": 2, "num_generations": 2, "max_completion_length": 4}
    config["train"] |= {"push_to_hub": True, "hub_model_id": "acme/counter", "hub_private_repo": True}
    (tmp_path / "run.yaml").write_text(yaml.safe_dump(config))
    train.main(["--config", str(tmp_path / "run.yaml")])
    assert hub.keys() == {"acme/counter"} and hub["acme/counter"]["visibility"] == "private"
    ((revision, files),) = hub["acme/counter"]["commits"]
    final = tmp_path / "run" / "final"
    assert revision == "main"
    assert files.keys() == {str(path.relative_to(final)) for path in final.rglob("*") if path.is_file()}
    assert files["adapter_model.safetensors"] == (final / "adapter_model.safetensors").read_bytes()
    card = ModelCard(files["README.md"].decode())
    assert "# acme/counter" in card.content and 'folder = "acme/counter"' in card.content
    assert "uploaded: " + constants.ENDPOINT + "/acme/counter" in capsys.readouterr().out
    assert all("hf_stand_in" not in content.decode("latin-1") for content in files.values())


def test_the_repository_has_the_name_of_the_run_by_default(tmp_path: Path, hub: dict[str, dict[str, Any]]) -> None:
    args = settings(tmp_path)
    assert repository_of({}, args) == "me/my_run" and "me/my_run" in hub
    assert not args.push_to_hub  # TRL's trainer would upload the run folder
    assert repository_of({}, settings(tmp_path, push_to_hub=False)) is None


def test_a_hub_that_refuses_is_named_in_one_line(
    tmp_path: Path,
    hub: dict[str, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(
        ValueError, match=r"train\.push_to_hub=true, but the hub refuses the repository my_run: .*401"
    ) as e:
        repository_of({}, settings(tmp_path))
    assert "\n" not in str(e.value) and "set HF_TOKEN" in str(e.value) and not hub
    with pytest.raises(ValueError, match=r"train\.hub_strategy=every_save must be left out"):
        repository_of({"hub_strategy": "every_save"}, settings(tmp_path))
    (tmp_path / "final").mkdir()
    (tmp_path / "final" / "README.md").write_text("# card")
    assert upload(tmp_path / "final", "me/my_run", None, "1 step") is None
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: the run is complete, but ")
    assert line.endswith(f"to upload it: hf upload me/my_run {tmp_path / 'final'} .")
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(ValueError, match="the hub refuses the repository my_run"):
        repository_of({}, settings(tmp_path))


def test_the_ids_of_tasks_are_those_of_their_datasets() -> None:
    assert task_id("MathLLMs/MathVision", None, "testmini") == "mathvision_testmini"
    assert (task_id("openai/gsm8k", "main", "test"), task_id("a/b", None, "test")) == ("main", "default")


def test_eval_results_are_what_the_hub_reads() -> None:
    entry = EvalResultEntry(dataset_id="ORG/DATA", task_id="default", value=62.0, notes="held out, 95 % interval ±4")
    assert parse_eval_result_entries(yaml.safe_load(eval_results_text([entry]))) == [entry]
