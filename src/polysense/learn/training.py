"""How a network is trained: options and their ranges, known without loading torch."""

from __future__ import annotations

import math
from typing import Any

from ..errors import BadOption


class Training:
    """How a network is trained; ``--set train.NAME=VALUE``.

    Args:
        epochs: passes over the training records.
        batch: records per step.
        rate: highest learning rate.
        optimiser: "adamw" (Loshchilov and Hutter 2019, arXiv:1711.05101) or "sgd" (momentum .9).
        schedule: "one-cycle" (Smith and Topin 2018, arXiv:1708.07120), "cosine" or "constant";
            all begin with the warm-up.
        warmup: share of the steps during which the rate rises from 4 % of its highest value.
        decay: weight decay, on matrices only.
        clip: largest gradient norm of a member; 0 turns clipping off.
        members: copies of projections, fusion and head, trained together, answers averaged.
        dim: width of the projected views and of the fused record.
        drop: probability that a present view is hidden in the second, masked pass of a step;
            0 turns that pass off.
        dropout: share of the projected units dropped.
        input_dropout: share of the encoders' numbers dropped.
        auxiliary: weight of the losses of the views' own heads.
        distil: weight of the full pass teaching the masked pass.
        regressions: share of the answer that the logistic regressions on the present views give, the
            network giving the rest; None chooses it on the validation records.
        patience: epochs without a better validation loss before training stops, the best weights
            then being restored; 0 trains to the end.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, epochs: int = 20, batch: int = 64, rate: float = 3e-3, optimiser: str = "adamw",
        schedule: str = "one-cycle", warmup: float = 0.2, decay: float = 0.3, clip: float = 1.0, members: int = 4,
        dim: int = 96, drop: float = 0.5, dropout: float = 0.4, input_dropout: float = 0.3, auxiliary: float = 0.3,
        distil: float = 0.0, regressions: float | None = None, patience: int = 0,
    ) -> None:
        values = dict(locals())
        del values["self"]
        for name, low, high in (
            ("epochs", 1, math.inf), ("batch", 1, math.inf), ("members", 1, 1000), ("dim", 1, 65536),
            ("warmup", 0, 1), ("decay", 0, math.inf), ("clip", 0, math.inf), ("patience", 0, math.inf),
            ("drop", 0, 0.99), ("dropout", 0, 0.99), ("input_dropout", 0, 0.99), ("auxiliary", 0, math.inf),
            ("distil", 0, math.inf), ("rate", 1e-12, 1e3),
        ):
            value = values[name]
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
                upto = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
                raise BadOption(f"train.{name}={value!r} must be a number {upto}")
            if name in ("epochs", "batch", "members", "dim", "patience") and value != int(value):
                raise BadOption(f"train.{name}={value!r} must be a whole number")
        number = isinstance(regressions, (int, float)) and not isinstance(regressions, bool)
        if regressions is not None and not (number and 0 <= regressions <= 1):
            raise BadOption(f"train.regressions={regressions!r} must be a share from 0 to 1")
        if optimiser not in ("adamw", "sgd"):
            raise BadOption(f"train.optimiser='{optimiser}' must be 'adamw' or 'sgd'")
        if schedule not in ("one-cycle", "cosine", "constant"):
            raise BadOption(f"train.schedule='{schedule}' must be 'one-cycle', 'cosine' or 'constant'")
        self.__dict__.update(values)

    def network(self) -> dict[str, Any]:
        """The options that shape the network rather than the loop."""
        return {
            name: getattr(self, name)
            for name in ("dim", "members", "drop", "dropout", "input_dropout", "auxiliary", "distil")
        }
