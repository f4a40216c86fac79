"""Secrets given to a training run and to an evaluation are in none of the files that these leave."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from rlfr_mm import inspect
from tests.faults import tiny_run
from tests.json_server import JsonHandler, serving

PLANTED = [f"{name}c4Ry{number:02d}Qz" for number, name in enumerate(["pl", "an", "te", "dd"] * 5)]


class Server(JsonHandler):
    """An OpenAI-compatible server that answers every request with 7."""

    def do_POST(self) -> None:
        asked = json.loads(self.body())
        message = {"role": "assistant", "content": "7"}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        common = {"id": "1", "object": "chat.completion", "created": 0, "model": asked["model"]}
        self.answer(common | {"choices": choices})


@pytest.fixture
def address() -> Iterator[str]:
    with serving(Server) as address:
        yield address


def _leaks(folder: Path) -> list[str]:
    """Which planted secrets are in which files, also inside the pickles and archives that torch writes."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert len(files) > 3
    return [f"{path}: {secret}" for path in files for secret in PLANTED if secret.encode() in path.read_bytes()]


def test_twenty_secrets_of_a_run_and_of_an_evaluation_are_in_no_file(config: Path, tmp_path: Path, address: str):
    a = iter(PLANTED)
    nested = (
        f"{{api_key: {next(a)}, api_keys: [{next(a)}, {next(a)}], authorization: Bearer {next(a)}, "
        f"headers: {{X-Key: {next(a)}}}, note: Bearer {next(a)}, url: 'https://me:{next(a)}@host/v1', "
        f"azure_password: {next(a)}, clientSecret: {next(a)}, cookie: {next(a)}, passphrase: {next(a)}, "
        f"access_tokens: [{next(a)}], token: {next(a)}, credentials: {{id: {next(a)}}}}}"
    )
    settings = [
        f"train.hub_token={next(a)}",
        f"train.model_init_kwargs={nested}",
        f"train.run_name=hf_{next(a)}Abcdefghijkl",
        f"train.trackio_space_id=sk-{next(a)}-abcdefgh",
        f"train.vllm_server_base_url=http://me:{next(a)}@127.0.0.1:9",
    ]
    run = tmp_path / "training" / "run"
    run.parent.mkdir()
    assert tiny_run.finish(tiny_run.train(config, run, *settings)) == 0, "\n".join(tiny_run.log_of(run)[-20:])
    inspect.main([str(run)])
    assert tiny_run.finish(tiny_run.train(config, run, *settings, "--resume")) == 0  # the settings are still the same
    run.with_name("run.log").unlink()  # what libraries print is the terminal's
    assert _leaks(run.parent) == []

    model = f"openai,model_version=tiny,api_key={next(a)},base_url=http://me:{next(a)}@{address}/v1,max_retries=1"
    evaluated, log = tmp_path / "evaluation" / "run", tmp_path / "log"
    arguments = ["--model", model, "--tasks", "rlfr_quickstart", "--limit", "2", "--output_dir", str(evaluated)]
    assert tiny_run.finish(tiny_run.start(log, "rlfr_mm.eval.run", *arguments)) == 0, log.read_text()[-3000:]
    page = ["--out", str(evaluated / "page.html")]
    assert tiny_run.finish(tiny_run.start(log, "rlfr_mm.eval.report", evaluated, *page)) == 0, log.read_text()[-3000:]
    assert _leaks(evaluated.parent) == []
    assert len(PLANTED) == 20 and list(a) == []
