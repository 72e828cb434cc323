"""Fusions over the tokens of all views: a sequence in, a sequence out. B records, V views, T positions, D width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ..contracts import Fusion
from ..errors import BadOption
from ..layers import Block, ByView, masked_softmax
from ..registry import fusions
from ..tokens import Tokens
from . import check_count, check_heads, check_share, even, mean_of_views


@fusions("transformer")
class Transformer(Fusion):
    """Self-attention over one summary token and the tokens of all present views.

    Vaswani et al. 2017, arXiv:1706.03762, with an embedding per view (Woo et al. 2022,
    arXiv:2211.13916, find this fusion the more robust to missing views):
    X <- X + Attention(X, X, X), X <- X + MLP(X) over [summary; x_1 + e_1; ...; x_V + e_V]. Absent views are left out.
    Wins with positions (words, patches, frames) and records enough; with pooled views and few records the
    plainer fusions are as good. Costs 8 D^2 parameters a block and O(T^2 D) operations a record, T positions of all views.

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
        check_heads(heads, dim)
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


@fusions("tokens")
class AllTokens(Fusion):
    """The tokens of all present views as they are, one behind the other, each marked with its view.

    x_vt + e_v for every position t of every view v, e_v learned; pooled it is the mean of the present views' means. Nothing is
    mixed here.
    Wins where the task looks at positions itself (a caption's decoder, Xu et al. 2015, arXiv:1502.03044, section 3.1.1) or
    says something at each of them. Costs V D parameters and no product.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        positions: every position of a view; false gives one token a view, its mean.

    forward: {view: (B, T_v, D)} -> (B, 1 + sum T_v, D); the first token is a zero for records without any view

    >>> from polysense import demo
    >>> AllTokens(["a", "b", "c"], 8)(demo.parts(8)).pooled().shape
    torch.Size([3, 8])
    """

    keeps_positions = True

    def __init__(self, views: Sequence[str], dim: int, *, positions: bool = True) -> None:
        super().__init__()
        self.views, self.positions = sorted(views), positions
        self.view_VD = nn.Parameter(torch.randn(len(self.views), dim) * 0.02)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        return mean_of_views(parts, {view: parts[view].clean() + self.view_VD[v] for v, view in enumerate(self.views)})


