"""Items and users in one network: views of an item -> its vector, vectors of a history -> the user's.

What answers in an answering network compares here: a trunk (projections and fusion) and a linear map make an item's vector, to
which a known item adds one of its own; attention over the history, the latest first, makes the user's.

M members, I items, B users, H items of a history, E width of the space.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .contracts import Fusion, Task
from .errors import BadOption
from .layers import ByView, masked_softmax
from .network import Encoders, Members, Network, Trunk, hide
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
        self, x: Mapping[str, Tensor] | None, mask: Mapping[str, Tensor] | None, own_I: Tensor | None = None,
        history_BH: Tensor | None = None, right_B: Tensor | None = None, plus_I: Tensor | None = None,
        vectors_IE: Tensor | None = None,
    ) -> Tensor:
        """Vectors of items from their views alone (I, E); with a history and vectors, of users (B, E); with right answers too,
        the loss (B,).

        Args:
            x, mask: views of I items.
            own_I: number of the own vector that each item gets beside; 0 for none.
            history_BH: numbers among these items, the latest first; -1 where there is none.
            right_B: numbers of the items that came next.
            plus_I: what is added to a score before the softmax: log of how often an item is taken, less that of how often it is
                drawn as a candidate.
        """
        if vectors_IE is None:
            vectors_IE = self._items(x, mask)
            if history_BH is None:
                return vectors_IE
            vectors_IE = vectors_IE + torch.where(own_I[:, None] > 0, self.own[own_I], 0.0)
        users_BE = self._users(vectors_IE, history_BH)
        if right_B is None:
            return users_BE
        scores_BI = users_BE @ vectors_IE.T / users_BE.shape[1] ** 0.5 + plus_I
        taken = torch.zeros(len(history_BH), len(vectors_IE) + 1, dtype=torch.bool, device=history_BH.device)
        taken = taken.scatter(1, torch.where(history_BH < 0, len(vectors_IE), history_BH), True)[:, :-1]
        return F.cross_entropy(scores_BI.masked_fill(taken, -1e9), right_B, reduction="none")

    def _items(self, x: Mapping[str, Tensor], mask: Mapping[str, Tensor]) -> Tensor:
        parts = {view: Tokens(x[view], mask[view]) for view in x}
        shown_I = torch.stack([part.present for part in parts.values()], 1).any(1)
        return torch.where(shown_I[:, None], self.map(self.trunk(parts).pooled()), 0.0)

    def _users(self, vectors_IE: Tensor, history_BH: Tensor) -> Tensor:
        there_BH = history_BH >= 0
        v_BHE = torch.where(there_BH[..., None], vectors_IE[history_BH.clamp_min(0)], 0.0)
        score_BH = self.weigh(torch.tanh(self.look(v_BHE)))[..., 0] + self.place[: history_BH.shape[1]]
        z_BE = (masked_softmax(score_BH, there_BH)[..., None] * self.value(v_BHE)).sum(1)
        return self.norm(z_BE + self.out(F.gelu(self.hidden(z_BE))))


class Memory(nn.Module):
    """What an encoder that learns last made of each item, for the steps that do not read it anew.

    Wang et al. 2020, arXiv:1912.06798 (cross-batch memory): encoders drift so slowly that it is of use for a while.

    Args:
        tokens: of all items.
    """

    def __init__(self, tokens: Tokens) -> None:
        super().__init__()
        self.register_buffer("x", tokens.clean().detach().clone())
        self.register_buffer("mask", tokens.mask.clone())

    def take(self, chosen: Tensor, fresh: Tensor, tokens: Tokens) -> Tokens:
        """Tokens of the chosen items, some of them as they were read just now, which is remembered.

        Args:
            chosen: numbers of items.
            fresh: places among them.
            tokens: of these.
        """
        x, mask = self.x[chosen], self.mask[chosen]
        wide = tokens.x.shape[1]
        mask[fresh] = False
        mask[fresh, :wide] = tokens.mask
        x[fresh] = 0.0
        there = chosen[fresh]
        x = x.index_put((fresh[:, None], torch.arange(wide, device=x.device)), tokens.clean())
        with torch.no_grad():
            self.x[there], self.mask[there] = x[fresh].detach(), mask[fresh]
        return Tokens(x, mask)


class TasteNetwork(Network):
    """Views of items -> their vectors; a record is an item.

    ``answers`` gives (I, M E): the vectors from the views alone, of all members behind each other.

    Args:
        encoders: of the items' views.
        fusion: builds a fusion from (views, dim).
        items: known ones.
        drop: probability that a present view is hidden, in half of the items of a step.
        own: probability that a known item goes without its own vector in a step.
        dim, width, members, history, dropout, input_dropout: see ``Recommending``.

    Raises:
        BadOption: the fusion combines answers, and there are none.
    """

    def __init__(
        self, encoders: Encoders, fusion: Callable[[Sequence[str], int], Fusion], items: int, *, dim: int, width: int,
        members: int, history: int, drop: float, own: float, dropout: float, input_dropout: float,
    ) -> None:
        nn.Module.__init__(self)
        self.encoders, self.views, self.history, self.width = encoders, sorted(encoders.widths), history, width
        self.drop, self.without, self.mixup = drop, own, 0.0
        self.task = Task()  # the loop asks whether words are forced; nothing is answered here
        self.memory = ByView({})
        widths = encoders.widths

        def make() -> TasteCore:
            fused = fusion(self.views, dim)
            if fused.late:
                raise BadOption(f"the fusion '{fused.name}' combines answers, and what is recommended has none; choose another")
            trunk = Trunk(widths, fused, dim, dropout=dropout, input_dropout=input_dropout)
            return TasteCore(trunk, dim, width, items, history)

        self.members = Members(make, members)
        self.fusion = self.members.skeleton.trunk.fusion

    # --- learning --------------------------------------------------------------------------------

    def remember(self, tokens: Mapping[str, Tokens]) -> None:
        """Begin a memory of the views whose encoders are to learn; none ends it.

        Args:
            tokens: of all items.
        """
        self.memory = ByView({view: Memory(part) for view, part in tokens.items()})

    def forward(self, batch: Mapping[str, Any], targets: Mapping[str, Tensor]) -> Tensor:
        """(M, B): losses of examples, as ``Foretold.batch`` gives them.

        Args:
            targets: {"right": (B,) numbers of the items that came next}.
        """
        chosen, fresh = batch["chosen"], batch["fresh"]
        tokens = {
            view: self.memory[view].take(chosen, fresh, self.encode_view(view, part)) if view in self.memory
            else self.encode_view(view, part)
            for view, part in batch["items"].items()
        }
        x, mask = self._split(tokens)
        present_IV = torch.stack([mask[view].any(1) for view in self.views], 1)
        whole_I = torch.rand(len(chosen), 1, device=chosen.device) < 0.5
        keep_IV = torch.where(whole_I, present_IV, hide(present_IV, self.drop))
        mask = {view: mask[view] & keep_IV[:, i, None] for i, view in enumerate(self.views)}
        own_I = torch.where(torch.rand(len(chosen), device=chosen.device) < self.without, 0, batch["own"])
        right_B = torch.searchsorted(chosen, targets["right"])
        return self.members(x, mask, own_I, batch["history"], right_B, batch["plus"])

    # --- answering -------------------------------------------------------------------------------

    def answers(self, tokens: Mapping[str, Tokens]) -> Tensor:
        return self.members(*self._split(tokens)).transpose(0, 1).flatten(1)

    def vectors(self, answers: Any, own_I: Any = None) -> Tensor:
        """(M, I, E) from ``answers``, with the items' own vectors where their numbers are given."""
        vectors_MIE = torch.as_tensor(answers).reshape(-1, self.members.count, self.width).transpose(0, 1)
        if own_I is None:
            return vectors_MIE
        own_I = torch.as_tensor(own_I)
        return vectors_MIE + torch.where(own_I[:, None] > 0, self.members.state_of()["own"].detach().cpu()[:, own_I], 0.0)

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
