"""How a network is trained: options and their ranges, known without loading torch."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import Any

from ..errors import BadOption

#: Optimiser -> its highest rate and its weight decay where none are named. Decay is decoupled (taken off the weight)
#: in adamw and nadam, in the others a term of the gradient, where much less of it does the same.
OPTIMISERS = {
    "adamw": (3e-3, 0.3), "adam": (3e-3, 0.0), "nadam": (3e-3, 0.3), "rmsprop": (1e-3, 0.0), "adagrad": (3e-2, 0.0),
    "sgd": (5e-2, 1e-3), "gd": (0.3, 1e-3),
}
SCHEDULES = ("one-cycle", "cosine", "linear", "step", "plateau", "constant")


class Training:
    """How a network is trained; ``--set train.NAME=VALUE``.

    Args:
        epochs: passes over the training records.
        batch: records per step.
        rate: highest learning rate; None takes the optimiser's own: 0.003 for adamw, adam and nadam, 0.001 for
            rmsprop, 0.03 for adagrad, 0.05 for sgd, 0.3 for gd.
        encoder_rate: highest rate of the encoders trained from scratch, where it is to be another one than
            ``rate``; None takes ``rate``. (Towers that are tuned: ``tune.rate``.)
        optimiser: "adamw" (Loshchilov and Hutter 2019, arXiv:1711.05101), "adam" (Kingma and Ba 2015,
            arXiv:1412.6980), "nadam" (Dozat 2016, ICLR workshop: Adam with Nesterov's momentum), "rmsprop"
            (Tieleman and Hinton 2012, lecture 6.5: w -= rate g / sqrt(mean of g^2)), "adagrad" (Duchi et al.
            2011, JMLR 12: the sum of g^2 in its place), "sgd" (momentum .9; Sutskever et al. 2013) or "gd":
            gradient descent w -= rate g of all training records together (Cauchy 1847), one step an epoch,
            so give it hundreds of epochs.
        schedule: "one-cycle" (Smith and Topin 2018, arXiv:1708.07120), "cosine" (Loshchilov and Hutter 2017,
            arXiv:1608.03983), "linear" (to zero), "step" (a tenth after half of the steps, a hundredth after three
            quarters; He et al. 2016, arXiv:1512.03385, section 4.2), "plateau" (half after each ``stall``
            epochs without a better validation loss) or "constant"; all begin with the warm-up.
        stall: epochs without a better validation loss after which the schedule "plateau" halves the rate.
        warmup: share of the steps during which the rate rises from 4 % of its highest value.
        decay: weight decay, on matrices only; None takes the optimiser's own: 0.3 for adamw and nadam, where it
            is taken off the weights, 0.001 for sgd and gd, where it is a term of the gradient, else 0.
        accumulate: batches whose gradients are added up for one step; the step is that of one large batch.
        ema: share that a running mean of the weights keeps of itself in each step (Polyak and Juditsky 1992:
            m = ema m + (1 - ema) w, while young with ema = (1 + step) / (10 + step)); the mean is what is
            validated and kept; 0 keeps the weights themselves.
        clip: largest gradient norm of a member; 0 turns clipping off.
        members: copies of projections, fusion and head, trained together, answers averaged.
        dim: width of the projected views and of the fused record.
        drop: probability that a present view is hidden in the second, masked pass of a step;
            0 turns that pass off.
        dropout: share of the projected units dropped.
        input_dropout: share of the encoders' numbers dropped.
        auxiliary: weight of the losses of the views' own heads.
        distil: weight of the full pass teaching the masked pass.
        mixup: alpha of the shares by which records are mixed in training, x = l x_i + (1 - l) x_j and the losses
            alike, l from Beta(alpha, alpha) (Zhang et al. 2018, arXiv:1710.09412; 0.1 to 0.4 there), on the encoders' numbers
            of the views that both records have; 0 mixes none.
        regressions: share of the answer that the logistic regressions on the present views give, the
            network giving the rest; of a caption the share of the nearest training records' texts in what speaks for a
            text; None chooses it on the validation records, 0 leaves the network alone.
        patience: epochs without a better validation loss before training stops, the best weights
            then being restored; 0 trains to the end.
        average: of how many of the best epochs, by validation loss, the weights are averaged at the end:
            from the best on, each joins only where the mean is not worse on validation (greedy soup,
            Wortsman et al. 2022, arXiv:2203.05482); 0 takes the last weights, or with patience the best.
        l1: weight of the sum of the matrices' absolute values in the loss (Tibshirani 1996).
        pseudo: probability from which the model's own answer to a record without a target becomes a target of a second
            training (pseudo-labels: Lee 2013, ICML workshop; noisy student: Xie et al. 2020, arXiv:1911.04252; 0.8 to 0.95
            there); 0 leaves such records out. The second training is kept only where validation (30 records at least)
            gains by more than the standard error of the paired difference; records of groups that stand in validation
            are never taken. Wins where labels are few and records many and the classes are clusters; costs a second
            training on all of them.
        checkpoint: seconds of training between two checkpoints, where checkpoints are kept; 0 writes one
            after every batch.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, epochs: int = 20, batch: int = 64, rate: float | None = None, encoder_rate: float | None = None,
        optimiser: str = "adamw", schedule: str = "one-cycle", stall: int = 2, warmup: float = 0.2,
        decay: float | None = None, accumulate: int = 1, ema: float = 0.0, clip: float = 1.0, members: int = 4, dim: int = 96,
        drop: float = 0.5, dropout: float = 0.4, input_dropout: float = 0.3, auxiliary: float = 0.3,
        distil: float = 0.0,
        mixup: float = 0.0, regressions: float | None = None, patience: int = 0, average: int = 0, l1: float = 0.0,
        pseudo: float = 0.0, checkpoint: float = 30.0,
    ) -> None:
        values = dict(locals())
        del values["self"]
        for name, known in (("optimiser", OPTIMISERS), ("schedule", SCHEDULES)):
            if not isinstance(values[name], str) or values[name] not in known:
                words = [f"'{one}'" for one in known]
                raise BadOption(f"train.{name}={values[name]!r} must be {', '.join(words[:-1])} or {words[-1]}")
        for name, own in zip(("rate", "decay"), OPTIMISERS[optimiser], strict=True):
            values[name] = own if values[name] is None else values[name]
        check_numbers("train", values, (
            ("epochs", 1, math.inf), ("batch", 1, math.inf), ("members", 1, 1000), ("dim", 1, 65536), ("stall", 1, math.inf),
            ("warmup", 0, 1), ("decay", 0, math.inf), ("clip", 0, math.inf), ("patience", 0, math.inf),
            ("drop", 0, 0.99), ("dropout", 0, 0.99), ("input_dropout", 0, 0.99), ("auxiliary", 0, math.inf),
            ("distil", 0, math.inf), ("rate", 1e-12, 1e3), ("encoder_rate", 0, 1e3), ("average", 0, 100),
            ("l1", 0, math.inf), ("checkpoint", 0, math.inf), ("accumulate", 1, math.inf), ("ema", 0, 0.999999),
            ("mixup", 0, 100), ("pseudo", 0, 1),
        ), whole=("epochs", "batch", "members", "dim", "patience", "average", "stall", "accumulate"), none=("encoder_rate",))
        number = isinstance(regressions, (int, float)) and not isinstance(regressions, bool)
        if regressions is not None and not (number and 0 <= regressions <= 1):
            raise BadOption(f"train.regressions={regressions!r} must be a share from 0 to 1")
        self.__dict__.update(values)

    def network(self) -> dict[str, Any]:
        """The options that shape the network rather than the loop."""
        return {
            name: getattr(self, name)
            for name in ("dim", "members", "drop", "dropout", "input_dropout", "auxiliary", "distil", "mixup")
        }


