"""Measures of words: what was said against what should have been said.

N records, R resamples. A record has one reference or several. BLEU and the error rates are quotients of sums over records,
ROUGE-L, CIDEr and exact matches are means; so, as for classes, a thousand resamples are one matrix product.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

import numpy as np

from ..errors import BadOption, need
from . import Draws, Resamples, Yardstick
from .numbers import p_flipped

#: Measures of a caption and of a transcript, in the order in which they are shown.
CAPTION = ("cider", "bleu4", "rouge_l", "exact")
TRANSCRIPT = ("wer", "cer", "exact")
NORMALISED = ("basic", "english", "none")
ORDER = 4  # longest run of words that BLEU and CIDEr look at
_SIGMA, _BETA = 6.0, 1.2  # CIDEr-D's length penalty; ROUGE-L's weight of recall
_HELD = 50_000  # texts whose n-grams are kept
#: Signs that are words by themselves: Han characters, kana, hangul syllables.
_ALONE = re.compile("([\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af\U00020000-\U0003134f])")


def normalised(text: str, how: str = "basic") -> str:
    """A text as error rates compare it.

    Args:
        how: "basic": full-width signs made plain (NFKC), small letters, punctuation and symbols dropped but for an apostrophe
            within a word; "english": Whisper's rules (Radford 2022, arXiv:2212.04356, appendix C), which also undo
            contractions and write numbers in digits; "none": as it is.

    Raises:
        BadOption: unknown ``how``.

    >>> normalised("It’s  TEN o'clock, isn't it?"), normalised("你好，世界！ＡＢＣ")
    ("it's ten o'clock isn't it", '你好 世界 abc')
    >>> normalised("It's ten pounds", "english")
    'it is £10'
    """
    if how not in NORMALISED:
        raise BadOption(f"normalise='{how}' must be 'basic', 'english' or 'none'")
    if how == "none":
        return text
    if how == "english":
        return _whispers()(text).strip()
    plain = unicodedata.normalize("NFKC", text).casefold().replace("’", "'")
    kept = "".join(sign if unicodedata.category(sign)[0] in "LNM" or sign == "'" else " " for sign in plain)
    return " ".join(re.sub(r"(?<!\w)'|'(?!\w)", " ", kept).split())


@cache
def _whispers() -> Any:
    return need("transformers.models.whisper.english_normalizer", "towers").EnglishTextNormalizer({})


def words_of(text: str) -> list[str]:
    """Words between spaces; a Han character, kana or hangul syllable is a word by itself.

    >>> words_of("A red 红苹果 pie")
    ['A', 'red', '红', '苹', '果', 'pie']
    """
    return _ALONE.sub(r" \1 ", text).split()


def _signs(text: str) -> str:
    """Without spaces beside signs that are words by themselves; how these are spaced means nothing."""
    return re.sub(rf"\s*{_ALONE.pattern}\s*", r"\1", text)


def edits(said: Sequence[Any], meant: Sequence[Any]) -> int:
    """Least number of insertions, deletions and substitutions (Levenshtein 1966).

    >>> edits("kitten", "sitting")
    3
    """
    return need("rapidfuzz.distance", "words").Levenshtein.distance(said, meant)


def rouge_l(said: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    """F of the longest common subsequence, the best precision and the best recall over references.

    (1 + b^2) P R / (R + b^2 P), b = 1.2. Source: Lin 2004, "ROUGE: a package for automatic evaluation of summaries", section 3;
    b and the two best as in the tools of Chen 2015 (arXiv:1504.00325).

    By hand: "a b d" of "a b c d": P = 1, R = 3/4, F = 2.44 * .75 / (.75 + 1.44).

    >>> round(rouge_l("a b d".split(), ["a b c d".split()]), 4)
    0.8356
    """
    same = need("rapidfuzz.distance", "words").LCSseq.similarity
    common = [same(said, meant) for meant in references]
    precision = max((length / len(said) for length in common if len(said)), default=0.0)
    recall = max((length / len(meant) for length, meant in zip(common, references, strict=True) if len(meant)), default=0.0)
    return (1 + _BETA**2) * precision * recall / (recall + _BETA**2 * precision) if precision and recall else 0.0


def cider(said: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> np.ndarray:
    """(N,) CIDEr-D of each record, from 0 to 10.

    The mean over n = 1..4 of the cosine of TF-IDF vectors of n-grams, the answer's counts clipped to the reference's, times
    exp(-(difference in length)^2 / (2 * 6^2)), averaged over references, times 10 (a text of two words reaches 5 only). The
    references of all N records tell how rare an n-gram is, so a figure holds for its set only. Source: Vedantam 2015,
    arXiv:1411.5726, eq. 1-4 and section 7.

    >>> said, meant = [["red", "apple"], ["blue", "car"]], [[["red", "apple"]], [["green", "car"]]]
    >>> cider(said, meant).round(2).tolist()
    [5.0, 1.25]
    """
    grams_NS = [[grams(meant) for meant in meants] for meants in references]
    seen = Counter(gram for many in grams_NS for gram in set().union(*many))
    log_n = math.log(max(len(references), 1))

    def vector(counted: Counter) -> tuple[list[dict[tuple[str, ...], float]], list[float]]:
        by_order: list[dict[tuple[str, ...], float]] = [{} for _ in range(ORDER)]
        for gram, count in counted.items():
            by_order[len(gram) - 1][gram] = count * (log_n - math.log(max(1, seen[gram])))
        return by_order, [math.sqrt(sum(x * x for x in one.values())) for one in by_order]

    found = np.zeros(len(said))
    for i, (words, meants) in enumerate(zip(said, references, strict=True)):
        ours, long = vector(grams(words))
        for meant, counted in zip(meants, grams_NS[i], strict=True):
            theirs, wide = vector(counted)
            near = math.exp(-((len(words) - len(meant)) ** 2) / (2 * _SIGMA**2))
            for n in range(ORDER):
                if long[n] and wide[n]:
                    dot = sum(min(x, theirs[n].get(gram, 0.0)) * theirs[n].get(gram, 0.0) for gram, x in ours[n].items())
                    found[i] += near * dot / (long[n] * wide[n])
        found[i] *= 10 / ORDER / max(len(meants), 1)
    return found


def grams(words: Sequence[str]) -> Counter:
    """Runs of one to four words, counted."""
    return Counter(tuple(words[i : i + n]) for n in range(1, ORDER + 1) for i in range(len(words) - n + 1))


class Texts(Yardstick):
    """Measures of written answers; targets (N,) tuples of references, empty where there is none.

    bleu4: BLEU of the whole set (Papineni 2002, doi:10.3115/1073083.1073135) as sacrebleu counts and smooths it (Post 2018,
    arXiv:1804.08771), from 0 to 100. rouge_l, cider: means over records, see the functions. wer, cer: edits of words
    (characters) over words (characters) of the reference, all records together, the nearest reference where there are
    several; above 1 where far too much was said. exact: share of answers that equal a reference. All but bleu4 compare
    normalised texts; in Chinese and Japanese words are single signs.

    Args:
        measures: ``CAPTION`` or ``TRANSCRIPT``; the first is the main one.
        normalise: see ``normalised``.

    >>> found = Texts(TRANSCRIPT).judge(["go home now"], [("Go home.",)], Resamples(1, samples=20)).values
    >>> {name: round(value, 3) for name, value in found.items()}
    {'wer': 0.5, 'cer': 0.571, 'exact': 0.0}
    """

    kind = "words"

    def __init__(self, measures: Sequence[str] = CAPTION, normalise: str = "basic") -> None:
        normalised("", normalise)
        self.measures = self.short = tuple(measures)
        self.main, self.normalise = self.measures[0], normalise

    def targets(self, targets: Any) -> np.ndarray:
        """(N,) object: a tuple of references each; a single text stands for itself."""
        found = np.empty(len(targets), object)
        found[:] = [(one,) if isinstance(one, str) else tuple(one or ()) for one in targets]
        return found

    def known(self, targets: np.ndarray) -> np.ndarray:
        return np.array([bool(references) for references in targets], bool)

    def answers(self, answers: Any) -> np.ndarray:
        """(N,) object: texts."""
        found = np.empty(len(answers), object)
        found[:] = [str(one) for one in answers]
        return found

    def constant(self, answer: Any, n: int) -> np.ndarray:
        return np.full(n, answer, object)

    def losses(self, own: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """(N,) what tells records apart, whatever the others are: 1 - ROUGE-L; of transcripts edits over words, at most 1.

        >>> Texts().losses(["a b d", "x"], [("a b c d",), ("x",)]).round(3).tolist()
        [0.164, 0.0]
        """
        name = "wer" if self.main == "wer" else "rouge_l"
        said = [normalised(str(one), self.normalise) for one in own]
        meant = [[normalised(one, self.normalise) for one in references] for references in self.targets(targets)]
        above, below = _sums(name, said, meant).T
        return np.minimum(above / np.maximum(below, 1), 1.0) if name == "wer" else 1 - above

    def merit(self, answers: Any, targets: Any) -> tuple[float, ...]:
        sign = -1.0 if self.main in ("wer", "cer") else 1.0
        return (sign * self.judge(answers, targets, Resamples(len(targets), samples=1)).values[self.main],)

    def gains(self, answers: Any, targets: Any) -> np.ndarray:
        """(N,) the main measure of each record, more being better: of the whole set's BLEU ROUGE-L, of error rates 1 - rate.

        >>> Texts(("wer",)).gains(["go home now"], [("Go home.",)]).tolist()
        [0.5]
        """
        name = "rouge_l" if self.main == "bleu4" else self.main
        said = [normalised(str(one), self.normalise) for one in np.ravel(np.asarray(answers, object))]
        meant = [[normalised(one, self.normalise) for one in references] for references in self.targets(targets)]
        above, below = _sums(name, said, meant).T
        return 1 - above / np.maximum(below, 1) if name in ("wer", "cer") else above

    def likeness(self, texts: Any) -> Likeness:
        """How alike two texts are in the sense of the main measure; ``texts`` as targets, they tell how rare a word is."""
        return Likeness([references for references in self.targets(texts) if references], self.main, self.normalise)

    def judge(
        self, answers: Any, targets: Any, resamples: Resamples, *, rows: np.ndarray | None = None,
        measures: Iterable[str] | None = None,
    ) -> Draws:
        """Measures of answers (N,) of str; every record must have a reference, which may be an empty text."""
        names = tuple(self.measures if measures is None else measures)
        said, targets = [str(one) for one in np.ravel(np.asarray(answers, object))], self.targets(targets)
        if len(said) != len(targets):
            raise ValueError(f"{len(said)} answers and {len(targets)} targets are not equally many")
        if not len(said):
            blank = np.full(resamples.samples, np.nan)
            return Draws(dict.fromkeys(names, np.nan), dict.fromkeys(names, blank))
        values, draws = {}, {}
        plain = [normalised(one, self.normalise) for one in said]
        meant = [[normalised(one, self.normalise) for one in references] for references in targets]
        for name in names:
            table = bleu_counts(said, targets) if name == "bleu4" else _sums(name, plain, meant)
            quotient = bleu if name == "bleu4" else _quotient
            values[name] = float(quotient(table.sum(0)[None])[0])
            draws[name] = quotient(resamples.sums(table, rows))
        return Draws(values, draws)

    def p_worse(
        self, model: Any, rival: Any, targets: Any, *, groups: Sequence | np.ndarray | None = None
    ) -> float:
        """The sign-flip test on the differences of each record's main measure (of wer and cer: its edits)."""
        meant = [[normalised(one, self.normalise) for one in references] for references in self.targets(targets)]
        name = self.main if self.main in ("wer", "cer", "rouge_l", "exact") else "cider"
        ours, theirs = (
            _sums(name, [normalised(str(one), self.normalise) for one in np.ravel(np.asarray(side, object))], meant)[:, 0]
            for side in (model, rival)
        )
        return p_flipped(ours - theirs if name in ("wer", "cer") else theirs - ours, groups)


