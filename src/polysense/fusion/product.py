"""Fusions that multiply pooled views: what two of them say together and neither says alone.

B records, V views, D width, K and R factors.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import Slots
from ..registry import fusions
from ..tokens import Tokens
from . import check_count, check_share, check_view

#: Parameters of the largest tensor of one member that ``tensor`` makes.
MOST = 2_000_000
#: Numbers of a view that ``tensor`` takes by itself at most.
WIDEST = 16


@fusions("bilinear")
class Bilinear(Fusion):
    """Products of two views at a time in a shared factor space, summed over all pairs of views.

    Multi-modal factorised bilinear pooling, Yu et al. 2017, arXiv:1708.01471, section 3: z = SumPool_K((U x) * (V y)),
    then z <- sign(z) |z|^(1/2) and z <- z / |z|. For more than two views each view keeps one matrix for all
    its pairs, z = SumPool_K(sum_{i<j} (U_i x_i) * (U_j x_j)), which costs no more than the views themselves:
    sum_{i<j} a_i a_j = ((sum a)^2 - sum a^2) / 2 (Rendle 2010, lemma 3.1). Here the factors have shifts, so that
    a view counts alone too; a single view is its own factors; and the length of z is sqrt(D), not 1.
    Wins where the answer is in how two views fit together (a question and a picture); it loses where each view
    speaks for itself and records are few. Costs V K D (D + 1) parameters.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        factors: K products summed into each number of the result; 5 in the paper.
        dropout: share of the products dropped in training; 0.1 in the paper.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: factors < 1, dropout outside [0, 1).

    >>> from polysense import demo
    >>> Bilinear(["a", "b", "c"], 8)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, factors: int = 5, dropout: float = 0.1) -> None:
        super().__init__()
        check_count("factors", factors)
        check_share("dropout", dropout)
        self.slots = Slots(views, dim)
        count = len(self.slots.views)
        self.factor_VDE = nn.Parameter(torch.randn(count, dim, factors * dim) * dim**-0.5)
        self.shift_VE = nn.Parameter(torch.ones(count, factors * dim) * 0.5)
        self.drop = nn.Dropout(dropout)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, _ = self.slots(parts)
        a_BVE = torch.einsum("bvd,vde->bve", x_BVD, self.factor_VDE) + self.shift_VE
        pairs_BE = a_BVE[:, 0] if a_BVE.shape[1] == 1 else (a_BVE.sum(1).square() - a_BVE.square().sum(1)) / 2
        z_BD = self.drop(pairs_BE).unflatten(1, (x_BVD.shape[2], -1)).sum(2)
        z_BD = z_BD / (z_BD.abs() + 1e-4).sqrt()  # sign(z) sqrt|z|, with a gradient at 0
        return Tokens.single(z_BD / (z_BD.square().mean(1, keepdim=True) + 1e-5).sqrt())


@fusions("tensor")
class TensorFusion(Fusion):
    """The outer product of all views, each with a 1 in front: every product of every subset of views.

    Tensor fusion network, Zadeh et al. 2017, arXiv:1707.07250, section 4.2: t = [1; x_1] (x) ... (x) [1; x_V],
    z = GELU(W vec(t)). Before that each view is cut to ``width`` numbers, tanh(P x), as the paper's own networks do;
    with width = D views enter as they are.
    Wins where three and more views interact and there are records enough to fill the tensor; it loses with few
    records, and to ``low-rank`` in cost. Costs D (width + 1)^V parameters and V D width for the cuts.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        width: numbers of each view; 0 takes as many, up to 16, as two million parameters allow.
        dropout: share of the result dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: width < 0; the tensor would have more than two million parameters.

    >>> from polysense import demo
    >>> TensorFusion(["a", "b", "c"], 8, width=2)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, width: int = 0, dropout: float = 0.4) -> None:
        super().__init__()
        check_count("width", width, 0)
        check_share("dropout", dropout)
        self.slots = Slots(views, dim)
        count = len(self.slots.views)
        fits = [w for w in range(1, min(WIDEST, dim) + 1) if dim * (w + 1) ** count <= MOST]
        width = width or max(fits, default=1)
        size = dim * (width + 1) ** count
        if size > MOST:
            cure = f"choose fusion.width={max(fits)} or less, or fusion low-rank" if fits else "choose fusion low-rank"
            raise BadOption(
                f"fusion tensor of {count} views with fusion.width={width} would have {size:,} parameters "
                f"({dim} x {width + 1}^{count}), more than {MOST:,}; {cure}"
            )
        self.cut_VDW = nn.Parameter(torch.randn(count, dim, width) * dim**-0.5) if width != dim else None
        self.mix = nn.Linear((width + 1) ** count, dim, bias=False)
        self.end = nn.Sequential(nn.GELU(), nn.Dropout(dropout))

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVW, _ = self.slots(parts)
        if self.cut_VDW is not None:
            x_BVW = torch.tanh(torch.einsum("bvd,vdw->bvw", x_BVW, self.cut_VDW))
        one_BVW = with_one(x_BVW)
        product_BP = one_BVW[:, 0]
        for v in range(1, one_BVW.shape[1]):
            product_BP = (product_BP[:, :, None] * one_BVW[:, v, None, :]).flatten(1)
        return Tokens.single(self.end(self.mix(product_BP)))


@fusions("low-rank")
class LowRank(Fusion):
    """The tensor of all views by R factors of each, so that it is never written out.

    Low-rank multimodal fusion, Liu et al. 2018, arXiv:1806.00064, section 3.2:
    z = GELU(sum_r w_r * prod_v F_v^(r) [1; x_v]), which is ``tensor`` with W = sum_r w_r (F_1^(r) (x) ... (x) F_V^(r))
    and views as they are. The column of the 1 starts near 1, so that at first every view counts alone.
    Wins where views interact and are many, or records few; it loses to ``concat`` where nothing interacts.
    Costs R V D (D + 1) + R parameters: linear in V, where ``tensor`` is exponential.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        rank: R factors; 4 in the paper.
        dropout: share of the result dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: rank < 1, dropout outside [0, 1).

    >>> from polysense import demo
    >>> LowRank(["a", "b", "c"], 8, rank=2)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, rank: int = 4, dropout: float = 0.4) -> None:
        super().__init__()
        check_count("rank", rank)
        check_share("dropout", dropout)
        self.slots = Slots(views, dim)
        start_VRWD = torch.randn(len(self.slots.views), rank, dim + 1, dim) * (0.5 * dim**-0.5)
        start_VRWD[:, :, 0] = 1 + 0.1 * torch.randn(len(self.slots.views), rank, dim)
        self.factor_VRWD = nn.Parameter(start_VRWD)
        self.weight_R = nn.Parameter(torch.randn(rank) * rank**-0.5)
        self.end = nn.Sequential(nn.GELU(), nn.Dropout(dropout))

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, _ = self.slots(parts)
        each_VBRD = torch.einsum("bvw,vrwd->vbrd", with_one(x_BVD), self.factor_VRWD)
        product_BRD = each_VBRD[0]
        for each_BRD in each_VBRD[1:]:
            product_BRD = product_BRD * each_BRD
        return Tokens.single(self.end(torch.einsum("brd,r->bd", product_BRD, self.weight_R)))


