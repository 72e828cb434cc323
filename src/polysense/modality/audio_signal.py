"""Sounds as numbers: mel bands, cepstra and their slopes, silence and windows, and how training changes a wave.

A wave is float32 (n,), mono, 16 kHz, within about -1..1. Letters: T frames (100 a second), F mel bands,
K cepstral coefficients, B records.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

#: Samples a second, samples in a window (25 ms) and from one frame to the next (10 ms).
HZ, WINDOW, HOP = 16_000, 400, 160

#: Power below this counts as silence: about 83 dB below a full-scale tone.
FLOOR = 1e-6
#: A sound whose loudest 20 ms are softer than this many decibels below full scale is silence.
SILENCE = -60.0
#: Seconds that Whisper hears at a time.
LONGEST = 30.0


# --- frames --------------------------------------------------------------------------------------


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
        wave, window, hop, window=hann(window).to(wave.device), center=True, pad_mode="constant", return_complex=True
    )
    return power_of(spectrum).T @ filters(bands, window, hz).to(wave.device)


def power_of(spectrum: Tensor) -> Tensor:
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
    return log_mel_TF @ _dct(log_mel_TF.shape[-1], coefficients).to(log_mel_TF.device)


@lru_cache
def hann(window: int) -> Tensor:
    """Hann's window, made once."""
    return torch.hann_window(window)


@lru_cache
def filters(bands: int, window: int, hz: int) -> Tensor:
    """``mel_filters`` as a tensor, made once."""
    return torch.from_numpy(mel_filters(bands, window, hz))


@lru_cache
def _dct(bands: int, coefficients: int) -> Tensor:
    """(F, K): column k is cos(pi k (f + 1/2) / F) at unit length."""
    waves = np.cos(np.pi / bands * np.outer(np.arange(bands) + 0.5, np.arange(coefficients)))
    return torch.from_numpy((waves / np.linalg.norm(waves, axis=0)).astype(np.float32))


def deltas(x_TF: Tensor, reach: int = 2) -> Tensor:
    """Slope of every column at every frame (T, F), by least squares over ``2 * reach + 1`` frames.

    d_t = sum_n n (x_(t+n) - x_(t-n)) / (2 sum_n n^2), n = 1..reach: Furui 1986 (IEEE Trans. ASSP 34(1)) and the HTK book
    (Young et al. 2002), section 5.9. The first and the last frame go on beyond the ends, as in HTK.

    >>> deltas(torch.tensor([[0.0], [3.0], [6.0], [9.0], [12.0]]))[2].tolist()
    [3.0]
    """
    count = len(x_TF)
    steps = torch.arange(count, device=x_TF.device)
    slope = torch.zeros_like(x_TF)
    for n in range(1, reach + 1):
        slope += n * (x_TF[(steps + n).clamp_max(count - 1)] - x_TF[(steps - n).clamp_min(0)])
    return slope / (2 * sum(n * n for n in range(1, reach + 1)))


# --- silence and windows -------------------------------------------------------------------------


def trimmed(wave: Tensor, decibel: float) -> Tensor:
    """The wave without the stretches at both ends that are softer than its loudest 10 ms by more than ``decibel``.

    Whole blocks of 10 ms are cut, pauses inside are kept, and a wave that is silent throughout stays as it is.

    >>> len(trimmed(torch.cat([torch.zeros(320), torch.ones(160), torch.zeros(100)]), 40.0))
    160
    """
    room = -len(wave) % HOP
    power = F.pad(wave, (0, room)).unflatten(0, (-1, HOP)).square().mean(1) if len(wave) else wave
    if not len(power) or not power.max() > 0:
        return wave
    loud = (power >= power.max() * 10 ** (-decibel / 10)).nonzero()
    return wave[int(loud[0]) * HOP : (int(loud[-1]) + 1) * HOP]


