"""Two sides in one network: views of a query and views of an item, brought into one space.

Encoders are those of an answering network. What answers there is here, in each member, two trunks (projections and fusion,
one a side) with a linear map each into the space where cosines say what belongs together.

M members, B records (a query and its item), V views of both sides, E width of the space of one member.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .contracts import Fusion, Task
from .errors import BadOption
from .layers import ByView
from .learn.contrast import Contrast
from .network import Encoders, Members, Network, Trunk, hide
from .tokens import Tokens

SIDES = ("query", "item")


class PairCore(nn.Module):
    """One member.

    Args:
        trunks: {side: trunk of its views}.
        dim: D of the trunks.
        width: E.
        contrast: how a batch is judged.
    """

    def __init__(self, trunks: Mapping[str, Trunk], dim: int, width: int, contrast: Contrast) -> None:
        super().__init__()
        self.trunks, self.contrast = ByView(trunks), contrast
        self.maps = ByView({side: nn.Linear(dim, width) for side in SIDES})

    def forward(
        self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor], targets: Mapping[str, Tensor] | None = None,
        keep_BV: Tensor | None = None,
    ) -> Tensor:
        """Vectors (B, 2, E) of length one without targets, zero where a side has no view; with targets the loss (B,).

        Args:
            targets: {"same": (B,) numbers, equal for what belongs together}.
            keep_BV: bool; a second pass sees only these views.
        """
        vectors, there_B = self._both(x, mask)
        if targets is None:
            return vectors
        same_BB = targets["same"][:, None] == targets["same"]
        loss = self.contrast(vectors[:, 0], vectors[:, 1], same_BB, there_B)
        if keep_BV is None:
            return loss
        fewer = {view: mask[view] & keep_BV[:, i, None] for i, view in enumerate(sorted(mask))}
        vectors, there_B = self._both(x, fewer)
        return loss + self.contrast(vectors[:, 0], vectors[:, 1], same_BB, there_B)

    def _both(self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, 2, E) vectors, and (B,) whether both sides are there."""
        made, there = [], []
        for side, trunk in self.trunks.items():
            parts = {view: Tokens(x[view], mask[view]) for view in trunk.projections}
            present = torch.stack([part.present for part in parts.values()], 1).any(1)
            alone = len(parts) == 1 and not trunk.fusion.positions  # one view, one position: nothing to fuse
            fused = next(iter(trunk.project(parts).values())) if alone else trunk(parts)
            vector = F.normalize(self.maps[side](fused.pooled()), dim=1)
            made.append(torch.where(present[:, None], vector, 0.0))
            there.append(present)
        return torch.stack(made, 1), there[0] & there[1]


class PairNetwork(Network):
    """Views of both sides -> a vector of each side.

    ``answers`` gives (B, 2 M E): the query's vectors of all members behind each other, then the item's, each side of length
    one, so that a product of a query and an item is the mean of the members' cosines.

    Args:
        encoders: of the views of both sides.
        fusion: builds a fusion from (views, dim).
        sides: {side: its views}.
        contrast: builds the loss of a member.
        width: E.
        dim, members, drop, dropout, input_dropout: as in ``Network``; a hidden view leaves one of its side.

    Raises:
        BadOption: the fusion combines answers, and there are none.
    """

    def __init__(
        self, encoders: Encoders, fusion: Callable[[Sequence[str], int], Fusion], sides: Mapping[str, Sequence[str]],
        contrast: Callable[[], Contrast], *, width: int = 64, dim: int = 96, members: int = 4, drop: float = 0.5,
        dropout: float = 0.4, input_dropout: float = 0.3,
    ) -> None:
        nn.Module.__init__(self)
        self.encoders, self.drop, self.mixup = encoders, drop, 0.0
        self.task = Task()  # the loop asks whether words are forced; nothing is answered here
        self.sides = {side: sorted(sides[side]) for side in SIDES}
        self.views, self.width = sorted(encoders.widths), width
        widths = encoders.widths

        def make() -> PairCore:
            trunks = {}
            for side, views in self.sides.items():
                fused = fusion(views, dim)
                if fused.late:
                    raise BadOption(f"the fusion '{fused.name}' combines answers, and what is matched has none; choose another")
                mine = {view: widths[view] for view in views}
                trunks[side] = Trunk(mine, fused, dim, dropout=dropout, input_dropout=input_dropout)
            return PairCore(trunks, dim, width, contrast())

        self.members = Members(make, members)
        self.fusion = next(iter(self.members.skeleton.trunks.values())).fusion

    def losses(self, tokens: Mapping[str, Tokens], targets: Mapping[str, Tensor]) -> Tensor:
        x, mask = self._split(tokens)
        if not self.drop or max(map(len, self.sides.values())) == 1:  # no view of a side can be spared
            return self.members(x, mask, targets)
        present_BV = torch.stack([mask[view].any(1) for view in self.views], 1)
        present_MBV = present_BV.expand(self.members.count, *present_BV.shape)
        keep_MBV = torch.zeros_like(present_MBV)
        for views in self.sides.values():
            places = [self.views.index(view) for view in views]
            keep_MBV[..., places] = hide(present_MBV[..., places], self.drop)
        return self.members(x, mask, targets, mapped=[keep_MBV])

    def answers(self, tokens: Mapping[str, Tokens]) -> Tensor:
        x, mask = self._split(tokens)
        vectors = self.members(x, mask)  # (M, B, 2, E)
        return vectors.permute(1, 2, 0, 3).flatten(2).flatten(1) / self.members.count**0.5

    def two(self, answers: Any) -> tuple[Any, Any]:
        """(B, M E) of each side, from ``answers``."""
        half = self.members.count * self.width
        return answers[:, :half], answers[:, half:]
