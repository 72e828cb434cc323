"""Who was right on which record: the model and its rivals, subset by subset, compared in pairs.

N records, S subsets, R resamples.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import numpy as np
from common import Line

import polysense.model
from polysense.judge.evaluate import FEW_TEST, is_worse, subset_name
from polysense.learn.rivals import FEW, subsets_of
from polysense.metrics import Resamples, holm, p_worse

Subset = tuple[str, ...]
ANSWERERS = ("model", "specialist", "filled")
#: Bootstrap resamples; with 1000, bounds of the mean still move by a tenth of a point.
RESAMPLES = 4000


@dataclass(frozen=True)
class Outcome:
    """One subset of views: who was right on the records that have all of it.

    Attributes:
        rows: (n,) places of these records in the table.
        right: {answerer: (n,) bool}.
        trained: training records that have all of the subset.
    """

    rows: np.ndarray
    right: Mapping[str, np.ndarray]
    trained: int

    @property
    def counted(self) -> bool:
        return len(self.rows) >= FEW_TEST and self.trained >= FEW

    @classmethod
    def pooled(cls, parts: Sequence[Outcome]) -> Outcome:
        """Of several folds; ``rows`` are of the whole table."""
        return cls(
            np.concatenate([part.rows for part in parts]),
            {who: np.concatenate([part.right[who] for part in parts]) for who in ANSWERERS},
            min(part.trained for part in parts),
        )


def outcomes(model: Any, records: Any) -> tuple[dict[str, Any], dict[Subset, Outcome]]:
    """(evaluation, {subset: outcome}) of a fitted model on records with targets.

    The judge is where answers, rivals and their features meet, so its arguments are caught on their way.
    """
    caught: dict[str, Any] = {}
    judge = polysense.model.evaluate

    def listening(answer: Callable, present: np.ndarray, targets: np.ndarray, **about: Any) -> dict[str, Any]:
        caught.update(about, answer=answer, present=present, targets=targets)
        return judge(answer, present, targets, **about)

    with mock.patch.object(polysense.model, "evaluate", listening):
        evaluation = model.evaluate(records)
    return evaluation, {subset: _outcome(subset, **caught) for subset in subsets_of(caught["views"])}


def _outcome(
    subset: Subset, *, answer: Callable, present: np.ndarray, targets: np.ndarray, views: Sequence[str], rivals: Any,
    features: Mapping[str, Any], **other: Any,
) -> Outcome:
    columns = [list(views).index(view) for view in subset]
    at = np.flatnonzero(present[:, columns].all(1))
    mask = np.zeros_like(present)
    mask[np.ix_(at, columns)] = True
    mine = {view: features[view][at] for view in subset}
    answers = {
        "model": answer(mask)[at],
        "specialist": rivals.answer(subset, mine, mask[at]),
        "filled": rivals.answer(subset, mine, mask[at], filled=True),
    }
    right = {who: given.argmax(1) == targets[at] for who, given in answers.items()}
    return Outcome(at, right, rivals.counts[subset])


@dataclass(frozen=True)
class Comparison:
    """Mean over runs, and over subsets, of paired differences in accuracy, in points.

    Args:
        runs: per fit {subset: outcome} on the same N records.
        groups: (N,) labels; resampled whole.
    """

    views: Sequence[str]
    runs: Sequence[Mapping[Subset, Outcome]]
    groups: np.ndarray

    @property
    def counted(self) -> list[Subset]:
        return [subset for subset in self.runs[0] if all(run[subset].counted for run in self.runs)]

    def table(self) -> list[dict[str, Any]]:
        """One row a subset, p pooled over the runs and Holm-adjusted over the counted subsets."""
        draws = Resamples(len(self.groups), groups=self.groups, samples=RESAMPLES, seed=0)
        rows, counted = [], set(self.counted)
        for subset in self.runs[0]:
            here = [run[subset] for run in self.runs]
            row = {
                "name": subset_name(subset, self.views), "present": list(subset), "records": len(here[0].rows),
                "trained": here[0].trained, "counted": subset in counted,
            }
            if len(here[0].rows):
                row |= {who: 100 * float(np.mean([one.right[who].mean() for one in here])) for who in ANSWERERS}
                row |= {f"over_{rival}": self._mean([subset], rival, draws) for rival in ANSWERERS[1:]}
                row["p"] = self._p(here)
            rows.append(row)
        judged = [row for row in rows if row["counted"]]
        for row, adjusted in zip(judged, holm([row["p"] for row in judged]), strict=True):
            row["p_holm"] = adjusted
        return rows

    def means(self, without: str = "sound") -> dict[str, dict[str, Any]]:
        """The figures that have a bar: mean over the counted subsets of the difference to each rival."""
        draws = Resamples(len(self.groups), groups=self.groups, samples=RESAMPLES, seed=0)
        silent = [subset for subset in self.counted if without not in subset]
        return {
            "specialist": self._mean(self.counted, "specialist", draws),
            "filled": self._mean(self.counted, "filled", draws),
            f"specialist without {without}": self._mean(silent, "specialist", draws),
            f"filled without {without}": self._mean(silent, "filled", draws),
        }

    def _mean(self, subsets: Sequence[Subset], rival: str, draws: Resamples) -> dict[str, Any]:
        values, drawn = [], np.zeros(draws.samples)
        for outcome in (run[subset] for run in self.runs for subset in subsets):
            apart = 100 * (outcome.right["model"].astype(float) - outcome.right[rival])
            values.append(apart.mean())
            total, count = draws.sums(np.stack([apart, np.ones(len(apart))], 1), outcome.rows).T
            drawn += total / np.maximum(count, 1)
        if not values:
            return {"value": None, "low": None, "high": None, "subsets": 0}
        low, high = np.quantile(drawn / len(values), [0.025, 0.975])
        return {"value": float(np.mean(values)), "low": float(low), "high": float(high), "subsets": len(subsets)}

    def _p(self, here: Sequence[Outcome]) -> float:
        """One-sided, model worse than its specialist; a group's differences of all runs are one."""
        model, rival = (np.concatenate([one.right[who] for one in here]).astype(int) for who in ANSWERERS[:2])
        groups = np.concatenate([self.groups[one.rows] for one in here])
        return p_worse(np.eye(2)[model], np.eye(2)[rival], np.ones(len(model), int), groups=groups)


