"""Back ends answer what they were asked, and say about a response only what they know."""

import json
import shutil

import huggingface_hub
import pytest
import torch

from rlfr_mm.eval import run
from rlfr_mm.eval.engine import run_files
from rlfr_mm.eval.engine.backends import PolicyBackend, Request, own_gpu
from rlfr_mm.eval.engine.harness import build_backend
from rlfr_mm.eval.engine.plan import RunSettings
from rlfr_mm.eval.engine.records import RunError
from rlfr_mm.eval.engine.running import evaluate
from rlfr_mm.quickstart.policy import build_tokenizer
from rlfr_mm.tasks import registry
from tests.conftest import ROOT
from tests.eval.commands import exit_status
from tests.eval.conftest import GREEDY, SAMPLED


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


def test_settings_that_a_checkpoint_does_not_take_are_named(policy):
    for setting in ("batch_size=4", "specs=1", "checkpoint=x", "temperature=1"):
        known = "device=, dtype=, revision=, chat_template=, attn_implementation=, trust_remote_code="
        with pytest.raises(RunError, match=f"takes {known}, not {setting.partition('=')[0]}="):
            build_backend(f"rlfr={policy},{setting}", batch_size=2)


def test_a_base_model_answers_in_the_chat_template_of_a_file(text_policy, tmp_path, monkeypatch):
    """And a checkpoint takes the other settings of a run's section `model`, which the records name."""
    base, template = shutil.copytree(text_policy, tmp_path / "base"), ROOT / "configs" / "plain_chat.jinja"
    (base / "chat_template.jinja").unlink()
    with pytest.raises(RunError, match=f"^--model rlfr={base}: .*has no chat template"):
        build_backend(f"rlfr={base}", batch_size=2)
    with pytest.raises(RunError, match=r"no file model\.chat_template=none\.jinja"):
        build_backend(f"rlfr={base},chat_template=none.jinja", batch_size=2)
    settings = {"chat_template": str(template), "attn_implementation": "eager", "trust_remote_code": True}
    given = ",".join(f"{key}={value}" for key, value in settings.items())
    backend = build_backend(f"rlfr={base},device=cpu,{given}", batch_size=2)
    asked = [Request(0, "2 + 2", [{"role": "user", "content": [{"type": "text", "text": "2 + 2"}]}], 0)]
    assert backend.render(asked[0].messages) == "2 + 2\n"
    assert backend.generate("t", asked, GREEDY, seed=0)[0].completion_tokens > 0
    assert backend.policy.config._attn_implementation == "eager"
    assert backend.info.args == settings | {"checkpoint": str(base), "dtype": "float32"}

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(RunError, match=r"^--model rlfr=owner/none: .*couldn't find them in the cached files"):
        build_backend("rlfr=owner/none,revision=v1", batch_size=2)


def test_each_process_of_a_machine_has_a_gpu_under_a_launcher_and_under_slurm(monkeypatch):
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)
    assert own_gpu(4) == 0
    monkeypatch.setenv("SLURM_LOCALID", "3")
    assert own_gpu(4) == 3
    assert own_gpu(1) == 0  # --gpus-per-task=1
    monkeypatch.setenv("LOCAL_RANK", "2")  # a launcher in a task of SLURM's
    assert own_gpu(4) == 2


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
