"""Measures with intervals and paired differences; here those of classes, in the files beside it those of other answers.

N records, C classes, R resamples, K sums. Every measure but AUROC is a function of *weighted sums over
records* (how often class c was said, how often rightly, the summed loss, ...). So a thousand bootstrap
resamples are one matrix product, and everything judged on the same records shares one draw.

Conventions:
    * A target of -1 is a class unseen in training: it counts as wrong and is left out of log loss and AUROC.
    * Macro and weighted means run over the classes that occur in targets or predictions (unseen ones count
      as one class, never found); 0/0 within such a class is 0. This is scikit-learn's convention. In a
      resample that lacks a class altogether, the class is left out of that resample's mean.
    * Log loss clips probabilities at 1e-7, what float32 answers can tell apart from zero.
    * ECE: 15 bins of equal mass of the top probability, cut once on all records.
    * Intervals: 95 % percentile bootstrap over records, or over groups where there are groups; widened to
      hold the value itself (ECE is biased upwards by noise, and in resamples twice).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Score = dict[str, float | None]
Scores = dict[str, Score]

BINS = 15
TINY = 1e-7
_CELLS = 25_000_000  # weights that are kept, in a byte each
_ROWS = 8192  # records whose sums are made at a time
_PIECE = 1_000_000  # weights that are worked with at a time, in 16 bytes each


def _ratio(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient; 0 where nothing is divided by nothing."""
    return np.divide(above, below, out=np.zeros(np.broadcast(above, below).shape), where=below > 0)


def _precision(s: Mapping[str, np.ndarray]) -> np.ndarray:
    return _ratio(s["right"], s["said"])


def _recall(s: Mapping[str, np.ndarray]) -> np.ndarray:
    return _ratio(s["right"], s["true"])


def _f1(s: Mapping[str, np.ndarray]) -> np.ndarray:
    return _ratio(2 * s["right"], s["said"] + s["true"])


def _micro(s: Mapping[str, np.ndarray]) -> np.ndarray:
    """With one class said per record, micro precision, recall and F1 all equal accuracy."""
    return _undefined(s["right"].sum(-1), s["n"][:, 0])


def _undefined(above: np.ndarray, below: np.ndarray) -> np.ndarray:
    """Quotient; NaN where there is nothing to judge."""
    return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)


def _macro(part: Callable) -> Callable:
    def mean(s: Mapping[str, np.ndarray]) -> np.ndarray:
        occurs = (s["true"] + s["said"]) > 0
        return _undefined((part(s) * occurs).sum(-1), occurs.sum(-1).astype(float))

    return mean


def _weighted(part: Callable) -> Callable:
    return lambda s: _undefined((part(s) * s["true"]).sum(-1), s["true"].sum(-1))


#: name -> formula over the sums of ``_table``.
_FORMULAS: dict[str, Callable[[Mapping[str, np.ndarray]], np.ndarray]] = {
    "accuracy": _micro,
    "macro_f1": _macro(_f1),
    "log_loss": lambda s: _undefined(s["loss"][:, 0], s["known"][:, 0]),
    "ece": lambda s: _undefined(np.abs(s["gap"]).sum(-1), s["n"][:, 0]),
    "macro_precision": _macro(_precision),
    "macro_recall": _macro(_recall),
    "weighted_precision": _weighted(_precision),
    "weighted_recall": _weighted(_recall),
    "weighted_f1": _weighted(_f1),
    "micro_precision": _micro,
    "micro_recall": _micro,
    "micro_f1": _micro,
}

#: All measures, in the order in which they are shown.
MEASURES = ("accuracy", "macro_f1", "log_loss", "ece", "auroc", *list(_FORMULAS)[4:])
#: The four that DESIGN names: enough for a table of subsets.
SHORT = ("accuracy", "macro_f1", "log_loss", "ece")
#: Measures of which less is better, of whatever kind of answer.
LOWER_IS_BETTER = frozenset({"log_loss", "ece", "mae", "rmse", "hamming_loss", "ranking_loss", "wer", "cer"})
#: Measures that are shares: shown in percent, their differences in points.
SHARES = frozenset({
    "accuracy", "micro_precision", "micro_recall", "micro_f1", "macro_precision", "macro_recall", "macro_f1",
    "weighted_precision", "weighted_recall", "weighted_f1", "subset_accuracy", "exact", "rouge_l", "wer", "cer",
})
#: Measures in the target's unit.
UNITS = frozenset({"mae", "rmse"})
#: Kind of answer -> what it is compared by in a line: the main measure, and two more. Of words: a caption's, a transcript's.
LINES = {
    "classes": ("accuracy", "macro_f1", "log_loss"), "numbers": ("rmse", "mae", "r2"),
    "labels": ("log_loss", "micro_f1", "macro_f1"), "words": ("cider", "bleu4", "rouge_l"),
    "words wer": ("wer", "cer", "exact"),
}


