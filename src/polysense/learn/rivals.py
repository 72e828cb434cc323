"""The rivals every model is measured against: one logistic regression per subset of views.

N records, B records of a batch, V views, P width of a view, C classes, n training records of a regression.

For each subset S of views there are two: the *specialist*, trained on the training records that have all of
S, and the *filled* specialist, trained on all training records with zeros for absent parts and presence bits
appended. The best single view and the plain concatenation are among them.

Preparation, learned on the training records that have the view: each column is centred and divided by its
deviation (columns that never vary are dropped), then the block is divided by the root of its width, so that
every view starts with the same weight. A sparse block (TF-IDF) stays sparse: see ``Scale``.

Regression: multinomial for classes, ridge for numbers (``family``); L2, intercept not penalised; for two
classes one weight vector, as in scikit-learn, so C means the same. C is the one of {1, 10, 100, 1000} (ridge:
of {0.01 ... 1000}) with the least loss on the validation records that have all of S; where they are under 30,
by 3-fold cross validation on the training records. A class that a subset's training records lack gets 1e-6 of
its prior, so that log loss stays finite.

Many records: above 50,000 a sample is drawn (``sampled`` says so). C, the variance of the weights, is a
property of the problem and not of the number of records: above 5,000 it is chosen by regressions on 5,000 of
them and at most 10,000 validation records; the regression with that C then sees them all, a few thousand
rows in memory at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import Any

import numpy as np

from ..data.rows import Rows, SparseRows, only, only_of, whole
from ..data.rows import blocks as slices
from ..metrics import Classes, Yardstick
from .family import FAMILIES, Family, Multinomial, folds

Subset = tuple[str, ...]
Features = Mapping[str, Any]

STRENGTHS = Multinomial.strengths
#: Above, only single views and all views have rivals, from a sample and one C: their cost grows with the classes.
MANY_CLASSES = 200
MANY_STRENGTH, MANY_SAMPLE = 100.0, 1500
FEW = 60  #: training records below which a specialist is not counted
_FEW_VALID = 30  # validation records below which C is chosen by cross validation
_INTERCEPT = 100.0  # squared size of the constant feature: penalty of the intercept next to none
_ROUGH, _FINE = 1e-3, 1e-4  # tolerances: while C is chosen, and of the chosen one
_CURVATURE_ROWS = 5000
_KERNEL_LIMIT = 2000  # training records up to which the n x n Gram matrix is the cheaper way
_CHOICE_ROWS, _JUDGES = 5000, 10_000  # training and validation records that choose C, at most


def subsets_of(views: Sequence[str]) -> list[Subset]:
    """Subsets that are judged: all up to five views; beyond, singles, pairs, all but one, everything.

    >>> subsets_of(["a", "b", "c"])
    [('a',), ('b',), ('c',), ('a', 'b'), ('a', 'c'), ('b', 'c'), ('a', 'b', 'c')]
    >>> len(subsets_of("abcdef"))
    28
    """
    n = len(views)
    sizes = range(1, n + 1) if n <= 5 else sorted({1, 2, n - 1, n})
    return [tuple(subset) for size in sizes for subset in combinations(views, size)]


def _is_sparse(block: Any) -> bool:
    return hasattr(block, "tocsr")


@dataclass
class Scale:
    """Standardisation of a view's block, learned on training rows.

    (x - mean) / deviation / root of width. A sparse block is not centred, so that it stays sparse: its
    columns are divided by deviation and root of width only. (Measured on 950 short texts, against one number
    for the whole block: Chinese +2.3 points of accuracy, English -1.9, both together +1.0.)
    """

    scale: np.ndarray  # (P,)
    mean: np.ndarray | None = None  # (P,), dense blocks only

    @classmethod
    def learn(cls, block: Any, rows: np.ndarray) -> Scale:
        """From the rows that have the view, some at a time.

        Args:
            block: (N, P).
            rows: of those that have it.
        """
        def mean_of(number: Callable[[Any], Any]) -> np.ndarray:
            sums = (np.asarray(number(block[rows[some]]).sum(0), np.float64).ravel() for some in slices(len(rows)))
            return sum(sums) / max(len(rows), 1)

        if not len(rows):
            return cls(np.zeros(block.shape[1]), None if _is_sparse(whole(block)) else np.zeros(block.shape[1]))
        if _is_sparse(block[rows[:1]]):
            mean = mean_of(lambda some: some)
            power = mean_of(lambda some: some.multiply(some))
            return cls(cls._inverse(np.sqrt(np.maximum(power - mean**2, 0)), mean))
        mean = mean_of(lambda some: np.asarray(some, np.float64))
        deviation = np.sqrt(mean_of(lambda some: (np.asarray(some, np.float64) - mean) ** 2))
        return cls(cls._inverse(deviation, mean), mean)

    @staticmethod
    def _inverse(deviation: np.ndarray, mean: np.ndarray) -> np.ndarray:
        """One over deviation and root of width; 0 for columns that do not vary beyond rounding."""
        varies = deviation > np.maximum(1e-6 * np.abs(mean), 1e-30)
        return np.divide(1.0, deviation, out=np.zeros(len(mean)), where=varies) / np.sqrt(max(len(mean), 1))

    def apply(self, block: Any, present_N: np.ndarray) -> Any:
        """Standardised float64 block; rows of absent records are zero, whatever stood there.

        Where no record has the view, the block may have any width.
        """
        shape = (len(present_N), len(self.scale))
        if self.mean is None:
            from scipy import sparse

            if not present_N.any():
                return sparse.csr_array(shape)
            block = sparse.csr_array(block)
            here = np.repeat(present_N, np.diff(block.indptr))
            data = np.where(here, block.data * self.scale[block.indices], 0.0)
            return sparse.csr_array((data, block.indices, block.indptr), shape=shape)
        out = np.zeros(shape)
        if out.size and present_N.any():
            out[present_N] = (np.asarray(block)[present_N] - self.mean) * self.scale
        return out


@dataclass
class Regression:
    """A fitted rival of one subset.

    Attributes:
        strength: the C that was chosen.
        records: training records.
        classes: outputs that occur among them (class numbers); one column of the weights each.
        weights: {view: (P, classes)}, of standardised blocks.
        bits: {view: (classes,)}, of presence bits; empty for the specialist.
        bias: (classes,).
    """

    strength: float
    records: int
    classes: np.ndarray
    weights: dict[str, np.ndarray]
    bias: np.ndarray
    bits: dict[str, np.ndarray] = field(default_factory=dict)

    def answer(self, blocks: Features, present: Mapping[str, np.ndarray], family: Family) -> np.ndarray:
        """(B, C) from standardised blocks."""
        logits = np.tile(self.bias.astype(np.float64), (len(next(iter(present.values()))), 1))
        for view, weight in self.weights.items():
            logits += blocks[view] @ weight
            if view in self.bits:
                logits += present[view][:, None] * self.bits[view]
        return family.answer(logits, self.classes)


class Rivals:
    """Specialists, filled specialists and the best single view; made by ``Rivals.train``.

    Attributes:
        views: names, in the order of the mask's columns.
        subsets: that have specialists.
        counts: {subset: training records that have all of it}.
        prior: (C,) what is answered where nothing is present: shares of the classes in training, or their mean.
        family: what of the regressions depends on the kind of answer.
        ranking: views from best to worst, by accuracy on validation records (the prior where the view is
            absent); numbers by their loss.
        best_single: the first of them.
        sampled: training records the rivals saw, where that is fewer than there were; else None.
    """

    def __init__(self, views: Sequence[str], classes: int) -> None:
        self.views, self.classes = list(views), classes
        self.subsets = subsets_of(self.views)
        if classes > MANY_CLASSES:
            self.subsets = [subset for subset in self.subsets if len(subset) in (1, len(self.views))]
        self.counts: dict[Subset, int] = {}
        self.family: Family = Multinomial(np.full(classes, 1 / max(classes, 1)))
        self.ranking = list(views)
        self.sampled: int | None = None
        self._scales: dict[str, Scale] = {}
        self._fitted: dict[tuple[Subset, bool], Regression] = {}

    @property
    def prior(self) -> np.ndarray:
        """(C,) the answer where nothing is present."""
        return self.family.prior

    @property
    def best_single(self) -> str:
        """The best single view of all, as validation ranked them."""
        return self.ranking[0]

    def best_of(self, subset: Sequence[str]) -> str:
        """The best single view among some, as validation ranked them."""
        return next(view for view in self.ranking if view in subset)

    def strength(self, subset: Sequence[str], *, filled: bool = False) -> float | None:
        """The C that was chosen; None where fewer than two classes left nothing to fit."""
        fitted = self._fitted.get((self._key(subset), filled))
        return fitted.strength if fitted else None

    def few(self, subset: Sequence[str]) -> bool:
        """Trained on too few records to be counted."""
        return self.counts.get(self._key(subset), 0) < FEW

    def _key(self, subset: Sequence[str]) -> Subset:
        return tuple(view for view in self.views if view in set(subset))

    @classmethod
    def train(
        cls, features: Features, present: np.ndarray, targets: np.ndarray,
        valid_features: Features | None = None, valid_present: np.ndarray | None = None,
        valid_targets: np.ndarray | None = None, *, views: Sequence[str], classes: int, seed: int = 0,
        progress: Callable[[int, int], None] | None = None, limit: int = 50_000,
        yardstick: Yardstick | None = None, prior: np.ndarray | None = None,
    ) -> Rivals:
        """Fit all rivals.

        Args:
            features: {view: (N, P)} dense or sparse, of the training records; absent rows are never read.
            present: (N, V) bool.
            targets: (N, ...), class numbers or what else the yardstick takes.
            valid_features: likewise for the validation records, which choose C and the best single view.
            views: names, in the order of the mask's columns.
            classes: C, numbers of an answer.
            seed: of the sample and the folds.
            progress: called with (regressions done, all of them).
            limit: training records above which a random sample is drawn.
            yardstick: says what kind of answers they are and how they are judged; classes if None.
            prior: (C,) answered where nothing is present; that of the training targets if None.
        """
        self, yardstick = cls(views, classes), yardstick or Classes()
        present, targets = np.asarray(present, bool), yardstick.targets(targets)
        self.family = FAMILIES[yardstick.kind].of(targets, classes, prior)
        if classes > MANY_CLASSES:
            limit = min(limit, MANY_SAMPLE)
        if len(targets) > limit:
            chosen = np.sort(np.random.default_rng(seed).choice(len(targets), limit, replace=False))
            features = only_of(features, chosen)
            present, targets, self.sampled = present[chosen], targets[chosen], limit
        for v, view in enumerate(views):
            self._scales[view] = Scale.learn(features[view], np.flatnonzero(present[:, v]))
        train = _Records(features, self._scales, present, targets, list(views))
        valid = None
        if valid_targets is not None and len(valid_targets):
            valid_present, valid_targets = np.asarray(valid_present, bool), yardstick.targets(valid_targets)
            known = np.flatnonzero(yardstick.known(valid_targets))
            valid = _Records(
                only_of(valid_features, known), self._scales, valid_present[known], valid_targets[known], list(views)
            )
        fit = _Fit(train, valid, self.family, yardstick, seed)
        jobs = [(subset, filled) for subset in self.subsets for filled in (False, True)]
        for done, (subset, filled) in enumerate(jobs):
            self.counts[subset] = int(train.having(subset).sum())
            alike = filled and self.counts[subset] == len(targets)  # presence bits say nothing
            fitted = self._fitted.get((subset, False)) if alike else fit(subset, filled)
            if fitted is not None:
                self._fitted[subset, filled] = fitted
            if progress:
                progress(done + 1, len(jobs))
        self.ranking = self._rank(valid or train, yardstick)
        return self

    def _blocks(self, features: Features, present: np.ndarray, views: Sequence[str]) -> dict[str, Any]:
        return {
            view: self._scales[view].apply(whole(features[view]), present[:, self.views.index(view)])
            for view in views
        }

    def _rank(self, judged: _Records, yardstick: Yardstick) -> list[str]:
        def merit(view: str) -> tuple[float, ...]:
            return yardstick.merit(self.answer((view,), judged.features, judged.present), judged.targets)

        return sorted(self.views, key=merit, reverse=True) if len(judged.targets) else list(self.views)

    def answer(
        self, subset: Sequence[str], features: Features, present: np.ndarray, *, filled: bool = False
    ) -> np.ndarray:
        """Probabilities of a rival.

        A record that lacks a view of the subset is answered by the filled rival; one that lacks all of them
        gets the prior. So a single view's rival gives the prior where its view is absent.

        Args:
            subset: views; the rival never reads others.
            features: {view: (B, P)}, at least of the subset's views.
            present: (B, V) bool, columns as in ``views``.
            filled: the rival trained on all records with presence bits.

        Returns:
            (B, C).
        """
        return self.mean_answer(subset, features, present, (filled,))

    def mean_answer(
        self, subset: Sequence[str], features: Features, present: np.ndarray, kinds: Sequence[bool]
    ) -> np.ndarray:
        """(B, C): mean of ``answer`` over several values of ``filled``, from features that are read once."""
        key, present = self._key(subset), np.asarray(present, bool)
        out = np.zeros((len(present), len(self.prior)))
        for some in slices(len(present)):
            mine = self._blocks({view: features[view][some] for view in key}, present[some], key)
            for filled in kinds:
                out[some] += self._answer(key, mine, present[some], filled=filled) / len(kinds)
        return out

    def _answer(self, key: Subset, blocks: Features, present: np.ndarray, *, filled: bool) -> np.ndarray:
        columns = {view: present[:, self.views.index(view)] for view in key}
        having = np.sum(list(columns.values()), axis=0)
        out = np.tile(self.prior, (len(present), 1))
        for rows, kind in (
            (having == len(key), filled),
            ((having > 0) & (having < len(key)), True),
        ):
            fitted = self._fitted.get((key, kind))
            rows = np.flatnonzero(rows)
            if fitted is not None and len(rows):
                out[rows] = fitted.answer(
                    {view: blocks[view][rows] for view in key},
                    {view: column[rows] for view, column in columns.items()}, self.family,
                )
        return out

    def state(self) -> dict[str, Any]:
        """Everything as a tree of JSON values and arrays."""
        entries: dict[int, dict[str, Any]] = {}  # one that serves as both rivals of its subset is kept once
        for (subset, filled), one in self._fitted.items():
            entry = entries.setdefault(
                id(one),
                {
                    "subset": list(subset),
                    "filled": [],
                    "strength": one.strength,
                    "records": one.records,
                    "classes": one.classes,
                    "bias": one.bias,
                    "weights": dict(one.weights),
                    "bits": dict(one.bits),
                },
            )
            entry["filled"].append(filled)
        return {
            "kind": self.family.kind, "centre": self.family.centre, "spread": self.family.spread,
            "views": list(self.views), "classes": self.classes, "ranking": list(self.ranking),
            "sampled": self.sampled, "counts": [self.counts[subset] for subset in self.subsets],
            "prior": self.prior,
            "scales": {
                view: {"scale": one.scale} | ({} if one.mean is None else {"mean": one.mean})
                for view, one in self._scales.items()
            },
            "fitted": list(entries.values()),
        }

    @classmethod
    def load(cls, state: Mapping[str, Any]) -> Rivals:
        """Undo ``state``."""
        self = cls(state["views"], state["classes"])
        self.ranking, self.sampled = list(state["ranking"]), state["sampled"]
        self.counts = dict(zip(self.subsets, state["counts"], strict=True))
        family = FAMILIES[state.get("kind", "classes")]
        self.family = family(np.asarray(state["prior"]), state.get("centre", 0.0), state.get("spread", 1.0))
        self._scales = {view: Scale(one["scale"], one.get("mean")) for view, one in state["scales"].items()}
        for one in state["fitted"]:
            fitted = Regression(
                one["strength"],
                one["records"],
                np.asarray(one["classes"]),
                dict(one["weights"]),
                one["bias"],
                dict(one["bits"]),
            )
            for filled in one["filled"]:
                self._fitted[tuple(one["subset"]), filled] = fitted
        return self


@dataclass
class _Records:
    """Features of some records, with how to standardise them, their mask and targets."""

    features: Features
    scales: Mapping[str, Scale]
    present: np.ndarray
    targets: np.ndarray
    views: list[str]

    def having(self, subset: Subset) -> np.ndarray:
        """(N,) bool: records that have all views of the subset."""
        return self.present[:, [self.views.index(view) for view in subset]].all(1)

    def block(self, view: str, rows: np.ndarray) -> Any:
        """Standardised features of some records."""
        return self.scales[view].apply(whole(only(self.features[view], rows)), self.present[rows, self.views.index(view)])


class _Fit:
    """Fits the rivals of all subsets; views' kernels are computed once and summed."""

    def __init__(
        self, train: _Records, valid: _Records | None, family: Family, yardstick: Yardstick, seed: int
    ) -> None:
        self.train, self.valid, self.family, self.yardstick, self.seed = train, valid, family, yardstick, seed
        self._kernels: dict[str, np.ndarray] = {}
        self._across: dict[str, np.ndarray] = {}

    def __call__(self, subset: Subset, filled: bool) -> Regression | None:
        everyone = np.ones(len(self.train.targets), bool)
        rows = np.flatnonzero(everyone if filled else self.train.having(subset))
        family, classes = self.family, self.family.outputs(self.train.targets[rows]) if len(rows) else None
        if classes is None:
            return None
        judges = self._judges(subset)
        make = _Kernel if len(rows) <= _KERNEL_LIMIT else _Primal
        problem = make(self, subset, filled, rows)
        labels = family.local(self.train.targets[rows], classes)
        strengths = family.strengths if len(family.prior) <= MANY_CLASSES else (MANY_STRENGTH,)
        scout, known = problem, labels
        if len(rows) > _CHOICE_ROWS:
            some = np.sort(np.random.default_rng(self.seed).choice(len(rows), _CHOICE_ROWS, replace=False))
            scout, known = make(self, subset, filled, rows[some]), labels[some]
        if len(strengths) == 1:
            path, losses = scout.path(np.arange(len(known)), known, len(classes), strengths), [0.0]
        elif judges is not None:
            path = scout.path(np.arange(len(known)), known, len(classes), strengths)
            losses = self._judged(scout, path, classes, judges)
        else:
            losses = self._cross_validated(scout, known, classes)
            upto = int(np.argmin(losses)) + 1
            path = scout.path(np.arange(len(known)), known, len(classes), strengths[:upto])
        best = int(np.argmin(losses))
        weights, bits, bias = problem.primal(problem.polished(path[best], labels, strengths[best]))
        return Regression(
            strengths[best], len(rows), classes, {view: w.astype(np.float32) for view, w in weights.items()},
            bias.astype(np.float32), {view: b.astype(np.float32) for view, b in bits.items()},
        )

    def _judges(self, subset: Subset) -> np.ndarray | None:
        """Validation records that choose C; None where they are too few."""
        if self.valid is None:
            return None
        rows = np.flatnonzero(self.valid.having(subset))
        if len(rows) < _FEW_VALID:
            return None
        return rows[:: -(-len(rows) // _JUDGES)]

    def _judged(
        self, problem: _Kernel | _Primal, path: list[np.ndarray], classes: np.ndarray, judges: np.ndarray
    ) -> list[float]:
        """Mean log loss of each regression of a path on the records that judge."""
        losses = np.zeros(len(path))
        for some in slices(len(judges)):
            targets = self.valid.targets[judges[some]]
            logits = problem.valid_logits(path, judges[some])
            losses += [len(targets) * self.family.judged(one, classes, targets, self.yardstick) for one in logits]
        return list(losses / len(judges))

    def _cross_validated(
        self, problem: _Kernel | _Primal, labels: np.ndarray, classes: np.ndarray
    ) -> list[float]:
        family, fold = self.family, folds(self.family.strata(labels), 3, self.seed)
        targets = self.train.targets[problem.rows]
        losses = np.zeros(len(family.strengths))
        for k in range(3):
            inside, outside = np.flatnonzero(fold != k), np.flatnonzero(fold == k)
            seen = family.outputs(targets[inside]) if len(inside) else None
            if seen is None or not len(outside):
                continue
            path = problem.path(inside, family.local(targets[inside], seen), len(seen), family.strengths)
            for i, one in enumerate(path):
                logits = problem.train_logits(one, inside, outside)
                losses[i] += len(outside) * family.judged(logits, seen, targets[outside], self.yardstick)
        return list(losses)

    def kernel(self, view: str, rows: np.ndarray) -> np.ndarray:
        """(n, n) inner products of a view's training rows; all of them are kept where they are few."""
        if len(self.train.targets) > _KERNEL_LIMIT:
            block = self.train.block(view, rows)
            return _dense(block @ block.T)
        if view not in self._kernels:
            block = self.train.block(view, np.arange(len(self.train.targets)))
            self._kernels[view] = _dense(block @ block.T)
        return self._kernels[view][np.ix_(rows, rows)]

    def across(self, view: str, judges: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """Inner products of a view's validation and training rows."""
        valid, train = self.valid, self.train
        if max(len(valid.targets), len(train.targets)) > _KERNEL_LIMIT:
            return _dense(valid.block(view, judges) @ train.block(view, rows).T)
        if view not in self._across:
            everyone = (records.block(view, np.arange(len(records.targets))) for records in (valid, train))
            self._across[view] = _dense(next(everyone) @ next(everyone).T)
        return self._across[view][np.ix_(judges, rows)]


class _Kernel:
    """Regression in the span of the training rows: exact by the representer theorem, W = X'a."""

    def __init__(self, fit: _Fit, subset: Subset, filled: bool, rows: np.ndarray) -> None:
        self.fit, self.subset, self.filled, self.rows = fit, subset, filled, rows
        self.gram = sum(fit.kernel(view, rows) for view in subset) + _INTERCEPT
        self.bits = fit.train.present[rows].astype(np.float64)
        if filled:
            mine = self._mine(self.bits, fit.train.views)
            self.gram += mine @ mine.T

    def _mine(self, present: np.ndarray, views: list[str]) -> np.ndarray:
        return present[:, [views.index(view) for view in self.subset]].astype(np.float64)

    def path(
        self, inside: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float]
    ) -> list[np.ndarray]:
        gram = self.gram if len(inside) == len(self.rows) else self.gram[np.ix_(inside, inside)]
        return _solve(gram, self.fit.family, labels, classes, strengths)

    def polished(self, dual: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
        return _solve(self.gram, self.fit.family, labels, dual.shape[1], [strength], start=dual, tolerance=_FINE)[0]

    def train_logits(self, dual: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return self.gram[np.ix_(outside, inside)] @ dual

    def valid_logits(self, path: list[np.ndarray], judges: np.ndarray) -> list[np.ndarray]:
        fit = self.fit
        across = sum(fit.across(view, judges, self.rows) for view in self.subset) + _INTERCEPT
        if self.filled:
            here = self._mine(fit.valid.present[judges], fit.valid.views)
            across = across + here @ self._mine(self.bits, fit.train.views).T
        return [across @ dual for dual in path]

    def primal(self, dual: np.ndarray) -> tuple[dict, dict, np.ndarray]:
        train = self.fit.train
        weights = {view: _dense(train.block(view, self.rows).T @ dual) for view in self.subset}
        bits = {}
        if self.filled:
            bits = {view: self.bits[:, train.views.index(view)] @ dual for view in self.subset}
        return weights, bits, _INTERCEPT * dual.sum(0)


class _Primal:
    """Regression on the columns themselves, for many records: L-BFGS in coordinates of even curvature.

    With L L' about the Hessian of one class (X'WX + 1/C of the dense columns, its diagonal of the sparse
    ones; W holds each record's mean of p(1 - p), over at most ``_CURVATURE_ROWS`` records), u = L'w is nearly
    round, and a few dozen steps do. The optimum is the same in any coordinates.
    """

    def __init__(self, fit: _Fit, subset: Subset, filled: bool, rows: np.ndarray) -> None:
        self.fit, self.subset, self.filled, self.rows = fit, subset, filled, rows
        blank = {view: fit.train.block(view, rows[:1]) for view in subset}
        self.thin = [view for view in subset if _is_sparse(blank[view])]
        self.solid = [view for view in subset if view not in self.thin]
        self.blocks: list[Any] = [Rows(), *(SparseRows(blank[view].shape[1]) for view in self.thin)]
        for some in slices(len(rows)):
            for store, part in zip(self.blocks, self._gather(fit.train, rows[some]), strict=True):
                store.append(part.astype(np.float32))
        self.solid_widths = [blank[view].shape[1] for view in self.solid]
        self.widths = [store.tail[0] for store in self.blocks]

    def _gather(self, records: _Records, rows: np.ndarray) -> list[Any]:
        """Dense columns, presence bits and a constant in one block, then a block for each sparse view."""
        parts = [records.block(view, rows) for view in self.solid]
        if self.filled:
            columns = [records.views.index(view) for view in self.subset]
            parts.append(records.present[np.ix_(rows, columns)].astype(float))
        parts.append(np.full((len(rows), 1), np.sqrt(_INTERCEPT)))
        return [np.hstack(parts), *(records.block(view, rows) for view in self.thin)]

    def _logits(self, blocks: list[Any], weights: np.ndarray) -> np.ndarray:
        parts = np.split(weights, np.cumsum(self.widths)[:-1])
        return sum(block @ part for block, part in zip(blocks, parts, strict=True))

    def path(
        self, inside: np.ndarray, labels: np.ndarray, classes: int, strengths: Sequence[float],
        start: np.ndarray | None = None, tolerance: float = _ROUGH,
    ) -> list[np.ndarray]:
        from scipy.optimize import minimize

        n, family = len(labels), self.fit.family
        blocks = self.blocks if len(inside) == len(self.rows) else [block[inside] for block in self.blocks]
        shape = (sum(self.widths), classes)
        weights, found = np.zeros(shape) if start is None else start, []
        curved = slice(0, n, -(-n // _CURVATURE_ROWS))
        for strength in strengths:
            strength = family.strength(strength, classes)
            some = [block[curved] for block in blocks]
            rounded = _Rounded(some, family, self._logits(some, weights), strength, n)

            def objective(flat: np.ndarray, strength=strength, rounded=rounded) -> tuple[float, np.ndarray]:
                weights = rounded.weights(flat.reshape(shape))
                value, gradient = (weights**2).sum() / (2 * strength), weights / strength
                for part in slices(n):
                    held = [block[part] for block in blocks]
                    loss, error = family.loss(self._logits(held, weights), labels[part], family.truth(labels[part], classes))
                    value += loss
                    gradient += np.concatenate([_dense(block.T @ error) for block in held])
                return value / n, rounded.gradient(gradient).ravel() / n

            result = minimize(
                objective, rounded.coordinates(weights).ravel(), jac=True, method="L-BFGS-B",
                options={"maxiter": 500, "gtol": tolerance / 20, "ftol": tolerance**2 / 100},
            )
            weights = rounded.weights(result.x.reshape(shape))
            found.append(weights)
        return found

    def polished(self, weights: np.ndarray, labels: np.ndarray, strength: float) -> np.ndarray:
        everyone = np.arange(len(labels))
        tolerance = _FINE if len(labels) <= _CHOICE_ROWS else _ROUGH  # of many, the last digits of the loss say nothing
        return self.path(everyone, labels, weights.shape[1], [strength], start=weights, tolerance=tolerance)[0]

    def train_logits(self, weights: np.ndarray, inside: np.ndarray, outside: np.ndarray) -> np.ndarray:
        return self._logits([block[outside] for block in self.blocks], weights)

    def valid_logits(self, path: list[np.ndarray], judges: np.ndarray) -> list[np.ndarray]:
        blocks = self._gather(self.fit.valid, judges)
        return [self._logits(blocks, weights) for weights in path]

    def primal(self, weights: np.ndarray) -> tuple[dict, dict, np.ndarray]:
        names = [*self.solid, "", *self.thin]
        rest = self.widths[0] - sum(self.solid_widths)
        widths = [*self.solid_widths, rest, *self.widths[1:]]
        parts = dict(zip(names, np.split(weights, np.cumsum(widths)[:-1]), strict=True))
        rest = parts.pop("")
        bits = dict(zip(self.subset, rest[:-1], strict=True)) if self.filled else {}
        return parts, bits, np.sqrt(_INTERCEPT) * rest[-1]


class _Rounded:
    """Coordinates u = L'w in which the objective of one record is nearly round."""

    def __init__(self, blocks: list[Any], family: Family, logits: np.ndarray, strength: float, n: int) -> None:
        curve = family.curve(family.mean(logits))[:, 0] / len(logits)
        solid, *thin = blocks
        solid = solid.astype(np.float64)
        self.width = solid.shape[1]
        hessian = (solid * curve[:, None]).T @ solid
        hessian[np.diag_indices(self.width)] += 1 / (strength * n)
        self.factor = np.linalg.cholesky(hessian)
        diagonals = [np.asarray((b.multiply(b)).T @ curve).ravel() + 1 / (strength * n) for b in thin]
        self.roots = np.sqrt(np.concatenate(diagonals) if thin else np.zeros(0))[:, None]

    def coordinates(self, weights: np.ndarray) -> np.ndarray:
        return np.concatenate([self.factor.T @ weights[: self.width], self.roots * weights[self.width :]])

    def weights(self, coordinates: np.ndarray) -> np.ndarray:
        return self._solved(coordinates, trans="T")

    def gradient(self, gradient: np.ndarray) -> np.ndarray:
        return self._solved(gradient, trans="N")

    def _solved(self, x: np.ndarray, trans: str) -> np.ndarray:
        from scipy.linalg import solve_triangular

        solid = solve_triangular(self.factor, x[: self.width], lower=True, trans=trans, check_finite=False)
        return np.concatenate([solid, x[self.width :] / self.roots])


def _solve(
    gram: np.ndarray, family: Family, labels: np.ndarray, classes: int, strengths: Sequence[float],
    start: np.ndarray | None = None, tolerance: float = _ROUGH, memory: int = 8, rounds: int = 300,
) -> list[np.ndarray]:
    """Regression in dual coordinates, for rising C.

    Minimises sum of losses of f = K a, plus tr(a'K a) / 2C. Everything is said with the functional gradient
    g = p - y + a/C (the gradient is K g) and with f, so one solve a step is the whole cost: L-BFGS whose
    initial inverse Hessian is (K W K + K/C)^-1, where W holds each record's mean of p(1 - p) at the start;
    K r then comes free from (W K + 1/C) r = q.

    Args:
        gram: (n, n) inner products K.
        family: with its loss; of numbers the first step is the closed solution.
        labels: (n, ...), as ``family.local`` gives them.
        classes: outputs K.
        strengths: values of C, rising; each starts from the last solution.
        start: the solution to start from.
        tolerance: stops when a step promises less than its square, per record, in the loss.

    Returns:
        a (n, classes) for each C.
    """
    from scipy.linalg import cho_factor, cho_solve

    truth = family.truth(labels, classes)
    a = np.zeros((len(labels), classes)) if start is None else start
    f = gram @ a
    found = []
    for strength in strengths:
        strength = family.strength(strength, classes)
        loss, error = family.loss(f, labels, truth)
        curve = family.curve(error + truth)
        root = np.sqrt(curve)
        shifted = gram * root * root.T
        shifted[np.diag_indices(len(gram))] += 1 / strength
        factor = cho_factor(shifted, lower=True, overwrite_a=True, check_finite=False)
        value = loss + np.vdot(a, f) / (2 * strength)
        g = error + a / strength
        steps: list[tuple[np.ndarray, np.ndarray, np.ndarray, float]] = []
        for _ in range(rounds):
            q, used = g.copy(), []
            for _, ks, y, rho in reversed(steps):
                used.append(rho * np.vdot(ks, q))
                q -= used[-1] * y
            r = np.ascontiguousarray(root * cho_solve(factor, q / root, check_finite=False))
            kr = (q - r / strength) / curve
            for (s, ks, y, rho), first in zip(steps, reversed(used), strict=True):
                second = rho * np.vdot(y, kr)
                r += (first - second) * s
                kr += (first - second) * ks
            slope = -np.vdot(g, kr)  # of the objective along -r
            if -slope < tolerance**2 * len(labels):
                break
            size = 1.0
            while True:
                new_a, new_f = a - size * r, f - size * kr
                loss, error = family.loss(new_f, labels, truth)
                new_value = loss + np.vdot(new_a, new_f) / (2 * strength)
                if new_value <= value + 1e-4 * size * slope or size < 1e-6:
                    break
                size /= 2
            new_g = error + new_a / strength
            s, ks, y = new_a - a, new_f - f, new_g - g
            along = np.vdot(y, ks)
            if along > 0:
                steps = [*steps[-memory + 1 :], (s, ks, y, 1 / along)]
            a, f, g, value = new_a, new_f, new_g, new_value
        found.append(a)
    return found


def _dense(block: Any) -> np.ndarray:
    return block.toarray() if _is_sparse(block) else np.asarray(block)
