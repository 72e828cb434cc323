"""What an index in a folder and one on a server have in common: vectors of length one, what a search finds.

N rows, Q queries, D width, K hits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from ..errors import BadIndex


@dataclass
class Hits:
    """What a search found, the nearest first.

    Attributes:
        ids: Q lists of at most K ids.
        scores: Q arrays of cosines; (Q, K) where every query has K.
        rows: likewise, of what ``meta`` of the same index takes.
    """

    ids: list[list[str]]
    scores: Sequence[np.ndarray]
    rows: Sequence[np.ndarray]


class Searched(Protocol):
    """An index, wherever its vectors lie; see ``Index``, which says what each of these does."""

    width: int

    def __len__(self) -> int: ...

    def __contains__(self, name: str) -> bool: ...

    @property
    def ids(self) -> list[str]: ...

    def meta(self, rows: Sequence[Any] | np.ndarray) -> list[dict[str, Any]]: ...

    def add(
        self, ids: Sequence[str], vectors: Any, meta: Sequence[Mapping[str, Any]] | None = None, *, replace: bool = False
    ) -> None: ...

    def delete(self, ids: Sequence[str]) -> None: ...

    def search(self, vectors: Any, k: int = 10, *, exact: bool | None = None, effort: int = 64) -> Hits: ...


def unit(vectors: Any, width: int, ids: Sequence[str] | None = None) -> np.ndarray:
    """(N, D) float32 of length one.

    Raises:
        BadIndex: another width, not as many as ids, NaN, a vector of zeros.

    >>> unit([[3, 4]], 2).round(1).tolist()
    [[0.6000000238418579, 0.800000011920929]]
    """
    array = np.asarray(vectors, np.float32)
    if array.ndim != 2 or array.shape[1] != width:
        raise BadIndex(f"vectors {array.shape} do not fit an index of width {width}")
    if ids is not None and len(array) != len(ids):
        raise BadIndex(f"{len(ids)} ids and {len(array)} vectors are not equally many")
    square = np.vecdot(array, array)
    # Python's own comparisons where there is one query: numpy's calls take longer than the arithmetic
    good = 0.0 < float(square[0]) < math.inf if len(array) == 1 else ((square > 0) & (square < np.inf)).all()
    if not good:
        bad = int(np.argmin((square > 0) & (square < np.inf)))
        name = f"'{ids[bad]}'" if ids is not None else f"number {bad}"
        raise BadIndex(f"the vector {name} is {'zero' if square[bad] == 0 else 'not finite'} and has no direction")
    return array / np.sqrt(square)[:, None]


def checked_rows(
    ids: Sequence[str], vectors: Any, meta: Sequence[Mapping[str, Any]] | None, width: int
) -> tuple[list[str], np.ndarray, list[dict[str, Any]]]:
    """Ids as text, vectors of length one, a dict for each: what ``add`` was given.

    Raises:
        BadIndex: what does not fit, as ``unit`` says it; an id twice.
    """
    ids = [str(name) for name in ids]
    array = unit(vectors, width, ids)
    if meta is not None and len(meta) != len(ids):
        raise BadIndex(f"{len(ids)} ids and {len(meta)} dicts of meta are not equally many")
    if len(set(ids)) < len(ids):
        seen: set[str] = set()
        twice = next(name for name in ids if name in seen or seen.add(name))
        raise BadIndex(f"the id '{twice}' is given twice")
    return ids, array, [dict(more) for more in meta or [{}] * len(ids)]
