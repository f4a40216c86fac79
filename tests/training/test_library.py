"""RLFRTrainer as a library class: with advantage_shaping=none it does and logs what TRL's GRPOTrainer does.

Each case trains both classes on the same tiny policy and data, and compares all that they log. The cases are the
features that TRL documents: datasets, rewards, losses, tools, environments, PEFT, images, evaluation.
"""

import asyncio
import copy
import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset, IterableDataset
from peft import LoraConfig
from PIL import Image
from transformers import (
    AutoModelForImageTextToText,
    AutoProcessor,
    GenerationConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen2ForSequenceClassification,
    Qwen3MoeConfig,
    Qwen3MoeForCausalLM,
)
from trl import GRPOConfig, GRPOTrainer

from rlfr_mm.config import FlowConfig, FlowRewardConfig, RLFRConfig
from rlfr_mm.method.field import FlowField
from rlfr_mm.quickstart.policy import CHAT_TEMPLATE, build_tokenizer
from rlfr_mm.training.trainer import RLFRTrainer
from rlfr_mm.viewing.rollout_records import read_rollouts
from tests.tiny_trainer import CPU

SETTINGS = CPU | {
    "per_device_train_batch_size": 4,
    "num_generations": 2,
    "max_completion_length": 6,
    "max_steps": 2,
    "learning_rate": 1e-3,
    "logging_steps": 1,
    "shuffle_dataset": False,  # the two samplers shuffle differently
}
TIMES = {"step_time", "train_runtime", "train_samples_per_second", "train_steps_per_second"}
EVAL_TIMES = {"eval_runtime", "eval_samples_per_second", "eval_steps_per_second"}
SIZES = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 2048, "initializer_range": 0.2,
}  # fmt: skip
TEXT = [{"prompt": f"Count to {number}: ", "target": number} for number in range(1, 5)]
CHAT = [{"prompt": [{"role": "user", "content": row["prompt"]}], "target": row["target"]} for row in TEXT]


