"""Back ends answer what they were asked, and say about a response only what they know."""

import json
import shutil
import subprocess
import sys
import threading
import time
from typing import ClassVar

import pytest
import torch

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.backends import PolicyBackend, Request
from rlfr_mm.eval.engine.harness import build_backend
from rlfr_mm.eval.engine.plan import RunSettings
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.engine.running import evaluate
from rlfr_mm.quickstart.policy import build_tokenizer
from rlfr_mm.tasks import registry
from tests.conftest import ROOT
from tests.eval.commands import exit_status
from tests.json_server import JsonHandler, serving

GREEDY = {"max_new_tokens": 6, "temperature": 0.0, "top_p": 1.0, "do_sample": False, "until": []}
SAMPLED = GREEDY | {"temperature": 1.0, "do_sample": True}


@pytest.fixture(scope="module")
def requests():
    spec = registry.task("rlfr_quickstart")
    docs = registry.load(spec)
    return [Request(i, spec.text(docs[i]), spec.messages(docs[i]), seed=100 + i) for i in range(4)]


@pytest.fixture(scope="module")
def ours(policy):
    return build_backend(f"rlfr={policy},device=cpu", batch_size=4)


def test_a_greedy_response_does_not_depend_on_its_batch(ours, requests):
    """Prompts of different lengths: padding must not leak into a response."""
    assert len({len(ours.render(request.messages)) for request in requests}) > 1
    together = ours.generate("t", requests, GREEDY, seed=0)
    assert together == [ours.generate("t", [request], GREEDY, seed=1)[0] for request in requests]


def test_the_batch_seed_decides_sampled_responses(ours, requests):
    first = ours.generate("t", requests, SAMPLED, seed=0)
    assert ours.generate("t", requests, SAMPLED, seed=0) == first
    assert ours.generate("t", requests, SAMPLED, seed=1) != first


def test_lengths_and_ends_are_those_of_the_tokens(ours, requests):
    """With every token an end, a response stops at its first token; with none, it runs to the limit."""
    ends = ours.policy.generation_config.eos_token_id
    tokenizer = ours.processor.tokenizer
    try:
        for output in ours.generate("t", requests, GREEDY, seed=0):
            assert output.completion_tokens == 6 and output.finish_reason == "length"
        ours.policy.generation_config.eos_token_id = list(range(len(tokenizer)))
        for request, output in zip(requests, ours.generate("t", requests, GREEDY, seed=0), strict=True):
            assert output.completion_tokens == 1 and output.finish_reason == "stop"
            text = ours.render(request.messages)
            tokens = ours.processor(text=[text], images=request.images, return_tensors="pt")["input_ids"]
            assert output.prompt_tokens == tokens.shape[1]
    finally:
        ours.policy.generation_config.eos_token_id = ends


def test_inherited_settings_are_switched_off_or_recorded(ours, policy):
    assert ours.effective(GREEDY)["repetition_penalty"] == 1.0
    config = json.loads((policy / "generation_config.json").read_text())
    theirs = build_backend(f"qwen2_5_vl,pretrained={policy},device_map=cpu", batch_size=1)
    assert theirs.effective(SAMPLED) == SAMPLED | {key: config[key] for key in ("eos_token_id", "pad_token_id")}
    theirs.generation_config.repetition_penalty = 1.05
    assert theirs.effective(SAMPLED)["repetition_penalty"] == 1.05


def test_an_adapter_is_loaded_on_its_base(ours, policy, requests, tmp_path):
    """A LoRA checkpoint as training writes it: adapter weights beside the processor's files."""
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForImageTextToText

    torch.manual_seed(0)
    config = LoraConfig(target_modules=["q_proj", "v_proj"], init_lora_weights=False)
    adapted = get_peft_model(AutoModelForImageTextToText.from_pretrained(policy), config).eval()
    adapted.save_pretrained(tmp_path)
    ours.processor.save_pretrained(tmp_path)
    loaded = build_backend(f"rlfr={tmp_path},device=cpu", batch_size=4)
    texts = [output.text for output in loaded.generate("t", requests, GREEDY, seed=0)]
    in_memory = PolicyBackend(adapted, ours.processor, loaded.info, 4)
    assert texts == [output.text for output in in_memory.generate("t", requests, GREEDY, seed=0)]
    assert texts != [output.text for output in ours.generate("t", requests, GREEDY, seed=0)]


