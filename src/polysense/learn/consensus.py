"""A share for words: the network and the nearest training records agree on a text.

Two texts cannot be mixed, but what speaks for texts can. The network holds some likely, with probabilities (its beams); the
nearest training records say theirs, the nearer the louder. Both together, by their shares, are a distribution over texts, and
the answer is the one of them that is worth most if a text drawn from it is right:

    answer = argmax_c sum_t w(t) likeness(c, t),    w = (1 - share) w_network + share w_nearest

Least expected loss of Kumar and Byrne 2004 ("Minimum Bayes-risk decoding", HLT-NAACL, eq. 1-2), with w_network alone; the
consensus caption of Devlin et al. 2015 (arXiv:1505.04467, section 3), with w_nearest alone; likeness is that of CIDEr there
too. Share 0 is the network as it speaks by itself, share 1 of one record that record's text; so it can fall back on either.

What several models hold together is their mean. N records, V views, P points of the family, S texts that are held.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from ..contracts import Task
from ..data.rows import blocks, only, only_of
from ..metrics.texts import Likeness, Texts
from ..network import Network
from ..tokens import Tokens
from .features import Encoded, answer
from .nearest import Nearest

#: Shares that are compared on validation, and numbers of nearest records.
SHARES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
COUNTS = (1, 10)
#: exp(cosine / this) is how loud a nearest record speaks.
WARMTH = 0.1
#: Validation records that choose, at most.
JUDGES = 1000
#: As many where a single text is dear.
FEW_JUDGES = 200
_SIX = 6  # decimals of what a text is worth that count: what differs beyond them is equal

#: {text: how much speaks for it, and the training record that says it, or None where the network wrote it}
Evidence = dict[str, tuple[float, int | None]]


@dataclass(frozen=True)
class Consensus:
    """How much of the evidence for a text the nearest training records give.

    Attributes:
        weight: 0..1; the network gives the rest. The default is for want of validation records.
        records: how many of the nearest speak; 0 where the network's own texts alone are wanted.
    """

    weight: float = 0.6
    records: int = 10


class Speaker:
    """What a network says to some records, with the views that are left of them.

    Args:
        tokens: of the records.
    """

    def __init__(self, network: Network, task: Task, tokens: Encoded) -> None:
        self.network, self.task, self.tokens = network, task, tokens

    def __call__(self, mask_NV: np.ndarray) -> np.ndarray:
        """Its answers, in the target's unit."""
        return self.task.restore(answer(self.network, self.tokens, mask_NV))

    def held(self, mask_NV: np.ndarray, batch: int = 256) -> list[dict[str, float]]:
        """{text: probability} of each record, likeliest first: of a beam search, as far as it holds them, together 1."""
        found: list[dict[str, float]] = [{self.task.nothing(): 1.0}] * len(mask_NV)
        for some in blocks(len(mask_NV), batch):
            rows = np.flatnonzero(mask_NV[some].any(1)) + some.start
            if not len(rows):
                continue
            with torch.inference_mode():
                part = self.tokens.take(rows)
                for i, view in enumerate(self.network.views):
                    here = torch.as_tensor(mask_NV[rows, i], device=part[view].mask.device)
                    part[view] = Tokens(part[view].x, part[view].mask & here[:, None])
                core, fused, _ = self.network.inside(part)
                words_BSL, log_BS = self.task.held(core.head, fused)
            share_BS = log_BS.double().softmax(-1).cpu().numpy()
            texts = self.task.restore(words_BSL.flatten(0, 1).cpu().numpy()).reshape(share_BS.shape)
            for row, said, shares in zip(rows, texts, share_BS, strict=True):
                found[row] = {}
                for text, share in zip(said, shares, strict=True):
                    found[row][text] = found[row].get(text, 0.0) + float(share)
        return found


def near_each(
    nearest: Nearest, features: Mapping[str, Any], mask_NV: np.ndarray, count: int
) -> list[list[tuple[int, float]]]:
    """Of each record its nearest training records by the views that it has: places with cosines, nearest first.

    Where no training record has all these views, all of them are looked through.
    """
    found: list[list[tuple[int, float]]] = [[] for _ in mask_NV]
    patterns, which = np.unique(mask_NV, axis=0, return_inverse=True)
    for p, pattern in enumerate(patterns):
        subset = tuple(view for view, here in zip(nearest.views, pattern, strict=True) if here)
        rows = np.flatnonzero(which.reshape(-1) == p)
        mine = {view: only(features[view], rows) for view in subset}
        if not subset:
            continue
        places, cosines = nearest.near(subset, mine, mask_NV[rows], count)
        if (places[:, 0] < 0).all():
            places, cosines = nearest.near(subset, mine, mask_NV[rows], count, filled=True)
        for row, mine_K, cosine_K in zip(rows, places.tolist(), cosines.tolist(), strict=True):
            found[row] = [(place, cosine) for place, cosine in zip(mine_K, cosine_K, strict=True) if place >= 0]
    return found


