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
from ..errors import BadModel
from ..registry import encoders, modalities
from ..tokens import Tokens
from . import several, whole
from .towers import Pretrained, read_json

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
    return torch.view_as_real(spectrum).square().sum(-1).T @ _filters(bands, window, hz)


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
        deviation, mean = torch.std_mean(both, 0, correction=0)
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


class MaskedNorm(nn.BatchNorm1d):
    """Batch norm over the real frames only; (B, C, F, T) with a mask (B, T); zeros elsewhere.

    Ioffe and Szegedy 2015, arXiv:1502.03167, alg. 1, the statistics taken over what the mask allows.
    """

    def forward(self, x_BCFT: Tensor, mask_BT: Tensor) -> Tensor:
        if self.training:
            share = mask_BT.to(x_BCFT.dtype)[:, None, None, :]
            count = (share.sum() * x_BCFT.shape[2]).clamp_min(1)
            mean = (x_BCFT * share).sum((0, 2, 3)) / count
            centred = (x_BCFT - mean[:, None, None]) * share
            variance = centred.square().sum((0, 2, 3)) / count
            with torch.no_grad():
                self.num_batches_tracked += 1
                self.running_mean.lerp_(mean, self.momentum)
                self.running_var.lerp_(variance * count / (count - 1).clamp_min(1), self.momentum)
        else:
            mean, variance = self.running_mean, self.running_var
        scale = self.weight * (variance + self.eps).rsqrt()
        shift = self.bias - mean * scale
        return (x_BCFT * scale[:, None, None] + shift[:, None, None]) * mask_BT[:, None, None, :]


@encoders("audio.cnn")
class Cnn(Encoder):
    """Convolutions over log-mel, trained from scratch; one token for each 2 ** blocks frames.

    Blocks of 3x3 convolution, batch norm, ReLU and 2x2 maximum as in image networks (Hershey et al.
    2017, arXiv:1609.09430), then mean over frequency beside maximum. Padding is zero after each
    layer, so a sound's answer does not depend on the longer ones in its batch.

    Args:
        widths: channels of each block; the last one is the width D of a token.
        bands: mel bands F.
        seconds: of a sound that are heard, from its beginning.

    forward: {"x": (B, T, F), "mask": (B, T)} -> (B, T / 2 ** blocks, D), place in seconds
    """

    def __init__(self, *, widths: Sequence[int] = (32, 64, 128), bands: int = 64, seconds: int = 10) -> None:
        super().__init__()
        self.widths, self.seconds = several("widths", widths), whole("seconds", seconds)
        self.bands = whole("bands", bands, 2 ** len(self.widths))
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
        for before, after in zip((1, *self.widths), self.widths, strict=False):
            self.convolutions.append(nn.Conv2d(before, after, 3, padding=1, bias=False))
            self.norms.append(MaskedNorm(after))
        self.last = nn.Linear(2 * self.dim, self.dim)

    def _frames(self, wave: np.ndarray) -> Tensor:
        with torch.inference_mode():
            start = torch.as_tensor(wave[: self.seconds * HZ], dtype=torch.float32)
            return log_mel(start, self.bands)[: 100 * self.seconds]

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        frames = [self._frames(value).numpy() for value in values]
        out = np.zeros((len(frames), max(map(len, frames), default=1), self.bands), np.float32)
        mask = np.zeros(out.shape[:2], bool)
        for i, rows in enumerate(frames):
            out[i, : len(rows)], mask[i, : len(rows)] = rows, True
        return {"x": out, "mask": mask}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        mask_BT = batch["mask"]
        mean_F, deviation_F = torch.as_tensor(self.scale, device=mask_BT.device)
        x_BTF = torch.where(mask_BT[..., None], (batch["x"] - mean_F) / deviation_F, 0.0)
        x_BCFT = x_BTF.transpose(1, 2)[:, None]
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            x_BCFT = norm(convolution(x_BCFT), mask_BT).relu()
            # after ReLU nothing is below zero, so zeros in the padding never win the maximum
            x_BCFT = F.max_pool2d(x_BCFT, 2, ceil_mode=True)
            mask_BT = F.max_pool1d(mask_BT[:, None].to(x_BCFT.dtype), 2, ceil_mode=True)[:, 0] > 0
        x_BTD = self.last(torch.cat([x_BCFT.mean(2), x_BCFT.amax(2)], 1).transpose(1, 2)).relu()
        frames = 2 ** len(self.widths)
        seconds = (torch.arange(x_BTD.shape[1], device=x_BTD.device) + 0.5) * frames * HOP / HZ
        return Tokens(x_BTD, mask_BT, place=seconds[None, :, None].expand(len(x_BTD), -1, -1))


