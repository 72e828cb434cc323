"""What of a regression depends on its answers: link, loss, curvature. McCullagh and Nelder 1989, "Generalized linear models".

n training records, C classes, L labels, K outputs: the columns of a regression's weights.
"""

from __future__ import annotations

import numpy as np

from ..metrics import Yardstick

_LEAK = 1e-6  # share of the prior mixed into every answer


class Family:
    """One kind of regression.

    Args:
        prior: (A,) the answer of a record that has nothing.
        centre, spread: of the targets, where they are numbers: the regression learns (y - centre) / spread.

    Class attributes:
        kind: of the answers, as a yardstick names it.
        strengths: values of C that are compared.
    """

    kind: str = ""
    strengths: tuple[float, ...] = (1.0, 10.0, 100.0, 1000.0)

    def __init__(self, prior: np.ndarray, centre: float = 0.0, spread: float = 1.0) -> None:
        self.prior, self.centre, self.spread = prior, centre, spread

    @classmethod
    def of(cls, targets: np.ndarray, outputs: int, prior: np.ndarray | None) -> Family:
        """The family as the training targets make it."""
        raise NotImplementedError

    def outputs(self, targets: np.ndarray) -> np.ndarray | None:
        """(K,) which outputs there is something to learn of; None where there is nothing."""
        return np.arange(len(self.prior))

    def local(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """(n, ...): targets as ``loss`` takes them."""
        raise NotImplementedError

    def truth(self, local: np.ndarray, width: int) -> np.ndarray:
        """(n, K): what the mean answer should be."""
        return local

    def strength(self, strength: float, width: int) -> float:
        """C as the solver's penalty."""
        return strength

    def loss(self, logits: np.ndarray, local: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        """Summed loss, and its gradient (n, K): mean answer minus truth."""
        raise NotImplementedError

    def curve(self, mean: np.ndarray) -> np.ndarray:
        """(n, 1): mean curvature of each record's loss, from its mean answer."""
        return np.maximum((mean * (1 - mean)).mean(1, keepdims=True), 0.002)

    def mean(self, logits: np.ndarray) -> np.ndarray:
        """(n, K): the mean answer."""
        raise NotImplementedError

    def answer(self, logits: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        """(n, A), in the target's unit."""
        raise NotImplementedError

    def judged(
        self, logits: np.ndarray, outputs: np.ndarray, targets: np.ndarray, yardstick: Yardstick
    ) -> float:
        """Mean loss by which C is chosen."""
        answer = self.answer(logits, outputs)
        return float(yardstick.losses(yardstick.own(answer, targets), targets).mean())

    def strata(self, local: np.ndarray) -> np.ndarray:
        """(n,) what cross validation deals out evenly."""
        return np.zeros(len(local), int)


class Multinomial(Family):
    """One class out of C: softmax, log loss."""

    kind = "classes"

    @classmethod
    def of(cls, targets: np.ndarray, outputs: int, prior: np.ndarray | None) -> Multinomial:
        return cls(np.bincount(targets, minlength=outputs) / max(len(targets), 1) if prior is None else prior)

    def outputs(self, targets: np.ndarray) -> np.ndarray | None:
        classes = np.unique(targets)
        return None if len(classes) < 2 else classes

    def local(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return np.searchsorted(outputs, targets)

    def truth(self, local: np.ndarray, width: int) -> np.ndarray:
        return np.eye(width)[local]

    def strength(self, strength: float, width: int) -> float:
        """One weight vector per class; two opposite halves are penalised half as much as their sum."""
        return strength / 2 if width == 2 else strength

    def loss(self, logits: np.ndarray, local: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        shifted = logits - logits.max(1, keepdims=True)
        p = np.exp(shifted)
        total = p.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - shifted[np.arange(len(local)), local]).sum())
        p /= total
        p -= truth
        return loss, p

    def mean(self, logits: np.ndarray) -> np.ndarray:
        p = np.exp(logits - logits.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        return p

    def answer(self, logits: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        answer = np.zeros((len(logits), len(self.prior)))
        answer[:, outputs] = self.mean(logits)
        return (1 - _LEAK) * answer + _LEAK * self.prior

    def judged(
        self, logits: np.ndarray, outputs: np.ndarray, targets: np.ndarray, yardstick: Yardstick
    ) -> float:
        """Log loss of answers over some of the classes, mixed with the prior as ``answer`` does."""
        answer = np.zeros((len(logits), len(self.prior)))
        answer[:, outputs] = self.mean(logits)
        own = (1 - _LEAK) * answer[np.arange(len(targets)), targets] + _LEAK * self.prior[targets]
        return float(-np.log(np.maximum(own, 1e-30)).mean())

    def strata(self, local: np.ndarray) -> np.ndarray:
        return local


class Gaussian(Family):
    """Numbers: the identity, half the squared error; ridge regression (Hoerl and Kennard 1970) with lambda = 1 / C.

    Targets are standardised, so that C means the same in any unit. C is chosen by the task's own loss.
    """

    kind = "numbers"
    strengths = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)

    @classmethod
    def of(cls, targets: np.ndarray, outputs: int, prior: np.ndarray | None) -> Gaussian:
        mean, spread = float(targets.mean()) if len(targets) else 0.0, float(targets.std()) if len(targets) else 1.0
        return cls(np.array([mean]) if prior is None else np.asarray(prior, np.float64), mean, spread or 1.0)

    def local(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return ((targets - self.centre) / self.spread)[:, None]

    def loss(self, logits: np.ndarray, local: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        error = logits - truth
        return float((error**2).sum() / 2), error

    def curve(self, mean: np.ndarray) -> np.ndarray:
        return np.ones((len(mean), 1))

    def mean(self, logits: np.ndarray) -> np.ndarray:
        return logits

    def answer(self, logits: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return self.centre + self.spread * logits


class Bernoulli(Family):
    """Labels: a logistic function for each (one against the rest), with one C for all of them."""

    kind = "labels"

    @classmethod
    def of(cls, targets: np.ndarray, outputs: int, prior: np.ndarray | None) -> Bernoulli:
        return cls(targets[:, :outputs].mean(0) if prior is None else np.asarray(prior, np.float64))

    def local(self, targets: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return targets[:, : len(outputs)]

    def loss(self, logits: np.ndarray, local: np.ndarray, truth: np.ndarray) -> tuple[float, np.ndarray]:
        loss = float((np.logaddexp(0, logits) - truth * logits).sum())
        return loss, self.mean(logits) - truth

    def mean(self, logits: np.ndarray) -> np.ndarray:
        return np.exp(-np.logaddexp(0, -logits))

    def answer(self, logits: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        return (1 - _LEAK) * self.mean(logits) + _LEAK * self.prior


FAMILIES: dict[str, type[Family]] = {family.kind: family for family in (Multinomial, Gaussian, Bernoulli)}


def folds(labels: np.ndarray, k: int, seed: int) -> np.ndarray:
    """(n,) fold numbers, each class dealt out evenly."""
    order = np.random.default_rng(seed).permutation(len(labels))
    order = order[np.argsort(labels[order], kind="stable")]
    fold = np.empty(len(labels), int)
    fold[order] = np.arange(len(labels)) % k
    return fold
