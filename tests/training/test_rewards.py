"""The verifiable rewards as TRL calls them."""

from typing import Any

import pytest
from trl.trainer.utils import get_callable_name

from rlfr_mm.training.rewards import accuracy_reward, completion_text, format_reward


def messages(text: str) -> list[dict[str, Any]]:
    return [{"role": "assistant", "content": text}]


def test_accuracy_is_mathematical_equality_of_the_tagged_or_boxed_answer() -> None:
    completions = [
        "<think>half</think><answer>0.5</answer>",
        "so \\boxed{\\frac{2}{4}}",
        "<think>half</think><answer>\\boxed{1/2}</answer>",
        "<think>half</think><answer>2</answer>",
        "I cannot tell.",
    ]
    rewards = accuracy_reward(prompts=[""] * 5, completions=completions, solution=["\\frac{1}{2}"] * 5)
    assert rewards == [1.0, 1.0, 1.0, 0.0, 0.0]


def test_accuracy_takes_option_letters() -> None:
    completions = ["<answer>B</answer>", "<answer>(B)</answer>", "<answer>A</answer>"]
    choices = [["Wednesday", "Friday"]] * 3
    assert accuracy_reward(completions=completions, solution=["B"] * 3, choices=choices) == [1.0, 1.0, 0.0]


def test_an_answer_that_cannot_be_graded_is_not_wrong() -> None:
    tower = "<answer>" + "9^{" * 6 + "9" + "}" * 6 + "</answer>"
    assert accuracy_reward(completions=[tower, "<answer>3</answer>"], solution=["2", "3"]) == [None, 1.0]


@pytest.mark.parametrize(
    ("text", "reward"),
    [
        ("<think>a</think><answer>b</answer>", 1.0),
        ("<think>a\nb</think>\n\n<answer>\nc\n</answer>\n", 1.0),
        ("so <think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer> done", 0.0),
        ("<think>a</think> hence <answer>b</answer>", 0.0),
        ("<answer>b</answer><think>a</think>", 0.0),
        ("<think>a</think><think>a</think><answer>b</answer>", 0.0),
        ("<think><think>a</think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b</answer><answer>c</answer>", 0.0),
        ("<think>a</think><answer> </answer>", 0.0),
        ("<think></think><answer>b</answer>", 0.0),
        ("<think>a</think><answer>b", 0.0),
        ("b", 0.0),
    ],
)
def test_format_wants_each_tag_once_and_nothing_around(text: str, reward: float) -> None:
    assert format_reward(completions=[text, messages(text)], solution=["b", "b"]) == [reward, reward]


def test_completions_are_text_messages_or_parts() -> None:
    parts = [{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]
    assert [completion_text(completion) for completion in ("ab", messages("ab"), parts)] == ["ab"] * 3


def test_trl_names_the_metrics_accuracy_and_format() -> None:
    assert [get_callable_name(reward) for reward in (accuracy_reward, format_reward)] == ["accuracy", "format"]
