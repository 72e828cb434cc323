"""Where training stands: everything that changes in it, so that it can be written down and taken up again.

M members, B records of a batch.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import processes
from ..errors import LossNotFinite
from ..network import Network
from .resume import random_state, set_random_state, to_arrays, to_weights
from .training import Training


@dataclass
class History:
    """What training saw: one dict per epoch, the skipped batches, and remarks for the user."""

    epochs: list[dict[str, float]] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


class Schedule:
    """The learning rate of each step, as a share of the highest: a warm-up, then a fall.

    Args:
        optimiser: each of its groups keeps its own highest rate.
        options: name of the schedule and length of the warm-up.
        steps: planned.
    """

    def __init__(self, optimiser: Any, options: Training, steps: int) -> None:
        self.groups = getattr(optimiser, "optimizer", optimiser).param_groups
        self.highest = [group["lr"] for group in self.groups]
        self.name, self.steps = options.schedule, steps
        self.rise = max(1, round(options.warmup * steps)) if options.warmup else 0
        self.done, self.place = 0, 0.0
        self.stall, self.least, self.waited, self.drops = options.stall, math.inf, 0, 0
        self._set()

    @property
    def rate(self) -> float:
        """Of the next step, in the first group."""
        return self.groups[0]["lr"]

    def step(self, affordable: float = math.inf) -> None:
        """Go on by one step, or by more where fewer than those planned can still be made.

        Args:
            affordable: steps for which there is time.
        """
        self.place += (self.steps - self.place) / max(1.0, min(self.steps - self.done, 1 + affordable))
        self.done += 1
        self._set()

    def heed(self, loss: float) -> None:
        """At the end of an epoch: "plateau" halves the rate after ``stall`` epochs without a better validation loss."""
        if self.name != "plateau" or self.place < self.rise:
            return
        self.waited = 0 if loss < self.least else self.waited + 1
        self.least = min(loss, self.least)
        if self.waited == self.stall:
            self.waited, self.drops = 0, self.drops + 1
            self._set()

    def state(self) -> dict[str, Any]:
        """Where it stands, as JSON."""
        least = self.least if self.least < math.inf else None
        return {"done": self.done, "place": self.place, "least": least, "waited": self.waited, "drops": self.drops}

    def load(self, state: Mapping[str, Any]) -> None:
        """Undo ``state``."""
        self.done, self.place, self.waited, self.drops = (state[key] for key in ("done", "place", "waited", "drops"))
        self.least = math.inf if state["least"] is None else state["least"]
        self._set()

    def _set(self) -> None:
        for group, highest in zip(self.groups, self.highest, strict=True):
            group["lr"] = highest * self._factor(self.place)

    def _factor(self, step: float) -> float:
        if step < self.rise:
            way = step / self.rise
            return 0.04 + 0.96 * ((1 - math.cos(math.pi * way)) / 2 if self.name == "one-cycle" else way)
        if self.name in ("constant", "plateau"):
            return 0.5**self.drops
        if self.name == "step":
            return 1.0 if 2 * step < self.steps else 0.1 if 4 * step < 3 * self.steps else 0.01
        way = min(1.0, (step - self.rise) / max(1, self.steps - self.rise))
        return max(1e-5, 1 - way if self.name == "linear" else (1 + math.cos(math.pi * way)) / 2)


class Pace:
    """How many more batches the time allows.

    Args:
        left: seconds left; None for as many as it takes.

    >>> seconds = iter([10.0, 8.0, 6.0])
    >>> pace = Pace(lambda: next(seconds))
    >>> pace.tick(), pace.tick(), pace.tick()
    (inf, 4.0, 3.0)
    """

    def __init__(self, left: Callable[[], float] | None) -> None:
        self._left, self._first, self._ticks = left, 0.0, 0
        #: Seconds that earlier runs of the same training took.
        self.before, self._started = 0.0, time.monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds of training, in this run and in those it goes on with."""
        return self.before + time.monotonic() - self._started

    def left(self) -> float:
        """Seconds left."""
        return math.inf if self._left is None else processes.as_first(self._left() - self.before)

    def tick(self) -> float:
        """After each batch: how many more there is time for, judged by those after the first, which is slow."""
        now = self.left()
        self._ticks += 1
        if self._ticks == 1:
            self._first = now
        if self._ticks == 1 or now == math.inf:
            return math.inf
        mean = (self._first - now) / (self._ticks - 1)
        return max(0.0, now / mean) if mean > 0 else math.inf


