"""Word vectors that others trained: the text files of word2vec, GloVe and fastText, and word2vec's binary.

A text file has a line for each word, the most frequent first, the numbers parted by blanks; word2vec
and fastText begin with a line of two counts, GloVe does not. The binary has the two counts, then word,
blank, float32 numbers. Each may be gzipped. N words, F numbers.
"""

from __future__ import annotations

import gzip
import io
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import BadOption

_CURE = "give a file of word2vec, GloVe or fastText vectors as text, or word2vec's .bin"


def read_vectors(path: str | Path, wanted: Collection[str], most: int) -> tuple[list[str], np.ndarray]:
    """Vectors of the wanted words, and of the file's first other words as far as there is room.

    Words are compared in lower case; where a file holds a word in several cases, the lower one counts,
    else the first.

    Args:
        wanted: words in lower case.
        most: words in all, the wanted ones first of all.

    Returns:
        N words in lower case, and (N, F) float32.

    Raises:
        BadOption: there is no such file, or it does not hold vectors.
    """
    path = Path(path).expanduser()
    if path.suffix in (".kv", ".pkl", ".pickle", ".model", ".npy"):
        raise BadOption(f"vectors: {path} may run code when it is read; {_CURE}")
    room = most - len(wanted)
    found: dict[str, np.ndarray] = {}
    exact: set[str] = set()
    try:
        with io.BufferedReader(gzip.GzipFile(path)) if path.suffix == ".gz" else path.open("rb") as file:
            binary = ".bin" in path.suffixes[-2:]
            for word, vector in (_binary if binary else _lines)(file, path):
                low = word.lower()
                if low in found and (low in exact or word != low):
                    continue
                if low not in found and low not in wanted:
                    if room <= 0:
                        continue
                    room -= 1
                found[low] = vector() if callable(vector) else vector
                if word == low:
                    exact.add(low)
    except (OSError, EOFError) as error:
        raise BadOption(f"vectors: {path} cannot be read ({getattr(error, 'strerror', None) or error}); {_CURE}") from None
    if not found:
        raise BadOption(f"vectors: {path} holds no word of this column; {_CURE}")
    table = np.stack(list(found.values())).astype(np.float32)
    if not np.isfinite(table).all():
        raise BadOption(f"vectors: {path} holds numbers that are not finite; {_CURE}")
    return list(found), table


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[str, Any]]:
    """Words of a text file with a way to their numbers, which are read only where they are needed."""
    width = 0
    for number, raw in enumerate(file, 1):
        line = raw.decode("utf-8", errors="replace").rstrip()
        if number == 1 and len(line.split()) == 2:  # nobody's vectors have one number
            width = _counts(line, path)[1]
            continue
        width = width or len(line.split(" ")) - 1
        fields = line.rsplit(" ", width)  # from the right: some words of GloVe hold blanks
        if len(fields) != width + 1 or width < 1:
            raise BadOption(f"vectors: {path} line {number} holds {len(fields) - 1} numbers where {width} belong; {_CURE}")
        yield fields[0], lambda fields=fields, number=number: _numbers(fields[1:], f"{path} line {number}")


def _numbers(fields: list[str], place: str) -> np.ndarray:
    try:
        return np.array(fields, np.float32)
    except ValueError as error:
        raise BadOption(f"vectors: {place} holds something other than numbers ({error}); {_CURE}") from None


def _counts(line: str, path: Path) -> tuple[int, int]:
    fields = line.split()
    if len(fields) != 2 or not all(field.isdecimal() for field in fields) or not 0 < int(fields[1]) <= 100_000:
        raise BadOption(f"vectors: {path} does not begin with two counts; {_CURE}")
    return int(fields[0]), int(fields[1])


def _binary(file: BinaryIO, path: Path) -> Iterator[tuple[str, np.ndarray]]:
    count, width = _counts(file.readline(200).decode("utf-8", errors="replace"), path)
    for number in range(count):
        name = bytearray()
        while (letter := file.read(1)) not in (b" ", b""):
            name += letter
        numbers = file.read(4 * width)
        if len(numbers) < 4 * width:
            raise BadOption(f"vectors: {path} ends after {number} of {count} words; {_CURE}")
        yield name.decode("utf-8", errors="replace").lstrip("\n"), np.frombuffer(numbers, "<f4")
