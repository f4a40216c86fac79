"""Images of a record: found and kept as path or bytes while data are read, decoded to RGB when they are used."""

import base64
import binascii
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

StoredImage = dict[str, Any]  # {"bytes": bytes | None, "path": str | None}, as datasets.Image(decode=False) keeps them

_MIN_BASE64_LENGTH = 64  # shorter text without a dot is a path; no image file is that small


def store_image(value: Any, folder: Path) -> StoredImage:
    """An image of a record, not decoded: a path (relative to `folder`, or file://), base64, bytes, PIL image or dict.

    Raises ValueError, without a file name of the data set, where nothing is there or the file does not exist.
    """
    if isinstance(value, dict):
        if value.get("bytes"):
            return {"bytes": value["bytes"], "path": value.get("path")}
        value = value.get("path")
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return {"bytes": buffer.getvalue(), "path": None}
    if isinstance(value, bytes) and value:
        return {"bytes": value, "path": None}
    if not isinstance(value, str) or not value:
        raise ValueError(f"an image is {value!r}; give a path, base64 text, or the file's bytes")
    encoded = _base64(value)
    if encoded is not None:
        return {"bytes": encoded, "path": None}
    path = Path(value.removeprefix("file://"))
    found = path if path.is_absolute() else folder / path
    if not found.is_file():
        raise ValueError(f"no image file {found}; set data.media_dir to the folder that {value} is relative to")
    return {"bytes": None, "path": str(found.resolve())}


def open_image(stored: StoredImage) -> Image.Image:
    """The image as RGB: upright, transparency on white, the first frame of an animation, 16 bits scaled to 8.

    Raises ValueError naming the file where the data are no image or end too early.
    """
    try:
        with _whole_files_only(), Image.open(_file_of(stored)) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, Image.DecompressionBombError, UnidentifiedImageError) as error:
        name = stored["path"] or f"of {len(stored['bytes'])} bytes"
        raise ValueError(f"cannot decode image {name}: {' '.join(str(error).split())}") from None
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")  # Pillow would clip, and show white
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return image.convert("RGB")


def _file_of(stored: StoredImage) -> Any:
    return io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]


@contextmanager
def _whole_files_only() -> Iterator[None]:
    """Pillow refuses a file that ends too early, also where a library (lmms-eval does) has told it not to."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _base64(text: str) -> bytes | None:
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif "." in text or len(text) < _MIN_BASE64_LENGTH:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
