"""Bytes and paths -> pixels and samples; every refusal of FAULTS rows 1-10 that concerns a cell."""

from __future__ import annotations

import io
import os
import struct
import tracemalloc
import zlib

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from polysense.data.media import BadCell, Limits, content_digest, decode_audio, decode_image, fetch, sniff

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (40, 60, 3), dtype=np.uint8)
SAMPLES = (RNG.normal(size=16000) * 0.1).astype(np.float32)
PICTURES = "PNG JPEG GIF BMP WEBP TIFF PPM".split()
SOUNDS = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"),
          ("MP3", None), ("AIFF", None), ("RF64", None)]


def picture(pixels=PIXELS, kind="PNG", **options) -> bytes:
    file = io.BytesIO()
    (pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)).save(file, kind, **options)
    return file.getvalue()


def sound(samples=SAMPLES, hz=16000, kind="WAV", subtype=None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, hz, format=kind, subtype=subtype)
    return file.getvalue()


def reason(call, *args, **options) -> str:
    with pytest.raises(BadCell) as caught:
        call(*args, **options)
    assert "\n" not in caught.value.reason
    return caught.value.reason


# --- pictures ---


@pytest.mark.parametrize("kind", PICTURES)
def test_every_format_is_decoded_and_half_of_it_refused(kind):
    data = picture(kind=kind)
    assert sniff(data) == "image"
    pixels = decode_image(data)
    assert pixels.shape == (40, 60, 3) and pixels.dtype == np.uint8 and pixels.flags.writeable
    if kind in ("PNG", "BMP", "TIFF", "PPM"):
        assert (pixels == PIXELS).all()
    assert f"cannot be decoded as {kind}" in reason(decode_image, data[: len(data) // 2])


def test_a_jpeg_cut_shortly_before_its_end_is_refused_also_when_drafted():
    """Row 4: ``verify`` passes here, and other libraries give a picture with a grey foot."""
    data = picture(np.tile(PIXELS, (8, 8, 1)), "JPEG")
    for keep in (0.5, 0.9, 0.99):
        cut = data[: int(len(data) * keep)]
        assert "truncated" in reason(decode_image, cut)
        assert "truncated" in reason(decode_image, cut, pixels=40)


def test_draft_keeps_the_smaller_side_large_enough():
    data = picture(np.tile(PIXELS, (20, 20, 1)), "JPEG")  # 800 x 1200
    assert decode_image(data, pixels=100).shape == (100, 150, 3)
    assert decode_image(data, pixels=101).shape == (200, 300, 3)
    assert decode_image(data, pixels=900).shape == (800, 1200, 3)


def test_16_bits_are_rescaled_by_depth():
    """Row 7: 40000 / 65535 * 255 = 155.6 -> 156; converting by clipping gives 255."""
    deep = np.array([[0, 256, 40000, 65535]], np.uint16)
    for kind in ("PNG", "TIFF", "PPM"):
        assert decode_image(picture(deep, kind))[0, :, 0].tolist() == [0, 1, 156, 255]
    signed = np.array([[-(2**31), 0, 2**31 - 1]], np.int32)
    assert decode_image(picture(signed, "TIFF"))[0, :, 1].tolist() == [0, 128, 255]
    assert "floating point" in reason(decode_image, picture(np.ones((2, 2), np.float32), "TIFF"))


def test_transparency_is_laid_over_white():
    """Half of black over white is 255 - 128 = 127."""
    for mode, colour in (("RGBA", (0, 0, 0, 128)), ("LA", (0, 128))):
        assert decode_image(picture(Image.new(mode, (2, 2), colour)))[0, 0].tolist() == [127] * 3
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([9, 9, 9, 5, 6, 7])
    assert decode_image(picture(palette, transparency=1))[0, 0].tolist() == [255] * 3
    assert decode_image(picture(palette))[0, 0].tolist() == [5, 6, 7]


def test_exif_orientation_is_applied():
    """Orientation 6: the camera was held so that the picture has to be turned right by 90 degrees."""
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = decode_image(picture(PIXELS, "PNG", exif=exif))
    assert (upright == np.rot90(PIXELS, -1)).all()
    assert decode_image(picture(PIXELS, "JPEG", exif=exif)).shape == (60, 40, 3)


def test_grey_and_cmyk_have_three_channels():
    assert decode_image(picture(PIXELS[..., 0])).shape == (40, 60, 3)
    assert decode_image(picture(Image.fromarray(PIXELS).convert("CMYK"), "JPEG")).shape == (40, 60, 3)
    assert decode_image(picture(Image.fromarray(PIXELS).convert("1"))).shape == (40, 60, 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG of one line's worth of data whose header declares as many pixels as one likes."""
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(width * 3 + 1))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize("side", [9_000, 10_000, 16_500, 60_000])
def test_a_picture_that_declares_too_much_is_refused_before_decoding(side):
    """Row 1: below Pillow's own warning (89 MP), between warning and error (179 MP), and beyond."""
    data = bomb(side, side)
    assert len(data) < 200_000
    tracemalloc.start()
    found = reason(decode_image, data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "80,000,000 allowed" in found or "80,000,000 pixels allowed" in found
    assert peak < 5_000_000
    assert Image.MAX_IMAGE_PIXELS < 100_000_000


def test_the_limit_can_be_lowered():
    assert "declares 60 x 40 pixels" in reason(decode_image, picture(), limits=Limits(image_pixels=1000))


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "an EPS file"), (b"%PDF-1.7\n", "a PDF file"),
        (b"SIMPLE  =                    T", "a FITS file"), (b"<svg xmlns='x'/>", "an SVG"),
        (b"hello", "unknown format"), (b"", "unknown format"), (sound(), "a sound"),
        (b"\0\0\0 ftypisom", "a film"), (b"8BPS\0\1", "a Photoshop file"),
    ],
)
def test_formats_outside_the_list_are_refused_whatever_the_name(tmp_path, data, words):
    """Row 8: what is allowed is decided by content; .png in the name helps nobody."""
    (tmp_path / "x.png").write_bytes(data or b" ")
    assert words in reason(decode_image, fetch("x.png", "image", tmp_path).data)
    assert "not one of PNG JPEG" in reason(decode_image, data)


