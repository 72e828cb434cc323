"""From which probability on a class or a label is said: the threshold that is best by a measure.

N records of a validation set.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

#: Records that have the class or label and that a choice needs; with fewer one half stays.
FEW = 5


def _quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    return np.divide(above, below, out=np.zeros(np.shape(above)), where=np.asarray(below) > 0)


def _f1(right: np.ndarray, said: np.ndarray, true: int, n: int) -> np.ndarray:
    return _quotient(2.0 * right, said + true)


def _macro_f1(right: np.ndarray, said: np.ndarray, true: int, n: int) -> np.ndarray:
    return (_f1(right, said, true, n) + _f1(n - said - true + right, n - said, n - true, n)) / 2


def _accuracy(right: np.ndarray, said: np.ndarray, true: int, n: int) -> np.ndarray:
    return (2.0 * right + n - said - true) / n


def _balanced(right: np.ndarray, said: np.ndarray, true: int, n: int) -> np.ndarray:
    return (right / true + (n - said - true + right) / (n - true)) / 2


def _mcc(right: np.ndarray, said: np.ndarray, true: int, n: int) -> np.ndarray:
    above = n * right - said * float(true)
    return _quotient(above, np.sqrt(said * (n - said) * float(true) * (n - true)))


#: Measure -> its value from counts: said rightly, said, true, all.
MEASURES: dict[str, Callable[..., np.ndarray]] = {
    "accuracy": _accuracy, "balanced_accuracy": _balanced, "f1": _f1, "macro_f1": _macro_f1, "mcc": _mcc,
}


def best(p_N: np.ndarray, true_N: np.ndarray, measure: str = "f1", few: int = FEW) -> float | None:
    """The threshold with the largest value of a measure, midway between two answers; of equal ones that nearest one half.

    Every cut between two different answers is tried, and those above and below all of them: O(N log N). For F1:
    Lipton, Elkan, Naryanaswamy 2014, arXiv:1402.1892.

    Args:
        p_N: probabilities of the class or label.
        true_N: bool.
        measure: a name of ``MEASURES``.
        few: least number of records that have it.

    Returns:
        None where fewer have it, or all.

    >>> best(np.array([.1, .2, .6, .7]), np.array([False, True, True, True]), few=1).__round__(3)
    0.15
    """
    n, true = len(p_N), int(true_N.sum())
    if not few <= true < n:
        return None
    order = np.argsort(-p_N, kind="stable")
    p = p_N[order].astype(np.float64)
    last = np.r_[p[1:] != p[:-1], True]  # equal answers are said together
    said = np.r_[0, np.flatnonzero(last) + 1]
    right = np.r_[0, np.cumsum(true_N[order])[last]]
    edges = np.r_[1.0, p[last], 0.0]
    cuts = (edges[:-1] + edges[1:]) / 2
    value = MEASURES[measure](right, said, true, n)
    near = np.flatnonzero(value >= value.max() - 1e-12)
    return float(cuts[near[np.abs(cuts[near] - 0.5).argmin()]])
