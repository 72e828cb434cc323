"""A mixture of two predictors: the network, and the regressions that were trained beside it.

On few records a linear model is hard to beat, and its mistakes are others than the network's. The
answer is a convex combination of both, its one weight chosen on validation records; so the model
does not fall behind its own rivals where the network has too little to learn from.

N records, V views, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.rows import only, only_of
from ..metrics import Classes, Yardstick
from .rivals import Rivals

#: Weights that are compared on validation.
GRID = tuple(np.linspace(0, 0.9, 10).round(2).tolist())
#: Beyond classes the regressions may give all of the answer: a tenth of a network can be most of the error.
ALL = (*GRID, 1.0)
#: Which regressions answer (each flag is ``filled`` of ``Rivals.answer``); several are averaged.
KINDS = {"filled": (True,), "specialist": (False,), "both": (False, True)}


@dataclass(frozen=True)
class Share:
    """How much of the answer the regressions give, and which of them.

    Attributes:
        weight: 0..1; the network gives the rest. The default is for want of validation records.
        kind: "filled": those trained on all records, absent parts zero; "specialist": those that
            saw only records with all the views; "both": the mean of the two.
    """

    weight: float = 0.35
    kind: str = "filled"


def regressions(
    rivals: Rivals, features: Mapping[str, Any], present_NV: np.ndarray, kind: str = "filled"
) -> np.ndarray:
    """(N, C): each record answered by the regressions of just the views it has.

    A pattern of views without a regression of its own (beyond five views not every subset has one)
    is answered by the filled one of all views, which reads presence bits; nothing present, by the prior.

    Args:
        features: {view: (N, P)} as the rivals read them.
        present_NV: bool, columns as in ``rivals.views``.
        kind: see ``Share``.
    """
    asked = KINDS[kind]
    answers = np.tile(rivals.prior, (len(present_NV), 1))
    patterns, which = np.unique(present_NV, axis=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        subset = tuple(view for view, here in zip(rivals.views, pattern, strict=True) if here)
        if not subset:
            continue
        rows = np.flatnonzero(which.reshape(-1) == p)
        known = subset if subset in rivals.subsets else tuple(rivals.views)
        mine = {view: only(features[view], rows) for view in known}
        answers[rows] = rivals.mean_answer(known, mine, present_NV[rows], asked)
    return answers


def choose(
    network: Callable[[np.ndarray], np.ndarray], rivals: Rivals, features: Mapping[str, Any],
    present_NV: np.ndarray, labels: np.ndarray, yardstick: Yardstick | None = None,
) -> Share:
    """The share with the least validation loss, averaged over the judged subsets.

    Args:
        network: mask (N, V) -> (N, C), in the target's unit.
        labels: (N, ...) targets as the yardstick takes them; what it does not know (a class unseen in
            training) is left out.
        yardstick: says what the loss is: log loss of classes if None.
    """
    return chosen(losses(network, rivals, features, present_NV, labels, yardstick))


def chosen(means: Mapping[str, np.ndarray]) -> Share:
    """The share with the least loss of those that ``losses`` gave."""
    if not means:
        return Share()
    kind = min(means, key=lambda kind: means[kind].min())
    return Share(float(ALL[int(means[kind].argmin())]), kind)


def losses(
    network: Callable[[np.ndarray], np.ndarray], rivals: Rivals, features: Mapping[str, Any],
    present_NV: np.ndarray, labels: np.ndarray, yardstick: Yardstick | None = None,
) -> dict[str, np.ndarray]:
    """{kind: validation loss at each weight of ``GRID`` (numbers: ``ALL``), mean over the judged subsets}; empty if no records.

    Args:
        network, labels, yardstick: as in ``choose``.
    """
    tables: dict[str, list[list[float]]] = {kind: [] for kind in KINDS}
    yardstick = yardstick or Classes()
    known, grid = yardstick.known(labels), GRID if yardstick.kind == "classes" else ALL
    for subset in rivals.subsets:
        wanted = np.array([view in subset for view in rivals.views])
        rows = np.flatnonzero(known & (present_NV | ~wanted).all(1))
        if not len(rows):
            continue
        mask_NV = present_NV & wanted
        targets = labels[rows]
        ours = yardstick.own(network(mask_NV)[rows], targets)
        mine = only_of(features, rows)
        for kind, table in tables.items():
            theirs = yardstick.own(regressions(rivals, mine, mask_NV[rows], kind), targets)
            table.append([yardstick.losses((1 - w) * ours + w * theirs, targets).mean() for w in grid])
    return {kind: np.mean(table, 0) for kind, table in tables.items()} if tables["filled"] else {}
