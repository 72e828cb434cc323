"""Pseudo-labels: sure answers to records without a target become targets of a second training.

U records without a target, N records of all tables, A numbers of an answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..contracts import Task
from .trial import FEWEST as FEWEST  # validation records that a proof needs, as a choice of encoders does
from .tune import Verdict


@dataclass
class Taken:
    """Records without a target that have got one.

    Attributes:
        rows: of all tables behind each other.
        labels: {name: (len(rows), ...)} targets as the network learns them.
        asked: U, how many records were answered.
    """

    rows: np.ndarray
    labels: dict[str, np.ndarray]
    asked: int

    def state(self) -> dict[str, Any]:
        """As a state tree."""
        return {"rows": self.rows, "labels": self.labels, "asked": self.asked}

    def joined(self, labels: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """{name: (N, ...)} the targets of all records, with these in their rows."""
        found = {name: values.copy() for name, values in labels.items()}
        for name, values in self.labels.items():
            found[name][self.rows] = values
        return found


def taken(task: Task, answers: np.ndarray, present_UV: np.ndarray, rows: np.ndarray, least: float) -> Taken:
    """Targets for the records whose answer is sure: the likeliest class, or each label that is likelier than not.

    Lee 2013, "Pseudo-label: the simple and efficient semi-supervised learning method for deep neural networks", ICML
    workshop, eq. 14: y' = 1 for the class of the largest probability, else 0; here, as in Xie et al. 2020 (noisy student,
    arXiv:1911.04252, section 2), the answers of several members together, and only those of a probability of at least
    ``least``; of a set of labels the least sure label counts. A record without any view is never taken.

    Args:
        task: of classes or labels.
        answers: (U, A) probabilities.
        present_UV: bool.
        rows: (U,) of all tables behind each other.
        least: probability from which an answer is sure.
    """
    likelier = answers >= 0.5
    if task.kind == "labels":
        sure = np.where(likelier, answers, 1 - answers).min(1)
        said: list[Any] = [[task.classes[c] for c in np.flatnonzero(row)] for row in likelier]
    else:
        sure, said = answers.max(1), [task.classes[c] for c in answers.argmax(1)]
    at = np.flatnonzero((sure >= least) & present_UV.any(1))
    return Taken(rows[at], task.encode([said[i] for i in at]), len(rows))


def proven(second: Verdict, first: Verdict) -> bool:
    """The second training is better on validation, by more than the standard error of the paired difference.

    On the records as they are, and no worse where views are missing, as tuning asks.
    """
    return second.over(first) and not first.near(second)


def sentence(found: Taken, least: float, first: Verdict, second: Verdict | None, kept: bool) -> str:
    """What came of it, for the user."""
    of = f"{len(found.rows):,} of {found.asked:,} records without a target were answered with at least {least:g}"
    if second is None:
        return f"pseudo-labels: {of}; there is nothing to learn from"
    losses = f"validation loss {first.loss:.4g} -> {second.loss:.4g}"
    if kept:
        return f"pseudo-labels: {of} and learned from: {losses}"
    return f"pseudo-labels: {of}; learning from them did not prove itself ({losses}): the first training is kept"
