"""Items and users in one network: views of an item -> its vector, vectors of a history -> the user's.

What answers in an answering network compares here: a trunk (projections and fusion) and a linear map make an item's vector, to
which a known item adds one of its own; attention over the history, the latest first, makes the user's.

M members, I items, B users, H items of a history, E width of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .contracts import Fusion
from .errors import BadOption
from .layers import masked_softmax
from .network import Encoders, Members, Trunk
from .tokens import Tokens


class TasteCore(nn.Module):
    """One member.

    The user: z = sum_h a_h W v_h with a = softmax over the present h of w.tanh(A v_h) + r_h, r learned for each place counted
    from the latest (attention as pooling: Yang et al. 2016, doi:10.18653/v1/N16-1174, equations 5 to 7); then u =
    norm(z + g(z)), g with one hidden layer. A score is u.v / sqrt(E).

    Args:
        trunk: of an item's views.
        dim: D of the trunk.
        width: E.
        items: known ones, which have vectors of their own.
        history: H at most.
    """

    def __init__(self, trunk: Trunk, dim: int, width: int, items: int, history: int) -> None:
        super().__init__()
        self.trunk, self.map = trunk, nn.Linear(dim, width)
        self.own = nn.Parameter(0.1 * torch.randn(items + 1, width) / width**0.5)
        self.look, self.weigh = nn.Linear(width, width), nn.Linear(width, 1)
        self.place = nn.Parameter(torch.linspace(0.5, -0.5, history))
        self.value = nn.Linear(width, width)
        self.hidden, self.out = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, x: Mapping[str, Tensor] | None, mask: Mapping[str, Tensor] | None, own_I: Tensor | None,
        history_BH: Tensor | None = None, right_B: Tensor | None = None, plus_I: Tensor | None = None,
        vectors_IE: Tensor | None = None,
    ) -> Tensor:
        """Vectors of items (I, E); with a history and vectors, of users (B, E); with right answers too, the loss (B,).

        Args:
            x, mask: views of I items.
            own_I: number of each item's own vector; 0 for none.
            history_BH: numbers among these items, the latest first; -1 where there is none.
            right_B: numbers of the items that came next.
            plus_I: what is added to a score before the softmax: log of how often an item is taken, less that of how often it is
                drawn as a candidate.
        """
        if vectors_IE is None:
            vectors_IE = self._items(x, mask, own_I)
            if history_BH is None:
                return vectors_IE
        users_BE = self._users(vectors_IE, history_BH)
        if right_B is None:
            return users_BE
        scores_BI = users_BE @ vectors_IE.T / users_BE.shape[1] ** 0.5 + plus_I
        taken = torch.zeros(len(history_BH), len(vectors_IE) + 1, dtype=torch.bool)
        taken = taken.scatter(1, torch.where(history_BH < 0, len(vectors_IE), history_BH), True)[:, :-1]
        return F.cross_entropy(scores_BI.masked_fill(taken, -1e9), right_B, reduction="none")

    def _items(self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor], own_I: Tensor) -> Tensor:
        parts = {view: Tokens(x[view], mask[view]) for view in x}
        shown_I = torch.stack([part.present for part in parts.values()], 1).any(1)
        seen_IE = torch.where(shown_I[:, None], self.map(self.trunk(parts).pooled()), 0.0)
        return seen_IE + torch.where(own_I[:, None] > 0, self.own[own_I], 0.0)

    def _users(self, vectors_IE: Tensor, history_BH: Tensor) -> Tensor:
        there_BH = history_BH >= 0
        v_BHE = torch.where(there_BH[..., None], vectors_IE[history_BH.clamp_min(0)], 0.0)
        score_BH = self.weigh(torch.tanh(self.look(v_BHE)))[..., 0] + self.place[: history_BH.shape[1]]
        z_BE = (masked_softmax(score_BH, there_BH)[..., None] * self.value(v_BHE)).sum(1)
        return self.norm(z_BE + self.out(F.gelu(self.hidden(z_BE))))


class TasteNetwork(nn.Module):
    """Encoders once, the rest in several members.

    Args:
        encoders: of the items' views.
        fusion: builds a fusion from (views, dim).
        items: known ones.
        dim, width, members, history, dropout, input_dropout: see ``Recommending``.

    Raises:
        BadOption: the fusion combines answers, and there are none.
    """

    def __init__(
        self, encoders: Encoders, fusion: Callable[[Sequence[str], int], Fusion], items: int, *, dim: int, width: int,
        members: int, history: int, dropout: float, input_dropout: float,
    ) -> None:
        super().__init__()
        self.encoders, self.views, self.history, self.width = encoders, sorted(encoders.widths), history, width
        widths = encoders.widths

        def make() -> TasteCore:
            fused = fusion(self.views, dim)
            if fused.late:
                raise BadOption(f"the fusion '{fused.name}' combines answers, and what is recommended has none; choose another")
            trunk = Trunk(widths, fused, dim, dropout=dropout, input_dropout=input_dropout)
            return TasteCore(trunk, dim, width, items, history)

        self.members = Members(make, members)
        self.fusion = self.members.skeleton.trunk.fusion

    def items(self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor], own_I: Tensor) -> Tensor:
        """(M, I, E)."""
        return self.members(x, mask, own_I)

    def users(self, vectors_MIE: Tensor, history_BH: Tensor) -> Tensor:
        """(M, B, E)."""
        return self.members(None, None, None, history_BH, None, None, mapped=[vectors_MIE])

    def scores(self, vectors_MIE: Tensor, among_MIE: Tensor, history_BH: Tensor) -> Tensor:
        """(B, I): the members' mean.

        Args:
            vectors_MIE: of the items that histories speak of.
            among_MIE: of the items that are scored.
        """
        users_MBE = self.users(vectors_MIE, history_BH)
        return torch.einsum("mbe,mie->bi", users_MBE, among_MIE) / self.members.count / self.width**0.5
