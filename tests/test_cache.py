"""Rows on disk: what was put comes back bit for bit, or not at all."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from polysense.data import cache as module
from polysense.data.cache import Cache

ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
KEYS = ["aa", "bb", "cc"]


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path)


def shards(tmp_path: Path) -> list[Path]:
    return sorted(tmp_path.rglob("*.npy"))


@given(arrays.arrays(st.sampled_from([np.float32, np.float16, np.int64, bool]),
                     arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)))
def test_what_was_put_comes_back_in_another_process_too(tmp_path_factory, rows):
    folder = tmp_path_factory.mktemp("cache")
    keys = [f"{i:032x}" for i in range(len(rows))]
    Cache(folder).put("f", keys, rows)
    found = Cache(folder).get("f", [*keys, "none", None])
    assert list(found) == keys
    for key, row in zip(keys, rows, strict=True):
        assert found[key].dtype == rows.dtype and found[key].shape == rows.shape[1:]
        assert found[key].tobytes() == row.tobytes()


def test_rows_are_mapped_and_read_only(cache, tmp_path):
    cache.put("f", KEYS, ROWS)
    row = cache.get("f", ["bb"])["bb"]
    assert not row.flags.writeable and not row.flags.owndata
    assert (row == ROWS[1]).all() and type(row) is np.ndarray


def test_fingerprints_are_separate_and_new_shards_are_seen(cache, tmp_path):
    cache.put("f", KEYS[:1], ROWS[:1])
    assert list(cache.get("g", KEYS)) == [] and list(cache.get("f", KEYS)) == ["aa"]
    Cache(tmp_path).put("f", KEYS[1:], ROWS[1:])
    assert set(cache.get("f", KEYS)) == set(KEYS)


def test_rows_without_digest_and_repeated_ones(cache, tmp_path):
    cache.put("f", ["aa", None, "aa"], ROWS)
    assert (cache.get("f", ["aa"])["aa"] == ROWS[0]).all()
    cache.put("f", [None], ROWS[:1])
    cache.put("f", [], ROWS[:0])
    assert len(shards(tmp_path)) == 1
    with pytest.raises(ValueError, match="1 digests for 3 rows"):
        cache.put("f", ["aa"], ROWS)
    with pytest.raises(ValueError, match="a fingerprint is letters and digits"):
        cache.put("../f", KEYS, ROWS)


@pytest.mark.parametrize("keep", [0, 5, 100, 200, -1])
def test_truncated_shards_are_ignored(cache, tmp_path, keep):
    cache.put("f", KEYS, ROWS)
    cache.put("f", ["dd"], ROWS[:1])
    file = shards(tmp_path)[0]
    file.write_bytes(file.read_bytes()[:keep])
    assert list(Cache(tmp_path).get("f", [*KEYS, "dd"])) == ["dd"]


def test_every_damaged_byte_is_noticed(cache, tmp_path):
    """A flipped bit costs the row it stands in, or the shard; never a wrong number."""
    keys = ["aa", "ac", "bb"]  # the second bit makes c of a, and > of < in the type: another key, another order
    cache.put("f", keys, ROWS)
    file = shards(tmp_path)[0]
    data = file.read_bytes()
    for bit in (2, 4):
        for place in range(len(data)):
            file.write_bytes(data[:place] + bytes([data[place] ^ bit]) + data[place + 1 :])
            for key, row in Cache(tmp_path).get("f", keys).items():
                assert (row == ROWS[keys.index(key)]).all()


def test_a_shard_that_goes_takes_only_its_own_rows(cache, tmp_path):
    for i in range(2):
        cache.put("f", KEYS[i : i + 1], ROWS[i : i + 1])
    assert len(cache.get("f", KEYS)) == 2
    shards(tmp_path)[0].unlink()
    assert list(cache.get("f", KEYS)) == ["bb"]


def test_foreign_files_are_ignored(cache, tmp_path):
    cache.put("f", KEYS, ROWS)
    np.save(tmp_path / "f" / "other.npy", ROWS)
    np.save(tmp_path / "f" / "pickled.npy", np.array([{}], dtype=object), allow_pickle=True)
    (tmp_path / "f" / "text.npy").write_text("hello")
    (tmp_path / "f" / "folder.npy").mkdir()
    assert set(Cache(tmp_path).get("f", KEYS)) == set(KEYS)


def test_many_shards_are_merged_while_others_read(tmp_path):
    writer, reader = Cache(tmp_path), Cache(tmp_path)
    rows = np.random.default_rng(0).normal(size=(70, 5)).astype(np.float16)
    keys = [f"{i:04}" for i in range(70)]
    for i in range(70):
        writer.put("f", keys[i : i + 1], rows[i : i + 1, : 3 + 2 * (i % 2)])  # two widths
        if i == 60:
            held = reader.get("f", keys)
    assert len(shards(tmp_path)) <= 10
    for found in (writer.get("f", keys), reader.get("f", keys), Cache(tmp_path).get("f", keys)):
        assert set(found) == set(keys)
        for i, key in enumerate(keys):
            assert (found[key] == rows[i, : 3 + 2 * (i % 2)]).all()
    assert (held["0007"] == rows[7]).all()  # its file is gone, its rows are not
    assert not list(tmp_path.rglob(".*"))


def test_a_merge_that_fails_loses_nothing(tmp_path, monkeypatch):
    cache = Cache(tmp_path)
    monkeypatch.setattr(module, "_MANY", 3)
    for i in range(3):
        cache.put("f", KEYS[i : i + 1], ROWS[i : i + 1])
    write = module._write
    calls = []

    def full(*args):
        calls.append(1)
        if len(calls) == 2:
            raise OSError(28, "No space left on device")
        write(*args)

    monkeypatch.setattr(module, "_write", full)
    cache.put("f", ["dd"], ROWS[:1])
    assert "No space left on device" in cache.why_off
    assert set(cache.get("f", [*KEYS, "dd"])) == {*KEYS, "dd"}  # reading goes on
    cache.put("f", ["ee"], ROWS[:1])
    assert len(calls) == 2


def test_several_processes_write_at_once(tmp_path):
    code = (
        "import sys, numpy as np\nfrom polysense.data import cache\ncache._MANY = 4\n"
        "c = cache.Cache(sys.argv[1])\n"
        "for i in range(30): c.put('f', [f'{i:03}'], np.full((1, 3), i, np.float32))\n"
    )
    jobs = [subprocess.Popen([sys.executable, "-c", code, str(tmp_path)]) for _ in range(3)]
    assert [job.wait() for job in jobs] == [0, 0, 0]
    found = Cache(tmp_path).get("f", [f"{i:03}" for i in range(30)])
    assert len(found) == 30 and all((row == int(key)).all() for key, row in found.items())


def test_off():
    cache = Cache.off()
    cache.put("f", KEYS, ROWS)
    assert cache.get("f", KEYS) == {} and cache.folder is None and cache.why_off


def test_where_the_cache_lies(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert Cache().folder == tmp_path / "x" / "polysense"
    monkeypatch.setenv("POLYSENSE_CACHE", str(tmp_path / "mine"))
    assert Cache().folder == tmp_path / "mine"
    monkeypatch.setenv("POLYSENSE_CACHE", "off")
    assert Cache().folder is None and Cache().why_off == "POLYSENSE_CACHE is off"
    monkeypatch.delenv("POLYSENSE_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Cache().folder == tmp_path / ".cache" / "polysense"


def test_a_home_that_is_missing_or_cannot_be_written_switches_the_cache_off(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    assert Cache().folder is None and "cannot be used" in Cache().why_off

    def nowhere():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", nowhere)
    assert "set POLYSENSE_CACHE" in Cache().why_off
    cache = Cache(tmp_path / "file" / "x")
    cache.put("f", KEYS, ROWS)
    assert cache.get("f", KEYS) == {}
