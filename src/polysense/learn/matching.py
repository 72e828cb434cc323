"""How a matcher is trained: options and their ranges, known without loading torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import BadOption
from .training import Training, check_numbers, refuse

LOSSES = ("infonce", "sigmoid", "triplet")
#: Options of training that a matcher has by its own name and default: train.epochs is match.epochs there.
OWN = ("epochs", "batch", "rate", "decay", "members", "dim", "dropout", "input_dropout")
#: Options of training that speak of answers, which a matcher has none of.
NONE = ("auxiliary", "distil", "mixup", "pseudo", "regressions")


class Matching:
    """How a matcher is trained; ``--set match.NAME=VALUE``. What is not here is ``train.NAME``: optimiser, schedule, clip ...

    Args:
        loss: "infonce" (cross entropy over each row and column of a batch, temperature learned), "sigmoid" (each pair on its
            own, needs no large batch) or "triplet" (the hardest wrong one of the batch, by a margin).
        margin: of triplet.
        epochs: passes over the training pairs.
        batch: pairs per step; each is compared with all others of its batch, so that many make the task harder. Towers are
            frozen or have run before, so a large batch costs little.
        rate: highest learning rate.
        decay: weight decay, on matrices only.
        members: copies of projections, fusion and map, trained together; their cosines are averaged.
        dim: width of the projected views and of the fused side.
        width: of the space of one member in which both sides meet.
        dropout: share of the projected units dropped.
        input_dropout: share of the encoders' numbers dropped.
        linear: share of the vectors that the linear map beside the network gives (regularised canonical correlation or ridge
            regression, the better one on validation); None chooses it on the validation pairs.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, loss: str = "infonce", margin: float = 0.2, epochs: int = 50, batch: int = 512, rate: float = 3e-3,
        decay: float = 0.3, members: int = 3, dim: int = 512, width: int = 128, dropout: float = 0.5,
        input_dropout: float = 0.5, linear: float | None = None,
    ) -> None:
        values = dict(locals())
        del values["self"]
        if loss not in LOSSES:
            raise BadOption(f"match.loss={loss!r} must be 'infonce', 'sigmoid' or 'triplet'")
        check_numbers("match", values, (
            ("margin", 1e-6, 2), ("epochs", 1, math.inf), ("batch", 2, math.inf), ("rate", 1e-12, 1e3), ("decay", 0, math.inf),
            ("members", 1, 1000), ("dim", 1, 65536), ("width", 1, 65536), ("dropout", 0, 0.99), ("input_dropout", 0, 0.99),
            ("linear", 0, 1),
        ), whole=("epochs", "batch", "members", "dim", "width"), none=("linear",))
        self.__dict__.update(values)

    def training(self, given: Mapping[str, Any]) -> Training:
        """How the loop is to run.

        Args:
            given: the user's options of training.

        Raises:
            BadOption: an option that a matcher has by another name, or has no use for.
        """
        refuse(given, OWN, NONE, "matcher", "match")
        own = {name: getattr(self, name) for name in OWN}
        return Training(**own, **given, auxiliary=0.0)

    def network(self, training: Training) -> dict[str, Any]:
        """The options that shape the network rather than the loop."""
        shape = {name: getattr(training, name) for name in ("dim", "members", "drop", "dropout", "input_dropout")}
        return shape | {"width": self.width}