def points(one: Mapping[str, Any]) -> str:
    """
    >>> points({"value": 2.04, "low": -1.0, "high": 3.0})
    '+2.0 [-1.0, +3.0]'
    """
    return "-" if one["value"] is None else f"{one['value']:+.1f} [{one['low']:+.1f}, {one['high']:+.1f}]"


def print_table(rows: Sequence[Mapping[str, Any]]) -> None:
    """Accuracy of every subset in percent, differences in points."""
    wide = max(len(row["name"]) for row in rows)
    print(f"{'views':<{wide}}  records  model  specialist  {'difference':<20}  filled  {'difference':<20}  p (Holm)")
    for row in rows:
        if "model" not in row:
            continue
        mark = "(few)" if not row["counted"] else f"{row['p_holm']:.2f}" + (" WORSE" if is_worse(row) else "")
        print(f"{row['name']:<{wide}}  {row['records']:>7}  {row['model']:>5.1f}  {row['specialist']:>10.1f}  "
              f"{points(row['over_specialist']):<20}  {row['filled']:>6.1f}  {points(row['over_filled']):<20}  {mark}")


#: Figure of ``Comparison.means`` -> (bar, aim), in points.
BARS = {"specialist": (2.0, 5.0), "filled": (0.0, 3.0), "specialist without sound": (1.0, 2.0)}


def verdicts(
    rows: Sequence[Mapping[str, Any]], means: Mapping[str, Mapping[str, Any]], worse: Sequence[str]
) -> list[Line]:
    """The issue's bars.

    Args:
        worse: what is below its specialist after Holm's correction; printed in full.
    """
    if worse:
        print("below their specialist after Holm's correction: " + ", ".join(worse))
    lines = []
    for name, one in means.items():
        bar, aim = BARS.get(name, (None, None))
        words = f"mean over {one['subsets']} subsets, to {name}"
        if bar is None or one["value"] is None:
            lines.append(Line(words, points(one)))
        else:
            lines.append(Line(words, points(one), f"at least {bar:+.0f}, aim {aim:+.0f}", one["value"] >= bar))
    lines.append(Line("subsets below their specialist (Holm)", str(len(worse)), "none", not worse))
    for name in ("all but sound", "everything"):
        row = next((row for row in rows if row["name"] == name), None)
        if row is None or "model" not in row:
            continue
        for rival in ANSWERERS[1:]:
            one = row[f"over_{rival}"]
            held = (one["value"] >= 0 or one["high"] >= 0) if row["counted"] else None
            why = "at or above, or an interval that reaches 0" if row["counted"] else "too few records, not counted"
            lines.append(Line(f"{name} {row['model']:.1f}, {rival} {row[rival]:.1f}", points(one), why, held))
    return lines
