"""A mixture of two predictors: the network, and the regressions that were trained beside it.

On few records a linear model is hard to beat, and its mistakes are others than the network's. The
answer is a convex combination of both, its one weight chosen on validation records; so the model
does not fall behind its own rivals where the network has too little to learn from.

N records, V views, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from .rivals import Rivals

#: Weight of the regressions where no validation record can tell.
UNTOLD = 0.35
#: Weights that are compared on validation.
GRID = tuple(np.linspace(0, 0.9, 10).round(2).tolist())


def regressions(rivals: Rivals, features: Mapping[str, Any], present_NV: np.ndarray) -> np.ndarray:
    """(N, C): each record answered by the specialist and the filled regression of just the views it has.

    Their mean: the specialist saw only records like this one, the filled one saw all. A pattern of
    views without a regression of its own (beyond five views not every subset has one) is answered
    by the filled one of all views, which reads presence bits; nothing present, by the prior.

    Args:
        features: {view: (N, P)} as the rivals read them.
        present_NV: bool, columns as in ``rivals.views``.
    """
    answers = np.tile(rivals.prior, (len(present_NV), 1))
    patterns, which = np.unique(present_NV, axis=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        subset = tuple(view for view, here in zip(rivals.views, pattern, strict=True) if here)
        if not subset:
            continue
        rows = np.flatnonzero(which.reshape(-1) == p)
        known = subset if subset in rivals.subsets else tuple(rivals.views)
        blocks = {view: features[view][rows] for view in known}
        both = (rivals.answer(known, blocks, present_NV[rows], filled=filled) for filled in (False, True))
        answers[rows] = sum(both) / 2
    return answers


def choose(
    network: Callable[[np.ndarray], np.ndarray], rivals: Rivals, features: Mapping[str, Any],
    present_NV: np.ndarray, labels: np.ndarray,
) -> float:
    """The regressions' weight with the least validation log loss, averaged over the judged subsets.

    Args:
        network: mask (N, V) -> (N, C).
        labels: (N,) class numbers; -1, a class unseen in training, is left out.
    """
    losses = []
    known = labels >= 0
    for subset in rivals.subsets:
        wanted = np.array([view in subset for view in rivals.views])
        rows = np.flatnonzero(known & (present_NV | ~wanted).all(1))
        if not len(rows):
            continue
        mask_NV = present_NV & wanted
        ours = network(mask_NV)[rows, labels[rows]]
        theirs = regressions(rivals, {v: block[rows] for v, block in features.items()}, mask_NV[rows])
        theirs = theirs[np.arange(len(rows)), labels[rows]]
        losses.append([-np.log((1 - w) * ours + w * theirs + 1e-9).mean() for w in GRID])
    return float(GRID[int(np.mean(losses, 0).argmin())]) if losses else UNTOLD
