"""Models behind an OpenAI-compatible server: many requests in flight, and samples that only the task's settings decide.

lmms-eval's classes send temperature and top_p at most. A server fills in the rest from the checkpoint's
generation_config, in which Qwen2.5-VL has top_k 1. So we add the neutral values in the form that the server accepts.
"""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

import openai

SERVERS = {"openai", "async_openai", "litellm"}  # classes for which a request in flight costs this process nothing
BATCH_SIZE = 512
TIMEOUT = 3600.0  # seconds of one attempt; a server with 512 requests in its queue needs a while for the last one
FAILURE = "[LMMS_EVAL_REQUEST_FAILED] the server returned no text"  # how the classes mark a failed request
FINISHED = "\0finish_reason="  # begins what `_checked` adds to a text, since the classes pass on nothing else
REASONS: dict[str, Literal["stop", "length"]] = {"stop": "stop", "length": "length"}
NEUTRAL = {"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}
LEFT_TO_SERVER = {"left_to_server": sorted(NEUTRAL)}

Body = Callable[[Mapping[str, Any]], dict[str, Any]]


def _fields(generation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as fields of the request, as vLLM, SGLang and llama.cpp take them."""
    stop = {"stop": list(generation["until"])} if generation["until"] else {}
    return neutral(generation) | {"top_p": generation["top_p"]} | stop


def _generation_config(generation: Mapping[str, Any]) -> dict[str, Any]:
    """The settings as `transformers serve` takes them. It decodes greedily unless `do_sample` asks for sampling."""
    settings = neutral(generation) | {"top_k": max(0, neutral(generation)["top_k"]), "num_beams": 1, "typical_p": 1.0}
    settings |= {key: generation[key] for key in ("do_sample", "temperature", "top_p")}
    return {"generation_config": json.dumps(settings)}


def neutral(generation: Mapping[str, Any]) -> dict[str, Any]:
    """The neutral values of what a checkpoint might set, unless the task or the command line sets them."""
    return {key: generation.get(key, value) for key, value in NEUTRAL.items()}


def arguments(name: str, args: Mapping[str, Any], batch_size: int) -> dict[str, Any]:
    """The arguments of a class in SERVERS: as many requests in flight as a batch has, unless they say otherwise."""
    at_once = "num_cpus" if name == "async_openai" else "num_concurrent"
    found = {"timeout": TIMEOUT, at_once: batch_size, **args}
    return {"adaptive_max_concurrency": max(128, int(found[at_once])), **found}


class Client:
    """Makes the client of an lmms-eval class for each batch: with our time-out, and with the batch's settings.

    The class itself repeats failed requests (`max_retries`, `retry_backoff_s`), so the client does not.
    """

    def __init__(self, client: openai.OpenAI | openai.AsyncOpenAI, timeout: float, model: str):
        self.client, self.timeout = client, timeout
        self.body = self._accepted(model)

    def _accepted(self, model: str) -> Body | None:
        """The form of the settings that the server accepts, asked with requests for one token; None if it refuses all.

        The form that most servers take if there is no server, so that a run starts and ends in the same way.
        """
        asked = {"model": model, "messages": [{"role": "user", "content": "1 + 1 ="}], "max_tokens": 1}
        probe = openai.OpenAI(
            api_key=self.client.api_key, base_url=self.client.base_url, timeout=self.timeout, max_retries=0
        )
        for body in (_fields, _generation_config):
            generation = {"temperature": 1.0, "top_p": 1.0, "do_sample": True, "until": []}
            try:
                probe.chat.completions.create(**asked, extra_body=body(generation))  # type: ignore[call-overload]
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                continue
            except openai.OpenAIError:
                return _fields
            return body
        return None

    def effective(self, generation: Mapping[str, Any]) -> dict[str, Any]:
        """The generation settings that apply, or a remark that the server decides those that it does not accept."""
        return {**generation, **(neutral(generation) if self.body else LEFT_TO_SERVER)}

    def for_batch(self, generation: Mapping[str, Any]) -> openai.OpenAI | openai.AsyncOpenAI:
        """A client whose requests carry these settings."""
        extra = self.body(generation) if self.body else {}
        if isinstance(self.client, openai.AsyncOpenAI):  # its connections do not outlive the event loop of a batch
            client: Any = openai.AsyncOpenAI(
                api_key=self.client.api_key, base_url=self.client.base_url, timeout=self.timeout, max_retries=0
            )
        else:
            client = self.client.with_options(timeout=self.timeout, max_retries=0)
        create = client.chat.completions.create

        def ask(**payload: Any) -> Any:
            body = payload.pop("extra_body", {}) | extra
            answer = create(**payload, extra_body=body)
            return _checked_later(answer) if inspect.isawaitable(answer) else _checked(answer)

        client.chat.completions.create = ask
        return client


async def _checked_later(answer: Any) -> Any:
    return _checked(await answer)


def _checked(answer: Any) -> Any:
    """The answer, whose text ends with the reason why it ended.

    An answer without text gets one that marks it as failed, since the classes would make up a text or crash. It has not
    failed if it was cut while the model reasoned, which a reasoning parser keeps apart: the response is empty.
    """
    choice = answer.choices[0]
    if choice.message.content is None and choice.finish_reason == "length":
        choice.message.content = ""
    if choice.message.content is not None:
        choice.message.content += f"{FINISHED}{choice.finish_reason}"
    elif not choice.message.tool_calls:
        choice.message.content = FAILURE
    return answer


def split_finish(text: str) -> tuple[str, Literal["stop", "length"] | None]:
    """The text of an answer without what `_checked` adds, and why it ended; None if the server gave another reason.

    >>> split_finish("4\\0finish_reason=length")
    ('4', 'length')
    """
    text, _, reason = text.partition(FINISHED)
    return text, REASONS.get(reason)
