"""Sounds.

A value is float32 (n,), mono, 16 kHz, within about -1..1. Letters: B records, T frames (100 a
second), F mel bands, D width of a token.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..contracts import Batch, Encoder, Modality, Plain, State
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import several, whole

#: Samples a second, samples in a window (25 ms) and from one frame to the next (10 ms).
HZ, WINDOW, HOP = 16_000, 400, 160

#: Power below this counts as silence: about 83 dB below a full-scale tone.
FLOOR = 1e-6


# --- signal --------------------------------------------------------------------------------------


def hz_to_mel(hz: np.ndarray) -> np.ndarray:
    """Slaney's mel scale (Auditory Toolbox, 1998): linear to 1 kHz (= 15 mel), logarithmic above.

    >>> hz_to_mel(np.array([200.0, 1000.0, 6400.0])).round(6).tolist()
    [3.0, 15.0, 42.0]
    """
    hz = np.asarray(hz, np.float64)
    return np.where(hz < 1000, hz * 3 / 200, 15 + 27 * np.log(np.maximum(hz, 1000) / 1000) / np.log(6.4))


def mel_to_hz(mel: np.ndarray) -> np.ndarray:
    """Undo ``hz_to_mel``."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < 15, mel * 200 / 3, 1000 * np.exp((mel - 15) * np.log(6.4) / 27))


@lru_cache
def mel_filters(bands: int, window: int = WINDOW, hz: int = HZ) -> np.ndarray:
    """Triangular filters (window // 2 + 1, F) from 0 Hz to hz / 2, each of unit area.

    Neighbouring triangles meet at the centres, evenly spaced in mel.
    """
    edges = mel_to_hz(np.linspace(0, hz_to_mel(hz / 2), bands + 2))
    low, centre, high = edges[:-2], edges[1:-1], edges[2:]
    line = np.arange(window // 2 + 1)[:, None] * hz / window
    rising, falling = (line - low) / (centre - low), (high - line) / (high - centre)
    return (np.maximum(0, np.minimum(rising, falling)) * 2 / (high - low)).astype(np.float32)


def mel_power(wave: Tensor, bands: int, window: int = WINDOW, hop: int = HOP, hz: int = HZ) -> Tensor:
    """Power in mel bands (T, F): Hann windows centred on multiples of the hop, zeros outside.

    Args:
        wave: (n,) samples; T = n // hop + 1.
    """
    spectrum = torch.stft(
        wave, window, hop, window=_hann(window), center=True, pad_mode="constant", return_complex=True
    )
    return _power(spectrum).T @ _filters(bands, window, hz)


def _power(spectrum: Tensor) -> Tensor:
    """Squared magnitude; a fifth of the time that a sum over the pair takes."""
    real, imaginary = torch.view_as_real(spectrum).square().unbind(-1)
    return real + imaginary


def log_mel(wave: Tensor, bands: int = 64) -> Tensor:
    """Natural logarithm of the power in mel bands (T, F), not below log(1e-6).

    >>> log_mel(torch.zeros(16_000)).shape
    torch.Size([101, 64])
    """
    return mel_power(wave, bands).clamp_min(FLOOR).log()


def mfcc(log_mel_TF: Tensor, coefficients: int = 40) -> Tensor:
    """Mel frequency cepstral coefficients (T, K): orthonormal DCT-II of the log-mel bands.

    Davis and Mermelstein 1980.
    """
    return log_mel_TF @ _dct(log_mel_TF.shape[-1], coefficients)


@lru_cache
def _hann(window: int) -> Tensor:
    return torch.hann_window(window)


@lru_cache
def _filters(bands: int, window: int, hz: int) -> Tensor:
    return torch.from_numpy(mel_filters(bands, window, hz))


@lru_cache
def _dct(bands: int, coefficients: int) -> Tensor:
    """(F, K): column k is cos(pi k (f + 1/2) / F) at unit length."""
    waves = np.cos(np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(coefficients)))
    return torch.from_numpy((waves / np.linalg.norm(waves, axis=0)).astype(np.float32))


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


class FrameNorm(nn.BatchNorm1d):
    """Batch norm of frames (N, C), which also bears a batch of one: it takes the running statistics.

    Ioffe and Szegedy 2015, arXiv:1502.03167, alg. 1.
    """

    def forward(self, x_NC: Tensor) -> Tensor:
        if len(x_NC) > 1:
            return super().forward(x_NC)
        return F.batch_norm(x_NC, self.running_mean, self.running_var, self.weight, self.bias, eps=self.eps)


