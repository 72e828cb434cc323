"""A mixture of experts: networks for subsets of views, chosen among for each record.

B records, V views, D width, E experts, P pairs of an expert and a view it reads, H hidden units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations

import torch
from torch import Tensor, nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import masked_softmax, stack_views
from ..registry import fusions
from ..tokens import Tokens
from . import check_count, check_share

#: Up to so many views every subset has an expert.
FEW = 4


def subsets(count: int) -> list[tuple[int, ...]]:
    """Views of each expert: all subsets of up to four views; of more: singles, pairs, all but one, all.

    >>> subsets(3)
    [(0,), (1,), (2,), (0, 1), (0, 2), (1, 2), (0, 1, 2)]
    """
    sizes = range(1, count + 1) if count <= FEW else (1, 2, count - 1, count)
    return [subset for size in sizes for subset in combinations(range(count), size)]


@fusions("experts")
class Experts(Fusion):
    """A small network for each subset of views; gates that see presence and content mix those that can answer.

    Mixture of experts, Jacobs et al. 1991 (Neural Computation 3), with the ``top`` gates of Shazeer et al. 2017,
    arXiv:1701.06538, section 2.1: z = sum_e g_e(x, k) f_e(x_S), g = softmax(G [x; k]) over the experts whose views S are all
    present, f_e = U_e GELU(W_e x_S + b_e). One expert per subset up to four views; beyond: singles, pairs, all but
    one, all. Absent views are left out. There is no loss that balances the experts.
    Wins nowhere in what was measured (docs/strengths.md): on made sets whose records differ in which views can be
    trusted, which it is meant for, it does not pass ``concat`` (-0.3 points [-1.3, +0.7] with 600 records, -2.0
    [-4.2, +0.1] with 300). Costs D H (sum_e |S_e| + E) parameters, E = 2^V - 1 up to four views.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        hidden: H units of each expert.
        top: experts that a record hears, those with the largest gates; 0 hears all.
        dropout: share of hidden units dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: hidden < 1, top < 0, dropout outside [0, 1).

    >>> from polysense import demo
    >>> Experts(["a", "b", "c"], 8).gates(demo.parts(8)).shape
    torch.Size([3, 7])
    """

    def __init__(self, views: Sequence[str], dim: int, *, hidden: int = 32, top: int = 0, dropout: float = 0.3) -> None:
        super().__init__()
        check_count("hidden", hidden)
        check_count("top", top, 0)
        check_share("dropout", dropout)
        self.views = sorted(views)
        read = subsets(len(self.views))
        if top > len(read):
            raise BadOption(f"fusion.top={top} is more than the {len(read)} experts of {len(self.views)} views; 0 hears all")
        self.top = top
        #: View of each of P pairs, and (E, P) which pairs are an expert's.
        self.view_P = [v for subset in read for v in subset]
        owner = [e for e, subset in enumerate(read) for _ in subset]
        self.register_buffer("owns_EP", torch.eye(len(read))[:, owner], persistent=False)
        needs_EV = torch.tensor([[float(v in subset) for v in range(len(self.views))] for subset in read])
        self.register_buffer("needs_EV", needs_EV, persistent=False)
        sizes_P = torch.tensor([len(read[e]) for e in owner])
        self.gate = nn.Linear(len(self.views) * (dim + 1), len(read))
        self.read_PDH = nn.Parameter(torch.randn(len(owner), dim, hidden) * (dim * sizes_P[:, None, None]) ** -0.5)
        self.shift_EH = nn.Parameter(torch.zeros(len(read), hidden))
        self.say_EHD = nn.Parameter(torch.randn(len(read), hidden, dim) * hidden**-0.5)
        self.drop = nn.Dropout(dropout)

    def gates(self, parts: Mapping[str, Tokens]) -> Tensor:
        """(B, E) >= 0; rows sum to 1 where anything is present; 0 for experts that miss a view."""
        return self._gates(*stack_views(parts, self.views))

    def _gates(self, x_BVD: Tensor, present_BV: Tensor) -> Tensor:
        can_BE = (~present_BV).to(x_BVD.dtype) @ self.needs_EV.T.to(x_BVD.dtype) == 0
        score_BE = self.gate(torch.cat([x_BVD.flatten(1), present_BV.to(x_BVD.dtype)], 1))
        if self.top:
            able_BE = torch.where(can_BE, score_BE, torch.finfo(score_BE.dtype).min)
            can_BE = can_BE & (able_BE >= able_BE.topk(self.top, 1).values[:, -1:])
        return masked_softmax(score_BE, can_BE)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, present_BV = stack_views(parts, self.views)
        read_BPH = torch.einsum("bpd,pdh->bph", x_BVD[:, self.view_P], self.read_PDH)
        hidden_BEH = torch.einsum("bph,ep->beh", read_BPH, self.owns_EP.to(x_BVD.dtype)) + self.shift_EH
        hidden_BEH = self.drop(nn.functional.gelu(hidden_BEH)) * self._gates(x_BVD, present_BV)[..., None]
        return Tokens.single(torch.einsum("beh,ehd->bd", hidden_BEH, self.say_EHD))