class Yardstick:
    """How answers of one kind are measured. N records, A numbers of an answer, R resamples.

    A task makes its own (``Task.yardstick``); whatever compares answers (rivals, mixture, judge) asks it and
    knows no task.

    Class attributes:
        kind: of the answers: "classes" (probabilities that sum to 1), "labels" (a probability each), "numbers" or "words".
        measures: names of all measures that an evaluation shows, in this order.
        short: those of a table of subsets.
        main: the one by which views, subsets and values of a column are compared.
    """

    kind: str = ""
    measures: tuple[str, ...] = ()
    short: tuple[str, ...] = ()
    main: str = ""

    def targets(self, targets: Any) -> np.ndarray:
        """(N, ...): the targets as an array of their type."""
        raise NotImplementedError

    def known(self, targets: np.ndarray) -> np.ndarray:
        """(N,) bool: records whose loss is defined."""
        raise NotImplementedError

    def answers(self, answers: Any) -> np.ndarray:
        """(N, ...): answers as a new array of their type."""
        return np.array(answers, np.float64)

    def constant(self, answer: Any, n: int) -> np.ndarray:
        """(n, ...): the same answer to all records."""
        return np.broadcast_to(answer, (n, *np.shape(answer)))

    def own(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N, ...): the part of the answers that the loss reads; mixing answers mixes it alike."""
        return answers

    def losses(self, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,): loss of each record, all of them known, from what ``own`` gave."""
        raise NotImplementedError

    def bare(self) -> Yardstick:
        """Without what a model has chosen for itself: what a constant answer is measured by."""
        return self

    def merit(self, answers: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
        """How good answers are; the larger tuple is the better one."""
        return (-float(self.losses(self.own(answers, targets), targets).mean()),)

    def judge(
        self, answers: np.ndarray, targets: np.ndarray, resamples: Resamples, *, rows: np.ndarray | None = None,
        measures: Iterable[str] | None = None,
    ) -> Draws:
        """Measures of answers, with their values in shared resamples; all of ``measures`` if None."""
        raise NotImplementedError

    def p_worse(
        self, model: np.ndarray, rival: np.ndarray, targets: np.ndarray, *, groups: Sequence | np.ndarray | None = None
    ) -> float:
        """One-sided p: how often chance alone would leave the model as far behind."""
        raise NotImplementedError


class Classes(Yardstick):
    """Measures of one class out of several; targets (N,) class numbers, -1 for one unseen in training.

    Args:
        threshold: of two classes the second is said from this probability on; the likeliest class if None.

    >>> Classes().losses(np.array([0.5, 0.25]), np.array([0, 1])).round(3).tolist()
    [0.693, 1.386]
    >>> Classes(0.2).said(np.array([[0.7, 0.3]])).tolist()
    [1]
    """

    kind, main, measures, short = "classes", "accuracy", MEASURES, SHORT

    def __init__(self, threshold: float | None = None) -> None:
        self.threshold = threshold

    def said(self, answers: np.ndarray) -> np.ndarray:
        """(N,) class numbers that are said."""
        return said(np.asarray(answers), self.threshold)

    def bare(self) -> Classes:
        return Classes()

    def targets(self, targets: Any) -> np.ndarray:
        return np.asarray(targets, int)

    def known(self, targets: np.ndarray) -> np.ndarray:
        return targets >= 0

    def own(self, answers: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return answers[np.arange(len(targets)), targets]

    def losses(self, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
        return -np.log(own + 1e-9)

    def merit(self, answers: np.ndarray, targets: np.ndarray) -> tuple[float, ...]:
        loss = -np.log(self.own(answers, targets) + 1e-30)
        return float((self.said(answers) == targets).mean()), -float(loss.mean())

    def judge(
        self, answers: np.ndarray, targets: np.ndarray, resamples: Resamples, *, rows: np.ndarray | None = None,
        measures: Iterable[str] | None = None,
    ) -> Draws:
        return judge(answers, targets, resamples, rows=rows, measures=measures, threshold=self.threshold)

    def p_worse(
        self, model: np.ndarray, rival: np.ndarray, targets: np.ndarray, *, groups: Sequence | np.ndarray | None = None
    ) -> float:
        return p_worse(model, rival, targets, groups=groups, threshold=self.threshold)


def said(p_NC: np.ndarray, threshold: float | None = None) -> np.ndarray:
    """(N,) class numbers: the likeliest, or of two classes the second from a threshold on."""
    return p_NC.argmax(1) if threshold is None else (p_NC[:, 1] >= threshold).astype(int)


def _table(
    p_NC: np.ndarray, targets_N: np.ndarray, kind: type = np.float32, threshold: float | None = None
) -> tuple[np.ndarray, np.ndarray, dict[str, int]]:
    """Per record, what the formulas need the weighted sums of.

    Returns:
        (N, K) of that kind, its column sums (1, K), and how many columns each name has.
    """
    n, classes = p_NC.shape
    likeliest = p_NC.argmax(1) if n else np.zeros(0, int)
    taken = said(p_NC, threshold) if n else likeliest
    true = np.where(targets_N < 0, classes, targets_N)
    occurring = np.unique(np.concatenate([taken, true]))  # a class nobody has or says adds nothing
    top = p_NC.max(1) if n else np.zeros(0)
    bins = equal_mass(top)

    def some(part: slice) -> dict[str, np.ndarray]:
        own = p_NC[part][np.arange(len(taken[part])), np.maximum(targets_N[part], 0)]
        known = targets_N[part] >= 0
        said_K = (taken[part, None] == occurring).astype(np.float64)
        true_K = (true[part, None] == occurring).astype(np.float64)
        gap = np.zeros((len(own), BINS))
        gap[np.arange(len(own)), bins[part]] = top[part] - (likeliest[part] == targets_N[part])
        return {
            "n": np.ones((len(own), 1)), "right": said_K * true_K, "said": said_K, "true": true_K,
            "known": known[:, None].astype(np.float64),
            "loss": np.where(known, -np.log(np.clip(own, TINY, 1.0)), 0.0)[:, None], "gap": gap,
        }

    widths = {name: part.shape[1] for name, part in some(slice(0, 0)).items()}
    table, sums = np.empty((n, sum(widths.values())), kind), np.zeros((1, sum(widths.values())))
    for start in range(0, n, _ROWS):
        part = slice(start, min(n, start + _ROWS))
        stacked = np.hstack(list(some(part).values()))
        table[part] = stacked
        sums += stacked.sum(0)
    return table, sums, widths


def equal_mass(top_N: np.ndarray) -> np.ndarray:
    """(N,): bin of each confidence for the calibration error; equally many records in each.

    >>> np.bincount(equal_mass(np.linspace(0, 1, 30))).tolist() == [2] * BINS
    True
    """
    bins = np.empty(len(top_N), int)
    bins[np.argsort(top_N, kind="stable")] = np.arange(len(top_N)) * BINS // max(len(top_N), 1)
    return bins


def _split(sums: np.ndarray, widths: Mapping[str, int]) -> dict[str, np.ndarray]:
    ends = np.cumsum(list(widths.values()))[:-1]
    return dict(zip(widths, np.split(sums, ends, axis=1), strict=True))


def measure(
    name: str, probabilities_NC: np.ndarray, targets_N: np.ndarray, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """One measure, weighted.

    Args:
        name: one of ``MEASURES``.
        weights: (N,) or (R, N), how often each record counts; once each if None.

    Returns:
        A number, or (R,) numbers for weights (R, N); NaN where the measure is not defined.

    >>> measure("accuracy", [[.9, .1], [.4, .6], [.8, .2]], [0, 1, 1], [[1, 1, 1], [0, 1, 3]]).tolist()
    [0.6666666666666666, 0.25]
    """
    p_NC, targets_N = _checked(probabilities_NC, targets_N)
    weights_RN = np.ones((1, len(p_NC))) if weights is None else np.atleast_2d(np.asarray(weights, float))
    if name == "auroc":
        values = _auroc(p_NC, targets_N)(weights_RN)
    else:
        table, _, widths = _table(p_NC, targets_N, np.float64)
        values = _FORMULAS[name](_split(weights_RN @ table, widths))
    return float(values[0]) if weights is None or np.ndim(weights) == 1 else values


def _auroc(p_NC: np.ndarray, targets_N: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """Weights (R, N) -> (R,): area under the ROC curve, ties half; beyond two classes the mean of one against the rest."""
    known = np.flatnonzero(targets_N >= 0)
    ways = []
    for c in range(p_NC.shape[1]) if p_NC.shape[1] != 2 else (1,):
        mine = targets_N[known] == c
        if not mine.any() or mine.all():
            continue
        order = np.argsort(p_NC[known, c], kind="stable")
        scores = p_NC[known[order], c]
        starts = np.flatnonzero(np.r_[True, np.diff(scores) != 0])  # first of each run of equal scores
        ways.append((known[order].astype(np.int32), mine[order], starts.astype(np.int32)))

    def areas_of(weights_RN: np.ndarray) -> np.ndarray:
        if not ways:
            return np.full(len(weights_RN), np.nan)
        areas = []
        for order, mine, starts in ways:
            weights = weights_RN[:, order]
            pos = np.add.reduceat(weights * mine, starts, axis=1, dtype=np.float64)
            neg = np.add.reduceat(weights * ~mine, starts, axis=1, dtype=np.float64)
            below = np.cumsum(neg, axis=1) - neg / 2
            areas.append(_undefined((pos * below).sum(1), pos.sum(1) * neg.sum(1)))
        found = np.stack(areas)
        defined = ~np.isnan(found)
        return _undefined(np.where(defined, found, 0).sum(0), defined.sum(0).astype(float))

    return areas_of


def confusion(
    predictions_N: np.ndarray, targets_N: np.ndarray, classes: int, weights: np.ndarray | None = None
) -> np.ndarray:
    """(C + 1, C): how often row's class was answered as column's; the last row is classes unseen in training.

    >>> confusion([0, 1, 1], [0, 0, -1], 2).tolist()
    [[1.0, 1.0], [0.0, 0.0], [0.0, 1.0]]
    """
    predictions_N, targets_N = np.asarray(predictions_N, int), np.asarray(targets_N, int)
    rows = np.where(targets_N < 0, classes, targets_N)
    cells = rows * classes + predictions_N
    return np.bincount(cells, weights=np.ones(len(cells)) if weights is None else weights,
                       minlength=(classes + 1) * classes).reshape(classes + 1, classes)


def _checked(probabilities_NC: np.ndarray, targets_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p_NC, targets_N = np.asarray(probabilities_NC, np.float64), np.asarray(targets_N, int)
    if p_NC.ndim != 2 or targets_N.shape != p_NC.shape[:1]:
        raise ValueError(f"probabilities {p_NC.shape} and targets {targets_N.shape} are not (N, C) and (N,)")
    if targets_N.size and targets_N.max() >= p_NC.shape[1]:
        raise ValueError(
            f"target {targets_N.max()} has no column in probabilities of {p_NC.shape[1]} classes"
        )
    if not np.isfinite(p_NC).all():
        raise ValueError(
            f"the probabilities of record {int(np.argmin(np.isfinite(p_NC).all(1)))} are not finite"
        )
    return p_NC, targets_N


class Resamples:
    """Bootstrap draws of a set of records, shared by everything that is judged on it or on a part of it.

    Args:
        n: records.
        groups: (N,) labels; whole groups are drawn where given.
        samples: R.
        seed: of the draws.

    >>> draws = Resamples(4, groups=["a", "a", "b", "c"], samples=100)
    >>> counts = draws.sums(np.eye(4))
    >>> bool((counts[:, 0] == counts[:, 1]).all())
    True
    """

    def __init__(
        self, n: int, *, groups: Sequence | np.ndarray | None = None, samples: int = 1000, seed: int = 0
    ) -> None:
        self.n, self.samples, self.seed = n, samples, seed
        self.alone = groups is None
        self.unit_N = (
            np.arange(n) if groups is None else np.unique(np.asarray(groups), return_inverse=True)[1]
        )
        self.units = int(self.unit_N.max()) + 1 if n else 0
        self._kept: list[np.ndarray] | None = None

    def _chunks(self) -> Iterator[np.ndarray]:
        """(r, units) counts, some resamples at a time so that a million records fit in memory."""
        step = max(1, min(self.samples, _CELLS // max(self.units, 1)))
        if self._kept is not None:
            yield from (counts.astype(np.float32) for counts in self._kept)
            return
        kept = []
        piece = max(1, _PIECE // max(self.units, 1))
        for start in range(0, self.samples, step):
            rng, end = np.random.default_rng([self.seed, start]), min(start + step, self.samples)
            for first in range(start, end, piece):  # the same draws as of all at once
                r = min(piece, end - first)
                drawn = rng.integers(0, self.units, (r, self.units))
                drawn += np.arange(r)[:, None] * self.units
                counts = np.bincount(drawn.ravel(), minlength=r * self.units).reshape(r, self.units)
                if step == self.samples:
                    kept.append(counts.astype(np.uint8 if counts.max() < 256 else np.uint32))
                yield counts.astype(np.float32)
        if step == self.samples:
            self._kept = kept

    def sums(self, table_NK: np.ndarray, rows: np.ndarray | None = None) -> np.ndarray:
        """(R, K): the columns of a table summed over each resample.

        Args:
            table_NK: one row per record, or per record of ``rows``.
            rows: positions of the table's rows among all N records.
        """
        unit = self.unit_N if rows is None else self.unit_N[rows]
        if self.alone and rows is None:
            totals = np.asarray(table_NK, np.float32)
        elif self.units == self.n:  # a record for itself
            totals = np.zeros((self.units, table_NK.shape[1]), np.float32)
            totals[unit] = table_NK
        else:
            totals = np.zeros((self.units, table_NK.shape[1]))
            np.add.at(totals, unit, table_NK)
            totals = totals.astype(np.float32)
        return np.concatenate([counts @ totals for counts in self._chunks()]).astype(np.float64)

    def each(
        self, per_record: Callable[[np.ndarray], np.ndarray], rows: np.ndarray | None = None
    ) -> np.ndarray:
        """(R,): a function of weights (r, N), for what is no function of sums."""
        unit = self.unit_N if rows is None else self.unit_N[rows]
        return np.concatenate([per_record(counts[:, unit]) for counts in self._chunks()])


@dataclass(frozen=True)
class Draws:
    """Measures of one set of answers: their values, and their values in each resample."""

    values: dict[str, float]
    draws: dict[str, np.ndarray]

    def __sub__(self, other: Draws) -> Draws:
        """Paired difference: both sides were judged on the same records and resamples."""
        return Draws(
            {name: self.values[name] - other.values[name] for name in self.values},
            {name: self.draws[name] - other.draws[name] for name in self.values},
        )

    @staticmethod
    def mean(parts: Sequence[Draws]) -> Draws:
        """Mean over several judgements that share their resamples (say, over subsets)."""
        return Draws(
            {name: float(np.mean([part.values[name] for part in parts])) for name in parts[0].values},
            {name: np.mean([part.draws[name] for part in parts], axis=0) for name in parts[0].values},
        )

    def scores(self) -> Scores:
        """name -> value, low, high; None where a measure is not defined."""
        return {name: self._score(name) for name in self.values}

    def _score(self, name: str) -> Score:
        value, draws = self.values[name], self.draws[name]
        draws = draws[np.isfinite(draws)]
        if not np.isfinite(value) or not len(draws):
            return {"value": None, "low": None, "high": None}
        low, high = np.quantile(draws, [0.025, 0.975])
        return {"value": float(value), "low": float(min(low, value)), "high": float(max(high, value))}


def judge(
    probabilities_NC: np.ndarray, targets_N: np.ndarray, resamples: Resamples,
    *, rows: np.ndarray | None = None, measures: Iterable[str] | None = None, threshold: float | None = None,
) -> Draws:
    """Measures of answers, with their values in shared resamples.

    Args:
        probabilities_NC: answers; the largest of a row is the prediction.
        threshold: of two classes the second is the prediction from this probability on; calibration error and AUROC, which
            judge the probabilities, do not heed it.
        targets_N: class numbers, -1 for a class unseen in training.
        resamples: of the whole set of records.
        rows: where these records stand among the resampled ones; all of them if None.
        measures: names; all of ``MEASURES`` if None.
    """
    p_NC, targets_N = _checked(probabilities_NC, targets_N)
    names = tuple(MEASURES if measures is None else measures)
    table, sums, widths = _table(p_NC, targets_N, threshold=threshold)
    value = _split(sums, widths)
    drawn = _split(resamples.sums(table, rows), widths) if len(p_NC) else None
    values: dict[str, float] = {}
    draws: dict[str, np.ndarray] = {}
    for name in names:
        if drawn is None:
            values[name], draws[name] = np.nan, np.full(resamples.samples, np.nan)
        elif name == "auroc":
            area = _auroc(p_NC, targets_N)
            values[name] = float(area(np.ones((1, len(p_NC))))[0])
            draws[name] = resamples.each(area, rows)
        else:
            values[name], draws[name] = float(_FORMULAS[name](value)[0]), _FORMULAS[name](drawn)
    return Draws(values, draws)


def scores(
    probabilities_NC: np.ndarray, targets_N: np.ndarray, *, groups: Sequence | np.ndarray | None = None,
    samples: int = 1000, seed: int = 0, measures: Iterable[str] | None = None,
) -> Scores:
    """Measures with 95 % bootstrap intervals.

    Args:
        groups: (N,) labels; the bootstrap draws whole groups where given.
        samples: resamples.

    >>> scores([[.9, .1], [.4, .6], [.8, .2]], [0, 1, 1])["accuracy"]["value"].__round__(3)
    0.667
    """
    draws = Resamples(len(targets_N), groups=groups, samples=samples, seed=seed)
    return judge(probabilities_NC, targets_N, draws, measures=measures).scores()


def difference(
    p_model: np.ndarray, p_rival: np.ndarray, targets_N: np.ndarray, *,
    groups: Sequence | np.ndarray | None = None, samples: int = 1000, seed: int = 0,
    measures: Iterable[str] | None = SHORT,
) -> tuple[Scores, float]:
    """Model minus rival on the same records, paired: intervals, and p that the model's accuracy is worse."""
    draws = Resamples(len(targets_N), groups=groups, samples=samples, seed=seed)
    names = tuple(MEASURES if measures is None else measures)
    model, rival = (judge(p, targets_N, draws, measures=names) for p in (p_model, p_rival))
    apart = model - rival
    return apart.scores(), p_worse(p_model, p_rival, targets_N, groups=groups)


def p_worse(
    p_model: np.ndarray, p_rival: np.ndarray, targets_N: np.ndarray, *,
    groups: Sequence | np.ndarray | None = None, threshold: float | None = None,
) -> float:
    """One-sided p: how often chance alone would leave the model as far behind in accuracy.

    The sign-flip test over groups, in exact arithmetic: if model and rival were exchangeable, each group's
    difference in right answers would carry either sign with probability 1/2. Without groups this is McNemar's
    exact test. The middle p (half the probability of the observed value; Fagerland, Lydersen, Laake 2013,
    doi:10.1186/1471-2288-13-91) makes p uniform under the null as nearly as counts allow; the plain exact p
    is too large, a bootstrap's p too small when few records differ.

    By hand: the rival alone is right twice, the model never: p = 0 + (1/2)(1/4).

    >>> p_worse([[.9, .1], [.9, .1]], [[.1, .9], [.1, .9]], [1, 1])
    0.125
    """
    targets_N = np.asarray(targets_N, int)
    right, theirs = (said(np.asarray(p), threshold) == targets_N for p in (p_model, p_rival))
    apart = right.astype(int) - theirs
    if groups is not None:
        apart = np.bincount(np.unique(np.asarray(groups), return_inverse=True)[1], weights=apart).astype(int)
    sizes, counts = np.unique(np.abs(apart[apart != 0]), return_counts=True)
    chance = np.ones(1)  # distribution of the flipped sum, from -total to total
    for size, count in zip(sizes, counts, strict=True):
        spread = np.zeros(2 * size * count + 1)
        spread[:: 2 * size] = _fair_coins(count)
        chance = np.convolve(chance, spread)
    observed = int(apart.sum()) + len(chance) // 2
    return float(min(1.0, chance[:observed].sum() + chance[observed] / 2))


def _fair_coins(n: int) -> np.ndarray:
    """(n + 1,): chances of 0..n heads."""
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    return np.exp(logs[n] - logs - logs[::-1] - n * np.log(2))


def holm(ps: Sequence[float]) -> list[float]:
    """Holm's adjusted p: compare each with the level, and any of them errs no more often than it.

    Holm 1979. By hand: sorted .01 .03 .04 times 3, 2, 1 is .03 .06 .04; none may fall below one before it.

    >>> holm([0.04, 0.01, 0.03])
    [0.06, 0.03, 0.06]
    """
    order = np.argsort(ps, kind="stable")
    rising = np.maximum.accumulate(np.sort(ps) * np.arange(len(ps), 0, -1))
    adjusted = np.empty(len(ps))
    adjusted[order] = np.minimum(1.0, rising)
    return adjusted.tolist()
