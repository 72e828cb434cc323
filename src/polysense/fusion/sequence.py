"""Fusions over the tokens of all views: a sequence in, a sequence out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import Block
from ..registry import fusions
from ..tokens import Tokens
from . import check_count, check_share


@fusions("transformer")
class Transformer(Fusion):
    """Self-attention over one summary token and the tokens of all present views.

    Vaswani et al. 2017, arXiv:1706.03762, with an embedding per view (Woo et al. 2022,
    arXiv:2211.13916, find this fusion the more robust to missing views). Absent views are left out.

    Args:
        views: names, in any order.
        dim: D of every view and of the result, a multiple of ``heads``.
        heads: attention heads.
        depth: blocks.
        dropout: share of activations dropped in training.
        positions: attend over every position of a view instead of its mean; the result then has
            one token per position behind the summary token.

    forward: {view: (B, T_v, D)} -> (B, 1 + sum T_v, D); weight puts pooling on the summary token

    Raises:
        BadOption: heads do not divide D, depth < 1, dropout outside [0, 1).

    >>> from polysense import demo
    >>> Transformer(["a", "b", "c"], 8, heads=2)(demo.parts(8)).pooled().shape
    torch.Size([3, 8])
    """

    keeps_positions = True

    def __init__(
        self, views: Sequence[str], dim: int, *, heads: int = 4, depth: int = 2, dropout: float = 0.3,
        positions: bool = False,
    ) -> None:
        super().__init__()
        if heads < 1 or dim % heads:
            raise BadOption(f"fusion.heads={heads} must divide the width {dim}; choose other heads or another train.dim")
        check_count("depth", depth)
        check_share("dropout", dropout)
        self.views, self.positions = sorted(views), positions
        self.view_VD = nn.Parameter(torch.randn(len(self.views), dim) * 0.02)
        self.summary_D = nn.Parameter(torch.randn(dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BTD = torch.cat([parts[view].clean() + self.view_VD[i] for i, view in enumerate(self.views)], 1)
        mask_BT = torch.cat([parts[view].mask for view in self.views], 1)
        summary_B1D = self.summary_D.expand(len(x_BTD), 1, -1)
        x_BTD = torch.cat([summary_B1D, x_BTD], 1)
        mask_BT = torch.cat([torch.ones_like(mask_BT[:, :1]), mask_BT], 1)
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_BT)
        weight_BT = torch.cat([torch.ones_like(x_BTD[:, :1, 0]), torch.zeros_like(x_BTD[:, 1:, 0])], 1)
        return Tokens(self.norm(x_BTD), mask_BT, weight=weight_BT)
