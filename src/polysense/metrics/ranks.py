"""Measures of what is found: in which places of a list the right items stand, and whether two things belong together.

Q queries, I items, R resamples. Each query has one right item or several. All are means over queries, so that a thousand
resamples are one matrix product; the median rank is taken in each resample.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from . import Draws, Resamples

#: Measures of retrieval, in the order in which they are shown, and those of recommendation.
RETRIEVAL = ("recall_at_1", "recall_at_5", "recall_at_10", "mrr", "map", "median_rank")
RECOMMENDATION = ("ndcg_at_10", "hit_at_1", "hit_at_5", "hit_at_10", "mrr")
_ROWS = 1024  # queries whose scores are sorted at a time


def places(scores_QI: Any, right: Sequence[Sequence[int]]) -> list[np.ndarray]:
    """For each query the ranks of its right items, ascending, 1 being the first.

    Among equal scores the right item stands in the middle of them (rounded up), so that a constant score is chance and no
    order of the items flatters anyone.

    Args:
        scores_QI: the larger, the nearer; -inf takes an item out of a query's list.
        right: numbers of the right items of each query.

    Raises:
        ValueError: NaN among the scores, an item that does not exist.

    >>> [one.tolist() for one in places([[0.9, 0.1, 0.5], [1, 1, 1]], [[2, 0], [1]])]
    [[1, 2], [2]]
    """
    scores = np.asarray(scores_QI)
    if scores.ndim != 2 or len(scores) != len(right):
        raise ValueError(f"scores {scores.shape} are not (Q, I) for {len(right)} queries")
    found = []
    for q, mine in enumerate(right):
        row, mine = scores[q], np.unique(np.asarray(mine, int))
        if np.isnan(row).any():
            raise ValueError(f"the scores of query {q} hold NaN")
        if len(mine) and not (0 <= mine[0] and mine[-1] < len(row)):
            raise ValueError(f"query {q} names item {mine[-1]} of {len(row)}")
        order = np.sort(row)
        above = len(row) - np.searchsorted(order, row[mine], "right")
        level = np.searchsorted(order, row[mine], "right") - np.searchsorted(order, row[mine], "left")
        # of m right ones among t equal scores the k-th is expected at k (t + 1) / (m + 1)
        rank, seen = np.zeros(len(mine)), {}
        same = {value: int((row[mine] == value).sum()) for value in set(row[mine].tolist())}
        for k in range(len(mine)):
            value = float(row[mine[k]])
            seen[value] = seen.get(value, 0) + 1
            rank[k] = above[k] + np.ceil(seen[value] * (level[k] + 1) / (same[value] + 1))
        found.append(np.sort(rank).astype(int))
    return found


def per_query(ranks: Sequence[np.ndarray], names: Iterable[str] = RETRIEVAL) -> dict[str, np.ndarray]:
    """{measure: (Q,)} from what ``places`` gave; NaN for a query without a right item.

    recall_at_k: 1 if a right item is among the first k (the share of right ones found is recall in the narrow sense; with one
    right item they are the same, and retrieval papers mean this one). hit_at_k: the same by the name of recommendation.
    mrr: 1 / rank of the first right one. map: mean over right items of (how many right ones until there) / rank.
    ndcg_at_k: sum of 1 / log2(1 + rank) over right ones within k, over the best sum there could be
    (Järvelin and Kekäläinen 2002, doi:10.1145/582415.582418). median_rank: the first right one's rank.

    By hand: right ones at 1 and 4: map = (1/1 + 2/4) / 2 = .75; ndcg = (1 + 1/log2 5) / (1 + 1/log2 3) = .877.

    >>> found = per_query([np.array([1, 4])], ["mrr", "map", "ndcg_at_10", "recall_at_1"])
    >>> {name: round(float(value[0]), 3) for name, value in found.items()}
    {'mrr': 1.0, 'map': 0.75, 'ndcg_at_10': 0.877, 'recall_at_1': 1.0}
    """
    there = np.array([len(one) > 0 for one in ranks], bool)
    first = np.array([one[0] if len(one) else np.inf for one in ranks], float)

    def mean(of: Any) -> np.ndarray:
        return np.array([of(one) if len(one) else np.nan for one in ranks], float)

    found = {}
    for name in names:
        kind, _, k = name.partition("_at_")
        if kind in ("recall", "hit"):
            values = (first <= int(k)).astype(float)
        elif kind == "ndcg":
            values = mean(lambda one, k=int(k): _gain(one[one <= k]) / _gain(np.arange(1, min(len(one), k) + 1)))
        elif kind == "mrr":
            values = 1 / first
        elif kind == "map":
            values = mean(lambda one: (np.arange(1, len(one) + 1) / one).mean())
        elif kind == "median_rank":
            values = first
        else:
            raise ValueError(f"there is no measure '{name}' of ranks")
        found[name] = np.where(there, values, np.nan)
    return found


def _gain(ranks: np.ndarray) -> float:
    return float((1 / np.log2(1 + ranks)).sum())


def judge_ranks(
    ranks: Sequence[np.ndarray], resamples: Resamples, *, rows: np.ndarray | None = None,
    measures: Iterable[str] = RETRIEVAL,
) -> Draws:
    """Measures of ranks with their values in shared resamples of the queries; queries without a right item are left out.

    >>> found = judge_ranks([np.array([1]), np.array([7])], Resamples(2, samples=50)).scores()
    >>> found["recall_at_5"]["value"], found["median_rank"]["value"]
    (0.5, 4.0)
    """
    return judge_each(per_query(ranks, measures), resamples, rows=rows)


def judge_each(each: Mapping[str, np.ndarray], resamples: Resamples, *, rows: np.ndarray | None = None) -> Draws:
    """Means over queries, of ``median_rank`` the median, with their values in shared resamples.

    Args:
        each: {measure: (Q,)}, NaN for a query that is left out, as ``per_query`` or ``chance`` give them.
        rows: where these queries stand among the resampled records; all of them if None.
    """
    values, draws = {}, {}
    for name, mine in each.items():
        known = ~np.isnan(mine)
        if not known.any():
            values[name], draws[name] = np.nan, np.full(resamples.samples, np.nan)
        elif name == "median_rank":
            values[name] = float(np.median(mine[known]))
            order = np.argsort(np.where(known, mine, np.inf), kind="stable")[: known.sum()]
            draws[name] = resamples.each(lambda weights, order=order, mine=mine: _median(mine[order], weights[:, order]), rows)
        else:
            sums = resamples.sums(np.stack([np.where(known, mine, 0), known], 1), rows)
            values[name] = float(mine[known].mean())
            draws[name] = np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)
    return Draws(values, draws)


def chance(right: Sequence[int], items: int, names: Iterable[str] = RETRIEVAL) -> dict[str, np.ndarray]:
    """{measure: (Q,)} as expected of a random order; NaN for a query without a right item.

    With m right ones of n, the first stands behind rank r with probability C(n - r, m) / C(n, m); mean average precision:
    (H_n + (m - 1) (n - H_n) / (n - 1)) / n, H_n the harmonic number. median_rank: the first right one's.

    By hand: one right of four: recall at 1 is 1/4, mrr = map = (1 + 1/2 + 1/3 + 1/4) / 4 = .521, the median rank 2.

    >>> found = chance([1], 4, ["recall_at_1", "mrr", "map", "median_rank"])
    >>> {name: round(float(value[0]), 3) for name, value in found.items()}
    {'recall_at_1': 0.25, 'mrr': 0.521, 'map': 0.521, 'median_rank': 2.0}
    """
    counts, which = np.unique(np.asarray(right, int), return_inverse=True)
    found = {name: np.full(len(counts), np.nan) for name in names}
    harmonic = (1 / np.arange(1, items + 1)).sum()
    for i, m in enumerate(counts.tolist()):
        if not m:
            continue
        steps = np.arange(items, dtype=float)  # behind rank r: the product of (n - m - s) / (n - s) over s < r
        behind = np.cumprod(np.maximum(items - m - steps, 0) / (items - steps))
        first = -np.diff(np.r_[1.0, behind])
        for name in found:
            kind, _, k = name.partition("_at_")
            if kind in ("recall", "hit"):
                value = 1 - behind[min(int(k), items) - 1]
            elif kind == "mrr":
                value = (first / (1 + steps)).sum()
            elif kind == "map":
                value = (harmonic + (m - 1) * (items - harmonic) / max(items - 1, 1)) / items
            elif kind == "median_rank":
                value = 1 + int((behind <= 0.5).argmax())
            else:
                raise ValueError(f"there is no measure '{name}' of a random order")
            found[name][i] = value
    return {name: values[which] for name, values in found.items()}


def reciprocal(scores_QI: np.ndarray, same_QI: np.ndarray) -> np.ndarray:
    """(Q,): 1 / rank of the first right item, equal wrong ones half before it; for a choice among many, without sorting.

    >>> reciprocal(np.array([[0.9, 0.1, 0.5]]), np.array([[False, False, True]])).tolist()
    [0.5]
    """
    best = np.where(same_QI, scores_QI, -np.inf).max(1, keepdims=True)
    above, level = (scores_QI > best).sum(1), ((scores_QI == best) & ~same_QI).sum(1)
    return 1 / (1 + above + np.ceil(level / 2))


def _median(values: np.ndarray, weights_RN: np.ndarray) -> np.ndarray:
    """(R,) medians of ascending values that count so often; half way between the middle two of an even number."""
    below = np.cumsum(weights_RN, axis=1, dtype=np.float64)
    total = below[:, -1:]
    low = (below >= total / 2).argmax(1)
    high = (below > total / 2).argmax(1)
    return np.where(total[:, 0] > 0, (values[low] + values[high]) / 2, np.nan)


def coverage(recommended: Iterable[Sequence[int]], items: int) -> float:
    """Share of all items that anyone is recommended at all.

    >>> coverage([[0, 1], [1, 0]], 4)
    0.5
    """
    return len({int(item) for mine in recommended for item in mine}) / items if items else float("nan")


# --- verification --------------------------------------------------------------------------------


def roc(scores: Any, same: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(thresholds, false accept rate, true accept rate), one each per distinct score, from (nothing accepted) on.

    Args:
        scores: (P,) of pairs, the larger the likelier the same.
        same: (P,) bool.

    Raises:
        ValueError: only pairs of one kind, a score that is not finite.

    >>> [part.tolist() for part in roc([.9, .4, .4], [True, True, False])]
    [[inf, 0.9, 0.4], [0.0, 0.0, 1.0], [0.0, 0.5, 1.0]]
    """
    scores, same = np.asarray(scores, float), np.asarray(same, bool)
    if not np.isfinite(scores).all():
        raise ValueError(f"the score of pair {int(np.argmin(np.isfinite(scores)))} is not finite")
    if same.all() or not same.any():
        raise ValueError("verification needs pairs that are the same and pairs that are not")
    order = np.argsort(-scores, kind="stable")
    last = np.flatnonzero(np.r_[np.diff(scores[order]) != 0, True])
    true, false = np.cumsum(same[order])[last] / same.sum(), np.cumsum(~same[order])[last] / (~same).sum()
    return np.r_[np.inf, scores[order][last]], np.r_[0.0, false], np.r_[0.0, true]


def equal_error(scores: Any, same: Any) -> tuple[float, float]:
    """(equal error rate, threshold where false accepts and false rejects are equally many), between points by a straight line.

    By hand: same .9 .8 .3, other .7 .2 .1: from .7 on 1/3 of the others is accepted and 1/3 of the same refused.

    >>> [round(value, 3) for value in equal_error([.9, .8, .3, .7, .2, .1], [1, 1, 1, 0, 0, 0])]
    [0.333, 0.7]
    """
    thresholds, false, true = roc(scores, same)
    gap = false - (1 - true)  # rises from -1 to 1
    after = int((gap >= 0).argmax())
    before = after - 1
    part = -gap[before] / (gap[after] - gap[before])
    rate = false[before] + part * (false[after] - false[before])
    if not np.isfinite(thresholds[before]):
        return float(rate), float(thresholds[after])
    return float(rate), float(thresholds[before] + part * (thresholds[after] - thresholds[before]))