@encoders("audio.cnn")
class Cnn(Encoder):
    """Convolutions over the time of log-mel, trained from scratch; one token for each 160 ms by default.

    Bands are the channels, as in Waibel et al. 1989 (time-delay networks). Each block: convolution
    (5 frames wide, then 3), the larger of two neighbours, batch norm, ReLU. The sounds of a batch lie
    end to end with silence between, so nothing is padded to the longest and none hears another. In
    training a stretch of time and one of bands are hidden (Park et al. 2019, arXiv:1904.08779).

    Args:
        widths: channels of each block; the last one is the width D of a token.
        bands: mel bands F.
        merge: frames of 10 ms whose mean is one frame of the network.
        seconds: of a sound that are heard, from its beginning.
        augment: hide up to a fifth of the time and of the bands in training.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T / 2 ** blocks, D), place in seconds
    """

    def __init__(
        self, *, widths: Sequence[int] = (64, 96, 128), bands: int = 64, merge: int = 2, seconds: int = 10,
        augment: bool = True,
    ) -> None:
        super().__init__()
        self.widths, self.bands = several("widths", widths), whole("bands", bands)
        self.merge, self.seconds = whole("merge", merge), whole("seconds", seconds)
        self.augment = bool(augment)
        self.dim = self.widths[-1]
        self.scale: np.ndarray | None = None

    def fit(self, values: Sequence[np.ndarray]) -> None:
        frames = [self._frames(value) for value in values]
        both = torch.cat(frames) if frames else torch.zeros(1, self.bands)
        deviation, mean = torch.std_mean(both, 0, correction=0)
        self._build(torch.stack([mean, deviation.clamp_min(1e-3)]).numpy())

    def state(self) -> State:
        return {"scale": self.scale}

    def load(self, state: State) -> None:
        self._build(np.asarray(state["scale"], np.float32))

    def _build(self, scale: np.ndarray) -> None:
        self.scale = scale
        self.convolutions, self.norms = nn.ModuleList(), nn.ModuleList()
        for before, after in zip((self.bands, *self.widths), self.widths, strict=False):
            size = 3 if self.convolutions else 5
            # no bias: batch norm would take it away again
            self.convolutions.append(nn.Linear(size * before, after, bias=False))
            self.norms.append(FrameNorm(after))
        self.last = nn.Linear(self.dim, self.dim)

    def _frames(self, wave: np.ndarray) -> Tensor:
        """(T, F): the log-mel of a sound's beginning, ``merge`` frames averaged; the last ones may be fewer."""
        with torch.inference_mode():
            start = torch.as_tensor(wave[: self.seconds * HZ], dtype=torch.float32)
            fine = log_mel(start, self.bands)[: 100 * self.seconds]
            whole = len(fine) - len(fine) % self.merge
            rest = [fine[whole:].mean(0, keepdim=True)] if whole < len(fine) else []
            return torch.cat([fine[:whole].unflatten(0, (-1, self.merge)).mean(1) if whole else fine[:0], *rest])

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        frames = [self._frames(value).numpy() for value in values]
        out = np.zeros((len(frames), max(map(len, frames), default=1), self.bands), np.float32)
        mask = np.zeros(out.shape[:2], bool)
        for i, rows in enumerate(frames):
            out[i, : len(rows)], mask[i, : len(rows)] = rows, True
        return {"x": out, "mask": mask}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        mask_BT, unit = batch["mask"], 2 ** len(self.widths)
        mean_F, deviation_F = torch.as_tensor(self.scale, device=mask_BT.device)
        x_NC = (batch["x"][mask_BT] - mean_F) / deviation_F  # N real frames of all records; zero is the mean
        if self.training and self.augment:
            x_NC = _hidden(x_NC, mask_BT)
        # the strip of L frames: every record begins at a whole token and is followed by an empty one at
        # least, wider at every block than a convolution reaches
        tokens_B = (mask_BT.sum(1) + unit - 1) // unit
        end_B = (tokens_B + 1).cumsum(0) * unit
        start_B = end_B - (tokens_B + 1) * unit
        place_N = (start_B[:, None] + torch.arange(mask_BT.shape[1], device=mask_BT.device))[mask_BT]
        real_L = torch.zeros(int(end_B[-1]), dtype=torch.bool, device=mask_BT.device).index_fill(0, place_N, True)
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_LC = x_NC.new_zeros(len(real_L), x_NC.shape[1]).index_put((real_L,), x_NC)
            # a product, because every batch has another L and conv1d would compile its kernels for each
            x_LC = convolution(_beside(x_LC, convolution.in_features // x_LC.shape[1]))
            x_LC = torch.maximum(x_LC[0::2], x_LC[1::2])
            real_L = real_L[0::2] | real_L[1::2]
            x_NC = norm(x_LC[real_L]).relu()
        x_NC = self.last(x_NC).relu()
        step = torch.arange(-(-mask_BT.shape[1] // unit), device=mask_BT.device)
        mask_BT = step < tokens_B[:, None]
        x_BTD = x_NC.new_zeros(*mask_BT.shape, self.dim).index_put((mask_BT,), x_NC)
        seconds = (step + 0.5) * unit * self.merge * HOP / HZ
        return Tokens(x_BTD, mask_BT, place=seconds[None, :, None].expand(len(x_BTD), -1, -1))


def _beside(x_LC: Tensor, size: int) -> Tensor:
    """Every frame with its neighbours (L, size * C), zeros beyond both ends.

    >>> _beside(torch.tensor([[1.0], [2.0]]), 3).tolist()
    [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0]]
    """
    room = F.pad(x_LC, (0, 0, size // 2, size // 2))
    return torch.cat([room[i : i + len(x_LC)] for i in range(size)], 1)


def _hidden(x_NF: Tensor, mask_BT: Tensor, most: float = 0.2) -> Tensor:
    """Frames with a stretch of each record's time and one of its bands set to zero."""
    length_B = mask_BT.sum(1)
    wide, begin = torch.rand(2, 2, len(mask_BT), 1, device=x_NF.device)
    size = torch.stack([length_B, torch.full_like(length_B, x_NF.shape[1])])[..., None]
    wide = wide * most * size
    begin = begin * (size - wide)

    def kept(axis: int, count: int) -> Tensor:
        i = torch.arange(count, device=x_NF.device)
        return (i < begin[axis]) | (i >= begin[axis] + wide[axis])

    time_N = kept(0, mask_BT.shape[1])[mask_BT]
    bands_NF = kept(1, x_NF.shape[1]).repeat_interleave(length_B, 0)
    return x_NF * (time_N[:, None] & bands_NF)
