"""Sounds: the modality and its plain features. Networks trained from scratch stand in audio_net.py, towers in audio_tower.py.

A value is float32 (n,), mono, 16 kHz, within about -1..1. Letters: B records, T frames (100 a
second), F mel bands, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ..contracts import Batch, Encoder, Modality, Plain
from ..registry import encoders, modalities
from ..tokens import Tokens
from .audio_signal import log_mel, mfcc

# --- plain features ------------------------------------------------------------------------------


class AudioPlain(Plain):
    """Mean and deviation over time of 40 MFCC and 64 log-mel bands: 208 numbers.

    >>> AudioPlain().transform([np.zeros(16_000, np.float32)]).shape
    (1, 208)
    """

    cached = True
    width = 208

    def transform(self, values: Sequence[np.ndarray]) -> np.ndarray:
        return np.array([_plain(value) for value in values], np.float32).reshape(len(values), self.width)


def _plain(wave: np.ndarray) -> np.ndarray:
    with torch.inference_mode():
        bands = log_mel(torch.as_tensor(wave, dtype=torch.float32))
        both = torch.cat([mfcc(bands), bands], 1)
        mean = both.mean(0)
        deviation = (both - mean).square_().mean(0).sqrt()  # a tenth of the time of torch.std_mean
        return torch.cat([mean, deviation]).numpy()


@modalities("audio")
class Audio(Modality):
    """Sounds."""

    kinds = ("audio",)
    plain = AudioPlain
    small = "audio.plain"
    large = "audio.cnn"


# --- encoders ------------------------------------------------------------------------------------


@encoders("audio.plain")
class PlainAudio(Encoder):
    """Mean and deviation of MFCC and log-mel as one token.

    Source: Davis and Mermelstein 1980 (IEEE Trans. ASSP 28) for the cepstra, K = 40 of F = 64 mel bands,
    c_k = sum_f log p_f cos(pi k (f + 1/2) / F); then mean_t and the root of mean_t (x_t - mean)^2 of both.

    Wins with a few hundred sounds that differ in timbre, and in cost. Loses where order or short parts of a sound decide:
    rising and falling tones are one to it.
    Costs O(n log n) for n samples, once, because frozen outputs are cached; no parameters.

    Davis and Mermelstein 1980 (IEEE ASSP 28), pooled over time.
    Wins with a few hundred sounds that differ in timbre; it loses where the order of events decides. Costs
    one short-time Fourier transform a sound, once; nothing is trained.

    forward: {"x": (B, 208)} -> (B, 1, 208)
    """

    frozen = True
    cached = True
    read_by_rivals = True
    dim = AudioPlain.width

    def __init__(self) -> None:
        super().__init__()
        self.plain = AudioPlain()

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        return {"x": self.plain.transform(values)}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        return Tokens.single(batch["x"])
