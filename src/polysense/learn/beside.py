"""The rivals beside a network, and the regressions' share of its answer: one of each for every target.

A model of one target has one ``Rivals`` and one ``Share``; a model of several has a dict {target: ...} of them. Words have
``Nearest`` in place of regressions and ``Consensus`` in place of a share.
N records, V views, A numbers of an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..contracts import Part, Task
from ..data.rows import only_of
from . import blend, consensus
from .consensus import Consensus, Evidence, Speaker, evidence
from .gather import Bar, Gathered
from .nearest import Nearest
from .rivals import Rivals, subsets_of


class Aim:
    """One target of a table's records, as its yardstick takes it.

    Args:
        part: the target and its task, fitted.
        targets: (N,) all targets of each record, as the user knows them.

    Attributes:
        has_N: bool, records that have this target.
        judged: (N, ...) see ``Task.judged``.
        yardstick: as the task stands now.
    """

    def __init__(self, part: Part, targets: Sequence[Any]) -> None:
        mine = part.of(targets)
        self.part, self.name, self.task = part, part.name, part.task
        self.has_N = np.array([value is not None for value in mine], bool)
        self.judged, self.yardstick = part.task.judged(mine), part.task.yardstick()


def aims_of(task: Task, targets: Sequence[Any]) -> list[Aim]:
    """Every target of these records."""
    return [Aim(part, targets) for part in task.parts()]


def each(task: Task, things: Any) -> list[tuple[Part, Any]]:
    """Every target with its own of the things: with the one thing where there is one target."""
    parts = task.parts()
    return [(parts[0], things)] if len(parts) == 1 else [(part, things[part.name]) for part in parts]


def one_or_each(task: Task, made: Sequence[Any]) -> Any:
    """Undo ``each``: the one thing of one target, {target: thing} of several."""
    parts = task.parts()
    return made[0] if len(parts) == 1 else {part.name: thing for part, thing in zip(parts, made, strict=True)}


def unit(aim: Aim, rows: np.ndarray) -> float:
    """The mean loss of the prior on those of the rows that have the target: divided by it, losses of targets compare."""
    truth = aim.judged[rows]
    truth = truth[aim.yardstick.known(truth)]
    if not len(truth):
        return 1.0
    prior = aim.yardstick.constant(aim.task.nothing(), len(truth))
    return max(float(aim.yardstick.losses(aim.yardstick.own(prior, truth), truth).mean()), 1e-12)


def train(
    task: Task, aims: Sequence[Aim], found: Gathered, rows: np.ndarray, valid_rows: np.ndarray, *, seed: int, bar: Bar,
    say: Callable[[str], None],
) -> Any:
    """The rivals of every target, from features that are read once.

    Args:
        found: numbers of all records.
        rows, valid_rows: of training and validation; each target takes those that have it.
    """
    made = []
    with bar("rivals to compare with", 2 * len(subsets_of(found.names)) * len(aims)) as advance:
        for aim in aims:
            def part(mine: np.ndarray, aim: Aim = aim) -> tuple[dict[str, Any], np.ndarray, np.ndarray]:
                return only_of(found.plain, mine), found.present_NV[mine], aim.judged[mine]

            more = {"rows": rows[aim.has_N[rows]]} if aim.task.kind == "words" else {}
            made.append(rivals_of(
                aim, *part(rows[aim.has_N[rows]]), *part(valid_rows), views=found.names, seed=seed,
                progress=lambda done, total: advance(1), **more,
            ))
    sampled = max((rivals.sampled or 0 for rivals in made), default=0)
    if sampled:
        say(f"the rivals were trained on a sample of {sampled:,} records")
    return one_or_each(task, made)


def rivals_of(aim: Aim, *records: Any, views: Sequence[str], seed: int, **more: Any) -> Any:
    """The rivals of one target, trained.

    Args:
        records: features, presence and targets of training, then of validation.
        more: ``progress`` of ``Rivals.train``; of words ``rows``.
    """
    yardstick, nothing = aim.yardstick, aim.task.nothing()
    if aim.task.kind == "words":
        return Nearest.train(*records, views=views, yardstick=yardstick, prior=nothing, seed=seed, **more)
    return Rivals.train(
        *records, views=views, classes=len(nothing), yardstick=yardstick, seed=seed,
        prior=None if aim.task.kind == "classes" else nothing, **more,
    )


def state(rivals: Any) -> dict[str, Any]:
    """The rivals of every target as a state tree."""
    if isinstance(rivals, dict):
        return {"targets": list(rivals), "each": [one.state() for one in rivals.values()]}
    return rivals.state()


def load(tree: Mapping[str, Any]) -> Any:
    """Undo ``state``."""
    if "each" in tree:
        return {name: load(one) for name, one in zip(tree["targets"], tree["each"], strict=True)}
    return (Nearest if tree.get("kind") == Nearest.kind else Rivals).load(tree)


def shares(
    task: Task, aims: Sequence[Aim], speaker: Speaker, rivals: Any, plain: Mapping[str, Any],
    present_NV: np.ndarray, rows: np.ndarray, *, given: float | None = None,
) -> Any:
    """The regressions' share of every target's answer: as given, or as validation chooses it.

    Args:
        speaker: the network, on the rows.
        plain, present_NV: of all records.
        rows: of validation; a target is judged on those that have it.
    """
    features, present = only_of(plain, rows), present_NV[rows]
    made: list[Any] = []
    for aim, (_, mine) in zip(aims, each(task, rivals), strict=True):
        truth = aim.judged[rows]
        if aim.task.kind == "words":
            made.append(_of_words(aim, speaker, mine, features, present, truth, given))
        elif given is not None:
            made.append(blend.Share(float(given)))
        else:
            made.append(blend.choose(
                lambda mask, part=aim.part: part.among(speaker(mask)), mine, features, present, truth, aim.yardstick
            ))
    return one_or_each(task, made)


def _of_words(aim: Aim, speaker: Speaker, nearest: Nearest, *records: Any) -> Consensus:
    """The share of the nearest records' texts: none where the task writes down what is there, or words are drawn by chance."""
    *found, given = records
    if not aim.task.mixes or given == 0:
        return Consensus(0.0, 0)
    if given is not None:
        return Consensus(float(given))
    return consensus.choose(speaker, nearest, *found, aim.yardstick)


