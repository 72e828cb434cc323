"""Text encoders that are trained from scratch: they share how a text becomes ids, vectors, and what training hides.

B records, T tokens, D width, F width of the tokens' own vectors, N real tokens of a batch.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, Encoder, State
from ..data.vectors import read_vectors
from ..errors import BadOption, NotFitted
from ..layers import CELLS, Block, Recurrent, by_length, positions
from ..registry import encoders
from ..tokens import Tokens
from ..writing import STOP_WORDS, chinese_words, clean, padded, parts, without
from . import choice, several, share, whole

#: Ids of word and character vocabularies that stand for no word: an empty text, and what training did not show.
EMPTY, UNKNOWN = 0, 1
#: Values of the option ``stop``.
_STOPS = ("none", *STOP_WORDS, "both")


class TextNet(Encoder):
    """Ids, vectors and augmentation of the text encoders that are trained from scratch.

    Subwords: a byte-pair tokeniser is trained on the column (Sennrich et al. 2016, arXiv:1508.07909), on
    bytes, so that no language and no character is unknown. Words and characters: those that training
    shows at least twice, the others share one vector. Augmentation draws from torch's global generator,
    in training only: tokens left out (Iyyer et al. 2015, aclanthology P15-1162), neighbours that change
    places (Wei and Zou 2019, arXiv:1901.11196), a span hidden behind a learned vector (Joshi et al. 2020,
    arXiv:1907.10529).

    Args:
        dim: width D of a token.
        vocabulary: different tokens at most.
        tokens: of a text that are read, T at most.
        split: "subword", "word" (marks, and characters of scripts without spaces, are words of their own)
            or "character".
        segment: "none", or "jieba": Chinese words, found by the package jieba (extra ``chinese``).
        stop: words left out: "none", "english", "chinese" (which needs segment=jieba) or "both"; words of
            negation stay.
        common: that many of training's most frequent words are left out too.
        vectors: file of pretrained word vectors (word2vec, GloVe, fastText) to begin with, for split=word;
            they become weights of the model, and words of the file that training lacks fill the vocabulary.
        drop_words: share of the tokens left out of a text in training, at least one staying.
        swap: share of the tokens that change places with the next one in training.
        hide: share of a text hidden in one span in training.
    """

    def __init__(
        self, *, dim: int = 128, vocabulary: int = 8_000, tokens: int = 128, split: str = "subword",
        segment: str = "none", stop: str = "none", common: int = 0, vectors: str = "", drop_words: float = 0.0,
        swap: float = 0.0, hide: float = 0.0,
    ) -> None:
        super().__init__()
        self.dim, self.vocabulary = whole("dim", dim), whole("vocabulary", vocabulary, 300)
        self.tokens, self.split = whole("tokens", tokens), choice("split", split, ("subword", "word", "character"))
        self.segment, self.stop = choice("segment", segment, ("none", "jieba")), choice("stop", stop, _STOPS)
        self.common, self.vectors = whole("common", common, 0), vectors
        self.drop_words, self.swap, self.hide = share("drop_words", drop_words), share("swap", swap), share("hide", hide)
        if not isinstance(vectors, str):
            raise BadOption(f"option 'vectors' is {vectors!r}; give the path of a file")
        if vectors and split != "word":
            raise BadOption(f"option 'vectors' names a file of words, but split is '{split}'; set split=word too")
        if stop in ("chinese", "both") and segment == "none":
            raise BadOption(f"option 'stop' is '{stop}', which takes Chinese words apart first; set segment=jieba too")
        self.tokenizer: Any = None
        self.left_out = frozenset().union(*(words for name, words in STOP_WORDS.items() if stop in (name, "both")))
        self.embedding: nn.Embedding | None = None

    # --- texts -> ids ---

    def fit(self, values: Sequence[str]) -> None:
        if self.common:
            counts = Counter(word for value in values for word in self._words(self._text(value)) if word[0].isalnum())
            self._leave_out(_by_count(counts)[: self.common])
        texts = (self._text(value) for value in values)
        if self.split == "subword":
            self._take_subwords(_byte_pairs(texts, self.vocabulary))
            return self._build(self.tokenizer.get_vocab_size())
        counts = Counter(part for text in texts for part in self._parts(text))
        known = [word for word in _by_count(counts) if counts[word] > 1][: self.vocabulary - 2]
        if not self.vectors:
            self._take_words(known)
            return self._build(len(self.place))
        # a word seen once has a vector of the file to begin with, so it may stay
        wanted = set(_by_count(counts)[: self.vocabulary - 2])
        words, numbers = read_vectors(self.vectors, wanted, self.vocabulary - 2)
        self._take_words(dict.fromkeys([*known, *words]))
        self._build(len(self.place), numbers.shape[1])
        with torch.no_grad():  # one factor brings them to the spread that vectors without a file begin with
            numbers *= self.dim**-0.5 / max(float(numbers.std()), 1e-9)
            self.embedding.weight[[self.place[word] for word in words]] = torch.as_tensor(numbers)

    def state(self) -> State:
        if self.embedding is None:
            return {}
        state: State = {"width": self.embedding.embedding_dim}
        if self.common:
            state["common"] = self.frequent
        if self.split == "subword":
            return state | {"tokenizer.json": self.tokenizer.to_str().encode()}
        return state | {"vocabulary.txt": "\n".join(list(self.place)[2:]).encode()}

    def load(self, state: State) -> None:
        if self.common:
            self._leave_out(state["common"])
        if self.split == "subword":
            from tokenizers import Tokenizer

            self._take_subwords(Tokenizer.from_str(bytes(state["tokenizer.json"]).decode()))
            return self._build(self.tokenizer.get_vocab_size())
        text = bytes(state["vocabulary.txt"]).decode()
        self._take_words(text.split("\n") if text else [])
        return self._build(len(self.place), int(state["width"]))

    def _leave_out(self, words: Sequence[str]) -> None:
        self.frequent = list(words)
        self.left_out = self.left_out | frozenset(words)

    def _take_subwords(self, tokenizer: Any) -> None:
        tokenizer.enable_truncation(self.tokens)
        tokenizer.no_padding()
        self.tokenizer = tokenizer

    def _take_words(self, words: Iterable[str]) -> None:
        self.place = {word: i for i, word in enumerate(["[EMPTY]", "[UNKNOWN]", *words])}

    def _text(self, value: str) -> str:
        text = clean(value, 32 * self.tokens).lower()
        if self.segment == "jieba":
            text = chinese_words(text)
        return without(text, self.left_out, self.segment == "jieba") if self.left_out else text

    def _words(self, text: str) -> list[str]:
        return parts(text.replace("’", "'"), self.segment == "jieba")

    def _parts(self, text: str) -> list[str]:
        return list(text) if self.split == "character" else self._words(text)

    def prepare(self, values: Sequence[str]) -> dict[str, np.ndarray]:
        if self.embedding is None:
            raise NotFitted(f"encoder '{self.name}' has not been fitted; call fit or load first")
        texts = [self._text(value) for value in values]
        if self.split == "subword":
            return padded([encoding.ids or [EMPTY] for encoding in self.tokenizer.encode_batch_fast(texts)])
        return padded([
            [self.place.get(part, UNKNOWN) for part in self._parts(text)[: self.tokens]] or [EMPTY] for text in texts
        ])

    # --- ids -> vectors ---

    def _build(self, size: int, width: int = 0) -> None:
        """Make the parameters.

        Args:
            size: of the vocabulary.
            width: F of the vectors of a file; D without one.
        """
        width = width or self.dim
        self.embedding = nn.Embedding(size, width)
        nn.init.normal_(self.embedding.weight, std=self.dim**-0.5)
        self.bridge = nn.Identity() if width == self.dim else nn.Linear(width, self.dim, bias=False)
        if self.hide:
            self.hidden = nn.Parameter(torch.randn(self.dim) * self.dim**-0.5)

    def look_up(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Ids (B, T), mask (B, T) and vectors (B, T, D) of a batch, augmented in training."""
        mask_BT = batch["mask"]
        ids_BT = torch.where(mask_BT, batch["ids"], EMPTY)
        if self.training and self.swap:
            ids_BT = swapped(ids_BT, mask_BT, self.swap)
        if self.training and self.drop_words:
            ids_BT, mask_BT = thinned(ids_BT, mask_BT, self.drop_words)
        x_BTD = self.bridge(self.embedding(ids_BT))
        if self.training and self.hide:
            x_BTD = torch.where(span(mask_BT, self.hide)[..., None], self.hidden, x_BTD)
        return ids_BT, mask_BT, x_BTD


