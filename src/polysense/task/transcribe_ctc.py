"""Connectionist temporal classification: reading texts out of a letter's probability at every position.

Letters: T positions of a sound, K pieces (0 is the blank, said where nothing is), L pieces of a text. Scores are natural
logarithms of probabilities.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np

BLANK = 0
#: Pieces tried at a position: the likeliest ones, down to this probability.
_TRIED, _LEAST = 24, math.log(1e-4)
_NEVER = -1e30


def greedy(score_TK: np.ndarray) -> list[int]:
    """The likeliest piece of each position, repeats merged, blanks left out (Graves et al. 2006, section 3.2, best path).

    >>> greedy(np.log([[.1, .9], [.2, .8], [.9, .1], [.4, .6]]))
    [1, 1]
    """
    best = score_TK.argmax(1) if len(score_TK) else np.zeros(0, int)
    new = np.diff(best, prepend=BLANK) != 0
    return best[new & (best != BLANK)].tolist()


def needed(ids: Sequence[int]) -> int:
    """Positions without which a text cannot be read: one for each piece, and a blank between equal neighbours.

    >>> needed([3, 3, 4]), needed([])
    (4, 0)
    """
    return len(ids) + sum(a == b for a, b in zip(ids, ids[1:], strict=False))


def beam(
    score_TK: np.ndarray, beams: int, *, prior: Prior | None = None, weight: float = 0.0, bonus: float = 0.0,
    words: Words | None = None,
) -> list[int]:
    """The likeliest text by prefix beam search (Hannun et al. 2014, arXiv:1408.2873, algorithm 1).

    A prefix keeps two scores: of the paths that end in a blank, and of those that end in its last piece. A new piece l
    adds weight * log p(l | pieces before) + bonus.

    By hand, two positions, p(blank) = .6 and p(a) = .4 at both: "" has .36, "a" has .4 .6 + .6 .4 + .4 .4 = .64, while the
    best path says nothing.

    Args:
        beams: prefixes kept.
        prior: of pieces, learned from texts.
        words: that may be said and no others; None allows all.

    >>> two = np.log([[.6, .4], [.6, .4]])
    >>> beam(two, 4), greedy(two)
    ([1], [])
    """
    kept: dict[tuple[int, ...], tuple[float, float]] = {(): (0.0, _NEVER)}
    extra: dict[tuple[int, ...], float] = {(): 0.0}
    for score_K in score_TK:
        tried = [i for i in np.argsort(score_K)[::-1][:_TRIED].tolist() if i != BLANK and score_K[i] > _LEAST]
        silent, found = float(score_K[BLANK]), {}
        for prefix, (blank, piece) in kept.items():
            both = _add(blank, piece)
            _put(found, prefix, both + silent, _NEVER)
            last = prefix[-1] if prefix else BLANK
            if last != BLANK:
                _put(found, prefix, _NEVER, piece + float(score_K[last]))
            for i in tried:
                if words is not None and not words.may(prefix, i):
                    continue
                longer = (*prefix, i)
                if longer not in extra:
                    told = weight * prior.score(prefix, i) if prior is not None and weight else 0.0
                    extra[longer] = extra[prefix] + told + bonus
                _put(found, longer, _NEVER, (blank if i == last else both) + float(score_K[i]))
        order = sorted(found, key=lambda one: -(_add(*found[one]) + extra[one]))[:beams]
        kept = {one: found[one] for one in order}
        extra = {one: extra[one] for one in order}
    ends = [one for one in kept if words is None or words.may_end(one)]
    return list(max(ends, key=lambda one: _add(*kept[one]) + extra[one])) if ends else []


def _add(a: float, b: float) -> float:
    """log(exp a + exp b)."""
    high, low = (a, b) if a > b else (b, a)
    return high if low <= _NEVER / 2 else high + math.log1p(math.exp(low - high))


def _put(found: dict[tuple[int, ...], tuple[float, float]], prefix: tuple[int, ...], blank: float, piece: float) -> None:
    before = found.get(prefix, (_NEVER, _NEVER))
    found[prefix] = _add(before[0], blank), _add(before[1], piece)


def aligned(score_TK: np.ndarray, ids: Sequence[int]) -> np.ndarray:
    """(L, 2): first and last position of each piece on the likeliest path that says the text.

    Viterbi over blank, l_1, blank, l_2, ..., blank (Graves et al. 2006, section 4.1, with max for sum).

    Raises:
        ValueError: there are too few positions.

    >>> aligned(np.log([[.1, .9], [.2, .8], [.9, .1], [.4, .6]]), [1, 1]).tolist()
    [[0, 1], [3, 3]]
    """
    if needed(ids) > len(score_TK):
        raise ValueError(f"{len(score_TK)} positions cannot say {len(ids)} pieces")
    if not len(ids):
        return np.zeros((0, 2), int)
    states = np.full(2 * len(ids) + 1, BLANK)
    states[1::2] = ids
    skips = np.zeros(len(states), bool)
    skips[3::2] = states[3::2] != states[1:-2:2]
    best = np.full(len(states), _NEVER)
    best[:2] = score_TK[0, states[:2]]
    came = np.zeros((len(score_TK), len(states)), np.int8)
    for t in range(1, len(score_TK)):
        one = np.concatenate([[_NEVER], best[:-1]])
        two = np.where(skips, np.concatenate([[_NEVER, _NEVER], best[:-2]]), _NEVER)
        ways = np.stack([best, one, two])
        came[t] = ways.argmax(0)
        best = ways.max(0) + score_TK[t, states]
    state = len(states) - 1 if best[-1] >= best[-2] else len(states) - 2
    place = np.full((len(ids), 2), -1)
    for t in range(len(score_TK) - 1, -1, -1):
        if state % 2:
            place[state // 2, 0] = t
            place[state // 2, 1] = max(place[state // 2, 1], t)
        state -= came[t, state]
    return place


class Words:
    """Words that may be said, as a reader of pieces sees them: which piece may follow, and where a text may end.

    Args:
        pieces: text of each number, a space marked by ``space``; empty for what is never said.
        words: that may be said.
        space: the mark that begins a word.
    """

    def __init__(self, pieces: Sequence[str], words: Iterable[str], space: str) -> None:
        self.pieces, self.space = list(pieces), space
        self.words = {word for word in words if word}
        self.begun = {word[:i] for word in self.words for i in range(len(word) + 1)}
        self._word: dict[tuple[int, ...], str] = {}

    def _last(self, prefix: tuple[int, ...]) -> str:
        """The word that a prefix ends in; kept, because prefixes grow by one piece."""
        if prefix not in self._word:
            if len(self._word) > 200_000:
                self._word.clear()
            self._word[prefix] = "".join(self.pieces[i] for i in prefix).rpartition(self.space)[2]
        return self._word[prefix]

    def may(self, prefix: tuple[int, ...], piece: int) -> bool:
        """The piece goes on with a word of the list, or begins one behind a whole word."""
        word = self._last(prefix)
        for number, part in enumerate(self.pieces[piece].split(self.space)):
            if number and word and word not in self.words:
                return False
            word = part if number else word + part
            if word not in self.begun:
                return False
        return True

    def may_end(self, prefix: tuple[int, ...]) -> bool:
        """The last word is whole."""
        word = self._last(prefix)
        return not word or word in self.words


class Prior:
    """How likely a piece is behind those before it, counted in training texts.

    Witten and Bell 1991 (IEEE Trans. Information Theory 37(4), method C): p(l | h) = (c(h l) + N(h) p(l | shorter h)) /
    (c(h) + N(h)), N(h) being the different pieces behind h; at the end 1 / K.

    By hand: "ab" and "ac", K = 5: behind a stand b and c once each, N = 2; p(b) without history: c(b) = 1 of 4, N = 3:
    (1 + 3 / 5) / 7 = .2286; p(b | a) = (1 + 2 * .2286) / 4 = .3643.

    Args:
        order: pieces looked at, the new one included.
        size: K.

    >>> some = Prior(2, 5).fit([[3, 4], [3, 2]])
    >>> round(math.exp(some.score((3,), 4)), 4)
    0.3643
    """

    def __init__(self, order: int, size: int) -> None:
        self.order, self.size = order, size
        self.after: dict[tuple[int, ...], Counter] = {}

    def fit(self, texts: Iterable[Collection[int]]) -> Prior:
        """Count every run of at most ``order`` pieces."""
        for text in texts:
            ids = tuple(text)
            for i, piece in enumerate(ids):
                for n in range(min(self.order - 1, i) + 1):
                    self.after.setdefault(ids[i - n : i], Counter())[piece] += 1
        return self

    def score(self, prefix: tuple[int, ...], piece: int) -> float:
        """log p(piece | prefix)."""
        p = 1.0 / self.size
        for n in range(min(self.order - 1, len(prefix)) + 1):
            counts = self.after.get(prefix[len(prefix) - n :])
            if counts is None:
                break
            kinds, total = len(counts), counts.total()
            p = (counts[piece] + kinds * p) / (total + kinds)
        return math.log(p)

    def state(self) -> dict[str, Any]:
        runs = sorted((*before, piece, count) for before, counts in self.after.items() for piece, count in counts.items())
        table = np.full((len(runs), self.order + 1), -1, np.int32)
        for row, run in zip(table, runs, strict=True):
            row[-len(run) :] = run
        return {"order": self.order, "size": self.size, "runs": table.tolist()}

    def load(self, state: dict[str, Any]) -> Prior:
        """Undo ``state``."""
        self.after = {}
        for row in np.asarray(state["runs"]).tolist():
            run = tuple(number for number in row[:-1] if number >= 0)
            self.after.setdefault(run[:-1], Counter())[run[-1]] = row[-1]
        return self
