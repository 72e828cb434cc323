"""The words of a target: which pieces its texts are made of, and their numbers. L pieces of a text, K pieces in all."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from .errors import BadOption, BadTable
from .writing import clean

SPLITS = ("word", "subword", "character")
#: Numbers that stand for no piece: the end of a text, which also fills what is left of a row, its start, and what training
#: did not show.
STOP, START, UNKNOWN = 0, 1, 2
_FIRST = 3
_SPACE = "▁"  # U+2581 marks a piece that follows a space, as in SentencePiece
_UNSPACED = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\u3040-\u30ff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
#: A word with the space before it, a sign of a script without spaces, or a mark.
_PIECE = re.compile(rf"{_SPACE}?(?:[{_UNSPACED}]|[^\W{_UNSPACED}]+(?:['’][^\W{_UNSPACED}]+)*|[^\w{_SPACE}]|{_SPACE})")


class Vocabulary:
    """Texts <-> numbers of words, subwords or characters, learned from the texts of a target.

    A piece that follows a space says so, thus texts come back as they were but for runs of spaces. Words: those of training
    that occur at least twice, or all where these are few; a Chinese or Japanese sign is a word by itself. Subwords: byte-pair
    encoding of Sennrich et al. 2016, arXiv:1508.07909, on characters.

    Args:
        split: "word", "subword" or "character".
        size: pieces at most.

    Raises:
        BadOption: unknown split, no whole size of at least 10.
        BadTable: (fit) no text.

    >>> some = Vocabulary("word").fit(["a red apple", "a green apple", "红苹果"])
    >>> some.decode(some.encode("a red apple, 红")), len(some)
    ('a red apple 红', 10)
    """

    def __init__(self, split: str = "word", size: int = 8_000) -> None:
        if split not in SPLITS:
            raise BadOption(f"task.split='{split}' must be 'word', 'subword' or 'character'")
        if isinstance(size, bool) or not isinstance(size, int) or size < 10:
            raise BadOption(f"task.vocabulary={size!r} must be a whole number of at least 10")
        self.split, self.size = split, size
        self._take([])

    def __len__(self) -> int:
        return len(self.pieces) + _FIRST

    def fit(self, texts: Iterable[str]) -> Vocabulary:
        """Learn the pieces; the order of the texts does not matter."""
        marked = sorted(_marked(text) for text in texts)
        if not any(text.strip(_SPACE) for text in marked):
            raise BadTable("the target holds no text in the training records; there is nothing to learn from")
        if self.split == "subword":
            return self._take_subwords(_byte_pairs(marked, self.size - _FIRST))
        counts = Counter(piece for text in marked for piece in self._cut(text))
        order = sorted(counts, key=lambda piece: (-counts[piece], piece))
        return self._take(order[: self.size - _FIRST])

    def _take(self, pieces: Sequence[str]) -> Vocabulary:
        self.pieces = list(pieces)
        self._number = {piece: i + _FIRST for i, piece in enumerate(self.pieces)}
        self._tokenizer: Any = None
        return self

    def _take_subwords(self, tokenizer: Any) -> Vocabulary:
        known = tokenizer.get_vocab()
        self._take(sorted(known, key=known.get))
        self._tokenizer = tokenizer
        return self

    def _cut(self, marked: str) -> list[str]:
        if self.split == "character":
            return list(marked)
        if self._tokenizer is not None:
            return self._tokenizer.encode(marked).tokens
        return _PIECE.findall(marked)

    def encode(self, text: str) -> list[int]:
        """(L,) numbers; what training did not show is ``UNKNOWN``."""
        return [self._number.get(piece, UNKNOWN) for piece in self._cut(_marked(text))]

    def decode(self, numbers: Iterable[int]) -> str:
        """The text up to the first ``STOP``; what is unknown is left out."""
        found = []
        for number in numbers:
            if number == STOP:
                break
            if number >= _FIRST:
                found.append(self.pieces[int(number) - _FIRST])
        return " ".join("".join(found).replace(_SPACE, " ").split())

    def rows(self, texts: Sequence[str], longest: int) -> np.ndarray:
        """(N, longest) int64: numbers of the texts, cut where they are longer, filled with ``STOP``."""
        found = np.full((len(texts), longest), STOP, np.int64)
        for row, text in zip(found, texts, strict=True):
            numbers = self.encode(text)[:longest]
            row[: len(numbers)] = numbers
        return found

    def state(self) -> dict[str, Any]:
        if self._tokenizer is not None:
            return {"split": self.split, "tokenizer": self._tokenizer.to_str()}
        return {"split": self.split, "pieces": self.pieces}

    def load(self, state: dict[str, Any]) -> Vocabulary:
        """Undo ``state``."""
        self.split = state["split"]
        if "tokenizer" not in state:
            return self._take(state["pieces"])
        from tokenizers import Tokenizer

        return self._take_subwords(Tokenizer.from_str(state["tokenizer"]))


def _marked(text: str) -> str:
    """A text with its spaces as marks, one before its first word."""
    return "".join(_SPACE + word for word in clean(str(text)).replace(_SPACE, " ").split())


def _byte_pairs(marked: Sequence[str], size: int) -> Any:
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    # a piece stays within a word; the mark of the space belongs to the word behind it
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex(f"{_SPACE}?[^{_SPACE}]+|{_SPACE}"), "isolated")
    letters = sorted(set("".join(marked)))
    trainer = trainers.BpeTrainer(
        vocab_size=max(size, 1), min_frequency=2, show_progress=False, initial_alphabet=letters, limit_alphabet=len(letters),
    )
    tokenizer.train_from_iterator(marked, trainer)
    return tokenizer
