"""lmms-eval's classes for servers: what they ask, and what is made of the answers."""

import json
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.harness import build_backend
from rlfr_mm.tasks import registry
from tests.conftest import ROOT
from tests.eval.commands import exit_status
from tests.eval.conftest import GREEDY, SAMPLED
from tests.json_server import JsonHandler, serving


@pytest.fixture
def server():
    """An OpenAI-compatible server that answers with the seed it was sent; `reply` changes what it says."""

    counting, enough = threading.Lock(), threading.Event()

    class Handler(JsonHandler):
        reply = staticmethod(lambda asked: str(asked.get("seed")))
        usage = True
        reason = "stop"  # why it ends an answer
        refused: tuple[str, ...] = ()  # fields that it does not know
        pause = 0.0
        asked: ClassVar[list[dict]] = []
        waiting = 0
        wait_for = 0  # answers none before it has this many requests

        def do_POST(self):
            asked = json.loads(self.body())
            type(self).asked.append(asked)
            if unknown := [name for name in self.refused if name in asked]:
                self.send_error(422, f"unexpected {unknown}")
                return
            time.sleep(self.pause)
            if asked["max_tokens"] > 1:  # not the request by which a back end finds out what the server accepts
                with counting:
                    type(self).waiting += 1
                    if self.waiting >= self.wait_for:
                        enough.set()
                enough.wait(30)
            usage = {"prompt_tokens": 11, "completion_tokens": asked["max_tokens"] - 1, "total_tokens": 0}
            message = {"role": "assistant", "content": self.reply(asked), "reasoning_content": "Let me see"}
            answer = {
                "id": "1",
                "object": "chat.completion",
                "created": 0,
                "model": asked["model"],
                "choices": [{"index": 0, "message": message, "finish_reason": self.reason}],
            } | ({"usage": usage} if self.usage else {})
            self.answer(answer)

    with serving(Handler) as address:
        yield Handler, f"openai,model_version=tiny,api_key=x,base_url=http://{address}/v1,max_retries=1"


def test_a_server_gets_a_seed_of_its_own_for_every_sample(server, arguments, tmp_path):
    _, model = server
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart_pass32", limit=1)) == 0
    [rows] = run_files.read_run(tmp_path).values()
    assert len({row.seed for row in rows}) == 32 and all(row.response == str(row.seed) for row in rows)
    assert all((row.prompt_tokens, row.completion_tokens, row.finish_reason) == (11, 3, "stop") for row in rows)
    assert "api_key" not in run_files.read_manifest(tmp_path).model.args


SENT = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}


@pytest.mark.parametrize("name", ["openai", "async_openai"])
def test_a_server_is_told_what_a_checkpoint_might_set(server, requests, name):
    """lmms-eval sends temperature only, or temperature and top_p: a server would sample with top_k 1 of Qwen2.5-VL."""
    handler, model = server
    backend = build_backend(name + model.removeprefix("openai"))
    assert backend.batch_size == 512
    for top_k in (-1, 20):  # in two batches: an asynchronous client must not need the event loop of the first
        handler.asked.clear()
        backend.generate("t", requests, SAMPLED | {"top_p": 0.9} | ({"top_k": top_k} if top_k > 0 else {}), seed=0)
        assert len(handler.asked) == 4
        for asked in handler.asked:
            wanted = SENT | {"top_k": top_k, "top_p": 0.9, "temperature": 1.0}
            assert {key: asked[key] for key in wanted} == wanted
    assert backend.effective(SAMPLED) == SAMPLED | SENT


def test_transformers_serve_is_told_in_its_own_way(server, requests):
    handler, model = server
    handler.refused = ("top_k", "min_p", "repetition_penalty")
    backend = build_backend(model)
    handler.asked.clear()
    backend.generate("t", requests[:1], SAMPLED, seed=0)
    (asked,) = handler.asked
    config = json.loads(asked["generation_config"])
    assert config["do_sample"] and (config["top_k"], config["min_p"], config["repetition_penalty"]) == (0, 0.0, 1.0)
    assert backend.effective(SAMPLED) == SAMPLED | SENT


