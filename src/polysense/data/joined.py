"""Several tables as one: training and validation records behind each other.

Rows count over all tables; faults keep the row of their own table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from .reading import Cells, all_faults


class Joined(Cells):
    """Cells of one view of several tables behind each other, as if they were one table."""

    def __init__(self, parts: Sequence[Cells]) -> None:
        self.parts = list(parts)
        self.view, self.name, self.n = parts[0].view, parts[0].name, sum(part.n for part in parts)
        self.media, self.kinds = parts[0].media, parts[0].kinds
        self.present = np.concatenate([part.present for part in parts])
        self._starts = np.cumsum([0, *(part.n for part in parts)])

    def values(self, rows: Sequence[int] | None = None, pixels: int | None = None) -> list[Any]:
        return self._ask(rows, lambda part, mine: part.values(mine, pixels))

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        return self._ask(rows, lambda part, mine: part.digests(mine))

    def hashes(self, rows: np.ndarray) -> np.ndarray:
        found = np.zeros(len(rows), "S16")
        table_R = np.searchsorted(self._starts, rows, side="right") - 1
        for t in np.unique(table_R):
            found[table_R == t] = self.parts[t].hashes(rows[table_R == t] - self._starts[t])
        return found

    def _ask(self, rows: Sequence[int] | None, question: Callable[[Cells, list[int]], list[Any]]) -> list[Any]:
        rows = np.arange(self.n) if rows is None else np.asarray(rows, int)
        table_N = np.searchsorted(self._starts, rows, side="right") - 1
        out: list[Any] = [None] * len(rows)
        for t in np.unique(table_N):
            where = np.flatnonzero(table_N == t)
            answers = question(self.parts[t], (rows[where] - self._starts[t]).tolist())
            for place, given in zip(where.tolist(), answers, strict=True):
                out[place] = given
        return out


def join(parts: Sequence[Mapping[str, Cells]]) -> Mapping[str, Cells]:
    """{view: cells of all tables}.

    Args:
        parts: {view: cells}, a dict for each table.
    """
    return parts[0] if len(parts) == 1 else {view: Joined([part[view] for part in parts]) for view in parts[0]}


def each(cells: Cells) -> list[Cells]:
    """A view's cells, table by table."""
    return cells.parts if isinstance(cells, Joined) else [cells]


def faults(cells: Mapping[str, Cells]) -> list[dict[str, Any]]:
    """Entries of the data report; with a validation table, its entries say so."""
    first = next(iter(cells.values()), None)
    if not isinstance(first, Joined):
        return [fault.to_json() for fault in all_faults(cells)]
    return [
        fault.to_json() | {"table": part}
        for t, part in enumerate(("train", "valid"))
        for fault in all_faults([mine.parts[t] for mine in cells.values()])
    ]


def bad_rows(cells: Mapping[str, Cells]) -> np.ndarray:
    """Rows, over all tables behind each other, that hold an unreadable cell."""
    rows = set()
    for mine in cells.values():
        start = 0
        for part in each(mine):
            rows |= {start + fault.row for fault in part.faults}
            start += part.n
    return np.array(sorted(rows), int)


def missing_words(cells: Mapping[str, Cells]) -> dict[str, dict[str, int]]:
    """Column -> word that stood for a missing value -> how often."""
    found: dict[str, Counter] = {}
    for mine in cells.values():
        for part in each(mine):
            for column, words in part.notes.items():
                found.setdefault(column, Counter()).update(words)
    return {column: dict(words) for column, words in found.items()}


def leaks(cells: Mapping[str, Cells], train: np.ndarray, valid: np.ndarray) -> dict[str, int]:
    """{view: validation records whose very content also stands in training}, views without any left out."""
    found = {
        view: len(np.setdiff1d(np.intersect1d(mine.hashes(train), mine.hashes(valid)), [b""]))
        for view, mine in cells.items() if mine.view.modality != "table" and len(valid)
    }
    return {view: count for view, count in found.items() if count}
