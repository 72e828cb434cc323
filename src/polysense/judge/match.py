"""Judges what was found: both directions with intervals, beside the plain rivals, for every set of a side's views.

Knows no estimator: it is given a function from a mask to vectors. N records (a query and its item), V views, Q queries, I
items, E width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np

from ..data.rows import blocks
from ..metrics import Draws, Resamples, p_worse
from ..metrics.ranks import chance, judge_each, per_query, places
from ..talk import columns_of, counted, fitted
from .detail import FEW_TEST

SIDES = ("query", "item")
DIRECTIONS = {"query_to_item": ("query", "item"), "item_to_query": ("item", "query")}
#: Queries that are judged, at most; of more a sample is taken, and said.
MOST = 5_000
#: The measure of which p is, and by which a line compares.
MAIN = "recall_at_10"

Pair = tuple[np.ndarray, np.ndarray]
Vectors = Mapping[str, np.ndarray]


class Asked(NamedTuple):
    """Who is asked in one direction: rows of the queries and of the items they look among, and which are right."""

    queries: np.ndarray
    items: np.ndarray
    right: list[np.ndarray]


def evaluate_pairs(
    vectors: Callable[[np.ndarray], Vectors], present_NV: np.ndarray, same_N: np.ndarray, *, views: Sequence[str],
    sides: Mapping[str, Sequence[str]], network: Callable[[np.ndarray], Vectors] | None = None,
    rivals: Mapping[str, Mapping[str, Pair]] | None = None, groups: np.ndarray | None = None, samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """What DESIGN section 6 promises of ``evaluate --json`` for a matcher.

    Args:
        vectors: mask (N, V) -> {side: (N, E)}; a row of zeros where a side is not there.
        same_N: equal numbers belong together.
        views: names of the mask's columns.
        sides: {side: its views}.
        network: as ``vectors``, of the network without the linear map.
        rivals: {name: {direction: (vectors of who asks, vectors of what is looked among)}}.
        groups: (N,) numbers; intervals and p are then over groups.
        samples: bootstrap resamples.

    Returns:
        Valid JSON: ``records``, ``queries``, ``items``, ``query_to_item`` and ``item_to_query`` (scores), ``network`` (both
        of the network alone), ``baselines`` and ``differences`` ({rival: {direction: scores}}; of differences with ``p``,
        one-sided, how often chance would leave the matcher as far behind, and ``p_better``, as far ahead), ``subsets``,
        ``same``, ``groups``, ``sampled``, ``views``, ``bad_cells``.
    """
    present_NV, same_N = np.asarray(present_NV, bool), np.asarray(same_N)
    has = {side: present_NV[:, [views.index(view) for view in mine]].any(1) for side, mine in sides.items()}
    result: dict[str, Any] = {
        "records": len(same_N), "queries": int(has["query"].sum()), "items": int(has["item"].sum()),
        "query_to_item": None, "item_to_query": None, "network": None, "baselines": {}, "differences": {}, "subsets": [],
        "same": _same(same_N[has["query"] & has["item"]]), "groups": None if groups is None else len(np.unique(groups)),
        "sampled": None, "views": {side: list(mine) for side, mine in sides.items()}, "bad_cells": [],
    }
    if not (has["query"] & has["item"]).any():
        return result
    judge = _Judge(same_N, has, groups, samples, seed)
    if any(len(asked.queries) < judge.wanted[name] for name, asked in judge.asked.items()):
        result["sampled"] = MOST
    ours = judge.both(vectors(present_NV))
    result |= {name: draws.scores() for name, (draws, _) in ours.items()}
    if network is not None:
        result["network"] = {name: draws.scores() for name, (draws, _) in judge.both(network(present_NV)).items()}
    for rival, pairs in (rivals or {}).items():
        theirs = {name: judge.one(name, *pairs[name]) for name in DIRECTIONS}
        result["baselines"][rival] = {name: draws.scores() for name, (draws, _) in theirs.items()}
        result["differences"][rival] = {name: judge.apart(name, ours[name], theirs[name]) for name in DIRECTIONS}
    by_chance = {name: judge.chance(name) for name in DIRECTIONS}
    result["baselines"]["chance"] = {name: draws.scores() for name, (draws, _) in by_chance.items()}
    result["differences"]["chance"] = {name: judge.apart(name, ours[name], by_chance[name]) for name in DIRECTIONS}
    result["subsets"] = _subsets(vectors, present_NV, same_N, has, views, sides, groups, samples, seed)
    return result


class _Judge:
    """Ranks of both directions over some records, judged on shared resamples."""

    def __init__(
        self, same_N: np.ndarray, has: Mapping[str, np.ndarray], groups: np.ndarray | None, samples: int, seed: int,
    ) -> None:
        self.groups, self.draws, self.asked, self.wanted = groups, {}, {}, {}
        for name, (asking, among) in DIRECTIONS.items():
            queries, items = np.flatnonzero(has[asking]), np.flatnonzero(has[among])
            queries = queries[np.isin(same_N[queries], same_N[items])]
            self.wanted[name] = len(queries)
            if len(queries) > MOST:
                queries = np.sort(np.random.default_rng(seed).choice(queries, MOST, replace=False))
            places_of: dict[Any, list[int]] = {}
            for place, number in enumerate(same_N[items].tolist()):
                places_of.setdefault(number, []).append(place)
            self.asked[name] = Asked(queries, items, [np.array(places_of[n]) for n in same_N[queries].tolist()])
            mine = None if groups is None else groups[queries]
            self.draws[name] = Resamples(len(queries), groups=mine, samples=samples, seed=seed)

    def one(self, name: str, asking_NE: np.ndarray, among_NE: np.ndarray) -> tuple[Draws, np.ndarray]:
        """Measures of one direction, and (Q,) whether a right item is among the first ten."""
        asked = self.asked[name]
        each = per_query(ranks(asking_NE[asked.queries], among_NE[asked.items], asked.right))
        return judge_each(each, self.draws[name]), each[MAIN] > 0

    def both(self, vectors: Vectors) -> dict[str, tuple[Draws, np.ndarray]]:
        return {name: self.one(name, vectors[asking], vectors[among]) for name, (asking, among) in DIRECTIONS.items()}

    def chance(self, name: str) -> tuple[Draws, None]:
        asked = self.asked[name]
        return judge_each(chance([len(one) for one in asked.right], len(asked.items)), self.draws[name]), None

    def apart(self, name: str, ours: tuple[Draws, Any], theirs: tuple[Draws, Any]) -> dict[str, Any]:
        """The paired difference; p of ten first places, where the rival has such."""
        found: dict[str, Any] = (ours[0] - theirs[0]).scores()
        if theirs[1] is not None:
            mine, other = (np.stack([~hits, hits], 1).astype(float) for hits in (ours[1], theirs[1]))
            target = np.ones(len(mine), int)
            groups = None if self.groups is None else self.groups[self.asked[name].queries]
            found |= {
                "p": p_worse(mine, other, target, groups=groups), "p_better": p_worse(other, mine, target, groups=groups),
            }
        return found


def ranks(asking_QE: np.ndarray, among_IE: np.ndarray, right: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Ranks of each query's right items among all items by the product of vectors, some queries at a time."""
    found: list[np.ndarray] = []
    for some in blocks(len(asking_QE), 512):
        found += places(asking_QE[some] @ among_IE.T, right[some])
    return found