class Likeness:
    """How much one text is worth where another is right, in the sense of a measure, from 0 to 1.

    Of cider the mean over n = 1..4 of the cosine of TF-IDF vectors of n-grams, times exp(-(difference in length)^2 / 72),
    as CIDEr-D (see ``cider``) but for its clipping of counts; how rare an n-gram is tell the texts that it is made from. Of wer
    and cer 1 - edits over words (signs) of the right text, at least 0; of all others ROUGE-L. A thousandth is kept for being
    the same text, so that texts without a common word are told apart.

    Args:
        texts: tuples of references.
        measure: a name of ``CAPTION`` or ``TRANSCRIPT``.
        normalise: see ``normalised``.

    By hand: of three texts, two say "red": ln 3/2; one says "apple", "car": ln 3. "red apple" and "red car" share one word of
    two and no pair: cosine .4055^2 / (.4055^2 + 1.0986^2) = .1199, a quarter of it .0300.

    >>> Likeness([("red apple",), ("red car",), ("boat",)])(["red apple", "red car"]).round(4).tolist()
    [[0.5005, 0.0299], [0.0299, 0.5005]]
    """

    def __init__(self, texts: Sequence[Sequence[str]], measure: str = "cider", normalise: str = "basic") -> None:
        self.measure, self.normalise = measure, normalise
        self._made: dict[str, tuple[list[str], dict[tuple[str, ...], float]]] = {}
        self._seen: Counter = Counter()
        if measure == "cider":
            for references in texts:
                self._seen.update(set().union(*(grams(self._cut(text)) for text in references)))
        self._log_n = math.log(max(len(texts), 2))

    def _cut(self, text: str) -> list[str]:
        return words_of(normalised(text, self.normalise))

    def __call__(self, texts: Sequence[str]) -> np.ndarray:
        """(T, T): of each text (row) where each (column) is right."""
        same = np.array([[one == other for other in texts] for one in texts], float).reshape(len(texts), len(texts))
        return 0.999 * (self._cosines(texts) if self.measure == "cider" else self._others(texts)) + 0.001 * same

    def _cosines(self, texts: Sequence[str]) -> np.ndarray:
        made, places = [self._vector(text) for text in texts], {}
        for _, vector in made:
            for gram in vector:
                places.setdefault(gram, len(places))
        x_TG = np.zeros((len(texts), max(1, len(places))))
        for row, (_, vector) in zip(x_TG, made, strict=True):
            row[[places[gram] for gram in vector]] = list(vector.values())
        long_T = np.array([len(words) for words, _ in made], float)
        return x_TG @ x_TG.T / ORDER * np.exp(-((long_T[:, None] - long_T) ** 2) / (2 * _SIGMA**2))

    def _vector(self, text: str) -> tuple[list[str], dict[tuple[str, ...], float]]:
        """Words, and each n-gram's number; those of one order have the length 1."""
        if text not in self._made:
            words, squares = self._cut(text), [0.0] * (ORDER + 1)
            vector = {gram: count * (self._log_n - math.log(max(1, self._seen[gram]))) for gram, count in grams(words).items()}
            for gram, x in vector.items():
                squares[len(gram)] += x * x
            vector = {gram: x / math.sqrt(squares[len(gram)]) for gram, x in vector.items() if x}
            if len(self._made) > _HELD:
                self._made.clear()
            self._made[text] = words, vector
        return self._made[text]

    def _others(self, texts: Sequence[str]) -> np.ndarray:
        plain = [normalised(text, self.normalise) for text in texts]
        if self.measure in ("wer", "cer"):
            cut = [words_of(text) if self.measure == "wer" else _signs(text) for text in plain]
            return np.array([[max(0.0, 1 - edits(one, right) / max(len(right), 1)) for right in cut] for one in cut])
        cut = [words_of(text) for text in plain]
        return np.array([[rouge_l(one, [right]) for right in cut] for one in cut])


