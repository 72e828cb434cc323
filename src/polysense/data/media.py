"""Bytes or a path -> pixels and samples: every limit and every refusal stands here.

A cell that cannot be used raises ``BadCell``; its reason is the half sentence that the data report
prints after row and column. Nothing is opened from the network, nothing is decoded before its
declared size is known to be bearable, and half a file is never taken for a whole one.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import struct
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .values import BadCell, is_empty, short

__all__ = ["BadCell", "Content", "Limits", "content_digest", "decode_audio", "decode_image", "fetch", "several", "sniff"]


@dataclass(frozen=True)
class Limits:
    """How much one cell may unpack to.

    Args:
        file_bytes: size of a file before decoding.
        image_pixels: width times height as declared; below the size at which Pillow warns.
        audio_seconds: length of a sound.
        audio_bytes: decoded samples of all channels as 32-bit floats.
        series_numbers: samples times channels of a series.
        series_channels: of a series.
    """

    file_bytes: int = 500_000_000
    image_pixels: int = 80_000_000
    audio_seconds: float = 1800.0
    audio_bytes: int = 400_000_000
    series_numbers: int = 20_000_000
    series_channels: int = 1000


@dataclass(frozen=True)
class Content:
    """A fetched media cell.

    Attributes:
        data: the file's bytes.
        digest: hash of the bytes, 32 hex digits.
        name: the path as the cell holds it; empty where the cell holds the bytes themselves.
        outside: the path lies outside the table's folder.
    """

    data: bytes
    digest: str
    name: str
    outside: bool = False


def content_digest(data: bytes) -> str:
    """Hash of some bytes, 32 hex digits.

    >>> content_digest(b"")
    'cae66941d9efbd404e4d88758ea67670'
    """
    return hashlib.blake2b(data, digest_size=16).hexdigest()


# --- cell -> bytes ---


def several(cell: Any) -> list[Any]:
    """The files of a media cell, each a path or bytes; a table of text writes several as a JSON list of paths.

    >>> several('["a.png", "b.png"]'), several("a.png"), several([b"1", None]), several("[]"), several("[1].png")
    (['a.png', 'b.png'], ['a.png'], [b'1'], [], ['[1].png'])
    """
    if isinstance(cell, str) and cell.lstrip()[:1] == "[":
        with suppress(ValueError, RecursionError):
            found = json.loads(cell)
            if isinstance(found, list) and all(isinstance(file, (str, type(None))) for file in found):
                cell = found
    if isinstance(cell, (list, tuple)):
        return [file for file in cell if not is_empty(file)]
    return [] if is_empty(cell) else [cell]


_URL = re.compile(r"\s*(?:[a-z][a-z0-9+.-]+://|data:[a-z]+/|www\.)", re.IGNORECASE)


def fetch(cell: Any, kind: str, folder: Path | None = None, limits: Limits = Limits()) -> Content:
    """The bytes of a media cell.

    Args:
        cell: a path (absolute, or relative to ``folder``), bytes, or a dict with ``bytes`` or ``path``.
        kind: image, audio, ...: the word for the message.
        folder: folder of the table; the current one if None.

    Raises:
        BadCell: a URL, no such file, no regular file, too large, empty, or not media at all.
    """
    if isinstance(cell, dict):
        inner = cell.get("bytes")
        cell = inner if not is_empty(inner) else cell.get("path")
    if isinstance(cell, (bytes, bytearray, memoryview)):
        data = bytes(cell)
        if len(data) > limits.file_bytes:
            raise BadCell(f"{len(data):,} bytes, more than the {limits.file_bytes:,} allowed")
        return Content(data, content_digest(data), "")
    if not isinstance(cell, (str, os.PathLike)) or is_empty(cell):
        raise BadCell(f"{short(cell)} is neither a path nor the bytes of {_noun(kind)}")
    text = os.fspath(cell)
    if _URL.match(text):
        raise BadCell(f"{short(text)} is a URL: a URL is never fetched; download the file and write its path")
    base = Path.cwd() if folder is None else Path(folder)
    data = _read(text, base, limits)
    return Content(data, content_digest(data), text, _outside(text, base))


def _noun(kind: str) -> str:
    words = {"image": "a picture", "audio": "a sound", "series": "a series"}
    return words.get(kind, f"a {kind} file")


def _read(text: str, base: Path, limits: Limits) -> bytes:
    name = short(text, 200)
    try:
        path = base / text
        status = os.stat(path)
        if stat.S_ISDIR(status.st_mode):
            raise BadCell(f"{name}: is a folder, not a file")
        if not stat.S_ISREG(status.st_mode):  # opening a pipe would wait for ever
            raise BadCell(f"{name}: is not a regular file")
        if status.st_size > limits.file_bytes:
            raise BadCell(f"{name}: {status.st_size:,} bytes, more than the {limits.file_bytes:,} allowed")
        data = path.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        where = "" if os.path.isabs(text) else f" in {base.resolve()}"
        raise BadCell(f"{name}: no such file{where}{_how_several(text)}") from None
    except OSError as error:
        raise BadCell(f"{name}: cannot be opened ({(error.strerror or str(error)).lower()})") from None
    except ValueError:
        raise BadCell(f"{name}: is not a path") from None
    if not data:
        raise BadCell(f"{name}: the file is empty")
    return data


def _how_several(text: str) -> str:
    """How several files are written, where a path looks like several."""
    return '; several files in one cell are written ["a", "b"]' if re.search(r"\.\w+\s*[;|,]|^\s*\[", text) else ""


def _outside(text: str, base: Path) -> bool:
    return not Path(os.path.realpath(base / text)).is_relative_to(os.path.realpath(base))


# --- which kind of content bytes are ---


def sniff(data: bytes) -> str:
    """The kind of some bytes by their first ones: image, audio, video, series, or nothing if unknown.

    >>> sniff(b"\\x89PNG\\r\\n\\x1a\\n"), sniff(b"fLaC"), sniff(b"hello")
    ('image', 'audio', '')
    """
    if _picture_format(data):
        return "image"
    if _sound_format(data):
        return "audio"
    if data[:6] == b"\x93NUMPY":
        return "series"
    matroska, avi = data[:4] == b"\x1aE\xdf\xa3", data[:4] == b"RIFF" and data[8:12] == b"AVI "
    return "video" if data[4:8] == b"ftyp" or matroska or avi else ""


def _picture_format(data: bytes) -> str:
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return "PNG"
    if data[:3] == b"\xff\xd8\xff":
        return "JPEG"
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "GIF"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    if data[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
        return "TIFF"
    if data[:2] == b"BM" and len(data) > 14 and struct.unpack("<I", data[10:14])[0] < 1 << 20:
        return "BMP"
    if re.match(rb"P[1-6][\s#]", data[:3]):
        return "PPM"
    return ""


def _sound_format(data: bytes) -> str:
    if data[:4] in (b"RIFF", b"RIFX", b"RF64") and data[8:12] == b"WAVE":
        return "wav"
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg"
    if data[:4] == b"FORM" and data[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    if data[:3] == b"ID3":  # a FLAC file may carry the tag of an MP3 file
        return "mp3"
    if len(data) > 3 and data[0] == 0xFF and data[1] & 0xE0 == 0xE0:  # an MPEG frame without tag
        return "mp3" if data[1] & 0x06 and data[2] & 0xF0 != 0xF0 else ""  # of a known layer and bit rate
    return ""


# --- pictures ---

_PICTURES = ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM")
_QUIET = threading.Lock()  # warnings.catch_warnings changes state of the process


@contextmanager
def _quiet() -> Iterator[None]:
    """Pillow's warnings about large or damaged headers are our refusals, or none of our concern."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def decode_image(data: bytes, *, limits: Limits = Limits(), pixels: int | None = None) -> np.ndarray:
    """Pixels of a picture: upright, over white, eight bits a channel.

    Decoded to the last byte, so that half a file is noticed. 16-bit pictures are rescaled by their
    depth (40000 of 65535 becomes 156), not clipped. Of an animation the first picture counts.

    Args:
        data: a PNG, JPEG, GIF, BMP, WEBP, TIFF or PPM file; what the bytes say counts, not the name.
        pixels: the smaller side need not be larger than this: JPEG then decodes at a half, a quarter or an
            eighth of its size, never below.

    Returns:
        (H, W, 3) uint8.

    Raises:
        BadCell: another format, cut short, damaged, or larger than the limit.
    """
    from PIL import Image

    if not _picture_format(data):
        raise BadCell(f"is {told(data)}, not one of {' '.join(_PICTURES)}")
    try:
        with _quiet():
            picture = Image.open(io.BytesIO(data), formats=_PICTURES)
        width, height = picture.size
        if width * height > limits.image_pixels:
            raise BadCell(_too_large(width, height, limits))
        if pixels is not None and picture.format == "JPEG":
            scale = pixels / min(width, height)
            picture.draft(None, (-int(-width * scale // 1), -int(-height * scale // 1)))
        with _quiet() if picture.format == "TIFF" else nullcontext():  # its tags are read, and warned of, this late
            picture.load()
        return _rgb(_upright(picture))
    except BadCell:
        raise
    except Image.DecompressionBombError:
        raise BadCell(f"declares more than the {limits.image_pixels:,} pixels allowed") from None
    except Exception as error:  # Pillow's decoders raise a dozen types on hostile files
        raise BadCell(f"cannot be decoded as {_picture_format(data)} ({_words(error)})") from None


def _too_large(width: int, height: int, limits: Limits) -> str:
    return f"declares {width} x {height} pixels, more than the {limits.image_pixels:,} allowed"


def _words(error: Exception) -> str:
    text = str(error).strip().split("\n")[0]
    text = re.sub(r"<[^>]*>", "the data", text)  # object addresses differ from run to run
    return text or type(error).__name__


def told(data: bytes) -> str:
    """What the first bytes say a file is, in words."""
    kind = {"audio": "a sound", "video": "a film", "image": "a picture", "series": "an array of numbers"}.get(sniff(data))
    if kind:
        return kind
    known = {b"%PDF": "a PDF file", b"%!PS": "an EPS file", b"\xc5\xd0\xd3\xc6": "an EPS file",
             b"SIMP": "a FITS file", b"PK\3\4": "a ZIP file", b"8BPS": "a Photoshop file"}
    if data[:4] in known:
        return known[data[:4]]
    text = data[:200].lstrip().lower()
    if text.startswith((b"<svg", b"<?xml", b"<!doctype", b"<html")):
        return "an SVG, XML or HTML page"
    return "of an unknown format"


def _upright(picture: Any) -> Any:
    """Turned as its EXIF orientation says; an unreadable EXIF block says nothing."""
    from PIL import Image

    turns = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
             7: "TRANSVERSE", 8: "ROTATE_90"}
    try:
        with _quiet():
            orientation = picture.getexif().get(0x0112)
    except Exception:  # broken metadata of a whole picture
        return picture
    name = turns.get(orientation)
    return picture.transpose(getattr(Image.Transpose, name)) if name else picture


def _rgb(picture: Any) -> np.ndarray:
    from PIL import Image

    if picture.mode == "I" or picture.mode.startswith("I;16"):
        return _deep(picture)
    if picture.mode == "F":
        raise BadCell("holds floating point pixels of unknown range; convert it to 8 or 16 bits")
    if picture.mode in ("RGBA", "LA", "PA", "La", "RGBa") or picture.has_transparency_data:
        colours = picture.convert("RGBA")
        picture = Image.new("RGB", colours.size, (255, 255, 255))
        picture.paste(colours, mask=colours)
    return np.array(picture if picture.mode == "RGB" else picture.convert("RGB"))


def _deep(picture: Any) -> np.ndarray:
    """Grey of more than 8 bits, rescaled by its depth: 16 bits, unless a TIFF file's tags say otherwise."""
    values = np.asarray(picture)
    bits, signed = 16, False
    if picture.format == "TIFF" and picture.mode == "I":
        bits = int(np.ravel(picture.tag_v2.get(258, 16))[0])
        signed = int(np.ravel(picture.tag_v2.get(339, 1))[0]) == 2
        if bits == 32 and not signed:
            values = values.view(np.uint32)
    low, span = -(2.0 ** (bits - 1)) if signed else 0.0, 2.0**bits - 1
    pixels = np.empty((*values.shape, 3), np.uint8)
    for start in range(0, len(values), 256):  # a few rows at a time: eight bytes a pixel add up
        share = ((values[start : start + 256] - low) / span).clip(0.0, 1.0)
        pixels[start : start + 256] = np.rint(share * 255)[..., None]
    clear = picture.info.get("transparency")
    if isinstance(clear, int):  # the grey that means nothing at all
        pixels[values == clear] = 255
    return pixels


# --- sounds ---

_FRAMES = 1 << 18  # samples of all channels decoded at a time


def decode_audio(data: bytes, *, limits: Limits = Limits(), hz: int = 16000) -> np.ndarray:
    """Samples of a sound: the mean of its channels, resampled.

    The length that the file declares is compared with what is there, because the decoders
    themselves give half a sound for half a file without a word.

    Args:
        data: a WAV, FLAC, OGG, MP3 or AIFF file; what the bytes say counts, not the name.
        hz: samples a second of the result.

    Returns:
        (n,) float32.

    Raises:
        BadCell: another format, cut short, damaged, empty, NaN or infinity inside, or longer than the limit.
    """
    import soundfile

    kind = _sound_format(data)
    if not kind:
        raise BadCell(f"is {told(data)}, not one of wav flac ogg mp3 aiff")
    _check_length(data, kind)
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            rate, channels = file.samplerate, file.channels
            declared = file.frames if file.frames < 1 << 48 else None  # a stream does not know its length
            samples = _samples(file, channels, rate, limits)
    except BadCell:
        raise
    except Exception as error:  # libsndfile's messages, and whatever else a hostile header brings about
        raise BadCell(f"cannot be decoded as {kind} ({_words(error).rstrip('.')})") from None
    if len(samples) == 0:
        raise BadCell("holds no sound (0 samples)")
    if declared is not None and len(samples) < declared:
        raise BadCell(_cut(declared / rate, len(samples) / rate))
    _check_finite(samples, rate)
    if rate == hz:
        return samples
    import soxr

    result = soxr.resample(samples, rate, hz)
    if len(result) == 0:
        raise BadCell(f"is too short ({len(samples)} samples)")
    if not np.isfinite(result).all():  # values near the largest 32-bit number, which no sound has
        raise BadCell(f"holds samples as large as {np.abs(samples).max():.1e}, where a sound keeps to 1")
    return result


def _samples(file: Any, channels: int, rate: int, limits: Limits) -> np.ndarray:
    """Mean over the channels, block by block, so that the limit stops a file that unpacks huge."""
    block = max(1, _FRAMES // channels)
    share = np.full(channels, 1 / channels, np.float32)
    parts, frames = [], 0
    while True:
        part = file.read(block, dtype="float32", always_2d=True)
        frames += len(part)
        if frames * channels * 4 > limits.audio_bytes:
            raise BadCell(f"unpacks to more than the {limits.audio_bytes:,} bytes allowed")
        if frames > limits.audio_seconds * rate:
            raise BadCell(f"is longer than the {limits.audio_seconds:,.0f} seconds allowed")
        if len(part):
            # inf - inf of two channels is a NaN, and is refused all the same
            with np.errstate(invalid="ignore", over="ignore"):
                parts.append(part[:, 0].copy() if channels == 1 else part @ share)  # eighty times as fast as mean(axis=1)
        if len(part) < block:
            return np.concatenate(parts) if parts else np.zeros(0, np.float32)


def _check_finite(samples: np.ndarray, rate: int) -> None:
    wrong = ~np.isfinite(samples)
    if wrong.any():
        i = int(wrong.argmax())
        word = "NaN" if np.isnan(samples[i]) else "infinity"
        raise BadCell(f"{word} at sample {i} ({i / rate:.3f} s), {int(wrong.sum())} such samples in all")


def _cut(declared: float, found: float, unit: str = "s") -> str:
    shown = (f"{declared:.2f} s", f"{found:.2f} s") if unit == "s" else (f"{declared:,} bytes", f"{found:,}")
    return f"is cut short: {shown[0]} declared, {shown[1]} there"


def _check_length(data: bytes, kind: str) -> None:
    """Compare the declared length of the sound data with the file's, where the container declares one."""
    if kind == "wav":
        _check_chunks(data, "<" if data[:4] != b"RIFX" else ">", b"data")
    elif kind == "aiff":
        _check_chunks(data, ">", b"SSND")
    elif kind == "ogg":
        _check_pages(data)


def _check_chunks(data: bytes, order: str, wanted: bytes) -> None:
    """RIFF and IFF: a chunk is four letters, its length, its bytes, and a byte of padding if odd."""
    position, long_length = 12, None
    while position + 8 <= len(data):
        name, length = struct.unpack_from(f"{order}4sI", data, position)
        position += 8
        if name == b"ds64" and position + 16 <= len(data):
            long_length = struct.unpack_from("<Q", data, position + 8)[0]
        if name == wanted:
            there = len(data) - position
            if length == 0xFFFFFFFF:  # RF64 keeps the length elsewhere; a stream does not know it
                length = there if long_length is None else long_length
            if length == 0 or there == 0:
                raise BadCell("holds no sound (the header is there, the samples are not)")
            if length > there:
                raise BadCell(_cut(length, there, "bytes"))
            return
        position += length + length % 2
    raise BadCell("is cut short: the header is there, the sound is not")


def _check_pages(data: bytes) -> None:
    """Ogg: the file must end where a page ends. A page: 27 bytes, the last of them the number of
    segments, then a byte for the length of each."""
    position = 0
    while position < len(data):
        segments = data[position + 26] if position + 27 <= len(data) else 0
        if data[position:position + 4] != b"OggS":
            return  # something else follows the sound (a tag); libsndfile skips it
        table = data[position + 27:position + 27 + segments]
        end = position + 27 + segments + sum(table)
        if len(table) < segments or position + 27 > len(data) or end > len(data):
            raise BadCell("is cut short: the file ends in the middle of a page")
        position = end