@dataclass
class Snapshot:
    """Weights of the end of an epoch, and their validation loss."""

    loss: float
    epoch: int
    weights: dict[str, Tensor]


class Course:
    """One training, from its first batch to its last.

    Args:
        network: trained in place.
        optimiser, schedule: made for it.
        order: generator that the order of the records is drawn from.
        options: of training.
        pace: of the time.
        records: that an epoch walks through.

    Attributes:
        epoch: the one that is on, from 0.
        batch: batches done in it.
        over: nothing is left to do; in a state tree also: and the best weights are in.
    """

    def __init__(
        self, network: Network, optimiser: Any, schedule: Schedule, order: torch.Generator, options: Training, pace: Pace,
        records: int = 0,
    ) -> None:
        self.network, self.optimiser, self.schedule = network, optimiser, schedule
        self.order, self.options, self.pace = order, options, pace
        self.history = History()
        self.epoch = self.batch = self.waited = self._seen = 0
        self.over, self._total = False, 0.0
        self._order = order.get_state()
        self._best: list[Snapshot] = []
        self._records, self._together = records, together(options, records)
        self._gathered: list[np.ndarray] = []  # records whose gradients wait for their step
        self._pending, self._affordable, self._before = 0.0, math.inf, []
        self._mean = _floats(network) if options.ema else {}
        inner = getattr(optimiser, "optimizer", optimiser)
        self._parameters = [p for group in inner.param_groups for p in group["params"]]
        self._matrices = network.matrices()[0]
        self._statistics = [  # what a forward pass changes: BatchNorm's running means
            buffer for encoder in network.encoders.encoders.values()
            if not encoder.frozen for buffer in encoder.buffers()
        ]

    # --- a batch ---------------------------------------------------------------------------------

    def rest(self, batches: Any) -> Iterator[Tensor]:
        """The batches of this epoch that are still to be done, counted as they are."""
        self.order.set_state(self._order)
        for picked in islice(batches, self.batch, None):
            self.batch += 1
            yield picked

    def step(
        self, losses: Callable[[], Tensor], backward: Callable[[Tensor], None], picked: np.ndarray
    ) -> np.ndarray | None:
        """Learn from one batch, B of whose records are this process's own; every ``accumulate`` batches make one step.

        Args:
            losses: runs the network: (M, B); B is 1 where this process has none.
            backward: from a scalar to gradients, averaged over the processes.
            picked: rows of the whole batch.

        Returns:
            None; or where loss or gradient is not finite, the rows to blame. Nothing has changed then.
        """
        before, size = [buffer.clone() for buffer in self._statistics], len(picked)
        losses_MB = losses()
        places = processes.mine(np.arange(size))
        loss_S = processes.together(losses_MB.detach().mean(0).double().cpu().numpy()[: len(places)], places, size)
        bad_S = ~np.isfinite(loss_S)
        if bad_S.any():
            self._restore(before)
        else:
            if not self._gathered:
                self.optimiser.zero_grad()
                self._before = before
            share = 1.0 if self._together == 1 else size / self._group()
            # the mean over the processes of this is the mean over the batch, and over the group its share of that mean
            loss = losses_MB.mean(1).sum() * (len(places) * processes.count() / size) * share
            if self.options.l1:
                loss = loss + self.options.l1 * share * sum(matrix.abs().sum() for matrix in self._matrices)
            backward(loss)
            self._gathered.append(picked)
            self._pending, self._affordable = self._pending + float(loss_S.sum()), self.pace.tick()
        last = self.batch % self._together == 0 or self.batch * self.options.batch >= self._records  # of its group
        unmade = self.update() if last else None
        return picked[bad_S] if bad_S.any() else unmade

    def update(self) -> np.ndarray | None:
        """Make the step for which gradients were gathered, if any were.

        Returns:
            None; or where the gradient is not finite, the rows to blame. Nothing has changed then.
        """
        if not self._gathered:
            return None
        rows, self._gathered = np.concatenate(self._gathered), []
        pending, self._pending = self._pending, 0.0
        if self._together > 1 and len(rows) < self._group():  # a batch was skipped, or time ran out
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(self._group() / len(rows))
        if not clip(self.network, self.options.clip):
            self._restore(self._before)
            return rows
        self.optimiser.step()
        self._total, self._seen = self._total + pending, self._seen + len(rows)
        self.schedule.step(self._affordable / self._together)
        self._follow()
        return None

    def _group(self) -> int:
        """Records of the batches that make the present step."""
        first = (self.batch - 1) // self._together * self._together
        return min(self._records, (first + self._together) * self.options.batch) - first * self.options.batch

    def _restore(self, before: list[Tensor]) -> None:
        for buffer, value in zip(self._statistics, before, strict=True):
            buffer.copy_(value)

    # --- the mean of the weights -----------------------------------------------------------------

    def _follow(self) -> None:
        """The running mean takes a step towards the weights."""
        steps = self.schedule.done
        keep = min(self.options.ema, (1 + steps) / (10 + steps))
        for key, value in _floats(self.network, self._mean).items():
            self._mean[key].lerp_(value, 1 - keep)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """Within it the network holds the running mean of its weights, where one is asked for."""
        if not self._mean:
            yield
            return
        own = _copy(self.network)
        self.network.load_state_dict({**own, **self._mean})
        try:
            yield
        finally:
            self.network.load_state_dict(own)

    @property
    def loss(self) -> float:
        """Mean training loss of this epoch."""
        return self._total / max(1, self._seen)

    # --- an epoch --------------------------------------------------------------------------------

    def end_epoch(self, figures: dict[str, float]) -> None:
        """Note the figures, keep the weights if they are among the best, and see whether training is over.

        Raises:
            LossNotFinite: on validation.
        """
        self.history.epochs.append(figures)
        loss = figures.get("valid_loss", 0.0)
        if not math.isfinite(loss):
            raise LossNotFinite(f"the validation loss is not finite after epoch {self.epoch + 1}; lower train.rate")
        self.schedule.heed(loss)
        keep = max(self.options.average, 1 if self.options.patience else 0)
        if keep and "valid_loss" in figures:
            better = not self._best or loss < self._best[0].loss
            self.waited = 0 if better else self.waited + 1
            if len(self._best) < keep or loss < self._best[-1].loss:
                self._best = sorted([*self._best, Snapshot(loss, self.epoch + 1, _copy(self.network))], key=_by_loss)[:keep]
        late = self.pace.left() <= 0 and self.schedule.done < self.schedule.steps
        if late:
            self.history.remarks.append(
                f"the time limit ended training in epoch {self.epoch + 1} of {self.options.epochs}; "
                "the model is what was learned until then"
            )
        self.epoch, self.batch, self._total, self._seen, self._order = self.epoch + 1, 0, 0.0, 0, self.order.get_state()
        patient = not self.options.patience or self.waited < self.options.patience
        self.over = late or not patient or self.epoch == self.options.epochs

    def finish(self, judge: Callable[[], float]) -> None:
        """Put the best weights in, or the mean of several, or without validation their running mean if there is one.

        Args:
            judge: validation loss of the network as it stands.
        """
        if self._best:
            mean, epochs = soup(self.network, self._best, judge)
            self.network.load_state_dict(mean)
            if len(epochs) > 1:
                self.history.remarks.append(f"the weights of epochs {', '.join(map(str, sorted(epochs)))} are averaged")
        elif self._mean:
            self.network.load_state_dict({**self.network.state_dict(), **self._mean})
        self._best, self._mean = [], {}

    # --- to disk and back ------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """Everything that changes, as a state tree."""
        slots = getattr(self.optimiser, "optimizer", self.optimiser).state_dict()["state"]
        return {
            "epoch": self.epoch, "batch": self.batch, "waited": self.waited, "total": self._total, "seen": self._seen,
            "over": self.over, "elapsed": self.pace.elapsed, "schedule": self.schedule.state(),
            "batched": self.network.members.batched, "history": vars(self.history),
            "weights": to_arrays(self.network.state_dict()),
            "optimiser": {str(i): {key: _array(value) for key, value in slot.items()} for i, slot in slots.items()},
            "best": [vars(one) | {"weights": to_arrays(one.weights)} for one in self._best],
            "random": random_state(), "order": self._order.numpy(), "mean": to_arrays(self._mean),
            "group": self._group_state() if self._gathered else None,
        }

    def _group_state(self) -> dict[str, Any]:
        """What is gathered for a step that is not made yet."""
        grads = {str(i): _array(p.grad) for i, p in enumerate(self._parameters) if p.grad is not None}
        return {
            "rows": [rows.tolist() for rows in self._gathered], "pending": self._pending, "gradients": grads,
            "before": [_array(buffer) for buffer in self._before],
        }

    def load(self, state: Mapping[str, Any] | None) -> None:
        """Undo ``state``; None leaves the beginning."""
        if state is None:
            return
        self.epoch, self.batch, self.waited = state["epoch"], state["batch"], state["waited"]
        self._total, self._seen, self.over = state["total"], state["seen"], state["over"]
        self.pace.before = state["elapsed"]
        self.schedule.load(state["schedule"])
        self.network.members.batched = state["batched"]
        self.history = History(**state["history"])
        self.network.load_state_dict(to_weights(state["weights"]))
        self._load_slots(state["optimiser"])
        self._best = [Snapshot(**{**one, "weights": to_weights(one["weights"])}) for one in state["best"]]
        self._mean = to_weights(state["mean"])
        if group := state["group"]:
            self._gathered, self._pending = [np.array(rows) for rows in group["rows"]], group["pending"]
            self._before = [torch.tensor(buffer) for buffer in group["before"]]
            for i, grad in group["gradients"].items():
                parameter = self._parameters[int(i)]
                parameter.grad = torch.empty_like(parameter, requires_grad=False).copy_(torch.tensor(grad))
        self._order = torch.tensor(state["order"])
        set_random_state(state["random"])

    def _load_slots(self, slots: Mapping[str, Mapping[str, Any]]) -> None:
        """Into tensors laid out as their parameters are: layout decides the last bit."""
        inner = getattr(self.optimiser, "optimizer", self.optimiser)
        for i, slot in slots.items():
            parameter, mine = self._parameters[int(i)], {}
            for key, value in slot.items():
                if isinstance(value, np.ndarray) and value.shape == parameter.shape:
                    mine[key] = torch.empty_like(parameter, requires_grad=False).copy_(torch.tensor(value))
                else:
                    mine[key] = torch.tensor(value) if isinstance(value, np.ndarray) else value
            inner.state[parameter] = mine