class CrossBlock(nn.Module):
    """Tokens that ask other tokens: pre-norm cross-attention and a layer for each position, each behind a gate.

    Beside the asked tokens stands a key and value of zeros, so that a query may decline, also where one token alone is
    asked: a pooled view that is noise in this record.

    Args:
        dim: D, a multiple of ``heads``.
        heads: attention heads.
        dropout: share of activations dropped after each sub-layer.
        gated: multiply what is added by tanh(alpha), alpha being 0 at first (Alayrac et al. 2022, arXiv:2204.14198).

    forward: asking (B, S, D), asked (B, T, D), mask broadcast to (B, S, T) -> (B, S, D); nothing is added to a
    token by attention that may ask nobody, not even the shift of the output
    """

    def __init__(self, dim: int, heads: int, dropout: float, gated: bool) -> None:
        super().__init__()
        self.heads = heads
        self.norm_asking, self.norm_asked, self.norm_feed = nn.LayerNorm(dim), nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key_value = nn.Linear(dim, dim), nn.Linear(dim, 2 * dim)
        self.out = nn.Linear(dim, dim)
        self.feed = nn.Sequential(nn.Linear(dim, 2 * dim), nn.GELU(), nn.Dropout(dropout), nn.Linear(2 * dim, dim))
        self.drop = nn.Dropout(dropout)
        self.gate_2 = nn.Parameter(torch.zeros(2)) if gated else None

    def forward(self, x_BSD: Tensor, y_BTD: Tensor, mask_BST: Tensor) -> Tensor:
        dim = x_BSD.shape[-1]
        gate_2 = (1.0, 1.0) if self.gate_2 is None else self.gate_2.tanh()
        query_BHSE = self.query(self.norm_asking(x_BSD)).unflatten(-1, (self.heads, -1)).transpose(1, 2)
        key_BHTE, value_BHTE = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in self.key_value(self.norm_asked(y_BTD)).chunk(2, -1)
        )
        scores_BHST = query_BHSE @ key_BHTE.transpose(-1, -2) / (dim // self.heads) ** 0.5
        decline_BHS1 = torch.zeros_like(scores_BHST[..., :1])
        may_BSU = torch.cat([torch.ones_like(mask_BST[..., :1]), mask_BST], -1)
        share_BHSU = masked_softmax(torch.cat([decline_BHS1, scores_BHST], -1), may_BSU[:, None])
        mixed_BHSE = share_BHSU[..., 1:] @ value_BHTE
        answer_BSD = self.out(mixed_BHSE.transpose(1, 2).flatten(2))
        answer_BSD = torch.where(mask_BST.any(-1, keepdim=True), answer_BSD, torch.zeros_like(answer_BSD))
        x_BSD = x_BSD + gate_2[0] * self.drop(answer_BSD)
        return x_BSD + gate_2[1] * self.drop(self.feed(self.norm_feed(x_BSD)))


@fusions("cross")
class Cross(Fusion):
    """Every view's tokens ask the tokens of the other present views; gates open from 0 as training needs them.

    Gated cross-attention as in Flamingo, Alayrac et al. 2022, arXiv:2204.14198, section 2.2:
    X_v <- X_v + tanh(alpha) Attention(X_v, X_others, X_others), X_v <- X_v + tanh(beta) MLP(X_v); z is the mean over the
    present views. Flamingo's text asks its pictures; here every view asks all others, by the same layers with an
    embedding per view. It starts as the mean of the views. Absent views are left out.
    Wins where one view points at a part of another (a word at a patch): with ``positions``; on pooled views it
    is a multiplication of views, as ``bilinear``. It loses with few records. Costs 8 D^2 parameters a block and
    O(T^2 D) operations a record, T positions of all views.

    Args:
        views: names, in any order.
        dim: D of every view and of the result, a multiple of ``heads``.
        heads: attention heads.
        depth: blocks.
        dropout: share of activations dropped in training.
        positions: ask every position of a view instead of its mean; the result then has one token per position.

    forward: {view: (B, T_v, D)} -> (B, 1 + sum T_v, D); the first token is a zero for records without any view

    Raises:
        BadOption: heads do not divide D, depth < 1, dropout outside [0, 1).

    >>> from polysense import demo
    >>> Cross(["a", "b", "c"], 8, heads=2)(demo.parts(8)).pooled().shape
    torch.Size([3, 8])
    """

    keeps_positions = True

    def __init__(
        self, views: Sequence[str], dim: int, *, heads: int = 4, depth: int = 2, dropout: float = 0.3,
        positions: bool = False,
    ) -> None:
        super().__init__()
        check_heads(heads, dim)
        check_count("depth", depth)
        check_share("dropout", dropout)
        self.views, self.positions = sorted(views), positions
        self.view_VD = nn.Parameter(torch.randn(len(self.views), dim) * 0.02)
        self.blocks = nn.ModuleList(CrossBlock(dim, heads, dropout, gated=True) for _ in range(depth))
        self.norm = nn.LayerNorm(dim)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        lengths = [parts[view].x.shape[1] for view in self.views]
        x_BTD = torch.cat([parts[view].clean() + self.view_VD[v] for v, view in enumerate(self.views)], 1)
        mask_BT = torch.cat([parts[view].mask for view in self.views], 1)
        owner_T = torch.arange(len(lengths), device=x_BTD.device).repeat_interleave(torch.tensor(lengths, device=x_BTD.device))
        may_BTT = mask_BT[:, None, :] & (owner_T[:, None] != owner_T)
        for block in self.blocks:
            x_BTD = block(x_BTD, x_BTD, may_BTT)
        return mean_of_views(parts, dict(zip(self.views, self.norm(x_BTD).split(lengths, 1), strict=True)))


@fusions("bottleneck")
class Bottleneck(Fusion):
    """Each view's transformer of its own; the views meet only in a few tokens that all of them share.

    Multimodal bottleneck transformer, Nagrani et al. 2021, arXiv:2107.00135, section 3.2.3: in each layer
    [X_v; Z_v] <- Block_v([X_v; Z]), then Z is the mean of Z_v over the present views; z is the mean of the present
    views. Here a view's mean stands where the paper has a class token.
    Wins with long views (frames, patches, samples) at a cost that grows with each view's length, not with their
    product; on pooled views it is a dear ``transformer``. Costs 8 V D^2 parameters a layer and
    O(sum (T_v + S)^2 D) operations a record, S bottleneck tokens.

    Args:
        views: names, in any order.
        dim: D of every view and of the result, a multiple of ``heads``.
        bottlenecks: S shared tokens; 4 in the paper.
        heads: attention heads.
        depth: layers.
        alone: of these, the first in which views do not meet yet (the paper's late start, L_f).
        dropout: share of activations dropped in training.
        positions: attend over every position of a view instead of its mean; the result then has one token per
            position behind the bottleneck.

    forward: {view: (B, T_v, D)} -> (B, S + sum T_v, D); bottleneck tokens count only where nothing is present

    Raises:
        BadOption: heads do not divide D; bottlenecks < 1; fewer than two layers in which views meet: one writes into
            the bottleneck, the next reads; dropout outside [0, 1).

    >>> from polysense import demo
    >>> Bottleneck(["a", "b", "c"], 8, heads=2)(demo.parts(8)).pooled().shape
    torch.Size([3, 8])
    """

    keeps_positions = True

    def __init__(
        self, views: Sequence[str], dim: int, *, bottlenecks: int = 4, heads: int = 4, depth: int = 2, alone: int = 0,
        dropout: float = 0.3, positions: bool = False,
    ) -> None:
        super().__init__()
        check_heads(heads, dim)
        check_count("bottlenecks", bottlenecks)
        check_count("alone", alone, 0)
        if depth < alone + 2:
            raise BadOption(
                f"fusion.depth={depth} must be at least fusion.alone + 2 = {alone + 2}: one layer writes into the "
                "bottleneck and the next reads from it"
            )
        check_share("dropout", dropout)
        self.views, self.alone, self.positions = sorted(views), alone, positions
        self.shared_SD = nn.Parameter(torch.randn(bottlenecks, dim) * 0.02)
        self.blocks = ByView({
            view: nn.ModuleList(Block(dim, heads, dropout) for _ in range(depth)) for view in self.views
        })
        self.norm = nn.LayerNorm(dim)

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        x = {view: parts[view].clean() for view in self.views}
        present_BV = torch.stack([parts[view].present for view in self.views], 1)
        share_BV = even(present_BV, self.shared_SD.dtype)
        count, depth = len(self.shared_SD), len(next(iter(self.blocks.values())))
        z_BSD = self.shared_SD.expand(len(present_BV), -1, -1)
        there_BS = torch.ones_like(z_BSD[..., 0], dtype=torch.bool)
        for layer in range(depth):
            written_VBSD = []
            for view in self.views:
                block, mask_BT = self.blocks[view][layer], parts[view].mask
                if layer < self.alone:
                    x[view] = block(x[view], mask_BT)
                    continue
                both = block(torch.cat([z_BSD, x[view]], 1), torch.cat([there_BS, mask_BT], 1))
                x[view] = both[:, count:]
                written_VBSD.append(both[:, :count])
            if written_VBSD:
                mean_BSD = torch.einsum("vbsd,bv->bsd", torch.stack(written_VBSD), share_BV)
                z_BSD = torch.where(present_BV.any(1)[:, None, None], mean_BSD, z_BSD)
        return mean_of_views(parts, {view: self.norm(x[view]) for view in self.views}, self.norm(z_BSD))


@fusions("mult")
class Mult(Fusion):
    """Each ordered pair of views has attention of its own: a view's tokens ask another's as it came in.

    Multimodal transformer, Tsai et al. 2019, arXiv:1906.00295, section 3: for every b -> a,
    X_a <- X_a + Attention_ba(X_a, X_b, X_b), then an MLP, ``depth`` times, X_b staying as it came in;
    the streams that reach a view pass one block of self-attention; z = W mean. The paper concatenates streams and
    views; here they are averaged over what is present, because a missing view has nothing to concatenate.
    Wins on several unaligned sequences (speech, words and frames): with ``positions``; it loses in cost, and with
    few records. Costs 8 V^2 depth W^2 parameters, W being ``width``, and O(sum_ab T_a T_b W) operations a record.

    Args:
        views: names, in any order.
        dim: D of every view and of the result.
        width: W of the streams, a multiple of ``heads``; 40 in the paper.
        heads: attention heads.
        depth: blocks of each pair.
        dropout: share of activations dropped in training.
        positions: every position of a view instead of its mean; the result then has one token per position.

    forward: {view: (B, T_v, D)} -> (B, 1 + sum T_v, D); the first token is a zero for records without any view

    Raises:
        BadOption: heads do not divide the width, depth < 1, dropout outside [0, 1).

    >>> from polysense import demo
    >>> Mult(["a", "b", "c"], 8, width=4, heads=2)(demo.parts(8)).pooled().shape
    torch.Size([3, 8])
    """

    keeps_positions = True

    def __init__(
        self, views: Sequence[str], dim: int, *, width: int = 32, heads: int = 4, depth: int = 1, dropout: float = 0.3,
        positions: bool = False,
    ) -> None:
        super().__init__()
        check_count("width", width)
        check_heads(heads, width, "fusion.width =", "another width")
        check_count("depth", depth)
        check_share("dropout", dropout)
        self.views, self.positions = sorted(views), positions
        self.enter = ByView({view: nn.Linear(dim, width) for view in self.views})
        self.pairs = ByView({
            view: ByView({
                other: nn.ModuleList(CrossBlock(width, heads, dropout, gated=False) for _ in range(depth))
                for other in self.views if other != view
            })
            for view in self.views
        })
        self.own = ByView({view: Block(width, heads, dropout) for view in self.views})
        self.leave = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, dim))

    def forward(self, parts: Mapping[str, Tokens]) -> Tokens:
        start = {view: self.enter[view](parts[view].clean()) for view in self.views}
        x = {}
        for view in self.views:
            streams, present = [], []
            for other, blocks in self.pairs[view].items():
                stream_BTW = start[view]
                for block in blocks:
                    stream_BTW = block(stream_BTW, start[other], parts[other].mask[:, None, :])
                streams.append(stream_BTW)
                present.append(parts[other].present)
            met_BTW = start[view]
            if streams:
                present_BV = torch.stack(present, 1)
                mean_BTW = torch.einsum("vbtw,bv->btw", torch.stack(streams), even(present_BV, met_BTW.dtype))
                met_BTW = torch.where(present_BV.any(1)[:, None, None], mean_BTW, met_BTW)
            x[view] = self.leave(self.own[view](met_BTW, parts[view].mask))
        return mean_of_views(parts, x)
