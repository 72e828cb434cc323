"""Fusions of pooled views: one vector per view in, one vector per record out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import Slots, masked_softmax, stack_views
from ..registry import fusions
from ..tokens import Tokens
from . import check_count, check_share, fixed_weights


@fusions("concat")
class Concat(Fusion):
    """The views side by side with their presence bits, then one hidden layer.

    Ngiam et al. 2011 ("Multimodal deep learning", ICML): z = GELU(W [h_1; ...; h_V; k]), k the presence bits; the learned
    vector in an empty slot and the bits make every subset of views an input of its own.
    Wins as a strong default with frozen towers and up to some ten thousand records; it loses where products of
    views carry the answer and records are few. Costs V D (D + 1) + D parameters.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        dropout: share of hidden units dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    >>> from polysense import demo
    >>> Concat(["a", "b", "c"], 8)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, dropout: float = 0.4) -> None:
        super().__init__()
        check_share("dropout", dropout)
        self.slots = Slots(views, dim)
        width = len(self.slots.views) * (dim + 1)
        self.mix = nn.Sequential(nn.Linear(width, dim), nn.GELU(), nn.Dropout(dropout))

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, present_BV = self.slots(parts)
        return Tokens.single(self.mix(torch.cat([x_BVD.flatten(1), present_BV.to(x_BVD.dtype)], 1)))


@fusions("sum")
class Sum(Fusion):
    """Weighted sum with one learned weight per view; weights are convex over what is present.

    Early fusion of the textbooks (Baltrusaitis et al. 2019, arXiv:1705.09406, section 6.1): z = alpha x + beta y with
    alpha + beta = 1; here a = softmax(theta) over present views, z = sum a h. With ``weights`` alpha and beta are fixed
    and shared out over what is present.
    Wins where parameters must be few, and where views repeat each other and records lack views that none lacked in
    training (1.1 points over concat); on redundant views that are all there it was level with concat (twenty seeds).
    It loses where views interact (XOR), which a sum cannot express. Costs V parameters, or none.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        temperature: divides theta; small values sharpen the weights.
        weights: fixed ones instead of learned ones, as in picture=0.7,text=0.3; above 0, sum 1, every view named.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: temperature <= 0; weights that are not above 0, do not sum to 1 or do not fit the views.

    >>> from polysense import demo
    >>> Sum(["a", "b", "c"], 8).weights(demo.parts(8)).sum(1)
    tensor([1., 1., 1.], grad_fn=<SumBackward1>)
    """

    def __init__(
        self, views: Sequence[str], dim: int, *, temperature: float = 1.0, weights: str | Mapping[str, float] | None = None
    ) -> None:
        super().__init__()
        if not temperature > 0:
            raise BadOption(f"fusion.temperature={temperature} must be above 0")
        self.views, self.temperature = sorted(views), temperature
        fixed_V = fixed_weights(weights, views)
        if fixed_V is None:
            self.theta_V = nn.Parameter(torch.zeros(len(self.views)))
        else:
            self.temperature = 1.0  # softmax(log a) over the present ones is a, shared out
            self.register_buffer("theta_V", fixed_V.log(), persistent=False)

    def weights(self, parts: Mapping[str, Tokens]) -> Tensor:
        """(B, V) >= 0 in sorted order of views; rows sum to 1 where anything is present."""
        present_BV = torch.stack([parts[view].present for view in self.views], 1)
        return masked_softmax((self.theta_V / self.temperature).expand(present_BV.shape), present_BV)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, _ = stack_views(parts, self.views)
        return Tokens.single(torch.einsum("bvd,bv->bd", x_BVD, self.weights(parts)))