def share_lines(task: Task, shares: Any) -> list[str]:
    """What of the answers the network gives and what the regressions, in words."""
    lines = []
    for part, share in each(task, shares):
        if part.task.kind == "words":
            if part.task.mixes:
                lines.append(consensus.sentence(share))
            continue
        plain = "ridge" if part.task.kind == "numbers" else "logistic"
        of = f" for {part.name!r}" if part.name else ""
        lines.append(
            f"answers{of}: {1 - share.weight:.0%} network, {share.weight:.0%} {plain} regressions on the same views"
        )
    return lines


def needed(shares: Any) -> bool:
    """Some answer takes regressions."""
    return any(one.weight > 0 for one in (shares.values() if isinstance(shares, dict) else [shares]))


def mixed(
    task: Task, speaker: Speaker, rivals: Any, shares: Any, plain: Mapping[str, Any], mask_NV: np.ndarray
) -> np.ndarray:
    """(N, A): the network's answers and the regressions', by their shares, in the targets' units; (N,) texts of words.

    Args:
        speaker: the network, on these records.
    """
    parts = task.parts()
    if parts[0].task.kind == "words":
        return decided(task, evidence(speaker, rivals, shares, plain, mask_NV), rivals)[0]
    made, ours = [], speaker(mask_NV)
    for (part, rival), (_, share) in zip(each(task, rivals), each(task, shares), strict=True):
        mine = part.among(ours)
        if share.weight:
            theirs = blend.regressions(rival, plain, mask_NV, share.kind)
            mine = ((1 - share.weight) * mine + share.weight * theirs).astype(mine.dtype)
        made.append(mine)
    return made[0] if len(made) == 1 else np.hstack(made)


def decided(task: Task, found: Sequence[Evidence], nearest: Nearest) -> tuple[np.ndarray, list[int | None]]:
    """(N,) texts, and of each the row of the training table that it was taken from; None where the network wrote it."""
    return consensus.decided(found, nearest.likeness(task.yardstick()))


def settle(aims: Sequence[Aim], answers: np.ndarray, rows: np.ndarray) -> list[str]:
    """What every task chooses on its answers to validation records, such as thresholds; lines about it.

    Args:
        answers: to the rows.
    """
    lines = []
    for aim in aims:
        truth = aim.judged[rows]
        known = aim.yardstick.known(truth)
        line = aim.task.settle(aim.part.among(answers[known]), truth[known]) if known.any() else ""
        if line:
            lines.append(f"{aim.name}: {line}" if aim.name else line)
    return lines
