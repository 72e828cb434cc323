"""Late fusions whose numbers are fitted: on answers of heads to training records that they had not seen.

The training records are cut into ``fusion.folds`` parts, whole groups together. For each part one member with fresh
encoders is trained on the rest, with the settings of the fit, and answers the part view by view. So every record has
an honest answer of each of its views, no validation record is spent, and it costs ``folds`` trainings of one member,
about as much again as the fit itself.

N records, V views, C classes.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable, Mapping, Sequence
from copy import deepcopy
from typing import Any

import numpy as np
import torch

from ..contracts import Fusion, Part
from ..data.splits import folds
from ..network import Encoders, Network
from .features import Views, answer, encode
from .loop import train
from .training import Training


def out_of_fold(
    make: Callable[[Encoders], Network], encoders: Encoders, views: Views, targets: dict[str, np.ndarray], rows: np.ndarray,
    *, count: int, options: Training, groups: Sequence[Hashable] | None = None, seed: int = 0,
    left: Callable[[], float] | None = None, advance: Callable[[int], None] = lambda done: None,
) -> np.ndarray:
    """(R, V, C) float32: what each view of each training record says alone, by heads that had not seen the record.

    Args:
        make: a network of one member with these encoders.
        encoders: not trained yet; each part is learned by copies of them.
        targets: {name: (N, ...)} for all N records.
        rows: the R training records.
        count: parts; as many as there are groups where these are fewer.
        groups: (N,) names; records of a group are in the same part.
        seed: of the cut and of training.
        left: seconds left for the whole fit; the parts together take half of them at most.
        advance: told of each part that is done.

    Raises:
        BadOption: all training records are of one group.
    """
    mine = None if groups is None else [groups[row] for row in rows]
    strata = next(iter(targets.values()))[rows]
    classes = strata.tolist() if strata.ndim == 1 and strata.dtype.kind in "iu" else [0] * len(rows)
    there = len(rows) if mine is None else len(set(mine))
    found: np.ndarray | None = None
    options = Training(**{**vars(options), "members": 1, "patience": 0, "average": 0})
    share = None if left is None else left() / (2 * count)
    for learn, test in folds(classes, max(2, min(count, there)), groups=mine, seed=seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = make(fresh(encoders))
        train(network, views, targets, rows[learn], rows[:0], options=options, seed=seed, left=_until(share))
        tokens = encode(network, views, rows[test])
        for v in range(len(views.names)):
            only = np.zeros((len(test), len(views.names)), bool)
            only[:, v] = views.present_NV[rows[test], v]
            said_NC = answer(network, tokens, only)
            if found is None:
                found = np.zeros((len(rows), len(views.names), said_NC.shape[1]), np.float32)
            found[test, v] = said_NC
        advance(1)
    return found


def fresh(encoders: Encoders) -> Encoders:
    """Copies of the encoders that training changes, and the frozen ones themselves: a tower is large."""
    own = {view: one if one.frozen else deepcopy(one) for view, one in encoders.encoders.items()}
    return Encoders(own, dict(encoders.conditions.items()))


def fit_late(
    network: Network, answers_RVC: np.ndarray, present_RV: np.ndarray, targets: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Fit the fusion on out-of-fold answers and give every member what was found.

    Args:
        targets: of the same records, as the network learns them; a class unseen in training, -1, is left out, and so
            is a NaN.

    Returns:
        What the fusion says of it, as JSON; of several targets {target: what is said of it}.
    """
    found, fusion, parts = {}, network.fusion, network.task.parts()
    for part in parts:
        one = fusion.each[part.name] if len(parts) > 1 else fusion
        found[part.name] = _fit_one(one, part, answers_RVC[..., part.columns], present_RV, part.arrays(targets))
    network.members.put("trunk.fusion", fusion)
    return found if len(parts) > 1 else found[parts[0].name]


def _fit_one(
    fusion: Fusion, part: Part, answers_RVC: np.ndarray, present_RV: np.ndarray, targets: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    target_R = next(iter(targets.values()))
    known = ~np.isnan(target_R.reshape(len(target_R), -1).astype(float)).any(1)
    if target_R.dtype.kind in "iu":
        known &= target_R.reshape(len(target_R), -1).min(1) >= 0
    facts = fusion.fit_out_of_fold(
        answers_RVC[known], present_RV[known], target_R[known], np.asarray(part.task.prior()), part.task.kind
    )
    return facts | {"records": int(known.sum())}


def sentences(name: str, facts: dict[str, Any]) -> list[str]:
    """What was fitted, of each target."""
    if isinstance(facts.get("records"), int):
        return [sentence(name, facts)]
    return [f"{target}: {sentence(name, one)}" for target, one in facts.items()]


def sentence(name: str, facts: dict[str, Any]) -> str:
    """What was fitted, for the user.

    >>> sentence("convex", {"weights": {"a": 0.7, "b": 0.3}, "subsets": 1, "gap": 1e-6, "records": 90})
    'fusion convex: weights a 0.70, b 0.30, fitted on answers to 90 records out of fold (gap to the optimum at most 1e-06)'
    """
    weights = ", ".join(f"{view} {share:.2f}" for view, share in facts.get("weights", {}).items())
    heat = ", ".join(f"{value:.2f} for {m}" for m, value in facts.get("temperature", {}).items())
    said = f"weights {weights}, " if weights else f"temperature {heat} present, " if heat else ""
    gap = f"gap to the optimum at most {facts['gap']:.0e}" if "weights" in facts else f"slope left {facts['gap']:.0e}"
    return f"fusion {name}: {said}fitted on answers to {facts['records']:,} records out of fold ({gap})"


def _until(seconds: float | None) -> Callable[[], float] | None:
    """Seconds left of so many from now; None without a limit."""
    if seconds is None:
        return None
    end = time.monotonic() + seconds
    return lambda: end - time.monotonic()
