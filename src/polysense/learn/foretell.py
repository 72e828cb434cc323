"""What comes next in histories: each item is foretold from what came before it.

M members, I items, C items of a step, B examples, H items of a history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..contracts import to_tensors
from ..tastes import TasteNetwork
from .blend import Share
from .features import Views, answer, encode
from .shares import gains
from .tune import Verdict


@dataclass
class Foretold(Views):
    """Views of the items, which are the records, and the examples that a loop goes through: an item each that came next.

    Attributes:
        histories: what each user has taken, the oldest first.
        counts_I: how often each item is taken in training.
        candidates: items among which the right one is to be found in a step.
        history: items of a user that are read.
        fresh: items of a step that encoders which learn read anew.
    """

    histories: Sequence[np.ndarray] = ()
    counts_I: np.ndarray = field(default_factory=lambda: np.zeros(0))
    candidates: int = 2048
    history: int = 50
    fresh: int = 128

    def __post_init__(self) -> None:
        long = [np.arange(1, len(mine)) for mine in self.histories]
        self.user_E = np.repeat(np.arange(len(long)), [len(part) for part in long])
        self.step_E = np.concatenate([np.zeros(0, int), *long])
        self.right_E = np.array(
            [self.histories[user][step] for user, step in zip(self.user_E, self.step_E, strict=True)], np.int64
        )
        self.known = np.flatnonzero(self.counts_I > 0)
        self.own_I = np.where(self.counts_I > 0, np.cumsum(self.counts_I > 0), 0)
        self.log_share = log_share(self.counts_I)

    def batch(self, rows: np.ndarray, device: torch.device | str = "cpu") -> dict[str, Any]:
        """Some examples, and the items among which each right one is to be found, as ``TasteNetwork`` takes them."""
        histories = [self.histories[self.user_E[row]][: self.step_E[row]] for row in rows]
        taken = np.unique(np.concatenate([mine[-self.history :] for mine in histories]))
        chosen, plus = self._drawn(self.right_E[rows], taken)
        local = np.full(len(self.counts_I), -1)
        local[chosen] = np.arange(len(chosen))
        fresh = torch.randperm(len(chosen))[: self.fresh].sort().values.numpy() if self.prepared else np.zeros(0, int)
        items = {view: self.arrays(view, chosen[fresh] if view in self.prepared else chosen, device) for view in self.names}
        more = {"chosen": chosen, "fresh": fresh, "own": self.own_I[chosen], "plus": plus}
        return {"items": items, "history": padded(histories, self.history, local).to(device), **to_tensors(more, device)}

    def _drawn(self, right_B: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Items of a step, ascending, and log p - log q of each: p is its share of the interactions, q the probability that it
        is drawn."""
        if len(self.known) <= self.candidates:
            return self.known, self.log_share[self.known]
        need = np.union1d(right_B, taken)
        more = self.known[torch.randperm(len(self.known))[: max(0, self.candidates - len(need))].numpy()]
        chosen = np.union1d(need, more)
        share = np.exp(self.log_share[chosen])
        drawn = 1 - (1 - share) ** len(right_B) * (1 - len(more) / len(self.known))
        return chosen, (np.log(share) - np.log(drawn)).astype(np.float32)


@dataclass
class Judging:
    """Users on whom validation chooses.

    Attributes:
        histories: what each has taken before.
        right_B: what each took next.
        known_I: bool, items that were taken in training.
    """

    histories: Sequence[np.ndarray]
    right_B: np.ndarray
    known_I: np.ndarray

    @cached_property
    def open_BI(self) -> np.ndarray:
        """Items that each may be recommended: known ones, not taken yet."""
        found = np.tile(self.known_I, (len(self.histories), 1))
        for row, mine in zip(found, self.histories, strict=True):
            row[mine] = False
        return found

    def gains(self, scores_BI: np.ndarray) -> np.ndarray:
        """(B,) NDCG@10 of each."""
        return gains(np.where(self.open_BI, scores_BI, -np.inf), self.right_B)


def scored(
    network: TasteNetwork, vectors_MIE: Tensor, among_MIE: Tensor, histories: Sequence[np.ndarray]
) -> np.ndarray:
    """(B, I) of the network.

    Args:
        vectors_MIE: of the items that histories speak of.
        among_MIE: of the items that are scored.
    """
    device = next(network.members.parameters()).device
    with torch.inference_mode():
        vectors_MIE, among_MIE = vectors_MIE.to(device), among_MIE.to(device)
        parts = [
            network.scores(vectors_MIE, among_MIE, padded(histories[start : start + 256], network.history).to(device)).cpu()
            for start in range(0, len(histories), 256)
        ]
    return torch.cat(parts).numpy() if parts else np.zeros((0, among_MIE.shape[1]), np.float32)


def worth(network: TasteNetwork, views: Foretold, bare: Any, rows: np.ndarray, judging: Judging) -> dict[str, np.ndarray]:
    """{"known": NDCG@10 of each user, "bare": the same if every item were new and had only its views}.

    Args:
        bare: ``answers`` of the known items.
        rows: their numbers.
    """
    all_ = np.zeros((len(views.counts_I), bare.shape[1]), np.float32)
    all_[rows] = bare
    seen, known = network.vectors(all_), network.vectors(all_, views.own_I)
    return {
        "known": judging.gains(scored(network, known, known, judging.histories) + views.log_share),
        "bare": judging.gains(scored(network, known, seen, judging.histories)),
    }


def verdict(network: TasteNetwork, views: Foretold, rows: np.ndarray, judging: Judging) -> Verdict:
    """What a network is worth: the loss is 1 - NDCG@10; in place of missing views stands a world where every item is new."""
    found = worth(network, views, answer(network, encode(network, views, rows), views.present_NV[rows]), rows, judging)
    return Verdict(1 - float(found["known"].mean()), None, 1 - float(found["bare"].mean()), Share(0.0), 1 - found["known"])


def padded(histories: Sequence[np.ndarray], most: int, local: np.ndarray | None = None) -> Tensor:
    """(B, H): the latest items first, -1 where there is none.

    Args:
        most: items that are read.
        local: (I,) other numbers of the items.

    >>> padded([np.array([4, 5, 6]), np.array([7])], 2).tolist()
    [[6, 5], [7, -1]]
    """
    cut = [mine[::-1][:most] for mine in histories]
    found = np.full((len(cut), max(1, max(map(len, cut), default=1))), -1)
    for b, mine in enumerate(cut):
        found[b, : len(mine)] = mine if local is None else local[mine]
    return torch.as_tensor(found)


def log_share(counts_I: np.ndarray) -> np.ndarray:
    """(I,): log of each item's share of the interactions, half of one given to each for a start."""
    more = counts_I + 0.5
    return np.log(more / more.sum()).astype(np.float32)
