"""Damage done to files at chosen places: real files of every format, cut, flipped, lied about.

The tests draw the edits with hypothesis, bench/fuzz.py draws them at random for as long as it is told.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from faulty import picture, sound
from polysense import load
from polysense.data.media import BadCell, Limits, decode_audio, decode_image
from polysense.data.reading import read_cells
from polysense.data.records import read_table
from polysense.data.schema import guess
from polysense.errors import PolysenseError

#: One edit: what is done, where (a share of the file, or of its first 64 bytes if negative), with which number.
Edit = tuple[int, float, int]
OPERATIONS = 7
#: Numbers that headers lie with.
NUMBERS = (0, 1, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 1 << 20, 1 << 28)
#: Small, so that many files fit into a few seconds; the limits are the same code at any size.
LIMITS = Limits(file_bytes=1 << 20, image_pixels=1 << 20, audio_seconds=60.0, audio_bytes=8 << 20)


def edited(data: bytes, edits: Sequence[Edit]) -> bytes:
    """The file after all edits.

    >>> edited(b"abcd", [(1, 0.5, 0)]), edited(b"abcd", [(0, 0.0, 1)])
    (b'ab', b'`bcd')
    """
    for operation, share, number in edits:
        at = int(share * len(data)) if share >= 0 else int(-share * min(64, len(data)))
        if operation == 0:
            data = data[:at] + bytes([data[at] ^ (number % 255 + 1 if number > 1 else 1)]) + data[at + 1 :] if at < len(data) else data
        elif operation == 1:
            data = data[:at]
        elif operation == 2:
            data = data[:at] + data[at + number % 300 :]
        elif operation == 3:
            data = data[:at] + bytes([number % 256]) * (number % 300) + data[at:]
        elif operation in (4, 5):
            lie = struct.pack("<I" if operation == 4 else ">I", NUMBERS[number % len(NUMBERS)])
            data = data[:at] + lie + data[at + 4 :]
        else:
            data = data[:at] + data[at : at + number % 300] * 2 + data[at + number % 300 :]
    return data


@cache
def seeds(kind: str) -> tuple[bytes, ...]:
    """Real files of every format that is read: image, audio, or table."""
    if kind == "image":
        deep = np.random.default_rng(0).integers(0, 65536, (12, 16), dtype=np.uint16)
        return tuple(picture(kind=form) for form in "PNG JPEG GIF BMP WEBP TIFF PPM".split()) + (picture(deep), picture(deep, "TIFF"))
    if kind == "audio":
        forms = [("WAV", "PCM_16"), ("WAV", "FLOAT"), ("FLAC", None), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", None),
                 ("AIFF", None), ("RF64", None), ("WAV", "MS_ADPCM")]
        return tuple(sound(kind=form, subtype=subtype) for form, subtype in forms)
    rows = "".join(f'{i},"no. {i}, ""so""",{i / 3:.2f},2024-01-{i % 28 + 1:02d},木{i}\r\n' for i in range(30))
    text = "id,note,size,day,名\r\n" + rows
    return text.encode(), text.encode("gb18030"), text.encode("utf-16"), ("\ufeff" + text.replace(",", ";")).encode()


def decoded(kind: str, data: bytes) -> str:
    """What a decoder or the reader says of a file: ``result``, or the reason; anything else goes through."""
    try:
        if kind == "image":
            pixels = decode_image(data, limits=LIMITS)
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[2] == 3, pixels.shape
        else:
            samples = decode_audio(data, limits=LIMITS)
            assert samples.dtype == np.float32 and samples.ndim == 1 and len(samples) and np.isfinite(samples).all()
    except BadCell as error:
        assert error.reason and "\n" not in error.reason, error.reason
        return error.reason
    return "result"


def tabled(data: bytes, path: Path) -> str:
    """What comes of reading a damaged table to its last cell."""
    path.write_bytes(data)
    try:
        records = read_table(path)
        for mine in read_cells(records, guess(records)).values():
            mine.values()
    except PolysenseError as error:
        assert "\n" not in str(error), error
        return str(error)
    return "result"


# --- model folders ------------------------------------------------------------------------------------------


#: What stands in the place of a value of model.json.
ODD: tuple[Any, ...] = (
    None, -1, 0, 1 << 40, 1e308, float("nan"), "", "x" * 5000, [], {}, [None], True, {"$array": "model.weights"},
    {"$file": "../x"}, {"$array": ["a"]}, "../../etc/passwd", [[[]]], -0.5,
)


def places(tree: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all values in JSON; of long lists only the first few."""
    found = [path] if path else []
    items = tree.items() if isinstance(tree, dict) else enumerate(tree[:4]) if isinstance(tree, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def spoil(folder: Path, what: float, edits: Sequence[Edit], sealed: bool) -> str:
    """Damage a model folder: a value of model.json, or bytes of one file; then hashes and seal that fit, if asked.

    Returns:
        What was damaged, in words.
    """
    outer = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    main = outer["model"]
    names = ["model.json", *main["files"]]
    if what < 0.6 and sealed:  # a value
        every = places(main)
        done = []
        for operation, share, number in edits:
            path = every[int(abs(share) * (len(every) - 1))]
            holder: Any = main
            try:
                for key in path[:-1]:
                    holder = holder[key]
                if operation == 1:
                    del holder[path[-1]]
                else:
                    holder[path[-1]] = ODD[number % len(ODD)]
            except (KeyError, IndexError, TypeError):
                continue  # an earlier edit took it away
            done.append(f"{'.'.join(map(str, path))} {'gone' if operation == 1 else repr(ODD[number % len(ODD)])[:30]}")
        said = ", ".join(done)
    else:
        name = names[int(what * 1000) % len(names)]
        (folder / name).write_bytes(edited((folder / name).read_bytes(), edits))
        said = f"bytes of {name}"
        if name == "model.json" or not sealed:
            return said
        main["files"][name] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    body = json.dumps(main, ensure_ascii=False)
    seal = hashlib.sha256(body.encode()).hexdigest()
    (folder / "model.json").write_text(f'{{"seal": "{seal}", "model":\n{body}}}\n', encoding="utf-8")
    return said


def loaded(folder: Path) -> str:
    """What comes of loading a model folder: ``result``, or the sentence; anything else goes through."""
    try:
        load(folder)
    except PolysenseError as error:
        assert str(error) and "\n" not in str(error), error
        return str(error)
    return "result"