def test_the_name_does_not_matter(tmp_path):
    (tmp_path / "x.txt").write_bytes(picture())
    assert decode_image(fetch("x.txt", "image", tmp_path).data).shape == (40, 60, 3)


@given(st.sampled_from(PICTURES), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
def test_damaged_pictures_give_pixels_or_a_reason(kind, place, bytes_):
    data = bytearray(picture(PIXELS[:8, :8], kind))
    place %= len(data)
    data[place : place + len(bytes_)] = bytes_
    try:
        assert decode_image(bytes(data)).dtype == np.uint8
    except BadCell as error:
        assert error.reason and "0x" not in error.reason


# --- sounds ---


@pytest.mark.parametrize(("kind", "subtype"), SOUNDS)
def test_every_sound_format_is_decoded_and_parts_of_it_refused(kind, subtype):
    """Row 5: soundfile itself gives half a sound for half a WAV or OGG file without a word."""
    data = sound(kind=kind, subtype=subtype)
    assert sniff(data) == "audio"
    samples = decode_audio(data)
    assert samples.shape == (16000,) and samples.dtype == np.float32
    for keep in (len(data) - 1, len(data) // 2, len(data) // 3):
        found = reason(decode_audio, data[:keep])
        assert "cut short" in found or "cannot be decoded" in found


def test_a_wav_with_its_header_only_is_refused():
    assert "holds no sound" in reason(decode_audio, sound()[:44])
    assert "holds no sound" in reason(decode_audio, sound(np.zeros(0, np.float32)))
    assert "cut short" in reason(decode_audio, sound()[:30])
    unfinished = bytearray(sound())  # a recorder that was switched off never wrote the length
    unfinished[40:44] = bytes(4)
    assert "holds no sound" in reason(decode_audio, bytes(unfinished))


def test_the_message_says_how_much_is_there():
    """44 bytes of header and 32,000 of samples, of which 16,000 are left."""
    assert reason(decode_audio, sound()[:16044]) == "is cut short: 32,000 bytes declared, 16,000 there"


def test_chunks_before_and_after_the_samples_do_no_harm():
    data = sound()
    extra = b"note" + struct.pack("<I", 3) + b"abc\0"
    assert (decode_audio(data[:36] + extra + data[36:]) == decode_audio(data)).all()
    assert (decode_audio(data + extra) == decode_audio(data)).all()
    streamed = data[:40] + b"\xff\xff\xff\xff" + data[44:]  # written to a pipe: length unknown
    assert len(decode_audio(streamed)) == 16000


@pytest.mark.parametrize(("value", "word"), [(np.nan, "NaN"), (np.inf, "infinity"), (-np.inf, "infinity")])
def test_samples_that_are_no_numbers_are_refused_with_their_place(value, word):
    """Row 6: sample 8000 of 16000 a second stands at half a second."""
    samples = SAMPLES.copy()
    samples[[8000, 9000]] = value
    assert reason(decode_audio, sound(samples, subtype="FLOAT")) == (
        f"{word} at sample 8000 (0.500 s), 2 such samples in all")
    assert word in reason(decode_audio, sound(np.stack([SAMPLES, samples], 1), subtype="DOUBLE"))


def test_samples_that_overflow_when_resampled_are_refused():
    """Found by bench/fuzz.py: finite samples of 3e38 became infinite at another rate."""
    samples = np.zeros(400, np.float32)
    samples[100:110] = [3e38, -3e38] * 5
    assert "samples as large as 3.0e+38" in reason(decode_audio, sound(samples, hz=8000, subtype="FLOAT"))


def test_channels_are_averaged_and_rates_converted():
    both = decode_audio(sound(np.stack([SAMPLES, -SAMPLES], 1), subtype="FLOAT"))
    assert np.abs(both).max() == 0
    t = np.arange(48000) / 48000
    tone = decode_audio(sound(np.sin(2 * np.pi * 440 * t).astype(np.float32), 48000, subtype="FLOAT"))
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    assert len(tone) == 16000 and np.abs(tone - expected)[500:-500].max() < 1e-3


def test_a_sound_that_unpacks_huge_is_stopped_while_decoding():
    """Row 2: silence packs 100 to 1 and more; 6 million frames of 8 channels are 192 MB of floats."""
    data = sound(np.zeros((6_000_000, 8), np.int16), kind="FLAC")
    assert len(data) < 1_000_000
    tracemalloc.start()
    found = reason(decode_audio, data, limits=Limits(audio_bytes=16_000_000))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than the 16,000,000 bytes allowed" in found
    assert peak < 16_000_000
    assert "longer than the 1 seconds" in reason(decode_audio, sound(np.zeros(17000, np.int16)),
                                                 limits=Limits(audio_seconds=1))


def test_a_wild_rate_does_not_unpack_either():
    """40,000 samples at 1 Hz are eleven hours, and 640 million samples at 16 kHz."""
    assert "longer than" in reason(decode_audio, sound(np.zeros(40_000, np.int16), 1))


@pytest.mark.parametrize("data", [b"", b"hello", picture(), b"\0\0\0 ftypM4A ", b"#!AMR\n"])
def test_sounds_are_told_by_content(data):
    assert "not one of wav flac ogg mp3 aiff" in reason(decode_audio, data)


@given(st.sampled_from(SOUNDS), st.integers(0, 10**6), st.binary(min_size=1, max_size=20))
def test_damaged_sounds_give_samples_or_a_reason(form, place, bytes_):
    data = bytearray(sound(SAMPLES[:800], 8000, *form))
    place %= len(data)
    data[place : place + len(bytes_)] = bytes_
    try:
        assert np.isfinite(decode_audio(bytes(data), limits=Limits(audio_bytes=10_000_000))).all()
    except BadCell as error:
        assert error.reason


# --- cells ---


def test_paths_bytes_and_hf_cells_give_the_same_content(tmp_path):
    data = picture()
    (tmp_path / "x.png").write_bytes(data)
    for cell in ("x.png", str(tmp_path / "x.png"), tmp_path / "x.png", data, bytearray(data),
                 {"bytes": data, "path": None}, {"bytes": None, "path": "x.png"}):
        content = fetch(cell, "image", tmp_path)
        assert content.data == data and content.digest == content_digest(data) and not content.outside


@pytest.mark.parametrize(
    "url", ["http://x.org/a.png", "HTTPS://x.org/a.png", "ftp://x", "file:///etc/passwd", "s3://b/k",
            "data:image/png;base64,AAAA", "www.x.org/a.png", " http://x"]
)
def test_urls_are_never_fetched_and_the_message_says_so(url, tmp_path):
    """Row 10."""
    assert "a URL is never fetched; download the file" in reason(fetch, url, "image", tmp_path)


def test_wrong_paths(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    for cell, words in [
        ("a/b.png", f"'a/b.png': no such file in {tmp_path}"), ("/no/b.png", "'/no/b.png': no such file"),
        ("empty.png", "the file is empty"), ("folder", "is a folder"), ("pipe", "not a regular file"),
        ("a\0b", "is not a path"), ("x" * 5000, "cannot be opened"), ("empty.png/x", "no such file"),
        (3, "3 is neither a path nor the bytes of a picture"), ({"x": 1}, "neither a path"),
    ]:
        assert words in reason(fetch, cell, "image", tmp_path)
    assert len(reason(fetch, "x" * 10_000_000, "image", tmp_path)) < 400


def test_large_files_are_refused_before_they_are_read(tmp_path):
    with open(tmp_path / "x.wav", "wb") as file:
        file.truncate(10**12)
    assert "1,000,000,000,000 bytes, more than" in reason(fetch, "x.wav", "audio", tmp_path)
    assert "more than the 2 allowed" in reason(fetch, b"abc", "audio", None, Limits(file_bytes=2))


def test_paths_outside_the_folder_are_read_and_told(tmp_path):
    """Row 9: a sibling with the same prefix, a climb, a link."""
    inside, sibling = tmp_path / "data", tmp_path / "data2"
    inside.mkdir()
    sibling.mkdir()
    (sibling / "x.png").write_bytes(b"x")
    (inside / "x.png").write_bytes(b"x")
    (inside / "link.png").symlink_to(sibling / "x.png")
    found = {cell: fetch(cell, "image", inside).outside
             for cell in ("x.png", "../data/x.png", "../data2/x.png", "link.png", str(sibling / "x.png"))}
    assert list(found.values()) == [False, False, True, True, True]
