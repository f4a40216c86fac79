"""Images of a record: kept as a path or as bytes while rows are read, decoded to RGB when a row is used."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

StoredImage = dict[str, Any]  # {"bytes": bytes | None, "path": str | None}, the layout of datasets.Image(decode=False)

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF")  # Pillow's other readers run programs, such as Ghostscript
MOST_PIXELS = 100_000_000  # of one image; decoded, that is 300 MB
SIGNATURES = (b"\x89PNG", b"\xff\xd8", b"RIFF", b"GIF8", b"BM", b"II*\0", b"MM\0*")  # of FORMATS, in that order
_MIN_BASE64_LENGTH = 64  # shorter text is a path: no image file is that small
_URL_SAFE = str.maketrans("-_", "+/")
_URL = re.compile(r"(?!file:)[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def store_image(value: Any, folder: Path, allow_outside: bool = False) -> StoredImage:
    """The image of a record as {"bytes", "path"}, not decoded.

    `value` is a path (relative to `folder`, absolute, or file://), base64 text, bytes, a PIL image, or a dict with
    `bytes` (which may be base64 text) or `path`. Raises ValueError if it is empty or a URL, if the file does not exist,
    or if it lies outside of `folder`, links followed, unless `allow_outside`.

    >>> store_image("fig/1.png", Path("/data"))
    {'bytes': None, 'path': '/data/fig/1.png'}
    """
    if isinstance(value, dict):
        if (data := value.get("bytes")) and isinstance(data, str):
            data = _base64(data)
            if data is None:
                raise ValueError("the bytes of an image are text that is not base64 of an image file")
        if data:
            return {"bytes": bytes(data), "path": value.get("path")}
        value = value.get("path")
    if isinstance(value, Image.Image):
        buffer = io.BytesIO()
        value.save(buffer, format="PNG")
        return {"bytes": buffer.getvalue(), "path": None}
    if isinstance(value, bytes) and value:
        return {"bytes": value, "path": None}
    if not isinstance(value, str) or not value:
        raise ValueError(f"an image is {value!r:.80}; give a path, base64 text, or the bytes of an image file")
    if (encoded := _base64(value)) is not None:
        return {"bytes": encoded, "path": None}
    if _URL.match(value):
        raise ValueError(f"the image {value:.200} is a URL; download the images and give their paths")
    return {"bytes": None, "path": _image_file(value, folder, allow_outside)}


def _image_file(name: str, folder: Path, allow_outside: bool) -> str:
    """The absolute path of an image file; ValueError if there is none, or none that the record may name."""
    path = folder / name.removeprefix("file://")
    try:
        found, resolved = path.is_file(), path.resolve()
    except (OSError, ValueError) as error:  # a name that is too long, or has a NUL
        raise ValueError(f"the image {name:.80}... is neither base64 of an image nor a path: {error}"[:300]) from None
    if not allow_outside and not resolved.is_relative_to(folder.resolve()):
        raise ValueError(
            f"the image {name:.200} lies outside of {folder}; set data.media_dir to a folder that holds all images, or "
            "data.allow_outside_media_dir if you trust the data"
        )
    if not found:
        raise ValueError(f"no image file {path}; set data.media_dir to the folder that {name} is relative to")
    return str(resolved)


def open_image(stored: StoredImage) -> Image.Image:
    """The decoded image as RGB.

    - Photos are turned upright, and transparent pixels become white.
    - An animation gives its first frame, and 16-bit grey is scaled to 8 bits.

    Raises ValueError naming the file if the data are not an image of FORMATS, are truncated, have more than MOST_PIXELS
    pixels, or have grey values of 32 bits, for which nothing says what is black and what is white.
    """
    name = stored["path"] or f"of {len(stored['bytes'])} bytes"
    source = io.BytesIO(stored["bytes"]) if stored["bytes"] is not None else stored["path"]
    try:
        with refuse_truncated_files(), Image.open(source, formats=FORMATS) as file:
            if file.width * file.height > MOST_PIXELS:
                raise ValueError(f"{file.width} x {file.height} pixels are more than {MOST_PIXELS:,}; make it smaller")
            if file.mode in ("F", "I"):
                raise ValueError("its pixels have 32 bits and no known range; save it with 8 or 16 bits per channel")
            return _rgb(ImageOps.exif_transpose(file))
    except UnidentifiedImageError:
        raise ValueError(f"cannot decode image {name}: it is not a {', '.join(FORMATS)} file") from None
    except Exception as error:  # Pillow's readers raise all kinds on damaged files
        raise ValueError(f"cannot decode image {name}: {' '.join(str(error).split())[:300]}") from None


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        image = image.point(lambda value: value / 256).convert("L")  # Pillow would clip to white instead
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        image = Image.new("RGBA", rgba.size, "white")
        image.alpha_composite(rgba)
    return image.convert("RGB")


@contextmanager
def refuse_truncated_files() -> Iterator[None]:
    """Make Pillow reject truncated files, even after lmms-eval has told it to accept them."""
    before = ImageFile.LOAD_TRUNCATED_IMAGES
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        yield
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES = before


def _base64(text: str) -> bytes | None:
    """The decoded bytes, or None if the text is a path. Line breaks, the alphabet of URLs and no padding are fine."""
    marked = text.startswith("data:")
    encoded = "".join((text.partition(",")[2] if marked else text).split()).translate(_URL_SAFE).rstrip("=")
    if not marked and len(encoded) < _MIN_BASE64_LENGTH:
        return None
    try:
        data = base64.b64decode(encoded + "=" * (-len(encoded) % 4), validate=True)
    except ValueError:  # also if it is not ASCII
        return None
    return data if marked or data.startswith(SIGNATURES) else None