def window_starts(samples: int, window: int, hop: int) -> list[int]:
    """First samples of windows that hear the whole of a sound; one window if ``hop`` is 0.

    >>> window_starts(100, 40, 30), window_starts(101, 40, 30), window_starts(500, 40, 0)
    ([0, 30, 60], [0, 30, 60, 90], [0])
    """
    more = -(-(samples - window) // hop) if hop and samples > window else 0
    return [i * hop for i in range(more + 1)]


def once(second: Tensor, start: Tensor, first: Tensor, last: Tensor, seconds: float, hop: float) -> Tensor:
    """Which tokens stay so that each moment of overlapping windows is there once: half of an overlap from either window.

    Args:
        second: of each token, from the beginning of the sound.
        start: of its window.
        first, last: bool, its window is the sound's first, last.
        seconds: of a window.
        hop: seconds from one window to the next.

    >>> at, start = torch.tensor([0.5, 1.5, 2.5, 3.5, 2.5, 3.5, 4.5]), torch.tensor([0.0] * 4 + [2.0] * 3)
    >>> at[once(at, start, start == 0, start == 2, 4, 2.0)].tolist()
    [0.5, 1.5, 2.5, 3.5, 4.5]
    """
    half = (seconds - hop) / 2
    return (first | (second >= start + half)) & (last | (second < start + hop + half))


def pieces(wave: np.ndarray, longest: float = LONGEST) -> list[tuple[int, int]]:
    """First and last sample + 1 of pieces that together are the whole wave, cut where it is softest.

    A piece is at most ``longest`` seconds; the cut lies in its second half, in the middle of the softest 0.3 s, so a word is
    cut only where somebody speaks without a pause for half of the time.

    >>> pieces(np.zeros(16_000)), [len(pieces(np.zeros(n))) for n in (0, 480_000, 480_001)]
    ([(0, 16000)], [1, 1, 2])
    """
    size, around = round(longest * HZ), round(0.15 * HZ)
    power = np.concatenate([[0.0], np.cumsum(np.square(wave, dtype=np.float64))])
    found, start = [], 0
    while len(wave) - start > size:
        middle = np.arange(start + size // 2, start + size - around, HOP)
        soft = power[middle + around] - power[middle - around]
        # among equally soft places the last: long pieces are fewer
        stop = int(middle[len(soft) - 1 - int(np.argmin(soft[::-1]))])
        found.append((start, stop))
        start = stop
    return [*found, (start, len(wave))]


def silent(wave: np.ndarray) -> bool:
    """Nothing in it is louder than ``SILENCE``.

    >>> silent(np.zeros(0)), silent(np.full(800, 0.0005)), silent(np.full(800, 0.01))
    (True, True, False)
    """
    if not len(wave):
        return True
    rest = np.pad(wave.astype(np.float64), (0, -len(wave) % (2 * HOP))).reshape(-1, 2 * HOP)
    return float(np.square(rest).mean(1).max()) < 10 ** (SILENCE / 10)


# --- what training changes -----------------------------------------------------------------------


def faster(wave: Tensor, factor: float) -> Tensor:
    """The wave played ``factor`` times as fast, pitch and all: n / factor samples, resampled within its band.

    Ko et al. 2015 ("Audio augmentation for speech recognition", Interspeech), with factors 0.9 and 1.1.

    >>> len(faster(torch.zeros(1000), 2.0))
    500
    """
    if factor == 1:
        return wave
    import soxr

    quick = torch.from_numpy(soxr.resample(wave.cpu().numpy(), HZ * factor, HZ)).to(wave.device)
    return quick if len(quick) else wave[:1]


def shifted(wave: Tensor, samples: int) -> Tensor:
    """The wave so many samples later (earlier if negative), silence in the gap; the length stays.

    >>> shifted(torch.tensor([1.0, 2.0, 3.0]), 1).tolist(), shifted(torch.tensor([1.0, 2.0, 3.0]), -2).tolist()
    ([0.0, 1.0, 2.0], [3.0, 0.0, 0.0])
    """
    samples = max(-len(wave), min(len(wave), samples))
    kept = wave[max(0, -samples) : len(wave) - max(0, samples)]
    return F.pad(kept, (max(0, samples), max(0, -samples)))


def noisy(wave: Tensor, decibel: float) -> Tensor:
    """White noise added, ``decibel`` below the wave's own power: 10 log10(power / noise power) = decibel."""
    noise = torch.randn_like(wave)
    power, theirs = wave.square().mean(), noise.square().mean().clamp_min(1e-12)
    return wave + noise * (power / theirs * 10 ** (-decibel / 10)).sqrt()


def hidden(x_NF: Tensor, mask_BT: Tensor, most: float = 0.2, bands: int = 0) -> Tensor:
    """Frames with a stretch of each record's time and one of its bands set to zero.

    Park et al. 2019, arXiv:1904.08779, section 2; the stretches' lengths are drawn evenly from 0 to ``most`` of the
    record's own length and of the bands.

    Args:
        x_NF: the N real frames of all records, in order; zero is the mean.
        mask_BT: where they stand.
        most: largest share of the time and of the bands that is hidden.
        bands: how many columns make one set of bands; every set (deltas come after the bands) loses the same ones.
            0: all columns are one set. -1: columns are no bands, and only time is hidden.
    """
    length_B = mask_BT.sum(1)
    width = x_NF.shape[1] if bands <= 0 else bands
    wide, begin = torch.rand(2, 2, len(mask_BT), 1, device=x_NF.device)
    size = torch.stack([length_B, torch.full_like(length_B, width)])[..., None]
    wide = wide * most * size
    begin = begin * (size - wide)

    def kept(axis: int, count: int) -> Tensor:
        i = torch.arange(count, device=x_NF.device)
        return (i < begin[axis]) | (i >= begin[axis] + wide[axis])

    time_N = kept(0, mask_BT.shape[1])[mask_BT]
    if bands < 0:
        return x_NF * time_N[:, None]
    bands_NF = kept(1, width).repeat(1, x_NF.shape[1] // width).repeat_interleave(length_B, 0)
    return x_NF * (time_N[:, None] & bands_NF)
