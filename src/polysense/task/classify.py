"""One class out of several."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import State, Task
from ..data.values import BadCell, category, number
from ..errors import BadOption, BadTable
from ..metrics import Classes, said
from ..metrics.texts import words_of
from ..metrics.threshold import FEW, MEASURES, best
from ..registry import suggest, tasks
from ..talk import class_line
from ..tokens import Tokens


class Linear(nn.Module):
    """Pooled tokens -> class scores. forward: (B, T, D) -> (B, C)"""

    def __init__(self, dim: int, classes: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, classes)

    def forward(self, fused: Tokens) -> Tensor:
        return self.linear(fused.pooled())


@tasks("classify")
class Classify(Task):
    """One class out of two or more; cross entropy on a linear head.

    Softmax regression on the fused record z: p = softmax(W z + b), loss -log p(y) (Bishop 2006, section 4.3.4).
    Wins where every record has exactly one class; several true at once are ``multilabel``, amounts ``regress``. Costs
    C (D + 1) parameters for each head, C classes.

    Which of two classes is said is a question of its own where they are rare or mistakes cost differently: with a
    threshold t the second one, in the order of their names, is said where p >= t (Elkan 2001, "The foundations of
    cost-sensitive learning", IJCAI, eq. 2: t = (cost of saying it wrongly) / (both costs together)). Log loss, calibration
    and AUROC, which judge p, do not heed it; the baselines are judged at the same threshold.

    Args:
        smoothing: share of the target spread over all classes (Szegedy et al. 2016,
            arXiv:1512.00567, section 7).
        weights: "none", or "balanced": a record counts N / (C * records of its class).
        focal: exponent by which easy records count less: the loss times (1 - p)^focal, p the probability of the true
            class (Lin et al. 2017, arXiv:1708.02002, eq. 4); 0 counts all alike.
        threshold: probability from which the second of two classes is said, or "best": the one with the largest
            ``measure`` on the validation records, with folds on the answers out of fold, which is then kinder there than on
            new records; None says the likeliest.
        measure: what "best" is best by: "accuracy", "balanced_accuracy", "f1" (of the second class), "macro_f1" or "mcc".

    Raises:
        BadOption: smoothing outside [0, 1), unknown ``weights``, focal outside [0, 10], a threshold that is no probability,
            unknown ``measure``; (fit) a threshold, and more than two classes.
        BadTable: (fit) fewer than two classes.

    >>> task = Classify(); task.fit(["cat", "dog", "dog"]); task.classes
    ['cat', 'dog']
    >>> task.encode(["dog", "cow"])["label"]
    array([ 1, -1])
    """

    kind = "classes"

    def __init__(
        self, *, smoothing: float = 0.03, weights: str = "none", focal: float = 0.0,
        threshold: float | str | None = None, measure: str = "macro_f1",
    ) -> None:
        if not 0 <= smoothing < 1:
            raise BadOption(f"task.smoothing={smoothing} must be at least 0 and below 1")
        if weights not in ("none", "balanced"):
            raise BadOption(f"task.weights='{weights}' must be 'none' or 'balanced'")
        if not 0 <= focal <= 10:
            raise BadOption(f"task.focal={focal} must be a number from 0 to 10")
        number = isinstance(threshold, (int, float)) and not isinstance(threshold, bool)
        if threshold not in (None, "best") and not (number and 0 < threshold < 1):
            raise BadOption(f"task.threshold={threshold!r} must be a probability between 0 and 1, 'best', or null for none")
        if measure not in MEASURES:
            raise BadOption(f"task.measure='{measure}' does not exist; {suggest(measure, list(MEASURES))}")
        self.smoothing, self.weights, self.focal = smoothing, weights, focal
        self.threshold, self.measure = threshold, measure
        self.cut = 0.5 if threshold == "best" else threshold  # from which the second class is said
        self.classes: list[Any] = []

    def fit(self, values: Sequence[Any]) -> None:
        self.classes = sorted({_plain(value) for value in values}, key=lambda value: (str(type(value)), value))
        if len(self.classes) < 2:
            held = f"only {self.classes[0]!r}" if self.classes else "nothing"
            raise BadTable(f"the target holds {held} in the training records; classification needs two classes")
        if self.threshold is not None and len(self.classes) > 2:
            raise BadOption(
                f"task.threshold={self.threshold!r} chooses between two classes, and the target holds {len(self.classes):,}; "
                "leave it away (several labels in a cell are --task multilabel)"
            )
        self._number()
        self.counts = np.bincount(self.encode(values)["label"], minlength=len(self.classes))

    def state(self) -> State:
        cut = {} if self.cut is None else {"cut": float(self.cut)}
        return {"classes": self.classes, "counts": self.counts.tolist(), **cut}

    def load(self, state: State) -> None:
        self.classes, self.counts = list(state["classes"]), np.asarray(state["counts"])
        self.cut = state.get("cut")
        self._number()

    def _number(self) -> None:
        """Class -> number; by its name too, because a CSV file holds "3" where Parquet holds 3 or 3.0."""
        self._index = {value: i for i, value in enumerate(self.classes)}
        self._names = {_name(value): i for i, value in enumerate(self.classes)}

    def check(self, records: int, target: str | None) -> None:
        """Refuse an id or a measured number: more than twenty classes with fewer than two records each."""
        count = len(self.classes)
        if count > max(20, records / 2):
            raise BadTable(
                f"the target{f' {target!r}' if target else ''} holds {count:,} classes in {records:,} training records; with "
                "fewer than two records a class nothing can be learned, and an id or a measured number is no class"
                + ("; numbers are learned by the task regress" if _numbers(self.classes) else
                   "; texts are learned by the task caption (--task caption)" if _texts(self.classes) else "")
            )

    def about(self, target: str | None) -> str:
        return class_line(target, dict(zip(map(str, self.classes), self.counts.tolist(), strict=True)))

    def yardstick(self) -> Classes:
        return Classes(self.cut)

    def settle(self, answers: np.ndarray, targets: np.ndarray) -> str:
        if self.threshold != "best":
            return ""
        second, name = targets == 1, self.measure.replace("_", " ")
        if min(second.sum(), (~second).sum()) < FEW:
            return f"a threshold needs {FEW} records of each class to be chosen on: the likelier class is said"
        self.cut = best(answers[:, 1], second, self.measure)
        return (
            f"'{self.classes[1]}' is said from a probability of {self.cut:.3g} on, for the largest {name} on records it has "
            f"not learned from; {name} there is kinder than on new records"
        )

    def columns(self) -> list[str]:
        return [f"probability_{name}" for name in self.classes]

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"label": (B,) int64}; -1 for a class that training did not have, and where there is none."""
        plain = [_plain(value) for value in values]
        found = [-1 if v is None else self._index.get(v, self._names.get(_name(v), -1)) for v in plain]
        return {"label": np.array(found, np.int64)}

    def head(self, dim: int) -> nn.Module:
        return Linear(dim, len(self.classes))

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        scores = head(fused)
        loss = F.cross_entropy(scores, targets["label"], reduction="none", label_smoothing=self.smoothing)
        if self.focal:
            loss = loss * self._hard(scores.softmax(-1), targets)
        return self._weigh(loss, targets)

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, C) probabilities."""
        return head(fused).softmax(-1)

    def answer_loss(self, answers: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        log = answers.clamp_min(1e-7).log()
        picked = -log.gather(1, targets["label"][:, None])[:, 0]
        loss = (1 - self.smoothing) * picked - self.smoothing * log.mean(1)
        return self._weigh(loss * self._hard(answers, targets) if self.focal else loss, targets)

    def teach(self, head: nn.Module, fused: Tokens, teacher: Tensor) -> Tensor:
        return (torch.special.xlogy(teacher, teacher) - teacher * head(fused).log_softmax(-1)).sum(-1)

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Log loss and accuracy; a class unseen in training counts as wrong and is left out of the loss."""
        label = targets["label"]
        known = label >= 0
        picked = answers[known, label[known]]
        loss = {"loss": float(-np.log(np.maximum(picked, 1e-7)).mean())} if known.any() else {}
        return {**loss, "accuracy": float((said(answers, self.cut) == label).mean())}

    def prior(self) -> np.ndarray:
        """(C,) shares of the classes among training records."""
        return (self.counts / self.counts.sum()).astype(np.float32)

    def decode(self, answers: np.ndarray) -> list[Any]:
        return [self.classes[i] for i in said(answers, self.cut)]

    def _hard(self, p: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        """(B,): (1 - p)^focal."""
        return (1 - p.gather(1, targets["label"][:, None])[:, 0]).clamp_min(1e-6) ** self.focal

    def _weigh(self, loss: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        if self.weights == "none":
            return loss
        share = torch.as_tensor(self.counts.sum() / (len(self.counts) * self.counts.clip(1)), dtype=loss.dtype)
        return loss * share.to(loss.device)[targets["label"]]


def _numbers(classes: Sequence[Any]) -> bool:
    """Nearly all of them are numbers."""
    good = 0
    for value in classes:
        try:
            good += number(value) is not None
        except BadCell:
            pass
    return good > 0.95 * len(classes)


def _texts(classes: Sequence[Any]) -> bool:
    """Most of them hold more than one word."""
    return sum(len(words_of(str(value))) > 1 for value in classes) > len(classes) / 2


def _plain(value: Any) -> Any:
    """numpy scalars as Python's own, so that classes survive JSON."""
    return value.item() if isinstance(value, np.generic) else value


def _name(value: Any) -> str:
    """What a class is called: a missing value elsewhere in its column may have made 0 a 0.0, in writing too.

    >>> [_name(value) for value in (0, 0.0, "0", "0.0", "-3.00", "1.5", "v1.0")]
    ['0', '0', '0', '0', '-3', '1.5', 'v1.0']
    """
    return re.sub(r"^(-?\d+)\.0+$", r"\1", str(category(value)))
