"""A set of labels, none to all of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import State, Task
from ..errors import BadOption, BadTable
from ..metrics.labels import Labels, best_thresholds
from ..registry import tasks
from ..talk import class_line
from ..tokens import Tokens


class Scores(nn.Module):
    """Pooled tokens -> a score for each label. forward: (B, T, D) -> (B, L)"""

    def __init__(self, dim: int, labels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, labels)

    def forward(self, fused: Tokens) -> Tensor:
        return self.linear(fused.pooled())


@tasks("multilabel")
class Multilabel(Task):
    """Any number of labels for each record; binary cross entropy for each on a linear head.

    A cell holds a list, JSON such as ["red", "round"], or words between separators: red;round. The empty set is an
    empty list, [] as text; an empty cell is a missing target. With p = sigmoid(score) the loss
    of a record is the mean over labels of -(y log p + (1 - y) log(1 - p)), each term times (1 - q)^focal where q is the
    probability given to the truth. Source: binary relevance, Tsoumakas and Katakis 2007, IJDWM 3(3); focal loss Lin et al.
    2017, arXiv:1708.02002, eq. 4.

    Wins over one class where several may be true at once; labels that exclude each other are better told apart by
    classify. Costs (D + 1) L parameters a member, O(D L) operations a record.

    Args:
        threshold: probability from which a label is said; None chooses one for each label, for the largest F1 on the
            validation records, with folds on the answers out of fold, whose F1 is then kinder than that of new records.
        focal: exponent by which easy labels count less; 0 counts all alike.
        smoothing: share by which targets are moved towards one half.
        separator: between labels in a cell of words.

    Raises:
        BadOption: threshold or smoothing out of range, focal below 0, an empty separator.
        BadTable: (fit) no label that some training records have and others lack.

    >>> task = Multilabel(); task.fit([["red", "round"], ["red"], []]); task.classes
    ['red', 'round']
    >>> task.encode([["round", "blue"]])["labels"].tolist(), task.judged([["round", "blue"]]).tolist()
    ([[0.0, 1.0]], [[0.0, 1.0, 1.0]])
    """

    kind = "labels"

    def __init__(
        self, *, threshold: float | None = None, focal: float = 0.0, smoothing: float = 0.0, separator: str = ";"
    ) -> None:
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold is not None and not (number and 0 < threshold < 1):
            raise BadOption(f"task.threshold={threshold!r} must be a probability between 0 and 1, or null to choose it")
        if not 0 <= focal <= 10:
            raise BadOption(f"task.focal={focal} must be a number from 0 to 10")
        if not 0 <= smoothing < 1:
            raise BadOption(f"task.smoothing={smoothing} must be at least 0 and below 1")
        if not separator.strip():
            raise BadOption(f"task.separator={separator!r} must hold a character that is no space")
        self.threshold, self.focal, self.smoothing, self.separator = threshold, focal, smoothing, separator
        self.classes: list[str] = []

    def fit(self, values: Sequence[Any]) -> None:
        sets = [set(map(str, value)) for value in values if value is not None]
        self.classes = sorted(set().union(*sets))
        self._index = {name: i for i, name in enumerate(self.classes)}
        counts = [sum(name in one for one in sets) for name in self.classes]
        if not any(0 < count < len(sets) for count in counts):
            raise BadTable("the target has no label that some training records have and others lack; there is nothing to learn")
        self.counts, self.records = np.array(counts), len(sets)
        self.thresholds = np.full(len(self.classes), 0.5 if self.threshold is None else float(self.threshold))

    def state(self) -> State:
        return {
            "classes": self.classes, "counts": self.counts.tolist(), "records": self.records,
            "thresholds": [float(value) for value in self.thresholds],
        }

    def load(self, state: State) -> None:
        self.classes, self.records = list(state["classes"]), state["records"]
        self.counts, self.thresholds = np.asarray(state["counts"]), np.asarray(state["thresholds"], float)
        self._index = {name: i for i, name in enumerate(self.classes)}

    def about(self, target: str | None) -> str:
        line = class_line(target, dict(zip(self.classes, self.counts.tolist(), strict=True)))
        return f"{line.replace('classes', 'labels', 1)} (of {self.records:,} records)"

    def yardstick(self) -> Labels:
        return Labels(self.thresholds)

    def settle(self, answers: np.ndarray, targets: np.ndarray) -> str:
        if self.threshold is not None:
            return ""
        self.thresholds = best_thresholds(answers, targets[:, :-1] > 0.5)
        low, high = self.thresholds.min(), self.thresholds.max()
        return (
            f"a label is said from {low:.2f} to {high:.2f} on, by label, for the largest F1 on records it has not "
            "learned from; F1 there is kinder than on new records"
        )

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"labels": (B, L) float32}; NaN where there is no target."""
        return {"labels": self.judged(values)[:, :-1].astype(np.float32)}

    def judged(self, values: Sequence[Any]) -> np.ndarray:
        """(N, L + 1): 1 for each label that a record has, then how many it has that training did not."""
        found = np.zeros((len(values), len(self.classes) + 1))
        for row, value in enumerate(values):
            if value is None:
                found[row] = np.nan
                continue
            for name in set(map(str, value)):
                place = self._index.get(name)
                found[row, -1 if place is None else place] += 1
        return found

    def head(self, dim: int) -> nn.Module:
        return Scores(dim, len(self.classes))

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        scores = head(fused)
        wanted = self._wanted(targets["labels"].to(scores.dtype))
        return self._focused(F.binary_cross_entropy_with_logits(scores, wanted, reduction="none"), scores.sigmoid(), wanted)

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, L) probabilities."""
        return head(fused).sigmoid()

    def answer_loss(self, answers: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        wanted = self._wanted(targets["labels"].to(answers.dtype))
        p = answers.clamp(1e-7, 1 - 1e-7)
        return self._focused(-(wanted * p.log() + (1 - wanted) * (-p).log1p()), answers, wanted)

    def teach(self, head: nn.Module, fused: Tokens, teacher: Tensor) -> Tensor:
        scores = head(fused)
        own = torch.special.xlogy(teacher, teacher) + torch.special.xlogy(1 - teacher, 1 - teacher)
        return (own + F.binary_cross_entropy_with_logits(scores, teacher, reduction="none")).mean(-1)

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Log loss, and micro F1 with every label said from one half on."""
        known = ~np.isnan(targets["labels"]).any(1)
        if not known.any():
            return {}
        true = targets["labels"][known].astype(float)
        loss = Labels().losses(answers[known], np.hstack([true, np.zeros((len(true), 1))])).mean()
        said, true = answers[known] >= 0.5, true > 0.5
        return {"loss": float(loss), "micro_f1": float(2 * (said & true).sum() / max(1, said.sum() + true.sum()))}

    def prior(self) -> np.ndarray:
        """(L,) share of the training records that have each label."""
        return (self.counts / self.records).astype(np.float32)

    def decode(self, answers: np.ndarray) -> list[Any]:
        return [[self.classes[i] for i in np.flatnonzero(row)] for row in np.asarray(answers) >= self.thresholds]

    def write(self, prediction: Any) -> str:
        return self.separator.join(prediction)

    def columns(self) -> list[str]:
        return [f"probability_{name}" for name in self.classes]

    def _wanted(self, targets: Tensor) -> Tensor:
        return targets if not self.smoothing else (1 - self.smoothing) * targets + self.smoothing / 2

    def _focused(self, losses: Tensor, p: Tensor, wanted: Tensor) -> Tensor:
        """(B,): mean over labels, the easy ones counting less."""
        if self.focal:
            losses = losses * (1 - torch.where(wanted > 0.5, p, 1 - p)).clamp_min(1e-6) ** self.focal
        return losses.mean(-1)