def together(options: Training, records: int) -> int:
    """Batches that make one step: all of them in plain gradient descent.

    >>> together(Training(accumulate=4), 100), together(Training(optimiser="gd", batch=64), 100)
    (4, 2)
    """
    return max(1, math.ceil(records / options.batch)) if options.optimiser == "gd" else options.accumulate


def clip(network: Network, largest: float) -> bool:
    """Clip each member's gradient to its own norm, the shared encoders' to theirs.

    Returns:
        False where a norm is not finite: the gradient is of no use.
    """
    if not largest:
        return True
    finite = torch.tensor(True)
    shared = [p for p in network.encoders.parameters() if p.grad is not None]
    if shared:
        finite = torch.isfinite(torch.nn.utils.clip_grad_norm_(shared, largest))
    own = [p.grad for p in network.members.parameters() if p.grad is not None]
    if not own:  # a head that stays as it is, above encoders that learn
        return bool(finite)
    norm_M = torch.stack([grad.flatten(1).square().sum(1) for grad in own]).sum(0).sqrt()
    scale_M = (largest / (norm_M + 1e-6)).clamp_max(1.0)
    for grad in own:
        grad.mul_(scale_M.reshape(-1, *[1] * (grad.dim() - 1)))
    return bool(finite.to(norm_M.device) & torch.isfinite(norm_M).all())


