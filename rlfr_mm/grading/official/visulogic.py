"""VisuLogic: evaluation/eval_model.py of VisuLogic-Benchmark/VisuLogic-Eval."""

from rlfr_mm.grading.item import Found, Item
from rlfr_mm.grading.official.judge import guess_choice
from rlfr_mm.grading.official.shared import letter_at_edge, untagged
from rlfr_mm.grading.strict.boxes import last_boxed
from rlfr_mm.grading.strict.rules import options_of

_PHRASES = (
    "answer:", "the final answer is:", "the answer is option:", "the answer is:", "the correct answer is option:",
    "the correct answer is:", "the answer should be:", "the final answer is", "the answer is option", "the answer is",
    "the correct answer is option", "the correct answer is", "the answer should be",
)  # fmt: skip


def find(item: Item) -> Found | None:
    """The letter that the benchmark's rules find, else the option that its judge model would read."""
    letter = letter_of_response(untagged(item))
    if letter is not None:
        return Found(letter, "eval_model.py")
    return guess_choice(item.response, options_of(item))


def letter_of_response(response: str) -> str | None:
    """The option letter that the benchmark's own rules find; None if the benchmark would ask a judge model."""
    boxed = last_boxed(response)
    if boxed is not None:
        for command in ("\\text{", "\\rm{", "\\mathbf{", "$", "}"):
            boxed = boxed.replace(command, "")
        if boxed.strip() in ("A", "B", "C", "D") and len(boxed) <= 2:
            return boxed.strip()
    text = response.replace("<|endoftext|>", "")
    letter = letter_at_edge(text, "ABCD")
    if letter is not None:
        return letter
    text = text.lower()
    for phrase in _PHRASES:
        if phrase in text:
            text = text.split(phrase)[-1].strip().split("\n")[0].split(".")[0]
            if text.upper() in ("A", "B", "C", "D"):
                return text.upper()
    return response if response in ("A", "B", "C", "D") else None
