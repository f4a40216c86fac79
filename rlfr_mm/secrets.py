"""The one filter that keeps secrets out of what this project writes about a run: settings, commands, manifests.

It goes by name (`hub_token: ...`, `--api-key ...`) and by shape (`https://user:password@host`, `Bearer ...`, `hf_...`,
`sk-...`). Responses of a model and records of a dataset are not filtered: they are data, and must stay as they are.
"""

import re
from typing import Any

HIDDEN = "***"

# A name is secret by its last word: api_key, API-KEYS, hubToken, azure_password, default_headers, train.hub_token.
_LAST_WORDS = {"key", "keys", "auth", "authorization", "credential", "credentials", "cookie", "cookies"}
_LAST_WORDS |= {"header", "headers"}
_ENDINGS = ("apikey", "apikeys", "token", "secret", "secrets", "password", "passwords", "passwd", "passphrase")
_TOKENS = {"api", "auth", "access", "hub", "hf", "refresh"}  # these tokens are secrets, max_new_tokens are not
_VOCABULARY = {"eos", "bos", "pad", "sep", "cls", "mask", "unk", "image", "video", "audio", "end", "start", "stop"}

_NAME = re.compile(r"(?<![\w.-])(?P<name>[\w.-]{1,200})(?:['\"]?\s{0,9}[=:]\s{0,9}|(?<=\w)\s{1,9}(?![-=:\s]))")
_VALUE = re.compile(
    r"\{[^{}]*\}|\[[^\[\]]*\]|'[^']*'|\"[^\"]*\"|(?:(?:bearer|basic|token)\s+)?[^\s,'\"{}\[\]]+", re.IGNORECASE
)
_SHAPES = [
    (re.compile(r"(?<=://)[^\s/@'\"]{1,500}@"), HIDDEN + "@"),
    (re.compile(r"\b(bearer|basic)\s+(?=[\w.~+/=-]*\d)[\w.~+/=-]{8,}", re.IGNORECASE), rf"\1 {HIDDEN}"),
    (re.compile(r"\b(?:hf_[A-Za-z0-9]{12}|sk-[\w-]{8}|gh[opsur]_\w{12}|github_pat_\w{8})[\w-]*"), HIDDEN),
    (re.compile(r"\b(?:glpat-[\w-]{8}|xox[abpr]-[\w-]{8}|AKIA[A-Z0-9]{12}|AIza[\w-]{12})[\w-]*"), HIDDEN),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]{8}[\w.-]*"), HIDDEN),
]


def is_secret(name: str) -> bool:
    """Whether a setting of this name holds a secret.

    >>> is_secret("hub_token"), is_secret("max_new_tokens")
    (True, False)
    """
    words = re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower())
    last, before = words[-1] if words else "", words[-2] if len(words) > 1 else ""
    if last == "tokens":
        return before in _TOKENS
    return (last in _LAST_WORDS or last.endswith(_ENDINGS)) and before not in _VOCABULARY


def without_secrets(value: Any) -> Any:
    """A copy of plain values (mappings, lists, text, numbers) in which every secret is `***`.

    What a mapping holds under a secret name is hidden unless it is empty, a number or a truth value.

    >>> without_secrets({"hub_token": "abc", "base_url": "https://me:abc@host/v1", "max_new_tokens": 4})
    {'hub_token': '***', 'base_url': 'https://***@host/v1', 'max_new_tokens': 4}
    """
    if isinstance(value, dict):
        hidden = {key for key, entry in value.items() if entry and not isinstance(entry, int | float)}
        hidden = {key for key in hidden if is_secret(str(key))}
        return {key: HIDDEN if key in hidden else without_secrets(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [without_secrets(entry) for entry in value]
    return hide_secrets(value) if isinstance(value, str) else value


def hide_secrets(text: str) -> str:
    """A command line, an address or a message in which every secret is `***`.

    >>> hide_secrets("run --model openai,api_key=abc,model=x")
    'run --model openai,api_key=***,model=x'
    """
    kept, position = [], 0
    while found := _NAME.search(text, position):
        kept.append(text[position : found.end()])
        position = found.end()
        # A name before a space is that of an option: prose may speak of a key.
        is_option = found["name"].startswith("--") or found[0].rstrip()[-1] in "=:"
        if is_option and is_secret(found["name"]) and (value := _VALUE.match(text, position)):
            quote = value[0][0] if value[0][0] in "'\"" else ""
            kept.append(quote + HIDDEN + quote)
            position = value.end()
    result = "".join([*kept, text[position:]])
    for shape, replacement in _SHAPES:
        result = shape.sub(replacement, result)
    return result