def test_what_a_server_cannot_be_told_is_on_record(server, arguments, tmp_path):
    handler, model = server
    handler.refused = ("top_k", "min_p", "repetition_penalty", "generation_config")
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart")) == 0
    plan = run_files.read_manifest(tmp_path).tasks["rlfr_quickstart"]
    left = ["min_p", "repetition_penalty", "top_k"]
    assert plan.generation["left_to_server"] == left and "top_k" not in plan.generation
    assert all(row.generation["left_to_server"] == left for row in run_files.read_run(tmp_path)["rlfr_quickstart"])


@pytest.mark.parametrize("name", ["openai", "async_openai"])
def test_a_server_gets_many_requests_at_once(server, arguments, tmp_path, name):
    handler, model = server
    model = name + model.removeprefix("openai")
    handler.wait_for = 190  # lmms-eval's classes stop at 128
    began = time.monotonic()
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart_pass32", limit=6, batch_size=None)) == 0
    assert time.monotonic() - began < 30
    assert run_files.read_manifest(tmp_path).batch_size == 512


@pytest.mark.parametrize("name", ["openai", "async_openai"])
def test_a_request_that_takes_too_long_fails_and_is_missing(server, arguments, tmp_path, capfd, name):
    handler, model = server
    handler.pause = 3.0
    model = f"{name}{model.removeprefix('openai')},timeout=0.5"
    began = time.monotonic()
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart")) == 1
    assert time.monotonic() - began < 12 and "timed out" in capfd.readouterr().err


def test_a_response_without_text_is_missing_and_not_made_up(server, arguments, tmp_path, capfd):
    """lmms-eval's async_openai would grade `Error: can only concatenate str` as the answer."""
    handler, model = server
    handler.reply = staticmethod(lambda asked: None)
    model = "async_" + model
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart")) == 1
    messages = capfd.readouterr().err
    assert "the server returned no text" in messages and "2 of 2 responses are missing" in messages


def test_a_server_that_does_not_sample_is_found_out(server, arguments, tmp_path, capfd):
    handler, model = server
    handler.reply = staticmethod(lambda asked: "<answer>3</answer>")
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart_pass32")) == 0
    assert "all samples are identical for 2 of 2 problems" in capfd.readouterr().out


def test_a_server_may_come_back_elsewhere(server, arguments, tmp_path):
    """Where a model runs is not what it is: the run goes on."""
    _, model = server
    gone = "openai,model_version=tiny,api_key=x,base_url=http://127.0.0.1:9/v1,max_retries=1"
    options = {"tasks": "rlfr_quickstart", "limit": 1}
    assert run.main(arguments(tmp_path, model=gone, **options)) == 1
    assert run.main(arguments(tmp_path, model=model, **options)) == 0
    assert exit_status(run.main, arguments(tmp_path, model=model.replace("tiny", "other"), **options)) == 2


def test_rows_of_a_shard_that_was_asked_for_more_are_kept_by_the_last_one(server, arguments, tmp_path):
    """While shard 0 with its 2 problems waits for an answer, shard 1 answers its share of 6 and ends."""
    handler, model = server
    others = [*arguments(tmp_path, model=model, tasks="rlfr_quickstart", limit=6), "--shard", "1/2"]
    started = threading.Event()

    def reply(asked):
        if asked["max_tokens"] > 1 and not started.is_set():
            started.set()
            subprocess.run([sys.executable, "-m", "rlfr_mm.eval.run", *others], cwd=ROOT, check=True)
        return "3"

    handler.reply = staticmethod(reply)
    assert run.main([*arguments(tmp_path, model=model, tasks="rlfr_quickstart"), "--shard", "0/2"]) == 0
    assert [row.doc_id for row in run_files.read_run(tmp_path)["rlfr_quickstart"]] == [0, 1, 3, 5]
    assert not (tmp_path / "rlfr_quickstart" / run_files.BAD_SAMPLES).exists()


def test_a_server_without_usage_gives_no_counts(server, requests):
    handler, model = server
    handler.usage = False
    [output] = build_backend(model, batch_size=1).generate("t", requests[:1], GREEDY, seed=0)
    assert output.text == str(requests[0].seed)
    assert (output.prompt_tokens, output.completion_tokens, output.finish_reason) == (None, None, "stop")