@encoders("audio.pretrained")
class PretrainedAudio(Pretrained):
    """A frozen audio tower, the encoder of a Whisper network: a named one, a folder, or a hub id.

    Radford et al. 2022, arXiv:2212.04356, section 2.2. A sound is padded or cut to the length that
    ``preprocessor_config.json`` names (30 s); pooled is the mean over the frames that hold sound.

    Args:
        tower: name (see ``polysense list towers``), folder, or hub id.
        positions: give every frame (20 ms) instead of the pooled sound.

    forward: {"x": (B, F, T), "frames": (B,)} -> (B, 1, D), or (B, T / 2, D) with ``positions``
    """

    modality = "audio"

    def __init__(self, *, tower: str = "whisper-tiny", positions: bool = False) -> None:
        super().__init__(tower)
        self.positions = bool(positions)
        self._settings: dict[str, int] | None = None

    def _hearing(self) -> dict[str, int]:
        """Bands, window, hop, samples a second and samples in all."""
        if self._settings is None:
            folder = self.found().folder
            config = read_json(folder, "preprocessor_config.json")
            kind = config.get("feature_extractor_type", "")
            if kind != "WhisperFeatureExtractor":
                raise BadModel(
                    f"tower '{self.tower}' hears through {kind or 'an unnamed feature extractor'}; "
                    "only WhisperFeatureExtractor is known: choose a Whisper network"
                )
            hz = config.get("sampling_rate", HZ)
            if hz != HZ:
                raise BadModel(f"tower '{self.tower}' hears at {hz} Hz; choose one that hears at {HZ} Hz")
            self._settings = {
                "bands": config.get("feature_size", 80), "window": config.get("n_fft", 400),
                "hop": config.get("hop_length", 160), "samples": config.get("chunk_length", 30) * HZ,
            }
        return self._settings

    def prepare(self, values: Sequence[np.ndarray]) -> dict[str, np.ndarray]:
        how = self._hearing()
        most = how["samples"] // how["hop"]
        x = np.empty((len(values), how["bands"], most), np.float32)
        frames = np.empty(len(values), np.int64)
        for i, wave in enumerate(values):
            x[i] = whisper_mel(wave, **how)
            frames[i] = min(most, max(1, -(-len(wave) // how["hop"])))
        return {"x": x, "frames": frames}

    def forward(self, batch: Batch, context: Tokens | None = None) -> Tokens:
        with torch.inference_mode():
            module = self.opened(batch["x"].device).module
            encoder = module.get_encoder() if hasattr(module, "get_encoder") else module
            x_BTD = encoder(input_features=batch["x"]).last_hidden_state
        x_BTD = x_BTD.clone()  # outside inference mode: an ordinary tensor, which training may read
        most = batch["x"].shape[-1]
        per_token = most // x_BTD.shape[1]
        real = (batch["frames"] + per_token - 1) // per_token
        mask_BT = torch.arange(x_BTD.shape[1], device=x_BTD.device) < real[:, None]
        hop_seconds = self._hearing()["hop"] / HZ
        seconds = (torch.arange(x_BTD.shape[1], device=x_BTD.device) + 0.5) * per_token * hop_seconds
        tokens = Tokens(x_BTD, mask_BT, place=seconds[None, :, None].expand(len(x_BTD), -1, -1))
        return tokens if self.positions else Tokens.single(tokens.pooled())


def whisper_mel(
    wave: np.ndarray, bands: int = 80, window: int = 400, hop: int = 160, samples: int = 480_000
) -> np.ndarray:
    """Whisper's log-mel spectrogram (F, samples // hop), zeros of sound where the wave ends.

    Radford et al. 2022, arXiv:2212.04356: log10, at most 8 decades below the loudest, (x + 4) / 4.
    """
    whole_wave = torch.zeros(samples)
    whole_wave[: min(len(wave), samples)] = torch.as_tensor(wave[:samples], dtype=torch.float32)
    # the original mirrors the edges where this module's own features see silence
    half = window // 2
    edges = torch.nn.functional.pad(whole_wave[None, None], (half, half), mode="reflect")[0, 0]
    spectrum = torch.stft(edges, window, hop, window=_hann(window), center=False, return_complex=True)
    power = torch.view_as_real(spectrum).square().sum(-1).T[: samples // hop]
    log = (power @ _filters(bands, window, HZ)).clamp_min(1e-10).log10()
    return ((log.clamp_min(float(log.max()) - 8) + 4) / 4).T.numpy()
