"""Rows that are appended once and read by index: in memory while they are few, in a file when they are many.

The file has no name: it is unlinked as soon as it is open, so nothing is left behind however the
process ends. It is read with ``pread``, not mapped, so that pages of the disk's cache never count as
memory of the process. Both ways give equal bits.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

#: Bytes up to which the rows of one store stay in memory.
HELD_BYTES = 16_000_000
#: Rows that are worked on at a time wherever all rows of a table are walked through.
BLOCK = 4096

Index = Any


def blocks(n: int, size: int = BLOCK) -> Iterator[slice]:
    """Consecutive slices that cover n rows.

    >>> list(blocks(5, 2))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    for start in range(0, n, size):
        yield slice(start, min(start + size, n))


class Rows:
    """Rows of one type. Their shape may differ from block to block in its first axis (positions).

    Args:
        fill: what stands behind a row that is shorter than the longest one asked for.

    >>> rows = Rows(); rows.append(np.ones((2, 3))); rows.append(np.zeros((1, 3)))
    >>> len(rows), rows[[2, 0]].tolist()
    (3, [[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])
    """

    def __init__(self, fill: float = 0.0) -> None:
        self.fill = fill
        self.held: list[np.ndarray] = []
        self.file: int | None = None
        self.dtype = np.dtype(np.float32)
        self._shapes: list[tuple[int, ...]] = []  # of one row, a block each
        self._starts = [0]  # first row of each block, and the number of rows
        self._places = [0]  # first byte of each block in the file, and its length
        self._one: np.ndarray | None = None  # all rows, while they are in memory and alike in shape

    def append(self, block: np.ndarray) -> None:
        """Add rows (n, ...)."""
        if not len(block):
            return
        if not self._shapes:
            self.dtype = block.dtype
        block = np.ascontiguousarray(block, self.dtype)
        self._shapes.append(block.shape[1:])
        self._starts.append(self._starts[-1] + len(block))
        self._places.append(self._places[-1] + block.nbytes)
        self._one = None
        if self.file is None:
            self.held.append(block)
            if self._places[-1] > HELD_BYTES:
                self._spill()
        else:
            _write(self.file, block, self._places[-2])

    def _spill(self) -> None:
        self.file = nameless_file()
        for block, place in zip(self.held, self._places, strict=False):
            _write(self.file, block, place)
        self.held = []

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def nbytes(self) -> int:
        """Bytes of all rows, wherever they are."""
        return self._places[-1]

    @property
    def tail(self) -> tuple[int, ...]:
        """Shape of the largest row."""
        if not self._shapes:
            return (0,)
        longest = max(shape[:1] for shape in self._shapes)
        return (*longest, *self._shapes[0][1:])

    def __getitem__(self, index: Index) -> np.ndarray:
        """Rows in the order asked for, padded to the longest of them."""
        run = _run(index, len(self))
        rows = np.zeros(0, int) if run else _numbers(index, len(self))
        if not len(self) or not (run[1] - run[0] if run else len(rows)):
            return np.zeros((0, *self.tail), self.dtype)
        if len(set(self._shapes)) > 1:
            return self._ragged(np.arange(*run) if run else rows)
        if self.file is None:
            if self._one is None:
                self._one = np.concatenate(self.held)
                self.held = [self._one]
                self._shapes, self._starts, self._places = self._shapes[:1], [0, len(self)], [0, self.nbytes]
            return self._one[run[0] : run[1]] if run else self._one[rows]
        size = self.nbytes // len(self)
        out = np.empty((run[1] - run[0] if run else len(rows), *self._shapes[0]), self.dtype)
        if run:
            _read(self.file, out, run[0] * size)
            return out
        starts = np.flatnonzero(np.diff(rows, prepend=rows[0] - 2) != 1).tolist()
        for start, stop in zip(starts, [*starts[1:], len(rows)], strict=True):
            _read(self.file, out[start:stop], int(rows[start]) * size)
        return out

    def _ragged(self, rows: np.ndarray) -> np.ndarray:
        """Rows of different lengths."""
        block_R = np.searchsorted(self._starts, rows, side="right") - 1
        longest = max(self._shapes[b][0] for b in np.unique(block_R).tolist())
        out = np.full((len(rows), longest, *self._shapes[0][1:]), self.fill, self.dtype)
        for i, (b, row) in enumerate(zip(block_R.tolist(), rows.tolist(), strict=True)):
            shape, row = self._shapes[b], row - self._starts[b]
            into = out[i, : shape[0]]
            if self.file is None:
                into[...] = self.held[b][row]
            else:
                _read(self.file, into, self._places[b] + row * into.nbytes)
        return out

    def __del__(self) -> None:
        if getattr(self, "file", None) is not None:
            os.close(self.file)


class SparseRows:
    """Rows of a CSR matrix, kept as ``Rows`` keeps dense ones.

    >>> from scipy.sparse import csr_matrix
    >>> rows = SparseRows(3); rows.append(csr_matrix([[0, 2.0, 0], [1, 0, 0]]))
    >>> rows[[1, 0]].toarray().tolist()
    [[1.0, 0.0, 0.0], [0.0, 2.0, 0.0]]
    """

    def __init__(self, width: int) -> None:
        self.tail = (width,)
        self._columns, self._values, self._ends = Rows(), Rows(), [np.zeros(1, np.int64)]

    def append(self, block: Any) -> None:
        """Add the rows of a CSR matrix."""
        self._ends.append(self._ends[-1][-1] + block.indptr[1:].astype(np.int64))
        self._columns.append(block.indices.astype(np.int32))
        self._values.append(block.data)

    def __len__(self) -> int:
        return sum(map(len, self._ends)) - 1

    def __getitem__(self, index: Index) -> Any:
        from scipy.sparse import csr_matrix

        if len(self._ends) > 1:
            self._ends = [np.concatenate(self._ends)]
        bounds, run = self._ends[0], _run(index, len(self))
        if run:
            ends = bounds[run[0] : run[1] + 1]
            places: Index = slice(int(ends[0]), int(ends[-1]))
            ends = ends - ends[0]
        else:
            rows = _numbers(index, len(self))
            starts, counts = bounds[rows], bounds[rows + 1] - bounds[rows]
            ends = np.concatenate([[0], np.cumsum(counts)])
            places = np.arange(ends[-1]) + np.repeat(starts - ends[:-1], counts)
        empty = not ends[-1]
        columns = np.zeros(0, np.int32) if empty else self._columns[places]
        values = np.zeros(0, np.float32) if empty else self._values[places]
        return csr_matrix((values, columns, ends), shape=(len(ends) - 1, *self.tail))