def _same(same_N: np.ndarray) -> dict[str, int]:
    """How many records share what they are with others, and how many share the most common."""
    _, counts = np.unique(same_N, return_counts=True)
    return {"records": int(counts[counts > 1].sum()), "largest": int(counts.max(initial=0))}


def _subsets(
    vectors: Callable[[np.ndarray], Vectors], present_NV: np.ndarray, same_N: np.ndarray, has: Mapping[str, np.ndarray],
    views: Sequence[str], sides: Mapping[str, Sequence[str]], groups: np.ndarray | None, samples: int, seed: int,
) -> list[dict[str, Any]]:
    """Scores where a side has some of its views only, on the records that have them all and the other side."""
    found = []
    for side, other in (SIDES, SIDES[::-1]):
        for subset in _some(sides[side]):
            wanted = [views.index(view) for view in subset]
            mine = [views.index(view) for view in sides[side]]
            at = np.flatnonzero(present_NV[:, wanted].all(1) & has[other])
            row: dict[str, Any] = {
                "side": side, "present": list(subset), "records": len(at), "too_few": len(at) < FEW_TEST,
                "query_to_item": None, "item_to_query": None,
            }
            if len(at):
                mask = present_NV.copy()
                mask[:, [column for column in mine if column not in wanted]] = False
                here = {name: np.zeros(len(same_N), bool) for name in SIDES}
                here[side][at], here[other][at] = True, True
                judge = _Judge(same_N, here, groups, samples, seed)
                row |= {name: draws.scores() for name, (draws, _) in judge.both(vectors(mask)).items()}
            found.append(row)
    return found


