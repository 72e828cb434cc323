"""Several tables as one: training and validation records behind each other.

Rows count over all tables; faults keep the row of their own table.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from .reading import LEFT_OUT, Cells, all_faults


class Joined(Cells):
    """Cells of one view of several tables behind each other, as if they were one table."""

    def __init__(self, parts: Sequence[Cells]) -> None:
        self.parts = list(parts)
        self.view, self.name, self.n = parts[0].view, parts[0].name, sum(part.n for part in parts)
        self.media, self.kinds = parts[0].media, parts[0].kinds
        self.present = np.concatenate([part.present for part in parts])
        self._starts = np.cumsum([0, *(part.n for part in parts)])

    def pieces(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = [(part.pieces(mine), start) for part, mine, _, start in self._divided(rows)]
        row_P = [row_P + start for (row_P, _), start in found]
        return np.concatenate([*row_P, np.zeros(0, int)]), np.concatenate([*(k for (_, k), _ in found), np.zeros(0, int)])

    def values(
        self, rows: Sequence[int] | None = None, pixels: int | None = None, pieces: Sequence[int] | None = None
    ) -> list[Any]:
        def ask(part: Cells, mine: np.ndarray, at: np.ndarray) -> list[Any]:
            return part.values(mine.tolist(), pixels, None if pieces is None else [pieces[i] for i in at])

        return self._ask(rows, ask)

    def digests(self, rows: Sequence[int] | None = None) -> list[str | None]:
        return self._ask(rows, lambda part, mine, at: part.digests(mine.tolist()))

    def hashes(self, rows: np.ndarray, pieces: np.ndarray | None = None) -> np.ndarray:
        found = np.zeros(len(rows), "S16")
        for part, mine, at, _ in self._divided(rows):
            found[at] = part.hashes(mine, None if pieces is None else pieces[at])
        return found

    def _divided(self, rows: np.ndarray) -> Iterator[tuple[Cells, np.ndarray, np.ndarray, int]]:
        """(cells of a table, its rows among these, their places among these, number of its first row)."""
        table_R = np.searchsorted(self._starts, rows, side="right") - 1
        for t in np.unique(table_R).tolist():
            at = np.flatnonzero(table_R == t)
            yield self.parts[t], rows[at] - self._starts[t], at, self._starts[t]

    def _ask(
        self, rows: Sequence[int] | None, question: Callable[[Cells, np.ndarray, np.ndarray], list[Any]]
    ) -> list[Any]:
        rows = np.arange(self.n) if rows is None else np.asarray(rows, int)
        out: list[Any] = [None] * len(rows)
        for part, mine, at, _ in self._divided(rows):
            for place, given in zip(at.tolist(), question(part, mine, at), strict=True):
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
    """Rows, over all tables behind each other, that hold an unreadable cell; one with a usable file left is none."""
    rows = set()
    for mine in cells.values():
        start = 0
        for part in each(mine):
            rows |= {start + fault.row for fault in part.faults if fault.action != LEFT_OUT}
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