@pytest.mark.parametrize("name", ["openai", "async_openai"])
def test_a_server_says_why_a_response_ended(server, arguments, tmp_path, name):
    """It may cut a response before max_new_tokens, where the context is full, or while the model still reasons."""
    handler, model = server
    options = arguments(tmp_path, model=name + model.removeprefix("openai"), tasks="rlfr_quickstart")
    handler.reason = "length"
    answers = iter(["so far", None])
    handler.reply = staticmethod(lambda asked: next(answers) if asked["max_tokens"] > 1 else "")
    assert run.main(options) == 0
    rows = run_files.read_run(tmp_path)["rlfr_quickstart"]
    assert {row.response for row in rows} == {"so far", ""}
    assert [(row.completion_tokens, row.finish_reason) for row in rows] == [(3, "length")] * 2
    [result] = run_files.read_results(tmp_path)
    assert (result.truncated, result.missing, result.empty_responses) == (2, 0, 1)


def test_a_model_that_returns_nothing_is_said_so(server, arguments, tmp_path, capfd):
    handler, model = server
    handler.reply = staticmethod(lambda asked: "")
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart")) == 0
    assert "the model returned nothing: all 2 responses are empty" in capfd.readouterr().out
    [result] = run_files.read_results(tmp_path)
    assert result.counts["no_answer"] == result.empty_responses == 2


def test_failed_requests_are_missing_and_are_asked_again(server, arguments, tmp_path, capfd):
    """lmms-eval returns an error message as the response; graded, it would be a wrong answer."""
    handler, model = server
    options = arguments(tmp_path, model=model, tasks="rlfr_quickstart", limit=4, batch_size=2)
    answer = handler.reply
    handler.reply = staticmethod(lambda asked: None if "multiply" in str(asked["messages"]) else answer(asked))
    handler.usage = False  # lmms-eval then counts words, and fails on a response without text
    failed = sum(
        "multiply" in row["question"] for row in registry.load(registry.task("rlfr_quickstart")).select(range(4))
    )
    assert 0 < failed < 4
    assert run.main(options) == 1
    assert f"rlfr_quickstart: {failed} of 4 responses are missing" in capfd.readouterr().err
    assert len(run_files.read_run(tmp_path)["rlfr_quickstart"]) == 4 - failed
    handler.reply = staticmethod(answer)
    assert run.main(options) == 0
    rows = run_files.read_run(tmp_path)["rlfr_quickstart"]
    assert sorted(row.doc_id for row in rows) == [0, 1, 2, 3]


def test_a_stopped_run_goes_on_behind_requests_that_a_server_always_refuses(server, arguments, tmp_path):
    handler, model = server
    questions = [doc["question"] for doc in registry.load(registry.task("rlfr_quickstart")).select(range(10))]
    refused = [questions[i] for i in (1, 3, 5)]
    handler.reply = staticmethod(lambda asked: None if any(one in str(asked) for one in refused) else "3")
    options = arguments(tmp_path, model=model, tasks="rlfr_quickstart", limit=10, batch_size=2)
    assert run.main(options) == 1
    rows = run_files.read_run(tmp_path)["rlfr_quickstart"]
    assert [row.doc_id for row in rows] == [i for i in range(10) if questions[i] not in refused]
    run_files.write_rows(tmp_path / "rlfr_quickstart" / run_files.SAMPLES, rows[:3])
    assert run.main(options) == 1
    assert run_files.read_run(tmp_path)["rlfr_quickstart"] == rows


def test_a_server_that_is_gone_ends_the_task_and_not_the_run(arguments, tmp_path, capfd):
    model = "openai,model_version=tiny,api_key=x,base_url=http://127.0.0.1:9/v1,max_retries=1"
    assert run.main(arguments(tmp_path, model=model, tasks="rlfr_quickstart", limit=9, batch_size=1)) == 1
    messages = capfd.readouterr().err
    assert "gave up after 3 batches in a row without a response" in messages
    assert "rlfr_quickstart: 9 of 9 responses are missing" in messages
