"""The options of a dataset row, and which of them its answer names. Nothing is dropped without an error."""

import re
from collections.abc import Mapping
from typing import Any

from rlfr_mm.data.prompts import option_letters
from rlfr_mm.grading.item import missing
from rlfr_mm.grading.strict.choices import read_choice, without_labels

_LETTER = re.compile(r"[A-Za-z][.:)]?|\([A-Za-z]\)[.:]?")  # an answer that is an option's letter: B, b, B., (b)


def read_options(options: Any) -> list[str]:
    """The option texts without their own labels, from a list, {"A": text, ...} or {"label": [...], "text": [...]}.

    ValueError for anything else, and for letters that are not A, B, C, ... in this order.

    >>> read_options(["A. 1", "B. 2"])
    ['1', '2']
    """
    labels: list[str] | None = None
    if isinstance(options, Mapping):
        columns = isinstance(options.get("text"), list) and isinstance(options.get("label"), list)
        labels = list(map(str, options["label"] if columns else options))
        options = options["text"] if columns else [options[label] for label in options]
    if not isinstance(options, list):
        raise ValueError(f"the options are {options!r:.80}; give a list of texts")
    if labels is not None and [label.strip("(). ").upper() for label in labels] != option_letters(options):
        raise ValueError(f"the options are labelled {', '.join(labels)}; label them A, B, C, ... in this order")
    return list(without_labels([str(option) for option in options]))


def lettered(given: Any, solution: str, options: list[str]) -> tuple[str, list[str]]:
    """(letter, options) if the answer names an option by its letter or index, (answer, []) if it is an option's text.

    `given` is the answer as the row has it: a whole number counts options from 0, unless it is the text of one.
    ValueError if the answer is no option, or if its text and its position are different options.

    >>> lettered("b", "b", ["Monday", "Friday"])
    ('B', ['Monday', 'Friday'])
    >>> lettered(1, "1", ["Monday", "Friday"])
    ('B', ['Monday', 'Friday'])
    >>> lettered("Friday", "Friday", ["Monday", "Friday"])
    ('Friday', [])
    """
    if not options:
        return solution, []
    letters = option_letters(options)
    letter = solution.strip("().: ").upper() if _LETTER.fullmatch(solution) else ""
    as_text = [letters[i] for i, option in enumerate(options) if option.strip() == solution]
    if letter in letters and (solution[0].isupper() or not as_text or letter in as_text):
        return letter, options
    if as_text and missing(solution):
        return as_text[0], options  # an option such as "None" is told from a missing value by its letter
    counted = isinstance(given, int | float) and not isinstance(given, bool) and float(given).is_integer()
    index = int(given) if counted else None
    if index is not None and 0 <= index < len(options):
        if as_text and letters[index] not in as_text:
            raise ValueError(
                f"the answer {index} is the text of option {as_text[0]} and the position of option {letters[index]}; "
                "give the letter"
            )
        return letters[index], options
    if as_text or (not letter and read_choice(solution, options)):
        return solution, []
    raise ValueError(
        f"the answer {solution!r:.80} is none of the {len(options)} options; give a letter from A to {letters[-1]}, a "
        "position counted from 0 as a number, or an option's text"
    )
