"""One number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import State, Task
from ..data.values import number
from ..errors import BadOption, BadTable
from ..metrics.numbers import Numbers
from ..registry import tasks
from ..tokens import Tokens

ERRORS = ("mse", "mae", "huber")


class Line(nn.Module):
    """Pooled tokens -> one number. forward: (B, T, D) -> (B, 1)"""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, 1)

    def forward(self, fused: Tokens) -> Tensor:
        return self.linear(fused.pooled())


@tasks("regress")
class Regress(Task):
    """One number: squared, absolute or Huber loss on a linear head.

    Inside, targets are standardised, z = (y - mean) / deviation over training records, and the head answers on
    that scale; what the user gets is mean + deviation * answer, in double precision. Losses of the error e = f - z:
    mse e^2 (its best constant is the mean), mae |e| (the median), huber e^2 / 2 up to delta and
    delta (|e| - delta / 2) beyond. Source: Huber 1964, "Robust estimation of a location parameter", Annals of
    Mathematical Statistics 35(1), eq. 3.7; Gauss 1809 and Laplace 1793 for the other two.

    Wins over classes of cut numbers wherever order and distance mean something; huber and mae win where a few
    targets are far off (a misplaced decimal point), mse where large errors are the ones that hurt.
    Costs D + 1 parameters a member, O(D) operations a record.

    Args:
        error: "mse", "mae" or "huber": how an error is counted in training.
        delta: of huber, in standard deviations of the training targets: where squares turn into absolute values.

    Raises:
        BadOption: unknown ``error``, delta not above 0.
        BadTable: (fit) fewer than two different numbers.

    >>> task = Regress(); task.fit([1.0, 3.0])
    >>> task.encode([3.0, None])["number"].tolist(), task.restore(np.array([[1.0]])).tolist()
    ([1.0, nan], [[3.0]])
    """

    kind = "numbers"

    def __init__(self, *, error: str = "mse", delta: float = 1.0) -> None:
        if error not in ERRORS:
            raise BadOption(f"task.error='{error}' must be 'mse', 'mae' or 'huber'")
        if not 0 < delta < float("inf"):
            raise BadOption(f"task.delta={delta} must be a number above 0")
        self.error, self.delta = error, delta

    def fit(self, values: Sequence[Any]) -> None:
        numbers = np.sort(_numbers(values))  # sums do not hang on the records' order
        numbers = numbers[~np.isnan(numbers)]
        if not len(numbers):
            raise BadTable("the target holds no number in the training records; there is nothing to learn from")
        self.low, self.high = float(numbers.min()), float(numbers.max())
        if self.low == self.high:
            raise BadTable(f"the target is {self.low:g} in every training record; there is nothing to learn from")
        self.records, self.mean = len(numbers), float(numbers.mean())
        with np.errstate(over="ignore"):
            self.deviation = float(numbers.std())
        if not 0 < self.deviation < float("inf"):
            raise BadTable(f"the target reaches from {self.low:g} to {self.high:g}, beyond what can be squared; rescale it")
        self.median = float(np.median(numbers))

    def state(self) -> State:
        return {name: getattr(self, name) for name in ("records", "mean", "deviation", "median", "low", "high")}

    def load(self, state: State) -> None:
        self.__dict__.update(state)

    def about(self, target: str | None) -> str:
        return (
            f"learning {repr(target) if target else 'the target'}, a number: {self.low:.4g} to {self.high:.4g}, "
            f"mean {self.mean:.4g}, deviation {self.deviation:.4g}"
        )

    def yardstick(self) -> Numbers:
        return Numbers(self.error, self.delta * self.deviation)

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"number": (B,) float32}, standardised; NaN where there is none."""
        return {"number": ((_numbers(values) - self.mean) / self.deviation).astype(np.float32)}

    def judged(self, values: Sequence[Any]) -> np.ndarray:
        """(N,) float64, in the target's unit."""
        return _numbers(values)

    def head(self, dim: int) -> nn.Module:
        return Line(dim)

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        return self.answer_loss(head(fused), targets)

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, 1), standardised."""
        return head(fused)

    def answer_loss(self, answers: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        said, truth = answers[:, 0], targets["number"].to(answers.dtype)
        if self.error == "mse":
            return (said - truth) ** 2
        if self.error == "mae":
            return (said - truth).abs()
        return F.huber_loss(said, truth, reduction="none", delta=self.delta)

    def teach(self, head: nn.Module, fused: Tokens, teacher: Tensor) -> Tensor:
        return self.answer_loss(head(fused), {"number": teacher[:, 0]})

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The loss, standardised, and the root mean squared (or mean absolute) error in the target's unit."""
        known = ~np.isnan(targets["number"])
        if not known.any():
            return {}
        given = torch.as_tensor(answers[known]), {"number": torch.as_tensor(targets["number"][known])}
        error = np.abs(given[0].numpy()[:, 0] - given[1]["number"].numpy()).astype(float) * self.deviation
        size = {"rmse": np.sqrt((error**2).mean())} if self.error == "mse" else {"mae": error.mean()}
        return {"loss": float(self.answer_loss(*given).mean())} | {name: float(value) for name, value in size.items()}

    def prior(self) -> np.ndarray:
        """(1,) the best constant of the training targets, standardised: their mean, or median unless for mse."""
        constant = self.mean if self.error == "mse" else self.median
        return np.array([(constant - self.mean) / self.deviation], np.float32)

    def restore(self, answers: np.ndarray) -> np.ndarray:
        """(B, 1) float64, in the target's unit."""
        return self.mean + self.deviation * np.asarray(answers, np.float64)

    def decode(self, answers: np.ndarray) -> list[Any]:
        return np.asarray(answers, np.float64)[:, 0].tolist()


def _numbers(values: Sequence[Any]) -> np.ndarray:
    """(N,) float64; NaN where there is none."""
    found = [number(value) for value in values]
    return np.array([np.nan if value is None else value for value in found], np.float64)