def length(completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
    return [float(sum(ids) % 7) for ids in completion_ids]


async def slow_length(completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    await asyncio.sleep(0.001)
    return [float(len(set(ids))) for ids in completion_ids]


def even(completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    return [float(sum(ids) % 5) if place % 2 else None for place, ids in enumerate(completion_ids)]


def odd(completion_ids: list[list[int]], target: list[int], **kwargs: Any) -> list[float | None]:
    return [None if place % 2 else float(number) for place, number in enumerate(target)]


def one_unscorable(completion_ids: list[list[int]], **kwargs: Any) -> list[float | None]:
    return [None if place == 1 else float(sum(ids) % 5) for place, ids in enumerate(completion_ids)]


def never(completions: list[Any], **kwargs: Any) -> list[None]:
    return [None] * len(completions)


def with_logs(completions: list[Any], log_metric: Any, log_extra: Any, trainer_state: Any, **kwargs: Any) -> list:
    log_metric("own/steps", float(trainer_state.global_step))
    log_extra("own", list(range(len(completions))))
    return [float(place) for place in range(len(completions))]


class Rated:
    """A reward that is an object."""

    def __call__(self, completion_ids: list[list[int]], **kwargs: Any) -> list[float]:
        return [float(ids[0] % 3) for ids in completion_ids]


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    made = build_tokenizer()
    made.chat_template = CHAT_TEMPLATE
    return made


@pytest.fixture(scope="module")
def text_policy(tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    """From a folder, where TRL finds the reference policy again."""
    folder = tmp_path_factory.mktemp("text")
    torch.manual_seed(0)
    policy = Qwen2ForCausalLM(Qwen2Config(vocab_size=len(tokenizer), **SIZES, **_ids(tokenizer)))
    policy.generation_config = GenerationConfig(**_ids(tokenizer))
    policy.save_pretrained(folder)
    return Qwen2ForCausalLM.from_pretrained(folder)


def _ids(tokenizer: Any) -> dict[str, Any]:
    return {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id, "bos_token_id": None}


def logs_of(trainer: Any) -> list[dict[str, Any]]:
    """What the trainer logged, without times."""
    return [
        {key: value for key, value in row.items() if key not in TIMES | EVAL_TIMES} for row in trainer.state.log_history
    ]


def same(ours: Any, theirs: Any) -> bool:
    if isinstance(theirs, float) and isinstance(ours, float):
        return math.isclose(ours, theirs, rel_tol=1e-5, abs_tol=1e-7) or (math.isnan(ours) and math.isnan(theirs))
    return bool(ours == theirs)


@pytest.fixture
def both(tmp_path: Path) -> Callable[..., tuple[Any, Any]]:
    """Trains GRPOTrainer and RLFRTrainer alike, checks that they log the same, and returns them."""

    def train(model: Any, processor: Any, rows: Any, rewards: Any, prepare: Any = None, **settings: Any) -> tuple:
        made = (
            "peft_config",
            "tools",
            "environment_factory",
            "eval_dataset",
            "rollout_func",
            "reward_processing_classes",
        )
        arguments = {key: settings.pop(key) for key in made if key in settings}
        trainers = []
        for kind, config, extra in (
            (GRPOTrainer, GRPOConfig, {}),
            (RLFRTrainer, RLFRConfig, {"advantage_shaping": "none"}),
        ):
            torch.manual_seed(0)
            output = {"output_dir": str(tmp_path / kind.__name__)}
            trainer = kind(
                model=copy.deepcopy(model),
                reward_funcs=copy.copy(rewards),  # TRL adds those of environments to the list
                args=config(**(SETTINGS | extra | output | settings)),
                train_dataset=Dataset.from_list(rows) if isinstance(rows, list) else rows,
                processing_class=copy.deepcopy(processor),
                **copy.deepcopy(arguments),
            )
            if prepare:
                prepare(trainer)
            before = {name: value.detach().clone() for name, value in trainer.model.named_parameters()}
            trainer.train()
            trainer.moved = {n for n, p in trainer.model.named_parameters() if not torch.equal(p, before[n])}
            trainers.append(trainer)
        theirs, ours = map(logs_of, trainers)
        assert len(ours) == len(theirs)
        for mine, row in zip(ours, theirs, strict=True):
            differing = {key: (mine.get(key), value) for key, value in row.items() if not same(mine.get(key), value)}
            assert not differing
        assert trainers[1].moved == trainers[0].moved
        return tuple(trainers)

    return train


CASES: dict[str, dict[str, Any]] = {
    "one reward": {"rewards": length},
    "text prompts": {"rows": TEXT, "rewards": length},
    "two rewards with weights": {"rewards": [length, odd], "reward_weights": [0.7, 0.3]},
    "None where a reward does not apply": {"rewards": [even, odd], "reward_weights": [2.0, 0.5]},
    "an unscorable completion": {"rewards": one_unscorable},
    "a reward that never applies": {"rewards": [never, length]},
    "asynchronous, synchronous and an object": {"rewards": [slow_length, length, Rated()]},
    "rewards that log": {"rewards": [with_logs, length]},
    "normalize_then_sum": {"rewards": [length, even], "multi_objective_aggregation": "normalize_then_sum"},
    "scale by batch": {"rewards": length, "scale_rewards": "batch"},
    "scale by nothing": {"rewards": length, "scale_rewards": "none"},
    "sequence-level importance sampling": {"rewards": length, "importance_sampling_level": "sequence"},
    "several iterations": {"rewards": length, "num_iterations": 2, "steps_per_generation": 2, "max_steps": 4},
    "accumulation": {"rewards": length, "per_device_train_batch_size": 2, "gradient_accumulation_steps": 2},
    "reference policy": {"rewards": length, "beta": 0.1},
    "synchronised reference": {"rewards": length, "beta": 0.1, "sync_ref_model": True, "ref_model_sync_steps": 1},
    "entropy bonus": {"rewards": length, "entropy_coef": 0.1},
    "adaptive entropy": {"rewards": length, "use_adaptive_entropy": True, "entropy_target": 100.0},
    "high-entropy tokens": {"rewards": length, "top_entropy_quantile": 0.3},
    "truncated completions masked": {"rewards": length, "mask_truncated_completions": True},
    "gradient checkpointing": {"rewards": length, "gradient_checkpointing": True},
    "head in float32": {"rewards": length, "cast_lm_head_to_fp32": True},
    "padded": {"rewards": length, "pad_to_multiple_of": 8, "generation_kwargs": {"top_k": 5}},
    "every step logged": {"rewards": length, "logging_steps": 1},
    "a remainder at the end": {"rewards": length, "logging_steps": 2, "max_steps": 3},
} | {
    f"loss {kind}": {"rewards": length, "loss_type": kind}
    for kind in ("grpo", "dr_grpo", "cispo", "sapo", "luspo", "vespo")
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_text_policies_train_as_with_grpo(case: str, both: Any, text_policy: Any, tokenizer: Any):
    settings = {"rows": CHAT} | CASES[case]
    _, ours = both(text_policy, tokenizer, settings.pop("rows"), settings.pop("rewards"), **settings)
    assert ours.moved or case == "truncated completions masked"


def test_a_stream_trains_as_with_grpo(both: Any, text_policy: Any, tokenizer: Any):
    both(text_policy, tokenizer, IterableDataset.from_generator(lambda: iter(CHAT)), length)


def test_an_adapter_trains_as_with_grpo(both: Any, text_policy: Any, tokenizer: Any):
    _, ours = both(text_policy, tokenizer, CHAT, length, peft_config=LoraConfig(r=2, task_type="CAUSAL_LM"), beta=0.1)
    assert ours.moved and all("lora" in name for name in ours.moved)


def test_a_mixture_of_experts_logs_its_auxiliary_loss(both: Any, tokenizer: Any):
    torch.manual_seed(0)
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "head_dim": 16}
    config = Qwen3MoeConfig(
        vocab_size=len(tokenizer), output_router_logits=True, router_aux_loss_coef=0.1, **SIZES, **experts,
        **_ids(tokenizer),
    )  # fmt: skip
    _, ours = both(Qwen3MoeForCausalLM(config), tokenizer, CHAT, length)
    assert ours.state.log_history[-2]["aux_loss"] > 0


@pytest.mark.parametrize("layout", ["image", "images", "none"])  # TRL cannot mix prompts with and without images
def test_a_vision_language_policy_trains_as_with_grpo(layout: str, both: Any, tiny_policy: Path):
    policy = AutoModelForImageTextToText.from_pretrained(tiny_policy, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(tiny_policy, padding_side="left")
    picture = [Image.new("RGB", (84, 84), colour) for colour in ("red", "green", "blue", "white")]
    own: dict[str, list[dict[str, Any]]] = {
        "image": [{"image": image} for image in picture],
        "images": [{"images": [image, picture[0]]} for image in picture],
        "none": [{} for _ in picture],
    }
    rows = [row | images for row, images in zip(CHAT, own[layout], strict=True)]
    _, ours = both(policy, processor, rows, length, max_steps=1)
    per_step = {"image": [1, 1], "images": [2, 2], "none": [0, 0]}[layout]
    assert [len(record.images) for record in read_rollouts(ours.args.output_dir)][::2] == per_step


def test_evaluation_during_training_is_that_of_grpo(both: Any, text_policy: Any, tokenizer: Any):
    evaluated = {"eval_dataset": Dataset.from_list(CHAT[:2]), "eval_strategy": "steps", "eval_steps": 1}
    _, ours = both(text_policy, tokenizer, CHAT, [length, even], per_device_eval_batch_size=2, **evaluated)
    found = [row["eval_rewards/even/mean"] for row in ours.state.log_history if "eval_reward" in row]
    assert len(found) == 2


def multiply(a: int, b: int) -> int:
    """Multiply two numbers.

    Args:
        a: the first number.
        b: the second number.
    """
    return a * b


class Counter:
    """An environment with one tool, which sets its own reward."""

    def reset(self, **kwargs: Any) -> str | None:
        self.total = 0
        return None

    def multiply(self, a: int, b: int) -> int:
        """Multiply two numbers.

        Args:
            a: the first number.
            b: the second number.
        """
        self.total += a * b
        return self.total

    def get_reward(self) -> float:
        return float(self.total)


def _saying(texts: list[str]) -> Callable[[Any], None]:
    """Makes a trainer's policy say these texts in turn, over and over, and nothing after the answer of a tool."""

    def prepare(trainer: Any) -> None:
        said, tokenizer = itertools.cycle(texts), trainer.processing_class

        def generate(input_ids: torch.Tensor, **kwargs: Any) -> torch.Tensor:
            after_tool = "tool_response" in tokenizer.decode(input_ids[0])
            ids = [[*tokenizer.encode("done" if after_tool else next(said)), tokenizer.eos_token_id] for _ in input_ids]
            longest = max(map(len, ids))
            padded = [row + [tokenizer.pad_token_id] * (longest - len(row)) for row in ids]
            return torch.cat([input_ids, torch.tensor(padded)], dim=1)

        trainer.model.generate = generate

    return prepare


CALLS = [
    f"<tool_call>\n{json.dumps({'name': 'multiply', 'arguments': {'a': 3, 'b': 4}})}\n</tool_call>",
    "12",
    f"<tool_call>\n{json.dumps({'name': 'divide', 'arguments': {'a': 3, 'b': 4}})}\n</tool_call>",
    "nothing",
]


@pytest.fixture(scope="module")
def tool_tokenizer(tokenizer: Any) -> Any:
    made = copy.deepcopy(tokenizer)
    made.chat_template = (Path(trl.__file__).parent / "chat_templates" / "qwen3.jinja").read_text()
    return made


def test_tools_are_called_as_with_grpo(both: Any, text_policy: Any, tool_tokenizer: Any):
    tools = {"tools": [multiply], "max_completion_length": 128}
    _, ours = both(text_policy, tool_tokenizer, CHAT, length, _saying(CALLS), **tools)
    last = ours.state.log_history[-2]
    assert last["tools/call_frequency"] == 0.5 and last["tools/failure_frequency"] == 0.5
    said = [record.completion for record in read_rollouts(ours.args.output_dir)]
    assert "done" in said[0] and "12" not in said[0]  # the tool's tokens are not the policy's


def test_environments_reward_as_with_grpo(both: Any, text_policy: Any, tool_tokenizer: Any):
    environment = {"environment_factory": Counter, "max_completion_length": 128}
    _, ours = both(text_policy, tool_tokenizer, CHAT, None, _saying(CALLS), **environment)
    assert ours.state.log_history[-2]["rewards/Counter/mean"] == 3.0
    rewards = [record.rewards["Counter"] for record in read_rollouts(ours.args.output_dir)]
    assert rewards == [12.0, 0.0, 0.0, 0.0] * 2


def test_several_environments_and_asynchronous_tools_are_those_of_grpo(
    both: Any, text_policy: Any, tool_tokenizer: Any
):
    class Silent(Counter):
        async def multiply(self, a: int, b: int) -> int:
            """Multiply two numbers.

            Args:
                a: the first number.
                b: the second number.
            """
            return a * b

    rows = [row | {"environment": name} for row, name in zip(CHAT, ("counter", "silent") * 2, strict=True)]
    environments = {"environment_factory": {"counter": Counter, "silent": Silent}, "max_completion_length": 128}
    _, ours = both(text_policy, tool_tokenizer, rows, [even], _saying(CALLS), **environments)
    assert {"rewards/even/mean", "rewards/Counter/mean", "rewards/Silent/mean"} <= ours.state.log_history[-2].keys()


def test_a_rollout_function_masks_what_is_not_the_policys(both: Any, text_policy: Any, tokenizer: Any):
    def rollouts(prompts: list[Any], trainer: Any) -> dict[str, Any]:
        ids, said = [[5, 6, 7] for _ in prompts], [[place + 8, 9, 10, 11] for place in range(len(prompts))]
        mask = [[1, 1, 0, 1] for _ in prompts]
        return {"prompt_ids": ids, "completion_ids": said, "logprobs": None, "env_mask": mask, "place": mask}

    def places(place: list[Any], **kwargs: Any) -> list[float]:
        return [float(number) for number in range(len(place))]

    _, ours = both(text_policy, tokenizer, CHAT, places, rollout_func=rollouts)
    assert all(len(record.tokens) == 3 for record in read_rollouts(ours.args.output_dir))


def test_a_reward_model_rewards_as_with_grpo(both: Any, text_policy: Any, tokenizer: Any):
    torch.manual_seed(0)
    judge = Qwen2ForSequenceClassification(
        Qwen2Config(vocab_size=len(tokenizer), num_labels=1, **SIZES, **_ids(tokenizer))
    )
    judge.config._name_or_path = "org/judge"
    _, ours = both(text_policy, tokenizer, CHAT, [judge, length], reward_processing_classes=[tokenizer, None])
    assert ours.reward_func_names == ["judge", "length"]


def test_a_grpo_config_is_refused_in_a_sentence_that_says_what_to_pass(text_policy: Any, tokenizer: Any):
    args = GRPOConfig(**SETTINGS)
    with pytest.raises(TypeError, match=r"args is a GRPOConfig: pass .*RLFRConfig .*advantage_shaping='none'"):
        RLFRTrainer(text_policy, length, args, train_dataset=Dataset.from_list(CHAT), processing_class=tokenizer)


@pytest.mark.parametrize("stream", [False, True])
def test_the_flow_needs_no_column_but_the_prompt(stream: bool, text_policy: Any, tokenizer: Any, tmp_path: Path):
    """With rewards of which one never applies to some rollouts, and prompts without ids."""
    policy = copy.deepcopy(text_policy)
    field = FlowField.for_policy(FlowConfig(num_blocks=1, flow_layers=[0.5]), policy.config)
    rows = IterableDataset.from_generator(lambda: iter(CHAT)) if stream else Dataset.from_list(CHAT)
    args = RLFRConfig(output_dir=str(tmp_path), **SETTINGS | {"max_steps": 1})
    trainer = RLFRTrainer(policy, [even, odd], args, train_dataset=rows, processing_class=tokenizer, field=field)
    trainer.train()
    records = list(read_rollouts(tmp_path))
    assert [record.correct is None for record in records] == [True, False] * 2
    assert [record.rewards["odd"] is None for record in records] == [False, True] * 2
    assert len({record.problem_id for record in records}) == 2 and [record.sample for record in records] == [0, 1] * 2
    assert all(any(record.deviation) and math.isfinite(record.advantage) for record in records)


def test_a_score_that_needs_a_column_names_it(text_policy: Any, tokenizer: Any, tmp_path: Path):
    field = FlowField.for_policy(FlowConfig(num_blocks=1, flow_layers=[0.5]), text_policy.config)
    with pytest.raises(ValueError, match="score=departure needs a column `expert`"):
        RLFRTrainer(
            text_policy, length, RLFRConfig(str(tmp_path), **SETTINGS), train_dataset=Dataset.from_list(CHAT),
            field=field, processing_class=tokenizer, flow_reward_config=FlowRewardConfig(score="departure"),
        )  # fmt: skip