def _some(views: Sequence[str]) -> list[tuple[str, ...]]:
    """Sets of a side's views, the whole among them: all up to four views, beyond singles, pairs, all but one, and all.

    >>> _some(["a"]), _some(["a", "b"])
    ([], [('a',), ('b',), ('a', 'b')])
    """
    if len(views) == 1:
        return []
    sizes = range(1, len(views) + 1) if len(views) <= 4 else sorted({1, 2, len(views) - 1, len(views)})
    return [subset for size in sizes for subset in combinations(views, size)]


# --- for the terminal -----------------------------------------------------------------------------

NAMES = {
    "ridge": "ridge regression", "cca": "canonical correlation", "nearest": "nearest training query", "chance": "chance",
    "network": "the network alone",
}


def as_text(evaluation: Mapping[str, Any]) -> str:
    """The evaluation as tables for a terminal of 100 columns."""
    lines = [_counts(evaluation)]
    if evaluation["bad_cells"]:
        lines.append(f"{counted(len(evaluation['bad_cells']), 'bad cell')}, see the data report")
    if evaluation["query_to_item"] is None:
        return "\n".join([*lines, "nothing to judge: no record has both sides"])
    if evaluation["queries"] < FEW_TEST:
        lines.append(f"too few to say: the intervals rest on {counted(evaluation['records'], 'record')}")
    for name, (asking, among) in DIRECTIONS.items():
        lines += ["", f"{_side(evaluation, asking)} -> {_side(evaluation, among)}"]
        heads = f"{'recall@1':>8} {'@5':>6} {'@10':>6}  {'95 % of @10':<14} {'MRR':>6} {'mAP':>6} {'median rank':>11}"
        lines.append(f"{'':<24} {heads}")
        lines.append(_line("this matcher", evaluation[name]))
        if evaluation["network"]:
            lines.append(_line(NAMES["network"], evaluation["network"][name]))
        lines += [_line(NAMES[rival], scores[name]) for rival, scores in evaluation["baselines"].items()]
        lines += _difference_lines(evaluation, name)
    return "\n".join([*lines, *_subset_lines(evaluation)])


def _counts(evaluation: Mapping[str, Any]) -> str:
    said = counted(evaluation["records"], "record")
    if evaluation["queries"] != evaluation["records"] or evaluation["items"] != evaluation["records"]:
        said += f", {evaluation['queries']:,} with a query, {evaluation['items']:,} with an item"
    if evaluation["groups"]:
        said += f", in {evaluation['groups']:,} groups"
    if evaluation["sampled"]:
        said += f"; {evaluation['sampled']:,} queries are drawn of them"
    same = evaluation["same"]
    if same["records"]:
        said += f"; {same['records']:,} share a text or other content with another and count as right for each other"
    return said


def _side(evaluation: Mapping[str, Any], side: str) -> str:
    return " + ".join(evaluation["views"][side])


def _line(label: str, scores: Mapping[str, Any]) -> str:
    def value(name: str) -> str:
        one = scores[name]["value"]
        return "-" if one is None else f"{one:.3f}"

    main, middle = scores[MAIN], scores["median_rank"]["value"]
    interval = "" if main["low"] is None else f"[{main['low']:.3f}, {main['high']:.3f}]"
    return (f"{fitted(label, 24)} {value('recall_at_1'):>8} {value('recall_at_5'):>6} {value(MAIN):>6}  {interval:<14} "
            f"{value('mrr'):>6} {value('map'):>6} {'-' if middle is None else format(middle, 'g'):>11}")


def _difference_lines(evaluation: Mapping[str, Any], name: str) -> list[str]:
    """How far ahead of each rival, in points of recall@10."""
    said = []
    for rival, both in evaluation["differences"].items():
        one = both[name][MAIN]
        if one["value"] is not None:
            said.append(f"{NAMES[rival]} {100 * one['value']:+.1f} [{100 * one['low']:+.1f}, {100 * one['high']:+.1f}]")
    return [f"recall@10 in points against: {'; '.join(said)}"] if said else []


def _subset_lines(evaluation: Mapping[str, Any]) -> list[str]:
    if not evaluation["subsets"]:
        return []
    names = [f"{row['side']}: {' + '.join(row['present'])}" for row in evaluation["subsets"]]
    width = min(max(map(columns_of, names)), 44)
    lines = ["", "recall@10 by views of a side", f"{'':<{width}} records  query -> item          item -> query"]
    for label, row in zip(names, evaluation["subsets"], strict=True):
        said = [
            "-" if row[name] is None else "{value:.3f} [{low:.3f}, {high:.3f}]".format(**row[name][MAIN]) for name in DIRECTIONS
        ]
        few = " (few)" if row["too_few"] else ""
        lines.append(f"{fitted(label, width)} {row['records']:>7}  {said[0]:<22} {said[1]}{few}")
    return lines
