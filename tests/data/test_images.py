"""Images become RGB, however the record stores them."""

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from rlfr_mm.data.images import open_image, store_image


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def opened(data: bytes) -> Image.Image:
    return open_image({"bytes": data, "path": None})


RED = Image.new("RGB", (12, 8), (200, 0, 0))


def test_every_way_to_keep_an_image_gives_the_same_picture(tmp_path: Path) -> None:
    data = encoded(RED)
    (tmp_path / "a.png").write_bytes(data)
    text = base64.b64encode(data).decode()
    given = ["a.png", str(tmp_path / "a.png"), f"file://{tmp_path}/a.png", text, f"data:image/png;base64,{text}"]
    given += [data, RED, {"bytes": data, "path": "x.png"}, {"bytes": None, "path": "a.png"}]
    for value in given:
        image = open_image(store_image(value, tmp_path))
        assert (image.mode, image.size, image.getpixel((3, 3))) == ("RGB", (12, 8), (200, 0, 0)), str(value)[:30]


def test_transparency_shows_white_in_all_modes_that_have_it() -> None:
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0))
    clear.putpixel((0, 0), (10, 20, 30, 255))
    palette = Image.new("P", (4, 4), 0)
    palette.putpalette([0, 0, 0, 10, 20, 30])
    palette.putpixel((0, 0), 1)
    for data in (encoded(clear), encoded(palette, transparency=0)):
        image = opened(data)
        assert image.getpixel((0, 0)) == (10, 20, 30)
        assert image.getpixel((3, 3)) == (255, 255, 255)


def test_grey_palette_and_print_colours_become_rgb() -> None:
    assert opened(encoded(Image.new("L", (4, 4), 77))).getpixel((1, 1)) == (77, 77, 77)
    assert opened(encoded(RED.convert("P"))).mode == "RGB"
    red, green, blue = opened(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG")).getpixel((8, 8))
    assert red > 200 and green < 60 and blue < 60


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    grey = Image.fromarray(np.full((4, 4), 32768, dtype=np.uint16))
    assert opened(encoded(grey)).getpixel((1, 1)) == (128, 128, 128)


def test_an_animation_shows_its_first_frame() -> None:
    frames = [Image.new("P", (5, 5), 0) for _ in range(2)]
    for frame, colour in zip(frames, ([200, 0, 0], [0, 0, 200]), strict=True):
        frame.putpalette(colour)
    image = opened(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    assert image.getpixel((2, 2)) == (200, 0, 0)


def test_a_photo_stands_upright() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera on its side
    assert opened(encoded(RED, "JPEG", exif=exif)).size == (8, 12)


@pytest.mark.parametrize("allowed_elsewhere", [False, True])
def test_a_missing_file_and_broken_data_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, allowed_elsewhere: bool
) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", allowed_elsewhere)  # lmms-eval sets it when imported
    with pytest.raises(ValueError, match=r"no image file .*gone\.png; set data\.media_dir"):
        store_image("gone.png", tmp_path)
    (tmp_path / "cut.png").write_bytes(encoded(Image.effect_noise((64, 64), 9))[:400])
    with pytest.raises(ValueError, match=r"cannot decode image .*cut\.png"):
        open_image(store_image("cut.png", tmp_path))
    with pytest.raises(ValueError, match="cannot decode image of 9 bytes"):
        opened(b"not image")
    assert ImageFile.LOAD_TRUNCATED_IMAGES is allowed_elsewhere
    for nothing in ("", b"", {"bytes": None, "path": None}, 3):
        with pytest.raises(ValueError, match="give a path"):
            store_image(nothing, tmp_path)


def test_base64_may_have_line_breaks_the_alphabet_of_urls_and_no_padding(tmp_path: Path) -> None:
    data = encoded(Image.effect_noise((31, 17), 50).convert("RGB"))
    url_safe = base64.urlsafe_b64encode(data).decode()
    assert {"-", "_"} & set(url_safe)
    for text in (base64.encodebytes(data).decode(), url_safe, url_safe.rstrip("="), base64.b64encode(data).decode()):
        for value in (text, {"bytes": text}, f"data:image/png;base64,{text}"):
            assert store_image(value, tmp_path)["bytes"] == data


def test_only_images_are_decoded_whatever_their_name(tmp_path: Path) -> None:
    witness = tmp_path / "witness"
    program = f"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n({witness}) (w) file closefile\nshowpage\n"
    (tmp_path / "x.png").write_text(program)
    for stored in (store_image("x.png", tmp_path), {"bytes": program.encode(), "path": None}):
        with pytest.raises(ValueError, match=r"cannot decode image .*is not a PNG, JPEG, WEBP, GIF, BMP, TIFF file"):
            open_image(stored)
    assert not witness.exists()
    for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"):
        assert opened(encoded(RED, kind)).size == RED.size
    for kind in ("PPM", "TGA", "PCX", "ICO", "PDF"):
        with pytest.raises(ValueError, match="is not a PNG"):
            opened(encoded(RED, kind))


def test_an_image_of_too_many_pixels_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(ValueError, match=r"20000 x 6000 pixels are more than 100,000,000"):
        opened(encoded(Image.new("1", (20_000, 6_000))))


@pytest.mark.parametrize("values", [np.float32([[0.0, 0.5], [1.0, 0.2]]), np.int32([[0, 70_000], [9, 2**30]])])
def test_grey_values_of_32_bits_are_refused_since_nothing_says_what_is_white(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="32 bits"):
        opened(encoded(Image.fromarray(values), "TIFF"))


def test_names_that_are_no_paths_get_one_short_line(tmp_path: Path) -> None:
    for value, message in (
        ("https://example.org/a.png", "is a URL; download"),
        ("s3://bucket/a.png", "is a URL; download"),
        ("数" * 100 + ".png", "neither base64 of an image nor a path"),
        ("a" * 300, "neither base64 of an image nor a path"),
        ("a\0b.png", "neither base64 of an image nor a path|no image file"),
        ({"bytes": "not base64!"}, "not base64"),
        (base64.b64encode(b"%!PS-Adobe-3.0 EPSF-3.0 " * 20).decode(), "neither base64|no image file"),
    ):
        with pytest.raises(ValueError, match=message) as error:
            store_image(value, tmp_path)
        assert len(str(error.value)) < 500 and "\n" not in str(error.value)
