"""What all parts exchange."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass
class Tokens:
    """Vectors of one view, or of all views after fusion.

    B records, T positions, D width.

    Attributes:
        x: (B, T, D) float. What stands at a masked position is arbitrary and must never be read.
        mask: (B, T) bool, True where a position is real.
        weight: (B, T) float or None: how much each position counts (attention weights).
        place: (B, T, P) float or None: seconds (P = 1) or x, y in 0..1 (P = 2).

    >>> Tokens(torch.ones(2, 3, 4), torch.tensor([[True, True, False], [False] * 3])).pooled().sum(-1)
    tensor([4., 0.])
    """

    x: Tensor
    mask: Tensor
    weight: Tensor | None = None
    place: Tensor | None = None

    @property
    def present(self) -> Tensor:
        """(B,) bool: the record has at least one position."""
        return self.mask.any(dim=1)

    def clean(self) -> Tensor:
        """(B, T, D): x with zeros at masked positions, whatever stood there (NaN too)."""
        return torch.where(self.mask[..., None], self.x, torch.zeros_like(self.x))

    def pooled(self) -> Tensor:
        """(B, D): mean over real positions (weighted if ``weight`` is given); zero if there is none."""
        if self.x.shape[1] == 1 and self.weight is None:
            return self.clean()[:, 0]
        share = self.mask.to(self.x.dtype)
        if self.weight is not None:
            share = torch.where(self.mask, self.weight, torch.zeros_like(self.weight)).to(self.x.dtype)
        total = share.sum(1, keepdim=True).clamp_min(1e-9)
        return torch.einsum("btd,bt->bd", self.clean(), share / total)

    @classmethod
    def single(cls, x: Tensor, present: Tensor | None = None) -> Tokens:
        """One position per record.

        Args:
            x: (B, D).
            present: (B,) bool; all present if None.
        """
        mask = torch.ones(len(x), 1, dtype=torch.bool, device=x.device) if present is None else present[:, None]
        return cls(x[:, None, :], mask)

    def together(self, pieces: Tensor, pool: bool) -> Tokens:
        """Tokens of records, from those of their pieces one after the other (several pictures in one cell).

        Args:
            pieces: (R,) how many pieces each record has, at least one.
            pool: the mean of the pooled pieces; otherwise the positions of all pieces behind each other.

        >>> Tokens.single(torch.tensor([[1.0], [3.0], [5.0]])).together(torch.tensor([2, 1]), True).x.flatten()
        tensor([2., 5.])
        """
        count = len(pieces)
        record_P = torch.arange(count, device=pieces.device).repeat_interleave(pieces)
        if pool:
            x_PD = self.pooled()
            total_RD = x_PD.new_zeros(count, x_PD.shape[1]).index_add(0, record_P, x_PD)
            return Tokens.single(total_RD / pieces[:, None])
        place_P = torch.arange(len(record_P), device=pieces.device) - (pieces.cumsum(0) - pieces)[record_P]

        def laid(part: Tensor | None) -> Tensor | None:
            if part is None:
                return None
            out = part.new_zeros(count, int(pieces.max()), *part.shape[1:])
            return out.index_put((record_P, place_P), part).flatten(1, 2)

        return Tokens(laid(self.x), laid(self.mask), laid(self.weight), laid(self.place))
