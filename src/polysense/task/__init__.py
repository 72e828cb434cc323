"""The shelf of tasks: targets, head, loss, answer, scores. See ``polysense list tasks``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from ..contracts import State, Task
from ..errors import BadOption, BadTable
from ..metrics.texts import CAPTION, Texts
from ..tokens import Tokens
from ..vocabulary import STOP, Vocabulary


class Words(Task):
    """What the tasks share whose answer is a text.

    Inside, an answer is a row of numbers of its pieces, (B, L) int64, L being ``longest``, filled with ``STOP``; ``restore``
    makes texts of it, (N,) object, and so are answers from there on. A target is a text, or a list of texts that are all
    right. Answers of several members cannot be averaged; no view answers by itself. After each epoch ``force`` gives three
    figures a record: the loss of its target summed over pieces, the number of pieces, and how many of them were right.

    A subclass says kind, fusion and training in its own body (they are read from its source), and gives ``head``, ``loss``,
    ``answer`` and ``force``.

    Class attributes:
        measures: of ``metrics.texts``; the first is the main one.
        looks: ``looked`` says something.
        one_text: what it holds likely is its answer alone.
        mixes: texts of training records may stand among the answers, see ``learn.consensus``.
        free: names of options that may change after learning: how words are chosen.

    Attributes:
        writer: the pretrained network that writes, if one does: ``download``, ``carried``, ``known``, ``files``, ``deepen``.
    """

    averages, late, forced = False, False, True
    measures: ClassVar[tuple[str, ...]] = CAPTION
    looks: bool = False
    mixes: bool = False
    one_text: bool = True
    free: ClassVar[tuple[str, ...]] = ()
    normalise: str = "basic"
    longest: int
    pieces: Vocabulary
    writer: Any = None

    def learn(self, values: Sequence[Any], split: str, size: int) -> None:
        """Learn the pieces and the most frequent text; part of ``fit``.

        Raises:
            BadTable: fewer than two different texts.
        """
        texts = [text for value in values for text in references(value)]
        if len(set(texts)) < 2:
            what = "no text" if not texts else f"the text {texts[0]!r}" if texts[0] else "the empty text"
            raise BadTable(f"the target holds {what} in the training records and nothing else; there is nothing to learn from")
        self.records = sum(bool(references(value)) for value in values)
        self.texts, self.frequent = len(set(texts)), most_frequent(texts)
        self.pieces = Vocabulary(split, size).fit(texts)

    def state(self) -> State:
        return {
            "records": self.records, "texts": self.texts, "frequent": self.frequent, "vocabulary": self.pieces.state(),
        }

    def load(self, state: State) -> None:
        self.records, self.texts, self.frequent = state["records"], state["texts"], state["frequent"]
        self.pieces = Vocabulary().load(state["vocabulary"])

    def allow(self, *, download: bool = False, carried: Path | None = None) -> None:
        if self.writer:
            self.writer.download, self.writer.carried = download, carried

    @property
    def tower(self) -> dict[str, Any] | None:
        return self.writer.known if self.writer else None

    def files(self) -> dict[str, Path]:
        return self.writer.files() if self.writer else {}

    def deepen(self, on: bool) -> bool:
        return self.writer is not None and self.writer.deepen(on)

    def about(self, target: str | None) -> str:
        return (
            f"learning {repr(target) if target else 'the target'}, words: {self.texts:,} different texts in {self.records:,} "
            f"records, {len(self.pieces):,} pieces"
        )

    def yardstick(self) -> Texts:
        return Texts(self.measures, self.normalise)

    def judged(self, values: Sequence[Any]) -> np.ndarray:
        """(N,) object: a tuple of references each, empty where there is none."""
        return self.yardstick().targets([references(value) for value in values])

    def prior(self) -> np.ndarray:
        """(L,) numbers of the most frequent text."""
        return self.pieces.rows([self.frequent], self.longest)[0]

    def restore(self, answers: np.ndarray) -> np.ndarray:
        """(N, L) numbers -> (N,) object: texts."""
        found = np.empty(len(answers), object)
        found[:] = [self.pieces.decode(row) for row in answers.tolist()]
        return found

    def decode(self, answers: np.ndarray) -> list[Any]:
        return [str(text) for text in answers]

    def words_of(self, numbers: Sequence[int]) -> list[str]:
        """The pieces of a row, each as it is read, and "" for its end, if it has one."""
        long = list(numbers).index(STOP) if STOP in numbers else len(numbers)
        return [self.pieces.decode([number]) for number in numbers[:long]] + [""] * (long < len(numbers))

    def held(self, head: nn.Module, fused: Tokens) -> tuple[Tensor, Tensor]:
        """Texts that it holds likely, numbers of their words (B, S, L), and log p of each (B, S); here the answer alone."""
        said_BL = self.answer(head, fused)
        return said_BL[:, None], torch.zeros(len(said_BL), 1, device=said_BL.device)

    def stream(self, head: nn.Module, fused: Tokens) -> Iterator[Tensor]:
        """Words (B,) one after the other.

        Raises:
            BadOption: this task says all at once.
        """
        raise BadOption(f"the task {self.name} does not say its words one by one; call predict")

    def looked(self, head: nn.Module, fused: Tokens, said: Tensor) -> Tensor | None:
        """(B, L, T): how much each word (B, L) came from each fused position; None where it looks at none."""
        return None

    def watch(self, answers: np.ndarray, targets: Mapping[str, np.ndarray]) -> dict[str, float]:
        """Loss of a piece and the share of pieces that are right, the pieces before being given.

        Args:
            answers: (N, 3) of ``force``.
        """
        loss, pieces, right = np.asarray(answers, np.float64).sum(0)
        return {"loss": float(loss / pieces), "token_accuracy": float(right / pieces)} if pieces else {}


def references(value: Any) -> tuple[str, ...]:
    """The texts of a target.

    >>> references("a"), references(["a", "b"]), references(None)
    (('a',), ('a', 'b'), ())
    """
    if value is None:
        return ()
    return (str(value),) if isinstance(value, (str, int, float)) else tuple(str(text) for text in value)


def most_frequent(texts: Sequence[str]) -> str:
    """The text that occurs most often, the first in alphabetical order of equal ones.

    >>> most_frequent(["b", "a", "b", "a", "c"])
    'a'
    """
    counts = Counter(texts)
    return min(counts, key=lambda text: (-counts[text], text)) if counts else ""
