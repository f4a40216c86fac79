"""Functions that several benchmarks use to read their records."""

import hashlib
import re

from rlfr_mm.tasks.spec import Doc

_IMAGE_MARKER = re.compile(r"\s*<image\d*>\s*")


def integer_answer(doc: Doc) -> str:
    r"""The answer of a competition with integer answers: "142.0", "025" and "336^\circ" give "142", "25" and "336"."""
    number = re.fullmatch(r"(-?\d+)(?:\.0+)?(?:\^\\circ)?", str(doc["answer"]).strip())
    if number is None:
        raise ValueError(f"answer {doc['answer']!r} is not an integer, but all answers of AIME and AMC are")
    return str(int(number[1]))


def without_image_markers(text: str) -> str:
    """The text without `<image>` and `<image1>`, because every back end puts the picture before the text."""
    return _IMAGE_MARKER.sub(" ", text).strip()


def text_digest(text: str) -> str:
    """A problem id for datasets without reliable ids. It stays the same as long as the text does."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
