"""Texts told otherwise than by ``predict``: with other ways to choose words, word by word, with where each word looked.

B records, T fused positions, L words.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from .errors import BadOption
from .learn.features import Encoded, answer
from .network import Network
from .registry import tasks

#: Records that are looked into at a time.
BATCH = 64


@dataclass(frozen=True)
class Looked:
    """Where a decoder looked before each word of a text.

    Attributes:
        text: what it says.
        words: L pieces of it, and "" for its end.
        views: {view: (L, positions)} shares; those of a picture are rows of its map, left to right. A view that is absent has
            none.
        rest: (L,) shares of the fusion's own tokens, which stand for no view.
    """

    text: str
    words: list[str]
    views: dict[str, np.ndarray]
    rest: np.ndarray

    def of(self, view: str) -> np.ndarray:
        """(L,): how much of each word came from a view."""
        return self.views[view].sum(1) if view in self.views else np.zeros(len(self.words))

    def map(self, view: str) -> np.ndarray | None:
        """(L, rows, columns) of a view whose positions form a square, such as a picture's; None of another."""
        side = round(self.views[view].shape[1] ** 0.5) if view in self.views else 0
        if side < 2 or side * side != self.views[view].shape[1]:
            return None
        return self.views[view].reshape(-1, side, side)


def otherwise(task: Any, how: Mapping[str, Any]) -> Any:
    """The same fitted task with other options of how words are chosen.

    Raises:
        BadOption: no such option, a value out of its range, or one that was settled by learning.
    """
    own = {name: getattr(task, name) for name in tasks.about(task.name).options}
    tasks.check(task.name, how)
    for name in how:
        if name not in task.free:
            raise BadOption(f"'{name}' was settled when the model learned; what may change is {', '.join(task.free)}")
    if how.get("longest", 0) > own.get("longest", 0):
        raise BadOption(f"longest={how['longest']} must not be above the {own['longest']} of the model")
    tasks.make(task.name, **own | dict(how))  # checks the values
    other = copy(task)
    vars(other).update(how)
    return other


def tell(network: Network, task: Any, tokens: Encoded, present_NV: np.ndarray, how: Mapping[str, Any]) -> np.ndarray:
    """(N,) object: the texts, words being chosen as ``how`` says."""
    other = otherwise(task, how)
    with network.under(other):
        return other.restore(answer(network, tokens, present_NV))


def stream(network: Network, task: Any, tokens: Encoded, how: Mapping[str, Any]) -> Iterator[str]:
    """The text of one record, as its words come; together they are what ``tell`` gives."""
    other, done, numbers = otherwise(task, how), "", []
    with torch.inference_mode():
        core, fused, _ = network.inside(tokens.take(slice(0, 1)))
        if not any(part.present[0] for part in tokens.take(slice(0, 1)).values()):
            yield other.nothing()
            return
        for words_B in other.stream(core.head, fused):
            numbers.append(int(words_B[0]))
            text = other.pieces.decode(numbers)
            if text != done:
                yield text[len(done) :]
                done = text


def looked(network: Network, task: Any, tokens: Encoded, present_NV: np.ndarray, how: Mapping[str, Any]) -> list[Looked | None]:
    """Where the decoder looked, of each record; None where every view is absent.

    Raises:
        BadOption: the decoder looks at no positions, or the fusion's tokens are not those of the views.
    """
    other = otherwise(task, how)
    found: list[Looked | None] = []
    for start in range(0, len(present_NV), BATCH):
        some = slice(start, min(start + BATCH, len(present_NV)))
        with torch.inference_mode():
            core, fused, lengths = network.inside(tokens.take(some))
            said_BL = other.answer(core.head, fused)
            share_BLT = other.looked(core.head, fused, said_BL)
        if share_BLT is None:
            raise BadOption(f"the model's decoder ({task.decoder}) looks at no positions; attend and transformer do")
        own = fused.x.shape[1] - sum(lengths.values())
        if own < 0:
            raise BadOption(f"the fusion {network.fusion.name} gives other tokens than the views'; fusion tokens keeps them")
        ends = np.cumsum([own, *lengths.values()])
        for b, there_V in enumerate(present_NV[some]):
            if not there_V.any():
                found.append(None)
                continue
            words = other.words_of(said_BL[b].tolist())
            share_LT = share_BLT[b, : len(words)].cpu().numpy()
            real_T = fused.mask[b].cpu().numpy()
            views = {
                view: share_LT[:, start:end][:, real_T[start:end]]
                for view, start, end in zip(lengths, ends, ends[1:], strict=False) if real_T[start:end].any()
            }
            text = other.pieces.decode(said_BL[b].tolist())
            found.append(Looked(text, words, views, share_LT[:, :own].sum(1)))
    return found
