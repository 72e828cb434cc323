"""Vectors of both sides from a network and a linear map, what belongs together, and scores to choose by.

N records, V views, E width of the vectors, K of the linear map's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..data.reading import Cells
from ..data.rows import only_of
from ..data.splits import connected_groups
from ..metrics.ranks import reciprocal
from .begin_pairs import SIDES
from .gather import Gathered
from .linear import MAPS, Linear, unit

#: Shares of the linear map that are compared.
SHARES = tuple(round(0.1 * i, 1) for i in range(11))
#: Temperatures' inverses that are tried on validation.
STEEPNESSES = (1.0, 2.0, 3.0, 5.0, 8.0, 12.0, 18.0, 27.0, 40.0, 60.0, 90.0, 140.0)


class Judged:
    """What vectors are worth among some records: mean reciprocal rank of both directions, and a loss."""

    def __init__(self, same_N: np.ndarray) -> None:
        self.same_NN = same_N[:, None] == same_N

    def each(self, queries_NE: np.ndarray, items_NE: np.ndarray) -> np.ndarray:
        """(N,): of each record, the mean of both directions."""
        near = queries_NE @ items_NE.T
        return (reciprocal(near, self.same_NN) + reciprocal(near.T, self.same_NN)) / 2

    def __call__(self, queries_NE: np.ndarray, items_NE: np.ndarray) -> float:
        return float(self.each(queries_NE, items_NE).mean())

    def losses(self, queries_NE: np.ndarray, items_NE: np.ndarray) -> np.ndarray:
        """(N,): cross entropy of each record among all, at the temperature that suits best."""
        return cross_entropies(queries_NE @ items_NE.T, self.same_NN)[1]


def same_content(cells: Mapping[str, Cells], sides: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(N,) numbers, equal where records share the content of a text, a picture, a sound or a series.

    Numbers and categories that are equal make two records one only where they are all of their side.
    """
    keys: list[list[Any]] = [[] for _ in range(next(iter(cells.values())).n)]
    for views in sides.values():
        tables = {view for view in views if cells[view].view.modality == "table"}
        for view in views if len(tables) == len(views) else [view for view in views if view not in tables]:
            rows = np.flatnonzero(cells[view].present)
            for row, content in zip(rows.tolist(), cells[view].hashes(rows).tolist(), strict=True):
                if content:
                    keys[row].append((view, content))
    return connected_groups(keys)


def has_both(present_NV: np.ndarray, views: Sequence[str], sides: Mapping[str, Sequence[str]]) -> np.ndarray:
    """(N,) bool: both sides have a view."""
    return np.logical_and.reduce([present_NV[:, [views.index(view) for view in sides[side]]].any(1) for side in SIDES])


def side_features(
    linear: Linear, side: str, found: Gathered, mask_NV: np.ndarray, rows: np.ndarray | None
) -> np.ndarray:
    """(N, P) of a side, as the linear maps read them."""
    present = {view: mask_NV[:, i] for i, view in enumerate(found.names)}
    return linear.features(side, found.plain if rows is None else only_of(found.plain, rows), present)


def linear_vectors(
    linear: Linear, found: Gathered, mask_NV: np.ndarray, rows: np.ndarray | None, sides: Sequence[str] = SIDES,
    names: Sequence[str] = MAPS,
) -> dict[str, dict[str, np.ndarray]]:
    """{map: {side: (N, K)}}; zeros where the side is absent."""
    made: dict[str, dict[str, np.ndarray]] = {name: {} for name in names}
    for side in sides:
        x_NP = side_features(linear, side, found, mask_NV, rows)
        here = mask_NV[:, [found.names.index(view) for view in linear.sides[side].views]].any(1)
        for name in names:
            made[name][side] = np.where(here[:, None], linear.vectors(name, side, x_NP), 0.0).astype(np.float32)
    return made


def joined_vectors(network_NE: np.ndarray | None, linear_NK: np.ndarray | None, share: float) -> np.ndarray:
    """[sqrt(1 - s) network, sqrt(s) linear]: a product of two such vectors is the mixture of the two cosines."""
    if not share:
        return network_NE
    if share == 1:
        return linear_NK
    return unit(np.concatenate([(1 - share) ** 0.5 * network_NE, share**0.5 * linear_NK], 1)).astype(np.float32)


def pair_of(network: Mapping[str, np.ndarray], linear: Mapping[str, np.ndarray], share: float) -> tuple[np.ndarray, ...]:
    """Queries' and items' vectors with a share of the linear map."""
    return tuple(joined_vectors(network[side], linear[side], share) for side in SIDES)


def cross_entropies(near_NN: np.ndarray, same_NN: np.ndarray) -> tuple[float, np.ndarray]:
    """(steepness, (N,) losses at it): the cross entropy of each query and item among all, at the steepness where it is least.

    As the loss infonce, with one temperature that is fitted (Guo et al. 2017, arXiv:1706.04599, section 4.2): where ranks
    of few pairs cannot tell two solutions apart, it still does.
    """
    shares = [wanted / wanted.sum(1, keepdims=True) for wanted in (same_NN, same_NN.T)]

    def losses(steep: float) -> np.ndarray:
        total = np.zeros(len(near_NN))
        for scores, wanted in zip((near_NN, near_NN.T), shares, strict=True):
            z = steep * scores.astype(np.float64)
            z -= z.max(1, keepdims=True)
            total -= (wanted * (z - np.log(np.exp(z).sum(1, keepdims=True)))).sum(1) / 2
        return total

    coarse = min(STEEPNESSES, key=lambda steep: losses(steep).mean())
    steep = float(min(coarse * np.geomspace(0.8, 1.25, 9), key=lambda steep: losses(steep).mean()))
    return steep, losses(steep)