@fusions("film")
class Film(Fusion):
    """Each view is scaled and shifted by what the others say, or all by one of them; then side by side.

    Feature-wise linear modulation, Perez et al. 2018, arXiv:1709.07871, section 2: x_v <- (1 + gamma(c)) * x_v + beta(c),
    z = GELU(W [x_1; ...; x_V]). c is tanh(A_u x_u) of the view that ``by`` names, which then speaks through gamma and
    beta alone; without a name it is tanh(sum_{u != v} A_u x_u), for each view the others. gamma and beta start at 0.
    Wins where one view says how to read another (a question and a picture, a setting and a sensor); it loses
    where nothing interacts, to ``concat``, which it starts from. Costs V D^2 for A, 2 V D^2 for gamma and beta, V D^2
    for W.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        by: the view that conditions the others, such as table; empty: each is conditioned by all others.
        dropout: share of the result dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: ``by`` is no view, or the only one; dropout outside [0, 1).

    >>> from polysense import demo
    >>> Film(["a", "b", "c"], 8, by="c")(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, by: str = "", dropout: float = 0.4) -> None:
        super().__init__()
        check_share("dropout", dropout)
        if by:
            check_view("by", by, views)
        if by and len(views) == 1:
            raise BadOption(f"fusion.by={by} conditions the other views, and there are none; leave it away")
        self.slots = Slots(views, dim)
        names = self.slots.views
        #: Places of the views that speak and of those that are modulated.
        self.speak = [names.index(by)] if by else list(range(len(names)))
        self.trunk = [v for v in range(len(names)) if names[v] != by]
        self.others = not by
        self.ask_UDE = nn.Parameter(torch.randn(len(self.speak), dim, dim) * dim**-0.5)
        self.modulate_VDE = nn.Parameter(torch.zeros(len(self.trunk), dim, 2 * dim))
        self.shift_VE = nn.Parameter(torch.zeros(len(self.trunk), 2 * dim))
        self.mix = nn.Sequential(nn.Linear(len(self.trunk) * dim, dim), nn.GELU(), nn.Dropout(dropout))

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, _ = self.slots(parts)
        said_BUD = torch.einsum("bud,ude->bue", x_BVD[:, self.speak], self.ask_UDE)
        context_BVD = torch.tanh(said_BUD.sum(1, keepdim=True) - said_BUD if self.others else said_BUD)
        context_BVD = context_BVD.expand(-1, len(self.trunk), -1)
        gamma_beta_BVE = torch.einsum("bvd,vde->bve", context_BVD, self.modulate_VDE) + self.shift_VE
        gamma_BVD, beta_BVD = gamma_beta_BVE.chunk(2, -1)
        return Tokens.single(self.mix(((1 + gamma_BVD) * x_BVD[:, self.trunk] + beta_BVD).flatten(1)))


def with_one(x_BVD: Tensor) -> Tensor:
    """(B, V, 1 + D): a 1 in front of every view.

    >>> with_one(torch.tensor([[[5.0]]]))
    tensor([[[1., 5.]]])
    """
    return torch.cat([torch.ones_like(x_BVD[..., :1]), x_BVD], -1)
