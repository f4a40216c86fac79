"""What several benchmarks read from their records in the same way."""

import hashlib
import re
from collections.abc import Callable

from rlfr_mm.tasks.spec import Doc

_IMAGE_MARKER = re.compile(r"\s*<image\d*>\s*")


def as_published(field: str) -> Callable[[Doc], str]:
    """The prompt that is a field of the record and nothing else."""
    return lambda doc: doc[field]


def integer_answer(doc: Doc) -> str:
    """The answer "142.0", "025" or "336^\\circ" of a competition whose answers are integers, as "142", "25", "336"."""
    number = re.fullmatch(r"(-?\d+)(?:\.0+)?(?:\^\\circ)?", str(doc["answer"]).strip())
    if number is None:
        raise ValueError(f"answer {doc['answer']!r} is no integer, as all answers of AIME and AMC are")
    return str(int(number[1]))


def without_image_markers(text: str) -> str:
    """The text without `<image>` and `<image1>`: the picture goes before the text, in every back end."""
    return _IMAGE_MARKER.sub(" ", text).strip()


def text_digest(text: str) -> str:
    """An id for a problem of a dataset whose ids are missing or uncertain: it holds as long as the text does."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]