@fusions("max")
class Max(Fusion):
    """The largest of the views' numbers, place by place, smoothed so that every view learns.

    View pooling of Su et al. 2015 ("Multi-view convolutional neural networks", arXiv:1505.00880, section 3.2) by the smooth
    maximum of Pinheiro and Collobert 2015, arXiv:1411.6228, eq. 6: z_d = 1/r log (1/n sum exp(r h_v,d)) over the n present
    views; the mean for small r, the maximum for large.
    Wins where a sign in any one view decides (a defect seen from one side of several); it loses where views have to
    be weighed or multiplied, and where one view is loud. Costs no parameters.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        sharpness: r, above 0.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: sharpness that is not above 0.

    >>> from polysense import demo
    >>> Max(["a", "b", "c"], 8)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, sharpness: float = 4.0) -> None:
        super().__init__()
        if not 0 < sharpness < float("inf"):
            raise BadOption(f"fusion.sharpness={sharpness} must be a number above 0")
        self.views, self.sharpness = sorted(views), sharpness

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, present_BV = stack_views(parts, self.views)
        count_B1 = present_BV.sum(1, keepdim=True)
        low = torch.where((present_BV | (count_B1 == 0))[..., None], 0.0, -torch.inf)  # of nothing present: finite, then zero
        largest_BD = torch.logsumexp(self.sharpness * x_BVD + low, 1) - count_B1.clamp_min(1).log()
        return Tokens.single(torch.where(count_B1 > 0, largest_BD / self.sharpness, 0.0))


@fusions("attention")
class Attention(Fusion):
    """Weighted sum whose weights are computed for each record from the views themselves.

    Additive attention of Bahdanau et al. 2015, arXiv:1409.0473: s = v tanh(U h + c), a = softmax(s)
    over present views, z = sum a h. The weights are no attribution: show Shapley values beside them.
    Wins where a view shows by itself that it cannot be trusted in this record (noise, an empty picture); it loses
    where views must be compared with each other. Costs (D + 2) H parameters, H being ``hidden``.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        hidden: width of U.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: hidden < 1.

    >>> from polysense import demo
    >>> Attention(["a", "b", "c"], 8)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, hidden: int = 64) -> None:
        super().__init__()
        check_count("hidden", hidden)
        self.views = sorted(views)
        self.score = nn.Sequential(nn.Linear(dim, hidden), nn.Tanh(), nn.Linear(hidden, 1, bias=False))

    def weights(self, parts: Mapping[str, Tokens]) -> Tensor:
        """(B, V) >= 0 in sorted order of views; rows sum to 1 where anything is present."""
        x_BVD, present_BV = stack_views(parts, self.views)
        return masked_softmax(self.score(x_BVD)[..., 0], present_BV)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, _ = stack_views(parts, self.views)
        return Tokens.single(torch.einsum("bvd,bv->bd", x_BVD, self.weights(parts)))


@fusions("gated")
class Gated(Fusion):
    """A gate per view and coordinate, computed from all views, decides what passes.

    Gated multimodal unit of Arevalo et al. 2017, arXiv:1702.01992, section 3.1 for more than two
    views: g_m = sigmoid(W_gm [x_1..x_M]), z = sum g_m * tanh(W_m x_m). Here the presence bits are
    read too, and an absent view passes its learned vector.
    Wins where the trust in a view changes from record to record and shows, by little: 0.8 points over ``concat`` with
    three views and 600 records; with six views and 300 records it loses 3.5 points to it (docs/strengths.md), since its
    gates are its largest part. Costs V^2 D (D + 1) + V D^2 parameters.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        dropout: share of the result dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    >>> from polysense import demo
    >>> Gated(["a", "b", "c"], 8)(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(self, views: Sequence[str], dim: int, *, dropout: float = 0.4) -> None:
        super().__init__()
        check_share("dropout", dropout)
        self.slots = Slots(views, dim)
        count = len(self.slots.views)
        self.gate = nn.Linear(count * (dim + 1), count * dim)
        self.content_VDE = nn.Parameter(torch.randn(count, dim, dim) * dim**-0.5)
        self.shift_VE = nn.Parameter(torch.zeros(count, dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, present_BV = self.slots(parts)
        gate_BVE = self.gate(torch.cat([x_BVD.flatten(1), present_BV.to(x_BVD.dtype)], 1)).sigmoid().reshape(x_BVD.shape)
        content_BVE = torch.tanh(torch.einsum("bvd,vde->bve", x_BVD, self.content_VDE) + self.shift_VE)
        return Tokens.single(self.drop((gate_BVE * content_BVE).sum(1)))
