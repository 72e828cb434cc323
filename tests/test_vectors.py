"""Word vectors from files: word2vec, GloVe and fastText text, word2vec binary, gzipped; and files that are none."""

from __future__ import annotations

import gzip

import numpy as np
import pytest

from polysense.data.vectors import read_vectors
from polysense.errors import BadOption

GLOVE = "the 1 2\nBus 3 4\nred 5.5 -6e-1\n. . . 7 8\nbus 9 10\nRED 0 0\nCar 1 1\n"
BINARY = b"3 2\n" + b"".join(word + b" " + np.array(pair, "<f4").tobytes() + b"\n" for word, pair in (
    (b"the", (1, 2)), (b"Bus", (3, 4)), ("红色".encode(), (5, 6))))


def write(folder, name, content):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def as_dict(words, numbers):
    assert numbers.dtype == np.float32
    return dict(zip(words, numbers.tolist(), strict=True))


@pytest.mark.parametrize("head", ["", "7 2\n"], ids=["GloVe", "word2vec"])
@pytest.mark.parametrize("packed", [False, True])
def test_text_files(tmp_path, head, packed):
    """The lower case wins, else the first; words may hold blanks; what is not wanted stays out."""
    content = (head + GLOVE).encode()
    path = write(tmp_path, "v.txt" + ".gz" * packed, gzip.compress(content) if packed else content)
    found = as_dict(*read_vectors(path, {"bus", "red", ". . .", "car", "lorry"}, 5))
    assert found == {"bus": [9, 10], "red": [5.5, pytest.approx(-0.6)], ". . .": [7, 8], "car": [1, 1]}


@pytest.mark.parametrize("packed", [False, True])
def test_binary_files(tmp_path, packed):
    path = write(tmp_path, "v.bin" + ".gz" * packed, gzip.compress(BINARY) if packed else BINARY)
    assert as_dict(*read_vectors(path, {"bus", "红色"}, 2)) == {"bus": [3, 4], "红色": [5, 6]}
    tight = BINARY.replace(b"\n", b"").replace(b"3 2", b"3 2\n", 1)  # some writers put no line end after the numbers
    assert as_dict(*read_vectors(write(tmp_path, "t.bin", tight), {"bus"}, 1)) == {"bus": [3, 4]}


def test_the_first_other_words_fill_the_room(tmp_path):
    path = write(tmp_path, "v.vec", GLOVE)
    assert list(as_dict(*read_vectors(path, {"red"}, 3))) == ["the", "bus", "red"]
    assert as_dict(*read_vectors(path, {"red"}, 3))["bus"] == [9, 10], "a word that is in takes its lower case later"
    assert list(as_dict(*read_vectors(path, {"red"}, 1))) == ["red"]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.txt", "the 1 2\nbus 3\n", "line 2 holds 1 numbers where 2 belong"),
        ("v.txt", "the 1 2\nred x 3\n", "line 2 holds something other than numbers"),
        ("v.txt", "red 1 nan\n", "not finite"), ("v.txt", "", "holds no word of this column"),
        ("v.txt", "blue 1 2\n", "holds no word of this column"), ("v.txt", "red\n", "line 1 holds 0 numbers"),
        ("v.bin", BINARY[:-9], "ends after 2 of 3 words"), ("v.bin", b"the 1 2\n", "does not begin with two counts"),
        ("v.bin.gz", b"no gzip", "cannot be read"), ("v.kv", "", "may run code"), ("missing.txt", None, "No such file"),
    ],
)
def test_files_that_hold_no_vectors(tmp_path, name, content, words):
    path = tmp_path / name if content is None else write(tmp_path, name, content)
    with pytest.raises(BadOption, match=words) as told:
        read_vectors(path, {"red"}, 1)
    assert "word2vec" in str(told.value) and str(path) in str(told.value)
