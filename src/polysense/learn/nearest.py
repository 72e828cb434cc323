"""The rivals of a model that answers with words: what stood beside the nearest training record.

N records, B records of a batch, V views, P width of a view, n training records.

For each subset S of views there are two, as for regressions: the *specialist* looks among the training records that have
all of S; the *filled* one among all of them, an absent part being zero. Near is the cosine of the features that rivals
read (a tower's output or the plain features of the modality), each view's block standardised on training rows and divided
by the root of its width, so that every view counts alike. Of equal ones the first record speaks; a record without a view
of S gets the most frequent text. For captions this is the baseline of Ordonez et al. 2011 ("Im2Text", NIPS) and Devlin et
al. 2015 (arXiv:1505.04467), which many a network did not beat.

Above ``MOST`` training records a sample is drawn (``sampled`` says so): the texts and features stand in the model folder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..data.rows import blocks as slices
from ..data.rows import only, only_of, whole
from ..metrics import Yardstick
from .rivals import FEW, Features, Scale, Subset, subsets_of

MOST = 10_000
_NINE = 9  # decimals of a cosine that count: what differs beyond them is equal


class Nearest:
    """The nearest training record's text, for every subset of views; made by ``Nearest.train``.

    Attributes:
        views: names, in the order of the mask's columns.
        subsets: that have specialists.
        counts: {subset: training records that have all of it}.
        prior: the most frequent text: what is answered where nothing is present.
        ranking: views from best to worst, by the main measure on validation records.
        sampled: training records that are looked through, where that is fewer than there were; else None.
        references: of each of them, the texts that are right; the first is what it says.
        rows: their numbers in the training table.
    """

    kind = "words"

    def __init__(self, views: Sequence[str]) -> None:
        self.views, self.ranking, self.prior = list(views), list(views), ""
        self.subsets = subsets_of(self.views)
        self.counts: dict[Subset, int] = {}
        self.sampled: int | None = None
        self._scales: dict[str, Scale] = {}
        self._blocks: dict[str, Any] = {}
        self._likeness: Any = None
        self.references: list[tuple[str, ...]] = []
        self.rows, self._present = np.zeros(0, int), np.zeros((0, len(self.views)), bool)

    @property
    def best_single(self) -> str:
        """The best single view of all, as validation ranked them."""
        return self.ranking[0]

    def best_of(self, subset: Sequence[str]) -> str:
        """The best single view among some, as validation ranked them."""
        return next(view for view in self.ranking if view in subset)

    def few(self, subset: Sequence[str]) -> bool:
        """Among too few records to be counted."""
        return self.counts.get(self._key(subset), 0) < FEW

    def _key(self, subset: Sequence[str]) -> Subset:
        return tuple(view for view in self.views if view in set(subset))

    @classmethod
    def train(
        cls, features: Features, present: np.ndarray, targets: np.ndarray, valid_features: Features | None = None,
        valid_present: np.ndarray | None = None, valid_targets: np.ndarray | None = None, *, views: Sequence[str],
        yardstick: Yardstick, prior: str, seed: int = 0, progress: Callable[[int, int], None] | None = None,
        limit: int = MOST, rows: np.ndarray | None = None,
    ) -> Nearest:
        """Keep what is looked through, and rank the views.

        Args:
            features: {view: (N, P)} dense or sparse, of the training records; absent rows are never read.
            present: (N, V) bool.
            targets: (N,) tuples of references; the first is what a record says.
            valid_features: likewise for the validation records, which rank the views.
            views: names, in the order of the mask's columns.
            prior: the most frequent text.
            seed: of the sample.
            progress: called with (subsets done, all of them).
            limit: training records above which a random sample is drawn.
            rows: numbers of the training records in their table; None counts them.
        """
        self, present, targets = cls(views), np.asarray(present, bool), yardstick.targets(targets)
        self.prior, rows = prior, np.arange(len(targets)) if rows is None else np.asarray(rows)
        if len(targets) > limit:
            chosen = np.sort(np.random.default_rng(seed).choice(len(targets), limit, replace=False))
            features, present, targets, self.sampled = only_of(features, chosen), present[chosen], targets[chosen], limit
            rows = rows[chosen]
        self.references, self.rows, self._present = [tuple(references) for references in targets], rows, present
        for v, view in enumerate(self.views):
            self._scales[view] = Scale.learn(features[view], np.flatnonzero(present[:, v]))
            self._blocks[view] = _kept(self._scales[view].apply(whole(features[view]), present[:, v]))
        jobs = 2 * len(self.subsets)
        for done, subset in enumerate(self.subsets):
            self.counts[subset] = int(self._having(subset, present).sum())
            if progress:
                progress(2 * done + 1, jobs)
                progress(2 * done + 2, jobs)
        if valid_targets is not None and len(valid_targets):
            self.ranking = self._rank(valid_features, np.asarray(valid_present, bool), yardstick, valid_targets)
        return self

    def _rank(self, features: Features, present: np.ndarray, yardstick: Yardstick, targets: np.ndarray) -> list[str]:
        targets = yardstick.targets(targets)
        rows = np.flatnonzero(yardstick.known(targets))
        mine = only_of(features, rows)

        def merit(view: str) -> tuple[float, ...]:
            return yardstick.merit(self.answer((view,), mine, present[rows]), targets[rows])

        return sorted(self.views, key=merit, reverse=True) if len(rows) else list(self.views)

    def _having(self, subset: Subset, present: np.ndarray) -> np.ndarray:
        """(N,) bool: records that have all views of the subset."""
        return present[:, [self.views.index(view) for view in subset]].all(1)

    def answer(
        self, subset: Sequence[str], features: Features, present: np.ndarray, *, filled: bool = False
    ) -> np.ndarray:
        """(B,) object: texts of a rival.

        Args:
            subset: views; the rival never reads others.
            features: {view: (B, P)}, at least of the subset's views.
            present: (B, V) bool, columns as in ``views``.
            filled: look among all training records; so is done for a record that lacks a view of the subset.
        """
        places, _ = self.near(subset, features, present, 1, filled=filled)
        out = np.full(len(places), self.prior, object)
        known = places[:, 0] >= 0
        out[known] = [self.references[place][0] for place in places[known, 0]]
        return out

    def near(
        self, subset: Sequence[str], features: Features, present: np.ndarray, count: int, *, filled: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """Places among the training records of the nearest ones (B, count), nearest first, -1 behind the last; their cosines.

        Args:
            subset, features, present, filled: as in ``answer``.
            count: how many.
        """
        key, present = self._key(subset), np.asarray(present, bool)
        places, cosines = np.full((len(present), count), -1), np.zeros((len(present), count))
        every = np.ones(len(self.references), bool)
        for some in slices(len(present)):
            here = present[some]
            mine = {
                view: self._scales[view].apply(whole(only(features[view], some)), here[:, self.views.index(view)])
                for view in key
            }
            whole_B = self._having(key, here)
            for asked_B, among_n in (
                (whole_B & (not filled), self._having(key, self._present)), (~whole_B | filled, every)
            ):
                rows, among = np.flatnonzero(asked_B), np.flatnonzero(among_n)
                if len(rows) and len(among):
                    near, cosine, known = self._near(mine, rows, among, count)
                    places[some][rows[known], : near.shape[1]] = among[near[known]]
                    cosines[some][rows[known], : near.shape[1]] = cosine[known]
        return places, cosines

    def _near(
        self, mine: Mapping[str, Any], rows: np.ndarray, among: np.ndarray, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The places of the nearest of some training records, their cosines, and which rows have anything to compare."""
        dots = np.zeros((len(rows), len(among)))
        ours, theirs = np.zeros(len(rows)), np.zeros(len(among))
        for view, block in mine.items():
            asking, asked = block[rows], self._blocks[view][among]
            product = asking @ asked.T
            dots += product.toarray() if hasattr(product, "toarray") else product
            ours += _squares(asking)
            theirs += _squares(asked)
        cosine = (dots / np.sqrt(np.maximum(ours[:, None] * theirs, 1e-300))).round(_NINE)
        if count == 1:
            near = cosine.argmax(1)[:, None]
        else:
            near = np.argsort(-cosine, axis=1, kind="stable")[:, :count]
        return near, np.take_along_axis(cosine, near, 1), ours > 0

    def likeness(self, yardstick: Any) -> Any:
        """How alike texts are, see ``Texts.likeness``; made once."""
        if self._likeness is None:
            self._likeness = yardstick.likeness(self.references)
        return self._likeness

    def state(self) -> dict[str, Any]:
        """Everything as a tree of JSON values and arrays."""
        return {
            "kind": self.kind, "views": list(self.views), "ranking": list(self.ranking), "sampled": self.sampled,
            "counts": [self.counts[subset] for subset in self.subsets], "prior": self.prior,
            "references": [list(texts) for texts in self.references], "rows": self.rows.tolist(), "present": self._present,
            "scales": {
                view: {"scale": one.scale} | ({} if one.mean is None else {"mean": one.mean})
                for view, one in self._scales.items()
            },
            "blocks": {view: _packed(block) for view, block in self._blocks.items()},
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Nearest:
        """Undo ``state``."""
        self = cls(state["views"])
        self.ranking, self.sampled, self.prior = list(state["ranking"]), state["sampled"], state["prior"]
        self.counts = dict(zip(self.subsets, state["counts"], strict=True))
        self.references = [tuple(texts) for texts in state["references"]]
        self.rows, self._present = np.array(state["rows"], int), np.asarray(state["present"], bool)
        self._scales = {view: Scale(one["scale"], one.get("mean")) for view, one in state["scales"].items()}
        self._blocks = {view: _unpacked(block) for view, block in state["blocks"].items()}
        return self


def _kept(block: Any) -> Any:
    """A block as it is kept: half precision where it is dense, so that it is the same before and after saving."""
    if hasattr(block, "tocsr"):
        return block.astype(np.float32).tocsr().astype(np.float64)
    return block.astype(np.float16).astype(np.float64)


def _squares(block: Any) -> np.ndarray:
    """(n,): squared lengths of rows."""
    if hasattr(block, "tocsr"):
        return np.asarray(block.multiply(block).sum(1)).ravel()
    return np.einsum("np,np->n", block, block)


def _packed(block: Any) -> dict[str, Any]:
    if hasattr(block, "tocsr"):
        return {
            "values": block.data.astype(np.float32), "columns": block.indices.astype(np.int32),
            "starts": block.indptr.astype(np.int64), "shape": list(block.shape),
        }
    return {"values": block.astype(np.float16)}


def _unpacked(part: Mapping[str, Any]) -> Any:
    values = np.asarray(part["values"]).astype(np.float64)
    if "columns" not in part:
        return values
    from scipy import sparse

    return sparse.csr_array((values, part["columns"], part["starts"]), shape=tuple(part["shape"]))