@pytest.fixture(scope="module")
def text_policy(tmp_path_factory):
    from transformers import Qwen2Config, Qwen2ForCausalLM

    folder = tmp_path_factory.mktemp("text_policy")
    tokenizer = build_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}<|im_start|>{{ m['content'] }}<|im_end|>{% endfor %}"
    tokenizer.save_pretrained(folder)
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), num_key_value_heads=2, **size))
    model.save_pretrained(folder)
    return folder


def test_a_text_policy_answers_text(text_policy):
    backend = build_backend(f"rlfr={text_policy},device=cpu", batch_size=2)
    asked = [
        Request(0, text, [{"role": "user", "content": [{"type": "text", "text": text}]}], 0)
        for text in ("red", "2 + 2")
    ]
    assert backend.render(asked[1].messages) == "<|im_start|>2 + 2<|im_end|>"
    together = backend.generate("t", asked, GREEDY, seed=0)
    assert together == [backend.generate("t", [one], GREEDY, seed=0)[0] for one in asked]


def test_a_text_policy_is_refused_images_before_its_weights_are_loaded(text_policy, shared, arguments, tmp_path, capfd):
    """Among tasks of text, too: nothing is answered. The policy in memory of a training run is refused as well."""
    without_weights = shutil.copytree(text_policy, tmp_path / "policy")
    (without_weights / "model.safetensors").unlink()
    options = {"tasks": "rlfr_gsm8k,rlfr_quickstart,rlfr_math500", "data_root": shared / "hub"}
    told = (
        "rlfr_quickstart: has images but policy is a text policy; use a vision-language policy, or only tasks of text"
    )
    assert exit_status(run.main, arguments(tmp_path / "run", model=f"rlfr={without_weights}", **options)) == 2
    assert capfd.readouterr().err.strip().splitlines()[-1] == f"error: {told}"
    assert not (tmp_path / "run").exists()
    backend = build_backend(f"rlfr={text_policy},device=cpu", batch_size=2)
    specs = registry.expand(["rlfr_gsm8k", "rlfr_quickstart"])
    with pytest.raises(RunError, match="rlfr_quickstart: has images"):
        evaluate(backend, specs, tmp_path / "run", RunSettings(limit=2, data_root=str(shared / "hub")))
    assert not (tmp_path / "run" / run_files.MANIFEST).exists()


@pytest.mark.parametrize("content", ["'> ' + message['content']", "message['content']"])
def test_a_class_is_refused_that_gives_lists_to_a_template_of_strings(policy, tmp_path, content):
    """The first template raises on a list, the second one would write the list itself into the prompt."""
    folder = shutil.copytree(policy, tmp_path / "policy")
    (folder / "chat_template.jinja").write_text("{% for message in messages %}{{ " + content + " }}{% endfor %}")
    with pytest.raises(RunError, match=f"a chat template that takes text; use --model rlfr={folder}$"):
        build_backend(f"qwen2_5_vl,pretrained={folder},device_map=cpu", batch_size=1)


def test_a_class_that_loads_half_a_model_is_refused(policy):
    with pytest.raises(RunError, match=f"cannot generate; use --model rlfr={policy}"):
        build_backend(f"huggingface,pretrained={policy},device_map=cpu", batch_size=1)


def test_lmms_evals_class_answers_with_what_it_can_tell(policy, requests):
    model = f"qwen2_5_vl,pretrained={policy},device_map=cpu,min_pixels=7056,max_pixels=7056"
    backend = build_backend(model, batch_size=2)
    pair = backend.generate("t", requests[:2], SAMPLED, seed=0)
    assert pair == backend.generate("t", requests[:2], SAMPLED, seed=0)
    assert backend.info.weights_sha256 and backend.seeding == "batch"
    # A batch tells the length of its longest response only.
    assert all(output.completion_tokens is None and output.finish_reason != "length" for output in pair)
    backend.lm.batch_size_per_gpu = 1
    [alone] = backend.generate("t", requests[:1], GREEDY, seed=0)
    assert 1 <= alone.completion_tokens <= 6
    assert alone.finish_reason == ("stop" if alone.completion_tokens < 6 else "length")
    assert "<|image_pad|>" in backend.render(requests[0].messages)


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
