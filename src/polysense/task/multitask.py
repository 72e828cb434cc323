"""Several targets at once, each with a task of its own."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import Part, State, Task
from ..errors import BadOption, BadTable
from ..layers import ByView
from ..registry import suggest, tasks
from ..tokens import Tokens


@tasks("multitask")
class Multitask(Task):
    """Several targets of any kind at once, each with its own task and head on the shared record.

    The loss of a record is the weighted mean over the targets T that are known of it: sum over T of w_t loss_t divided
    by sum over T of w_t, where loss_t is that of the target's own task (numbers are standardised there, so that
    losses are of one size). Source: hard parameter sharing, Caruana 1997, "Multitask Learning", Machine Learning 28,
    section 2; weights as in Kendall et al. 2018, arXiv:1705.07115, eq. 1.

    Wins over a model for each target where targets tell of each other, records are few, or one pass must answer them
    all; it loses where they pull the shared record apart, so compare with single fits. Costs the heads of its
    tasks, and the regressions of each; encoders and fusion are there once.

    Args:
        targets: one dict for each: "target" its name, "task" the name of its task, "options" of that task. The command
            line makes them from --target a,b, --task a=regress,b=classify and --set task.a.error=huber.
        weights: of the targets' losses, as in price=2,kind=1; 1 where none is given.

    Raises:
        BadOption: a weight that is no finite number above 0, or of no target; a task that does not exist.
        BadTable: (fit) a target that its task cannot learn; the message names it.

    >>> task = Multitask(targets=[{"target": "price", "task": "regress"}, {"target": "kind", "task": "classify"}])
    >>> task.fit([(1.0, "cat"), (3.0, None), (None, "dog")])
    >>> [part.name for part in task.parts()], task.prior().tolist()
    (['price', 'kind'], [0.0, 0.5, 0.5])
    """

    kind = "several"

    def __init__(
        self, *, targets: Sequence[Mapping[str, Any]] | None = None, weights: str | Mapping[str, float] | None = None
    ) -> None:
        self.targets, self.weights = targets, weights
        self._names = [one["target"] for one in targets or ()]
        self._tasks: list[Task] = [tasks.make(one["task"], **one.get("options", {})) for one in targets or ()]
        self._weight = _weights(weights, self._names) if targets else {}
        self._places = [slice(0)] * len(self._names)  # of an answer; known once it has learned
        for name in ("averages", "late"):
            setattr(self, name, all(getattr(task, name) for task in self._tasks))
        self.needs_positions = any(task.needs_positions for task in self._tasks)

    def parts(self) -> list[Part]:
        """The targets in the order in which they were named."""
        return [
            Part(name, task, columns, place, self._weight[name])
            for place, (name, task, columns) in enumerate(zip(self._names, self._tasks, self._places, strict=True))
        ]

    def fit(self, values: Sequence[Any]) -> None:
        """Args:
            values: (N,) tuples of a value for each target, None where one is missing.
        """
        if not self.targets:
            raise BadTable("the task multitask is for several targets; name them, such as --target price,kind")
        for place, (name, task) in enumerate(zip(self._names, self._tasks, strict=True)):
            try:
                task.fit([one[place] for one in values if one is not None and one[place] is not None])
            except BadTable as error:
                raise BadTable(str(error).replace("the target", f"the target {name!r}", 1)) from None
        self._place()

    def _place(self) -> None:
        """Each target's columns of an answer."""
        ends = np.cumsum([0, *(len(task.prior()) for task in self._tasks)]).tolist()
        self._places = [slice(*both) for both in zip(ends, ends[1:], strict=False)]

    def state(self) -> State:
        return {"parts": [task.state() for task in self._tasks]}

    def load(self, state: State) -> None:
        for task, one in zip(self._tasks, state["parts"], strict=True):
            task.load(one)
        self._place()

    def check(self, records: int, target: str | None) -> None:
        for part in self.parts():
            part.task.check(records, part.name)

    def about(self, target: str | None) -> str:
        return "; ".join(part.task.about(part.name) for part in self.parts())

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"0 label": (B, ...)}: the arrays of each target's task behind its place, and {"0 known": (B,) bool}."""
        arrays: dict[str, np.ndarray] = {}
        for part in self.parts():
            mine = part.of(values)
            for key, array in part.task.encode(mine).items():
                arrays[f"{part.place} {key}"] = array
            arrays[f"{part.place} known"] = np.array([value is not None for value in mine], bool)
        return arrays

    def judged(self, values: Sequence[Any]) -> Any:
        raise TypeError("several targets are judged one by one, see Task.parts")

    def head(self, dim: int) -> nn.Module:
        """{target: its head}."""
        return ByView({part.name: part.task.head(dim) for part in self.parts()})

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        return self._mean(lambda part, own: part.task.loss(head[part.name], fused, own), targets)

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, A): the answers of all targets beside each other."""
        return torch.cat([part.task.answer(head[part.name], fused) for part in self.parts()], 1)

    def answer_loss(self, answers: Tensor, targets: Mapping[str, Tensor]) -> Tensor:
        return self._mean(lambda part, own: part.task.answer_loss(answers[:, part.columns], own), targets)

    def teach(self, head: nn.Module, fused: Tokens, teacher: Tensor) -> Tensor:
        """The weighted mean over all targets, for a teacher knows them all."""
        parts = self.parts()
        lessons = [part.weight * part.task.teach(head[part.name], fused, teacher[:, part.columns]) for part in parts]
        return sum(lessons) / sum(part.weight for part in parts)

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """The weighted mean of the targets' losses, and the figures of each behind its name."""
        found: dict[str, float] = {}
        above = below = 0.0
        for part in self.parts():
            own = part.arrays(targets)
            known = own.pop("known")
            if not known.any():
                continue
            figures = part.task.watch(answers[known][:, part.columns], {key: value[known] for key, value in own.items()})
            if "loss" in figures:
                above, below = above + part.weight * figures["loss"], below + part.weight
            found |= {f"{part.name} {key}": value for key, value in figures.items()}
        return {**({"loss": above / below} if below else {}), **found}

    def prior(self) -> np.ndarray:
        return np.concatenate([task.prior() for task in self._tasks])

    def restore(self, answers: np.ndarray) -> np.ndarray:
        return np.concatenate([part.task.restore(answers[..., part.columns]) for part in self.parts()], -1)

    def decode(self, answers: np.ndarray) -> list[Any]:
        """Tuples, a prediction for each target."""
        return list(zip(*(part.task.decode(answers[:, part.columns]) for part in self.parts()), strict=True))

    def _mean(self, loss: Callable[[Part, dict[str, Tensor]], Tensor], targets: Mapping[str, Tensor]) -> Tensor:
        """(B,): weighted mean of the losses of the targets that each record has; what it lacks is never read."""
        above = below = 0.0
        for part in self.parts():
            own = part.arrays(targets)
            known_B = own.pop("known")
            safe = {
                key: value.masked_fill(~known_B.reshape(-1, *[1] * (value.dim() - 1)), 0) for key, value in own.items()
            }
            loss_B = loss(part, safe)
            above = above + part.weight * torch.where(known_B, loss_B, torch.zeros_like(loss_B))
            below = below + part.weight * known_B.to(loss_B.dtype)
        return above / below.clamp_min(1e-12)


def _weights(given: str | Mapping[str, Any] | None, names: Sequence[str]) -> dict[str, float]:
    """{target: weight}; 1 where none is given.

    >>> _weights("price=2", ["price", "kind"])
    {'price': 2.0, 'kind': 1.0}
    """
    if isinstance(given, str):
        pairs = (pair.rpartition("=") for pair in given.split(","))
        given = {name.strip(): value.strip() for name, _, value in pairs}
    elif not isinstance(given, (Mapping, type(None))):
        given = {"": given}
    form = "give targets their weights, as in task.weights=" + ",".join(f"{name}=1" for name in names)
    found = dict.fromkeys(names, 1.0)
    for name, value in (given or {}).items():
        if name not in found:
            said = f"task.weights names '{name}', which is no target; {suggest(name, list(names))}"
            raise BadOption(said if name else f"task.weights={value!r} names no target; {form}")
        try:
            number = math.nan if isinstance(value, bool) else float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not 0 < number < math.inf:
            raise BadOption(f"task.weights gives '{name}' the weight {value!r}, which must be a finite number above 0")
        found[name] = number
    return found
