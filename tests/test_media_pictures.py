"""Every way in which a picture's numbers are meant otherwise than written: turned, deep, transparent, printed, moving.

All by hand: the pictures are a few pixels whose values are worked out in the docstrings.
"""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from polysense.data.media import decode_image

CORNERS = np.array([[[10, 0, 0], [20, 0, 0], [30, 0, 0]], [[40, 0, 0], [50, 0, 0], [60, 0, 0]]], np.uint8)


def saved(picture, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(file, kind, **options)
    return file.getvalue()


def png(bits: int, colour: int, rows: bytes, width: int, height: int, *more: tuple[bytes, bytes]) -> bytes:
    """A PNG written by hand: colour 0 grey, 2 RGB, 4 grey and alpha, 6 RGBA; each row begins with a zero."""
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    chunks = [(b"IHDR", header), *more, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*one) for one in chunks)


#: EXIF orientation -> rows of red as they are meant, for 10 20 30 / 40 50 60 as they are stored.
UPRIGHT = {
    1: [[10, 20, 30], [40, 50, 60]], 2: [[30, 20, 10], [60, 50, 40]], 3: [[60, 50, 40], [30, 20, 10]],
    4: [[40, 50, 60], [10, 20, 30]], 5: [[10, 40], [20, 50], [30, 60]], 6: [[40, 10], [50, 20], [60, 30]],
    7: [[60, 30], [50, 20], [40, 10]], 8: [[30, 60], [20, 50], [10, 40]],
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
def test_all_eight_orientations(orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    lossless = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert decode_image(saved(CORNERS, kind, exif=exif, **lossless))[..., 0].tolist() == UPRIGHT[orientation]


def test_orientation_holds_for_a_picture_that_is_decoded_small():
    """A JPEG of 64 x 32, dark on the left, that says it lies on its side: 32 x 64, dark on top; also at a quarter."""
    exif = Image.Exif()
    exif[0x0112] = 6
    stored = np.full((32, 64, 3), 200, np.uint8)
    stored[:, :32] = 40
    data = saved(stored, "JPEG", exif=exif, quality=95)
    whole, small = decode_image(data), decode_image(data, pixels=8)
    assert whole.shape == (64, 32, 3) and small.shape == (16, 8, 3)
    for picture in (whole, small):
        half = len(picture) // 2
        assert picture[: half - 1].max() < 60 and picture[half + 1 :].min() > 180


def test_no_and_broken_exif_turn_nothing():
    for exif in (b"", b"Exif\0\0nonsense"):
        assert decode_image(saved(CORNERS, "PNG", **({"exif": exif} if exif else {})))[..., 0].tolist() == UPRIGHT[1]


@pytest.mark.parametrize(("colour", "values", "wanted"), [
    (0, [40000], [156, 156, 156]), (2, [40000, 0, 65535], [156, 0, 255]),
    # half transparent: 156 * 128 / 255 + 255 * 127 / 255 = 205.3
    (4, [40000, 32896], [205, 205, 205]), (6, [40000, 0, 65535, 32896], [205, 127, 255]),
])
def test_sixteen_bits_of_every_kind(colour, values, wanted):
    """40000 of 65535 is 155.6 of 255."""
    rows = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    assert decode_image(png(16, colour, rows, 1, 1))[0, 0].tolist() == wanted


def test_sixteen_bits_are_read_in_either_order_of_bytes():
    values = np.array([[0, 40000, 65535]], np.uint16)
    for form, kind in (("<u2", "I;16"), (">u2", "I;16B")):
        picture = Image.frombytes(kind, (3, 1), values.astype(form).tobytes())
        assert decode_image(saved(picture, "TIFF"))[0, :, 0].tolist() == [0, 156, 255]
    assert decode_image(b"P5 3 1 65535\n" + values.astype(">u2").tobytes())[0, :, 0].tolist() == [0, 156, 255]
    # a depth of 12 bits: 4095 is white, 2048 of it 127.5
    twelve = struct.pack(">HHH", 0, 2048, 4095)
    assert decode_image(b"P5 3 1 4095\n" + twelve)[0, :, 0].tolist() in ([0, 127, 255], [0, 128, 255])


def test_a_grey_that_is_named_transparent_is_white():
    """PNG's tRNS chunk: grey 7 of 8 bits, and 40000 of 16 bits, mean nothing at all."""
    assert decode_image(png(8, 0, b"\0\x07\x08", 2, 1, (b"tRNS", b"\0\x07")))[0, :, 0].tolist() == [255, 8]
    rows = b"\0" + struct.pack(">HH", 40000, 20000)
    assert decode_image(png(16, 0, rows, 2, 1, (b"tRNS", struct.pack(">H", 40000))))[0, :, 0].tolist() == [255, 78]


def test_transparency_by_hand():
    """Colour 100 at a quarter (64 / 255) over white: 100 * 64 / 255 + 255 * 191 / 255 = 216.1; at none, white."""
    x = np.array([[[100, 0, 200, 64], [9, 9, 9, 0], [1, 2, 3, 255]]], np.uint8)
    assert decode_image(saved(x))[0].tolist() == [[216, 191, 241], [255] * 3, [1, 2, 3]]
    assert decode_image(saved(x, "WEBP", lossless=True, exact=True))[0].tolist() == [[216, 191, 241], [255] * 3, [1, 2, 3]]
    assert decode_image(saved(x, "TIFF"))[0].tolist() == [[216, 191, 241], [255] * 3, [1, 2, 3]]


def test_a_palette_with_a_transparency_for_each_entry():
    """Entry 0 opaque, 1 at a quarter, 2 not at all; entry 3 is not named and opaque."""
    picture = Image.new("P", (4, 1))
    picture.putdata([0, 1, 2, 3])
    picture.putpalette([5, 6, 7, 100, 0, 200, 9, 9, 9, 30, 31, 32])
    assert decode_image(saved(picture, transparency=bytes([255, 64, 0])))[0].tolist() == [
        [5, 6, 7], [216, 191, 241], [255, 255, 255], [30, 31, 32]]


def test_printers_colours_by_hand():
    """C M Y K of 255: red is full magenta and yellow; (51, 0, 102) lets through 204 255 153; a fifth of black takes a fifth."""
    x = np.array([[[0, 255, 255, 0], [51, 0, 102, 0], [0, 0, 0, 51], [0, 0, 0, 255]]], np.uint8)
    picture = Image.fromarray(x, "CMYK")
    assert decode_image(saved(picture, "TIFF"))[0].tolist() == [[255, 0, 0], [204, 255, 153], [204] * 3, [0] * 3]
    large = saved(picture.resize((64, 16), Image.Resampling.NEAREST), "JPEG", quality=98)  # stored as its negative
    found = decode_image(large)[8, 8::16].astype(int)
    assert np.abs(found - [[255, 0, 0], [204, 255, 153], [204] * 3, [0] * 3]).max() < 12


def test_of_what_moves_the_first_picture_counts():
    frames = [Image.new("RGB", (4, 2), (red, 0, 0)) for red in (10, 200, 90)]
    for kind, options in (("GIF", {}), ("PNG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})):
        data = saved(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        with Image.open(io.BytesIO(data)) as opened:
            assert getattr(opened, "n_frames", 1) == 3, kind
        found = decode_image(data)
        assert found.shape == (2, 4, 3) and found[0, 0].tolist() == [10, 0, 0], kind


def test_a_moving_picture_whose_first_one_is_partly_transparent():
    picture = Image.new("P", (2, 1))
    picture.putdata([0, 1])
    picture.putpalette([5, 6, 7, 9, 9, 9])
    data = saved(picture, "GIF", save_all=True, append_images=[picture], transparency=1)
    assert decode_image(data)[0].tolist() == [[5, 6, 7], [255, 255, 255]]


def test_grey_palette_and_two_tones():
    assert decode_image(saved(np.array([[7, 200]], np.uint8)))[0].tolist() == [[7] * 3, [200] * 3]
    assert decode_image(saved(Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")))[0].tolist() == [[0] * 3, [255] * 3]
    few = Image.new("P", (2, 1))
    few.putdata([1, 0])
    few.putpalette([1, 2, 3, 250, 100, 50])
    for kind in ("PNG", "GIF", "BMP", "TIFF"):
        assert decode_image(saved(few, kind))[0].tolist() == [[250, 100, 50], [1, 2, 3]], kind


def test_colours_of_other_kinds():
    """Lab of lightness 50.2 is the grey whose light is ((50.2 + 16) / 116) ** 3 = 0.186 of white: 119.6 in sRGB."""
    assert np.abs(decode_image(saved(Image.new("LAB", (2, 2), (128, 128, 128)), "TIFF")).astype(int) - 120).max() <= 1
    ycbcr = Image.fromarray(np.full((8, 8, 3), (200, 30, 60), np.uint8)).convert("YCbCr")
    assert np.abs(decode_image(saved(ycbcr, "TIFF"))[0, 0].astype(int) - [200, 30, 60]).max() <= 3
