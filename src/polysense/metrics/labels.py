"""Measures of sets of labels: a probability for each label, a set of those above their thresholds.

N records, L labels, R resamples. All but the average precision are functions of weighted sums over records, as for
classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from . import TINY, Draws, Resamples, Yardstick
from .numbers import p_flipped
from .threshold import FEW, best

#: Measures of an evaluation, in the order in which they are shown, and those of a table of subsets.
MEASURES = (
    "log_loss", "micro_f1", "macro_f1", "subset_accuracy", "average_precision", "hamming_loss", "ranking_loss",
)
SHORT = ("log_loss", "micro_f1", "macro_f1", "subset_accuracy")


class Labels(Yardstick):
    """Measures of a set of labels a record; targets (N, L + 1): 0 or 1 for each label, then labels unseen in training.

    log_loss: mean over labels of the binary log loss. micro_f1: 2 TP / (2 TP + FP + FN) over all labels at once;
    macro_f1: mean of F1 over the labels that occur in targets or answers. subset_accuracy: share of records whose set
    is wholly right. hamming_loss: share of wrong entries. ranking_loss: share of pairs of a true and an untrue label in
    the wrong order, ties half (0 where there are none). average_precision: mean over labels that occur of
    sum (R_i - R_(i-1)) P_i. Definitions of scikit-learn but for labels that do not occur, which are left out of means,
    and for ties in ranking_loss. Tsoumakas and Katakis 2007, "Multi-label classification", IJDWM 3(3).

    A label unseen in training counts as missed, and is left out of the log loss, the ranking and the hamming loss.

    Subsets are compared by log loss: it needs no thresholds, which the model chooses for itself and not for its rivals.

    Args:
        thresholds: (L,) from which probability on a label is said; 0.5 if None.

    >>> found = Labels().judge([[.9, .2], [.4, .8]], [[1, 0, 0], [1, 1, 0]], Resamples(2, samples=20)).values
    >>> {name: round(found[name], 3) for name in ("micro_f1", "macro_f1", "subset_accuracy", "hamming_loss")}
    {'micro_f1': 0.8, 'macro_f1': 0.833, 'subset_accuracy': 0.5, 'hamming_loss': 0.25}
    """

    kind, main, measures, short = "labels", "log_loss", MEASURES, SHORT

    def __init__(self, thresholds: Sequence[float] | None = None) -> None:
        self.thresholds = None if thresholds is None else np.asarray(thresholds, float)

    def targets(self, targets: Any) -> np.ndarray:
        return np.asarray(targets, np.float64)

    def known(self, targets: np.ndarray) -> np.ndarray:
        return ~np.isnan(targets).any(1)

    def losses(self, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
        p, y = np.clip(np.asarray(own, np.float64), TINY, 1 - TINY), targets[:, :-1]
        return -(y * np.log(p) + (1 - y) * np.log1p(-p)).mean(1)

    def said(self, answers: np.ndarray) -> np.ndarray:
        """(N, L) bool: the labels that are said."""
        return np.asarray(answers) >= (0.5 if self.thresholds is None else self.thresholds)

    def judge(
        self, answers: np.ndarray, targets: np.ndarray, resamples: Resamples, *, rows: np.ndarray | None = None,
        measures: Iterable[str] | None = None,
    ) -> Draws:
        targets, answers = self.targets(targets), np.asarray(answers, np.float64)
        names = tuple(self.measures if measures is None else measures)
        if not len(targets):
            blank = np.full(resamples.samples, np.nan)
            return Draws(dict.fromkeys(names, np.nan), dict.fromkeys(names, blank))
        true, said, unseen = targets[:, :-1] > 0.5, self.said(answers), targets[:, -1]
        wrong = said != true
        once = np.stack([
            np.ones(len(true)), self.losses(answers, targets), ~wrong.any(1) & (unseen == 0), wrong.mean(1),
            _reversed(answers, true), unseen,
        ], 1)
        table = np.hstack([once, said & true, said, true])
        value, drawn = table.sum(0)[None], resamples.sums(table, rows)
        values: dict[str, float] = {}
        draws: dict[str, np.ndarray] = {}
        for name in names:
            if name == "average_precision":
                found = _average_precision(answers, true)
                values[name], draws[name] = float(found(np.ones((1, len(true))))[0]), resamples.each(found, rows)
            else:
                values[name], draws[name] = float(_measure(name, value)[0]), _measure(name, drawn)
        return Draws(values, draws)

    def p_worse(
        self, model: np.ndarray, rival: np.ndarray, targets: np.ndarray, *, groups: Sequence | np.ndarray | None = None
    ) -> float:
        """The sign-flip test on the differences in log loss, see ``p_flipped``."""
        targets = self.targets(targets)
        return p_flipped(self.losses(model, targets) - self.losses(rival, targets), groups)


_PLACES = {"log_loss": 1, "subset_accuracy": 2, "hamming_loss": 3, "ranking_loss": 4}


def _measure(name: str, sums: np.ndarray) -> np.ndarray:
    n, unseen = sums[:, 0], sums[:, 5]
    right, said, true = np.split(sums[:, 6:], 3, axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        if name in _PLACES:
            return sums[:, _PLACES[name]] / n
        if name == "micro_f1":
            return 2 * right.sum(1) / (said.sum(1) + true.sum(1) + unseen)
        occurs = said + true > 0
        return np.where(occurs, 2 * right / (said + true), 0.0).sum(1) / occurs.sum(1)


def _reversed(answers: np.ndarray, true: np.ndarray) -> np.ndarray:
    """(N,): share of pairs of a true and an untrue label that stand in the wrong order."""
    from scipy.stats import rankdata

    # the ranks of the true labels say how many labels lie below them (Mann and Whitney 1947)
    ones, zeros = true.sum(1), (~true).sum(1)
    ahead = (rankdata(answers, axis=1) * true).sum(1) - ones * (ones + 1) / 2
    pairs = ones * zeros
    return np.where(pairs > 0, 1 - ahead / np.maximum(pairs, 1), 0.0)


def _average_precision(answers: np.ndarray, true: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights (R, N) -> (R,): mean over the labels that occur of sum (R_i - R_(i-1)) P_i, equal answers at once."""
    ways = []
    for c in np.flatnonzero(true.any(0)):
        order = np.argsort(-answers[:, c], kind="stable")
        starts = np.flatnonzero(np.r_[True, np.diff(answers[order, c]) != 0])
        ways.append((order, true[order, c], starts))

    def of(weights: np.ndarray) -> np.ndarray:
        found = []
        for order, mine, starts in ways:
            w = weights[:, order].astype(np.float64)
            hits = np.add.reduceat(w * mine, starts, axis=1)
            seen = np.cumsum(np.add.reduceat(w, starts, axis=1), axis=1)
            share = np.divide(np.cumsum(hits, axis=1), seen, out=np.zeros_like(seen), where=seen > 0)
            total = hits.sum(1)
            found.append(np.divide((hits * share).sum(1), total, out=np.full(len(total), np.nan), where=total > 0))
        if not found:
            return np.full(len(weights), np.nan)
        found = np.stack(found)
        there = ~np.isnan(found)
        return np.divide(
            np.where(there, found, 0).sum(0), there.sum(0), out=np.full(found.shape[1], np.nan), where=there.any(0)
        )

    return of


def best_thresholds(answers: np.ndarray, true: np.ndarray, few: int = FEW) -> np.ndarray:
    """(L,) thresholds with the largest F1 of each label, see ``threshold.best``; 0.5 where fewer than ``few`` records have it,
    or all do.

    >>> best_thresholds(np.array([[.1], [.2], [.3], [.4]]), np.array([[0], [0], [1], [1]]) > 0, few=1).round(3).tolist()
    [0.25]
    """
    found = [best(answers[:, c], true[:, c], few=few) for c in range(answers.shape[1])]
    return np.array([0.5 if one is None else one for one in found])