def _sums(name: str, said: Sequence[str], meant: Sequence[Sequence[str]]) -> np.ndarray:
    """(N, 2): what is summed above and below the line."""
    if name in ("wer", "cer"):
        cut = words_of if name == "wer" else _signs
        found = []
        for one, references in zip(said, meant, strict=True):
            mine = cut(one)
            found.append(min((edits(mine, cut(reference)), len(cut(reference))) for reference in references))
        return np.array(found, float)
    if name == "exact":
        each = np.array([
            _signs(one) in map(_signs, references) for one, references in zip(said, meant, strict=True)
        ], float)
    else:
        mine, theirs = [words_of(one) for one in said], [[words_of(one) for one in references] for references in meant]
        each = cider(mine, theirs) if name == "cider" else np.array(
            [rouge_l(one, references) for one, references in zip(mine, theirs, strict=True)]
        )
    return np.stack([each, np.ones(len(each))], 1)


def _quotient(sums: np.ndarray) -> np.ndarray:
    return np.divide(sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0)


def bleu_counts(said: Sequence[str], targets: Sequence[Sequence[str]]) -> np.ndarray:
    """(N, 10): runs of 1..4 words found, runs said, words said, words of the nearest reference, as sacrebleu counts them."""
    BLEU = need("sacrebleu.metrics", "words").BLEU
    alone = any(_ALONE.search(reference) for references in targets for reference in references)
    counter = BLEU(tokenize="zh" if alone else "13a", max_ngram_order=ORDER)
    found = [
        counter.corpus_score([one], [[reference] for reference in references])
        for one, references in zip(said, targets, strict=True)
    ]
    return np.array([[*one.counts, *one.totals, one.sys_len, one.ref_len] for one in found], float).reshape(-1, 2 * ORDER + 2)


def bleu(sums: np.ndarray) -> np.ndarray:
    """(R,) BLEU, 0 to 100, of summed ``bleu_counts``."""
    BLEU = need("sacrebleu.metrics", "words").BLEU
    return np.array([
        BLEU.compute_bleu(
            row[:ORDER].astype(int).tolist(), row[ORDER : 2 * ORDER].astype(int).tolist(), int(row[-2]), int(row[-1]),
            smooth_method="exp", max_ngram_order=ORDER,
        ).score
        for row in np.rint(sums)
    ])
