"""How words are chosen, one after the other: the likeliest, the likeliest text of several, or by chance.

B records, L words at most, K pieces, S beams of a record.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..tokens import Tokens
from ..vocabulary import START, STOP, UNKNOWN
from .caption_net import Decoder, State

#: Candidates above which a whole sort costs too much (a language model has 100,000s), those kept beyond the beams for ties, and
#: decimals of a worth that count.
_MANY, _SPARE, _NINE = 512, 64, 9
#: A score that is never chosen, finite so that sums of it are.
_NEVER = -1e9


@dataclass(frozen=True)
class How:
    """How a text is to be chosen; see ``Caption`` for what each means."""

    decoding: str = "greedy"
    beams: int = 4
    penalty: float = 0.7
    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    shortest: int = 1
    longest: int = 64
    no_repeat: int = 0
    seed: int = 0


def say(decoder: Decoder, fused: Tokens, how: How) -> Tensor:
    """(B, longest) int64: the words of each record, filled with ``STOP``."""
    if how.decoding == "beam":
        return held(decoder, fused, how)[0][:, 0]
    words_BL = torch.full((len(fused.x), how.longest), STOP, device=fused.x.device)
    for i, (words_B, _) in enumerate(steps(decoder, fused, how)):
        words_BL[:, i] = words_B
    return words_BL


def steps(decoder: Decoder, fused: Tokens, how: How) -> Iterator[tuple[Tensor, State]]:
    """The next word (B,) of every record and what the decoder then knows, until all have stopped.

    By chance: every record draws from numbers of its own, which hang on the seed and on its likeliest words; so it says
    the same alone and in any batch.
    """
    draws = None
    if how.decoding == "sample":
        likeliest = say(decoder, fused, How(shortest=how.shortest, longest=how.longest, no_repeat=how.no_repeat))
        draws = torch.as_tensor(np.stack([
            np.random.default_rng([how.seed, zlib.crc32(row.tobytes())]).random(how.longest)
            for row in likeliest.cpu().numpy()
        ]), dtype=torch.float64, device=fused.x.device)
    state = decoder.begin(fused)
    words_B = torch.full((len(fused.x),), START, device=fused.x.device)
    said_BI, over_B = words_B[:, None][:, :0], torch.zeros_like(words_B, dtype=torch.bool)
    for i in range(how.longest):
        scores_BK, state = decoder.step(state, words_B)
        scores_BK = allowed(scores_BK, said_BI, how)
        words_B = scores_BK.argmax(-1) if draws is None else drawn(scores_BK, draws[:, i], how)
        words_B = torch.where(over_B, STOP, words_B)
        over_B = over_B | (words_B == STOP)
        said_BI = torch.cat([said_BI, words_B[:, None]], 1)
        yield words_B, state
        if over_B.all():
            return


def allowed(scores_BK: Tensor, said_BI: Tensor, how: How) -> Tensor:
    """Scores with what must not follow ruled out: an end too soon, and runs of ``no_repeat`` words that were said before."""
    scores_BK = scores_BK.clone()
    scores_BK[:, [START, UNKNOWN]] = _NEVER
    done = said_BI.shape[1]
    if done < how.shortest:
        scores_BK[:, STOP] = _NEVER
    run = how.no_repeat
    if run and done >= run:
        windows_BNR = said_BI.unfold(1, run, 1)
        same_BN = (windows_BNR[..., :-1] == said_BI[:, None, done - run + 1:]).all(-1)
        again_BN = torch.where(same_BN, windows_BNR[..., -1], START)  # what is ruled out anyway
        scores_BK = scores_BK.scatter(1, again_BN, _NEVER)
    return scores_BK


def drawn(scores_BK: Tensor, draw_B: Tensor, how: How) -> Tensor:
    """(B,) words by chance: of the ``top_k`` likeliest, of these the fewest that hold ``top_p`` of the probability.

    Fan et al. 2018, arXiv:1805.04833, section 5.1; nucleus: Holtzman et al. 2020, arXiv:1904.09751, eq. 2-3.

    >>> scores = torch.tensor([[0.0, 0.0, 0.0, 2.0, 1.0]])
    >>> drawn(scores, torch.tensor([0.99], dtype=torch.float64), How(top_k=1)).tolist()
    [3]
    """
    top_BK, order_BK = (scores_BK.double() / how.temperature).sort(dim=-1, descending=True, stable=True)
    share_BK = top_BK.softmax(-1)
    if how.top_k:
        share_BK[:, how.top_k:] = 0
    share_BK = share_BK / share_BK.sum(-1, keepdim=True)
    before_BK = share_BK.cumsum(-1) - share_BK
    share_BK = torch.where(before_BK < how.top_p, share_BK, 0.0)
    ends_BK = (share_BK / share_BK.sum(-1, keepdim=True)).cumsum(-1)
    place_B = (ends_BK <= draw_B[:, None]).sum(-1)
    last_B = (share_BK > 0).sum(-1) - 1  # rounding may leave the sum below the draw
    return order_BK.gather(1, torch.minimum(place_B, last_B)[:, None])[:, 0]


def _largest(worth_BN: Tensor, size: int) -> Tensor:
    """(B, size) places of the largest, of equal ones the first; of very many only the largest ones are sorted.

    >>> _largest(torch.tensor([[1.0, 3.0, 2.0, 3.0]]), 3).tolist()
    [[1, 3, 2]]
    """
    if worth_BN.shape[1] <= _MANY:
        return worth_BN.round(decimals=_NINE).sort(dim=-1, descending=True, stable=True).indices[:, :size]
    places_BC = worth_BN.topk(size + _SPARE).indices.sort(-1).values
    order_BC = worth_BN.gather(1, places_BC).round(decimals=_NINE).sort(dim=-1, descending=True, stable=True).indices
    return places_BC.gather(1, order_BC[:, :size])


def held(decoder: Decoder, fused: Tokens, how: How) -> tuple[Tensor, Tensor]:
    """The likeliest texts (B, S, longest), best first, and log p of each (B, S).

    Best by log p / ((5 + L) / 6)^penalty (Wu et al. 2016, arXiv:1609.08144, eq. 14).
    """
    size, device = how.beams, fused.x.device
    first_S = torch.arange(len(fused.x), device=device).repeat_interleave(size)
    state = {key: value[first_S] for key, value in decoder.begin(fused).items()}
    words_S = torch.full((len(first_S),), START, device=device)
    said_SI, over_S, long_S = words_S[:, None][:, :0], torch.zeros_like(words_S, dtype=torch.bool), torch.zeros_like(words_S)
    # all beams of a record are alike at first: only the first one counts
    total_BS = torch.where(torch.arange(size, device=device) > 0, _NEVER, 0.0).expand(len(fused.x), size).double()
    words_BSL = torch.full((len(fused.x), size, how.longest), STOP, device=device)
    all_BS, rows_B = total_BS.clone(), torch.arange(len(fused.x), device=device)  # records that are not over yet
    for i in range(how.longest):
        before, (scores_SK, state) = state, decoder.step(state, words_S)
        log_SK = _going_on(allowed(scores_SK, said_SI, how).double().log_softmax(-1), over_S)
        count, pieces = len(rows_B), log_SK.shape[-1]
        next_BSK = total_BS[..., None] + log_SK.unflatten(0, (count, size))
        grown_BS1 = (long_S + ~over_S).view(count, size, 1)
        worth_BSK = next_BSK / ((5 + grown_BS1) / 6) ** how.penalty
        best_BS = _largest(worth_BSK.flatten(1), size)
        total_BS = next_BSK.flatten(1).gather(1, best_BS)
        came_S = (best_BS // pieces + torch.arange(count, device=device)[:, None] * size).flatten()
        words_S = (best_BS % pieces).flatten()
        # what a step left as it was is alike in all beams of a record
        state = {key: value if value is before.get(key) else value[came_S] for key, value in state.items()}
        said_SI = torch.cat([said_SI[came_S], words_S[:, None]], 1)
        long_S = long_S[came_S] + ~over_S[came_S]
        over_S = over_S[came_S] | (words_S == STOP)
        on_B = ~over_S.view(count, size).all(1)
        if i + 1 == how.longest or 2 * int(on_B.sum()) <= count:  # half of them are over: go on with the others
            words_BSL[rows_B, :, : i + 1], all_BS[rows_B] = said_SI.unflatten(0, (count, size)), total_BS
            on_S = on_B.repeat_interleave(size)
            if not on_B.any():
                break
            state = {key: value[on_S] for key, value in state.items()}
            rows_B, total_BS = rows_B[on_B], total_BS[on_B]
            words_S, said_SI, over_S, long_S = words_S[on_S], said_SI[on_S], over_S[on_S], long_S[on_S]
    return words_BSL, all_BS


def _going_on(log_SK: Tensor, over_S: Tensor) -> Tensor:
    """A text that is over goes on with nothing, at no cost."""
    stays_K = torch.full(log_SK.shape[-1:], _NEVER, dtype=log_SK.dtype, device=log_SK.device)
    stays_K[STOP] = 0.0
    return torch.where(over_S[:, None], stays_K, log_SK)