def voices(nearest: Nearest, near: Sequence[tuple[int, float]], count: int) -> Evidence:
    """What the nearest records say, as loud as exp(cosine / ``WARMTH``), together 1; references of one share what is its."""
    near = near[:count]
    if not near:
        return {nearest.prior: (1.0, None)}
    loud = np.exp((np.array([cosine for _, cosine in near]) - near[0][1]) / WARMTH)
    found: Evidence = {}
    for (place, _), share in zip(near, loud / loud.sum(), strict=True):
        texts = nearest.references[place] if count > 1 else nearest.references[place][:1]
        for text in texts:
            before = found.get(text, (0.0, int(nearest.rows[place])))
            found[text] = before[0] + float(share) / len(texts), before[1]
    return found


def together(parts: Sequence[tuple[float, Evidence]]) -> Evidence:
    """Evidence of several sources by their shares; what a network wrote itself is nobody else's.

    >>> together([(0.5, {"a": (1.0, None)}), (0.5, {"a": (0.5, 7), "b": (0.5, 9)})])
    {'a': (0.75, None), 'b': (0.25, 9)}
    """
    found: Evidence = {}
    for share, part in parts:
        for text, (weight, row) in part.items():
            if share * weight <= 0:
                continue
            before = found.get(text, (0.0, row))
            found[text] = before[0] + share * weight, None if row is None else before[1]
    return found


def decide(evidence: Evidence, likeness: Likeness) -> tuple[str, int | None]:
    """The text that is worth most, of equal ones the first, and the training record it was taken from, if it was.

    By hand: "a b" has .4, "a c" and "a d" .3 each; two texts that share one of two words are a quarter of a half alike (all
    n-grams equally rare), so "a b" is worth .4 * .5 + .6 * .125 = .275, "a c" .3 * .5 + .7 * .125 = .2375.

    >>> decide({"a b": (0.4, None), "a c": (0.3, 3), "a d": (0.3, 4)}, Likeness([("a",)] * 4))
    ('a b', None)
    """
    texts = list(evidence)
    worth_T = likeness(texts) @ np.array([evidence[text][0] for text in texts])
    text = texts[int(worth_T.round(_SIX).argmax())]
    return text, evidence[text][1]


def evidence(
    speaker: Speaker, nearest: Nearest, share: Consensus, features: Mapping[str, Any], mask_NV: np.ndarray, alone: bool = True
) -> list[Evidence]:
    """What speaks for which text, of each record with the views that the mask leaves.

    Args:
        alone: the network's own text is the answer where the share is 0; among several models it is one of those it holds.
    """
    if not share.weight and (alone or not share.records):
        return [{str(text): (1.0, None)} for text in speaker(mask_NV)]
    near = near_each(nearest, features, mask_NV, share.records) if share.weight else [[]] * len(mask_NV)
    held = speaker.held(mask_NV) if share.weight < 1 else [{}] * len(near)
    return [
        together([
            (1 - share.weight, {text: (p, None) for text, p in mine.items()}),
            (share.weight, voices(nearest, theirs, share.records)),
        ])
        for mine, theirs in zip(held, near, strict=True)
    ]


def decided(found: Sequence[Evidence], likeness: Likeness) -> tuple[np.ndarray, list[int | None]]:
    """(N,) object texts, and of each the row of the training table that it was taken from."""
    texts = np.empty(len(found), object)
    chosen = [decide(one, likeness) if len(one) > 1 else next((text, row) for text, (_, row) in one.items()) for one in found]
    texts[:] = [text for text, _ in chosen]
    return texts, [row for _, row in chosen]


def sentence(share: Consensus | Mapping[str, Any]) -> str:
    """How an answer comes about, in words; of a share, or of what is kept of one."""
    share = share if isinstance(share, Consensus) else Consensus(**share)
    if not share.weight:
        return "answers: the network's own texts"
    if share == Consensus(1.0, 1):
        return "answers: texts of the nearest training records"
    whose = f"the {share.records} nearest training records" if share.records > 1 else "the nearest training record"
    return f"answers: the text on which the network ({1 - share.weight:.0%}) and {whose} ({share.weight:.0%}) agree most"


# --- choosing ------------------------------------------------------------------------------------


