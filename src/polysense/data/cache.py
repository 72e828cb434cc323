"""Frozen outputs on disk, found by the content they were computed from.

One folder a fingerprint (encoder, options, state), in it shards. A shard is one file of two arrays
in numpy's format, one after the other: its keys (digest and checksum of each row), then the rows,
which are memory-mapped. A shard is written aside, synced and renamed: several processes may write,
and a killed one leaves nothing half done. A shard that is damaged counts as absent.

Of each row some 50 bytes stay in memory; mapped pages are given back after they were read.
"""

from __future__ import annotations

import getpass
import mmap
import os
import tempfile
import time
import uuid
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..store import aside_of, replacing

_MANY = 64  # small shards of a fingerprint before they are merged
_SMALL = 256_000_000  # bytes; larger shards stay as they are
_STALE = 86_400  # seconds after which a file left aside belongs to no living process


class Cache:
    """Rows by fingerprint and digest.

    Args:
        folder: where it lies; by default ``POLYSENSE_CACHE`` (a folder, or ``off``), else
            ``polysense`` in the user's cache folder.

    Attributes:
        folder: None where the cache is off.
        why_off: the reason, empty while it works.

    >>> Cache.off().get("fingerprint", ["digest"])
    {}
    """

    #: Set where all processes of one job ask for the same rows at the same time: each computes a part of them.
    shared = False

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder: Path | None = None
        self.why_off = ""
        self._shards: dict[str, dict[str, _Shard | None]] = {}
        try:
            chosen = Path(folder) if folder is not None else _default()
            if chosen is None:
                self.why_off = "POLYSENSE_CACHE is off"
                return
            chosen.mkdir(parents=True, exist_ok=True)
            if not os.access(chosen, os.W_OK | os.X_OK):
                raise PermissionError(0, "permission denied", str(chosen))
            self.folder = chosen
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            self.why_off = f"the cache folder cannot be used ({reason}); set POLYSENSE_CACHE to one that can"

    @classmethod
    def off(cls, why: str = "switched off") -> Cache:
        """A cache that holds nothing and keeps nothing."""
        cache = cls.__new__(cls)
        cache.folder, cache.why_off, cache._shards = None, why, {}
        return cache

    def get(self, fingerprint: str, digests: Iterable[str | None]) -> dict[str, np.ndarray]:
        """The rows that are there, memory-mapped and read-only; one whose checksum is wrong is not there."""
        keys = [key for key in dict.fromkeys(digests) if key is not None]
        places = self.find(fingerprint, np.array([key.encode() for key in keys]))
        rows = ((key, places.row(i)) for i, key in enumerate(keys))
        return {key: row for key, row in rows if row is not None}

    def find(self, fingerprint: str, keys: np.ndarray) -> Places:
        """Where the rows of many digests are, without reading them.

        Args:
            keys: (U,) bytes.
        """
        shard_U, row_U = np.full(len(keys), -1, np.int32), np.zeros(len(keys), np.int32)
        shards = [] if self.folder is None or not len(keys) else self._open_all(fingerprint)
        for number, shard in enumerate(shards):  # a later one stands for an earlier one
            at = np.searchsorted(shard.keys, keys, sorter=shard.order).clip(max=len(shard.keys) - 1)
            row = shard.order[at]
            here = shard.keys[row] == keys
            shard_U[here], row_U[here] = number, row[here]
        return Places(keys, shards, shard_U, row_U)

    def put(self, fingerprint: str, digests: Sequence[str | None], arrays: np.ndarray) -> None:
        """Keep rows; those without digest are passed over. A full disk switches writing off (``why_off``).

        Args:
            digests: N of them.
            arrays: (N, ...).
        """
        if len(digests) != len(arrays):
            raise ValueError(f"{len(digests)} digests for {len(arrays)} rows")
        if self.folder is None or self.why_off:
            return
        first: dict[str, int] = {}
        for i, key in enumerate(digests):
            if key is not None:
                first.setdefault(key, i)
        if not first:
            return
        rows = np.asarray(arrays)[list(first.values())]
        if rows[0].size == 0:
            return
        home = self._home(fingerprint)
        try:
            home.mkdir(parents=True, exist_ok=True)
            checks = [_check(key, row) for key, row in zip(first, rows, strict=True)]
            _write(home, np.array([key.encode() for key in first]), np.array(checks, "<u4"), [rows])
            self._merge(fingerprint)
        except OSError as error:
            reason = error.strerror or error
            self.why_off = f"the cache cannot be written ({reason}); set POLYSENSE_CACHE to another folder"

    def _home(self, fingerprint: str) -> Path:
        assert self.folder is not None
        if not fingerprint or not all(letter.isalnum() or letter in "-_." for letter in fingerprint):
            raise ValueError(f"a fingerprint is letters and digits, not {fingerprint!r}")
        return self.folder / fingerprint

    def _open_all(self, fingerprint: str) -> list[_Shard]:
        """The shards of a fingerprint, oldest first, brought up to date with the folder."""
        known = self._shards.setdefault(fingerprint, {})
        home = self._home(fingerprint)
        try:
            names = {name for name in os.listdir(home) if name.endswith(".npy")}
        except OSError:
            names = set()
        for name in known.keys() - names:  # merged away by us or by another process
            del known[name]
        for name in sorted(names - known.keys()):
            known[name] = _open(home / name)
        return [shard for _, shard in sorted(known.items()) if shard is not None and len(shard.keys)]

    def _merge(self, fingerprint: str) -> None:
        """Many small shards -> one for each shape. The new one is there before the old ones go."""
        home = self._home(fingerprint)
        files = [file for file in home.iterdir() if file.suffix == ".npy"]
        small = sorted(file for file in files if file.stat().st_size < _SMALL)
        if len(small) <= _MANY:
            return
        groups: dict[tuple[Any, ...], list[_Shard]] = {}
        for file in small:
            shard = _open(file)
            if shard is not None:
                groups.setdefault((shard.rows.dtype.str, shard.rows.shape[1:]), []).append(shard)
        for shards in groups.values():  # arrays, not objects: there may be a row for each record of a large table
            whole = np.concatenate([shard.whole() for shard in shards])
            keys, checks = (np.concatenate([getattr(shard, name) for shard in shards])[whole] for name in ("keys", "checks"))
            shard_R = np.repeat(np.arange(len(shards)), [len(shard.keys) for shard in shards])[whole]
            row_R = np.concatenate([np.arange(len(shard.keys)) for shard in shards])[whole]
            kept = np.sort(np.unique(keys, return_index=True)[1])  # the first of several rows under one key
            if len(kept):
                _write(home, keys[kept], checks[kept], _in_turn(shards, shard_R[kept], row_R[kept]))
        for file in small:
            file.unlink(missing_ok=True)
        for file in home.iterdir():
            if aside_of(file.name) and time.time() - file.stat().st_mtime > _STALE:
                file.unlink(missing_ok=True)