class Features:
    """Numbers of N records over rows that several of them may share; what is absent is filled.

    Args:
        slot_N: the place of each record in ``rows``; -1 where it has none.
        rows: ``Rows`` or ``SparseRows``.
        fill: stands where a record has nothing.

    >>> rows = Rows(); rows.append(np.array([[5.0, 6.0]]))
    >>> Features(np.array([0, -1, 0]), rows)[[2, 1]].tolist()
    [[5.0, 6.0], [0.0, 0.0]]
    """

    def __init__(self, slot_N: np.ndarray, rows: Rows | SparseRows, fill: float = 0.0) -> None:
        self.slot_N, self.rows, self.fill = slot_N, rows, fill

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, ...) with the largest row."""
        return (len(self.slot_N), *self.rows.tail)

    def __len__(self) -> int:
        return len(self.slot_N)

    def __getitem__(self, index: Index) -> Any:
        slots = self.slot_N[_numbers(index, len(self))]
        there = slots >= 0
        found = self.rows[slots[there]]
        if there.all():
            return found
        if isinstance(found, np.ndarray):
            out = np.full((len(slots), *found.shape[1:]), self.fill, found.dtype)
            out[there] = found
            return out
        from scipy.sparse import csr_matrix

        ends = np.zeros(len(slots) + 1, np.int64)
        ends[np.flatnonzero(there) + 1] = np.diff(found.indptr)
        return csr_matrix((found.data, found.indices, ends.cumsum()), shape=(len(slots), found.shape[1]))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.asarray(self[:], dtype)

    def toarray(self) -> np.ndarray:
        """All of it, dense."""
        found = self[:]
        return found if isinstance(found, np.ndarray) else found.toarray()

    def only(self, index: Index) -> Features:
        """Some of the records; nothing is copied but their places."""
        return Features(self.slot_N[_numbers(index, len(self))], self.rows, self.fill)

    def each(self, change: Callable[[np.ndarray], np.ndarray], fill: float | None = None) -> Features:
        """The same records with every row changed, some at a time.

        Args:
            change: (n, ...) -> (n, ...).
        """
        made = Rows(self.rows.fill if fill is None else fill)
        for part in blocks(len(self.rows)):
            made.append(change(self.rows[part]))
        return Features(self.slot_N, made, self.fill if fill is None else fill)


def only(block: Any, index: Index) -> Any:
    """Some rows of an array or matrix, or of ``Features`` without reading them."""
    return block.only(index) if isinstance(block, Features) else block[index]


def only_of(blocks: Mapping[str, Any], index: Index) -> dict[str, Any]:
    """``only`` of each view."""
    return {view: only(block, index) for view, block in blocks.items()}


def whole(block: Any) -> Any:
    """An array or matrix; ``Features`` are read."""
    return block[:] if isinstance(block, Features) else block


def nameless_file() -> int:
    """Descriptor of a file that lives as long as it is open: beside the cache, else in the system's folder.

    Raises:
        CannotWrite: there is no place for it.
    """
    from ..errors import CannotWrite
    from .cache import Cache

    folder: Path | None = Cache().folder
    try:
        file, name = tempfile.mkstemp(prefix="polysense-", dir=folder)
    except OSError as error:
        raise CannotWrite(f"a temporary file cannot be made: {error.strerror or error}; set TMPDIR to another folder") from None
    os.unlink(name)
    return file


def _write(file: int, block: np.ndarray, place: int) -> None:
    from ..errors import CannotWrite

    left = memoryview(block.reshape(-1).view(np.uint8))
    try:
        while left:
            done = os.pwrite(file, left, place)
            left, place = left[done:], place + done
    except OSError as error:
        raise CannotWrite(
            f"features could not be put aside on disk: {error.strerror or error}; make room there, or set "
            "POLYSENSE_CACHE to a folder on another disk"
        ) from None


def _read(file: int, into: np.ndarray, place: int) -> None:
    left = memoryview(into.reshape(-1).view(np.uint8))
    while left:
        done = os.preadv(file, [left], place)
        if not done:
            raise EOFError(f"the file of rows ends at byte {place}")
        left, place = left[done:], place + done


def _run(index: Index, n: int) -> tuple[int, int] | None:
    """(first, behind the last) of a slice without steps; None for every other index."""
    if not isinstance(index, slice):
        return None
    start, stop, step = index.indices(n)
    return (start, max(start, stop)) if step == 1 else None


def _numbers(index: Index, n: int) -> np.ndarray:
    """Row numbers of a slice, a mask or a list of rows."""
    if isinstance(index, slice):
        return np.arange(*index.indices(n))
    index = np.asarray(index)
    if index.dtype == bool:
        return np.flatnonzero(index)
    return np.where(index < 0, index + n, index).astype(np.int64).reshape(-1)
