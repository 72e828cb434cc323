"""Losses that bring together what belongs together: between the vectors of queries and of items.

B pairs of a batch, E width. Row i of both sides belongs together; what else does is said by ``same`` (two pictures with one
and the same text, say), for such a pair must not be pushed apart.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import BadOption
from .matching import LOSSES

#: The steepest that a learned temperature may become (Radford et al. 2021, section 2.5).
STEEPEST = 100.0


class Contrast(nn.Module):
    """How far two sides are from being matched; vectors are brought to length one first.

    infonce: cross entropy over each row and each column of s u v^T, against equal shares of all that belong together, s learned
    from 1 / 0.07 on (van den Oord et al. 2018, arXiv:1807.03748, eq. 4; both directions as in CLIP, Radford et al. 2021,
    arXiv:2103.00020, figure 3; equal shares: Khosla et al. 2020, arXiv:2004.11362, eq. 2). sigmoid: -1/B sum over all pairs of
    log sigmoid(z (s u.v + b)), z = 1 for what belongs together and -1 else, s from 10 and b from -10 on (Zhai et al. 2023,
    arXiv:2303.15343, section 3.2); no sum over the batch, so small batches suffice. triplet: max(0, margin - u.v+ + u.v-) with
    the hardest v- of the batch, in both directions (Faghri et al. 2018, VSE++, arXiv:1707.05612, eq. 6).

    Args:
        loss: one of ``LOSSES``.
        margin: of triplet.

    Raises:
        BadOption: an unknown loss, a margin not above 0.

    >>> side = torch.eye(2)
    >>> Contrast("triplet", margin=0.2)(side, side).tolist(), Contrast("triplet")(side, side.flip(0))[0].item()
    ([0.0, 0.0], 2.4000000953674316)
    """

    def __init__(self, loss: str = "infonce", *, margin: float = 0.2) -> None:
        super().__init__()
        if loss not in LOSSES:
            raise BadOption(f"loss='{loss}' must be 'infonce', 'sigmoid' or 'triplet'")
        if not 0 < margin < math.inf:
            raise BadOption(f"margin={margin} must be a number above 0")
        self.loss, self.margin = loss, margin
        self.steepness = nn.Parameter(torch.tensor([math.log(10.0 if loss == "sigmoid" else 1 / 0.07)]), loss != "triplet")
        self.shift = nn.Parameter(torch.tensor([-10.0]), loss == "sigmoid")

    def forward(
        self, queries_BE: Tensor, items_BE: Tensor, same_BB: Tensor | None = None, there_B: Tensor | None = None
    ) -> Tensor:
        """(B,): loss of each pair.

        Args:
            same_BB: bool, which query (row) and item (column) belong together; the diagonal always does.
            there_B: bool, pairs of which both sides are there; the others neither count nor are compared with.
        """
        near = F.normalize(queries_BE, dim=1) @ F.normalize(items_BE, dim=1).T
        own = torch.eye(len(near), dtype=torch.bool, device=near.device)
        same = own if same_BB is None else same_BB | own
        there = torch.ones_like(near[0], dtype=torch.bool) if there_B is None else there_B
        known = (there[:, None] & there) | own  # a pair that is not there is still compared with itself, and weighs nothing
        if self.loss == "triplet":
            others = near.masked_fill(same | ~known, -math.inf)
            lost = sum((self.margin - near.diagonal() + others.amax(side)).clamp_min(0) for side in (0, 1))
        else:
            scaled = near * self.steepness.clamp(max=math.log(STEEPEST)).exp()
            if self.loss == "sigmoid":
                each = -F.logsigmoid(torch.where(same, 1.0, -1.0) * (scaled + self.shift))
                lost = torch.where(known, each, 0.0).sum(1)
            else:
                share = (same & known).to(near.dtype)
                scaled = scaled.masked_fill(~known, -1e9)
                lost = sum(
                    -(F.log_softmax(scaled, side) * share / share.sum(side, keepdim=True)).sum(side) for side in (0, 1)
                ) / 2
        return torch.where(there, lost, 0.0)