class Places:
    """Where the rows of U digests are.

    A row whose checksum proves wrong when it is read is not there after all.
    """

    def __init__(self, keys: np.ndarray, shards: list[_Shard], shard_U: np.ndarray, row_U: np.ndarray) -> None:
        self.keys, self.shards, self.shard_U, self.row_U = keys, shards, shard_U, row_U

    @property
    def known(self) -> np.ndarray:
        """(U,) bool: some shard names the digest."""
        return self.shard_U >= 0

    def row(self, u: int) -> np.ndarray | None:
        """One row, memory-mapped and read-only; None where it is not there."""
        if self.shard_U[u] < 0:
            return None
        shard, i = self.shards[self.shard_U[u]], self.row_U[u]
        row = shard.rows[i]
        return row if _check(self.keys[u].decode(), row) == shard.checks[i] else None

    def read(self, which: np.ndarray) -> list[np.ndarray | None]:
        """Copies of some rows; the mapped pages do not stay."""
        found = [None if row is None else row.copy() for row in map(self.row, which.tolist())]
        for shard in {number for number in self.shard_U[which].tolist() if number >= 0}:
            self.shards[shard].release()
        return found


class _Shard:
    """An open shard: keys and checksums in memory, rows mapped."""

    def __init__(self, table: np.ndarray, mapped: mmap.mmap, rows: np.ndarray) -> None:
        self.keys, self.checks, self.rows = table["digest"].copy(), table["check"].copy(), rows
        self.order = np.argsort(self.keys, kind="stable").astype(np.int32)
        self._mapped = mapped

    def whole(self) -> np.ndarray:
        """(N,) bool: rows whose checksum is right."""
        good = (_check(key.decode(), row) == check for key, row, check in zip(self.keys, self.rows, self.checks, strict=True))
        found = np.fromiter(good, bool, len(self.keys))
        self.release()
        return found

    def release(self) -> None:
        """Give the pages back: read again from the file when they are needed."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._mapped.madvise(mmap.MADV_DONTNEED)


def home() -> Path:
    """Where this machine keeps what polysense made: the cache's folder, or of this user's temporary files where it is off."""
    return _default() or Path(tempfile.gettempdir()) / f"polysense-{getpass.getuser()}"


def _default() -> Path | None:
    chosen = os.environ.get("POLYSENSE_CACHE", "").strip()
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "polysense"


def _in_turn(shards: Sequence[_Shard], shard_R: np.ndarray, row_R: np.ndarray) -> Iterator[np.ndarray]:
    """Rows (1, ...) of shards that come one after the other."""
    for number, shard in enumerate(shards):
        for i in row_R[shard_R == number].tolist():
            yield shard.rows[i][None]
        shard.release()


def _check(key: str, row: np.ndarray) -> int:
    """Checksum of a row under its key: a damaged key or type must not bring another row's numbers."""
    head = f"{key}{row.dtype.str}{row.shape}".encode()
    return zlib.crc32(np.ascontiguousarray(row).reshape(-1).view(np.uint8).data, zlib.crc32(head))