def soup(network: Network, best: list[Snapshot], judge: Callable[[], float]) -> tuple[dict[str, Tensor], list[int]]:
    """Weights averaged as long as validation gains (greedy soup, Wortsman et al. 2022, algorithm 1).

    Args:
        network: is left with the weights that were judged last.
        best: from the best on.
        judge: validation loss of the network as it stands.

    Returns:
        The weights, and the epochs they come from.
    """
    chosen, least = best[:1], best[0].loss
    for one in best[1:]:
        network.load_state_dict(_mean([*chosen, one]))
        loss = judge()
        if loss <= least:
            chosen, least = [*chosen, one], loss
    return _mean(chosen), [one.epoch for one in chosen]


def _mean(parts: list[Snapshot]) -> dict[str, Tensor]:
    """Mean weights; what is no float (a count) is that of the first."""
    if len(parts) == 1:
        return parts[0].weights
    return {
        key: torch.stack([part.weights[key] for part in parts]).mean(0) if value.is_floating_point() else value
        for key, value in parts[0].weights.items()
    }


def _by_loss(one: Snapshot) -> tuple[float, int]:
    return one.loss, one.epoch


def _copy(network: Network) -> dict[str, Tensor]:
    return {key: value.detach().clone() for key, value in network.state_dict().items()}


def _floats(network: Network, known: Mapping[str, Tensor] | None = None) -> dict[str, Tensor]:
    """What of a network's state can be averaged: copies, or where these are ``known`` the tensors themselves."""
    state = network.state_dict()
    if known is not None:
        return {key: state[key].detach() for key in known}
    return {key: value.detach().clone() for key, value in state.items() if value.is_floating_point()}


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if isinstance(value, Tensor) else value
