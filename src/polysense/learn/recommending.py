"""How a recommender is trained: options and their ranges, known without loading torch."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from ..errors import BadOption
from .training import Training, check_numbers, refuse

#: Options of training that a recommender has by its own name: train.epochs is recommend.epochs there.
OWN = ("epochs", "batch", "rate", "decay", "members", "dim", "dropout", "input_dropout", "drop", "patience")
#: Options of training that speak of answers, which a recommender has none of.
NONE = ("auxiliary", "distil", "mixup", "pseudo", "regressions")


class Recommending:
    """How a recommender is trained; ``--set recommend.NAME=VALUE``. What is not here is ``train.NAME``: optimiser, schedule,
    clip, checkpoint ...

    Args:
        epochs: passes over the histories: each item of each is foretold once from what came before it.
        batch: items foretold per step; None takes a thirtieth of an epoch, at least 64 and at most 1024.
        rate: highest learning rate.
        decay: weight decay, on matrices only.
        members: copies of the network, trained together; their scores are averaged.
        dim: width of the projected views and of the fused item.
        width: of the space in which users and items meet.
        dropout: share of the projected units dropped.
        input_dropout: share of the encoders' numbers dropped.
        drop: probability that a present view of an item is hidden, in half of the items of a step.
        history: last items of a user that are read.
        own: probability that a known item is described in a step by its views alone, without the vector of its own: so that new
            items work; 1 learns no such vectors.
        candidates: items among which the right one is to be found in a step: all of them where there are no more, else the
            batch's own and others drawn at random, corrected for how often each is drawn (Yi et al. 2019,
            doi:10.1145/3298689.3346996, eq. 3).
        fresh: items of a step that encoders which learn (image.cnn, say) read anew; of the others stands what they last made of
            them (cross-batch memory: Wang et al. 2020, arXiv:1912.06798). Towers that are tuned take tune.batch.
        patience: epochs without a better validation score before training stops, the best weights then being restored.
        mix: mix the rivals into the answer, with shares that validation chooses; false answers with the network alone.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, epochs: int = 12, batch: int | None = None, rate: float = 5e-3, decay: float = 0.1, members: int = 2,
        dim: int = 96, width: int = 64, dropout: float = 0.2, input_dropout: float = 0.1, drop: float = 0.3, history: int = 50,
        own: float = 0.5, candidates: int = 2048, fresh: int = 128, patience: int = 4, mix: bool = True,
    ) -> None:
        values: dict[str, Any] = dict(locals())
        del values["self"]
        if not isinstance(mix, bool):
            raise BadOption(f"recommend.mix={mix!r} must be true or false")
        check_numbers("recommend", values, (
            ("epochs", 1, math.inf), ("batch", 2, math.inf), ("rate", 1e-12, 1e3), ("decay", 0, math.inf), ("members", 1, 1000),
            ("dim", 1, 65536), ("width", 1, 65536), ("dropout", 0, 0.99), ("input_dropout", 0, 0.99), ("drop", 0, 0.99),
            ("history", 1, math.inf), ("own", 0, 1), ("candidates", 16, math.inf), ("fresh", 2, math.inf),
            ("patience", 0, math.inf),
        ), whole=("epochs", "batch", "members", "dim", "width", "history", "candidates", "fresh", "patience"), none=("batch",))
        self.__dict__.update(values)

    def training(self, given: Mapping[str, Any], examples: int = 0) -> Training:
        """How the loop is to run.

        Args:
            given: the user's options of training.
            examples: items that are foretold in an epoch.

        Raises:
            BadOption: an option that a recommender has by another name, or has no use for.
        """
        refuse(given, OWN, NONE, "recommender", "recommend")
        own = {name: getattr(self, name) for name in OWN}
        own["batch"] = self.batch or min(1024, max(64, examples // 30))
        return Training(**own, **given, auxiliary=0.0)

    def network(self) -> dict[str, Any]:
        """The options that shape the network rather than the loop."""
        names = ("dim", "width", "members", "history", "drop", "own", "dropout", "input_dropout")
        return {name: getattr(self, name) for name in names}
