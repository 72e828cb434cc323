"""The evaluation of every target: of one as it is, of several {"targets": {name: one}}.

N records, V views, A numbers of an answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ..contracts import Part, Task
from ..data.rows import only_of
from ..learn.beside import each
from ..metrics.more import TABLE, chosen
from .evaluate import evaluate


def evaluate_each(
    answer: Callable[[np.ndarray], np.ndarray], present_NV: np.ndarray, targets: Sequence[Any], *, task: Task,
    views: Sequence[str], rivals: Any, features: Mapping[str, Any], groups: np.ndarray | None, rows: Sequence[int],
    by: tuple[str, Sequence[Any]] | None, measures: Mapping[str, Sequence[str]], **more: Any,
) -> dict[str, Any]:
    """Each target judged on the records that have it, as ``evaluate`` does.

    Args:
        answer: mask (N, V) bool -> answers (N, A), all targets beside each other; (N,) texts of a target of words.
        targets: (N,) of each record, as the user knows them.
        task: fitted.
        rivals: of every target, see ``learn.beside``.
        measures: {kind of answer: names}, see ``asked``.
        more: of ``evaluate``.
    """
    found, n = {}, len(targets)
    for part, rival in each(task, rivals):
        mine = part.of(targets)
        at = np.flatnonzero([value is not None for value in mine])
        whole, mine = len(at) == n, [mine[i] for i in at]
        judged, unseen = part.task.judged(mine), Counter()
        if part.task.kind == "classes":
            unseen = Counter(str(name) for name, label in zip(mine, judged, strict=True) if label < 0)

        def ask(mask: np.ndarray, at: np.ndarray = at, part: Part = part) -> np.ndarray:
            if len(at) == n:
                return part.among(answer(mask))
            all_NV = np.zeros(present_NV.shape, bool)
            all_NV[at] = mask
            return part.among(answer(all_NV)[at])

        found[part.name] = evaluate(
            ask, present_NV[at], judged, views=views, classes=list(part.task.classes),
            prior=part.task.nothing(), yardstick=part.task.yardstick(), rivals=rival,
            features=features if whole else only_of(features, at), groups=None if groups is None else groups[at],
            rows=[rows[i] for i in at], unseen=unseen, by=None if by is None else (by[0], [by[1][i] for i in at]),
            measures=measures.get(part.task.kind, ()), **more,
        )
    return found[""] if "" in found and len(found) == 1 else {"targets": found}


def by_target(evaluation: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """(target, its evaluation); of one target its name is not in it: empty.

    >>> [name for name, one in by_target({"targets": {"price": {}, "kind": {}}})], list(by_target({"scores": 1}))
    (['price', 'kind'], [('', {'scores': 1})])
    """
    return iter(evaluation["targets"].items() if "targets" in evaluation else [("", evaluation)])


def asked(measures: str | Sequence[str] | None, task: Task) -> dict[str, list[str]]:
    """{kind of answer: the measures that were asked for and that it has}.

    Raises:
        BadOption: one that no target has.
    """
    kinds = list(dict.fromkeys(part.task.kind for part in task.parts()))
    names = [name.strip() for name in measures.split(",")] if isinstance(measures, str) else list(measures or [])
    if len(kinds) == 1 or names == ["all"]:
        return {kind: chosen(measures, kind) for kind in kinds}
    for name in names:
        if not any(name in TABLE[kind] for kind in kinds):
            chosen([name], kinds[0])
    return {kind: [name for name in names if name in TABLE[kind]] for kind in kinds}
