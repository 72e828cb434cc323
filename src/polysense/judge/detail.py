"""Finer looks at one set of answers: per class, by confidence, by a column's values, with each view taken away.

Everything here shares the resamples of the evaluation, so differences are paired and respect groups. N records,
V views, C classes, R resamples.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..metrics import LOWER_IS_BETTER, Draws, Resamples, Yardstick, equal_mass

FEW_TEST = 30  #: judged records below which a figure is shown and not counted
FEW_RECORDS, FEW_GROUPS = 10, 5  #: units of the bootstrap below which its intervals say nothing
MOST_VALUES = 30  #: values of a column that are judged each; the rest are judged as one
MOST_CLASSES = 200  #: classes with figures of their own, the most frequent ones
RANGES = 5  #: parts of equal mass that a column of many different numbers is cut into


def per_class(said_N: np.ndarray, targets_N: np.ndarray, names: Sequence[Any], draws: Resamples) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each class with intervals, and what it is taken for.

    Classes that occur in the targets or the answers, the most frequent first; precision is None where a class
    was never said, recall where it never occurs.

    Args:
        said_N: class numbers.
        targets_N: likewise, -1 for a class unseen in training.
        names: the C class names.

    >>> first = per_class(np.array([0, 1, 1]), np.array([0, 0, 1]), ["a", "b"], Resamples(3, samples=20))[0]
    >>> first["class"], first["recall"]["value"], first["taken_for"]
    ('a', 0.5, [{'class': 'b', 'records': 1}])
    """
    said, classes = said_N, len(names)
    true_C, said_C = (np.bincount(part, minlength=classes) for part in (targets_N[targets_N >= 0], said))
    order = sorted(np.flatnonzero(true_C + said_C), key=lambda c: (-true_C[c], c))[:MOST_CLASSES]
    true_NK, said_NK = (part[:, None] == np.array(order, int) for part in (targets_N, said))
    parts = [true_NK & said_NK, said_NK, true_NK]
    once = [part.sum(0, dtype=float)[None] for part in parts]
    drawn = np.split(draws.sums(np.hstack(parts).astype(float)), 3, axis=1)
    value, spread = _class_figures(*once), _class_figures(*drawn)
    rows = []
    for k, c in enumerate(order):
        figures = Draws({m: float(value[m][0, k]) for m in value}, {m: spread[m][:, k] for m in spread})
        others = Counter(said[(targets_N == c) & (said != c)].tolist()).most_common(3)
        rows.append({
            "class": names[c], "records": int(true_C[c]), "said": int(said_C[c]), **figures.scores(),
            "taken_for": [{"class": names[other], "records": count} for other, count in others],
        })
    return rows


def _class_figures(right: np.ndarray, said: np.ndarray, true: np.ndarray) -> dict[str, np.ndarray]:
    def quotient(above: np.ndarray, below: np.ndarray) -> np.ndarray:
        return np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0)

    return {
        "precision": quotient(right, said), "recall": quotient(right, true), "f1": quotient(2 * right, said + true)
    }


def reliability(answers_NC: np.ndarray, targets_N: np.ndarray, draws: Resamples) -> dict[str, Any]:
    """How often answers of a given confidence are right.

    Returns:
        ``bins``: the bins of the calibration error (equal mass), each with its records, mean ``confidence`` and
        ``accuracy``; ECE is the mean of their distances, weighted by records. ``histogram``: records with
        confidence in each tenth from 0 to 1.
    """
    top, right = answers_NC.max(1), answers_NC.argmax(1) == targets_N
    bin_N, bins = equal_mass(top), []
    for b in np.unique(bin_N):
        at = np.flatnonzero(bin_N == b)
        sums = draws.sums(np.stack([right[at], np.ones(len(at))], 1).astype(float), at)
        share = np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)
        accuracy = Draws({"accuracy": float(right[at].mean())}, {"accuracy": share}).scores()["accuracy"]
        bins.append({"records": len(at), "confidence": float(top[at].mean()), "accuracy": accuracy})
    tenths = np.minimum((top * 10).astype(int), 9)
    return {"bins": bins, "histogram": np.bincount(tenths, minlength=10).tolist()}


def worth(
    answer: Callable[[np.ndarray], np.ndarray], answers_NC: np.ndarray, present_NV: np.ndarray, targets_N: np.ndarray,
    views: Sequence[str], draws: Resamples, yardstick: Yardstick,
) -> list[dict[str, Any]]:
    """What each view adds to the others: scores with everything minus scores with the view taken away.

    Judged on the records that have the view and at least one other, paired.

    Args:
        answers_NC: with everything present.
    """
    rows = []
    for v, view in enumerate(views):
        without = present_NV.copy()
        without[:, v] = False
        at = np.flatnonzero(present_NV[:, v] & without.any(1))
        row: dict[str, Any] = {"view": view, "records": len(at), "too_few": len(at) < FEW_TEST, "adds": None}
        if len(at):
            less = yardstick.answers(answer(without))[at]
            whole, rest = (
                yardstick.judge(p, targets_N[at], draws, rows=at, measures=yardstick.short) for p in (answers_NC[at], less)
            )
            row["adds"] = (whole - rest).scores()
        rows.append(row)
    return rows


