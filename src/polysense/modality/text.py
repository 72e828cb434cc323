"""Text in any language.

Letters: B records, T tokens, D width, P terms.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..errors import NotFitted
from ..registry import encoders, modalities
from ..tokens import Tokens
from ..writing import WORD, clean
from . import whole

# --- plain features ------------------------------------------------------------------------------


def words(text: str) -> list[str]:
    """Words and pairs of neighbours, in lower case.

    >>> words("A red bus"), words("红色 bus")
    (['a', 'red', 'bus', 'a red', 'red bus'], ['bus'])
    """
    single = WORD.findall(text.lower())
    return single + [f"{a} {b}" for a, b in zip(single, single[1:], strict=False)]


def characters(text: str) -> list[str]:
    """Runs of one to three characters, in lower case.

    >>> characters("公交车")
    ['公', '交', '车', '公交', '交车', '公交车']
    """
    text = text.lower()
    return [text[i : i + n] for n in (1, 2, 3) for i in range(len(text) - n + 1)]


class TextPlain(Plain):
    """TF-IDF of words (1 and 2) and of characters (1 to 3), side by side.

    Sublinear counts, smooth idf, each half of unit length: the numbers of scikit-learn's
    ``TfidfVectorizer(sublinear_tf=True)``, here without its import, which costs more than a whole
    prediction. Up to ``most`` terms of each half, by frequency.

    Args:
        most: terms kept of words, and of characters.

    >>> plain = TextPlain(); plain.fit(["red bus", "red car"])
    >>> plain.transform(["red"]).shape
    (1, 31)
    """

    def __init__(self, most: int = 50_000) -> None:
        self.most = most
        self._halves: list[_Terms] = []

    def fit(self, values: Sequence[str]) -> None:
        texts = [clean(value) for value in values]
        self._halves = [_Terms.learn(cut, texts, self.most) for cut in (words, characters)]

    def state(self) -> State:
        return {
            half.cut.__name__: {"terms": list(half.place), "idf": half.idf} for half in self._halves
        }

    def load(self, state: State) -> None:
        kept = [(cut, state[cut.__name__]) for cut in (words, characters)]
        self._halves = [_Terms(cut, half["terms"], half["idf"]) for cut, half in kept]

    @property
    def width(self) -> int:
        """P."""
        return sum(len(half.place) for half in self._halves)

    def rows(self, values: Sequence[str]) -> Iterable[tuple[np.ndarray, np.ndarray]]:
        """For each text its columns, rising, and their values."""
        if not self._halves:
            raise NotFitted("the plain features of text have not been fitted; call fit or load first")
        left, right = self._halves
        for value in values:
            text = clean(value)
            (columns, weights), (more, more_weights) = left.weigh(text), right.weigh(text)
            yield np.concatenate([columns, more + len(left.place)]), np.concatenate([weights, more_weights])

    def transform(self, values: Sequence[str]) -> Any:
        """(B, P): scipy CSR matrix, float32."""
        from scipy.sparse import csr_matrix

        rows = list(self.rows(values))
        ends = np.cumsum([0] + [len(columns) for columns, _ in rows])
        if not rows:
            return csr_matrix((0, self.width), dtype=np.float32)
        columns, weights = (np.concatenate(part) for part in zip(*rows, strict=True))
        return csr_matrix((weights, columns, ends), shape=(len(rows), self.width))


class _Terms:
    """Terms of one kind with their inverse document frequency."""

    def __init__(self, cut: Any, terms: Iterable[str], idf: np.ndarray) -> None:
        self.cut, self.idf = cut, np.asarray(idf, np.float32)
        self.place = {term: i for i, term in enumerate(terms)}

    @classmethod
    def learn(cls, cut: Any, texts: Sequence[str], most: int) -> _Terms:
        total: Counter[str] = Counter()
        holding: Counter[str] = Counter()
        for text in texts:
            counts = Counter(cut(text))
            total.update(counts)
            holding.update(counts.keys())
        kept = sorted(sorted(total, key=lambda term: (-total[term], term))[:most])
        idf = [math.log((1 + len(texts)) / (1 + holding[term])) + 1 for term in kept]
        return cls(cut, kept, np.array(idf, np.float32))

    def weigh(self, text: str) -> tuple[np.ndarray, np.ndarray]:
        counts = Counter(self.cut(text))
        known = sorted((self.place[term], count) for term, count in counts.items() if term in self.place)
        if not known:
            return np.zeros(0, np.int32), np.zeros(0, np.float32)
        columns, numbers = (np.array(part) for part in zip(*known, strict=True))
        weights = (1 + np.log(numbers)) * self.idf[columns]
        return columns.astype(np.int32), (weights / np.linalg.norm(weights)).astype(np.float32)


# --- languages -----------------------------------------------------------------------------------

_SCRIPTS = (
    ("ja", re.compile("[\u3040-\u30ff]")), ("ko", re.compile("[\uac00-\ud7af\u1100-\u11ff]")),
    ("zh", re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")), ("ru", re.compile("[\u0400-\u04ff]")),
    ("ar", re.compile("[\u0600-\u06ff\u0750-\u077f]")), ("he", re.compile("[\u0590-\u05ff]")),
    ("el", re.compile("[\u0370-\u03ff]")), ("th", re.compile("[\u0e00-\u0e7f]")),
    ("hi", re.compile("[\u0900-\u097f]")), ("latin", re.compile("[A-Za-z\u00c0-\u024f\u1e00-\u1eff]")),
)

# Frequent short words that few other languages of the list share, and letters typical of each.
_FUNCTION_WORDS = {
    "en": "a the of and to in is are was were with for that this it on at from by be have has not "
          "you he she they his her its an as or which can will i we my there been would what very "
          "but me no",
    "fr": "a le la les l d un une des du de et est dans pour qui que avec sur ce cette aux au pas "
          "je il elle sont ne plus nous vous ou mais très être par se en son sa c",
    "es": "a el la los las un una unos y es en de que para con por del se su al lo como más pero "
          "este esta son muy o no sin está",
    "de": "der die das und ist ein eine einen in mit von zu den dem nicht auf für im des sich sie "
          "auch es wird sind oder aber sehr an",
    "it": "a il lo la gli i le un una uno di che è e in per con della dei del nel sono non più al "
          "ma si anche molto questo questa alla o da",
    "pt": "a o os as um uma de do da dos das e é em no na para que com não por mais ao se mas muito "
          "são este esta foi ou",
    "nl": "de het een en van in is op te dat niet met voor zijn aan er ook maar naar deze zeer",
    "sv": "och att det i som en är på av för med den inte till ett om har men mycket de",
    "pl": "i w na z do jest się nie że to o a przez dla jak ale bardzo są",
    "tr": "ve bir bu için ile de da çok olan daha değil ama",
    "id": "yang dan di dengan untuk ini itu dari pada adalah tidak ke sangat akan",
    "ro": "a și în de la cu un este o pe care nu din sunt pentru mai foarte",
}
_LETTERS = {
    "fr": "àâçèêëîïôœùû", "es": "áéíóúñ¿¡", "de": "äöüß", "it": "àèìòù", "pt": "ãõáâçéêó", "sv": "åäö",
    "pl": "ąćęłńóśźż", "tr": "ğışçö", "ro": "ăâîșțşţ",
}


def _word_votes() -> dict[str, dict[str, float]]:
    """word -> {language: vote}; a word of several languages is shared among them."""
    holders: dict[str, list[str]] = {}
    for language, text in _FUNCTION_WORDS.items():
        for word in text.split():
            holders.setdefault(word, []).append(language)
    return {word: dict.fromkeys(found, 1 / len(found)) for word, found in holders.items()}


_VOTES = _word_votes()


def language(text: str) -> str:
    """Language of one text: a code, "" where nothing tells, "und" for a language that is not known here.

    >>> [language(t) for t in ("A picture of the sea", "Une photo de la mer", "一张海的照片", "Море", "sea gull")]
    ['en', 'fr', 'zh', 'ru', '']
    """
    candidates = _candidates(text)
    return candidates[0] if len(candidates) == 1 else ""


def _candidates(text: str) -> list[str]:
    """Languages that suit a text equally well; none where nothing tells."""
    text = clean(text, 1_000)
    counts = {code: len(letters.findall(text)) for code, letters in _SCRIPTS}
    if not any(counts.values()):
        return ["und"] if any(map(str.isalpha, text)) else []
    japanese = counts["ja"] and counts["ja"] + counts["zh"] > counts["latin"]
    code = "ja" if japanese else max(counts, key=counts.get)
    return [code] if code != "latin" else _latin(text.lower())


def _latin(text: str) -> list[str]:
    votes: Counter[str] = Counter()
    found = WORD.findall(text)
    for word in found:
        votes.update(_VOTES.get(word, {}))
    strange = {letter for letter in text if letter.isalpha() and not letter.isascii()}
    if not votes:  # no function word: the letters alone must suit
        suiting = [code for code, letters in _LETTERS.items() if strange <= set(letters)] if strange else []
        return suiting or (["und"] if strange or len(found) >= 12 else [])
    for code, letters in _LETTERS.items():
        votes[code] += 0.5 * len(strange & set(letters))
    most = max(votes.values())
    return [code for code, n in votes.items() if n > most - 1e-9]


@modalities("text")
class Text(Modality):
    """Text in any language."""

    kinds = ("text",)
    plain = TextPlain
    small = "text.plain"
    large = "text.bag"

    @classmethod
    def languages(cls, values: Sequence[str]) -> set[str]:
        """Languages of at least a tenth of the texts, by script, function words and typical letters.

        Short Latin labels that do not tell belong to the Latin language of the others, or else to English.

        >>> Text.languages(["sea gull", "red bus"]), sorted(Text.languages(["the sea", "红色的车"]))
        ({'en'}, ['en', 'zh'])
        """
        sample = [_candidates(value) for value in values[:: max(1, len(values) // 500)]]
        certain = Counter(codes[0] for codes in sample if len(codes) == 1)
        latin = {code: n for code, n in certain.items() if code in _FUNCTION_WORDS}
        leading = max(latin, key=latin.get) if latin else "en"
        counts = Counter(max(codes, key=lambda code: certain[code]) if codes else leading for codes in sample)
        return {code for code, n in counts.items() if n >= 0.1 * len(sample)}


# --- encoders ------------------------------------------------------------------------------------


@encoders("text.plain")
class PlainText(Encoder):
    """TF-IDF of words and characters on its main axes (latent semantic analysis).

    Deerwester et al. 1990. The axes come from the Gram matrix of the training texts, without centring
    and without whitening; those whose eigenvalue is below 1e-6 of the largest are left out, because
    duplicate texts make axes of pure rounding error. Above 5,000 training texts the axes are those of
    5,000 of them, evenly spread (terms and idf come from all).
    Wins where words tell by themselves and texts are few, in any language; it loses where order or meaning
    beyond words decides. Costs one eigendecomposition of n x n training texts, n up to 5,000; then a sparse
    product of P D for each text.

    Args:
        dims: axes, fewer where there are fewer.

    forward: {"x": (B, D)} -> (B, 1, D)
    """

    frozen = True
    #: Training texts that the axes are computed from.
    sample = 5_000

    def __init__(self, *, dims: int = 256) -> None:
        super().__init__()
        self.dims = whole("dims", dims)
        self.plain = TextPlain()
        self.axes: np.ndarray | None = None

    def fit(self, values: Sequence[str]) -> None:
        self.plain.fit(values)
        n = len(values)
        rows = np.arange(n) if n <= self.sample else np.linspace(0, n - 1, self.sample).astype(int)
        self.axes = main_axes(self.plain.transform([values[i] for i in rows]), self.dims)
        self.dim = self.axes.shape[1]

    def state(self) -> State:
        return {"plain": self.plain.state(), "axes": self.axes}

    def load(self, state: State) -> None:
        self.plain.load(state["plain"])
        self.axes = np.asarray(state["axes"], np.float32)
        self.dim = self.axes.shape[1]

    def prepare(self, values: Sequence[str]) -> dict[str, np.ndarray]:
        if self.axes is None:
            raise NotFitted("encoder 'text.plain' has not been fitted; call fit or load first")
        rows = [weights @ self.axes[columns] for columns, weights in self.plain.rows(values)]
        return {"x": np.array(rows, np.float32).reshape(len(values), self.dim)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(batch["x"])


def main_axes(x_NP: Any, most: int) -> np.ndarray:
    """Right singular vectors (P, K) of a CSR matrix, by falling singular value; K <= most.

    Exact (eigh of the Gram matrix) up to 1,500 rows, randomised above (Halko et al. 2011,
    arXiv:0909.4061). At least one column, of zeros if the matrix is empty.
    """
    n = x_NP.shape[0]
    if n <= 1_500:
        values, vectors = np.linalg.eigh((x_NP @ x_NP.T).toarray().astype(np.float64))
        values, vectors = values[::-1][:most], vectors[:, ::-1][:, :most]
        keep = (values > 1e-6 * values[:1]) & (values > 0)
        axes = (x_NP.T @ vectors[:, keep]) / np.sqrt(values[keep])
    else:
        from sklearn.utils.extmath import randomized_svd

        _, singular, rows = randomized_svd(x_NP, min(most, min(x_NP.shape)), n_iter=4, random_state=0)
        axes = rows[singular**2 > 1e-6 * singular[0] ** 2].T
    if not axes.shape[1]:
        axes = np.zeros((x_NP.shape[1], 1))
    return np.ascontiguousarray(axes, dtype=np.float32)