def _write(home: Path, keys: np.ndarray, checks: np.ndarray, blocks: Iterable[np.ndarray]) -> None:
    """A shard of the rows that ``blocks`` give, one block after the other.

    Args:
        keys: (N,) bytes.
        checks: (N,) checksums.
    """
    table = np.zeros(len(keys), dtype=[("digest", keys.dtype), ("check", "<u4")])
    table["digest"], table["check"] = keys, checks
    blocks = iter(blocks)
    first = np.ascontiguousarray(next(blocks))
    with replacing(home / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.npy") as file:
        np.lib.format.write_array(file, table, allow_pickle=False)
        header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False,
                  "shape": (len(keys), *first.shape[1:])}
        np.lib.format.write_array_header_1_0(file, header)
        file.write(first.data)
        for block in blocks:
            file.write(np.ascontiguousarray(block).data)


def _open(path: Path) -> _Shard | None:
    """A shard, or None where the file is damaged, foreign, or gone."""
    try:
        with open(path, "rb") as file:
            table = np.lib.format.read_array(file, allow_pickle=False)
            if np.lib.format.read_magic(file) != (1, 0):
                return None
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file)
            start = file.tell()
            length = dtype.itemsize * int(np.prod(shape, dtype=object))
            whole = start + length == os.fstat(file.fileno()).st_size
            if fortran or dtype.hasobject or shape[0] != len(table) or not whole:
                return None
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        b"".join(table["digest"].tolist()).decode("ascii")  # a key that is no text is damage
        rows = np.frombuffer(mapped, dtype, length // dtype.itemsize, start).reshape(shape)
        return _Shard(table, mapped, rows)
    except Exception:  # numpy's header parser raises a dozen types on damaged headers
        return None
