"""Serial fusion: one view after another is read into one state. B records, V views, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import stack_views
from ..registry import fusions
from ..tokens import Tokens
from . import check_share, check_view

STEPS = ("gru", "film")


@fusions("serial")
class Serial(Fusion):
    """One view after another changes one state, in a stated order; an absent view leaves it as it is.

    The step of a gated recurrent unit, Cho et al. 2014, arXiv:1406.1078, section 2.3, over views instead of time, with
    weights of its own for each view: u = sigmoid(U_v [x_v; h]), r = sigmoid(R_v [x_v; h]),
    h <- (1 - u) * h + u * tanh(C_v [x_v; r * h]); or h <- (1 + gamma_v(x_v)) * h + beta_v(x_v) (Perez et al. 2018,
    arXiv:1709.07871). h starts as a learned vector. All other fusions are parallel: all views at once.
    Wins where one view must be known before the next can be read (a case history, then its picture), or where the
    chain of the views is fixed by what they are; it loses where the order means nothing. Costs 6 V D^2
    parameters (gru) or 2 V D^2 (film).

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        order: all views with commas or as a list, the first one first; empty: by name.
        step: "gru" or "film".
        dropout: share of the result dropped in training.

    forward: {view: (B, T_v, D)} -> (B, 1, D)

    Raises:
        BadOption: the order names a view that is none, or not every view once; unknown step; dropout outside [0, 1).

    >>> from polysense import demo
    >>> Serial(["a", "b", "c"], 8, order="c,a,b")(demo.parts(8)).x.shape
    torch.Size([3, 1, 8])
    """

    def __init__(
        self, views: Sequence[str], dim: int, *, order: str | Sequence[str] | None = None, step: str = "gru",
        dropout: float = 0.4,
    ) -> None:
        super().__init__()
        if step not in STEPS:
            raise BadOption(f"fusion.step='{step}' must be 'gru' or 'film'")
        check_share("dropout", dropout)
        self.views, self.step = _ordered(order, views), step
        count = len(self.views)
        self.start_D = nn.Parameter(torch.randn(dim) * 0.02)
        if step == "gru":
            self.gate_VDE = nn.Parameter(torch.randn(count, 2 * dim, 2 * dim) * (2 * dim) ** -0.5)
            self.gate_shift_VE = nn.Parameter(torch.zeros(count, 2 * dim))
            self.content_VDE = nn.Parameter(torch.randn(count, 2 * dim, dim) * (2 * dim) ** -0.5)
            self.content_shift_VE = nn.Parameter(torch.zeros(count, dim))
        else:
            self.film_VDE = nn.Parameter(torch.randn(count, dim, 2 * dim) * dim**-0.5)
            self.film_shift_VE = nn.Parameter(torch.zeros(count, 2 * dim))
        self.drop = nn.Dropout(dropout)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x_BVD, present_BV = stack_views(parts, self.views)
        h_BD = self.start_D.expand(len(x_BVD), -1)
        for v in range(len(self.views)):
            after_BD = self._step(v, x_BVD[:, v], h_BD)
            h_BD = torch.where(present_BV[:, v, None], after_BD, h_BD)
        return Tokens.single(self.drop(h_BD))

    def _step(self, v: int, x_BD: Tensor, h_BD: Tensor) -> Tensor:
        if self.step == "film":
            gamma_BD, beta_BD = (x_BD @ self.film_VDE[v] + self.film_shift_VE[v]).chunk(2, -1)
            return (1 + gamma_BD) * h_BD + beta_BD
        gates_BE = torch.cat([x_BD, h_BD], 1) @ self.gate_VDE[v] + self.gate_shift_VE[v]
        update_BD, reset_BD = gates_BE.sigmoid().chunk(2, -1)
        content_BD = torch.tanh(torch.cat([x_BD, reset_BD * h_BD], 1) @ self.content_VDE[v] + self.content_shift_VE[v])
        return (1 - update_BD) * h_BD + update_BD * content_BD


def _ordered(given: str | Sequence[str] | None, views: Sequence[str]) -> list[str]:
    if not given:
        return sorted(views)
    order = [name.strip() for name in given.split(",")] if isinstance(given, str) else list(given)
    for view in order:
        check_view("order", view, views)
    if sorted(order) != sorted(views):
        raise BadOption(f"fusion.order={','.join(order)} must name every view once: {', '.join(sorted(views))}")
    return order
