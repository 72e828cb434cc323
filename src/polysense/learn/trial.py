"""Which encoder suits a view: ``VIEW=auto`` tries those there are and lets validation records choose.

N records of a table, n of them tried, A numbers of an answer.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch

from ..contracts import Encoder
from ..data.cache import Cache
from ..data.reading import Cells
from ..errors import LossNotFinite, Mistake
from ..modality.towers import TOWERS, default_encoder, on_disk
from ..network import Encoders, Network
from ..registry import encoders as shelf
from ..registry import fusions, modalities
from .beside import aims_of, rivals_of, unit
from .features import Prepared, Views, answer, encode, frozen
from .gather import Bar, sample, tell_kinds
from .loop import train
from .training import Auto, Training

#: Validation records that a choice needs; with fewer a view keeps its default.
FEWEST = 30


class Judge:
    """What candidates are judged by: the loss that the model will be judged by.

    Args:
        task: fitted.
        targets: (N,) of all records, as the user knows them.
        seed: of a regression's folds.

    Attributes:
        labels: {name: (N, ...)} targets as the network takes them.
        known_N: bool, records whose loss is defined.
        unit: what the loss is called.
    """

    def __init__(self, task: Any, targets: Sequence[Any], seed: int) -> None:
        self.task, self.seed, self.labels = task, seed, task.encode(targets)
        self.aims = aims_of(task, targets)
        self._known = [aim.yardstick.known(aim.judged) for aim in self.aims]
        self.known_N = np.any(self._known, 0)
        self.unit = "log loss" if task.kind in ("classes", "labels") else "loss"
        # losses of several targets are of different units: in those of their priors they can be added up
        every = np.arange(len(targets))
        self._unit = [unit(aim, every) if len(self.aims) > 1 else 1.0 for aim in self.aims]

    def regress(self, features: Any, present_N: np.ndarray, rows: np.ndarray, judged: np.ndarray) -> np.ndarray:
        """(n, A): answers of the rivals' own regressions for the judged rows, their C chosen on them."""
        answers = []
        for aim in self.aims:
            own = rows[aim.has_N[rows]]
            parts = [({"": features[part]}, present_N[part, None], aim.judged[part]) for part in (own, judged)]
            rivals = rivals_of(aim, *parts[0], *parts[1], views=[""], seed=self.seed)
            answers.append(rivals.answer(("",), *parts[1][:2]))
        return answers[0] if len(answers) == 1 else np.hstack(answers)

    def losses(self, answers: np.ndarray, rows: np.ndarray) -> np.ndarray:
        """(n,): loss of each of the rows, all of them known; of several targets the weighted mean over the known ones."""
        if len(self.aims) == 1:
            yardstick, truth = self.aims[0].yardstick, self.aims[0].judged[rows]
            return yardstick.losses(yardstick.own(answers, truth), truth)
        above, below = np.zeros(len(rows)), np.zeros(len(rows))
        for aim, known_N, scale in zip(self.aims, self._known, self._unit, strict=True):
            at = np.flatnonzero(known_N[rows])
            truth = aim.judged[rows[at]]
            own = aim.yardstick.own(aim.part.among(answers[at]), truth)
            above[at] += aim.part.weight * aim.yardstick.losses(own, truth) / scale
            below[at] += aim.part.weight
        return above / below


def try_encoders(
    views: list[str], options: Mapping[str, Mapping[str, Any]], cells: Mapping[str, Cells], train_rows: np.ndarray,
    valid_rows: np.ndarray, judge: Judge, *, how: Auto, training: Training, seed: int, cache: Cache,
    say: Callable[[str], None], bar: Bar,
) -> dict[str, dict[str, Any]]:
    """{view: what was chosen and why, as JSON}.

    Each candidate reads the view alone, on the same records that have it. A frozen one (the plain features, every
    tower on disk) is judged by the regression on its outputs, which the cache keeps, its strength C chosen on the
    same validation records; one trained from scratch by a short training of a small network. That is an honest
    comparison of neither: a large network that needs long training is undervalued, so ``auto`` is a good guess at
    small cost, not a search. Chosen is, among all whose loss is not above the least one by more than
    the standard error of their paired difference, the one with the fewest weights. Test records are never seen.

    Costs a pass of each tower over at most 2 ``auto.records`` records (cached), a regression each, and up to
    ``auto.seconds`` of short trainings a view.

    Args:
        views: those whose encoder is to be found.
        options: {view: options}; each candidate gets those that it has.
        how: limits.
        training: rates and the like for the short trainings.
    """
    return {
        view: _try_view(
            view, dict(options.get(view, {})), cells[view], train_rows, valid_rows, judge, how=how, training=training,
            seed=seed, cache=cache, say=say, bar=bar,
        )
        for view in views
    }


