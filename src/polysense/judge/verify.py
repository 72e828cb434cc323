"""Judges whether pairs are the same: error rates with intervals. P pairs, R resamples."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..metrics import Draws
from ..metrics.ranks import equal_error, roc

#: Points of a curve that are kept.
POINTS = 200


def judge_verification(
    scores: np.ndarray, same: np.ndarray, threshold: float | None, *, groups: Sequence[Any] | None = None, samples: int = 1000,
    seed: int = 0,
) -> dict[str, Any]:
    """Equal error rate, area under the ROC curve, and the two kinds of error at a threshold, with 95 % intervals.

    Args:
        scores: (P,), the larger the likelier the same.
        same: (P,) bool.
        groups: (P,) labels; whole groups are drawn.

    Raises:
        ValueError: pairs of one kind only.

    >>> found = judge_verification(np.array([.9, .8, .3, .7, .2, .1]), np.array([1, 1, 1, 0, 0, 0], bool), 0.5, samples=20)
    >>> round(found["equal_error_rate"]["value"], 3), round(found["auroc"]["value"], 3), found["false_accept"]["value"]
    (0.333, 0.889, 0.3333333333333333)
    """
    same = np.asarray(same, bool)
    values = _measures(scores, same, threshold)
    _, false, true = roc(scores, same)
    unit = np.arange(len(scores)) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
    rows_of = np.split(np.argsort(unit, kind="stable"), np.cumsum(np.bincount(unit))[:-1])
    rng, drawn = np.random.default_rng(seed), []
    for _ in range(samples):
        rows = np.concatenate([rows_of[u] for u in rng.integers(0, len(rows_of), len(rows_of))])
        if same[rows].any() and not same[rows].all():
            drawn.append(_measures(scores[rows], same[rows], threshold))
    draws = {name: np.array([one[name] for one in drawn] or [np.nan]) for name in values}
    keep = np.unique(np.linspace(0, len(false) - 1, POINTS).astype(int))
    return {
        "pairs": len(scores), "same": int(same.sum()), "threshold": threshold, **Draws(values, draws).scores(),
        "roc": np.stack([false[keep], true[keep]], 1).round(6).tolist(),
    }


def _measures(scores: np.ndarray, same: np.ndarray, threshold: float | None) -> dict[str, float]:
    _, false, true = roc(scores, same)
    area = float((np.diff(false) * (true[1:] + true[:-1]) / 2).sum())
    found = {"equal_error_rate": equal_error(scores, same)[0], "auroc": area}
    if threshold is not None:
        accepted = scores >= threshold
        found |= {"false_accept": float(accepted[~same].mean()), "false_reject": float((~accepted[same]).mean())}
    return found