def _by_count(counts: Counter[str]) -> list[str]:
    return sorted(counts, key=lambda word: (-counts[word], word))


def _byte_pairs(texts: Iterable[str], size: int) -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, show_progress=False, special_tokens=["[EMPTY]"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer


# --- augmentation --------------------------------------------------------------------------------


def swapped(ids_BT: Tensor, mask_BT: Tensor, share: float) -> Tensor:
    """Ids where about a share of the tokens have changed places with a neighbour.

    Pairs begin at every second position, at the first or at the second by chance; each is turned with
    probability ``share``.
    """
    at_T = torch.arange(ids_BT.shape[1], device=ids_BT.device)
    odd_B1 = torch.randint(2, (len(ids_BT), 1), device=ids_BT.device)
    first_BT = (at_T + odd_B1) % 2 == 0
    both_BT = mask_BT & mask_BT.roll(-1, 1) & (at_T < ids_BT.shape[1] - 1)
    turned_BT = first_BT & both_BT & (torch.rand(ids_BT.shape, device=ids_BT.device) < share)
    step_BT = turned_BT.long() - torch.nn.functional.pad(turned_BT, (1, 0))[:, :-1].long()
    return ids_BT.gather(1, at_T + step_BT)


def thinned(ids_BT: Tensor, mask_BT: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Ids and mask with about a share of the tokens left out, the others moved together; one of each text stays."""
    chance_BT = torch.rand(ids_BT.shape, device=ids_BT.device).masked_fill(~mask_BT, -1.0)
    best_B1 = chance_BT.amax(1, keepdim=True)
    kept_BT = mask_BT & ((chance_BT >= share) | (chance_BT == best_B1))
    order_BT = (~kept_BT).long().argsort(dim=1, stable=True)
    return ids_BT.gather(1, order_BT), kept_BT.gather(1, order_BT)


def span(mask_BT: Tensor, share: float) -> Tensor:
    """(B, T) bool: one span of each text, a share of its tokens long (rounded down or up by chance)."""
    length_B1 = mask_BT.sum(1, keepdim=True)
    size_B1, begin_B1 = torch.rand(2, len(mask_BT), 1, device=mask_BT.device)
    size_B1 = (length_B1 * share + size_B1).floor()
    begin_B1 = (begin_B1 * (length_B1 - size_B1 + 1)).floor()
    at_T = torch.arange(mask_BT.shape[1], device=mask_BT.device)
    return mask_BT & (at_T >= begin_B1) & (at_T < begin_B1 + size_B1)


# --- encoders ------------------------------------------------------------------------------------


@encoders("text.bag")
class Bag(TextNet):
    """Learned vectors of tokens, with a learned weight for each.

    Deep averaging (Iyyer et al. 2015, aclanthology P15-1162) with a weight: pooled, token t counts
    softplus(w_t) / sum_s softplus(w_s). Wins among the trained ones where single words decide and texts are
    short; loses where their order counts, and to text.plain below some thousand records. Costs O(T D) per
    record and D + 1 numbers a token of the vocabulary.

    Args:
        weighted: learn how much each token counts.

    forward: {"ids": (B, T), "mask": (B, T)} -> (B, T, D)
    """

    def __init__(self, *, weighted: bool = True, **more: Any) -> None:
        super().__init__(**more)
        self.weighted = bool(weighted)

    def _build(self, size: int, width: int = 0) -> None:
        super()._build(size, width)
        if self.weighted:
            self.weights = nn.Embedding(size, 1)
            nn.init.zeros_(self.weights.weight)

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        ids_BT, mask_BT, x_BTD = self.look_up(batch)
        weight_BT = F.softplus(self.weights(ids_BT)[..., 0]) if self.weighted else None
        return Tokens(x_BTD, mask_BT, weight_BT)


@encoders("text.cnn")
class TextCnn(TextNet):
    """Convolutions over windows of tokens, and their maximum over time.

    Kim 2014, arXiv:1408.5882, eq. 1 to 3: c[t] = relu(W x[t : t + h] + b) for each window h, here
    about every position (zeros beyond the ends), then max over t. The first position of the answer is that maximum,
    which pooling takes; the others are the c[t], for fusions that attend. Wins where a phrase of a few
    words decides wherever it stands; loses where distant words belong together, and to text.plain below
    some thousand records. Costs O(T D^2 h) per record and D^2 h + D numbers, h the mean window.

    Args:
        windows: tokens that a filter sees, for each kind of filter; D is shared out among the kinds.

    forward: {"ids": (B, T), "mask": (B, T)} -> (B, 1 + T, D)
    """

    def __init__(self, *, windows: Sequence[int] = (1, 2, 3), **more: Any) -> None:
        super().__init__(**more)
        self.windows = several("windows", windows)
        if len(self.windows) > self.dim:
            raise BadOption(f"option 'dim' is {self.dim}; give at least one number to each of {len(self.windows)} windows")

    def _build(self, size: int, width: int = 0) -> None:
        super()._build(size, width)
        kinds = len(self.windows)
        self.filters = nn.ModuleList(
            nn.Linear(window * self.dim, (self.dim + i) // kinds) for i, window in enumerate(self.windows)
        )

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        _, mask_BT, x_BTD = self.look_up(batch)
        x_BTD = Tokens(x_BTD, mask_BT).clean()
        # products over the real positions: conv1d would compile its kernels for each length
        x_ND = torch.cat([
            filters(_windows(x_BTD, window)[mask_BT].flatten(1))
            for window, filters in zip(self.windows, self.filters, strict=True)
        ], 1).relu()
        x_BTD = x_ND.new_zeros(*mask_BT.shape, self.dim).index_put((mask_BT,), x_ND)
        return summed_up(Tokens(x_BTD, mask_BT), x_BTD.amax(1))  # zeros elsewhere: no relu is below


def _windows(x_BTD: Tensor, window: int) -> Tensor:
    """(B, T, D, window): at each position the vectors of a window about it, zeros beyond the ends.

    >>> _windows(torch.tensor([[[1.0], [2.0]]]), 2).tolist()
    [[[[1.0, 2.0]], [[2.0, 0.0]]]]
    """
    before = (window - 1) // 2
    return F.pad(x_BTD, (0, 0, before, window - 1 - before)).unfold(1, window, 1)


def summed_up(tokens: Tokens, x_BD: Tensor) -> Tokens:
    """Tokens led by a vector that stands for all of them: pooling takes it alone.

    >>> tokens = summed_up(Tokens(torch.ones(1, 2, 1), torch.ones(1, 2, dtype=torch.bool)), torch.tensor([[5.0]]))
    >>> tokens.x.shape, tokens.pooled()
    (torch.Size([1, 3, 1]), tensor([[5.]]))
    """
    mask_BT = torch.cat([tokens.present[:, None], tokens.mask], 1)
    weight_BT = torch.zeros(mask_BT.shape, dtype=x_BD.dtype, device=x_BD.device)
    weight_BT[:, 0] = 1.0
    return Tokens(torch.cat([x_BD[:, None], tokens.x], 1), mask_BT, weight_BT)


@encoders("text.rnn")
class TextRnn(TextNet):
    """A recurrent network over the tokens: tanh, LSTM or GRU, in one or both directions.

    Equations of the cells: ``layers.Recurrent``. The first position of the answer, which pooling takes, is
    the last state: of both directions the forward state at the last token beside the backward state at the
    first (Schuster and Paliwal 1997), or the maximum over time (Conneau et al. 2017, arXiv:1705.02364).
    Wins where order decides over some distance; loses to averages on short labels and few records. Costs
    O(T D^2) per record, one token after the other; 8 D^2 numbers a layer for an LSTM, 6 D^2 for a GRU, 2 D^2
    for tanh (three quarters of that in both directions).

    Args:
        cell: "tanh", "lstm" or "gru".
        layers: networks on top of each other.
        both: read from the end too; each direction has D / 2.
        dropout: share of the numbers dropped between two layers.
        pool: what stands for the text: "last" state, "max" or "mean" over time.

    forward: {"ids": (B, T), "mask": (B, T)} -> (B, 1 + T, D)
    """

    def __init__(
        self, *, cell: str = "lstm", layers: int = 1, both: bool = True, dropout: float = 0.0, pool: str = "max",
        **more: Any,
    ) -> None:
        super().__init__(**more)
        self.cell, self.layers, self.both = choice("cell", cell, CELLS), whole("layers", layers), bool(both)
        self.dropout, self.pool = share("dropout", dropout), choice("pool", pool, ("last", "max", "mean"))
        if self.both and self.dim % 2:
            raise BadOption(f"option 'dim' is {self.dim}; two directions share it, so give an even number, or both=false")

    def _build(self, size: int, width: int = 0) -> None:
        super()._build(size, width)
        self.net = Recurrent(
            self.dim, self.dim, cell=self.cell, layers=self.layers, both=self.both, dropout=self.dropout
        )

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        _, mask_BT, x_BTD = self.look_up(batch)
        tokens = Tokens(self.net(x_BTD, mask_BT), mask_BT)
        if self.pool == "mean":
            return summed_up(tokens, tokens.pooled())
        if self.pool == "max":
            lowest = torch.finfo(tokens.x.dtype).min
            most_BD = torch.where(mask_BT[..., None], tokens.x, lowest).amax(1)
            return summed_up(tokens, torch.where(tokens.present[:, None], most_BD, 0.0))
        last_B = mask_BT.sum(1) - 1  # real tokens come first
        last_BD = tokens.x[torch.arange(len(last_B), device=last_B.device), last_B]
        if self.both:
            last_BD = torch.cat([last_BD[:, : self.dim // 2], tokens.x[:, 0, self.dim // 2 :]], 1)
        return summed_up(tokens, last_BD)


@encoders("text.transformer")
class TextTransformer(TextNet):
    """Self-attention over the tokens, with sinusoidal positions, trained from scratch.

    Vaswani et al. 2017, arXiv:1706.03762: x[t] = sqrt(D) e[t] + p[t], then ``depth`` blocks (pre-norm, Xiong
    et al. 2020, arXiv:2002.04745), x += softmax(Q K^T / sqrt(D / heads)) V and x += feed(x), and a last norm;
    pooled by mean; texts of like length are asked together (``layers.by_length``). Wins with very many records
    and long texts; loses to all others here on few. Costs
    O(T D^2 + T^2 D) per record and 8 D^2 numbers a block.

    Args:
        depth: blocks.
        heads: of attention; D is a multiple of them.
        dropout: share of the numbers dropped after each part of a block.

    forward: {"ids": (B, T), "mask": (B, T)} -> (B, T, D)
    """

    def __init__(self, *, depth: int = 2, heads: int = 4, dropout: float = 0.1, **more: Any) -> None:
        super().__init__(**more)
        self.depth, self.heads, self.dropout = whole("depth", depth), whole("heads", heads), share("dropout", dropout)
        if self.dim % self.heads:
            raise BadOption(f"option 'heads' is {self.heads}, but dim {self.dim} is no multiple of it")

    def _build(self, size: int, width: int = 0) -> None:
        super()._build(size, width)
        self.blocks = nn.ModuleList(Block(self.dim, self.heads, self.dropout) for _ in range(self.depth))
        self.norm = nn.LayerNorm(self.dim)

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        _, mask_BT, x_BTD = self.look_up(batch)
        x_BTD = x_BTD * self.dim**0.5 + positions(mask_BT.shape[1], self.dim).to(x_BTD.device)
        return Tokens(self.norm(by_length(self._attend, x_BTD, mask_BT)), mask_BT)

    def _attend(self, x_BTD: Tensor, mask_BT: Tensor) -> Tensor:
        for block in self.blocks:
            x_BTD = block(x_BTD, mask_BT)
        return x_BTD
