"""Images of a record: kept as a path or as bytes while rows are read, decoded to RGB when a row is used."""

import base64
import binascii
import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

StoredImage = dict[str, Any]  # {"bytes": bytes | None, "path": str | None}, the layout of datasets.Image(decode=False)

_MIN_BASE64_LENGTH = 64  # shorter text is a path: no image file is that small


def store_image(value: Any, folder: Path) -> StoredImage:
    """The image of a record as {"bytes", "path"}, not decoded.

    `value` is a path (relative to `folder`, absolute, or file://), base64 text, bytes, a PIL image, or a dict with
    `bytes` or `path`. Raises ValueError if it is empty or if the file does not exist.

    >>> store_image("fig/1.png", Path("/data"))
    {'bytes': None, 'path': '/data/fig/1.png'}
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
        raise ValueError(f"an image is {value!r}; give a path, base64 text, or the bytes of an image file")
    if (encoded := _base64(value)) is not None:
        return {"bytes": encoded, "path": None}
    path = folder / value.removeprefix("file://")
    if not path.is_file():
        raise ValueError(f"no image file {path}; set data.media_dir to the folder that {value} is relative to")
    return {"bytes": None, "path": str(path.resolve())}


def open_image(stored: StoredImage) -> Image.Image:
    """The decoded image as RGB.

    - Photos are turned upright, and transparent pixels become white.
    - An animation gives its first frame, and 16-bit grey is scaled to 8 bits.

    Raises ValueError naming the file if the data are not an image or are truncated.
    """
    source = io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]
    try:
        with _refuse_truncated_files(), Image.open(source) as file:
            image: Image.Image = ImageOps.exif_transpose(file)
    except (OSError, SyntaxError, Image.DecompressionBombError, UnidentifiedImageError) as error:
        name = stored["path"] or f"of {len(stored['bytes'])} bytes"
        raise ValueError(f"cannot decode image {name}: {' '.join(str(error).split())}") from None
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")  # Pillow would clip to white instead
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return image.convert("RGB")


@contextmanager
def _refuse_truncated_files() -> Iterator[None]:
    """Make Pillow reject truncated files, even after lmms-eval has told it to accept them."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _base64(text: str) -> bytes | None:
    """The decoded bytes, or None if the text is a path."""
    if text.startswith("data:"):
        text = text.partition(",")[2]
    elif "." in text or len(text) < _MIN_BASE64_LENGTH:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        return None
