"""What is said in a sound: by letters and their times (CTC), or by Whisper's decoder, see ``transcribe_whisper``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Encoder, State
from ..errors import BadOption, BadTable
from ..metrics.texts import NORMALISED, TRANSCRIPT, edits, normalised
from ..registry import tasks
from ..subtitles import Word
from ..tokens import Tokens
from ..vocabulary import START, STOP, UNKNOWN
from . import Words, references
from .transcribe_ctc import Prior, aligned, beam, greedy
from .transcribe_ctc import Words as Lexicon
from .transcribe_whisper import LEARNS, Writer

#: Above so many positions times pieces an alignment follows the best path instead of the likeliest one that says the text.
_DEAR = 60_000_000
_SPACE = "▁"


class Letters(nn.Module):
    """Scores of all pieces at every position. forward: (B, T, D) -> (B, T, K)"""

    def __init__(self, dim: int, pieces: int) -> None:
        super().__init__()
        self.linear = nn.Linear(dim, pieces)

    def forward(self, fused: Tokens) -> Tensor:
        return self.linear(fused.clean())


@tasks("transcribe")
class Transcribe(Words):
    """What is said in a sound: letter by letter, each with its time, or by Whisper as it is or tuned.

    Connectionist temporal classification (Graves et al. 2006, ICML, eq. 3 and 14): the loss is -log of the sum over all paths
    of pieces and blanks, one at a position, that say the text once repeats are merged and blanks left out. So no letter's time
    need be known. Texts are read by the best path, or by prefix beam search (Hannun et al. 2014, arXiv:1408.2873), with a list
    of the words there are and with n-grams of the training texts if wanted. Positions of the sounds alone are read; other
    views count where the fusion mixes them in (transformer, cross). A record without a sound, or a silent one, has no words.

    With ``model``, a Whisper (Radford et al. 2022, arXiv:2212.04356), the answer is that of its own decoder, which reads what
    its own encoder hears in each piece of at most 30 seconds; nothing else of the record counts. As it is it says word for word
    what Whisper says; what it learns is kept only where the validation texts gain by it. With --tune VIEW the encoder learns
    too.

    Wins by ``model`` on speech in the languages of Whisper, which minutes of a trade's speech tune; by CTC where no Whisper
    is at hand or words are few and their own: from scratch it needs hours of speech, and words that it has not heard it
    spells by ear. To write down speech without any table: ``polysense transcribe``. Costs (D + 1) K parameters and O(T D K) a
    record; a beam search O(T beams) more. Whisper's decoder costs a pass over 1,500 positions for every record and epoch, and
    1,500 D numbers of cache a record.

    Args:
        model: of Whisper's own decoder: name (see ``polysense list towers``), folder, or hub id; empty: CTC.
        tune: what of that decoder learns, for tune.epochs at tune.rate: "lora" (low-rank factors; Hu et al. 2021,
            arXiv:2106.09685), "decoder" (all but the table of tokens) or "none".
        lora: rank of the factors.
        language: that Whisper is told, such as en or zh; auto lets it tell, for each piece.
        prompt: words that go before each piece, whose manner of writing Whisper follows.
        split: pieces of a text: "character" or "subword".
        vocabulary: different pieces at most.
        normalise: of texts, for learning and judging: "basic" (small letters, no marks), "english" (Whisper's rules), "none".
        beams: prefixes kept by the beam search, or hypotheses of Whisper's; 1 reads the best path, or the likeliest next token.
        words: file with a word a line, or a list: those that may be said, no others; needs beams.
        grams: weight of n-grams of the training texts in the beam search; 0 reads by ear alone.
        order: pieces of an n-gram.
        bonus: added to log p for every piece in the beam search, against short texts.

    Raises:
        BadOption: a value out of its range.
        BadTable: (fit) fewer than two different texts, or a list of words that cannot be read.

    >>> task = Transcribe(); task.fit(["Go on.", "Go home."])
    >>> task.encode(["go on", None])["words"].shape, task.restore(task.prior()[None]).tolist()
    ((2, 1, 6), [''])
    """

    kind = "words"
    fusion = "tokens"
    training = {
        "epochs": 60, "batch": 16, "rate": 2e-3, "drop": 0.0, "dropout": 0.1, "input_dropout": 0.1, "decay": 0.05, "average": 3,
    }
    tuning = {"epochs": 4, "batch": 8}
    measures = TRANSCRIPT
    needs_positions = True

    def __init__(
        self, *, split: str = "character", vocabulary: int = 1000, normalise: str = "basic", beams: int = 1,
        words: str | None = None, grams: float = 0.0, order: int = 5, bonus: float = 0.0, model: str = "", tune: str = "lora",
        lora: int = 16, language: str = "auto", prompt: str = "",
    ) -> None:
        if split not in ("character", "subword"):
            raise BadOption(f"task.split='{split}' must be 'character' or 'subword'")
        if normalise not in NORMALISED:
            raise BadOption(f"task.normalise='{normalise}' must be 'basic', 'english' or 'none'")
        for name, value, low in (("vocabulary", vocabulary, 10), ("beams", beams, 1), ("order", order, 1), ("lora", lora, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise BadOption(f"task.{name}={value!r} must be a whole number of at least {low}")
        for name, value in (("grams", grams), ("bonus", bonus)):
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not -100 <= value <= 100:
                raise BadOption(f"task.{name}={value!r} must be a number from -100 to 100")
        if tune not in LEARNS:
            raise BadOption(f"task.tune='{tune}' must be 'lora', 'decoder' or 'none'")
        for name, value, usual in (("language", language, "auto"), ("prompt", prompt, "")):
            if not model and value != usual:
                raise BadOption(f"task.{name}={value!r} is told to Whisper; add --set task.model=whisper-base")
        if model and (words or grams or bonus):
            raise BadOption("task.words, task.grams and task.bonus belong to CTC; leave them or task.model away")
        if beams == 1 and (words or grams or bonus):
            raise BadOption("task.words, task.grams and task.bonus belong to the beam search; add --set task.beams=8")
        self.model, self.tune, self.lora, self.language, self.prompt = model, tune, lora, language, prompt
        self.writer = Writer(model, tune=tune, lora=lora, language=language, beams=beams, prompt=prompt) if model else None
        self.ready, self.at_once = bool(model), 8 if model else 0
        self.split, self.vocabulary, self.normalise, self.beams = split, vocabulary, normalise, beams
        self.words, self.grams, self.order, self.bonus = words, grams, order, bonus
        self.hears: Sequence[str] = ()
        self._list: list[str] | None = None
        self._counted: Prior | None = None
        self._lexicon: Lexicon | None = None

    def see(self, views: Mapping[str, str]) -> None:
        self.hears = sorted(view for view, modality in views.items() if modality == "audio")
        if not self.hears:
            raise BadTable(
                f"the task transcribe writes down sounds, and the table has none: its views are {', '.join(sorted(views))}; "
                "declare a column (--columns NAME=audio), or choose the task caption"
            )

    def fit(self, values: Sequence[Any]) -> None:
        texts = [tuple(normalised(text, self.normalise) for text in references(value)) for value in values]
        self.learn([text for text in texts if text], self.split, self.vocabulary)
        if self.writer:
            self.writer.begin()
            self.pieces, self.width, self.most = self.writer.signs, self.writer.width, self.writer.positions
        self.english = all(text.isascii() for one in texts for text in one)
        self._list = None if self.words is None else _listed(self.words, self.normalise)
        if self.grams:
            ids = sorted(self._ids(text) for one in texts for text in one)
            self._counted = Prior(self.order, len(self.pieces)).fit(ids)

    def state(self) -> State:
        return {
            **super().state(), "hears": list(self.hears), "english": self.english, "list": self._list,
            "counted": self._counted.state() if self._counted else None,
            **({"whisper": self.writer.state()} if self.writer else {}),
        }

    def load(self, state: State) -> None:
        super().load(state)
        self.hears, self.english, self._list, self._lexicon = state["hears"], state["english"], state["list"], None
        counted = state["counted"]
        self._counted = Prior(counted["order"], counted["size"]).load(counted) if counted else None
        if self.writer:
            self.pieces, self.width = self.writer.load(state["whisper"]).signs, self.writer.width

    @property
    def pace(self) -> str:
        return "decoder" if self.tune == "decoder" else "factors"

    def suits(self, modality: str) -> Sequence[tuple[str, dict[str, Any]]]:
        """Whisper's encoder where it is on disk, its English weights for English only; else convolutions and a GRU."""
        if modality != "audio":
            return ()
        if self.writer:
            return [("audio.pretrained", {"tower": self.model, "seconds": 30, "cut": True})]
        towers = ["whisper-base", *(["whisper-tiny-en"] if self.english else []), "whisper-tiny"]
        whole = {"seconds": 30, "hop": 26.0, "once": True}
        return [
            *(("audio.pretrained", {"tower": name, **whole}) for name in towers), ("audio.crnn", {"merge": 2, **whole}),
        ]

    def takes(self, encoders: Mapping[str, Encoder]) -> None:
        for view in self.hears if self.writer else ():
            self.writer.fits(view, encoders[view])

    def _plain(self, text: str) -> str:
        """A text as it is learned: normalised by CTC, as it was written by Whisper, whose texts have marks and capitals."""
        return text if self.writer else normalised(text, self.normalise)

    def _ids(self, text: str) -> list[int]:
        """Numbers of such a text; what training did not show cannot be said, and is left out."""
        return [i for i in self.pieces.encode(text) if i > UNKNOWN]

    def encode(self, values: Sequence[Any]) -> dict[str, np.ndarray]:
        """{"words": (B, R, L) int64, "given": (B, R) bool}: texts filled with ``STOP``; which there are."""
        texts = [[self._ids(self._plain(text)) for text in references(value)] for value in values]
        most = max(map(len, texts), default=1) or 1
        longest = max((len(text) for one in texts for text in one), default=1) or 1
        words = np.full((len(texts), most, longest), STOP, np.int64)
        given = np.zeros((len(texts), most), bool)
        for row, one in enumerate(texts):
            for r, text in enumerate(one):
                words[row, r, : len(text)], given[row, r] = text, True
        return {"words": words, "given": given}

    def needed(self, targets: Mapping[str, np.ndarray]) -> np.ndarray:
        """(N,): positions that the shortest text of each record needs; 0 where there is none."""
        if self.writer:
            return np.zeros(len(targets["given"]), int)
        words_NRL, given_NR = targets["words"], targets["given"]
        same_NR = ((words_NRL[..., 1:] == words_NRL[..., :-1]) & (words_NRL[..., 1:] != STOP)).sum(-1)
        need_NR = np.where(given_NR, (words_NRL != STOP).sum(-1) + same_NR, np.iinfo(np.int64).max)
        return np.where(given_NR.any(1), need_NR.min(1), 0)

    def prior(self) -> np.ndarray:
        """(1,) no words: who hears nothing says nothing."""
        return np.array([STOP], np.int64)

    def nothing(self) -> str:
        """The empty text."""
        return ""

    def head(self, dim: int) -> nn.Module:
        return self.writer.head() if self.writer else Letters(dim, len(self.pieces))

    def scores(self, head: nn.Module, fused: Tokens) -> tuple[Tensor, Tensor]:
        """(B, T, K) log probabilities, real positions first, and how many of these each record has (B,)."""
        order_BT = (~fused.mask).to(torch.uint8).argsort(dim=1, stable=True)
        score_BTK = head(fused).gather(1, order_BT[..., None].expand(-1, -1, len(self.pieces)))
        never_K = torch.zeros(len(self.pieces), device=score_BTK.device)
        never_K[[START, UNKNOWN]] = -1e9
        return (score_BTK.float() + never_K).log_softmax(-1), fused.mask.sum(1)

    def loss(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        given_BR = targets["given"]
        if self.writer:
            loss_BR, long_BR, _ = self.writer.judge(head, fused, targets["words"], given_BR)
        else:
            loss_BR, long_BR = self._losses(head, fused, targets)
        return (loss_BR / long_BR.clamp_min(1) * given_BR).sum(1) / given_BR.sum(1).clamp_min(1)

    def force(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> Tensor:
        """Of a record's first text: the loss, its pieces, and these less the edits of what is read by the best path.

        Of Whisper those tokens are right that are the likeliest, the ones before being given.
        """
        if self.writer:
            figures = self.writer.judge(head, fused, targets["words"][:, :1], targets["given"][:, :1])
            return torch.cat(figures, 1)
        loss_BR, long_BR = self._losses(head, fused, targets)
        score_BTK, real_B = self.scores(head, fused)
        right = []
        score_BTK, words_BL = score_BTK.detach().cpu().numpy(), targets["words"][:, 0].tolist()
        for score_TK, real, ids in zip(score_BTK, real_B.tolist(), words_BL, strict=True):
            meant = [i for i in ids if i != STOP]
            right.append(max(0, len(meant) - edits(greedy(score_TK[:real]), meant)))
        right_B = torch.tensor(right, dtype=loss_BR.dtype, device=loss_BR.device)
        return torch.stack([loss_BR[:, 0], long_BR[:, 0].to(loss_BR.dtype), right_B], 1) * targets["given"][:, :1]

    def _losses(self, head: nn.Module, fused: Tokens, targets: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """(B, R) the loss of each text, and its pieces; 0 where there are too few positions to say it."""
        score_BTK, real_B = self.scores(head, fused)
        words_BRL, count = targets["words"], targets["words"].shape[1]
        long_BR = (words_BRL != STOP).sum(-1)
        loss_N = F.ctc_loss(
            score_BTK.repeat_interleave(count, 0).transpose(0, 1), words_BRL.flatten(0, 1), real_B.repeat_interleave(count),
            long_BR.flatten(), blank=STOP, reduction="none", zero_infinity=True,
        )
        return loss_N.unflatten(0, (-1, count)), long_BR

    def answer(self, head: nn.Module, fused: Tokens) -> Tensor:
        """(B, L) int64: numbers of the pieces, filled with ``STOP``; L is that of the longest text."""
        if self.writer:
            return self.writer.answer(head, fused)
        score_BTK, real_B = self.scores(head, fused)
        rows = [self.read(one[:real]) for one, real in zip(score_BTK.detach().cpu().numpy(), real_B.tolist(), strict=True)]
        found = torch.full((len(rows), max([1, *map(len, rows)])), STOP, device=fused.x.device)
        for row, ids in zip(found, rows, strict=True):
            row[: len(ids)] = torch.tensor(ids, dtype=torch.long)
        return found

    def read(self, score_TK: np.ndarray) -> list[int]:
        """Numbers of the text that the scores say."""
        if self.beams == 1:
            return greedy(score_TK)
        if self._list is not None and self._lexicon is None:
            self._lexicon = Lexicon(["", "", "", *self.pieces.pieces], self._list, _SPACE)
        if self.grams and self._counted is None:
            raise BadOption("task.grams was 0 in training, so no n-grams were counted; fit with it")
        return beam(
            score_TK, self.beams, prior=self._counted, weight=self.grams, bonus=self.bonus, words=self._lexicon,
        )

    def words_in_time(self, head: nn.Module, fused: Tokens, second_T: np.ndarray) -> list[Word]:
        """Words of one record and when they are said.

        Args:
            second_T: the middle of each position.
        """
        if self.writer:
            return self.writer.words(head, fused, second_T)
        score_1TK, real_1 = self.scores(head, fused)
        step = float(np.median(np.diff(second_T))) if len(second_T) > 1 else 2 * float(second_T[0])
        return self.timed(score_1TK[0, : int(real_1[0])].cpu().numpy(), second_T, step)

    def timed(self, score_TK: np.ndarray, second_T: np.ndarray, step: float) -> list[Word]:
        """Words of one record and when they are said.

        Args:
            second_T: the middle of each position.
            step: seconds of a position.
        """
        ids = self.read(score_TK)
        if len(score_TK) * (2 * len(ids) + 1) > _DEAR:
            ids = greedy(score_TK)
            best = score_TK.argmax(1)
            first = np.flatnonzero((np.diff(best, prepend=STOP) != 0) & (best != STOP))
            last = np.array([t + int(np.argmin(np.append(best[t:] == best[t], False))) - 1 for t in first], int)
            place = np.stack([first, last], 1) if len(first) else np.zeros((0, 2), int)
        else:
            place = aligned(score_TK, ids)
        found: list[list[Any]] = []
        for i, (begin, end) in zip(ids, place.tolist(), strict=True):
            piece = self.pieces.pieces[i - UNKNOWN - 1]
            text = piece.replace(_SPACE, "")
            if piece.startswith(_SPACE) or not found:
                found.append([text, None, 0.0])
            else:
                found[-1][0] += text
            if text:
                start = max(0.0, float(second_T[begin]) - step / 2)
                found[-1][1:] = [start if found[-1][1] is None else found[-1][1], float(second_T[end]) + step / 2]
        return [Word(text, round(start, 3), round(end, 3)) for text, start, end in found if text]


def _listed(words: Any, normalise: str) -> list[str]:
    """Words of a file, one a line, or of a list, as texts are normalised."""
    if isinstance(words, str):
        try:
            words = Path(words).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or error
            raise BadTable(f"the list of words {words} cannot be read: {why}; give a file with a word a line") from None
    found = sorted({part for word in words for part in normalised(str(word), normalise).split()})
    if not found:
        raise BadTable("the list of words holds none; leave task.words away, or give a file with a word a line")
    return found
