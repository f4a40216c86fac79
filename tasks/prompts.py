"""What a question is followed by, protocol by protocol. The paper's two instructions, and words that are shared."""

import re

# arXiv 2510.10201: text problems, and the <think>/<answer> format that its multimodal policies are trained on.
BOXED = "Please reason step by step, and put your final answer within \\boxed{}."
THINK_ANSWER = (
    "First think about the reasoning process, then give the answer. The reasoning process and the answer are enclosed "
    "within <think> </think> and <answer> </answer> tags, respectively, i.e., <think> reasoning process here </think>"
    "<answer> answer here </answer>."
)

_IMAGE_MARKER = re.compile(r"\s*<image\d*>\s*")


def boxed(question: str) -> str:
    """The paper's prompt of a text problem."""
    return f"{question}\n{BOXED}"


def think_answer(question: str) -> str:
    """The paper's prompt of a problem with an image."""
    return f"{question}\n{THINK_ANSWER}"


def without_image_markers(text: str) -> str:
    """The text without `<image>` and `<image1>`: the picture goes before the text, in every back end."""
    return _IMAGE_MARKER.sub(" ", text).strip()
