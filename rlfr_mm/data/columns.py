"""Columns under other names: `data.columns` says what they hold, and errors suggest what it could say."""

import difflib
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from rlfr_mm.data.images import SIGNATURES

Row = dict[str, Any]

# What people call a column; the first word that is part of a name counts.
_WORDS = {
    "problem": ("question", "problem", "query", "prompt", "instruction", "text", "input"),
    "answer": ("answer", "gold", "truth", "target", "label", "solution", "result", "output", "response"),
    "images": ("image", "img", "pic", "figure", "photo", "diagram", "screenshot"),
}
_IMAGE_NAME = re.compile(r"data:image/\S+|\S{1,300}\.(?:png|jpe?g|webp|gif|bmp|tiff?)", re.IGNORECASE)


def value_of(row: Mapping[str, Any], name: str) -> Any:
    """The value of a column, or inside one: "reward_model.ground_truth" is row["reward_model"]["ground_truth"].

    >>> value_of({"reward_model": {"ground_truth": "48"}}, "reward_model.ground_truth")
    '48'
    """
    if name in row or "." not in name:
        return row.get(name)
    outer, _, inner = name.partition(".")
    nested = row.get(outer)
    return value_of(nested, inner) if isinstance(nested, Mapping) else None


def renamed(row: Row, columns: Mapping[str, Any], usual: Mapping[str, Sequence[str]]) -> Row:
    """The row with each role of `data.columns` under the first of its usual names, and none of the other ones.

    Several columns of images become one list.

    >>> renamed({"q": "1+1?", "gold": "2"}, {"answer": "gold"}, {"answer": ["answer"]})
    {'q': '1+1?', 'answer': '2'}
    """
    if not columns:
        return row
    hidden = {name for names in columns.values() for name in _names(names)}
    hidden |= {name for role in columns for name in usual[role]}
    kept = {name: value for name, value in row.items() if name not in hidden}
    for role, names in columns.items():
        values = [value_of(row, name) for name in _names(names)]
        kept[usual[role][0]] = values[0] if isinstance(names, str) else _joined(values)
    return kept


def _names(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _joined(values: list[Any]) -> list[Any]:
    """The images of several columns, each of which holds none, one or a list."""
    given = [value if isinstance(value, list) else [value] for value in values if value not in (None, "", [])]
    return [image for images in given for image in images]


def check_named(columns: Mapping[str, Any], seen: Collection[str], source: str) -> None:
    """ValueError if `data.columns` names a column that the data does not have."""
    for role, names in columns.items():
        for name in _names(names):
            if name not in seen and name.partition(".")[0] not in seen:
                near = difflib.get_close_matches(name, sorted(seen), n=1)
                meant = f"; did you mean {near[0]}?" if near else ""
                raise ValueError(
                    f"{source}: data.columns says that {role} is in {name}, but the columns are "
                    f"{', '.join(sorted(seen))}{meant}"
                )


def suggestion(seen: Collection[str], lacking: Collection[str]) -> str:
    """A setting that may name the lacking roles, for the end of an error.

    >>> suggestion(["text", "gold", "pic"], ["problem", "answer", "images"])
    'name yours, such as data.columns: {problem: text, answer: gold, images: pic}'
    """
    found: dict[str, str] = {}
    for role in (role for role in _WORDS if role in lacking):
        free = [name for name in sorted(seen) if name not in found.values()]
        likely = (name for word in _WORDS[role] for name in free if word in name.lower())
        if (name := next(likely, None)) is not None:
            found[role] = name
        elif role != "images":
            found[role] = "NAME"
    return f"name yours, such as data.columns: {{{', '.join(f'{role}: {name}' for role, name in found.items())}}}"


def holds_image(value: Any) -> bool:
    """Whether a value is an image or names one: its bytes, the name of an image file, or a list of these."""
    if isinstance(value, list):
        return bool(value) and all(map(holds_image, value))
    if isinstance(value, Mapping):
        value = value.get("bytes")
    if isinstance(value, bytes):
        return value.startswith(SIGNATURES)
    return isinstance(value, str) and _IMAGE_NAME.fullmatch(value) is not None
