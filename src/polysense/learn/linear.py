"""Linear maps between two sides, and what they are trained on: the plain rivals of a matcher.

N records, n training pairs, P numbers of a query's side, R of an item's, K axes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..data.rows import blocks

#: Training pairs that the maps are fitted on, and that the nearest neighbour looks through, at most.
MOST, KEPT = 20_000, 5_000
#: Strengths of regularisation that are compared on validation, as parts of the mean variance of an axis.
STRENGTHS = (1e-3, 1e-2, 0.1, 0.3, 1.0, 3.0, 10.0)
#: Axes of canonical correlation, and powers of the correlations by which they are weighed.
AXES, POWERS = (32, 128, 256, 384), (0.0, 0.5, 1.0)
#: Wider sparse features are turned to so many axes; of each side's features so many are whitened.
SPARSE, WHITENED = 512, 512
#: The maps: from the query to the item, the other way round, and both to a place between.
MAPS = ("ridge", "ridge_back", "cca")

Judge = Callable[[np.ndarray, np.ndarray], float]


class SideFeatures:
    """Plain features of one side's views as one row of numbers: standardised, each view divided by the root of its width.

    An absent view is zero, the training mean; where a view may be absent, a number says whether it is there.

    Args:
        views: of the side, sorted.
    """

    def __init__(self, views: Sequence[str]) -> None:
        self.views = list(views)
        self.parts: dict[str, dict[str, np.ndarray]] = {}

    def fit(self, features: Mapping[str, Any], present: Mapping[str, np.ndarray], rows: np.ndarray) -> SideFeatures:
        """Learn means, deviations and axes from training rows.

        Args:
            features: {view: (N, P) dense or sparse}.
            present: {view: (N,) bool}.
        """
        for view in self.views:
            mine = rows[present[view][rows]]
            block = features[view][mine[:MOST]] if len(mine) else np.zeros((1, 1), np.float32)
            axes = np.zeros((0, 0), np.float32)
            if not isinstance(block, np.ndarray):
                axes = _axes(block)
                block = np.asarray(block @ axes)
            block = block.astype(np.float64)
            mean, spread = block.mean(0), block.std(0)
            inverse = np.where(spread > 1e-6 * (1 + np.abs(mean)), 1 / np.maximum(spread, 1e-12), 0.0) / block.shape[1] ** 0.5
            share = float(present[view][rows].mean()) if len(rows) else 1.0
            presence = np.array([share, 0.0 if share in (0.0, 1.0) else 0.5], np.float32)  # weighs as half a view
            self.parts[view] = {
                "mean": mean.astype(np.float32), "inverse": inverse.astype(np.float32), "axes": axes, "presence": presence,
            }
        return self

    def __call__(self, features: Mapping[str, Any], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N, P) float32; what stands in an absent view is never read."""
        made = []
        for view in self.views:
            part, here = self.parts[view], np.flatnonzero(present[view])
            out = np.zeros((len(present[view]), len(part["mean"]) + 1), np.float32)
            for some in blocks(len(here)):
                block = features[view][here[some]]
                block = np.asarray(block @ part["axes"]) if part["axes"].size else np.asarray(block)
                out[here[some], :-1] = (block - part["mean"]) * part["inverse"]
            share, weight = part["presence"]
            out[:, -1] = weight * (present[view] - share)
            made.append(out)
        return np.concatenate(made, 1)

    def state(self) -> dict[str, Any]:
        """JSON and arrays."""
        return {"views": self.views, "parts": self.parts}

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> SideFeatures:
        """Undo ``state``."""
        made = cls(state["views"])
        made.parts = {view: dict(part) for view, part in state["parts"].items()}
        return made