class Tuning:
    """How towers are tuned; ``--set tune.NAME=VALUE``.

    Args:
        epochs: passes over the training records.
        batch: records per step.
        rate: highest rate of a tower's last layer; None takes 3e-5 for a transformer, 3e-4 for a
            convolutional network, 1e-3 for low-rank factors.
        rest: highest rate of everything else: projections, fusion, heads, encoders trained from scratch.
        decay_by_layer: each layer's rate is this share of the rate of the layer above it (Howard and
            Ruder 2018, arXiv:1801.06146, section 3.2).
        warmup: share of the steps during which the rates rise.
        decay: weight decay of the towers, on matrices only.
        clip: largest gradient norm of the towers together, and of each member.
        augment: mirror and move pictures.
        lora: rank of low-rank factors, which are trained in place of a tower's own weights (Hu et al.
            2021, arXiv:2106.09685); 0 trains the weights. Of a convolutional network the 1x1
            convolutions get factors.
        checkpointing: compute each layer again for its gradient rather than keep what it held
            (Chen et al. 2016, arXiv:1604.06174): less memory, a third more time.
        precision: "float32", "bfloat16", or "auto": bfloat16 where the hardware gains by it.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(
        self, *, epochs: int = 4, batch: int = 32, rate: float | None = None, rest: float = 3e-4,
        decay_by_layer: float = 0.9, warmup: float = 0.1, decay: float = 0.01, clip: float = 1.0, augment: bool = True,
        lora: int = 0, checkpointing: bool = False, precision: str = "auto",
    ) -> None:
        values = dict(locals())
        del values["self"]
        check_numbers("tune", values, (
            ("epochs", 1, math.inf), ("batch", 1, math.inf), ("rest", 0, 1e3), ("decay_by_layer", 0.01, 1), ("warmup", 0, 1),
            ("decay", 0, math.inf), ("clip", 0, math.inf), ("lora", 0, 1024), ("rate", 1e-12, 1e3),
        ), whole=("epochs", "batch", "lora"), none=("rate",))
        for name in ("augment", "checkpointing"):
            if not isinstance(values[name], bool):
                raise BadOption(f"tune.{name}={values[name]!r} must be true or false")
        if precision not in ("auto", "float32", "bfloat16"):
            raise BadOption(f"tune.precision='{precision}' must be 'auto', 'float32' or 'bfloat16'")
        self.__dict__.update(values)

    def loop(self, training: Training) -> Training:
        """How the loop is to run: the network's own settings with these epochs and rates; the best epoch is kept."""
        return Training(**{
            **vars(training), "epochs": self.epochs, "batch": self.batch, "schedule": "one-cycle", "warmup": self.warmup,
            "clip": self.clip, "patience": self.epochs, "average": 0, "rate": max(self.rest, 1e-12), "accumulate": 1,
            "ema": 0.0, "optimiser": "adamw",
        })


