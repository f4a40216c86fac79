"""Secrets are hidden by name and by shape; settings that only look like them are not."""

import shlex
import time

import pytest

from rlfr_mm.secrets import hide_secrets, is_secret, without_secrets

SECRET = (
    "api_key API_KEYS apiKey openai-api-key x-api-key hub_token HF_TOKEN train.hub_token access_tokens azure_password "
    "passwd client_secret authorization Authorization headers default_headers credentials cookie auth"
)
HARMLESS = (
    "max_new_tokens max_prompt_tokens num_tokens tokens eos_token pad_token image_token tokenizer token_type_ids model "
    "keep monkey_patch hidden_size author"
)


def test_secrets_are_known_by_the_last_word_of_their_names():
    assert all(map(is_secret, SECRET.split())) and not any(map(is_secret, HARMLESS.split()))


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        ("run --model 'openai,api_key=sk-1,model=x' --seed 1", "run --model 'openai,api_key=***,model=x' --seed 1"),
        ("serve --auth-token 'abc' --max_new_tokens=64", "serve --auth-token '***' --max_new_tokens=64"),
        ("serve --api-key abc --seed 1", "serve --api-key *** --seed 1"),
        ("train train.hub_token=abc train.eos_token=x", "train train.hub_token=*** train.eos_token=x"),
        ("x 'model.args={headers: {Authorization: Bearer abc}}'", "x 'model.args={headers: ***}'"),
        ("x model.args='{base: {api_key: abc, n: 1}}'", "x model.args='{base: {api_key: ***, n: 1}}'"),
        ('x extra={"api_keys": ["abc", "def"], "n": 1}', 'x extra={"api_keys": ***, "n": 1}'),
        ("get https://host/v1?api_key=abc", "get https://host/v1?api_key=***"),
        ("clone https://me:abc@host/x.git", "clone https://***@host/x.git"),
        ("curl -H 'Authorization: Bearer abc123'", "curl -H 'Authorization: ***'"),
        ("send Bearer abc.def-1234567", "send Bearer ***"),
        ("login hf_abcdefghijklmnopqrst", "login ***"),
        ("login sk-proj-abcdefgh12345678", "login ***"),
        ("a key that opens; the token is out: see below", "a key that opens; the token is out: see below"),
    ],
)
def test_secrets_in_text_are_hidden(text: str, hidden: str):
    assert hide_secrets(text) == hidden


def test_every_form_of_a_command_line_hides_its_secret():
    for form in ("--api-key {}", "--api-key={}", "a.api_key={}", "m=openai,api_key={},x=1", "{{a: {{token: {}}}}}"):
        for secret in ("s3cr3t", "s3=cr3t==", "s3:cr3t/x"):
            command = shlex.join(["run", *form.format(secret).split(" ")]) if " " not in form else form.format(secret)
            assert "cr3t" not in hide_secrets(command), command


def test_what_a_mapping_holds_under_a_secret_name_is_hidden_whole():
    values = {
        "headers": {"X": "abc"},
        "api_keys": ["abc"],
        "token": None,
        "hub_token": "",
        "args": [{"password": "abc"}],
    }
    assert without_secrets(values) == {
        "headers": "***", "api_keys": "***", "token": None, "hub_token": "", "args": [{"password": "***"}]
    }  # fmt: skip
    assert without_secrets({"url": "http://a:b@h", "pad_token": "<|pad|>", "n": 3}) == {
        "url": "http://***@h", "pad_token": "<|pad|>", "n": 3
    }  # fmt: skip


@pytest.mark.parametrize("unit", ["a", "key=", "token ", "{[", "a@", "://", "bearer ", "eyJ.", "'\"", "-- "])
def test_the_filter_is_linear_in_its_text(unit: str):
    def seconds(length: int) -> float:
        started = time.process_time()
        hide_secrets(unit * (length // len(unit)))
        return time.process_time() - started

    seconds(1000)
    assert seconds(200_000) < 1.0
