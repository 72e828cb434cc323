"""Decoders of captions: fused tokens and the words so far -> scores of the next word.

A new one is a class here with ``begin`` and ``step``; an entry in ``DECODERS`` makes it a value of ``task.decoder``.
B records, T fused positions, D their width, W the decoder's width, H heads, E width of a head, L words, K pieces.
"""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..layers import masked_softmax, positions
from ..tokens import Tokens
from ..vocabulary import START

#: What a decoder knows after some words: {name: tensor whose first axis is B}. ``looked`` (B, T), where there is one, is how
#: much the last word came from each position.
State = dict[str, Tensor]


class Decoder(nn.Module):
    """Fused tokens -> words, one at a time.

    Words have one vector each, read at the entry and compared with at the exit (tied: Press and Wolf 2017, arXiv:1608.05859).

    Args:
        dim: D.
        pieces: K.
        width: W.
        dropout: share of activations dropped in training.

    Class attributes:
        needs_positions: reads single positions, and says where it looked; otherwise the pooled record.
        together: texts that are said at a time; each step holds K scores of every one.

    forward: fused (B, T, D), words (B, L) -> scores (B, L, K), each given the words before; looked (B, L, T) or None
    """

    needs_positions: ClassVar[bool] = False
    together: ClassVar[int] = 1024

    def __init__(self, dim: int, pieces: int, *, width: int, dropout: float) -> None:
        super().__init__()
        self.words_KW = nn.Parameter(torch.randn(pieces, width) * width**-0.5)
        self.bias_K = nn.Parameter(torch.zeros(pieces))
        self.drop = nn.Dropout(dropout)

    def begin(self, fused: Tokens) -> State:
        """What is known before the first word."""
        raise NotImplementedError

    def step(self, state: State, words_B: Tensor) -> tuple[Tensor, State]:
        """Scores (B, K) of the next word after this one, and what is known then."""
        raise NotImplementedError

    def forward(self, fused: Tokens, words_BL: Tensor) -> tuple[Tensor, Tensor | None]:
        state, scores, looked = self.begin(fused), [], []
        for words_B in self.before(words_BL).T:
            scores_BK, state = self.step(state, words_B)
            scores.append(scores_BK)
            looked.append(state.get("looked"))
        return torch.stack(scores, 1), None if looked[0] is None else torch.stack(looked, 1)

    def judge(
        self, fused: Tokens, words_BL: Tensor, real_BL: Tensor, smoothing: float = 0.0
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """What given words cost, the words before being given.

        Args:
            real_BL: bool, which words count; the others may have any cost.
            smoothing: share of the target probability spread over all pieces.

        Returns:
            Losses (B, L), whether the likeliest word was right (B, L), and where it looked (B, L, T) or None.
        """
        scores_BLK, looked = self(fused, words_BL)
        loss_BL = F.cross_entropy(scores_BLK.transpose(1, 2), words_BL, reduction="none", label_smoothing=smoothing)
        return loss_BL, scores_BLK.argmax(-1) == words_BL, looked

    def before(self, words_BL: Tensor) -> Tensor:
        """(B, L): of each word the one before it."""
        return torch.cat([torch.full_like(words_BL[:, :1], START), words_BL[:, :-1]], 1)

    def vectors(self, words: Tensor) -> Tensor:
        """(..., W) of words."""
        return self.drop(self.words_KW[words] * self.words_KW.shape[1] ** 0.5)

    def scores(self, x: Tensor) -> Tensor:
        """(..., K) of what stands before the exit (..., W)."""
        return self.drop(x) @ self.words_KW.T + self.bias_K


class ShowTell(Decoder):
    """The pooled record is the first input of an LSTM, then come the words.

    Vinyals et al. 2015, "Show and Tell", arXiv:1411.4555, eq. 10-12: x_-1 = CNN(I), x_t = W_e S_t, p_t+1 = LSTM(x_t).
    """

    def __init__(self, dim: int, pieces: int, *, width: int, dropout: float, heads: int = 4, depth: int = 1) -> None:
        super().__init__(dim, pieces, width=width, dropout=dropout)
        self.enter = nn.Linear(dim, width)
        self.cell = nn.LSTMCell(width, width)

    def begin(self, fused: Tokens) -> State:
        hidden_BW, cell_BW = self.cell(self.enter(fused.pooled()))
        return {"hidden": hidden_BW, "cell": cell_BW}

    def step(self, state: State, words_B: Tensor) -> tuple[Tensor, State]:
        hidden_BW, cell_BW = self.cell(self.vectors(words_B), (state["hidden"], state["cell"]))
        return self.scores(hidden_BW), {"hidden": hidden_BW, "cell": cell_BW}


class Attend(Decoder):
    """An LSTM that looks anew at all positions before each word.

    Soft attention of Xu et al. 2015, "Show, Attend and Tell", arXiv:1502.03044, sections 3.1.2 and 4.2: e_ti = v tanh(W a_i +
    U h_t-1), alpha = softmax e, z = sum alpha_i a_i, gated by sigmoid(f h_t-1); h_0 and c_0 from the mean of the positions; the
    scores from word, state and z (eq. 7, a tanh between).
    """

    needs_positions = True

    def __init__(self, dim: int, pieces: int, *, width: int, dropout: float, heads: int = 4, depth: int = 1) -> None:
        super().__init__(dim, pieces, width=width, dropout=dropout)
        self.first = nn.Linear(dim, 2 * width)
        self.key, self.asking, self.energy = nn.Linear(dim, width), nn.Linear(width, width, bias=False), nn.Linear(width, 1)
        self.gate = nn.Linear(width, dim)
        self.cell = nn.LSTMCell(width + dim, width)
        self.out, self.out_seen = nn.Linear(width, width), nn.Linear(dim, width, bias=False)

    def begin(self, fused: Tokens) -> State:
        x_BTD = fused.clean()
        hidden_BW, cell_BW = torch.tanh(self.first(fused.pooled())).chunk(2, -1)
        return {"x": x_BTD, "key": self.key(x_BTD), "mask": fused.mask, "hidden": hidden_BW, "cell": cell_BW}

    def step(self, state: State, words_B: Tensor) -> tuple[Tensor, State]:
        asked_BTW = torch.tanh(state["key"] + self.asking(state["hidden"])[:, None])
        share_BT = masked_softmax(self.energy(asked_BTW)[..., 0], state["mask"])
        seen_BD = torch.einsum("bt,btd->bd", share_BT, state["x"]) * torch.sigmoid(self.gate(state["hidden"]))
        words_BW = self.vectors(words_B)
        hidden_BW, cell_BW = self.cell(torch.cat([words_BW, seen_BD], -1), (state["hidden"], state["cell"]))
        told_BW = torch.tanh(self.out(self.drop(hidden_BW)) + self.out_seen(seen_BD) + words_BW)
        return self.scores(told_BW), {**state, "hidden": hidden_BW, "cell": cell_BW, "looked": share_BT}


class Layer(nn.Module):
    """Pre-norm layer of a Transformer decoder: the words ask each other, then the fused tokens, then a layer for each word.

    forward: words (B, L, W), what they may ask: keys and values of words (B, M, W), of tokens (B, T, W), masks -> (B, L, W),
    and how much each word looked at each token (B, L, T), the mean of the heads
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm_words, self.norm_asking, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.words, self.words_out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.asking, self.asked, self.asked_out = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.feed = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Dropout(dropout), nn.Linear(4 * width, width))
        self.drop = nn.Dropout(dropout)

    def forward(
        self, x_BLW: Tensor, old_BM2W: Tensor | None, tokens_BT2W: Tensor, mask_BT: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        query_BLW, new_BL2W = self.words(self.norm_words(x_BLW)).split([x_BLW.shape[-1], 2 * x_BLW.shape[-1]], -1)
        both_BM2W = new_BL2W if old_BM2W is None else torch.cat([old_BM2W, new_BL2W], 1)
        long, whole = x_BLW.shape[1], both_BM2W.shape[1]
        may_LM = torch.ones(long, whole, dtype=torch.bool, device=x_BLW.device).tril(whole - long)
        told_BLW, _ = self._ask(query_BLW, both_BM2W, may_LM)
        x_BLW = x_BLW + self.drop(self.words_out(told_BLW))
        told_BLW, share_BHLT = self._ask(self.asking(self.norm_asking(x_BLW)), tokens_BT2W, mask_BT[:, None, None])
        x_BLW = x_BLW + self.drop(self.asked_out(told_BLW))
        return x_BLW + self.drop(self.feed(self.norm_feed(x_BLW))), both_BM2W, share_BHLT.mean(1)

    def _ask(self, query_BLW: Tensor, asked_BM2W: Tensor, may: Tensor) -> tuple[Tensor, Tensor]:
        query_BHLE, key_BHME, value_BHME = (
            part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (query_BLW, *asked_BM2W.chunk(2, -1))
        )
        scores_BHLM = query_BHLE @ key_BHME.transpose(-1, -2) / query_BHLE.shape[-1] ** 0.5
        share_BHLM = masked_softmax(scores_BHLM, may)
        return (share_BHLM @ value_BHME).transpose(1, 2).flatten(2), share_BHLM


class Transformer(Decoder):
    """Words that ask each other and all fused tokens.

    Vaswani et al. 2017, arXiv:1706.03762, section 3.1, the decoder; pre-norm as in Xiong et al. 2020, arXiv:2002.04745.
    The keys and values of words are kept, so a step costs one word.
    """

    needs_positions = True

    def __init__(self, dim: int, pieces: int, *, width: int, dropout: float, heads: int = 4, depth: int = 2) -> None:
        super().__init__(dim, pieces, width=width, dropout=dropout)
        self.enter = nn.Linear(dim, width)
        self.layers = nn.ModuleList(Layer(width, heads, dropout) for _ in range(depth))
        self.norm_tokens, self.norm = nn.LayerNorm(width), nn.LayerNorm(width)

    def begin(self, fused: Tokens) -> State:
        x_BTW = self.norm_tokens(self.enter(fused.clean()))
        return {"mask": fused.mask} | {f"tokens{i}": layer.asked(x_BTW) for i, layer in enumerate(self.layers)}

    def step(self, state: State, words_B: Tensor) -> tuple[Tensor, State]:
        scores_BLK, state = self._told(state, words_B[:, None])
        return scores_BLK[:, 0], {**state, "looked": state["looked"][:, 0]}

    def forward(self, fused: Tokens, words_BL: Tensor) -> tuple[Tensor, Tensor | None]:
        scores_BLK, state = self._told(self.begin(fused), self.before(words_BL))
        return scores_BLK, state["looked"]

    def _told(self, state: State, words_BL: Tensor) -> tuple[Tensor, State]:
        """Scores (B, L, K) after words that follow those of the state."""
        done = state["words0"].shape[1] if "words0" in state else 0
        place_LW = positions(done + words_BL.shape[1], self.words_KW.shape[1])[done:].to(self.words_KW)
        x_BLW, after = self.vectors(words_BL) + place_LW, dict(state)
        for i, layer in enumerate(self.layers):
            x_BLW, after[f"words{i}"], after["looked"] = layer(
                x_BLW, state.get(f"words{i}"), state[f"tokens{i}"], state["mask"]
            )
        return self.scores(self.norm(x_BLW)), after


#: Values of ``task.decoder``.
DECODERS: dict[str, type[Decoder]] = {"show-tell": ShowTell, "attend": Attend, "transformer": Transformer}