def candidates(modality: str) -> list[tuple[str, dict[str, Any]]]:
    """(name, options) of all encoders of a modality that could be used now, cheap ones first.

    >>> candidates("table")[0]
    ('table.mlp', {})
    """
    named = [name for name in shelf if name.startswith(f"{modality}.")]
    still = [(name, {}) for name in named if shelf[name].frozen and not shelf[name].tower]
    towers = [
        (name, {"tower": tower.name}) for name in named if shelf[name].tower
        for tower in TOWERS if tower.modality == modality and on_disk(tower)
    ]
    moving = [name for name in named if not shelf[name].frozen]
    moving.sort(key=lambda name: name != modalities[modality].large)  # the usual one first: time may run out
    return [*still, *towers, *((name, {}) for name in moving)]


def _try_view(
    view: str, options: dict[str, Any], cells: Cells, train_rows: np.ndarray, valid_rows: np.ndarray, judge: Judge, *,
    how: Auto, training: Training, seed: int, cache: Cache, say: Callable[[str], None], bar: Bar,
) -> dict[str, Any]:
    modality = cells.view.modality
    train_rows, valid_rows = (
        _some(rows[cells.present[rows] & judge.known_N[rows]], how.records, seed) for rows in (train_rows, valid_rows)
    )
    if len(valid_rows) < FEWEST or len(train_rows) < FEWEST:
        name, chosen, reason = default_encoder(modality, sample(cells, train_rows, seed), len(train_rows))
        why = f"fewer than {FEWEST} training or validation records have it; the default ({reason})"
        say(f"{view}: nothing tried, {why}")
        return {"chosen": _full(name, chosen), "why": why, "tried": []}
    mine = copy.copy(cells)  # the same cells, of which only these rows count
    mine.present = cells.present & np.isin(np.arange(cells.n), np.concatenate([train_rows, valid_rows]))
    wanted, entries, losses = candidates(modality), [], {}
    budget = _Budget(how.seconds, sum(not shelf[name].frozen for name, _ in wanted))
    with bar(f"{view}: encoders tried", len(wanted)) as advance:
        for name, chosen in wanted:
            known = {key: value for key, value in options.items() if key in shelf.about(name).options}
            tryout = partial(_by_regression, cache=cache) if shelf[name].frozen else partial(
                _by_training, seed=seed, how=how, training=training, budget=budget
            )
            full, started = _full(name, {**known, **chosen}), time.process_time()
            entry: dict[str, Any] = {"encoder": full, "by": "regression" if shelf[name].frozen else "short training"}
            try:
                encoder = _fitted(shelf.make(name, **{**known, **chosen}), mine, train_rows, seed)
                losses[full], entry["weights"] = tryout(encoder, mine, train_rows, valid_rows, judge)
                entry["loss"] = float(losses[full].mean())
            except (Mistake, LossNotFinite, _NoTime) as error:
                entry["left_out"] = str(error)
            entries.append(entry | {"cpu_seconds": round(time.process_time() - started, 2)})
            advance(1, full)
    if not losses:
        name, chosen, reason = default_encoder(modality, sample(cells, train_rows, seed), len(train_rows))
        facts = {"chosen": _full(name, chosen), "why": f"nothing could be tried; the default ({reason})", "tried": entries}
    else:
        facts = choose(entries, losses)
    facts |= {"unit": judge.unit, "records": len(train_rows), "valid": len(valid_rows)}
    say(table(view, facts))
    return facts