class Auto:
    """How ``VIEW=auto`` tries encoders; ``--set auto.NAME=VALUE``.

    Args:
        records: training records, and validation records, of a view that the candidates are tried on, at most.
        epochs: of the short training of each encoder that is trained from scratch.
        seconds: of these trainings for each view together, evenly shared; the schedule is shortened in time. 0
            tries no encoder that is trained.

    Raises:
        BadOption: a value is out of its range.
    """

    def __init__(self, *, records: int = 2000, epochs: int = 10, seconds: float = 120.0) -> None:
        values = {"records": records, "epochs": epochs, "seconds": seconds}
        check_numbers("auto", values, (
            ("records", 30, math.inf), ("epochs", 1, math.inf), ("seconds", 0, math.inf),
        ), whole=("records", "epochs"), none=())
        self.__dict__.update(values)


def check_numbers(
    section: str, values: dict[str, Any], ranges: tuple[tuple[str, float, float], ...], *, whole: tuple[str, ...],
    none: tuple[str, ...],
) -> None:
    """Refuse what is no number, out of its range, or no whole number where one is needed.

    Args:
        ranges: (name, lowest, highest).
        whole: names of those that count something.
        none: names of those that may be left open.
    """
    for name, low, high in ranges:
        value = values[name]
        if name in none and value is None:
            continue
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not low <= value <= high or (name in whole and value != int(value)):
            upto = f"from {low} to {high}" if high < math.inf else f"of at least {low}"
            raise BadOption(f"{section}.{name}={value!r} must be a {'whole ' if name in whole else ''}number {upto}")


def refuse(given: Mapping[str, Any], own: Collection[str], none: Collection[str], noun: str, section: str) -> None:
    """Refuse options of training that an estimator has by another name, or has no use for.

    Raises:
        BadOption: with the name to write, if there is one.
    """
    for name in given:
        if name in own:
            raise BadOption(f"a {noun}'s train.{name} is {section}.{name}; write {section}.{name}={given[name]}")
        if name in none:
            raise BadOption(f"train.{name} is about answers, which a {noun} has none of; leave it away")
