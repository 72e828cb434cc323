"""Trains a network of tastes: each item of a history is foretold from what came before it.

M members, I items, K known items, B examples, H items of a history, E width.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import LossNotFinite
from ..network import hide
from ..tastes import TasteNetwork
from .recommending import Recommending


@dataclass
class Shown:
    """What the items show.

    Attributes:
        x: {view: (I, T, W)}.
        mask: {view: (I, T)} bool.
        own_I: number of each item's own vector, from 1 on; 0 for an item that nobody has taken in training.
    """

    x: dict[str, Tensor]
    mask: dict[str, Tensor]
    own_I: Tensor

    def take(self, rows: Tensor) -> Shown:
        return Shown({v: x[rows] for v, x in self.x.items()}, {v: m[rows] for v, m in self.mask.items()}, self.own_I[rows])


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


def train_tastes(
    network: TasteNetwork, shown: Shown, histories: Sequence[np.ndarray], counts_I: np.ndarray, how: Recommending, *, seed: int,
    measure: Callable[[], float], log: Callable[[dict[str, float]], None], left: Callable[[], float] | None = None,
) -> list[dict[str, float]]:
    """Train; the weights of the epoch with the best score stay.

    Args:
        counts_I: how often each item is taken.
        measure: the score on validation, the larger the better; NaN where there is none.
        left: seconds that the time limit leaves.

    Returns:
        A dict for each epoch.

    Raises:
        LossNotFinite: training diverged.
    """
    users = np.concatenate([np.full(len(mine) - 1, u) for u, mine in enumerate(histories) if len(mine) > 1])
    steps = np.concatenate([np.arange(1, len(mine)) for mine in histories if len(mine) > 1])
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    batches = math.ceil(len(users) / (how.batch or min(1024, max(64, len(users) // 30))))
    optimiser, schedule = _optimiser(network, how, batches * how.epochs)
    draw = _Candidates(counts_I, how.candidates, rng)
    best, kept, epochs = -math.inf, None, []
    for epoch in range(how.epochs):
        network.train()
        order, losses = rng.permutation(len(users)), []
        for part in np.array_split(order, batches):
            mine = [histories[users[i]][: steps[i]] for i in part]
            right = np.array([histories[users[i]][steps[i]] for i in part])
            loss = _loss(network, shown, mine, right, draw, how)
            if not torch.isfinite(loss):
                raise LossNotFinite("the loss of the recommender is not finite; lower recommend.rate")
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.members.parameters(), 1.0 * how.members)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()) / how.members)
        network.eval()
        score = measure()
        epochs.append({"loss": float(np.mean(losses)), "valid_ndcg_at_10": score})
        log(epochs[-1])
        if not score <= best:  # NaN: the last weights stay
            best, kept, since = score, copy.deepcopy(network.state_dict()), epoch
        if how.patience and epoch - since >= how.patience or left and left() <= 0:
            break
    network.load_state_dict(kept)
    return epochs


def _loss(
    network: TasteNetwork, shown: Shown, histories: Sequence[np.ndarray], right_B: np.ndarray, draw: _Candidates,
    how: Recommending,
) -> Tensor:
    """Sum over members of the mean loss of a batch."""
    chosen, plus = draw(right_B, np.unique(np.concatenate([mine[::-1][: how.history] for mine in histories])))
    local = np.full(len(draw.log_share), -1)
    local[chosen] = np.arange(len(chosen))
    mine = shown.take(torch.as_tensor(chosen))
    present_IV = torch.stack([mask.any(1) for mask in mine.mask.values()], 1)
    keep_IV = torch.where(torch.rand(len(chosen), 1) < 0.5, present_IV, hide(present_IV, how.drop))
    mask = {view: one & keep_IV[:, i, None] for i, (view, one) in enumerate(mine.mask.items())}
    own_I = torch.where(torch.rand(len(chosen)) < how.own, 0, mine.own_I)
    losses_MB = network.members(
        mine.x, mask, own_I, padded(histories, how.history, local), torch.as_tensor(local[right_B]), torch.as_tensor(plus)
    )
    return losses_MB.mean(1).sum()


class _Candidates:
    """Items among which the right one is to be found, and log p - log q of each.

    p is its share of the interactions, q the probability that it is drawn.
    """

    def __init__(self, counts_I: np.ndarray, most: int, rng: np.random.Generator) -> None:
        self.known, self.most, self.rng = np.flatnonzero(counts_I > 0), most, rng
        self.log_share = log_share(counts_I)

    def __call__(self, right_B: np.ndarray, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if len(self.known) <= self.most:
            return self.known, self.log_share[self.known]
        need = np.union1d(right_B, taken)
        more = self.rng.choice(self.known, max(0, self.most - len(need)), replace=False)
        chosen = np.union1d(need, more)
        share = np.exp(self.log_share[chosen])
        drawn = 1 - (1 - share) ** len(right_B) * (1 - len(more) / len(self.known))
        return chosen, (np.log(share) - np.log(drawn)).astype(np.float32)


def log_share(counts_I: np.ndarray) -> np.ndarray:
    """(I,): log of each item's share of the interactions, half of one given to each for a start."""
    more = counts_I + 0.5
    return np.log(more / more.sum()).astype(np.float32)


def _optimiser(network: TasteNetwork, how: Recommending, steps: int) -> tuple[Any, Any]:
    """AdamW, matrices decayed; the rate rises for a fifth of the steps and falls by a cosine."""
    matrices, rest = [], []
    for name, value in network.members.named_parameters():
        (matrices if network.members.ranks[name] > 1 and "empty" not in name else rest).append(value)
    groups: list[Mapping[str, Any]] = [{"params": matrices, "weight_decay": how.decay}, {"params": rest, "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups, lr=how.rate)

    def rate(step: int) -> float:
        up = max(1, steps // 5)
        return (step + 1) / up if step < up else 0.5 * (1 + math.cos(math.pi * (step - up) / max(1, steps - up)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, rate)