def by_value(
    column: str, values: Sequence[Any], answers_NC: np.ndarray, targets_N: np.ndarray, draws: Resamples,
    yardstick: Yardstick,
) -> dict[str, Any]:
    """Scores for each value of a column, and their difference to the scores of all records, paired.

    The 30 most frequent values are judged each, the others together; a column of more different numbers than that
    is cut into five ranges of equal mass.

    Args:
        values: (N,) the column's cells; None is judged as *empty*.

    Returns:
        {"column", "values": [{"value", "kind", "records", "too_few", "scores", "difference"}]}; kind is value, range,
        others or empty, and ``others`` has the number of its ``values``.
    """
    parts, short = _parts(values), yardstick.short
    whole = yardstick.judge(answers_NC, targets_N, draws, measures=short)
    rows = []
    for part, at in parts:
        mine = yardstick.judge(answers_NC[at], targets_N[at], draws, rows=at, measures=short)
        rows.append(part | {
            "records": len(at), "too_few": len(at) < FEW_TEST, "scores": mine.scores(), "difference": (mine - whole).scores()
        })
    return {"column": column, "values": rows}


def lowest(by: Mapping[str, Any], main: str = "accuracy") -> dict[str, Any] | None:
    """The counted value with the lowest accuracy (the highest error); None where there are not two to compare."""
    counted = [row for row in by["values"] if not row["too_few"] and row["scores"][main]["value"] is not None]
    worse = -1 if is_lower(main) else 1
    return min(counted, key=lambda row: worse * row["scores"][main]["value"]) if len(counted) > 1 else None


def too_few(evaluation: Mapping[str, Any]) -> tuple[int, str] | None:
    """How many records or groups an evaluation rests on, where these are too few for its intervals to say anything.

    A bootstrap of very few units shows their own spread, not that of others: of one record that is right it says 1 to 1.

    >>> too_few({"records": 1, "groups": None}), too_few({"records": 40, "groups": 2}), too_few({"records": 10, "groups": None})
    ((1, 'record'), (2, 'group'), None)
    """
    records, groups = evaluation["records"], evaluation.get("groups")
    if groups and groups < FEW_GROUPS:
        return groups, "group"
    return (records, "record") if 0 < records < FEW_RECORDS else None


def is_lower(name: str) -> bool:
    """Less of this measure is better."""
    return name in LOWER_IS_BETTER


def clearly_worse(apart: Mapping[str, float | None], main: str) -> bool:
    """The interval of a difference lies wholly on the bad side of zero."""
    if apart["low"] is None:
        return False
    return apart["low"] > 0 if is_lower(main) else apart["high"] < 0


def per_label(
    said_NL: np.ndarray, targets: np.ndarray, names: Sequence[Any], draws: Resamples
) -> list[dict[str, Any]]:
    """Precision, recall and F1 of each label with intervals, the most frequent first.

    Args:
        said_NL: bool.
        targets: (N, L + 1), see ``metrics.labels``.
    """
    true_NL = targets[:, :-1] > 0.5
    order = np.argsort(-true_NL.sum(0), kind="stable")[:MOST_CLASSES]
    order = order[(true_NL | said_NL).any(0)[order]]
    parts = [part[:, order] for part in (true_NL & said_NL, said_NL, true_NL)]
    value = _class_figures(*[part.sum(0, dtype=float)[None] for part in parts])
    spread = _class_figures(*np.split(draws.sums(np.hstack(parts).astype(float)), 3, axis=1))
    return [
        {
            "class": names[c], "records": int(true_NL[:, c].sum()), "said": int(said_NL[:, c].sum()),
            **Draws({m: float(value[m][0, k]) for m in value}, {m: spread[m][:, k] for m in spread}).scores(),
            "taken_for": [],
        }
        for k, c in enumerate(order)
    ]


def wrong_sets(
    answers: np.ndarray, said_NL: np.ndarray, targets: np.ndarray, names: Sequence[Any], rows: Sequence[int] | None, most: int
) -> list[dict[str, Any]]:
    """The wrong sets of labels that were said with the highest probability of the whole set."""
    true_NL = targets[:, :-1] > 0.5
    sure = np.where(said_NL, answers, 1 - answers).prod(1)
    wrong = np.flatnonzero((said_NL != true_NL).any(1) | (targets[:, -1] > 0))
    worst = wrong[np.argsort(-sure[wrong], kind="stable")][:most]

    def named(row: np.ndarray) -> str:
        return ", ".join(str(names[c]) for c in np.flatnonzero(row)) or "∅"

    return [
        {
            "row": int(rows[i]) if rows is not None else int(i), "truth": named(true_NL[i]), "prediction": named(said_NL[i]),
            "probability": float(sure[i]),
        }
        for i in worst
    ]


