"""Tables larger than memory should be: record batches in a nameless file, mapped, its pages given back.

A page of a mapped file that was read counts as memory of the process until it is given back; so who
reads, says how much (``Mapped.touched``).
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable
from pathlib import Path

import pyarrow as pa

from .rows import nameless_file

#: Bytes of a table up to which it stays in memory.
HELD_BYTES = 16_000_000
#: Reads after which the pages are given back; the system maps up to 16 pages for one that is missing.
_READS = 256


class Mapped:
    """A file in memory that leaves nothing in memory.

    Args:
        file: descriptor, or path.
    """

    def __init__(self, file: int | str | Path) -> None:
        if isinstance(file, int):
            self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        else:
            with open(file, "rb") as opened:
                self._map = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ)
        self.buffer = pa.py_buffer(self._map)
        self._reads = 0

    def touched(self, reads: int) -> None:
        """Some cells were read; after many the pages are given back."""
        self._reads += reads
        if self._reads >= _READS and hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)
            self._reads = 0


def spooled(batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> tuple[pa.Table, Mapped | None]:
    """A table of these batches: in memory while it is small, otherwise in a file.

    Raises:
        CannotWrite: there is no room for the file.
    """
    import os

    from ..errors import CannotWrite

    held: list[pa.RecordBatch] = []
    size, file, sink, writer = 0, None, None, None
    try:
        for batch in batches:
            held.append(batch)
            size += batch.nbytes
            if writer is None and size > HELD_BYTES:
                file = nameless_file()
                sink = os.fdopen(os.dup(file), "wb", buffering=0)
                writer = pa.ipc.new_file(sink, schema)
            if writer is not None:
                for one in held:
                    writer.write_batch(one)
                held = []
        if writer is None:
            return pa.Table.from_batches(held, schema=schema), None
        writer.close()
        mapped = Mapped(file)
        return pa.ipc.open_file(mapped.buffer).read_all(), mapped
    except OSError as error:
        raise CannotWrite(
            f"a large table could not be put aside on disk: {error.strerror or error}; make room there, or set "
            "POLYSENSE_CACHE to a folder on another disk"
        ) from None
    finally:
        if sink is not None:
            sink.close()
        if file is not None:
            os.close(file)
