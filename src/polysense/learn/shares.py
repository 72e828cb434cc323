"""Shares of several recommenders in one answer, chosen on validation. B users, I items."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

#: Rounds of the choice: a share is a multiple of one over so many.
ROUNDS = 12


def standard(scores_BI: np.ndarray, known_I: np.ndarray) -> np.ndarray:
    """Scores of each user less their mean, over their deviation, both over the known items; a constant becomes 0.

    >>> standard(np.array([[1.0, 3.0, 9.0]]), np.array([True, True, False])).tolist()
    [[-1.0, 1.0, 7.0]]
    """
    mine = scores_BI[:, known_I].astype(np.float64)  # in float32 a sum depends on how many users are asked together
    mean, spread = mine.mean(1, keepdims=True), mine.std(1, keepdims=True)
    return np.divide(scores_BI - mean, spread, out=np.zeros(scores_BI.shape), where=spread > 1e-9)


def mixed(parts: Mapping[str, np.ndarray], shares: Mapping[str, float]) -> np.ndarray:
    """Weighted sum of standardised scores."""
    return sum(share * parts[name] for name, share in shares.items())


def gains(scores_BI: np.ndarray, right_B: np.ndarray) -> np.ndarray:
    """(B,) NDCG@10 of one right item for each user, an equal score counting as half above."""
    own = np.take_along_axis(scores_BI, right_B[:, None], 1)
    rank = 1 + (scores_BI > own).sum(1) + ((scores_BI == own).sum(1) - 1) / 2
    return np.where(rank <= 10, 1 / np.log2(1 + rank), 0)


def gain(scores_BI: np.ndarray, right_B: np.ndarray) -> float:
    """The mean of ``gains``."""
    return float(gains(scores_BI, right_B).mean())


def choose(parts: Mapping[str, np.ndarray], right_B: np.ndarray, open_BI: np.ndarray) -> dict[str, float]:
    """Shares by forward selection with replacement: whichever helps NDCG@10 most joins, as long as one helps.

    Caruana et al. 2004, doi:10.1145/1015330.1015432. It begins with the best one, so it never ends below any of them on these
    users.

    Args:
        parts: {recommender: standardised scores}.
        right_B: the item that each user took next.
        open_BI: bool, items that the user has not taken before.
    """
    total, names = 0.0, []
    best = -1.0
    for _ in range(ROUNDS):
        found = {name: gain(np.where(open_BI, total + one, -np.inf), right_B) for name, one in parts.items()}
        name = max(found, key=found.__getitem__)
        if found[name] <= best + 1e-9:
            break
        best, total = found[name], total + parts[name]
        names.append(name)
    return {name: names.count(name) / len(names) for name in dict.fromkeys(names)}