def errors(answers: np.ndarray, targets_N: np.ndarray, rows: Sequence[int] | None, most: int) -> list[dict[str, Any]]:
    """The largest errors of numbers.

    >>> errors(np.array([[1.0], [5.0]]), np.array([1.5, 2.0]), [7, 9], 1)
    [{'row': 9, 'truth': 2.0, 'prediction': 5.0, 'error': 3.0}]
    """
    error = answers[:, 0] - targets_N
    worst = np.argsort(-np.abs(error), kind="stable")[:most]
    return [
        {
            "row": int(rows[i]) if rows is not None else int(i), "truth": float(targets_N[i]),
            "prediction": float(answers[i, 0]), "error": float(error[i]),
        }
        for i in worst if error[i]
    ]


def wrong_texts(
    yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray, rows: Sequence[int] | None, most: int
) -> list[dict[str, Any]]:
    """The texts that are farthest from what should have been said.

    >>> from polysense.metrics.texts import Texts
    >>> said, meant = np.array(["a b d", "x"], object), Texts().targets(["a b c d", "x"])
    >>> wrong_texts(Texts(), said, meant, None, 2)
    [{'row': 0, 'truth': 'a b c d', 'prediction': 'a b d', 'likeness': 0.836}]
    """
    losses = yardstick.losses(answers, targets)
    worst = np.argsort(-losses, kind="stable")[:most]
    return [_beside(answers, targets, losses, rows, i) for i in worst if losses[i] > 0]


def said_beside(
    yardstick: Yardstick, answers: np.ndarray, targets: np.ndarray, rows: Sequence[int] | None, most: int
) -> list[dict[str, Any]]:
    """What was said beside what should have been said, of records spread evenly over the table."""
    at = np.unique(np.linspace(0, len(targets) - 1, min(most, len(targets))).astype(int))
    losses = yardstick.losses(answers[at], targets[at])
    return [_beside(answers, targets, dict(zip(at.tolist(), losses, strict=True)), rows, i) for i in at.tolist()]


def _beside(answers: np.ndarray, targets: np.ndarray, losses: Any, rows: Sequence[int] | None, i: int) -> dict[str, Any]:
    return {
        "row": int(rows[i]) if rows is not None else int(i), "truth": " / ".join(targets[i]), "prediction": str(answers[i]),
        "likeness": round(1 - float(losses[i]), 3),
    }


def spread(answers: np.ndarray, targets_N: np.ndarray, most: int = 500) -> dict[str, Any]:
    """What was said beside what is true, of up to 500 records spread over the table, and quantiles of the error."""
    at = np.unique(np.linspace(0, len(targets_N) - 1, min(most, len(targets_N))).astype(int))
    error = answers[:, 0] - targets_N
    return {
        "said": answers[at, 0].tolist(), "true": targets_N[at].tolist(),
        "quantiles": {str(q): float(np.quantile(error, q)) for q in (0.05, 0.25, 0.5, 0.75, 0.95)},
    }


def _parts(values: Sequence[Any]) -> list[tuple[dict[str, Any], np.ndarray]]:
    """(what the part is, its positions), no part empty."""
    names = [None if value is None or value != value or str(value).strip() == "" else str(value).strip() for value in values]
    counts = Counter(name for name in names if name is not None)
    numbers = _numbers(counts) if len(counts) > MOST_VALUES else None
    place: dict[str, int] = {}
    if numbers:
        parts, place = _ranges(numbers, counts)
    else:
        kept = sorted(counts, key=lambda name: (-counts[name], name))[:MOST_VALUES]
        parts = [{"value": name, "kind": "value"} for name in kept]
        place = {name: i for i, name in enumerate(kept)}
        if len(counts) > len(kept):
            parts.append({"value": None, "kind": "others", "values": len(counts) - len(kept)})
    parts.append({"value": None, "kind": "empty"})
    of = np.array([len(parts) - 1 if name is None else place.get(name, len(parts) - 2) for name in names], int)
    return [(part, np.flatnonzero(of == i)) for i, part in enumerate(parts) if (of == i).any()]


def _numbers(names: Mapping[str, int]) -> dict[str, float] | None:
    try:
        numbers = {name: float(name) for name in names}
    except ValueError:
        return None
    return numbers if np.isfinite(list(numbers.values())).all() else None


def _ranges(numbers: Mapping[str, float], counts: Mapping[str, int]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """Equal numbers share a range; a range that would be empty is left out."""
    names = sorted(numbers, key=numbers.get)
    mass = np.cumsum([counts[name] for name in names])
    middle = mass - np.array([counts[name] for name in names]) / 2
    of = np.unique(np.minimum(middle * RANGES / mass[-1], RANGES - 1).astype(int), return_inverse=True)[1]
    parts = []
    for i in range(of.max() + 1):
        mine = [numbers[name] for name, part in zip(names, of, strict=True) if part == i]
        parts.append({"value": f"{min(mine):g} – {max(mine):g}", "kind": "range"})
    return parts, dict(zip(names, of.tolist(), strict=True))
