"""Splits: stratified, with whole groups; and what stands on both sides.

N records, P parts, C classes.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from ..errors import BadOption


def connected_groups(keys: Sequence[Iterable[Hashable]]) -> np.ndarray:
    """Records that share a key, directly or through others, are of one group.

    Args:
        keys: N lists of keys (digests of text and media); None is no key.

    Returns:
        (N,) int64: groups numbered by first appearance.

    >>> connected_groups([["a"], ["b"], ["a", "c"], [], ["c"]])
    array([0, 1, 0, 2, 0])
    """
    parent = list(range(len(keys)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    holder: dict[Hashable, int] = {}
    for i, own in enumerate(keys):
        for key in own:
            if key is not None:
                a, b = root(i), root(holder.setdefault(key, i))
                parent[max(a, b)] = min(a, b)
    return _numbered([root(i) for i in range(len(keys))])


def split(
    targets: Sequence[Hashable],
    shares: Sequence[float],
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int,
    strata: Sequence[Hashable] | None = None,
) -> list[np.ndarray]:
    """Parts of the given shares, alike in their classes; a group is never torn.

    The groups are shuffled, the large ones placed first; each goes to the part where it brings the
    counts nearest to what they should be: the least growth of the sum over classes c and parts p of
    (count_cp - share_p n_c)^2 / (share_p n_c), where all records together count as one more class.

    Args:
        targets: N classes.
        shares: of the P parts; they sum to 1.
        groups: N names; each record for itself if None.
        strata: N further marks to be spread evenly (presence of a view).

    Returns:
        P sorted arrays of rows; every row stands in exactly one. No part is empty unless there are
        fewer groups than parts.

    Raises:
        BadOption: shares that are not positive or do not sum to 1.

    >>> [part.tolist() for part in split(list("aabb"), (0.5, 0.5), seed=0)]
    [[1, 2], [0, 3]]
    """
    share_P = np.asarray(shares, dtype=float)
    if share_P.ndim != 1 or len(share_P) == 0 or (share_P <= 0).any() or abs(share_P.sum() - 1) > 1e-6:
        raise BadOption(f"shares of a split are positive and sum to 1, not {list(shares)}")
    n = len(targets)
    for name, given in (("groups", groups), ("strata", strata)):
        if given is not None and len(given) != n:
            raise BadOption(f"{len(given)} {name} for {n} records")
    class_N = _numbered(list(targets) if strata is None else list(zip(targets, strata, strict=True)))
    group_N = np.arange(n) if groups is None else _numbered(list(groups))
    part_G = _place(class_N, group_N, share_P, np.random.default_rng(seed))
    part_N = part_G[group_N]
    return [np.flatnonzero(part_N == p) for p in range(len(share_P))]


def folds(
    targets: Sequence[Hashable],
    k: int,
    *,
    groups: Sequence[Hashable] | None = None,
    seed: int,
    strata: Sequence[Hashable] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """``k`` pairs (train, test); every row is tested once.

    Raises:
        BadOption: fewer than two folds, or more folds than groups.

    >>> [test.tolist() for _, test in folds(list("aabb"), 2, seed=0)]
    [[1, 2], [0, 3]]
    """
    there = len(set(groups)) if groups is not None else len(targets)
    if not 2 <= k <= there:
        raise BadOption(f"{k} folds of {there} groups of records; choose between 2 and the number of groups")
    parts = split(targets, [1 / k] * k, groups=groups, seed=seed, strata=strata)
    for p, test in enumerate(parts):
        yield np.sort(np.concatenate([part for q, part in enumerate(parts) if q != p])), test


def leaks(digests_a: Iterable[str | None], digests_b: Iterable[str | None]) -> int:
    """How many contents stand on both sides.

    >>> leaks(["x", "y", None], ["y", None, "y"])
    1
    """
    return len((set(digests_a) & set(digests_b)) - {None})


def _numbered(names: Sequence[Any]) -> np.ndarray:
    seen: dict[Any, int] = {}
    return np.array([seen.setdefault(name, len(seen)) for name in names], dtype=np.int64)


def _place(
    class_N: np.ndarray, group_N: np.ndarray, share_P: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """(G,): the part of each group."""
    n, parts = len(class_N), len(share_P)
    size_C, size_G = np.bincount(class_N), np.bincount(group_N)
    # with many classes no single one may outweigh the balance of the whole
    weight = float(np.sqrt(max(len(size_C), 1)))
    members, end_G = class_N[np.argsort(group_N, kind="stable")], np.cumsum(size_G)
    excess_CP = [[-float(size * share) for share in share_P] for size in size_C]  # count - share n_c
    excess_P = [-float(n * share) for share in share_P]
    part_G = np.zeros(len(size_G), dtype=np.int64)
    shuffled = rng.permutation(len(size_G))
    for g in shuffled[np.argsort(-size_G[shuffled], kind="stable")]:
        counts: dict[int, int] = {}
        for c in members[end_G[g] - size_G[g] : end_G[g]].tolist():
            counts[c] = counts.get(c, 0) + 1
        size = int(size_G[g])
        costs = [
            sum(k * (2 * excess_CP[c][p] + k) / (share_P[p] * size_C[c]) for c, k in counts.items())
            + weight * size * (2 * excess_P[p] + size) / (share_P[p] * n)
            for p in range(parts)
        ]
        p = int(np.argmin(costs))
        part_G[g] = p
        excess_P[p] += size
        for c, k in counts.items():
            excess_CP[c][p] += k
    _fill(part_G, size_G, parts)
    return part_G


def _fill(part_G: np.ndarray, size_G: np.ndarray, parts: int) -> None:
    """An empty part gets the smallest group of the part that has most records and can spare one."""
    for p in range(parts):
        if (part_G == p).any():
            continue
        able = [q for q in range(parts) if (part_G == q).sum() > 1]
        if not able:
            return
        giver = max(able, key=lambda q: size_G[part_G == q].sum())
        mine = np.flatnonzero(part_G == giver)
        part_G[mine[np.argmin(size_G[mine])]] = p