class Linear:
    """The plain rivals of a matcher, all from the same features of both sides.

    ridge: items are predicted from queries, W = (X'X + a I)^-1 X'Y (Hoerl and Kennard 1970,
    doi:10.1080/00401706.1970.10488634), and compared by cosine; ridge_back: queries from items. cca: regularised canonical
    correlation (Hardoon et al. 2004, doi:10.1162/0899766042321814, section 3, with a ridge on both sides): U S V' of the
    whitened cross covariance, axes weighed by S^p (Gong et al. 2014, arXiv:1212.4522, section 3). nearest: the most similar
    training query, and its item in the place of the query. Strengths, axes and powers are chosen on validation.

    Args:
        sides: {side: its views}.

    Attributes:
        chosen: {map: what validation chose}.
        best: the map with the best validation score.
    """

    def __init__(self, sides: Mapping[str, Sequence[str]]) -> None:
        self.sides = {side: SideFeatures(views) for side, views in sides.items()}
        self.maps: dict[str, dict[str, np.ndarray]] = {}
        self.kept: dict[str, np.ndarray] = {}
        self.chosen: dict[str, dict[str, float]] = {}
        self.best, self.records = "cca", 0

    def fit(
        self, features: Mapping[str, Any], present: Mapping[str, np.ndarray], rows: np.ndarray, valid: np.ndarray, judge: Judge,
        *, seed: int = 0, advance: Callable[..., None] = lambda steps=1: None,
    ) -> Linear:
        """Fit all maps on training pairs.

        Args:
            features: {view: (N, P)} of all records.
            rows, valid: of training and validation pairs, both sides there.
            judge: vectors of the queries and items of ``valid`` -> a score, the larger the better.
            seed: of the sample that is taken of very many pairs.
        """
        rng = np.random.default_rng(seed)
        if len(rows) > MOST:
            rows = np.sort(rng.choice(rows, MOST, replace=False))
        self.records = len(rows)
        both = np.concatenate([rows, valid])
        part, there = {v: f[both] for v, f in features.items()}, {v: here[both] for v, here in present.items()}
        learned, held = np.arange(len(rows)), np.arange(len(rows), len(both))
        x, y = (self.sides[side].fit(part, there, learned)(part, there) for side in ("query", "item"))
        few = np.sort(rng.choice(len(rows), KEPT, replace=False)) if len(rows) > KEPT else learned
        self.kept = {"query": x[few].astype(np.float16), "item": y[few].astype(np.float16)}
        scores = {}
        for name, make in zip(MAPS, (_ridge, _ridge_back, _cca), strict=True):
            best = None
            for how, maps in make(x[learned], y[learned]):
                pair = (_unit(_mapped(z[held], maps, side)) for z, side in ((x, "query"), (y, "item")))
                score = judge(*pair) if len(held) else 0.0
                if best is None or score > best[0] or (not len(held) and how.get("strength") == 0.1):
                    best = score, how, maps
            scores[name], self.chosen[name], self.maps[name] = best
            self.chosen[name] = dict(best[1])
            advance()
        self.best = max(MAPS, key=lambda name: scores[name])
        return self

    def features(self, side: str, features: Mapping[str, Any], present: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N, P) of one side."""
        return self.sides[side](features, present)

    def vectors(self, name: str, side: str, x_NP: np.ndarray) -> np.ndarray:
        """(N, K) of length one, or of zeros; ``x_NP`` is what ``features`` gave. A product with the other side is a cosine."""
        return _unit(_mapped(x_NP, self.maps[name], side))

    def nearest(self, side: str, x_NP: np.ndarray, other: str) -> np.ndarray:
        """(N, R) of length one: the other side of the most similar training record."""
        kept, theirs = self.kept[side].astype(np.float32), self.kept[other].astype(np.float32)
        known, found = _unit(kept), np.zeros(len(x_NP), int)
        for some in blocks(len(x_NP), 1024):
            found[some] = (_unit(x_NP[some]) @ known.T).argmax(1)
        return _unit(theirs[found])

    @property
    def width(self) -> int:
        """K of the best map."""
        one = self.maps[self.best]
        return len(one["item"]) if not one["query"].size else one["query"].shape[1]

    def state(self) -> dict[str, Any]:
        """JSON and arrays."""
        return {
            "sides": {side: part.state() for side, part in self.sides.items()}, "maps": self.maps, "kept": self.kept,
            "chosen": self.chosen, "best": self.best, "records": self.records,
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Linear:
        """Undo ``state``."""
        made = cls({})
        made.sides = {side: SideFeatures.load(part) for side, part in state["sides"].items()}
        made.maps = {name: dict(maps) for name, maps in state["maps"].items()}
        made.kept, made.chosen = dict(state["kept"]), dict(state["chosen"])
        made.best, made.records = state["best"], state["records"]
        return made


def unit(x_NE: np.ndarray) -> np.ndarray:
    """Rows of length one; a row of zeros stays.

    >>> unit(np.array([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6, 0.8], [0.0, 0.0]]
    """
    return x_NE / np.maximum(np.linalg.norm(x_NE, axis=1, keepdims=True), 1e-12)


_unit = unit


def _mapped(x_NP: np.ndarray, maps: Mapping[str, np.ndarray], side: str) -> np.ndarray:
    """A side's numbers by its matrix; an empty matrix leaves them as they are."""
    return x_NP @ maps[side] if maps[side].size else x_NP


def _axes(block: Any) -> np.ndarray:
    """(P, K) main axes of sparse features, not centred (latent semantic analysis)."""
    from sklearn.decomposition import TruncatedSVD

    wide = max(1, min(SPARSE, block.shape[1] - 1, block.shape[0] - 1))
    with np.errstate(divide="ignore", invalid="ignore"):  # its share of explained variance, where nothing varies
        return TruncatedSVD(wide, random_state=0).fit(block).components_.T.astype(np.float32)


def _ridge(x: np.ndarray, y: np.ndarray) -> Any:
    """Pairs of (what was chosen, maps) at every strength."""
    values, vectors = _spread(x)
    cross = vectors.T @ (x.T.astype(np.float64) @ y)
    for strength in STRENGTHS:
        weight = vectors @ (cross / (values + strength * max(values.mean(), 1e-12))[:, None])
        yield {"strength": strength}, {"query": weight.astype(np.float32), "item": np.zeros((0, 0), np.float32)}


def _ridge_back(x: np.ndarray, y: np.ndarray) -> Any:
    for how, maps in _ridge(y, x):
        yield how, {"query": maps["item"], "item": maps["query"]}


def _cca(x: np.ndarray, y: np.ndarray) -> Any:
    sides = [_spread(z, WHITENED) for z in (x, y)]
    cross = sides[0][1].T @ (x.T.astype(np.float64) @ y) @ sides[1][1]
    for strength in STRENGTHS:
        white = [1 / np.sqrt(values + strength * max(values.mean(), 1e-12)) for values, _ in sides]
        left, correlations, right = np.linalg.svd(white[0][:, None] * cross * white[1], full_matrices=False)
        for count in sorted({min(count, len(correlations)) for count in AXES}):
            for power in POWERS:
                weigh = correlations[:count] ** power
                maps = {
                    "query": sides[0][1] @ (white[0][:, None] * left[:, :count]) * weigh,
                    "item": sides[1][1] @ (white[1][:, None] * right[:count].T) * weigh,
                }
                how = {"strength": strength, "axes": count, "power": power}
                yield how, {side: one.astype(np.float32) for side, one in maps.items()}


def _spread(x: np.ndarray, most: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """(K,) variances times n and (P, K) axes, those of nothing left out."""
    values, vectors = np.linalg.eigh(x.T.astype(np.float64) @ x)
    useful = np.flatnonzero(values > max(values.max(initial=0.0), 1e-12) * 1e-9)
    useful = useful[-most:] if most else useful
    if not len(useful):  # nothing varies
        useful = np.array([len(values) - 1])
    return np.maximum(values[useful], 0.0), vectors[:, useful]
