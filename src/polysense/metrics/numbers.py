"""Measures of answers that are numbers: sizes of errors, and the share of the spread that is explained.

N records, R resamples. As for classes every measure is a function of weighted sums over records, so that a
thousand resamples are one matrix product and differences are paired.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from . import Draws, Resamples, Yardstick

#: Measures of an evaluation, in the order in which they are shown.
MEASURES = ("mae", "rmse", "r2")
_EXACT = 14  # groups with a difference up to which all signs are tried
_FLIPS, _MOST_FLIPPED = 10_000, 5_000  # random signs, and groups above which the sum is taken as normal


class Numbers(Yardstick):
    """Measures of one number a record, in the target's unit.

    mae = mean |f - y|; rmse = sqrt(mean (f - y)^2); r2 = 1 - sum (f - y)^2 / sum (y - mean y)^2, the mean being that
    of the judged records (scikit-learn's definition); not defined where all targets are equal.

    By hand: errors 1, 1, 2 of targets 1, 2, 3: mae 4/3, rmse sqrt 2, r2 = 1 - 6/2 = -2.

    Args:
        error: "mse", "mae" or "huber", how training counts an error: the main measure is rmse for mse, else mae.
        delta: of huber, in the target's unit.

    >>> found = Numbers().judge([[2], [3], [5]], [1, 2, 3], Resamples(3, samples=20)).values
    >>> {name: round(value, 3) for name, value in found.items()}
    {'mae': 1.333, 'rmse': 1.414, 'r2': -2.0}
    """

    kind, measures, short = "numbers", MEASURES, MEASURES

    def __init__(self, error: str = "mse", delta: float = 1.0) -> None:
        self.error, self.delta = error, delta
        self.main = "rmse" if error == "mse" else "mae"

    def targets(self, targets: Any) -> np.ndarray:
        return np.asarray(targets, np.float64)

    def known(self, targets: np.ndarray) -> np.ndarray:
        return ~np.isnan(targets)

    def losses(self, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,): squared, absolute or Huber's error, in the target's unit."""
        size = np.abs(np.asarray(own, np.float64).reshape(len(targets)) - targets)
        if self.error == "huber":
            return np.where(size <= self.delta, size**2 / 2, self.delta * (size - self.delta / 2))
        return size**2 if self.error == "mse" else size

    def judge(
        self, answers: np.ndarray, targets: np.ndarray, resamples: Resamples, *, rows: np.ndarray | None = None,
        measures: Iterable[str] | None = None,
    ) -> Draws:
        targets = self.targets(targets)
        error = np.asarray(answers, np.float64).reshape(len(targets)) - targets
        names = tuple(self.measures if measures is None else measures)
        if not len(targets):
            blank = np.full(resamples.samples, np.nan)
            return Draws(dict.fromkeys(names, np.nan), dict.fromkeys(names, blank))
        centred = targets - targets.mean()
        # sums are kept in single precision: in units of the spread nothing overflows
        unit = max(np.abs(error).max(), np.abs(centred).max()) or 1.0
        error, centred = error / unit, centred / unit
        table = np.stack([np.ones(len(error)), np.abs(error), error**2, centred, centred**2], 1)
        value, drawn = table.sum(0)[None], resamples.sums(table, rows)
        return Draws(
            {name: float(_measure(name, value, unit)[0]) for name in names},
            {name: _measure(name, drawn, unit) for name in names},
        )

    def p_worse(
        self, model: np.ndarray, rival: np.ndarray, targets: np.ndarray, *, groups: Sequence | np.ndarray | None = None
    ) -> float:
        """The sign-flip test on the differences in loss, see ``p_flipped``."""
        targets = self.targets(targets)
        return p_flipped(self.losses(model, targets) - self.losses(rival, targets), groups)


def _measure(name: str, sums: np.ndarray, unit: float) -> np.ndarray:
    n, size, square, target, target_square = sums.T
    with np.errstate(divide="ignore", invalid="ignore"):
        if name == "mae":
            return unit * size / n
        if name == "rmse":
            return unit * np.sqrt(square / n)
        spread = target_square - target**2 / n
        return np.where(spread > 1e-6 * np.maximum(target_square, 1e-30), 1 - square / spread, np.nan)


def p_flipped(worse: np.ndarray, groups: Sequence | np.ndarray | None = None, seed: int = 0) -> float:
    """One-sided p of a paired sign-flip test: how often chance alone would make a sum as large.

    If model and rival were exchangeable, each group's difference in loss would carry either sign with
    probability 1/2 (Fisher 1935, section 21). All signs are tried for up to 14 groups that differ, 10,000
    random ones for up to 5,000; beyond, the sum is taken as normal. The middle p, as in ``p_worse``.

    By hand: differences 1 and 1 (the model is worse twice): sums -2, 0, 0, 2; p = (1/2)(1/4).

    Args:
        worse: (N,) the model's loss minus the rival's.
        groups: (N,) labels.

    >>> p_flipped(np.array([1.0, 1.0])), p_flipped(np.zeros(3))
    (0.125, 0.5)
    """
    if groups is not None:
        worse = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1].reshape(-1), weights=worse)
    worse = worse[worse != 0] / max(np.abs(worse).max(initial=0.0), 1e-300)
    if len(worse) <= _EXACT:
        signs = 1 - 2 * ((np.arange(2 ** len(worse))[:, None] >> np.arange(len(worse))) & 1)
        sums = signs @ worse
    elif len(worse) <= _MOST_FLIPPED:
        rng = np.random.default_rng(seed)
        sums = np.concatenate([rng.choice([-1.0, 1.0], (500, len(worse))) @ worse for _ in range(_FLIPS // 500)])
    else:
        from scipy.stats import norm

        return float(norm.sf(worse.sum() / np.sqrt((worse**2).sum())))
    near = np.isclose(sums, worse.sum(), rtol=0, atol=1e-9 * max(len(worse), 1))
    return float(((sums > worse.sum()) & ~near).mean() + near.mean() / 2)
