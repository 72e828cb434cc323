"""Whisper as an encoder that writes: the characters of what is said, each with its seconds. B records, L characters."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..contracts import Batch, State, digest
from ..errors import BadOption, NotFitted
from ..registry import encoders
from ..subtitles import Word
from ..tokens import Tokens
from . import whole
from .audio_listen import Engine, chosen_engine, engine
from .audio_signal import HZ
from .towers import Pretrained


@encoders("audio.whisper")
class Whisper(Pretrained):
    """Whisper writes down what is said: for the task transcribe, which takes its words as they are.

    Radford et al. 2022, arXiv:2212.04356. A token is a character: its code point and the seconds of its word. Each sound begins
    with a token of code 0 that holds its length. Long sounds are cut where they are softest, each piece is at most 30 s and
    is read by beam search; word times come from aligning cross-attention with the frames (dynamic time warping). Silence, by
    Whisper's own rule or softer than -60 dB throughout, has no words.

    Wins at once and in most languages: it has heard 680,000 hours. Loses to a trained head where all is said by few voices in
    words of one trade. Costs one pass of the encoder for each 30 s begun, and as many steps of the decoder as there are tokens.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id of a Whisper.
        language: such as en or zh; auto lets the network tell.
        translate: write English whatever is spoken.
        beams: hypotheses kept by the search.
        engine: "faster" (faster-whisper), "torch" (transformers), or "auto": the first where it can be.

    forward: {"wave": (B, n), "mask": (B, n)} -> (B, 1 + L, 3): code point, start and end in seconds
    """

    modality = "audio"
    writes = True
    read_by_rivals = False
    standardise = False

    def __init__(
        self, *, tower: str = "whisper-tiny-en", language: str = "auto", translate: bool = False, beams: int = 5,
        engine: str = "auto",
    ) -> None:
        super().__init__(tower)
        self.language, self.translate, self.beams, self.engine = language, bool(translate), whole("beams", beams), engine
        if not isinstance(language, str) or not language:
            raise BadOption(f"option 'language' is {language!r}; give a code such as en or zh, or auto")
        self._engine: Engine | None = None

    def fit(self, values: Sequence[Any]) -> None:
        super().fit(values)
        self.dim = 3
        self.opened_engine()

    def load(self, state: State) -> None:
        super().load(state)
        self.dim, self._engine = 3, None

    def fingerprint(self) -> str:
        """The engine that "auto" stands for decides the last word; the task's head never."""
        return digest([super().fingerprint(), chosen_engine(self.found(), self.engine)])

    def opened_engine(self) -> Engine:
        if self._engine is None:
            if self._known is None:
                raise NotFitted(f"encoder '{self.name}' has not been fitted; call fit or load first")
            self._engine = engine(
                self.found(), self.engine, language=self.language, translate=self.translate, beams=self.beams
            )
        return self._engine

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        length_B = np.array([len(value) for value in values], int)
        wave = np.zeros((len(values), max(1, length_B.max(initial=0))), np.float32)
        for row, value in zip(wave, values, strict=True):
            row[: len(value)] = value
        return {"wave": wave, "mask": np.arange(wave.shape[1]) < length_B[:, None]}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        waves = [wave[mask].cpu().numpy() for wave, mask in zip(batch["wave"], batch["mask"], strict=True)]
        said = [spelled(*self.opened_engine().hear(wave), len(wave) / HZ) for wave in waves]
        x = torch.zeros(len(said), max((len(one) for one in said), default=1), 3)
        mask = torch.zeros(x.shape[:2], dtype=torch.bool)
        for row, one in enumerate(said):
            x[row, : len(one)], mask[row, : len(one)] = torch.from_numpy(one), True
        return Tokens(x.to(batch["wave"].device), mask.to(batch["wave"].device))


def spelled(text: str, words: Sequence[Word], seconds: float) -> np.ndarray:
    """(1 + L, 3): code 0 with the sound's length, then each character with the start and end of its word.

    >>> spelled("Go on", [Word("Go", 0.0, 0.25), Word("on", 0.5, 1.0)], 2.0).tolist()[:4]
    [[0.0, 0.0, 2.0], [71.0, 0.0, 0.25], [111.0, 0.0, 0.25], [32.0, 0.5, 0.5]]
    """
    rows, last, left = [(0.0, 0.0, seconds)], 0.0, list(words)
    rest = 0  # characters of the word that are still to come
    start = end = 0.0
    for sign in text:
        if sign.isspace():
            last = left[0].start if left and not rest else last
            rows.append((ord(" "), last, last))
            continue
        if not rest and left:
            word = left.pop(0)
            rest, start, end = sum(not one.isspace() for one in word.text), word.start, word.end
        rest = max(0, rest - 1)
        last = end
        rows.append((float(ord(sign)), start, end))
    return np.array(rows, np.float32)


def read(token_LX: np.ndarray) -> tuple[str, list[Word]]:
    """Undo ``spelled``, for one sound or several behind each other, whose times then go on.

    >>> read(spelled("Go on", [Word("Go", 0.0, 0.25), Word("on", 0.5, 1.0)], 2.0))
    ('Go on', [Word(text='Go', start=0.0, end=0.25), Word(text='on', start=0.5, end=1.0)])
    """
    text, words, before, ahead, fresh = "", [], 0.0, 0.0, True
    for code, start, end in token_LX.tolist():
        if code == 0:
            before, ahead, fresh = ahead, ahead + end, True
            text += " " if text and not text.endswith(" ") else ""
        elif code == ord(" "):
            text, fresh = text + " ", True
        else:
            sign, start, end = chr(int(code)), start + before, end + before
            if fresh or (round(start, 3), round(end, 3)) != (words[-1].start, words[-1].end):
                words.append(Word(sign, round(start, 3), round(end, 3)))
            else:
                words[-1] = words[-1]._replace(text=words[-1].text + sign)
            text, fresh = text + sign, False
    return text.strip(), words


