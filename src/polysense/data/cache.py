"""Frozen outputs on disk, found by the content they were computed from.

One folder a fingerprint (encoder, options, state), in it shards. A shard is one file of two arrays
in numpy's format, one after the other: its keys (digest and checksum of each row), then the rows,
which are memory-mapped. A shard is written aside, synced and renamed: several processes may write,
and a killed one leaves nothing half done. A shard that is damaged counts as absent.
"""

from __future__ import annotations

import os
import time
import uuid
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

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

    def __init__(self, folder: str | os.PathLike | None = None) -> None:
        self.folder: Path | None = None
        self.why_off = ""
        self._shards: dict[str, dict[str, _Shard | None]] = {}
        self._found: dict[str, dict[str, tuple[_Shard, int]]] = {}
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
        cache.folder, cache.why_off, cache._shards, cache._found = None, why, {}, {}
        return cache

    def get(self, fingerprint: str, digests: Iterable[str | None]) -> dict[str, np.ndarray]:
        """The rows that are there, memory-mapped and read-only; one whose checksum is wrong is not there."""
        if self.folder is None:
            return {}
        found = self._index(fingerprint)
        rows: dict[str, np.ndarray] = {}
        for key in digests:
            if key in found and key not in rows:
                shard, i = found[key]
                row = shard.rows[i]
                if _check(key, row) == shard.checks[i]:
                    rows[key] = row
        return rows

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
            _write(home, list(first), checks, [rows])
            self._merge(fingerprint)
        except OSError as error:
            reason = error.strerror or error
            self.why_off = f"the cache cannot be written ({reason}); set POLYSENSE_CACHE to another folder"

    def _home(self, fingerprint: str) -> Path:
        assert self.folder is not None
        if not fingerprint or not all(letter.isalnum() or letter in "-_." for letter in fingerprint):
            raise ValueError(f"a fingerprint is letters and digits, not {fingerprint!r}")
        return self.folder / fingerprint

    def _index(self, fingerprint: str) -> dict[str, tuple[_Shard, int]]:
        """Digest -> place, brought up to date with the folder."""
        known = self._shards.setdefault(fingerprint, {})
        found = self._found.setdefault(fingerprint, {})
        home = self._home(fingerprint)
        try:
            names = {name for name in os.listdir(home) if name.endswith(".npy")}
        except OSError:
            names = set()
        if any(name not in names for name in known):  # merged away by us or by another process
            known.clear()
            found.clear()
        for name in sorted(names - known.keys()):
            shard = _open(home / name)
            known[name] = shard
            if shard is not None:
                found.update((key, (shard, i)) for i, key in enumerate(shard.keys))
        return found

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
        for shards in groups.values():
            taken: dict[str, tuple[_Shard, int]] = {}
            for shard in shards:
                for i, key in enumerate(shard.keys):
                    if key not in taken and _check(key, shard.rows[i]) == shard.checks[i]:
                        taken[key] = (shard, i)
            if taken:
                checks = [shard.checks[i] for shard, i in taken.values()]
                _write(home, list(taken), checks, (shard.rows[i][None] for shard, i in taken.values()))
        for file in small:
            file.unlink(missing_ok=True)
        for file in home.glob(".aside-*"):
            if time.time() - file.stat().st_mtime > _STALE:
                file.unlink(missing_ok=True)


class _Shard:
    """An open shard: keys and checksums in memory, rows mapped."""

    def __init__(self, keys: list[str], checks: list[int], rows: np.ndarray) -> None:
        self.keys, self.checks, self.rows = keys, checks, rows


def _default() -> Path | None:
    chosen = os.environ.get("POLYSENSE_CACHE", "").strip()
    if chosen.lower() == "off":
        return None
    if chosen:
        return Path(chosen)
    base = os.environ.get("XDG_CACHE_HOME", "").strip()
    return (Path(base) if base else Path.home() / ".cache") / "polysense"


def _check(key: str, row: np.ndarray) -> int:
    """Checksum of a row under its key: a damaged key or type must not bring another row's numbers."""
    head = f"{key}{row.dtype.str}{row.shape}".encode()
    return zlib.crc32(np.ascontiguousarray(row).reshape(-1).view(np.uint8).data, zlib.crc32(head))


def _write(home: Path, keys: list[str], checks: list[int], blocks: Iterable[np.ndarray]) -> None:
    """A shard of the rows that ``blocks`` give, one block after the other."""
    aside = home / f".aside-{os.getpid()}-{uuid.uuid4().hex[:8]}"
    names = np.array([key.encode() for key in keys])
    table = np.zeros(len(keys), dtype=[("digest", names.dtype), ("check", "<u4")])
    table["digest"], table["check"] = names, checks
    blocks = iter(blocks)
    first = np.ascontiguousarray(next(blocks))
    try:
        with open(aside, "wb") as file:
            np.lib.format.write_array(file, table, allow_pickle=False)
            header = {"descr": np.lib.format.dtype_to_descr(first.dtype), "fortran_order": False,
                      "shape": (len(keys), *first.shape[1:])}
            np.lib.format.write_array_header_1_0(file, header)
            file.write(first.data)
            for block in blocks:
                file.write(np.ascontiguousarray(block).data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, home / f"{time.time_ns():020d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.npy")
    finally:
        aside.unlink(missing_ok=True)


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
        keys = [key.decode("ascii") for key in table["digest"].tolist()]
        rows = np.memmap(path, dtype=dtype, mode="r", offset=start, shape=shape).view(np.ndarray)
        return _Shard(keys, table["check"].tolist(), rows)
    except Exception:  # numpy's header parser raises a dozen types on damaged headers
        return None
