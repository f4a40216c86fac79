"""Generation depends on the settings that are passed, not on what a checkpoint inherits."""

import pytest
import torch
from transformers import AutoProcessor, LlamaConfig, LlamaForCausalLM

from rlfr_mm import policy
from rlfr_mm.config import ModelArguments
from rlfr_mm.quickstart import world
from rlfr_mm.quickstart.policy import build_tokenizer

SAMPLED = {"do_sample": True, "temperature": 1.0, "top_p": 1.0, "max_new_tokens": 8}


@pytest.fixture(scope="module")
def loaded(tiny_policy):
    model = policy.load_policy(ModelArguments(name_or_path=str(tiny_policy))).eval()
    return model, AutoProcessor.from_pretrained(tiny_policy, padding_side="right")


def test_the_generation_config_of_a_checkpoint_changes_no_sample(loaded, tiny_policy):
    model, processor = loaded
    rows = world.rows(4, "test", [2])
    with policy.seeded(model.device, 0):
        before = policy.generate(model, processor, rows, SAMPLED)
    inherits = policy.load_policy(ModelArguments(name_or_path=str(tiny_policy))).eval()
    inherits.generation_config.update(top_k=1, repetition_penalty=1.5, min_p=0.9, no_repeat_ngram_size=1)
    with policy.seeded(model.device, 0):
        assert policy.generate(inherits, processor, rows, SAMPLED) == before
    assert inherits.generation_config.min_p == 0.9  # what is saved with the policy later is untouched


def test_prompts_are_padded_on_the_left_whatever_the_processor_says(loaded):
    _, processor = loaded
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in ("add", "add add add add")]
    mask = policy.encode_prompts(rows, processor)["attention_mask"]
    assert mask[0, 0] == 0 and mask[:, -1].all()


def test_answers_keep_the_random_state_outside_and_depend_on_the_seed(loaded):
    model, processor = loaded
    settings = {"batch_size": 2, "max_new_tokens": 8, "temperature": 1.0}
    state = torch.get_rng_state()
    first, again, other = (
        policy.answer_problems(model, processor, world.rows(4, "test", [2]), seed=seed, **settings)
        for seed in (0, 0, 1)
    )
    assert torch.equal(torch.get_rng_state(), state) and first == again != other


def test_a_model_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot be loaded"):
        policy.load_policy(ModelArguments(name_or_path=str(tmp_path / "nowhere")))


def test_demonstrations_end_with_the_end_of_turn_token_of_the_template(loaded):
    _, processor = loaded
    ids, rows = processor.tokenizer.get_vocab(), world.rows(2, "train", [2])
    rows = [{"prompt": row["prompt"], "images": row["images"], "completion": row["completion"]} for row in rows]
    inputs, mask = policy.encode_demonstrations(rows, processor, 100)
    last = inputs["input_ids"][:, -mask.shape[1] :].gather(1, mask.sum(1, keepdim=True) - 1)
    assert (last == ids["<|im_end|>"]).all()

    template = processor.chat_template
    try:  # as Gemma's, whose turns end with another token than `eos_token`
        processor.chat_template = template.replace("'<|im_end|>\n' }}{% endfor", "'<|vision_end|>\n' }}{% endfor")
        assert processor.chat_template != template
        assert policy.end_of_turn(processor) == ids["<|vision_end|>"]
        processor.chat_template = "{% for message in messages %}{{ message['content'] }}{% endfor %}"
        assert policy.end_of_turn(processor) == processor.tokenizer.eos_token_id
    finally:
        processor.chat_template = template


@pytest.fixture
def text_policy():
    """A Llama with a ChatML template that takes strings only, whose pad token is its eos token, as SmolLM2's is.

    Greedily, it always generates token 0, <|endoftext|>.
    """
    tokenizer = build_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.chat_template = (
        "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    size = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id, **size)).eval()
    torch.nn.init.zeros_(model.lm_head.weight)
    return model, tokenizer


def test_a_response_that_ends_with_the_pad_token_keeps_its_end(text_policy):
    _, tokenizer = text_policy
    rows = [
        {"prompt": [{"role": "user", "content": "1 + 1?"}], "completion": completion}
        for completion in ("2", "that is 2, as everyone knows")
    ]
    inputs, mask = policy.encode_demonstrations(rows, tokenizer, 100)
    responses = inputs["input_ids"][:, -mask.shape[1] :]
    for ids, own, row in zip(responses, mask, rows, strict=True):
        assert tokenizer.decode(ids[own]) == row["completion"] + "<|im_end|>"
    assert (inputs["attention_mask"][:, -mask.shape[1] :].bool() == mask).all()


def test_a_response_ends_at_every_token_that_is_an_end_somewhere(text_policy):
    model, tokenizer = text_policy
    rows, settings = [{"prompt": [{"role": "user", "content": "?"}]}], {"do_sample": False, "max_new_tokens": 4}
    [response] = policy.generate(model, tokenizer, rows, settings)
    assert (response.tokens, response.ended) == (4, False)
    tokenizer.eos_token = "<|endoftext|>"  # now the template, the tokenizer and generation_config all differ
    model.generation_config.eos_token_id = 5
    assert policy.response_ends(model, tokenizer) == [0, tokenizer.get_vocab()["<|im_end|>"], 5]
    [response] = policy.generate(model, tokenizer, rows, settings)
    assert (response.tokens, response.ended) == (1, True)
