"""Plain recommenders, the rivals of the network: popularity, neighbouring items, a factorisation, neighbouring contents.

Each gives scores (B, I) for B histories over I items, the larger the better. U users, F factors, P features.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

State = dict[str, Any]


def matrix(items: Sequence[np.ndarray], weights: Sequence[np.ndarray], count: int) -> sparse.csr_matrix:
    """(U, I): how much each user's interactions with an item count.

    >>> matrix([np.array([1])], [np.array([2.0])], 3).toarray().tolist()
    [[0.0, 2.0, 0.0]]
    """
    ends = np.cumsum([0, *map(len, items)])
    flat = [np.concatenate([np.zeros(0), *part]) for part in (weights, items)]
    return sparse.csr_matrix((flat[0], flat[1].astype(int), ends), (len(items), count))


class Popularity:
    """How often an item is taken, whoever asks."""

    def fit(self, taken_UI: sparse.csr_matrix) -> Popularity:
        self.counts_I = np.asarray(taken_UI.sum(0)).ravel().astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        return np.tile(np.log1p(self.counts_I), (len(histories), 1))

    def state(self) -> State:
        return {"counts": self.counts_I}

    def load(self, state: State) -> Popularity:
        self.counts_I = state["counts"]
        return self


class Neighbours:
    """Items that the same users take: s(i, j) = n_ij / (sqrt(n_i n_j) + shrink), summed over the history.

    Deshpande and Karypis 2004, doi:10.1145/963770.963776, section 4.2 (cosine), with Bell and Koren's shrinkage, which keeps
    pairs that few users share from the top.

    Args:
        shrink: users' worth of doubt.
        most: neighbours of an item that are kept.
    """

    def __init__(self, *, shrink: float = 0.0, most: int = 200) -> None:
        self.shrink, self.most = shrink, most

    def fit(self, taken_UI: sparse.csr_matrix) -> Neighbours:
        there = taken_UI.copy()
        there.data[:] = 1
        n_I = np.asarray(there.sum(0)).ravel()
        both = (there.T @ there).tocsr()
        both.setdiag(0)
        both.eliminate_zeros()
        rows = np.repeat(np.arange(len(n_I)), np.diff(both.indptr))
        both.data = both.data / (np.sqrt(n_I[rows] * n_I[both.indices]) + self.shrink)
        for i in range(len(n_I)):
            part = both.data[both.indptr[i] : both.indptr[i + 1]]
            if len(part) > self.most:
                part[part < np.partition(part, -self.most)[-self.most]] = 0
        both.eliminate_zeros()
        self.near_II = both.astype(np.float32)
        return self

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        taken = matrix(histories, [np.ones(len(mine)) for mine in histories], self.near_II.shape[0])
        return (taken @ self.near_II).toarray().astype(np.float32)

    def state(self) -> State:
        near = self.near_II
        return {"data": near.data, "indices": near.indices.astype(np.int32), "indptr": near.indptr.astype(np.int64)}

    def load(self, state: State) -> Neighbours:
        n = len(state["indptr"]) - 1
        self.near_II = sparse.csr_matrix((state["data"], state["indices"], state["indptr"]), (n, n))
        return self


class Factors:
    """Alternating least squares on implicit data: min sum c_ui (p_ui - x_u.y_i)^2 + reg (|x|^2 + |y|^2), c = 1 + alpha w.

    Hu, Koren and Volinsky 2008, doi:10.1109/ICDM.2008.22, equations 3 to 5. A user is solved for from the history, so that one
    who was not there in training is answered alike.

    Args:
        factors: F.
        reg: of the squares.
        alpha: confidence that an interaction adds.
        rounds: of items and users in turn.
        seed: of the first factors.
    """

    def __init__(self, *, factors: int = 32, reg: float = 5.0, alpha: float = 10.0, rounds: int = 10, seed: int = 0) -> None:
        self.factors, self.reg, self.alpha, self.rounds, self.seed = factors, reg, alpha, rounds, seed

    def fit(self, taken_UI: sparse.csr_matrix) -> Factors:
        rng = np.random.default_rng(self.seed)
        self.y_IF = 0.1 * rng.normal(size=(taken_UI.shape[1], self.factors))
        turned = taken_UI.T.tocsr()
        for _ in range(self.rounds):
            x_UF = self._solved(taken_UI, self.y_IF)
            self.y_IF = self._solved(turned, x_UF)
        self.y_IF[np.diff(turned.indptr) == 0] = 0
        return self

    def _solved(self, taken: sparse.csr_matrix, other_NF: np.ndarray) -> np.ndarray:
        """Each row's factors, given those of the other side."""
        all_FF = other_NF.T @ other_NF + self.reg * np.eye(self.factors)
        found = np.zeros((taken.shape[0], self.factors))
        for row in range(taken.shape[0]):
            part = slice(taken.indptr[row], taken.indptr[row + 1])
            mine, more = other_NF[taken.indices[part]], self.alpha * taken.data[part]
            found[row] = np.linalg.solve(all_FF + (mine.T * more) @ mine, (1 + more) @ mine)
        return found

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        taken = matrix(histories, [np.ones(len(mine)) for mine in histories], len(self.y_IF))
        return (self._solved(taken, self.y_IF) @ self.y_IF.T).astype(np.float32)

    def state(self) -> State:
        return {"reg": self.reg, "alpha": self.alpha, "y": self.y_IF}

    def load(self, state: State) -> Factors:
        self.reg, self.alpha, self.y_IF = state["reg"], state["alpha"], state["y"]
        self.factors = self.y_IF.shape[1]
        return self


class Contents:
    """Items like those taken: cosine of an item's features with the mean of the history's. New items are answered too.

    Args:
        features_IP: of all items; zeros where an item shows nothing.
    """

    def __init__(self, features_IP: np.ndarray) -> None:
        long = np.linalg.norm(features_IP, axis=1, keepdims=True)
        self.unit_IP = np.divide(features_IP, long, out=np.zeros_like(features_IP), where=long > 0)

    def scores(self, histories: Sequence[np.ndarray]) -> np.ndarray:
        mean_BP = np.stack([self.unit_IP[mine].mean(0) if len(mine) else 0 * self.unit_IP[0] for mine in histories])
        return mean_BP @ self.unit_IP.T


#: What validation may choose among for each rival that has settings.
CANDIDATES = {
    "item_knn": [(Neighbours, {"shrink": shrink, "most": most}) for shrink in (0.0, 10.0) for most in (50, 200)],
    "factors": [
        (Factors, {"reg": reg, "alpha": alpha}) for reg, alpha in ((1.0, 5.0), (10.0, 5.0), (10.0, 20.0), (50.0, 20.0))
    ],
}