def fitting(options: Mapping[str, Mapping[str, Any]], tried: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """{view: those of its options that the chosen encoder has}."""
    chosen = {view: shelf.about(facts["chosen"].partition(":")[0]).options for view, facts in tried.items()}
    return {view: {key: value for key, value in options.get(view, {}).items() if key in has} for view, has in chosen.items()}


def choose(entries: list[dict[str, Any]], losses: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The rule: of all that are within one standard error of the best, the one with the fewest weights.

    Args:
        entries: with ``encoder`` and ``weights``, of those that were judged.
        losses: {encoder: loss of each validation record}.

    >>> choose([{"encoder": "a", "weights": 9}, {"encoder": "b", "weights": 2}], {
    ...     "a": np.array([1.0, 2.0]), "b": np.array([0.9, 2.2])})["chosen"]
    'b'
    """
    best = min(losses, key=lambda name: losses[name].mean())  # the first of equal ones
    for entry in entries:
        if entry["encoder"] in losses:
            apart = losses[entry["encoder"]] - losses[best]
            entry["behind"], entry["error"] = float(apart.mean()), float(apart.std(ddof=1) / len(apart) ** 0.5)
    near = [entry for entry in entries if "behind" in entry and entry["behind"] <= entry["error"]]
    chosen = min(near, key=lambda entry: entry["weights"])["encoder"]
    why = "least loss" if chosen == best else f"fewest weights of those within a standard error of {best}"
    return {"chosen": chosen, "why": why, "tried": entries}


def table(view: str, facts: Mapping[str, Any]) -> str:
    """What was tried for a view, as lines for the terminal."""
    if not facts["tried"]:
        return f"{view} <- {facts['chosen']}: {facts['why']}"
    width = max(len(entry["encoder"]) for entry in facts["tried"])
    lines = [
        f"{view}: {len(facts['tried'])} encoders tried on {facts['records']:,} training and {facts['valid']:,} validation "
        f"records of this view alone; validation {facts['unit']}, CPU seconds, weights",
    ]
    for entry in sorted(facts["tried"], key=lambda entry: entry.get("loss", np.inf)):
        mark = "*" if entry["encoder"] == facts["chosen"] else " "
        said = f"left out: {entry['left_out']}" if "loss" not in entry else (
            f"{entry['loss']:.3f}  {entry['cpu_seconds']:7.1f}  {entry['weights']:>11,}  {entry['by']}"
        )
        lines.append(f"  {mark} {entry['encoder']:<{width}}  {said}")
    return "\n".join([*lines, f"  * chosen: {facts['why']}"])


# --- one candidate -------------------------------------------------------------------------------


class _NoTime(Exception):
    """The budget of short trainings is spent."""


class _Budget:
    """Seconds that the short trainings of a view share evenly; what one leaves goes to the next ones."""

    def __init__(self, seconds: float, parts: int) -> None:
        self.rest, self.parts = seconds, parts

    def __enter__(self) -> Callable[[], float]:
        if self.rest <= 0:
            raise _NoTime("no time left of auto.seconds")
        self.started, share = time.monotonic(), self.rest / max(1, self.parts)
        return lambda: share - (time.monotonic() - self.started)

    def __exit__(self, *error: Any) -> None:
        self.rest -= time.monotonic() - self.started
        self.parts -= 1


def _by_regression(
    encoder: Encoder, cells: Cells, train_rows: np.ndarray, valid_rows: np.ndarray, judge: Judge, *, cache: Cache
) -> tuple[np.ndarray, int]:
    """Losses of the regression on a frozen encoder's outputs, and how many weights it has."""
    outputs = frozen(encoder, cells, cache)
    answers = judge.regress(outputs, cells.present, train_rows, valid_rows)
    bytes_held = sum(path.stat().st_size for path in encoder.found().weights) if encoder.tower else 0
    return judge.losses(answers, valid_rows), bytes_held // 4


def _by_training(
    encoder: Encoder, cells: Cells, train_rows: np.ndarray, valid_rows: np.ndarray, judge: Judge, *, seed: int, how: Auto,
    training: Training, budget: _Budget,
) -> tuple[np.ndarray, int]:
    """Losses of a network with this encoder alone after a short training, and how many weights the encoder has."""
    view, brief = cells.name, Training(**{
        **vars(training), "epochs": how.epochs, "members": 1, "drop": 0.0, "auxiliary": 0.0, "distil": 0.0, "patience": 0,
        "average": 0, "checkpoint": 0.0,
    })
    with budget as left, torch.random.fork_rng():
        torch.manual_seed(seed)
        fusion = partial(fusions.make, judge.task.fusion)
        network = Network(Encoders({view: encoder}, {}), fusion, judge.task, **brief.network())
        views = Views([view], cells.present[:, None], {}, {view: Prepared.of(encoder, cells)})
        train(network, views, judge.labels, train_rows, valid_rows, options=brief, seed=seed, left=left)
        network.cpu()
        answers = judge.task.restore(answer(network, encode(network, views, valid_rows), cells.present[valid_rows, None]))
    return judge.losses(answers, valid_rows), sum(parameter.numel() for parameter in encoder.parameters())


def _fitted(encoder: Encoder, cells: Cells, rows: np.ndarray, seed: int) -> Encoder:
    tell_kinds(encoder, cells)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder.fit(sample(cells, rows, seed))
    return encoder


def _some(rows: np.ndarray, most: int, seed: int) -> np.ndarray:
    if len(rows) <= most:
        return rows
    return np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))


def _full(name: str, options: Mapping[str, Any]) -> str:
    """Name, and the tower behind a colon: what ``encoders`` takes."""
    return f"{name}:{options['tower']}" if options.get("tower") and shelf[name].tower else name