def choose(
    speaker: Speaker, nearest: Nearest, features: Mapping[str, Any], present_NV: np.ndarray, judged: np.ndarray,
    yardstick: Texts,
) -> Consensus:
    """The share that validation chooses, by the main measure, the mean over the judged subsets of views.

    Args:
        speaker, features, present_NV, judged: of the validation records.
    """
    points = [Consensus(weight, count) for count in COUNTS for weight in (SHARES if count == COUNTS[0] else SHARES[1:])]
    return chosen(points, gains(points, speaker, nearest, features, present_NV, judged, yardstick))


def chosen(points: Sequence[Consensus], gains_NP: np.ndarray) -> Consensus:
    """Of the points whose mean gain is not below that of the network, of the nearest record, nor, by more than the standard
    error of the paired difference, of the best point, the one nearest to the default (one standard error
    rule: Breiman et al. 1984, "Classification and regression trees", section 3.4.3; so that noise does not choose).

    Args:
        gains_NP: of each validation record at each point; none leave the default.

    >>> points = [Consensus(0.0, 1), Consensus(0.6, 10), Consensus(1.0, 1)]
    >>> chosen(points, np.array([[0.0, 0.5, 0.6], [1.0, 0.9, 0.8]]))
    Consensus(weight=0.6, records=10)
    >>> chosen(points, np.array([[0.9, 0.5, 0.6], [1.0, 0.9, 0.8]]))
    Consensus(weight=0.0, records=1)
    """
    if not len(gains_NP):
        return Consensus()
    mean_P = gains_NP.mean(0).round(_SIX)
    best = int(mean_P.argmax())
    apart_NP = gains_NP[:, best, None] - gains_NP
    error_P = apart_NP.std(0) / max(1, len(gains_NP)) ** 0.5
    ends = [p for p, point in enumerate(points) if not point.weight or point == Consensus(1.0, 1)]
    fine_P = (mean_P >= mean_P[ends].max()) & (mean_P[best] - mean_P <= error_P)
    usual = Consensus()
    return min(
        (points[p] for p in np.flatnonzero(fine_P)), key=lambda point: (abs(point.weight - usual.weight), -point.records)
    )


def gains(
    points: Sequence[Consensus], speaker: Speaker, nearest: Nearest, features: Mapping[str, Any], present_NV: np.ndarray,
    judged: np.ndarray, yardstick: Texts,
) -> np.ndarray:
    """(N, P): the main measure of each record at each point, so weighted that its mean is the mean over the judged subsets."""
    known = np.flatnonzero(yardstick.known(judged))
    most = FEW_JUDGES if speaker.task.one_text else JUDGES
    if len(known) > most:
        known = known[np.unique(np.linspace(0, len(known) - 1, most).astype(int))]
    total_NP, subsets = np.zeros((len(judged), len(points))), 0
    likeness = nearest.likeness(yardstick)
    for subset in nearest.subsets:
        wanted = np.array([view in subset for view in nearest.views])
        rows = known[(present_NV[known] | ~wanted).all(1)]
        if not len(rows):
            continue
        mask_NV = np.zeros_like(present_NV)
        mask_NV[rows] = present_NV[rows] & wanted
        for p, said in enumerate(_said(points, speaker, nearest, only_of(features, rows), mask_NV, rows, likeness)):
            total_NP[rows, p] += yardstick.gains(said, judged[rows]) * len(known) / len(rows)
        subsets += 1
    return total_NP[known] / max(subsets, 1)


def _said(
    points: Sequence[Consensus], speaker: Speaker, nearest: Nearest, features: Mapping[str, Any], mask_NV: np.ndarray,
    rows: np.ndarray, likeness: Likeness,
) -> list[np.ndarray]:
    """What is said at each point to the rows that the mask leaves."""
    held = speaker.held(mask_NV)
    own = [next(iter(held[row])) for row in rows] if speaker.task.one_text else speaker(mask_NV)[rows]
    near = near_each(nearest, features, mask_NV[rows], max(COUNTS))
    found = [np.empty(len(rows), object) for _ in points]
    for i, (row, theirs) in enumerate(zip(rows, near, strict=True)):
        mine: Evidence = {text: (p, None) for text, p in held[row].items()}
        spoken = {count: voices(nearest, theirs, count) for count in COUNTS}
        texts = list(dict.fromkeys([*mine, *(text for part in spoken.values() for text in part)]))
        worth_TT = likeness(texts)
        ours_T, *theirs_T = (np.array([part.get(text, (0.0, None))[0] for text in texts]) for part in (mine, *spoken.values()))
        theirs_of = dict(zip(spoken, theirs_T, strict=True))
        for p, point in enumerate(points):
            weight_T = (1 - point.weight) * ours_T + point.weight * theirs_of[point.records]
            worth_T = np.where(weight_T > 0, (worth_TT @ weight_T).round(_SIX), -np.inf)
            found[p][i] = texts[int(worth_T.argmax())] if point.weight else own[i]
    return found
